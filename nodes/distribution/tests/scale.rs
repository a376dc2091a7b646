//! Groups of 2 to 127 members: how even, how much one change moves, and how many copies a connection has. Every number is
//! exact: a change of the dealing or of the hash shows here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use scalebed_distribution::{Facing, Policy, matrix};
use scalebed_frame::control::{Admitted, Body, Control, Matrix, Reassembler, encode};
use scalebed_frame::{
    DistributionMode, Flow, Generation, GroupId, Incarnation, MemberId, MhoId, NodeId, Protocol, mac,
};
use scalebed_topologies::lab::Redeal;

/// Most members that a group has numbers for at a site (7 bits of a BMAC, and of a node's code).
const MOST: u8 = 127;
const BUCKETS: u16 = 512;
const FLOWS: u32 = 20_000;
const NAT: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
const LEGEND: &str = "\
512 buckets. max/fair: the most that one has, over 512/N. loss: buckets that move when one dies, over every victim, and
their share of all; max after/fair: the most that one has then, over 512/(N-1). join: the same when the N-th joins N-1.
collateral: moved without need, over all changes of the row. Copies of a connection beside its owner, mean of 20,000:
auto-topology without NAT; general with hide NAT (backup and where answers land); every update to everybody (full sync).

|   N | min-max | max/fair | loss    | share         | max after/fair | join | share  | collateral | copies | general+NAT | full |
|-----|---------|----------|---------|---------------|----------------|------|--------|------------|--------|-------------|------|
";

fn member(number: u8) -> MemberId {
    MemberId::new(1, number)
}

fn at(counter: u32) -> Generation {
    Generation { counter, author: member(1), incarnation: Incarnation(1) }
}

fn admitted(numbers: impl Iterator<Item = u8>) -> Vec<Admitted> {
    numbers.map(|number| Admitted { member: member(number), incarnation: Incarnation(1) }).collect()
}

fn group(n: u8) -> Matrix {
    matrix::first(at(1), BUCKETS, &admitted(1..=n), &[])
}

fn next(before: &Matrix, numbers: impl Iterator<Item = u8>) -> Matrix {
    matrix::next(before, at(before.generation.counter + 1), &admitted(numbers), &[], Redeal::MinimalMove)
}

/// Buckets of the member with fewest and of that with most.
fn spread(matrix: &Matrix) -> (usize, usize) {
    let mut counts: BTreeMap<MemberId, usize> = matrix.admitted.iter().map(|one| (one.member, 0)).collect();
    for bucket in &matrix.buckets {
        *counts.entry(bucket.owner).or_default() += 1;
    }
    (counts.values().copied().min().unwrap_or(0), counts.values().copied().max().unwrap_or(0))
}

/// Buckets that changed hands, and how many of them for nothing: those for which `need` does not hold.
fn moved(a: &Matrix, b: &Matrix, need: impl Fn(MemberId, MemberId) -> bool) -> (usize, usize) {
    let changed = a.buckets.iter().zip(&b.buckets).filter(|(a, b)| a.owner != b.owner);
    changed.fold((0, 0), |(moved, idle), (a, b)| (moved + 1, idle + usize::from(!need(a.owner, b.owner))))
}

/// Each member dies once: fewest and most buckets that this moves, collateral of all, and the most that anybody has then.
fn losses(before: &Matrix, n: u8) -> (usize, usize, usize, usize) {
    let mut sum = (usize::MAX, 0, 0, 0);
    for gone in 1..=n {
        let after = next(before, (1..=n).filter(|&number| number != gone));
        let (moved, idle) = moved(before, &after, |from, _| from == member(gone));
        sum = (sum.0.min(moved), sum.1.max(moved), sum.2 + idle, sum.3.max(spread(&after).1));
    }
    sum
}

fn flow(n: u32) -> Flow {
    let port = |n: u32| u16::try_from(1024 + n % 60_000).expect("below 65,536");
    Flow {
        protocol: Protocol::TCP,
        src: Ipv4Addr::from(0x0a00_0000 | (n.wrapping_mul(2_654_435_761) >> 12)).into(),
        dst: Ipv4Addr::from(0xc612_0000 | (n.wrapping_mul(40_503) & 0xffff)).into(),
        src_port: port(n.wrapping_mul(7_919)),
        dst_port: 443,
    }
}

/// Copies that connections have beside their owner: at the bucket's backup, and where the return direction lands.
fn copies(matrix: &Matrix, mode: DistributionMode, hide: bool) -> usize {
    let policy = Policy { mode, l4: false, buckets: BUCKETS };
    let bucket = |flow: &Flow, facing| matrix.buckets[usize::from(policy.bucket(flow, true, facing).0)];
    let of = |n| {
        let flow = flow(n);
        let back = Flow { dst: if hide { NAT } else { flow.src }, ..flow.reversed() };
        let (first, lands) = (bucket(&flow, Facing::Internal), bucket(&back, Facing::External).owner);
        let mut others: BTreeSet<MemberId> = first.backup.into_iter().chain([lands]).collect();
        others.remove(&first.owner);
        others.len()
    };
    (0..FLOWS).map(of).sum()
}

/// A ratio to four places, from whole numbers.
fn ratio(above: usize, below: usize) -> String {
    let scaled = (above * 10_000 + below / 2) / below;
    format!("{}.{:04}", scaled / 10_000, scaled % 10_000)
}

#[test]
fn evenness_disruption_and_copies_against_the_number_of_members() {
    let mut table = LEGEND.to_owned();
    let (all, flows) = (usize::from(BUCKETS), usize::try_from(FLOWS).expect("it fits"));
    for n in 2..=MOST {
        let (before, members) = (group(n), usize::from(n));
        let (min, max) = spread(&before);
        let (least, most, idle, after) = losses(&before, n);
        let smaller = group(n - 1);
        let joined = next(&smaller, 1..=n);
        let (join, needless) = moved(&smaller, &joined, |_, to| to == member(n));
        let one = ratio(copies(&before, DistributionMode::AutoTopology, false), flows);
        let two = ratio(copies(&before, DistributionMode::General, true), flows);
        let (even, loss) = (format!("{min}-{max}"), format!("{least}-{most}"));
        let (fair, fair_after) = (ratio(max * members, all), ratio(after * (members - 1), all));
        let share = format!("{}-{}", ratio(least, all), ratio(most, all));
        let (join_share, collateral, full) = (ratio(join, all), idle + needless, members - 1);
        writeln!(
            table,
            "| {n:>3} | {even:>7} | {fair:>8} | {loss:>7} | {share} | {fair_after:>14} | {join:>4} | {join_share} | \
             {collateral:>10} | {one} | {two:>11} | {full:>4} |"
        )
        .expect("a string takes all");
        assert_eq!(collateral, 0, "{n} members: minimal-move moves nothing without need");
        assert!(max - min <= 1, "{n} members: {min} to {max}");
        assert_eq!((least, most), (min, max), "{n} members: the dead member's buckets move, and no others");
        assert_eq!(join, spread(&joined).0, "{n} members: a joiner takes its share");
        assert_eq!(one, "1.0000", "{n} members: one backup");
    }
    insta::assert_snapshot!(table);
}

#[test]
fn a_group_of_127_has_an_address_for_each_and_its_matrix_travels() {
    let all = admitted(1..=MOST);
    let mut macs = BTreeSet::new();
    for one in &all {
        assert_eq!(NodeId::from_code(NodeId::from(one.member).code()), Some(one.member.into()));
        for interface in [0, 1] {
            assert!(macs.insert(mac::bmac(GroupId(1), one.member, interface)), "{:?} twice", one.member);
        }
        assert!(macs.insert(mac::smac(GroupId(1), one.member)), "{:?} twice", one.member);
    }
    // The largest message of the agreement: a matrix with everybody in it.
    let orchestrators = [1, 2].map(|number| (MhoId(number), Incarnation(1)));
    let message = Control {
        from: member(1).into(),
        incarnation: Incarnation(1),
        to: None,
        body: Body::Prepare(matrix::first(at(1), BUCKETS, &all, &orchestrators)),
    };
    let pieces = encode(&message, 7);
    let mut reassembler = Reassembler::default();
    let code = NodeId::from(member(1)).code();
    let came: Vec<_> =
        pieces.iter().filter_map(|piece| reassembler.push(code, piece).expect("a piece of ours")).collect();
    assert_eq!(came, [message]);
    let bytes: usize = pieces.iter().map(Vec::len).sum();
    insta::assert_snapshot!(format!("{bytes} bytes in {} pieces", pieces.len()), @"5543 bytes in 4 pieces");
}
