//! The host is equal before and after.

use std::net::Ipv4Addr;

use scalebed_netns::HostState;

use crate::common::{self, end};

#[test]
fn netns_a_lab_changes_nothing_on_the_host() {
    let test = "netns_a_lab_changes_nothing_on_the_host";
    let Some(probe) = common::sandbox(test) else { return };
    drop(probe);
    let before = HostState::capture().expect("state of the host");
    let (mut sandbox, _place) = common::sandbox(test).expect("another sandbox");
    let (a, _) = common::two_hosts(&mut sandbox);
    sandbox.forwarding(a, true).expect("forwarding");
    let during = HostState::capture().expect("state of the host");
    sandbox.teardown().expect("nothing is left");
    let after = HostState::capture().expect("state of the host");
    assert_eq!(before.diff(&during), Vec::<String>::new());
    assert_eq!(before.diff(&after), Vec::<String>::new());
    assert_eq!(before, after);
}

#[test]
fn netns_every_kind_of_change_is_seen() {
    let Some((mut sandbox, _place)) = common::sandbox("netns_every_kind_of_change_is_seen") else { return };
    let ns = sandbox.namespace("playground").expect("a namespace");
    let state = || sandbox_state(&sandbox, ns);
    let before = state();
    assert_eq!(before, state());
    sandbox.forwarding(ns, true).expect("forwarding");
    let sysctl = state();
    // One switch shows at every interface.
    assert!(before.diff(&sysctl).iter().all(|line| line.starts_with("sysctl ")), "{:?}", before.diff(&sysctl));
    let line = "sysctl /proc/sys/net/ipv4/ip_forward: 0 -> 1".to_owned();
    assert!(before.diff(&sysctl).contains(&line), "{:?}", before.diff(&sysctl));
    sandbox.veth(&end(ns, "one", 1), &end(ns, "two", 2)).expect("a cable");
    let sandbox = &sandbox;
    let state = || sandbox_state(sandbox, ns);
    let link = state();
    assert_eq!(sysctl.diff(&link).iter().filter(|line| line.starts_with("+ link ")).count(), 2);
    sandbox.set_up(ns, "one", true).expect("up");
    sandbox.set_up(ns, "two", true).expect("up");
    let up = state();
    sandbox.address(ns, "one", Ipv4Addr::new(198, 18, 0, 1), 24).expect("an address");
    let address = state();
    let lines = up.diff(&address);
    assert!(lines.iter().any(|line| line.starts_with("+ address ")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("+ route ")), "{lines:?}");
    sandbox.arp(ns, "two", false).expect("no ARP");
    let lines = address.diff(&state());
    assert!(lines.iter().any(|line| line.starts_with("- link ")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("+ link ")), "{lines:?}");
}

fn sandbox_state(sandbox: &scalebed_netns::Sandbox, ns: scalebed_netns::NsId) -> HostState {
    sandbox.run_in(ns, HostState::capture).expect("in the namespace").expect("its state")
}
