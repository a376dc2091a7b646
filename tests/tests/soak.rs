//! Very many connections in one group. A process of its own: it is weighed.

use scalebed_tests::crowd::{self, Group};

/// Bytes a connection over its owner and its backup.
const BAR: usize = 400;
/// What a world keeps beside connections, however many they are: queues, the list of young ones at its longest.
const BESIDE: usize = 4 << 20;

/// Resident memory of this process, bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    let kib: usize = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    kib * 1024
}

/// By the sizes of the tables' own parts, and by what the process grew. Tier test opens 50,000 connections, tier soak a
/// million.
#[test]
fn soak_a_connection_is_small_in_a_group_of_14() {
    let connections = if scalebed_tests::soak() { 1_000_000 } else { 50_000 };
    let mut group = Group::boot(&crowd::lab(14), connections);
    let before = resident();
    let began = std::time::Instant::now();
    let held = group.fill();
    let grown = resident() - before;
    let seconds = began.elapsed().as_secs_f64();
    // The whole world is there until it was weighed.
    drop(group);
    let count = held.footprint.owned;
    assert_eq!(held.footprint.copies, count, "each has one backup");
    let each = |whole: usize| whole as f64 / count as f64;
    println!("{count} connections in 14 members, each with one backup, in {seconds:.1} s");
    println!(
        "bytes a connection over owner and backup: {:.0} by the tables' sizes, {:.0} by resident memory",
        each(held.footprint.bytes),
        each(grown)
    );
    println!(
        "sync: {:.3} entries and {:.0} bytes a connection",
        each(held.entries as usize),
        each(held.sync_bytes as usize)
    );
    assert!(held.footprint.bytes <= BAR * count, "{:.1} bytes by the tables' sizes", each(held.footprint.bytes));
    assert!(grown <= BAR * count + BESIDE, "{:.1} bytes by resident memory", each(grown));
}
