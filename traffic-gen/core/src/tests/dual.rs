use std::net::Ipv6Addr;

use scalebed_frame::{Ndp, ndp};

use super::*;
use crate::Side6;

fn address6(network: u16, host: u16) -> Ipv6Addr {
    [0x2001, 2, 0, network, 0, 0, 0, host].into()
}

/// The bench's configuration with IPv6 on both sides.
fn config6(end: u64, flows: Vec<FlowSpec>) -> Config {
    let mut config = config(end, flows);
    for (id, side) in [(0, &mut config.inside), (1, &mut config.outside)] {
        side.on_link.extend((16..32).map(|host| std::net::IpAddr::from(address6(id, host))));
        side.ipv6 = Some(Side6 { next_hop: address6(id, 2), gateway: address6(id, 1) });
    }
    config.inside_prefixes.push(Prefix { address: address6(0x40, 0).into(), length: 58 });
    config
}

fn flow6(kind: FlowKind, number: u8, rate: u32, first: u64, last: u64) -> FlowSpec {
    let spec = flow(kind, number, rate, first, last);
    let (src, dst) = (address6(0x40, number.into()).into(), address6(0x80, number.into()).into());
    FlowSpec { forward: Flow { src, dst, ..spec.forward }, ..spec }
}

fn inject(bench: &mut Bench, port: u16, frame: Frame) {
    let received = bench.fabric.now();
    bench.fabric.inject(bench.node, Input::Frame { port: PortIndex(port), frame, received });
}

/// What the generator says of neighbours on the inside within the next moment, with the frame's destination.
fn said(bench: &mut Bench, frame: Frame) -> Vec<(Mac, Ndp, bool)> {
    bench.seen.borrow_mut().clear();
    inject(bench, 0, frame);
    bench.fabric.run_until(bench.fabric.now() + Duration::from_micros(15));
    let seen = bench.seen.borrow();
    let read = seen.iter().filter_map(|seen| {
        let (bytes, view) = (seen.frame.bytes(), seen.view());
        let is_router = bytes[view.ip()?.l4 + 4] & 0x80 != 0;
        Some((view.dst, Ndp::read(bytes, &view)?, is_router))
    });
    read.collect()
}

#[test]
fn flows_of_both_families_go_out_once_on_time_and_come_back() {
    let mut flows = vec![flow(FlowKind::Udp, 1, 50, 0, 500 * MS), flow6(FlowKind::Udp, 2, 50, 3 * MS, 500 * MS)];
    // A client outside, and stations on link.
    flows.push(FlowSpec { forward: flows[1].forward.reversed(), ..flow6(FlowKind::Udp, 3, 10, 0, 500 * MS) });
    let on_link = Flow { src: address6(0, 16).into(), dst: address6(1, 31).into(), ..flows[1].forward };
    flows.push(FlowSpec { forward: on_link, ..flow6(FlowKind::Udp, 4, 10, 0, 500 * MS) });
    let config = config6(500 * MS, flows);
    let bench = whole_run(config);
    let report = bench.report();
    assert_eq!((report.unsendable, report.foreign, report.corrupt), (0, 0, 0));
    let seen = bench.seen.borrow();
    let macs: BTreeMap<_, _> = (seen.iter())
        .filter_map(|seen| Some(((seen.signature()?.flow, seen.place), (seen.view().src, seen.view().dst))))
        .collect();
    // One router for both families; stations follow those of IPv4.
    assert_eq!(macs[&(0, Place::Inside)], (Mac::host(0x100), Router::MAC));
    assert_eq!(macs[&(1, Place::Inside)], (Mac::host(0x100), Router::MAC));
    assert_eq!(macs[&(2, Place::Outside)], (Mac::host(0x200), Router::MAC));
    assert_eq!(macs[&(3, Place::Inside)], (Mac::host(0x111), Router::MAC));
    assert_eq!(macs[&(3, Place::Outside)], (Mac::host(0x220), Router::MAC));
}

#[test]
fn a_tcp_connection_of_ipv6_goes_from_its_handshake_to_its_end() {
    let mut bench =
        Bench::new(config6(300 * MS, vec![flow6(FlowKind::Tcp, 1, 10, 100 * MS, 300 * MS)]), Settings::default());
    bench.run_to_ms(3_000);
    let summary = summary(&bench);
    assert!(
        summary.starts_with("0.150000 Inside [S] tcp [2001:2:0:40::1]:10001 > [2001:2:0:80::1]:8000\n"),
        "{summary}"
    );
    let report = bench.report();
    let tcp = report.tcp[0];
    assert_eq!(tcp.established, START + 50 * MS + 2 * PATH);
    assert_eq!((tcp.rounds, tcp.retransmitted, tcp.reset, tcp.broken), (2, 0, 0, false));
    assert_eq!((report.sent, report.received, report.foreign), (4, 4, 0));
    // What belongs to no connection is refused in its own family.
    bench.seen.borrow_mut().clear();
    let stray = Flow { src_port: 1, ..flow6(FlowKind::Tcp, 9, 1, 0, 1).forward };
    let envelope = Envelope { src: Router::MAC, dst: Mac::host(0x200), ttl: 63, identification: 0 };
    let fields = build::TcpFields { sequence: 5, acknowledgement: 0, flags: SYN, window: 100 };
    inject(&mut bench, 1, build::tcp(envelope, stray, fields, &[]));
    bench.run_to_ms(3_001);
    assert!(super::summary(&bench).contains("Outside [R.] tcp [2001:2:0:80::9]:8000 > [2001:2:0:40::9]:1"));
}

#[test]
fn stations_answer_solicitations_and_nobody_else_does() {
    let mut bench = Bench::new(config6(MS, vec![]), Settings::default());
    bench.run_to_ms(1);
    let (asker, cluster) = (Mac::host(9), address6(0, 1));
    let mut asked = |target| said(&mut bench, build::solicitation(asker, cluster, target));
    let told = |target, link| Ndp::Advertisement { target, link, solicited: true };
    let (hop, station) = (address6(0, 2), address6(0, 31));
    assert_eq!(asked(hop), [(asker, told(hop, Mac::host(0x100)), true)], "a router");
    assert_eq!(asked(station), [(asker, told(station, Mac::host(0x120)), false)], "a host");
    assert_eq!(asked(address6(0, 32)), []);
    assert_eq!(asked(address6(1, 16)), [], "a station of the other side");
    // Who wants a station's address for itself hears that it is taken, as all others do.
    let [(dst, told, router)] = said(&mut bench, build::solicitation(asker, Ipv6Addr::UNSPECIFIED, station))[..] else {
        panic!("one answer")
    };
    let taken = Ndp::Advertisement { target: station, link: Mac::host(0x120), solicited: false };
    assert_eq!((dst, told, router), (ndp::group_mac(ndp::ALL_NODES), taken, false));
    // Whoever asks in a station's own name is not answered, nor is what a router forwarded.
    assert_eq!(said(&mut bench, build::solicitation(asker, station, station)), []);
    let mut forwarded = build::solicitation(asker, cluster, hop);
    forwarded.bytes_mut()[21] -= 1;
    assert_eq!(said(&mut bench, forwarded), []);
    let mut elsewhere = build::solicitation(asker, cluster, hop);
    elsewhere.bytes_mut()[..6].copy_from_slice(&Mac::host(0x999).0);
    assert_eq!(said(&mut bench, elsewhere), [], "a frame to somebody else");
    let mut unicast = build::solicitation(asker, cluster, hop);
    unicast.bytes_mut()[..6].copy_from_slice(&Mac::host(0x100).0);
    assert_eq!(said(&mut bench, unicast).len(), 1, "a neighbour that makes sure");
}

#[test]
fn every_word_of_the_cluster_moves_the_gateway_and_no_other() {
    let mut bench = Bench::new(config6(9_000 * MS, vec![]), Settings::default());
    bench.run_to_ms(50);
    let known = |bench: &Bench| bench.generator.borrow().resolvers[0].gateway(address6(0, 1).into());
    let (cluster, hop) = (address6(0, 1), address6(0, 2));
    let to = |mac| Some((mac, hop));
    assert_eq!(known(&bench), Some(Router::MAC));
    inject(&mut bench, 0, build::advertisement(Mac::host(0x991), cluster, true, None));
    assert_eq!(known(&bench), Some(Mac::host(0x991)), "unsolicited");
    inject(&mut bench, 0, build::advertisement(Mac::host(0x992), cluster, true, to(Mac::host(0x100))));
    assert_eq!(known(&bench), Some(Mac::host(0x992)), "solicited");
    inject(&mut bench, 0, build::solicitation(Mac::host(0x993), cluster, address6(0, 77)));
    assert_eq!(known(&bench), Some(Mac::host(0x993)), "its own question");
    let mut corrupt = build::advertisement(Mac::host(0x994), cluster, true, None);
    corrupt.bytes_mut()[85] ^= 1;
    for frame in [
        corrupt,
        build::advertisement(Mac::host(0x994), address6(0, 3), true, None),
        build::advertisement(Mac([0x33, 0x33, 0, 0, 0, 1]), cluster, true, None),
        build::advertisement(Mac::host(0x994), cluster, true, to(Mac::host(0x999))),
        build::gratuitous(Mac::host(0x994), address(0, 1)),
    ] {
        inject(&mut bench, 0, frame);
        assert_eq!(known(&bench), Some(Mac::host(0x993)));
    }
    let ipv4 = bench.generator.borrow().resolvers[0].gateway(address(0, 1).into());
    assert_eq!(ipv4, Some(Mac::host(0x994)), "the families are known apart");
    // Each second it asks again.
    bench.run_to_ms(1_050);
    assert_eq!(known(&bench), Some(Router::MAC));
}

#[test]
fn each_family_leaves_to_its_own_gateway() {
    let flows = vec![flow(FlowKind::Udp, 1, 100, 0, 500 * MS), flow6(FlowKind::Udp, 2, 100, 0, 500 * MS)];
    let mut bench = Bench::new(config6(500 * MS, flows), Settings::default());
    bench.run_to_ms(150);
    inject(&mut bench, 0, build::advertisement(Mac::host(0x996), address6(0, 1), true, None));
    inject(&mut bench, 1, build::gratuitous(Mac::host(0x994), address(1, 1)));
    bench.seen.borrow_mut().clear();
    bench.run_to_ms(250);
    let seen = bench.seen.borrow();
    let to: BTreeMap<_, _> =
        seen.iter().filter_map(|seen| Some(((seen.signature()?.flow, seen.place), seen.view().dst))).collect();
    assert_eq!((to[&(0, Place::Inside)], to[&(1, Place::Inside)]), (Router::MAC, Mac::host(0x996)));
    assert_eq!((to[&(0, Place::Outside)], to[&(1, Place::Outside)]), (Mac::host(0x994), Router::MAC));
}

#[test]
fn without_ipv6_at_the_cluster_it_is_not_ready_and_only_ipv4_leaves() {
    let flows = vec![flow(FlowKind::Udp, 1, 100, 0, 200 * MS), flow6(FlowKind::Udp, 2, 100, 0, 200 * MS)];
    let mut bench = Bench::new(config6(200 * MS, flows), Settings::default());
    bench.faults.borrow_mut().no_ipv6 = true;
    bench.run_to_ms(350);
    assert_eq!(bench.fabric.take_events(), []);
    assert!(bench.packets().iter().all(|&(_, flow, ..)| flow == 0));
    let report = bench.report();
    assert_eq!((report.sent, report.received, report.unsendable, report.not_opened), (40, 40, 20, 20));
    // Each 100 ms on each side, and no question of ARP with them.
    bench.seen.borrow_mut().clear();
    bench.run_to_ms(850);
    let seen = bench.seen.borrow();
    assert_eq!(seen.iter().filter(|seen| Ndp::read(seen.frame.bytes(), &seen.view()).is_some()).count(), 2 * 5);
    assert_eq!(seen.len(), 2 * 5);
    drop(seen);
    bench.faults.borrow_mut().no_ipv6 = false;
    bench.run_to_ms(1_050);
    assert!(matches!(bench.fabric.take_events()[..], [(_, _, NodeEvent::Ready)]));
}

#[test]
fn what_is_wrong_in_an_ipv6_packet_is_told_apart() {
    let mut bench = Bench::new(config6(200 * MS, vec![flow6(FlowKind::Udp, 1, 100, 0, 200 * MS)]), Settings::default());
    bench.run_to_ms(150);
    let is_forward = |seen: &&Seen| seen.signature().is_some() && seen.place == Place::Inside;
    let mut packet = bench.seen.borrow().iter().find(is_forward).expect("a packet").frame.clone();
    packet.bytes_mut()[..6].copy_from_slice(&Mac::host(0x200).0);
    let mut counted = |change: &dyn Fn(&mut [u8])| {
        let before = bench.report();
        let mut frame = packet.clone();
        change(frame.bytes_mut());
        inject(&mut bench, 1, frame);
        let after = bench.report();
        (after.received - before.received, after.foreign - before.foreign, after.corrupt - before.corrupt)
    };
    assert_eq!(counted(&|_| ()), (1, 0, 0));
    assert_eq!(counted(&|bytes| bytes[23] ^= 1), (0, 0, 1), "another source than the checksum's");
    assert_eq!(counted(&|bytes| bytes[60..62].fill(0)), (0, 0, 1), "IPv6 has no UDP without a checksum");
    // Kernels look for routers: nobody's business here, and no neighbour's question.
    let flow = Flow {
        protocol: Protocol::ICMPV6,
        src: address6(1, 7).into(),
        dst: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2).into(),
        src_port: 0,
        dst_port: 0,
    };
    let dst = Mac([0x33, 0x33, 0, 0, 0, 2]);
    let envelope = Envelope { src: Mac::host(7), dst, ttl: ndp::HOP_LIMIT, identification: 0 };
    inject(&mut bench, 1, build::icmp(envelope, flow, ndp::ROUTER_SOLICITATION, 0, &[0; 4]));
    let counters = &bench.generator.borrow().counters;
    assert_eq!((counters.flooded, counters.foreign, counters.corrupt), (1, 0, 2));
}
