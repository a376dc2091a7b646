//! A lab that is driven by hand, in virtual time.

use scalebed_topologies::fault::Kind;
use scalebed_topologies::{Lab, Scenario};

use super::{Live, kind, word};
use crate::driver::Settings;
use crate::exit;
use crate::files;
use crate::world::World as _;
use crate::world::sim::Sim;

/// Brings a lab up, and lets a test do what it wants with it.
fn driven(lab: &Lab, test: impl FnOnce(&mut Live<'_, Sim>)) {
    let scenario = Scenario::idle(lab);
    let mut world = Sim::new(lab, 1);
    test(&mut Live::boot(&mut world, lab, &scenario, Settings::default()).expect("a lab in service"));
}

fn shipped(name: &str) -> Lab {
    files::lab(name).expect("a shipped lab").0
}

#[test]
fn faults_are_written_as_they_are_read() {
    for text in
        ["kill", "power-off", "restart", "hang", "unplug", "cut-to-a", "loss=5", "delay=20", "rate=10", "wan-100ms"]
    {
        assert_eq!(word(kind(text).expect("a fault")), text);
    }
    for text in ["explode", "loss", "loss=much", "kill=3"] {
        let error = kind(text).expect_err("no fault");
        assert!(error.contains("number") || error.contains("write kill, power-off"), "{error}");
    }
}

#[test]
fn nobody_is_shown_members_that_the_file_does_not_have() {
    let (lab, _) = files::lab_with_room("elasticxl-single-site", 2).expect("a shipped lab");
    assert!(lab.spare.is_empty(), "three members are all that the platform takes");
    let (lab, _) = files::lab_with_room("maestro-single-site", 1).expect("a shipped lab");
    driven(&lab, |live| {
        for (kind, target) in [(Kind::Kill, "sgm-1-05"), (Kind::Unplug, "mho2--sgm-1-05")] {
            let failure = live.inject(kind, target).expect_err("refused");
            assert!(failure.code == exit::USAGE && failure.text.contains("no member 1_05"), "{failure}");
            let known = live.inject(kind, "nobody").expect_err("refused").text;
            assert!(known.contains("sgm-1-04") && !known.contains("sgm-1-05"), "{known}");
        }
        let five = ["sgm-1-05".to_owned()];
        live.change(&five, &[], &[]).expect("it comes");
        live.inject(Kind::Unplug, "mho2--sgm-1-05").expect("pulled");
        let failure = live.change(&[], &five, &lab.spare).expect_err("a cable of it is pulled");
        assert!(failure.text.contains("unplug mho2--sgm-1-05 stands: heal it first"), "{failure}");
        live.inject(Kind::Kill, "sgm-1-05").expect("killed");
        assert!(live.change(&[], &five, &lab.spare).expect_err("it is dead").text.contains("heal it first"));
        live.heal(None).expect("mended");
        live.change(&[], &five, &lab.spare).expect("it goes");
        assert_eq!(live.process(lab.node("sgm-1-05").expect("a member").0), Some("absent"));
        assert!(live.not_there("sgm-1-05").is_some() && live.not_there("sgm-1-04").is_none());
    });
}

#[test]
fn a_cable_flaps_until_it_is_healed() {
    driven(&shipped("maestro-single-site"), |live| {
        let cable = "mho1--sgm-1-01";
        let failure = live.inject(Kind::Flap(9), cable).expect_err("refused");
        assert!(failure.code == exit::USAGE && failure.text.contains("at least 10 ms"), "{failure}");
        live.inject(Kind::Flap(100), cable).expect("it flaps");
        assert_eq!(live.broken(), [format!("flap=100 {cable}")]);
        assert!(live.inject(Kind::Flap(100), cable).expect_err("it does").text.contains("already"));
        let mut turns = 0;
        let begun = live.world().now();
        while let Some(next) = live.next().filter(|next| *next <= begun + 1_050_000_000) {
            live.world().advance(next).expect("time passes");
            live.on_time();
            turns += 1;
        }
        // It was pulled at once, and after ten turns it is again.
        let words = |live: &mut Live<'_, _>, what: &str| {
            live.history().iter().filter(|entry| format!("{entry:?}").contains(what)).count()
        };
        assert_eq!((turns, words(live, &format!("unplug {cable}"))), (10, 6));
        assert_eq!(live.heal(None).expect("healed"), [format!("flap=100 {cable}")]);
        assert_eq!((live.next(), live.broken().len()), (None, 0));
        assert_eq!(words(live, &format!("mend {cable}")), 1, "it stays plugged in");
        live.on_time();
        assert_eq!(words(live, "plug"), 0);
    });
}

#[test]
fn what_is_broken_is_mended_once() {
    let lab = shipped("maestro-single-site");
    driven(&lab, |live| {
        let (node, _) = lab.node("sgm-1-03").expect("a member");
        assert_eq!(live.process(node), Some("running"));
        live.inject(Kind::Kill, "sgm-1-03").expect("killed");
        assert_eq!((live.process(node), live.broken()), (Some("dead"), vec!["kill sgm-1-03".to_owned()]));
        for (kind, target, words) in [
            (Kind::Kill, "sgm-1-03", "already"),
            (Kind::Hang, "sgm-1-03", "is dead: heal it first"),
            (Kind::Kill, "sgm-1-99", "sgm-1-04"),
            (Kind::Unplug, "sgm-1-01", "mho1--sgm-1-01"),
        ] {
            let failure = live.inject(kind, target).expect_err("refused");
            assert_eq!(failure.code, exit::USAGE);
            assert!(failure.text.contains(words), "{failure}");
        }
        live.inject(Kind::Unplug, "mho1--sgm-1-01").expect("pulled");
        live.inject(Kind::Restart, "sgm-1-02").expect("restarted");
        assert_eq!(live.heal(Some("sgm-1-03")).expect("started"), ["kill sgm-1-03"]);
        assert_eq!(live.process(node), Some("running"));
        assert!(live.heal(Some("sgm-1-03")).expect_err("nothing there").text.contains("unplug mho1--sgm-1-01"));
        assert_eq!(live.heal(None).expect("plugged"), ["unplug mho1--sgm-1-01"]);
        assert!(live.broken().is_empty());
        let until = live.world().now() + 1_000_000_000;
        assert!(live.world().advance(until).is_ok());
        let text = format!("{:?}", live.history());
        for words in ["kill sgm-1-03", "mend mho1--sgm-1-01", "restart sgm-1-02"] {
            assert!(text.contains(words), "{words}: {text}");
        }
    });
}

/// A turn that comes late is no reason for one that takes no time, and at a node that is off nothing is plugged in.
#[test]
fn turns_are_whole_and_wait_for_a_node_that_is_off() {
    let lab = shipped("elasticxl-single-site");
    driven(&lab, |live| {
        let cable = lab.cables.iter().find(|cable| cable.name.starts_with("member-1-02--")).expect("a cable");
        live.inject(Kind::Flap(100), &cable.name).expect("it flaps");
        let late = live.world().now() + 350_000_000;
        live.world().advance(late).expect("time passes");
        live.on_time();
        assert_eq!(live.next(), Some(late + 100_000_000));
        live.world().advance(late + 100_000_000).expect("time passes");
        live.on_time();
        live.inject(Kind::PowerOff, "member-1-02").expect("off");
        live.history();
        for turn in 2..6 {
            live.world().advance(late + turn * 100_000_000).expect("time passes");
            live.on_time();
        }
        let text = format!("{:?}", live.history());
        assert!(!text.contains("plug") && !text.contains("mend"), "{text}");
        live.heal(None).expect("it is on, and its cable is in");
        assert!(live.broken().is_empty() && live.next().is_none());
    });
}
