//! What an event does to cables, and for how long; and what a lab does to them from the start.

use scalebed_frame::NodeId;

use super::LONGEST;
use crate::error::{Place, Problems, quoted, suggestion};
use crate::fault::{Kind, OF_FRAMES, Reach, UnknownKind};
use crate::lab::Lab;
use crate::reader::{self, At, Shape, fields};
use crate::scenario::{CableFault, Event};
use crate::yaml::Node;

const FAULT: Shape = Shape { what: "`fault`", keys: &["cables", "kinds", "for"], later: &["nodes"] };
const CUT_OFF: Shape =
    Shape { what: "a node that is cut off", keys: &["member", "mho", "for"], later: &["who", "site"] };
const STANDING: Shape = Shape { what: "an impairment", keys: &["cables", "kinds"], later: &[] };
/// `{cables: [mho1--sgm-1-02], kinds: [loss=1, delay=20], for: 2s}`.
pub(super) fn fault(node: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Option<CableFault> {
    let map = fields(node, &FAULT, problems)?;
    let cables = map.require("cables", problems).map(|node| cables(node, lab, problems));
    let kinds = map.require("kinds", problems).map(|node| kinds(node, problems));
    let time = map.require("for", problems).and_then(|node| reader::millis(node, "for", 1..=LONGEST, problems));
    let (cables, kinds) = (cables??, kinds??);
    Some(CableFault { node: None, cables, kinds, for_ms: u64::from(time?.value) })
}

/// `{member: 1_02, for: 3s}`: all cables of a node, by name: they have to be known before anybody holds a role.
pub(super) fn cut_off(kind: Kind, node: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Option<CableFault> {
    let map = fields(node, &CUT_OFF, problems)?;
    let time = map.require("for", problems).and_then(|node| reader::millis(node, "for", 1..=LONGEST, problems));
    let id: NodeId = match (map.get("member"), map.get("mho")) {
        (Some(node), None) => super::member(node, lab, problems)?.value.into(),
        (None, Some(node)) => super::orchestrator(node, lab, problems)?.value.into(),
        _ => {
            problems.add(node.place, "it names nobody, or two", "write `member: 1_02` or `mho: 1`");
            return None;
        }
    };
    let (index, _) = lab.by_id(id)?;
    let index = u16::try_from(index).ok()?;
    let of_node = lab.cables.iter().zip(0u16..).filter(|(cable, _)| [cable.a.node, cable.b.node].contains(&index));
    let cables = of_node.map(|(_, cable)| cable).collect();
    Some(CableFault { node: Some(index), cables, kinds: vec![kind], for_ms: u64::from(time?.value) })
}

/// `{cables: [mho1--sgm-1-02], kinds: [metro]}`: of a lab. A cable that is unplugged for ever is none.
pub(crate) fn standing(node: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Option<CableFault> {
    let map = fields(node, &STANDING, problems)?;
    let cables = map.require("cables", problems).map(|node| cables(node, lab, problems));
    let kinds = map.require("kinds", problems).map(|node| kinds(node, problems));
    let fault = CableFault { node: None, cables: cables??, kinds: kinds??, for_ms: 0 };
    if fault.some(Kind::unplugs) {
        let what = "a lab's cable is not unplugged or flapping from the start";
        problems.add(map.place("kinds"), what, "remove the cable's node, or write an event of a scenario");
        return None;
    }
    Some(fault)
}

/// Is nothing else done to an event's cables while it stands? What stands at once on one cable could not be told apart in
/// what taps see; `kinds` combines it.
pub(super) fn free(event: &Event, place: Place, lab: &Lab, before: &[Event], problems: &mut Problems<'_>) {
    let Some(fault) = event.cable_fault() else { return };
    let both = |other: &CableFault| other.cables.iter().copied().find(|cable| fault.cables.contains(cable));
    let name = |cable: u16| lab.cables[usize::from(cable)].name.as_str();
    if let Some(cable) = lab.impairments.iter().find_map(both) {
        let what = format!("the lab impairs {} from the start", name(cable));
        problems.add(place, what, "name another cable, or remove it from the lab's `impairments`");
    }
    let standing = before.iter().filter(|other| other.healed_ms() > event.at_ms);
    if let Some(cable) = standing.filter_map(Event::cable_fault).find_map(both) {
        let what = format!("an earlier fault of {} still stands then", name(cable));
        problems.add(place, what, "begin later, or write one fault with all `kinds`");
    }
}

/// Cables of the cluster, each once, at least one.
fn cables(node: &Node, lab: &Lab, problems: &mut Problems<'_>) -> Option<Vec<u16>> {
    let known: Vec<&str> = lab.breakable_cables().iter().map(|cable| cable.name.as_str()).collect();
    let mut found = Vec::new();
    let items = reader::list(node, "cables", problems);
    for item in items {
        let At { value: name, place } = reader::scalar(item, "cable", problems)?;
        let index = lab.cables.iter().position(|cable| cable.name == name && known.contains(&name));
        let Some(index) = index.and_then(|index| u16::try_from(index).ok()) else {
            let what = format!("{} is no cable of the cluster in `{}`", quoted(name), lab.name);
            problems.add(place, what, suggestion("value", name, &known));
            return None;
        };
        if found.contains(&index) {
            problems.add(place, format!("{} is named twice", quoted(name)), "remove one");
            return None;
        }
        found.push(index);
    }
    if found.is_empty() {
        problems.add(node.place, "the fault names no cable", "write `cables: [...]`, as `scalebed plan` names them");
        return None;
    }
    Some(found)
}

fn kinds(node: &Node, problems: &mut Problems<'_>) -> Option<Vec<Kind>> {
    let words = format!("unplug, flap=MS, {OF_FRAMES}");
    let mut found = Vec::new();
    for item in reader::list(node, "kinds", problems) {
        let At { value: text, place } = reader::scalar(item, "kind", problems)?;
        match text.parse::<Kind>() {
            Ok(kind) if kind.reach() == Reach::Cable => found.push(kind),
            Ok(_) => problems.add(place, format!("{} is not done to cables", quoted(text)), format!("write {words}")),
            Err(UnknownKind::Number(_, most)) => {
                let instead = format!("write a whole number from 1 to {most} behind `=`");
                problems.add(place, format!("{} has no such number", quoted(text)), instead);
            }
            // As it was written, less what a terminal would take for its own.
            Err(UnknownKind::Word(_)) => {
                problems.add(place, format!("no fault is written {}", quoted(text)), format!("write {words}"));
            }
        }
    }
    if found.is_empty() {
        problems.add(node.place, "the fault does nothing", format!("write `kinds: [...]` of {words}"));
        return None;
    }
    Some(found)
}
