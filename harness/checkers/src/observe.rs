//! From a frame at a tap to what the judge keeps of it. Pure: both worlds call this, on whatever captured the frame.

use std::collections::{BTreeMap, BTreeSet};

use scalebed_frame::control::{self, Body, Control, Heartbeat, Matrix, Reassembler};
use scalebed_frame::signature::Signature;
use scalebed_frame::sync::{Item, SyncMessage};
use scalebed_frame::view::{Ip, Transport};
use scalebed_frame::{Generation, Incarnation, Kind, Mac, NodeId, View, checksum};
use scalebed_record::history::Heard;
use scalebed_record::{Observation, Probe, TapId};

/// Heartbeats of one sender that are remembered, to tell a second sight of one from a new one.
const REMEMBERED: usize = 64;

/// What a tap saw of one frame: `at` is the receive stamp in ns, `length` the length on the wire, `bytes` the captured
/// part (the first 256 bytes are enough). A frame that can't be read, or is not as it was sent, keeps its stamp, tap and
/// length: it counts in ledgers.
#[must_use]
pub fn observe(tap: TapId, at: u64, length: u32, bytes: &[u8]) -> Observation {
    let length = u16::try_from(length).unwrap_or(u16::MAX);
    let mut seen =
        Observation { at, tap, length, ttl: 0, tcp_flags: 0, src: Mac::ZERO, shim: None, flow: None, probe: None };
    let Some(view) = View::parse(bytes) else { return seen };
    seen.src = view.src;
    seen.shim = view.shim;
    let Some(ip) = view.ip() else { return seen };
    // Whose packet it is, and what it says, only its unaltered bytes tell. Of a head alone nobody knows; what was cut short
    // before it came here is nobody's.
    if usize::from(length) < ip.end || bytes.len() >= ip.end && !checksum::is_valid(bytes, view.l3, ip) {
        return seen;
    }
    seen.ttl = ip.ttl;
    seen.flow = Some(ip.flow());
    if let Transport::Tcp(tcp) = ip.transport {
        seen.tcp_flags = tcp.flags;
    }
    seen.probe = payload(ip).and_then(|place| bytes.get(place..)).and_then(probe);
    seen
}

/// Where the transport's payload starts.
fn payload(ip: &Ip) -> Option<usize> {
    match ip.transport {
        Transport::Tcp(tcp) => Some(tcp.payload),
        Transport::Udp { payload, .. } | Transport::Echo { payload, .. } => Some(payload),
        Transport::Icmp { .. } | Transport::None => None,
    }
}

fn probe(payload: &[u8]) -> Option<Probe> {
    let Signature { direction, class, flow, sequence, late, attempt, .. } = Signature::peek(payload)?;
    Some(Probe { flow, direction, class, sequence: u32::try_from(sequence).unwrap_or(u32::MAX), late, attempt })
}

/// Reads control frames at taps and tells what they show: every heartbeat once, every matrix once. One watch serves all
/// taps of a run; it needs whole control frames, not only their heads.
#[derive(Clone, Debug, Default)]
pub struct ControlWatch {
    assembly: BTreeMap<TapId, Reassembler>,
    beats: BTreeMap<NodeId, BTreeSet<(Incarnation, u64, Generation, bool)>>,
    matrices: BTreeSet<(Generation, Vec<u8>)>,
    malformed: u64,
}

impl ControlWatch {
    /// Takes a frame with its observation; gives what it shows for the first time. Not a control frame: nothing.
    pub fn see(&mut self, observation: &Observation, bytes: &[u8]) -> Vec<Heard> {
        if observation.shim.is_none_or(|shim| shim.kind != Kind::Control) {
            return Vec::new();
        }
        let Some(view) = View::parse(bytes) else { return Vec::new() };
        let Some(payload) = control::payload(bytes, &view) else { return Vec::new() };
        // Pieces are put together tap by tap: the same message passes several.
        let assembly = self.assembly.entry(observation.tap).or_default();
        // Every node has its own last octet on the internal network, whatever it wrote into the shim.
        let sender = match observation.flow.map(|flow| flow.src) {
            Some(std::net::IpAddr::V4(address)) => address.octets()[3],
            Some(std::net::IpAddr::V6(_)) | None => 0,
        };
        match assembly.push(sender, payload) {
            Ok(Some(message)) => self.read(&message),
            Ok(None) => Vec::new(),
            Err(_) => {
                self.malformed += 1;
                Vec::new()
            }
        }
    }

    /// Control frames that could not be read (the capture cut them, or a node sent rubbish).
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    fn read(&mut self, message: &Control) -> Vec<Heard> {
        let heard = match &message.body {
            Body::Heartbeat(beat) => self.heartbeat(message, beat),
            Body::Prepare(matrix) | Body::ReadAnswer { matrix: Some(matrix), .. } => self.matrix(matrix),
            Body::Read { .. }
            | Body::ReadAnswer { matrix: None, .. }
            | Body::Ack { .. }
            | Body::Refuse { .. }
            | Body::Activate { .. }
            | Body::Join { .. }
            | Body::MoveComplete { .. } => None,
            Body::Sync(items) => return sync(message, items),
        };
        heard.into_iter().collect()
    }

    fn heartbeat(&mut self, message: &Control, beat: &Heartbeat) -> Option<Heard> {
        let known = self.beats.entry(message.from).or_default();
        // Two of one instant may differ: accepted, then activated and in the role.
        if !known.insert((message.incarnation, beat.sent, beat.activated, beat.smo)) {
            return None;
        }
        if known.len() > REMEMBERED {
            known.pop_first();
        }
        Some(Heard::Heartbeat {
            from: message.from,
            incarnation: message.incarnation,
            sent: beat.sent,
            accepted: beat.accepted,
            activated: beat.activated,
            digest: beat.digest,
            state: format!("{:?}", beat.state).to_lowercase(),
            smo: beat.smo,
        })
    }

    fn matrix(&mut self, matrix: &Matrix) -> Option<Heard> {
        // Two different matrices under one generation are both worth knowing: that is a violation.
        let content = matrix.buckets.iter().flat_map(|bucket| {
            let previous = bucket.previous.or(bucket.backup).map_or(0, |member| NodeId::from(member).code());
            [NodeId::from(bucket.owner).code(), previous]
        });
        self.matrices.insert((matrix.generation, content.collect())).then(|| Heard::Matrix(matrix.clone()))
    }
}

/// Entries of a sync message that are not the sender's own, and questions.
fn sync(message: &Control, sync: &SyncMessage) -> Vec<Heard> {
    let told = sync.items.iter().filter_map(|item| match item {
        Item::Entry(entry) if NodeId::from(entry.owner) != message.from => {
            Some(Heard::Echo { from: message.from, owner: entry.owner.into(), life: entry.life, flow: entry.forward })
        }
        Item::Query(flow) => Some(Heard::Asked { from: message.from, flow: *flow }),
        _ => None,
    });
    told.collect()
}
