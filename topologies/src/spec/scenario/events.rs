//! Events of a scenario: what is done to whom, and whether that can be done then.

use std::collections::BTreeMap;

use scalebed_frame::{MemberId, NodeId};

use super::{LONGEST, cables, member, orchestrator};
use crate::error::{Place, Problems, suggestion};
use crate::fault::Kind;
use crate::lab::{Architecture, Lab};
use crate::reader::{self, At, Fields, Shape, fields};
use crate::scenario::{Action, Event, Outcome, Target};
use crate::yaml::{Node, Value};

/// Most events of a scenario.
const MAX_EVENTS: usize = 64;

const ACTIONS: [&str; 10] =
    ["kill", "power_off", "hang", "start", "downlink_down", "downlink_up", "fault", "mute", "deafen", "isolate"];
const LATER: &[&str] = &["partition", "freeze", "drain", "restart", "upgrade", "wake", "add", "remove"];
const EVENT: Shape = Shape {
    what: "an event",
    keys: &[
        "at",
        "kill",
        "power_off",
        "hang",
        "start",
        "downlink_down",
        "downlink_up",
        "fault",
        "mute",
        "deafen",
        "isolate",
        "outcome",
        "generations",
    ],
    later: LATER,
};
const TARGET: Shape = Shape { what: "a target", keys: &["member", "mho"], later: &["site", "cable", "switch"] };
const HANG: Shape = Shape { what: "`hang`", keys: &["member", "who", "units"], later: &["mho", "site"] };
const DOWNLINK: Shape = Shape { what: "a downlink", keys: &["member", "mho"], later: &[] };

/// Reads the events. They must stand in order of time, after the baseline.
pub(super) fn read(
    node: &Node,
    lab: &Lab,
    absent: &[MemberId],
    baseline: Option<At<u32>>,
    problems: &mut Problems<'_>,
) -> Vec<Event> {
    let mut order = Order::new(lab, absent);
    let mut events: Vec<Event> = Vec::new();
    let items = reader::list(node, "events", problems);
    if let Some(beyond) = items.get(MAX_EVENTS) {
        problems.add(beyond.place, format!("{} events", items.len()), format!("write at most {MAX_EVENTS}"));
    }
    for item in items.iter().take(MAX_EVENTS) {
        let Some((event, at, target)) = event(item, lab, problems) else {
            order.lose_track();
            continue;
        };
        let before = events.last().map(|event| event.at_ms);
        if let Some(before) = before.filter(|before| *before > event.at_ms) {
            let what = format!("an event at {} ms after one at {before} ms", event.at_ms);
            problems.add(at, what, "write events in order of time");
        } else if let Some(baseline) = baseline.filter(|baseline| u64::from(baseline.value) > event.at_ms) {
            let what = format!("an event at {} ms, within the baseline of {} ms", event.at_ms, baseline.value);
            problems.add(at, what, format!("write at least {}ms, or shorten `baseline`", baseline.value));
        }
        order.check(&event.action, target, problems);
        cables::free(&event, target, lab, &events, problems);
        events.push(event);
    }
    events
}

/// An event, where its time stands, and where its target stands.
fn event(node: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Option<(Event, Place, Place)> {
    let map = fields(node, &EVENT, problems)?;
    let at = map.require("at", problems).and_then(|node| reader::millis(node, "at", 0..=LONGEST, problems));
    let words =
        [("no-loss", Outcome::NoLoss), ("bounded-loss", Outcome::BoundedLoss), ("young-lost", Outcome::YoungLost)];
    let outcome = map
        .require("outcome", problems)
        .and_then(|node| reader::choice(node, "outcome", &words, &["unavailable"], problems));
    let generations =
        map.require("generations", problems).and_then(|node| reader::number(node, "generations", 0..=16, problems));
    let (action, place) = action(node.place, &map, lab, problems)?;
    let at = at?;
    let event = Event { at_ms: u64::from(at.value), action, outcome: outcome?.value, generations: generations?.value };
    Some((event, at.place, place))
}

fn action(place: Place, map: &Fields<'_>, lab: &Lab, problems: &mut Problems<'_>) -> Option<(Action, Place)> {
    let given: Vec<&str> = ACTIONS.into_iter().filter(|key| map.get(key).is_some()).collect();
    let &[key] = &given[..] else {
        if let [_, second, ..] = given[..] {
            problems.add(map.place(second), "an event does one thing", "write a second event for this");
        } else if !map.is_odd() {
            problems.add(place, "the event does nothing", format!("add one of {}", ACTIONS.join(", ")));
        }
        return None;
    };
    let node = map.get(key)?;
    let action = match key {
        "kill" => Action::Kill(victim(node, lab, problems)?),
        "power_off" => Action::PowerOff(target(node, lab, problems)?),
        "hang" => hang(node, lab, problems)?,
        "start" => Action::Start(target(node, lab, problems)?),
        "downlink_down" => downlink(node, lab, problems).map(|(member, mho)| Action::DownlinkDown { member, mho })?,
        "downlink_up" => downlink(node, lab, problems).map(|(member, mho)| Action::DownlinkUp { member, mho })?,
        "mute" => Action::Fault(cables::cut_off(Kind::Mute, node, lab, problems)?),
        "deafen" => Action::Fault(cables::cut_off(Kind::Deafen, node, lab, problems)?),
        "isolate" => Action::Fault(cables::cut_off(Kind::Isolate, node, lab, problems)?),
        _ => Action::Fault(cables::fault(node, lab, problems)?),
    };
    Some((action, node.place))
}

/// Who is meant: a mapping with an id, or a word for a role.
fn target(node: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Option<Target> {
    if !matches!(node.value, Value::Map(_)) {
        return role(node, lab, problems);
    }
    let map = fields(node, &TARGET, problems)?;
    match (map.get("member"), map.get("mho")) {
        (Some(node), None) => member(node, lab, problems).map(|at| Target::Member(at.value)),
        (None, Some(node)) => orchestrator(node, lab, problems).map(|at| Target::Mho(at.value)),
        (Some(_), Some(_)) => {
            problems.add(map.place("mho"), "a target is one node", "write `member` or `mho`");
            None
        }
        (None, None) => {
            problems.add(node.place, "the target names nobody", "write `{member: 1_02}`, `{mho: 1}` or `smo`");
            None
        }
    }
}

/// As [`target`], less orchestrators: a static bond sees only their power go.
fn victim(node: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Option<Target> {
    let target = target(node, lab, problems)?;
    if matches!(target, Target::Mho(_)) {
        let what = "an orchestrator that dies but keeps carrier is seen only through LACP: not supported yet";
        problems.add(node.place, what, "write `power_off: {mho: ...}`");
        return None;
    }
    Some(target)
}

fn role(node: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Option<Target> {
    let At { value: text, place } = reader::scalar(node, "target", problems)?;
    match (text, lab.architecture) {
        ("smo", _) | ("pivot", Architecture::ElasticXl) => Some(Target::Smo),
        ("last-victim", _) => Some(Target::LastVictim),
        ("hosts-owner", _) => Some(Target::HostsOwner),
        ("pivot", Architecture::Maestro) => {
            problems.add(place, "Maestro has no pivot", "nearest valid value: `smo`");
            None
        }
        _ => {
            let words = ["smo", "pivot", "last-victim", "hosts-owner"];
            let what = format!("unknown target {}", crate::error::quoted(text));
            problems.add(place, what, format!("{}; or `{{member: 1_02}}`", suggestion("value", text, &words)));
            None
        }
    }
}

fn hang(node: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Option<Action> {
    let map = fields(node, &HANG, problems)?;
    let units = map.require("units", problems).and_then(|node| reader::number(node, "units", 1..=100, problems));
    let target = match (map.get("member"), map.get("who")) {
        (Some(node), None) => member(node, lab, problems).map(|at| Target::Member(at.value))?,
        (None, Some(node)) => role(node, lab, problems)?,
        _ => {
            problems.add(node.place, "`hang` names nobody, or two", "write `member: 1_02` or `who: smo`");
            return None;
        }
    };
    Some(Action::Hang { target, units: units?.value })
}

fn downlink(node: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Option<(MemberId, scalebed_frame::MhoId)> {
    if lab.architecture == Architecture::ElasticXl {
        problems.add(node.place, "ElasticXL has no downlinks", "remove the event");
        return None;
    }
    let map = fields(node, &DOWNLINK, problems)?;
    let member = map.require("member", problems).and_then(|node| member(node, lab, problems));
    let mho = map.require("mho", problems).and_then(|node| orchestrator(node, lab, problems));
    Some((member?.value, mho?.value))
}

/// Who runs at each event, as far as the file says: after a fault on a role holder nobody is known to run or not.
struct Order {
    running: BTreeMap<NodeId, bool>,
    known: bool,
    victim: bool,
}

impl Order {
    fn new(lab: &Lab, absent: &[MemberId]) -> Self {
        let members = lab.members().into_iter().map(|member| (member.into(), !absent.contains(&member)));
        let mhos = lab.orchestrators().into_iter().map(|mho| (mho.into(), true));
        Self { running: members.chain(mhos).collect(), known: true, victim: false }
    }

    /// An event that can't be read may have done anything.
    const fn lose_track(&mut self) {
        self.known = false;
        self.victim = true;
    }

    fn check(&mut self, action: &Action, place: Place, problems: &mut Problems<'_>) {
        let (target, ends, must_run) = match action {
            Action::Kill(target) | Action::PowerOff(target) => (*target, false, true),
            Action::Hang { target, .. } => (*target, true, true),
            Action::Start(target) => (*target, true, false),
            Action::DownlinkDown { member, .. } | Action::DownlinkUp { member, .. } => {
                (Target::Member(*member), true, true)
            }
            // A cable is there whether anybody runs at its ends or not.
            Action::Fault(_) => return,
        };
        let id: NodeId = match target {
            Target::Member(member) => member.into(),
            Target::Mho(mho) => mho.into(),
            Target::Smo | Target::HostsOwner => return self.lose_track(),
            Target::LastVictim => {
                if !self.victim {
                    problems.add(place, "nobody was a victim before this event", "name the node");
                }
                self.known = false;
                return;
            }
        };
        let runs = self.running.insert(id, ends).unwrap_or(true);
        if self.known && runs != must_run {
            let (what, instead) = if must_run {
                (format!("{id} does not run then"), "start it first, or name another")
            } else {
                (format!("{id} runs already"), "name one that is absent or was killed")
            };
            problems.add(place, what, instead);
        }
        self.victim |= must_run;
    }
}
