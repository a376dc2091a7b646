//! Formulas and parts on their own.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use scalebed_frame::build::{self, Envelope};
use scalebed_frame::control::{self, Body, Control, Heartbeat, MemberState};
use scalebed_frame::signature::{Class, Direction, Signature};
use scalebed_frame::{
    DistributionMode, Flow, Generation, GroupId, Incarnation, Kind, Mac, MemberId, NetworkId, NodeId, Protocol, Shim,
};
use scalebed_record::TapId;
use scalebed_record::history::Heard;

use crate::numbers::{chi_square_p, quantile, tolerance, wilson};
use crate::observe::{ControlWatch, observe};
use crate::oracle::{Oracle, bucket, key};

fn flow(src: u32, dst: u32, src_port: u16, dst_port: u16) -> Flow {
    let (src, dst) = (Ipv4Addr::from(src).into(), Ipv4Addr::from(dst).into());
    Flow { protocol: Protocol::UDP, src, dst, src_port, dst_port }
}

#[test]
fn formulas_give_textbook_values() {
    let (low, high) = wilson(10, 10);
    assert!((low - 72.2).abs() < 0.1 && (high - 100.0).abs() < 1e-9, "{low} {high}");
    // chi-square 7.815 at 3 degrees is the 5 % point.
    assert!((chi_square_p(7.815, 3.0) - 0.05).abs() < 0.002, "{}", chi_square_p(7.815, 3.0));
    assert!((tolerance(100.0, 0.25) - (5.0 + 3.5 * 75f64.sqrt())).abs() < 1e-9);
    assert!((quantile(&[1.0, 2.0, 3.0, 4.0], 0.5) - 2.0).abs() < 1e-9);
}

#[test]
fn the_algebra_is_that_of_the_field() {
    let (client, server, nat) = (0xc612_4001, 0xc612_8001, 0xc612_0101);
    let out = flow(client, server, 1024, 80);
    let back = flow(server, nat, 80, 20_000);
    let both = |mode, l4, back: &Flow| (key(mode, l4, true, &out, true), key(mode, l4, false, back, true));
    // Auto-topology with hide NAT, L4 off: the server both ways.
    let (a, b) = both(DistributionMode::AutoTopology, false, &back);
    assert_eq!(a, b);
    // General without NAT: the same pair; with NAT: another.
    let (a, b) = both(DistributionMode::General, true, &out.reversed());
    assert_eq!(a, b);
    let (a, b) = both(DistributionMode::General, false, &back);
    assert_ne!(a, b);
    // L4 and a translated port part the directions; a preserved port does not.
    let (a, b) = both(DistributionMode::AutoTopology, true, &back);
    assert_ne!(a, b);
    let (a, b) = both(DistributionMode::AutoTopology, true, &Flow { dst_port: 1024, ..back });
    assert_eq!(a, b);
    assert_eq!(
        key(DistributionMode::General, true, true, &out, false),
        key(DistributionMode::General, false, true, &out, true)
    );
}

#[test]
fn buckets_are_the_published_ones() {
    let one = flow(0xc612_4001, 0xc612_8001, 1024, 80);
    let modes = [DistributionMode::General, DistributionMode::User, DistributionMode::Network];
    let all: Vec<u16> = modes
        .iter()
        .flat_map(|mode| [false, true].map(|l4| bucket(&key(*mode, l4, true, &one, true), 512).0))
        .collect();
    insta::assert_snapshot!(format!("{all:?}"), @"[129, 16, 203, 222, 311, 455]");
}

#[test]
fn ipv6_is_dealt_as_it_is_whatever_hides_the_others() {
    let four = flow(0xc612_4001, 0xc612_8001, 1024, 80);
    let (client, server) = ([0x2001, 2, 0, 0x40, 0, 0, 0, 1].into(), [0x2001, 2, 0, 0x80, 0, 0, 0, 1].into());
    let six = Flow { src: client, dst: server, ..four };
    let (lab, _) = scalebed_topologies::catalogue::scenario("maestro/general-hide-nat").unwrap().unwrap();
    for l4 in [false, true] {
        for mode in [DistributionMode::General, DistributionMode::AutoTopology, DistributionMode::User] {
            let mut lab = lab.clone();
            (lab.group.distribution, lab.group.l4) = (mode, l4);
            let oracle = Oracle::new(&lab);
            assert!(oracle.hidden_behind(&four).is_some());
            assert_eq!(oracle.hidden_behind(&six), None);
            // The client is where the answer goes.
            assert_eq!(oracle.return_key(&six), Some(key(mode, l4, false, &six.reversed(), true)));
            let meets = oracle.return_key(&six) == Some(oracle.forward_key(&six));
            assert_eq!(meets, mode != DistributionMode::User, "{mode:?}");
        }
    }
}

proptest! {
    #[test]
    fn a_signed_packet_is_observed_as_it_is(
        number: u32, sequence in 0u64..1 << 31, reverse: bool, cut in 130usize..200, v6: bool,
    ) {
        let direction = if reverse { Direction::Reverse } else { Direction::Forward };
        let signature =
            Signature { direction, class: Class::Population, phase: 0, run: 1, flow: number, sequence, intended: 5, late: 9, attempt: 0 };
        let mut payload = vec![0u8; 400];
        prop_assert!(signature.write(&[1; 16], &mut payload));
        let envelope = Envelope { src: Mac::host(1), dst: Mac::host(2), ttl: 61, identification: 0 };
        let (src, dst) = ([0x2001, 2, 0, 0, 0, 0, 0, 1].into(), [0x2001, 2, 0, 1, 0, 0, 0, 1].into());
        let tuple = if v6 { Flow { src, dst, ..flow(1, 2, 3, 4) } } else { flow(1, 2, 3, 4) };
        let mut frame = build::udp(envelope, tuple, &payload);
        let shim = Shim { hop: 1, ..Shim::new(Kind::Correction, NetworkId(1), GroupId(1)) };
        shim.insert(frame.bytes_mut());
        let whole = frame.bytes().len();
        let seen = observe(TapId(7), 42, u32::try_from(whole).unwrap(), &frame.bytes()[..cut]);
        prop_assert_eq!((seen.at, usize::from(seen.length), seen.ttl), (42, whole, 61));
        prop_assert_eq!(seen.shim, Some(shim));
        prop_assert_eq!(seen.flow, Some(tuple));
        let probe = seen.probe.unwrap();
        prop_assert_eq!((probe.flow, probe.direction, u64::from(probe.sequence), probe.late), (number, direction, sequence, 9));
    }

    /// Of a packet that came shorter than it says it is nobody knows whose it was; a tap's own cut changes nothing.
    #[test]
    fn what_came_cut_short_is_nobodys(payload in 60usize..300, cut in 14usize..400) {
        let frame = build::udp(
            Envelope { src: Mac::host(1), dst: Mac::host(2), ttl: 64, identification: 0 },
            flow(1, 2, 3, 4),
            &vec![7; payload],
        );
        let whole = frame.bytes().len();
        let cut = cut.min(whole - 1);
        let kept = |length: usize| &frame.bytes()[..length.min(256)];
        let seen = |length: usize| observe(TapId(7), 42, u32::try_from(length).unwrap(), kept(length));
        prop_assert!(seen(whole).flow.is_some());
        prop_assert_eq!(seen(cut).flow, None);
        prop_assert_eq!(usize::from(seen(cut).length), cut);
    }

    #[test]
    fn rubbish_is_observed_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let seen = observe(TapId(1), 1, 300, &bytes);
        prop_assert_eq!(ControlWatch::default().see(&seen, &bytes), Vec::new());
    }
}

#[test]
fn the_watch_tells_each_heartbeat_once_and_each_matrix_once() {
    let from = NodeId::Member(MemberId::new(1, 2));
    let beat = |sent| Heartbeat {
        sent,
        heard: Vec::new(),
        state: MemberState::Active,
        reason: None,
        config: 1,
        accepted: Generation::NONE,
        digest: 3,
        activated: Generation::NONE,
        admitted: Vec::new(),
        smo: true,
        downlinks_down: Vec::new(),
        ports_down: 0,
    };
    let owner = MemberId::new(1, 2);
    let assignment = control::Assignment { owner, backup: None, moved: Generation::NONE, previous: None };
    let matrix = control::Matrix {
        generation: Generation { counter: 1, ..Generation::NONE },
        admitted: Vec::new(),
        orchestrators: Vec::new(),
        buckets: vec![assignment; 512],
    };
    let mut watch = ControlWatch::default();
    let mut see = |tap, id, body: Body| {
        let message = Control { from, incarnation: Incarnation(4), to: None, body };
        let shim = Shim { origin: from.code(), ..Shim::new(Kind::Control, NetworkId::SYNC, GroupId(1)) };
        let mut heard = Vec::new();
        for piece in control::encode(&message, id) {
            let frame = control::frame(Mac::host(1), Mac::BROADCAST, shim, from, None, &piece);
            let seen = observe(TapId(tap), 1, 100, frame.bytes());
            heard.extend(watch.see(&seen, frame.bytes()));
        }
        heard
    };
    let first = see(1, 1, Body::Heartbeat(beat(10)));
    assert!(matches!(
        first[..],
        [Heard::Heartbeat { incarnation: Incarnation(4), sent: 10, digest: 3, smo: true, .. }]
    ));
    assert_eq!(see(2, 1, Body::Heartbeat(beat(10))), []);
    assert_eq!(see(1, 2, Body::Heartbeat(beat(20))).len(), 1);
    assert!(matches!(see(1, 3, Body::Prepare(matrix.clone()))[..], [Heard::Matrix(_)]));
    assert_eq!(see(2, 3, Body::Prepare(matrix)), []);
}
