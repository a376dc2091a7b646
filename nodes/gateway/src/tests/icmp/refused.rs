//! Errors that go nowhere: each is counted by its reason, and none changes anything.

use super::*;

/// Gives an error and checks that it was dropped for this reason alone, and that nothing was remembered or sent.
fn refused(bench: &mut Bench, port: u16, frame: Frame, reason: Reason) {
    let (before, dropped) = (memory(&bench.gateway), bench.dropped(reason));
    bench.give(port, frame);
    assert_eq!(bench.dropped(reason), dropped + 1, "{reason:?} of {:?}", bench.gateway.counters.drops());
    assert_eq!((memory(&bench.gateway), bench.lines().as_str()), (before, ""), "{reason:?}");
}

/// With a connection of each direction's kind that an error may be about.
fn bench() -> Bench {
    with_connection(config(), Protocol::UDP)
}

/// Changes a packet from its header on and makes the header's checksum anew.
fn with(mut packet: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut packet);
    packet[10..12].fill(0);
    let made = !sum(&packet[..20]);
    packet[10..12].copy_from_slice(&made.to_be_bytes());
    packet
}

#[test]
fn an_error_about_an_unknown_connection_is_out_of_state() {
    for protocol in PROTOCOLS {
        let mut bench = bench();
        let other = Flow { dst: Ipv4Addr::new(10, 2, 0, 77).into(), ..seen(protocol) };
        refused(&mut bench, 1, about(1, ROUTER, other), Reason::OutOfState);
        // From inside, about a tuple whose first packet would begin a connection.
        let other = Flow { dst_port: 7, src_port: 7, ..sent(protocol) };
        refused(&mut bench, 0, about(0, CLIENT, other.reversed()), Reason::OutOfState);
        assert_eq!(bench.count(Count::Created), 1);
    }
}

#[test]
fn a_quote_that_names_no_connection_by_its_form_is_an_icmp_error() {
    let mut bench = bench();
    let whole = quoted(seen(Protocol::UDP));
    let told = |quote: &[u8]| error(1, ROUTER, HIDDEN.into(), (3, 3), quote);
    for length in 0..28 {
        refused(&mut bench, 1, told(&whole[..length]), Reason::IcmpError);
    }
    refused(&mut bench, 1, told(&with(whole.clone(), |packet| packet[0] = 0x65)), Reason::IcmpError);
    refused(&mut bench, 1, told(&with(whole.clone(), |packet| packet[7] = 1)), Reason::IcmpError);
    refused(&mut bench, 1, told(&with(whole.clone(), |packet| packet[9] = 50)), Reason::IcmpError);
    // The quoted header was altered on its way.
    let mut altered = whole.clone();
    altered[8] ^= 1;
    refused(&mut bench, 1, told(&altered), Reason::IcmpError);
    // To another than the quoted packet came from.
    let astray = error(1, ROUTER, Ipv4Addr::new(10, 1, 0, 6).into(), (3, 3), &whole);
    refused(&mut bench, 1, astray, Reason::IcmpError);
    // About an error about the connection.
    let inner = about(0, CLIENT, sent(Protocol::UDP).reversed());
    let outer = error(0, INNER_ROUTER, CLIENT.into(), (11, 0), &inner.bytes()[14..]);
    refused(&mut bench, 0, outer, Reason::IcmpError);
    // Redirect and source quench are of one hop, or of a bygone time (RFC 6633).
    for kind in [4, 5] {
        refused(&mut bench, 1, error(1, ROUTER, HIDDEN.into(), (kind, 0), &whole), Reason::IcmpError);
    }
    // A timestamp is no error at all.
    refused(&mut bench, 1, error(1, ROUTER, HIDDEN.into(), (13, 0), &whole), Reason::Untracked);
    // The good one passes.
    forwarded(&mut bench, 1, 0, told(&whole));
}

#[test]
fn an_error_that_was_altered_on_its_way_is_dropped() {
    let mut bench = bench();
    let whole = about(1, ROUTER, seen(Protocol::UDP));
    // Type, code, MTU, quoted ports, quoted payload.
    for at in [34usize, 35, 40, 62, 64, 80] {
        let mut altered = whole.clone();
        altered.bytes_mut()[at] ^= if at == 34 { 8 } else { 1 };
        refused(&mut bench, 1, altered, Reason::BadChecksum);
    }
}

/// What is not all there is malformed, wherever it was cut (RFC 1812, 5.2.2): nobody looks at the half of an address.
#[test]
fn what_is_cut_short_is_malformed() {
    let mut bench = bench();
    let whole = about(1, ROUTER, seen(Protocol::UDP));
    let end = View::parse(whole.bytes()).and_then(|view| Some(view.ip()?.end)).unwrap();
    for length in 14..end {
        refused(&mut bench, 1, Frame(whole.bytes()[..length].to_vec()), Reason::Malformed);
    }
    // What is missing behind the packet's end is padding.
    bench.give(1, Frame(whole.bytes()[..end].to_vec()));
    assert_eq!(bench.dropped(Reason::Malformed), (14..end).len() as u64);
}

#[test]
fn an_error_about_a_broadcast_is_dropped() {
    let mut bench = bench();
    for last in [Ipv4Addr::new(10, 2, 0, 255), Ipv4Addr::new(10, 1, 0, 255)] {
        let to = Flow { dst: last.into(), ..seen(Protocol::UDP) };
        refused(&mut bench, 1, about(1, ROUTER, to), Reason::Broadcast);
        refused(&mut bench, 1, about(1, ROUTER, to.reversed()), Reason::Broadcast);
    }
    for address in [Ipv4Addr::new(224, 0, 0, 5), Ipv4Addr::BROADCAST, Ipv4Addr::UNSPECIFIED] {
        let to = Flow { dst: address.into(), ..seen(Protocol::UDP) };
        refused(&mut bench, 1, about(1, ROUTER, to), Reason::IcmpError);
        refused(&mut bench, 1, about(1, address, seen(Protocol::UDP)), Reason::IcmpError);
    }
}

/// Nobody outside speaks for a host inside, or for the cluster, nor the other way round.
#[test]
fn an_error_of_another_network_is_spoofed() {
    let mut bench = bench();
    for from in [CLIENT, INNER_ROUTER, HIDDEN, Ipv4Addr::new(10, 1, 0, 1)] {
        refused(&mut bench, 1, about(1, from, seen(Protocol::UDP)), Reason::Spoofed);
    }
    for from in [SERVER, Ipv4Addr::new(10, 1, 0, 1)] {
        refused(&mut bench, 0, about(0, from, sent(Protocol::UDP).reversed()), Reason::Spoofed);
    }
    // Where there is no route a router may be all the same.
    let frame = forwarded(&mut bench, 1, 0, about(1, Ipv4Addr::new(192, 0, 2, 1), seen(Protocol::UDP)));
    assert_eq!(read(&frame).0, IpAddr::from([192, 0, 2, 1]));
}

#[test]
fn an_error_enters_where_its_connections_packets_do() {
    let mut bench = with_connection(plain(), Protocol::UDP);
    refused(&mut bench, 0, about(0, INNER_ROUTER, sent(Protocol::UDP)), Reason::WrongNetwork);
}

#[test]
fn an_error_that_dies_here_is_told_to_nobody() {
    let mut bench = bench();
    let mut frame = about(1, ROUTER, seen(Protocol::UDP));
    let packet = with(frame.bytes()[14..].to_vec(), |packet| packet[8] = 1);
    frame.bytes_mut().truncate(14);
    frame.bytes_mut().extend(packet);
    refused(&mut bench, 1, frame, Reason::Ttl);
    assert_eq!(bench.count(Count::TimeExceeded), 0);
}

/// What the cluster itself said is no connection of anybody's.
#[test]
fn an_error_to_the_cluster_itself_is_not_served() {
    let mut bench = bench();
    let said = Flow { src: Ipv4Addr::new(10, 1, 0, 1).into(), dst: CLIENT.into(), ..sent(Protocol::UDP) };
    refused(&mut bench, 0, about(0, CLIENT, said), Reason::Local);
}

#[test]
fn an_error_in_pieces_is_a_fragment() {
    let mut bench = bench();
    let mut frame = about(1, ROUTER, seen(Protocol::UDP));
    let packet = with(frame.bytes()[14..].to_vec(), |packet| packet[6] = 0x20);
    frame.bytes_mut().truncate(14);
    frame.bytes_mut().extend(packet);
    refused(&mut bench, 1, frame, Reason::Fragment);
}

/// Makes the sums of an error and of what it quotes anew where the lengths allow it, so that changes go deep.
fn mended(bytes: &mut [u8]) {
    let header = |bytes: &mut [u8], at: usize| {
        let length = bytes.get(at).map_or(0, |first| usize::from(first & 15) * 4);
        if length >= 20 && bytes.len() >= at + length {
            bytes[at + 10..at + 12].fill(0);
            let made = !sum(&bytes[at..at + length]);
            bytes[at + 10..at + 12].copy_from_slice(&made.to_be_bytes());
        }
    };
    header(bytes, 42);
    header(bytes, 14);
    if bytes.len() > 38 {
        bytes[36..38].fill(0);
        let made = !sum(&bytes[34..]);
        bytes[36..38].copy_from_slice(&made.to_be_bytes());
    }
}

/// An error that was altered at a few places, perhaps with sums made anew, perhaps cut.
#[derive(Clone, Debug)]
struct Mutant {
    inside: bool,
    kind: u8,
    changes: Vec<(usize, u8)>,
    sums: bool,
    cut: usize,
}

fn mutants() -> impl Strategy<Value = Mutant> {
    let kinds = prop::sample::select(vec![3u8, 4, 5, 11, 12, 13]);
    let changes = prop::collection::vec((14usize..110, any::<u8>()), 0..4);
    let cuts = prop_oneof![Just(0usize), 0usize..60];
    (any::<bool>(), kinds, changes, any::<bool>(), cuts).prop_map(|(inside, kind, changes, sums, cut)| Mutant {
        inside,
        kind,
        changes,
        sums,
        cut,
    })
}

impl Mutant {
    fn frame(&self, protocol: Protocol) -> (u16, Frame) {
        let (port, from, flow) =
            if self.inside { (0, INNER_ROUTER, sent(protocol).reversed()) } else { (1, ROUTER, seen(protocol)) };
        let mut frame = error(port, from, flow.src, (self.kind, 0), &quoted(flow));
        for &(at, to) in &self.changes {
            if let Some(byte) = frame.bytes_mut().get_mut(at) {
                *byte = to;
            }
        }
        let length = frame.bytes().len() - self.cut;
        frame.bytes_mut().truncate(length);
        if self.sums {
            mended(frame.bytes_mut());
        }
        (port, frame)
    }

    fn is_whole(&self) -> bool {
        self.changes.is_empty() && self.cut == 0 && matches!(self.kind, 3 | 11 | 12)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever an error holds: it has one fate (checked by `handle`), nothing panics, nothing is remembered, nobody who
    /// hides is shown, and at most one frame comes of it, which the sum of its header holds.
    #[test]
    fn no_mutated_error_changes_anything(
        protocol in prop::sample::select(PROTOCOLS.to_vec()), all in prop::collection::vec(mutants(), 0..60),
    ) {
        let mut bench = with_connection(config(), protocol);
        let before = memory(&bench.gateway);
        for mutant in all {
            let (port, frame) = mutant.frame(protocol);
            let passed = bench.count(Count::IcmpErrors);
            bench.sent.clear();
            bench.give(port, frame);
            prop_assert_eq!(&memory(&bench.gateway), &before);
            prop_assert!(!mutant.is_whole() || bench.count(Count::IcmpErrors) == passed + 1);
            let out: Vec<_> = bench.sent.iter().filter(|(_, frame)| !is_arp(frame)).collect();
            prop_assert!(out.len() <= 1);
            for (port, frame) in out {
                let bytes = frame.bytes();
                prop_assert_eq!(sum(&bytes[14..34]), 0xffff);
                let shown = |hidden: Ipv4Addr| bytes.windows(4).any(|four| four == hidden.octets());
                prop_assert!(*port == 0 || !shown(CLIENT) && !shown(INNER_ROUTER), "somebody leaked");
            }
        }
    }
}

fn is_arp(frame: &Frame) -> bool {
    View::parse(frame.bytes()).is_some_and(|view| matches!(view.network, Layer3::Arp(_)))
}
