//! One line for any frame, as a person would want to read it in a transcript.

use std::fmt::Write as _;

use crate::control::{self, Body, Reassembler};
use crate::ids::NodeId;
use crate::mac::Mac;
use crate::ndp::Ndp;
use crate::shim::{self, Kind, Shim};
use crate::signature::{Compact, Direction, Signature};
use crate::sync::Item;
use crate::view::{self, Fragment, Ip, Network, Transport, View};

/// The line: addresses, shim, protocol, flow, probe signature or control message. Never fails: what it can't read it
/// names (`malformed`, `ethertype 0x...`).
#[must_use]
pub fn line(frame: &[u8]) -> String {
    let Some(view) = View::parse(frame) else { return format!("malformed, {} bytes", frame.len()) };
    let mut text = format!("{}>{} ", short(view.src), short(view.dst));
    if let Some(shim) = &view.shim {
        push_shim(&mut text, shim);
    }
    match &view.network {
        Network::Arp(arp) if arp.operation == 1 && arp.sender_ip == arp.target_ip => {
            push(&mut text, format_args!("garp {} is-at {}", arp.sender_ip, short(arp.sender_mac)));
        }
        Network::Arp(arp) if arp.operation == 1 => {
            push(&mut text, format_args!("arp who-has {} tell {}", arp.target_ip, arp.sender_ip));
        }
        Network::Arp(arp) => {
            push(&mut text, format_args!("arp {} is-at {}", arp.sender_ip, short(arp.sender_mac)));
        }
        Network::Ip(ip) => push_ip(&mut text, frame, &view, ip),
        Network::Other => push(&mut text, format_args!("ethertype {:#06x}", view.ethertype)),
        Network::Corrupt => push(&mut text, format_args!("corrupt IPv4 header")),
        Network::Malformed => push(&mut text, format_args!("malformed {:#06x}", view.ethertype)),
    }
    text
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _infallible = text.write_fmt(what);
}

/// The last three bytes say all in a lab; broadcast has a name.
fn short(mac: Mac) -> String {
    let [.., d, e, f] = mac.0;
    if mac == Mac::BROADCAST { "*".to_owned() } else { format!("{d:02x}{e:02x}{f:02x}") }
}

fn node(code: u8) -> String {
    NodeId::from_code(code).map_or_else(|| "-".to_owned(), |node| node.to_string())
}

fn push_shim(text: &mut String, shim: &Shim) {
    let kind = match shim.kind {
        Kind::Data => "data",
        Kind::Correction => "correction",
        Kind::Handover => "handover",
        Kind::Control => "control",
    };
    push(text, format_args!("[{kind} net {} from {}", shim.network.0, node(shim.origin)));
    if shim.target != 0 {
        push(text, format_args!(" to {}", node(shim.target)));
    }
    if shim.generation != 0 {
        push(text, format_args!(" gen {}", shim.generation));
    }
    if shim.ingress != 0 {
        push(text, format_args!(" in mho{}", shim.ingress));
    }
    if shim.hop != 0 {
        push(text, format_args!(" hop {}", shim.hop));
    }
    for (flag, name) in [(shim::TO_UPLINK, " up"), (shim::DETOURED, " detoured"), (shim::COPY, " copy")] {
        if shim.has(flag) {
            text.push_str(name);
        }
    }
    text.push_str("] ");
}

fn push_ip(text: &mut String, frame: &[u8], view: &View, ip: &Ip) {
    if let Some(piece) = control::payload(frame, view) {
        push_control(text, view, piece);
        return;
    }
    match Ndp::read(frame, view) {
        Some(Ndp::Solicitation { from, target }) => {
            let from = from.map_or_else(|| "nobody".to_owned(), |(address, _)| address.to_string());
            push(text, format_args!("ns who-has {target} tell {from}"));
            return;
        }
        Some(Ndp::Advertisement { target, link, solicited }) => {
            let what = if solicited { "na" } else { "unsolicited-na" };
            push(text, format_args!("{what} {target} is-at {}", short(link)));
            return;
        }
        None => {}
    }
    push(text, format_args!("{}", ip.flow()));
    match ip.transport {
        Transport::Tcp(tcp) => {
            let names = [(view::SYN, 'S'), (view::ACK, 'A'), (view::PSH, 'P'), (view::FIN, 'F'), (view::RST, 'R')];
            let flags: String = names.iter().filter(|(flag, _)| tcp.has(*flag)).map(|(_, name)| name).collect();
            push(text, format_args!(" {flags} seq {} ack {}", tcp.sequence, tcp.acknowledgement));
        }
        Transport::Echo { reply, sequence, .. } => {
            push(text, format_args!(" echo-{} {sequence}", if reply { "reply" } else { "request" }));
        }
        Transport::Icmp { kind, code } => push(text, format_args!(" type {kind} code {code}")),
        Transport::Udp { .. } | Transport::None => {}
    }
    if ip.fragment != Fragment::Whole {
        text.push_str(" fragment");
    }
    push(text, format_args!(" ttl {}", ip.ttl));
    let payload = ip.payload().and_then(|at| frame.get(at..));
    let full = |bytes| Signature::peek(bytes).map(|probe| (probe.flow, probe.sequence, probe.direction));
    let compact = |bytes| Compact::peek(bytes).map(|probe| (probe.flow, probe.sequence.into(), probe.direction));
    if let Some((flow, sequence, direction)) = payload.and_then(|bytes| full(bytes).or_else(|| compact(bytes))) {
        let way = match direction {
            Direction::Forward => "fwd",
            Direction::Reverse => "rev",
        };
        push(text, format_args!(" probe {flow}#{sequence} {way}"));
    }
}

fn push_control(text: &mut String, view: &View, piece: &[u8]) {
    let from = view.shim.map_or(0, |shim| shim.origin);
    let (part, parts) = (piece.get(4).copied().unwrap_or(0), piece.get(5).copied().unwrap_or(0));
    if parts > 1 {
        push(text, format_args!("part {} of {parts}", u16::from(part) + 1));
        return;
    }
    match Reassembler::default().push(from, piece) {
        Ok(Some(message)) => {
            push(text, format_args!("{}#{} ", message.from, message.incarnation.0));
            push_body(text, &message.body);
        }
        Ok(None) | Err(_) => text.push_str("control, malformed"),
    }
}

fn push_body(text: &mut String, body: &Body) {
    match body {
        Body::Heartbeat(beat) => {
            let heard: Vec<_> = beat.heard.iter().map(|heard| heard.node.to_string()).collect();
            let role = if beat.smo { " smo" } else { "" };
            push(
                text,
                format_args!(
                    "heartbeat {:?}{role} accepted {} active {} hears {}",
                    beat.state,
                    beat.accepted,
                    beat.activated,
                    heard.join(" ")
                ),
            );
        }
        Body::Read { announced } => push(text, format_args!("read, announces {announced}")),
        Body::ReadAnswer { accepted, .. } => push(text, format_args!("read-answer {accepted}")),
        Body::Prepare(matrix) => push(text, format_args!("prepare {}", matrix.generation)),
        Body::Ack { generation, .. } => push(text, format_args!("ack {generation}")),
        Body::Refuse { generation, holds, .. } => push(text, format_args!("refuse {generation}, holds {holds}")),
        Body::Activate { generation } => push(text, format_args!("activate {generation}")),
        Body::Join { .. } => text.push_str("join"),
        Body::MoveComplete { generation, previous } => {
            push(text, format_args!("move-complete {generation} from {previous}"));
        }
        Body::Sync(sync) => {
            push(text, format_args!("sync {} ack {}:", sync.sequence, sync.acknowledged));
            sync.items.iter().for_each(|item| push_item(text, item));
        }
    }
}

fn push_item(text: &mut String, item: &Item) {
    match item {
        Item::Entry(entry) => push(text, format_args!(" entry({} {:?})", entry.forward, entry.state)),
        Item::Delete { forward, .. } => push(text, format_args!(" delete({forward})")),
        Item::Neighbour(neighbour) => push(text, format_args!(" neighbour({})", neighbour.address)),
        Item::Want => text.push_str(" want"),
        Item::WantDone => text.push_str(" want-done"),
        Item::PortsInUse(ports) => push(text, format_args!(" ports-in-use({})", ports.len())),
        Item::Query(flow) => push(text, format_args!(" query({flow})")),
        Item::Answer { asked, entry } => {
            push(text, format_args!(" answer({asked} {})", if entry.is_some() { "known" } else { "unknown" }));
        }
        Item::Kept(entry) => push(text, format_args!(" kept({} of {})", entry.forward, entry.owner)),
        Item::MoveDone { entries, .. } => push(text, format_args!(" move-done({entries})")),
    }
}
