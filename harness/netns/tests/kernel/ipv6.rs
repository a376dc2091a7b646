//! A host has IPv6 where it is given, and nothing else of it.

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant};

use scalebed_netns::{Error, MLD_REPORTS};

use crate::common::{self, end};

const A: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1);
const B: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 2);
const FAR: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 9, 0, 0, 0, 1);

/// A datagram there, and its answer.
fn asks(to: Ipv6Addr) -> std::io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(3)))?;
    socket.send_to(b"question", (to, 7))?;
    let mut answer = [0; 16];
    let (length, _) = socket.recv_from(&mut answer)?;
    Ok(answer[..length].to_vec())
}

#[test]
fn netns_hosts_talk_ipv6_at_once_and_have_no_address_but_their_own() {
    let Some((mut sandbox, _place)) =
        common::sandbox("netns_hosts_talk_ipv6_at_once_and_have_no_address_but_their_own")
    else {
        return;
    };
    let [a, b] = ["a", "b"].map(|name| sandbox.namespace(name).expect("a namespace"));
    sandbox.veth(&end(a, "eth0", 1), &end(b, "eth0", 2)).expect("a cable");
    for (ns, address, other) in [(a, A, B), (b, B, A)] {
        sandbox.ipv6(ns, "eth0").expect("IPv6");
        sandbox.set_up(ns, "eth0", true).expect("up");
        sandbox.address(ns, "eth0", address, 64).expect("an address");
        sandbox.route(ns, Ipv6Addr::UNSPECIFIED, 0, other).expect("a default route");
        let mixed = sandbox.route(ns, Ipv6Addr::UNSPECIFIED, 0, Ipv4Addr::LOCALHOST);
        assert!(matches!(mixed, Err(Error::Families { .. })), "{mixed:?}");
        let has = sandbox
            .run_in(ns, || std::fs::read_to_string("/proc/thread-self/net/if_inet6"))
            .expect("in it")
            .expect("a file");
        let on_cable: Vec<&str> = has.lines().filter(|line| line.ends_with("eth0")).collect();
        assert_eq!(on_cable.len(), 1, "its own address, none of the link: {has}");
        // The flags: permanent (0x80), duplicates not looked for (0x02), not tentative (0x40).
        assert_eq!(on_cable[0].split_whitespace().nth(4), Some("82"), "{has}");
    }
    // Each says twice which group it listens to, both times at once: what comes later would come into somebody's count.
    let deadline = Instant::now() + Duration::from_millis(500);
    for ns in [a, b] {
        while sandbox.tx_packets(ns).expect("counters")["eth0"] < MLD_REPORTS {
            assert!(Instant::now() < deadline, "{:?}", sandbox.tx_packets(ns));
            std::thread::yield_now();
        }
    }
    sandbox.address(b, "eth0", FAR, 128).expect("an address behind it");
    let server = sandbox.run_in(b, || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 7))).expect("in it").expect("a socket");
    let answering = std::thread::spawn(move || {
        for _ in 0..2 {
            let mut question = [0; 16];
            let (length, from) = server.recv_from(&mut question).expect("a question");
            server.send_to(&question[..length], from).expect("sent");
        }
    });
    for to in [B, FAR] {
        let answer = sandbox.run_in(a, || asks(to)).expect("in it").expect("an answer");
        assert_eq!(answer, b"question");
    }
    answering.join().expect("two answers");
}
