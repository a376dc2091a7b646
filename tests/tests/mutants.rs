//! Every mutant makes a run FAIL by the right checker: the evidence that green means something.

use scalebed_cluster::Ablations;
use scalebed_engine::PortIndex;
use scalebed_frame::{DistributionMode, MemberId, NetworkId};
use scalebed_harness::driver::Settings;
use scalebed_harness::files;
use scalebed_harness::replay::{self, End};
use scalebed_harness::run::{self, Request, Where};
use scalebed_harness::rundir::RunDir;
use scalebed_harness::world::sim::{Sim, Wrap};
use scalebed_record::{Outcome, Record};
use scalebed_tests::mutants::{Fault, around, as_it_is};
use scalebed_tests::{complaints, needs_root, programs};
use scalebed_topologies::Lab;
use scalebed_topologies::lab::{NetworkRole, PortRole};

/// Runs a scenario in the simulated world with nodes of a mutated lab or mutated engines, judged by the true lab.
fn judged(scenario: &str, mutate: impl Fn(&mut Lab), wrap: Wrap, ablations: Ablations) -> Record {
    let loaded = files::scenario(scenario).expect("a shipped scenario");
    let mut nodes = loaded.lab.clone();
    mutate(&mut nodes);
    let mut world = Sim::with(&nodes, 1, wrap);
    let settings = Settings { seed: 1, ablations };
    scalebed_tests::judged(&mut world, &nodes, &loaded, settings).record
}

/// The run fails, and this checker is among those that say so.
fn caught(record: &Record, check: &str) {
    let fails = |verdict: &&scalebed_record::Verdict| matches!(verdict.outcome, Outcome::Fail(_));
    let by: Vec<&str> = record.verdicts.iter().filter(fails).map(|verdict| verdict.check.as_str()).collect();
    assert!(by.iter().any(|name| name.starts_with(check)), "{check} is not among {by:?}\n{}", complaints(record));
}

fn outside() -> NetworkId {
    let loaded = files::scenario("maestro/steady").expect("a shipped scenario");
    loaded.lab.role(NetworkRole::Outside).expect("an outside").id
}

#[test]
fn an_asymmetric_hash_is_caught_by_dealing() {
    let record = judged(
        "maestro/steady",
        |lab| lab.group.distribution = DistributionMode::User,
        as_it_is(),
        Ablations::default(),
    );
    caught(&record, "dealing");
}

#[test]
fn a_hard_wired_member_is_caught_by_dealing() {
    let loaded = files::scenario("maestro/steady").expect("a shipped scenario");
    let member = MemberId::new(1, 2);
    let wired = move |name: &str| {
        let (_, node) = loaded.lab.node(name).expect("an orchestrator");
        let port = node.ports.iter().position(|port| port.role == PortRole::DownlinkTo(member)).expect("a downlink");
        let mho = if name == "mho1" { 1 } else { 2 };
        Fault::HardWired { member, port: PortIndex(u16::try_from(port).expect("few ports")), mho }
    };
    let record = judged("maestro/steady", |_| {}, around("mho", wired), Ablations::default());
    caught(&record, "dealing");
}

#[test]
fn a_nat_leak_is_caught_by_nat_leak() {
    let outside = outside();
    let leak = move |_: &str| Fault::LeakOneIn { packets: 5000, outside };
    caught(&judged("maestro/steady", |_| {}, around("sgm-1-03", leak), Ablations::default()), "nat-leak");
}

#[test]
fn one_drop_in_ten_thousand_is_caught_by_loss() {
    let drops = |_: &str| Fault::DropOneIn(10_000);
    caught(&judged("maestro/steady", |_| {}, around("sgm-1-03", drops), Ablations::default()), "loss");
}

/// A cable that is to lose frames excuses what it loses, and nobody else's losses in that time.
#[test]
fn a_drop_while_a_cable_is_lossy_is_caught_by_loss() {
    let drops = |_: &str| Fault::DropOneIn(10_000);
    let record = judged("maestro/downlink-lossy", |_| {}, around("sgm-1-03", drops), Ablations::default());
    caught(&record, "loss");
}

#[test]
fn a_woken_member_without_self_fence_is_caught_by_s19() {
    let ablations = Ablations { no_self_fence: true, ..Ablations::default() };
    caught(&judged("maestro/hang-5-units", |_| {}, as_it_is(), ablations), "s19");
}

/// In namespaces: real processes, one of them a mutant.
fn netns(test: &str, fault: &str, check: &str) {
    if needs_root() {
        return;
    }
    let place = tempfile::tempdir().expect("a temporary directory");
    let folder = place.path().join("programs");
    std::fs::create_dir(&folder).expect("a directory");
    for program in ["mho", "pivot", "switch", "traffic-gen"] {
        std::os::unix::fs::symlink(programs().join(program), folder.join(program)).expect("a link");
    }
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mutant-sgm"), folder.join("sgm")).expect("a link");
    std::fs::write(folder.join("fault"), fault).expect("a file");
    let loaded = files::scenario("maestro/steady").expect("a shipped scenario");
    let request = Request {
        world: Where::Netns,
        settings: Settings { seed: 1, ..Settings::default() },
        programs: folder,
        command: test.to_owned(),
    };
    let dir = RunDir::create(Some(&place.path().join("run")), "mutant", 1).expect("a run directory");
    let (judged, _) = run::once(&loaded, &request, &dir).expect("a run");
    caught(&judged.record, check);
    // It wrote the journal of an `sgm`, and an `sgm` does not do what it did: the replay says who is wrong, and when.
    let end = |node: &str| replay::one(&dir.path().join("nodes").join(node).join("journal")).expect("a journal").end;
    assert!(matches!(end("sgm-1-03"), End::Differs(..)), "the mutant's journal replays");
    assert_eq!(end("sgm-1-01"), End::Equal);
}

#[test]
fn netns_a_nat_leak_is_caught_by_nat_leak() {
    netns("netns_a_nat_leak_is_caught_by_nat_leak", "leak", "nat-leak");
}

#[test]
fn netns_a_rare_drop_is_caught_by_loss() {
    netns("netns_a_rare_drop_is_caught_by_loss", "drop", "loss");
}
