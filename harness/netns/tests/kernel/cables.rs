//! Cables, carrier, addresses, and the kernel's own stack over them.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkFlags;
use scalebed_netns::{Error, Stack, monotonic};

use crate::common::{self, A, B, end};

/// An answer on a cable without impairments is a matter of microseconds; this is for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(2);
/// Links that the belief on carrier events takes down in a row.
const LINKS: u8 = 8;
/// Bound of issue and design: a late report comes after 1,010 to 1,025 ms, a prompt one after 0.4.
const PROMPT: Duration = Duration::from_millis(20);

/// One ICMP echo by the kernel of the calling thread's namespace.
fn ping(to: Ipv4Addr) -> std::io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)?;
    // A ping socket sends and receives ICMP messages as datagrams; the kernel fills checksum and identifier.
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(PATIENCE))?;
    let request = [8, 0, 0, 0, 0, 0, 0, 1, b'x'];
    socket.send_to(&request, (to, 0))?;
    let mut answer = [0; 64];
    let (length, from) = socket.recv_from(&mut answer)?;
    assert_eq!((from.ip(), answer[0], &answer[6..length]), (to.into(), 0, &request[6..]));
    Ok(())
}

#[test]
fn netns_the_kernel_pings_through_a_cable_with_offloads_off() {
    let Some((mut sandbox, _place)) = common::sandbox("netns_the_kernel_pings_through_a_cable_with_offloads_off")
    else {
        return;
    };
    let (a, b) = common::two_hosts(&mut sandbox);
    sandbox.run_in(a, || ping(B)).expect("in a").expect("an answer of b");
    sandbox.run_in(b, || ping(A)).expect("in b").expect("an answer of a");
}

#[test]
fn netns_a_router_forwards_only_when_asked() {
    let Some((mut sandbox, _place)) = common::sandbox("netns_a_router_forwards_only_when_asked") else { return };
    let (a, router) = common::two_hosts(&mut sandbox);
    let far = sandbox.namespace("far").expect("a namespace");
    sandbox.veth(&end(router, "eth1", 3), &end(far, "eth0", 4)).expect("a cable");
    let (near, there) = (Ipv4Addr::new(198, 19, 0, 1), Ipv4Addr::new(198, 19, 0, 2));
    for (ns, interface, address) in [(router, "eth1", near), (far, "eth0", there)] {
        sandbox.set_up(ns, interface, true).expect("up");
        sandbox.address(ns, interface, address, 24).expect("an address");
    }
    sandbox.route(a, Ipv4Addr::UNSPECIFIED, 0, B).expect("a default route");
    sandbox.route(far, Ipv4Addr::new(198, 18, 0, 0), 24, near).expect("a route");
    let refused = sandbox.route(a, Ipv4Addr::new(10, 0, 0, 0), 8, Ipv4Addr::new(172, 16, 0, 1));
    assert!(matches!(refused, Err(Error::Netlink { .. })), "{refused:?}");
    let read = || fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("a sysctl");
    assert_eq!(sandbox.run_in(router, read).expect("in the router").trim(), "0");
    sandbox.forwarding(router, true).expect("forwarding");
    sandbox.run_in(a, || ping(there)).expect("in a").expect("an answer through the router");
}

#[test]
fn netns_a_cut_stack_is_silent() {
    let Some((mut sandbox, _place)) = common::sandbox("netns_a_cut_stack_is_silent") else { return };
    let (a, b) = common::two_hosts(&mut sandbox);
    let node = sandbox.namespace("node").expect("a namespace");
    sandbox.veth(&end(a, "eth1", 5), &end(node, "port", 6)).expect("a cable");
    sandbox.stack(node, "port", Stack::Cut).expect("cut");
    // The asking end last: one that finds its peer up sends at once, one that must wait for it only some time after.
    for (ns, interface) in [(node, "port"), (a, "eth1")] {
        sandbox.set_up(ns, interface, true).expect("up");
    }
    let address = Ipv4Addr::new(198, 18, 1, 1);
    sandbox.address(a, "eth1", address, 24).expect("an address");
    // ARP requests into the cable, none of which the far end may answer. Answered ones go the other way.
    let asked = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket").local_addr().expect("an address");
    let send = |to: Ipv4Addr| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.send_to(b"x", (to, asked.port()))
    };
    sandbox.run_in(a, || send(Ipv4Addr::new(198, 18, 1, 2))).expect("in a").expect("sent");
    sandbox.run_in(a, || ping(B)).expect("in a").expect("an answer of b");
    assert!(sandbox.tx_packets(a).expect("counters")["eth1"] >= 1, "nothing was asked");
    assert_eq!(sandbox.tx_packets(node).expect("counters")["port"], 0);
    assert!(sandbox.tx_packets(b).expect("counters")["eth0"] >= 2, "an ARP reply and an echo reply");
}

#[test]
fn netns_carrier_follows_the_other_end() {
    let Some((mut sandbox, _place)) = common::sandbox("netns_carrier_follows_the_other_end") else { return };
    let (a, b) = common::two_hosts(&mut sandbox);
    let (up, before) = sandbox.carrier(a, "eth0").expect("carrier");
    assert!(up);
    sandbox.set_up(b, "eth0", false).expect("down");
    let (up, after) = sandbox.carrier(a, "eth0").expect("carrier");
    assert_eq!((up, after), (false, before + 1));
    sandbox.set_up(b, "eth0", true).expect("up");
    assert_eq!(sandbox.carrier(a, "eth0").expect("carrier"), (true, before + 2));
}

#[test]
fn netns_names_and_interfaces_are_checked() {
    let Some((mut sandbox, _place)) = common::sandbox("netns_names_and_interfaces_are_checked") else { return };
    let a = sandbox.namespace("a").expect("a namespace");
    let long = sandbox.veth(&end(a, "ok", 1), &end(a, "sixteen-bytes-it", 2)).expect_err("too long");
    assert_eq!(long.to_string(), "interface name \"sixteen-bytes-it\" of a has 16 bytes, 1 to 15 are possible");
    let unknown = sandbox.set_up(a, "eth0", true).expect_err("no such interface");
    assert_eq!(unknown.to_string(), "a has no interface eth0");
    sandbox.veth(&end(a, "fifteen-bytes-x", 1), &end(a, "peer", 2)).expect("fifteen are possible");
    let again = sandbox.veth(&end(a, "peer", 3), &end(a, "other", 4)).expect_err("the name is taken");
    assert!(again.to_string().starts_with("cable a/peer -- a/other: "), "{again}");
    sandbox.teardown().expect("nothing is left");
    assert!(matches!(sandbox.namespace("b"), Err(Error::TornDown)));
    assert!(matches!(sandbox.set_up(a, "peer", true), Err(Error::UnknownNamespace)));
}

/// When a namespace hears by netlink that a link lost carrier, until `count` did: index and time.
fn hear_losses(count: usize, ready: &std::sync::mpsc::Sender<()>) -> Vec<(u32, u64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (connection, _handle, mut events) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Link]).expect("a netlink socket");
        tokio::spawn(connection);
        ready.send(()).expect("somebody waits");
        let mut losses: Vec<(u32, u64)> = Vec::new();
        while losses.len() < count {
            let event = tokio::time::timeout(PATIENCE, events.next()).await.expect("an event").expect("a stream");
            if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = event.0.payload
                && !link.header.flags.contains(LinkFlags::LowerUp)
                && !losses.iter().any(|(index, _)| *index == link.header.index)
            {
                losses.push((link.header.index, monotonic()));
            }
        }
        losses
    })
}

#[test]
fn netns_loss_of_carrier_is_reported_at_once_eight_times_in_a_row() {
    let test = "netns_loss_of_carrier_is_reported_at_once_eight_times_in_a_row";
    let Some((mut sandbox, _place)) = common::sandbox(test) else { return };
    let near = sandbox.namespace("near").expect("a namespace");
    let far = sandbox.namespace("far").expect("a namespace");
    for link in 0..LINKS {
        let name = format!("p{link}");
        sandbox.veth(&end(near, &name, 2 * link), &end(far, &name, 2 * link + 1)).expect("a cable");
        sandbox.set_up(near, &name, true).expect("up");
        sandbox.set_up(far, &name, true).expect("up");
    }
    let (ready, is_ready) = std::sync::mpsc::channel();
    let sandbox = &sandbox;
    let (downs, losses) = std::thread::scope(|scope| {
        let listener = scope.spawn(move || sandbox.run_in(far, || hear_losses(LINKS.into(), &ready)));
        is_ready.recv_timeout(PATIENCE).expect("a listener");
        let downs: Vec<u64> = (0..LINKS)
            .map(|link| {
                let at = monotonic();
                sandbox.set_up(near, &format!("p{link}"), false).expect("down");
                at
            })
            .collect();
        (downs, listener.join().expect("no panic").expect("in far"))
    });
    let took: Vec<u64> = losses.iter().zip(&downs).map(|((_, heard), down)| heard - down).collect();
    println!("from each command to its event: {took:?} ns");
    assert!(losses.is_sorted_by_key(|(index, _)| *index), "events in the order of the commands: {losses:?}");
    assert!(took.iter().all(|nanos| Duration::from_nanos(*nanos) < PROMPT), "{took:?}");
}

#[test]
fn netns_a_socket_stays_where_it_was_made() {
    let Some((mut sandbox, _place)) = common::sandbox("netns_a_socket_stays_where_it_was_made") else { return };
    let (a, b) = common::two_hosts(&mut sandbox);
    let server = sandbox.run_in(b, || UdpSocket::bind((B, 0))).expect("in b").expect("a socket");
    server.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let to: SocketAddr = server.local_addr().expect("its address");
    sandbox.run_in(a, || UdpSocket::bind((A, 0))?.send_to(b"hello", to)).expect("in a").expect("sent");
    let mut bytes = [0; 8];
    let began = Instant::now();
    let (length, from) = server.recv_from(&mut bytes).expect("a datagram");
    assert_eq!((&bytes[..length], from.ip()), (&b"hello"[..], A.into()), "after {:?}", began.elapsed());
    let error = UdpSocket::bind((B, 0)).expect_err("the harness itself has no such address");
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
}
