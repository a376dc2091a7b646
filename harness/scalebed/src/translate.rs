//! A node's own event -> what the judge may know of it. The judge has its own words: it imports no node code.

use scalebed_engine::NodeEvent;
use scalebed_record::history::Declared;

/// The judge's word, and a line for people. `None`: not worth a line of the history (status answers).
#[must_use]
pub fn declared(event: &NodeEvent) -> Option<(Declared, String)> {
    Some(match event {
        NodeEvent::Ready => (Declared::Ready, "ready".to_owned()),
        NodeEvent::State { from, to, reason } => {
            let to = format!("{to:?}").to_lowercase();
            let from = format!("{from:?}").to_lowercase();
            let text = format!("{from} -> {to}: {reason}");
            (Declared::State(to), text)
        }
        NodeEvent::Role { role, taken } => {
            let verb = if *taken { "takes" } else { "gives up" };
            (Declared::Smo(*taken), format!("{verb} {}", format!("{role:?}").to_lowercase()))
        }
        NodeEvent::Accepted { generation, digest, admitted } => {
            let ids: Vec<_> = admitted.iter().map(|a| a.member.to_string()).collect();
            let text = format!("accepts generation {generation} ({})", ids.join(" "));
            (Declared::Accepted { generation: *generation, digest: *digest, admitted: admitted.clone() }, text)
        }
        NodeEvent::Activated { generation } => {
            (Declared::Activated(*generation), format!("generation {generation} is active"))
        }
        NodeEvent::Prepared { generation, reason } => {
            (Declared::Prepared(*generation), format!("prepares generation {generation}: {reason}"))
        }
        NodeEvent::Dead { node, reason } => (Declared::Dead(*node), format!("declares {node} dead: {reason}")),
        NodeEvent::Fenced { reason } => (Declared::Fenced(reason.clone()), format!("fences itself: {reason}")),
        NodeEvent::Announced { round } => (Declared::Announced, format!("announces its addresses, round {round}")),
        NodeEvent::Moved(report) => (
            Declared::Moved { generation: report.generation, entries: report.entries },
            format!("has all {} connections of the move from {}", report.entries, report.previous),
        ),
        NodeEvent::Status(_) => return None,
    })
}
