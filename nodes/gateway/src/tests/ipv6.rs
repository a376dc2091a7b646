//! IPv6 between the two networks: nothing is hidden, neighbours are discovered, errors follow their connection.

use scalebed_frame::{Ndp, ndp, quote};

use super::*;

const CLIENT: Ipv6Addr = v6(INSIDE, 5);
const SERVER: Ipv6Addr = v6(OUTSIDE, 9);
const PROTOCOLS: [Protocol; 3] = [Protocol::TCP, Protocol::UDP, Protocol::ICMPV6];

fn forth(protocol: Protocol) -> Flow {
    let (src_port, dst_port) = if protocol == Protocol::ICMPV6 { (77, 77) } else { (1000, 53) };
    Flow { protocol, src: CLIENT.into(), dst: SERVER.into(), src_port, dst_port }
}

fn first(flow: Flow) -> Frame {
    match flow.protocol {
        Protocol::TCP => segment(0, flow, SYN),
        Protocol::UDP => build::udp(envelope(0, 64), flow, b"question"),
        _ => build::echo(envelope(0, 64), flow, false, 1, b"question"),
    }
}

/// Serving, with the client's and the server's places known: each has asked for the cluster.
fn bench() -> Bench {
    let mut bench = Bench::new();
    for (port, network, address) in [(0, INSIDE, CLIENT), (1, OUTSIDE, SERVER)] {
        bench.give(port, build::solicitation(Mac::host(network.0.into()), address, v6(network, 1)));
    }
    bench.sent.clear();
    bench
}

#[test]
fn both_ways_pass_as_they_are_and_the_hop_limit_falls() {
    for protocol in PROTOCOLS {
        let mut bench = bench();
        bench.give(0, first(forth(protocol)));
        let answer = match protocol {
            Protocol::TCP => segment(1, forth(protocol).reversed(), SYN | ACK),
            Protocol::UDP => build::udp(envelope(1, 60), forth(protocol).reversed(), b"answer"),
            _ => build::echo(envelope(1, 60), forth(protocol).reversed(), true, 1, b"question"),
        };
        bench.give(1, answer.clone());
        assert_eq!((bench.count(Count::Created), bench.sent.len()), (1, 2), "{protocol}");
        for ((port, sent), given) in bench.sent.iter().zip([first(forth(protocol)), answer]) {
            let (came, gone) = (given.bytes(), sent.bytes());
            assert_eq!(gone[21], came[21] - 1);
            assert_eq!((&gone[14..21], &gone[22..]), (&came[14..21], &came[22..]), "all else is as it was");
            assert_eq!(View::parse(gone).expect("a frame").dst, Mac::host(if *port == 1 { 2 } else { 1 }));
        }
    }
}

#[test]
fn the_policy_holds_for_it_too() {
    let mut bench = bench();
    bench.give(0, segment(0, Flow { dst_port: 23, ..forth(Protocol::TCP) }, SYN));
    bench.give(1, build::udp(envelope(1, 64), forth(Protocol::UDP).reversed(), b"from outside"));
    assert_eq!((bench.dropped(Reason::Policy), bench.count(Count::Created)), (2, 0));
    // A source that does not live where it enters, the cluster's own, one of a link alone, a group as a destination.
    let udp = |src: Ipv6Addr, dst: Ipv6Addr| {
        build::udp(envelope(0, 64), Flow { src: src.into(), dst: dst.into(), ..forth(Protocol::UDP) }, b"x")
    };
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    for src in [SERVER, v6(INSIDE, 1), link_local, Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST] {
        bench.give(0, udp(src, SERVER));
    }
    assert_eq!(bench.dropped(Reason::Spoofed), 5);
    bench.give(0, udp(CLIENT, link_local));
    assert_eq!((bench.dropped(Reason::NoRoute), bench.sent.len()), (1, 0));
}

#[test]
fn the_leader_answers_for_the_cluster_and_asks_for_next_hops() {
    let mut bench = bench();
    bench.give(0, build::solicitation(Mac::host(1), CLIENT, v6(INSIDE, 1)));
    // Somebody who is about to take the cluster's address hears, with all nodes, whose it is.
    bench.give(0, build::solicitation(Mac::host(8), Ipv6Addr::UNSPECIFIED, v6(INSIDE, 1)));
    // For others it does not answer, nor for its address of another network.
    bench.give(0, build::solicitation(Mac::host(1), CLIENT, v6(INSIDE, 6)));
    bench.give(0, build::solicitation(Mac::host(1), CLIENT, v6(OUTSIDE, 1)));
    let ping = Flow { dst: v6(INSIDE, 1).into(), ..forth(Protocol::ICMPV6) };
    bench.give(0, build::echo(envelope(0, 64), ping, false, 1, b"hello"));
    let other = v6(OUTSIDE, 0x77);
    bench.give(0, build::udp(envelope(0, 64), Flow { dst: other.into(), ..forth(Protocol::UDP) }, b""));
    bench.give(
        1,
        build::advertisement(Mac::host(0x77), other, false, Some((config().networks[1].cluster_mac, v6(OUTSIDE, 1)))),
    );
    insta::assert_snapshot!(bench.lines(), @r"
    0 01a001>000001 na 2001:2:0:1::1 is-at 01a001
    0 01a001>000001 unsolicited-na 2001:2:0:1::1 is-at 01a001
    0 01a001>000001 icmp6 [2001:2:0:1::1]:77 > [2001:2:0:1::5]:77 echo-reply 1 ttl 64
    1 01a002>000077 ns who-has 2001:2:0:2::77 tell 2001:2:0:2::1
    1 01a002>000077 udp [2001:2:0:1::5]:1000 > [2001:2:0:2::77]:53 ttl 63
    ");
    // One that never answers costs its packets, by name.
    bench.give(0, build::udp(envelope(0, 64), Flow { dst: v6(OUTSIDE, 0x78).into(), ..forth(Protocol::UDP) }, b""));
    bench.run(Duration::from_secs(4));
    assert_eq!(bench.dropped(Reason::Neighbour), 1);
}

#[test]
fn a_takeover_is_announced_in_both_families_on_the_same_schedule() {
    let mut bench = Bench::start(config());
    bench.run(Duration::from_millis(1));
    let mut seen = Vec::new();
    let mut heard = 0;
    while seen.len() < 20 && bench.now < Instant(40_000_000_000) {
        bench.run(Duration::from_millis(100));
        for (port, frame) in bench.sent.drain(..) {
            let view = View::parse(frame.bytes()).expect("a frame");
            let told = match (view.network, Ndp::read(frame.bytes(), &view)) {
                (Layer3::Arp(arp), _) if arp.sender_ip == arp.target_ip => "arp",
                (_, Some(Ndp::Advertisement { target, link, solicited: false })) => {
                    let network = &config().networks[usize::from(port)];
                    assert_eq!((target, link), (network.ipv6.expect("IPv6").cluster_ip, network.cluster_mac));
                    assert_eq!(view.dst, ndp::group_mac(ndp::ALL_NODES));
                    "nd"
                }
                _ => continue,
            };
            heard += 1;
            seen.push((bench.now.0 / 1_000_000_000, told, port));
        }
    }
    assert_eq!(heard, 20, "five rounds, two networks, two families");
    let start = seen[0].0;
    let of = |family: &str, port: u16| -> Vec<u64> {
        seen.iter().filter(|(_, told, at)| *told == family && *at == port).map(|(at, ..)| at - start).collect()
    };
    for port in 0..2 {
        assert_eq!(of("arp", port), [0, 1, 2, 5, 10]);
        assert_eq!(of("nd", port), of("arp", port));
    }
}

#[test]
fn what_neighbours_may_not_say_is_not_believed() {
    let mut bench = bench();
    let known = bench.gateway.neighbours.clone();
    let mac = Mac::host(9);
    // Of the cluster's own address, of another network's, and one that a router sent on.
    bench.give(0, build::advertisement(mac, v6(INSIDE, 1), false, None));
    bench.give(0, build::advertisement(mac, SERVER, false, None));
    assert_eq!(bench.gateway.neighbours, known);
    let mut far = build::advertisement(mac, CLIENT, false, None);
    far.bytes_mut()[21] = 254;
    bench.give(0, far);
    let rest = [0; 4];
    let flow = Flow { src_port: 0, dst_port: 0, ..forth(Protocol::ICMPV6) };
    bench.give(0, build::icmp(envelope(0, 255), flow, ndp::REDIRECT, 0, &rest));
    assert_eq!((bench.dropped(Reason::Discovery), &bench.gateway.neighbours), (2, &known));
    // A neighbour that moved is believed, asked or not.
    bench.give(0, build::advertisement(mac, CLIENT, false, None));
    assert_eq!(bench.gateway.neighbours[&(INSIDE, CLIENT.into())], mac);
    // Who listens to which group is of no interest, and no loss; what is sent to a group goes nowhere.
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
    let to_group = Envelope { dst: ndp::group_mac(group), ..envelope(0, 1) };
    let flow = Flow { dst: group.into(), ..flow };
    bench.give(0, build::icmp(to_group, flow, 143, 0, &rest));
    assert_eq!(bench.dropped(Reason::Broadcast), 0);
    bench.give(0, build::udp(to_group, flow, b"who is there?"));
    assert_eq!((bench.dropped(Reason::Broadcast), bench.sent.len()), (1, 0));
}

#[test]
fn a_packet_that_dies_here_is_told_to_its_source() {
    let mut bench = bench();
    let big = build::udp(envelope(0, 1), forth(Protocol::UDP), &[7; 1400]);
    bench.give(0, big.clone());
    assert_eq!((bench.dropped(Reason::Ttl), bench.count(Count::TimeExceeded)), (1, 1));
    let (port, frame) = bench.sent.remove(0);
    let view = View::parse(frame.bytes()).expect("a frame");
    let ip = view.ip().expect("a packet");
    assert_eq!((port, ip.src, ip.dst), (0, v6(INSIDE, 1).into(), CLIENT.into()));
    // RFC 4443 section 3.3, and 2.4 (c): as much as fits 1,280 bytes.
    assert_eq!((frame.bytes().len() - 14, &frame.bytes()[62..]), (1280, &big.bytes()[14..14 + 1232]));
    assert_eq!(quote::Quote::parse(frame.bytes(), ip).map(|quote| quote.flow), Some(forth(Protocol::UDP)));
}

#[test]
fn errors_follow_the_connection_they_quote() {
    let router = v6(OUTSIDE, 0x200);
    for protocol in PROTOCOLS {
        for kind in [quote::v6::UNREACHABLE, quote::v6::TOO_BIG, quote::v6::TIME_EXCEEDED, quote::v6::PARAMETER_PROBLEM]
        {
            let mut bench = bench();
            bench.give(0, first(forth(protocol)));
            bench.sent.clear();
            let quoted = &first(forth(protocol)).bytes()[14..].to_vec()[..];
            let flow =
                Flow { protocol: Protocol::ICMPV6, src: router.into(), dst: CLIENT.into(), src_port: 0, dst_port: 0 };
            let error =
                |flow, quoted: &[u8]| build::icmp(envelope(1, 33), flow, kind, 0, &[&[0, 0, 5, 0], quoted].concat());
            bench.give(1, error(flow, quoted));
            assert_eq!((bench.sent.len(), bench.count(Count::IcmpErrors)), (1, 1), "{protocol}, type {kind}");
            let (port, frame) = bench.sent.remove(0);
            assert_eq!((port, frame.bytes()[21], &frame.bytes()[22..]), (0, 32, &error(flow, quoted).bytes()[22..]));
            // About a connection that nobody has, about nothing, altered on its way, from the cluster's own address.
            let mut strange = quoted.to_vec();
            strange[39] ^= 1;
            bench.give(1, error(flow, &strange));
            bench.give(1, error(flow, &quoted[..40]));
            let mut altered = error(flow, quoted);
            altered.bytes_mut()[62 + 40 + 7] ^= 1;
            bench.give(1, altered);
            bench.give(1, error(Flow { src: v6(OUTSIDE, 1).into(), ..flow }, quoted));
            let dropped = [Reason::OutOfState, Reason::IcmpError, Reason::BadChecksum, Reason::Spoofed];
            assert_eq!(dropped.map(|reason| bench.dropped(reason)), [1; 4], "{protocol}, type {kind}");
            assert!(bench.sent.is_empty());
        }
    }
}

/// Anybody on a link can claim as many addresses as it likes: memory is bounded, and what was known stays.
#[test]
fn claims_and_questions_without_end_are_bounded() {
    let mut bench = bench();
    let strange = |n: u32| Ipv6Addr::from_bits(v6(INSIDE, 0).to_bits() | 1 << 40 | u128::from(n));
    for n in 0..20_000 {
        bench.give(0, build::advertisement(Mac::host(n), strange(n), false, None));
    }
    assert_eq!(bench.gateway.neighbours.len(), 16_384);
    assert_eq!(bench.gateway.neighbours[&(INSIDE, CLIENT.into())], Mac::host(1));
    // One more asks: it is asked for, and its answer finds no room; nobody is asked again within a second for that.
    let ping = |from: Ipv6Addr| {
        let flow = Flow { src: from.into(), dst: v6(INSIDE, 1).into(), ..forth(Protocol::ICMPV6) };
        build::echo(envelope(0, 64), flow, false, 1, b"hello")
    };
    bench.sent.clear();
    bench.give(0, ping(strange(30_000)));
    for _ in 0..10 {
        bench.give(0, build::advertisement(Mac::host(7), strange(30_000), false, None));
    }
    assert_eq!(bench.sent.len(), 1, "{}", bench.lines());
    for n in 40_000..50_000 {
        bench.give(0, ping(strange(n)));
    }
    assert!(bench.gateway.asked.len() <= 4_096);
    bench.run(Duration::from_secs(4));
    bench.give(0, ping(CLIENT));
    assert_eq!(bench.count(Count::EchoAnswered), 10_002);
}

/// In a frame to all nodes it would reach a server once a member.
#[test]
fn a_packet_that_was_copied_to_everybody_is_forwarded_by_nobody() {
    use super::icmp::elsewhere::{DOWNLINK, dispatched, member, of_maestro, transmitted};
    let mut gateway = member(of_maestro(ME), ME);
    gateway.install_neighbour(OUTSIDE, SERVER.into(), Mac::host(2));
    let mut copied = dispatched(first(forth(Protocol::UDP)), ME, INSIDE, 7);
    let mut shim = View::parse(copied.bytes()).and_then(|view| view.shim).expect("a shim");
    let plain = copied.clone();
    shim.flags |= scalebed_frame::shim::COPY;
    shim.replace(copied.bytes_mut());
    assert_eq!(gateway.intake(DOWNLINK, copied, gateway.now), crate::Fate::Dropped(Reason::Broadcast));
    assert_eq!(gateway.intake(DOWNLINK, plain, gateway.now), crate::Fate::Sent);
    assert_eq!(transmitted(&mut gateway).len(), 1);
}
