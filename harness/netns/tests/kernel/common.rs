//! What the suites share.

use std::io;
use std::net::Ipv4Addr;

use scalebed_netns::{Error, NsId, Sandbox, VethEnd};
use tempfile::TempDir;

/// Address of the first host of [`two_hosts`].
pub const A: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Address of the second.
pub const B: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// A sandbox and its run directory, or nothing, with a line that says so, where the machine does not permit one.
pub fn sandbox(test: &str) -> Option<(Sandbox, TempDir)> {
    let place = tempfile::tempdir().expect("a temporary directory");
    match Sandbox::create(place.path()) {
        Ok(sandbox) => Some((sandbox, place)),
        Err(Error::Init { step, source }) if source.kind() == io::ErrorKind::PermissionDenied => {
            println!("skipped: {test}: namespaces are not permitted here ({step}: {source})");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// An end of a cable with a MAC that only it has.
pub fn end(ns: NsId, name: &str, number: u8) -> VethEnd {
    VethEnd { ns, name: name.to_owned(), mac: [2, 0, 0, 0, 0, number], mtu: 1500 }
}

/// Two kernel hosts on one cable, `eth0` at both ends, up and addressed.
pub fn two_hosts(sandbox: &mut Sandbox) -> (NsId, NsId) {
    let a = sandbox.namespace("a").expect("a namespace");
    let b = sandbox.namespace("b").expect("a namespace");
    sandbox.veth(&end(a, "eth0", 1), &end(b, "eth0", 2)).expect("a cable");
    for (ns, address) in [(a, A), (b, B)] {
        sandbox.offloads_off(ns, "eth0").expect("offloads off");
        sandbox.set_up(ns, "eth0", true).expect("up");
        sandbox.address(ns, "eth0", address, 24).expect("an address");
    }
    (a, b)
}
