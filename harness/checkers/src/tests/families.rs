//! Runs of both families: each must be shown, and neither is judged as the other.

use scalebed_record::{Fact, Outcome, Schedule, Verdict};
use scalebed_topologies::lab::Rule;
use scalebed_topologies::scenario::{Share, Traffic};

use super::cluster::{Mutant, Run, run, run_with};
use super::{caught, failed, invalid, outcomes, passes};
use crate::Judgement;
use crate::places::{Places, Role};

fn verdict<'a>(judgement: &'a Judgement, check: &str) -> &'a Verdict {
    judgement.verdicts.iter().find(|verdict| verdict.check == check).expect("a verdict of that name")
}

fn schedule(run: &Run) -> Schedule {
    let found = run.history.entries.iter().find_map(|entry| match &entry.fact {
        Fact::Schedule(schedule) => Some(schedule.clone()),
        _ => None,
    });
    found.expect("a schedule")
}

/// Takes all that was seen of a family's flows, as if it had never come far.
fn unseen(run: &mut Run, v4: bool, first_hop_too: bool) {
    let flows = schedule(run).flows;
    let places = Places::of(&run.lab);
    run.observations.retain(|seen| {
        let of = |flow: u32| flows[flow as usize].forward.is_ipv4() == v4;
        let first = matches!(places.at(seen.tap).from, Role::Generator(_));
        seen.probe.is_none_or(|probe| !of(probe.flow) || first && !first_hop_too)
    });
}

#[test]
fn both_families_are_shown_and_counted() {
    for scenario in ["maestro/steady", "elasticxl/general-hide-nat"] {
        let judgement = passes(&run(scenario, Mutant::None));
        let value = &verdict(&judgement, "symmetry-l2").value;
        assert!(value.starts_with("100.000 % of 422 flows (212 IPv6) in 1 epochs"), "{value}");
        let row = &judgement.record.symmetry[0];
        assert_eq!((row.eligible, row.eligible6, row.l2), (422, 212, 422));
    }
}

#[test]
fn a_family_that_nobody_saw_makes_symmetry_invalid() {
    for (v4, family) in [(true, "IPv4"), (false, "IPv6")] {
        let mut run = run("maestro/steady", Mutant::None);
        unseen(&mut run, v4, false);
        let judgement = run.judge();
        let Outcome::Invalid(reason) = outcomes(&judgement)["symmetry-l2"] else { panic!("{:#?}", judgement.verdicts) };
        assert_eq!(reason, &format!("no {family} flow had enough packets each way in any epoch"));
    }
    // Of a family that the schedule has not, nothing is to be seen.
    let only = run_with("maestro/steady", Mutant::None, |traffic| traffic.ipv6_percent = 0);
    let judgement = passes(&only);
    assert!(verdict(&judgement, "symmetry-l2").value.contains(" flows (0 IPv6)"));
    assert!(!outcomes(&judgement).contains_key("correction-share-ipv6"));
}

#[test]
fn an_ipv6_flow_at_two_members_fails_symmetry() {
    for lab in ["maestro", "elasticxl"] {
        let judgement = run(&format!("{lab}/steady"), Mutant::Split6).judge();
        caught(&judgement, "symmetry-l2");
        let Outcome::Fail(evidence) = outcomes(&judgement)["symmetry-l2"] else { panic!("it failed") };
        assert!(evidence.len() > 5, "{evidence:?}");
    }
}

#[test]
fn an_ipv6_source_that_was_rewritten_fails_with_hide_nat_and_without() {
    for scenario in ["maestro/steady", "maestro/general-hide-nat", "elasticxl/steady"] {
        let judgement = run(scenario, Mutant::Translate6).judge();
        assert_eq!(failed(&judgement), ["nat-bindings"], "{scenario}");
    }
    // The clients' own addresses are no public ones of the cluster's.
    assert_eq!(passes(&run("maestro/general-hide-nat", Mutant::None)).record.shares.public_ips, 1);
}

#[test]
fn nat_that_only_ipv6_was_seen_through_is_not_shown() {
    let mut run = run("maestro/general-hide-nat", Mutant::None);
    unseen(&mut run, true, true);
    invalid(&run.judge(), "nat-leak");
}

#[test]
fn corrections_are_held_against_each_family_of_its_own() {
    let judgement = run("maestro/general-hide-nat", Mutant::None).judge();
    // Three of four translated flows come back elsewhere, and no IPv6 flow does.
    for check in ["correction-share", "correction-share-ipv6"] {
        assert_eq!(outcomes(&judgement)[check], &Outcome::Pass);
    }
    assert!(verdict(&judgement, "correction-share-ipv6").value.starts_with("0.000 % of return packets, 0.000 %"));
    assert!(verdict(&judgement, "correction-share-ipv6").value.ends_with("0 of 212 keys"));
    let judgement = run("maestro/steady", Mutant::Correct6).judge();
    caught(&judgement, "correction-share-ipv6");
    assert_eq!(outcomes(&judgement)["correction-share"], &Outcome::Pass);
    let mut wrong = run("maestro/general-hide-nat", Mutant::None);
    wrong.scenario.expect.corrected_return_share6 = Some(Share { of: 3, total: 4 });
    caught(&wrong.judge(), "correction-share-ipv6");
    let mut wrong = run("maestro/general-hide-nat", Mutant::None);
    wrong.scenario.expect.corrected_return_share = Some(Share { of: 0, total: 1 });
    caught(&wrong.judge(), "correction-share");
}

#[test]
fn denied_flows_of_each_family_must_be_offered_and_none_may_pass() {
    // Flows 20 to 23, two of either family.
    let denied = || {
        let mut run = run("maestro/steady", Mutant::None);
        let rule = Rule { src: None, dst: None, protocol: None, dst_ports: Some((9, 9)), accept: false };
        run.lab.group.rules.insert(0, rule);
        for entry in &mut run.history.entries {
            if let Fact::Schedule(schedule) = &mut entry.fact {
                schedule.flows[20..24].iter_mut().for_each(|flow| flow.forward.dst_port = Traffic::DENIED_PORT);
            }
        }
        let places = Places::of(&run.lab);
        run.observations.retain(|seen| {
            let first = matches!(places.at(seen.tap).from, Role::Generator(0));
            seen.probe.is_none_or(|probe| !(20..24).contains(&probe.flow) || first)
        });
        run
    };
    let check = "s18-denied-is-never-forwarded";
    let judgement = denied().judge();
    assert_eq!(outcomes(&judgement)[check], &Outcome::Pass);
    assert!(verdict(&judgement, check).value.ends_with("packets of 4 flows (2 IPv6) offered"));
    let mut silent = denied();
    silent.observations.retain(|seen| seen.probe.is_none_or(|probe| !(22..24).contains(&probe.flow)));
    invalid(&silent.judge(), check);
    let mut passed = denied();
    let whole = run("maestro/steady", Mutant::None);
    passed.observations.extend(whole.observations.iter().filter(|seen| seen.probe.is_some_and(|one| one.flow == 22)));
    caught(&passed.judge(), check);
}
