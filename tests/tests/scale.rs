//! Large groups in the simulated world: 31 members, and what sync costs against their number.

use std::fmt::Write as _;

use scalebed_harness::files;
use scalebed_tests::crowd::{self, Group};
use scalebed_tests::{complaints, simulate};

fn passes(scenario: &str) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let file = format!("{}/data/{scenario}.yaml", env!("CARGO_MANIFEST_DIR"));
    let judged = simulate(&file, &place.path().join("run"));
    assert_eq!(judged.record.outcome(), "pass", "{scenario}\n{}", complaints(&judged.record));
    assert_eq!(files::scenario(&file).expect("a scenario").lab.members().len(), 31);
}

#[test]
fn sim_31_members_steady() {
    passes("scale-steady");
}

#[test]
fn sim_31_members_and_one_dies() {
    passes("scale-member-kill");
}

/// Predicted: with HyperSync a connection has one copy and is sent once in any group; full sync would send N-1. Bytes grow
/// towards a bound at this rate of 40,000 connections a second: N(N-1) streams share it, so that an entry goes in a frame of
/// its own and has an acknowledgement of its own, where among few members many entries share both.
#[test]
fn a_connection_is_sent_once_in_a_group_of_any_size() {
    const CONNECTIONS: u32 = 3_000;
    // A frame with one entry and a frame with one acknowledgement.
    const ALONE: f64 = 300.0;
    let mut table = String::from("|  N | copies | entries | sync bytes | full sync, copies |\n");
    let each = |whole: u64| whole as f64 / f64::from(CONNECTIONS);
    for members in [2, 4, 8, 16, 31] {
        let held = Group::boot(&crowd::lab(members), CONNECTIONS).fill();
        let (copies, entries) = (each(held.footprint.copies as u64), each(held.entries));
        let bytes = each(held.sync_bytes);
        writeln!(table, "| {members:>2} | {copies:.4} | {entries:>7.4} | {bytes:>10.1} | {:>17} |", members - 1)
            .expect("a string takes all");
        assert!(bytes <= ALONE, "{members} members: {bytes} bytes");
    }
    insta::assert_snapshot!(table);
}
