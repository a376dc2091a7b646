//! Sync streams: numbered messages from one life of a member to one life of another, acknowledged and sent again.
//!
//! Nothing here stalls traffic. A queue that is full drops what is new and marks the peer dirty: when the queue is empty
//! again, the owner of the streams walks its table for that peer.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use scalebed_engine::Instant;
use scalebed_frame::control::Admitted;
use scalebed_frame::sync::{Entry, Item, SyncMessage};
use scalebed_frame::{Flow, Incarnation, MemberId};
use scalebed_topologies::Quirks;

/// Messages on their way at most: what the bitmap of an acknowledgement covers.
const WINDOW: usize = 64;
/// Bytes of items in a message, estimated: one piece of at most 1,400 bytes.
const BUDGET: usize = 1200;
/// Silence after which a message is sent again; a round trip takes well under a millisecond.
const RESEND: Duration = Duration::from_millis(50);
/// How long an acknowledgement waits for something to ride on.
const ACK_DELAY: Duration = Duration::from_millis(5);
/// Messages that wait for an acknowledgement at most before it goes at once.
const ACK_AFTER: u32 = 16;

/// What came out of an incoming message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// New items, to be applied.
    Items(Vec<Item>),
    /// Seen before, or nothing but an acknowledgement.
    Nothing,
    /// Of another life, or out of the window.
    Stale,
}

#[derive(Debug)]
struct Sent {
    sequence: u32,
    items: Vec<Item>,
    at: Instant,
    tries: u32,
}

#[derive(Debug, Default)]
struct Sender {
    life: Option<Incarnation>,
    last: u32,
    queue: VecDeque<Item>,
    flying: VecDeque<Sent>,
    dirty: bool,
}

#[derive(Debug, Default)]
struct Receiver {
    life: Option<Incarnation>,
    upto: u32,
    bitmap: u64,
    /// Items that count only when all before them were applied.
    ordered: BTreeMap<u32, Vec<Item>>,
    unacked: u32,
    ack_due: Option<Instant>,
}

#[derive(Debug, Default)]
struct Peer {
    sender: Sender,
    receiver: Receiver,
}

/// How much goes at once, and how long an acknowledgement waits.
#[derive(Clone, Copy, Debug)]
struct Manner {
    budget: usize,
    ack_delay: Duration,
}

impl Manner {
    fn of(quirks: Quirks) -> Self {
        let budget = if quirks.narrow_sync { 1 } else { BUDGET };
        Self { budget, ack_delay: if quirks.slow_sync_ack { ACK_DELAY * 2 } else { ACK_DELAY } }
    }
}

/// The streams to and from every other member.
#[derive(Debug)]
pub(crate) struct Streams {
    manner: Manner,
    /// Items that wait for their turn to one peer at most.
    queue: usize,
    peers: BTreeMap<MemberId, Peer>,
}

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) to: MemberId,
    pub(crate) message: SyncMessage,
    /// Sent before?
    pub(crate) again: bool,
}

impl Streams {
    pub(crate) fn new(queue: usize, quirks: Quirks) -> Self {
        Self { manner: Manner::of(quirks), queue, peers: BTreeMap::new() }
    }

    /// The newest life in which a member was heard. A new one starts both streams anew: what was on its way to the old
    /// one is gone with it. True: something may have been.
    pub(crate) fn heard(&mut self, member: MemberId, life: Incarnation) -> bool {
        let peer = self.peers.entry(member).or_default();
        if peer.sender.life.is_some_and(|known| known >= life) {
            return false;
        }
        let queue = std::mem::take(&mut peer.sender.queue);
        let first = peer.sender.life.is_none();
        *peer = Peer::default();
        peer.sender.life = Some(life);
        // What was queued before it was ever heard still goes out.
        if first {
            peer.sender.queue = queue;
        }
        !first
    }

    /// Members that were admitted before and are not now get nothing more: what waits for them is dropped.
    pub(crate) fn drop_unless(&mut self, before: &[Admitted], now: &[Admitted]) {
        for gone in before.iter().filter(|one| !now.contains(one)) {
            let same = |peer: &&mut Peer| peer.sender.life == Some(gone.incarnation);
            if let Some(peer) = self.peers.get_mut(&gone.member).filter(same) {
                peer.sender.queue.clear();
                peer.sender.flying.clear();
                peer.sender.dirty = false;
            }
        }
    }

    /// This member took a new life: every stream starts anew.
    pub(crate) fn reset(&mut self) {
        for peer in self.peers.values_mut() {
            let life = peer.sender.life;
            *peer = Peer::default();
            peer.sender.life = life;
        }
    }

    /// Queues an item. False: the queue is full, the item is dropped and the peer is dirty.
    pub(crate) fn push(&mut self, to: MemberId, item: Item) -> bool {
        let queue = self.queue;
        let sender = &mut self.peers.entry(to).or_default().sender;
        if sender.queue.len() >= queue {
            sender.dirty = true;
            return false;
        }
        sender.queue.push_back(item);
        true
    }

    /// Did a peer miss items since it was last taken?
    pub(crate) fn is_dirty(&self, member: MemberId) -> bool {
        self.peers.get(&member).is_some_and(|peer| peer.sender.dirty)
    }

    /// A peer that missed items and whose queue is empty again.
    pub(crate) fn take_dirty(&mut self) -> Option<MemberId> {
        let dirty = |(_, peer): &(&MemberId, &mut Peer)| peer.sender.dirty && peer.sender.queue.is_empty();
        let (member, peer) = self.peers.iter_mut().find(dirty)?;
        peer.sender.dirty = false;
        Some(*member)
    }

    /// Takes a message of `from`'s life in, addressed to this member's `mine`.
    pub(crate) fn receive(
        &mut self,
        from: MemberId,
        life: Incarnation,
        mine: Incarnation,
        message: SyncMessage,
        now: Instant,
    ) -> Received {
        let peer = self.peers.entry(from).or_default();
        if message.receiver != mine || peer.sender.life != Some(life) {
            return Received::Stale;
        }
        if peer.receiver.life != Some(life) {
            peer.receiver = Receiver { life: Some(life), ..Receiver::default() };
        }
        peer.sender.acknowledge(message.acknowledged, message.bitmap);
        peer.receiver.take(message.sequence, message.items, now + self.manner.ack_delay)
    }

    /// What is to be sent now, acknowledgements among it.
    pub(crate) fn flush(&mut self, now: Instant) -> Vec<Outgoing> {
        let mut out = Vec::new();
        for (&to, peer) in &mut self.peers {
            let Some(life) = peer.sender.life else { continue };
            let fresh = peer.sender.fill(self.manner, now);
            let due = peer.sender.due(now);
            let numbered = due.into_iter().map(|sent| (sent, true)).chain(fresh.into_iter().map(|sent| (sent, false)));
            let messages: Vec<_> = numbered.collect();
            let ack = peer.receiver.ack_due.is_some_and(|at| at <= now) || peer.receiver.unacked >= ACK_AFTER;
            if messages.is_empty() && !ack {
                continue;
            }
            (peer.receiver.ack_due, peer.receiver.unacked) = (None, 0);
            let (acknowledged, bitmap) = (peer.receiver.upto, peer.receiver.bitmap);
            let message = |sequence, items| SyncMessage { receiver: life, sequence, acknowledged, bitmap, items };
            if messages.is_empty() {
                out.push(Outgoing { to, message: message(0, Vec::new()), again: false });
            }
            for ((sequence, items), again) in messages {
                out.push(Outgoing { to, message: message(sequence, items), again });
            }
        }
        out
    }

    /// Items that were not acknowledged yet, sent or not, and peers that missed some and were not told of them since.
    pub(crate) fn waiting(&self) -> usize {
        self.peers.values().map(|peer| peer.sender.waiting()).sum()
    }

    /// Of them, those of peers that do not acknowledge, or that are not told what they missed.
    pub(crate) fn stuck(&self) -> usize {
        let stands = |peer: &&Peer| peer.sender.dirty || peer.sender.flying.iter().any(|sent| sent.tries > 0);
        self.peers.values().filter(stands).map(|peer| peer.sender.waiting()).sum()
    }

    /// When [`Self::flush`] has something to do by itself.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let of = |peer: &Peer| {
            let resend = peer.sender.flying.iter().map(Sent::due).min();
            [resend, peer.receiver.ack_due].into_iter().flatten().min()
        };
        self.peers.values().filter_map(of).min()
    }
}

impl Sent {
    /// Doubles up to 16 times the first wait.
    fn due(&self) -> Instant {
        self.at + RESEND * (1 << self.tries.min(4))
    }
}

impl Sender {
    fn waiting(&self) -> usize {
        let flying: usize = self.flying.iter().map(|sent| sent.items.len()).sum();
        self.queue.len() + flying + usize::from(self.dirty)
    }

    fn acknowledge(&mut self, upto: u32, bitmap: u64) {
        self.flying.retain(|sent| {
            let ahead = sent.sequence.checked_sub(upto.saturating_add(1));
            ahead.is_some_and(|bit| bit >= 64 || bitmap >> bit & 1 == 0)
        });
    }

    /// New messages from the queue, as far as the window allows.
    fn fill(&mut self, manner: Manner, now: Instant) -> Vec<(u32, Vec<Item>)> {
        let mut out = Vec::new();
        let base = |flying: &VecDeque<Sent>, last: u32| flying.front().map_or(last, |sent| sent.sequence - 1);
        while !self.queue.is_empty() && (self.last - base(&self.flying, self.last)) < WINDOW as u32 {
            let mut items = Vec::new();
            let mut bytes = 0;
            while let Some(item) = self.queue.front() {
                let weight = weight(item);
                if !items.is_empty() && bytes + weight > manner.budget {
                    break;
                }
                bytes += weight;
                items.extend(self.queue.pop_front());
            }
            self.last += 1;
            self.flying.push_back(Sent { sequence: self.last, items: items.clone(), at: now, tries: 0 });
            out.push((self.last, items));
        }
        out
    }

    fn due(&mut self, now: Instant) -> Vec<(u32, Vec<Item>)> {
        let mut out = Vec::new();
        for sent in self.flying.iter_mut().filter(|sent| sent.due() <= now) {
            (sent.at, sent.tries) = (now, sent.tries + 1);
            out.push((sent.sequence, sent.items.clone()));
        }
        out
    }
}

impl Receiver {
    /// `ack_due`: when the acknowledgement goes if nothing takes it along before.
    fn take(&mut self, sequence: u32, items: Vec<Item>, ack_due: Instant) -> Received {
        if sequence == 0 {
            return Received::Nothing;
        }
        self.ack_due.get_or_insert(ack_due);
        self.unacked += 1;
        let Some(ahead) = sequence.checked_sub(self.upto.saturating_add(1)) else { return Received::Nothing };
        if ahead >= 64 {
            return Received::Stale;
        }
        if self.bitmap >> ahead & 1 == 1 {
            return Received::Nothing;
        }
        self.bitmap |= 1 << ahead;
        while self.bitmap & 1 == 1 {
            self.bitmap >>= 1;
            self.upto += 1;
        }
        let (last, mut free): (Vec<_>, Vec<_>) = items.into_iter().partition(needs_order);
        if !last.is_empty() {
            self.ordered.insert(sequence, last);
        }
        while let Some(first) = self.ordered.first_entry().filter(|first| *first.key() <= self.upto) {
            free.extend(first.remove());
        }
        Received::Items(free)
    }
}

/// The ends of lists are valid when all before them were applied.
const fn needs_order(item: &Item) -> bool {
    match item {
        Item::MoveDone { .. } | Item::WantDone => true,
        Item::Entry(_)
        | Item::Kept(_)
        | Item::Delete { .. }
        | Item::Neighbour(_)
        | Item::Want
        | Item::PortsInUse(_)
        | Item::Query(_)
        | Item::Answer { .. } => false,
    }
}

/// Bytes on the wire, estimated from above. An address of IPv6 has 12 bytes more than one of IPv4; a flow has two, an entry
/// four.
fn weight(item: &Item) -> usize {
    let flow = |flow: &Flow| if flow.is_ipv4() { 0 } else { 24 };
    let entry = |entry: &Entry| 80 + 2 * flow(&entry.forward);
    match item {
        Item::Entry(one) | Item::Kept(one) => entry(one),
        Item::Answer { asked, entry: one } => 25 + flow(asked) + one.as_ref().map_or(5, entry),
        Item::Delete { forward, .. } => 30 + flow(forward),
        Item::Query(asked) => 30 + flow(asked),
        Item::Neighbour(neighbour) => {
            if neighbour.address.is_ipv4() {
                16
            } else {
                28
            }
        }
        Item::PortsInUse(ports) => 4 + 3 * ports.len(),
        Item::MoveDone { .. } => 20,
        Item::Want | Item::WantDone => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use scalebed_engine::Instant;
    use scalebed_frame::control::{self, Body, Control};
    use scalebed_frame::sync::{ConnectionState, Entry, Item, Neighbour, SyncMessage, Version};
    use scalebed_frame::{Bucket, Flow, Generation, Incarnation, MemberId, NetworkId, Protocol};
    use std::net::IpAddr;

    use super::{Quirks, Received, Streams, weight};

    const LIFE: [Incarnation; 2] = [Incarnation(256), Incarnation(512)];
    const WHO: [MemberId; 2] = [MemberId::new(1, 1), MemberId::new(1, 2)];

    /// All items of a kind, as large as they get.
    fn largest(v6: bool) -> Vec<Item> {
        let address: IpAddr = if v6 { [0xffff; 8].into() } else { [255; 4].into() };
        let protocol = Protocol::TCP;
        let flow = Flow { protocol, src: address, dst: address, src_port: u16::MAX, dst_port: u16::MAX };
        let version = Version { generation: u32::MAX, counter: u32::MAX };
        let entry = Entry {
            forward: flow,
            reverse: flow,
            entered: NetworkId(31),
            left: NetworkId(31),
            owner: WHO[0],
            life: Incarnation(u32::MAX),
            bucket: Bucket(4_095),
            version,
            state: ConnectionState::Closed,
            age_ms: u32::MAX,
            expires_ms: u32::MAX,
        };
        let mac = scalebed_frame::Mac::BROADCAST;
        vec![
            Item::Entry(entry.clone()),
            Item::Kept(entry.clone()),
            Item::Answer { asked: flow, entry: Some(entry) },
            Item::Answer { asked: flow, entry: None },
            Item::Delete { forward: flow, version },
            Item::Query(flow),
            Item::Neighbour(Neighbour { network: NetworkId(31), address, mac }),
            Item::PortsInUse(vec![u16::MAX; 300]),
        ]
    }

    #[test]
    fn what_an_item_is_thought_to_weigh_it_weighs_at_most() {
        let bytes = |items: Vec<Item>| -> usize {
            let sync = SyncMessage { receiver: LIFE[0], sequence: 1, acknowledged: 1, bitmap: 0, items };
            let body = Body::Sync(sync);
            let message = Control { from: WHO[0].into(), incarnation: LIFE[0], to: Some(WHO[1].into()), body };
            control::encode(&message, 1).iter().map(Vec::len).sum()
        };
        for item in [false, true].into_iter().flat_map(largest) {
            let each = bytes(vec![item.clone()]) - bytes(Vec::new());
            assert!(each <= weight(&item), "{each} bytes, {} thought: {item:?}", weight(&item));
        }
    }

    proptest! {
        /// Whatever is lost, doubled or late: every item is applied once, the end of a list last, and then both are quiet.
        #[test]
        fn everything_arrives_once_and_the_end_last(count in 1u16..400, luck in prop::collection::vec(0u8..4, 64)) {
            let (mut one, mut two) = (Streams::new(65_536, Quirks::NONE), Streams::new(65_536, Quirks::NONE));
            one.heard(WHO[1], LIFE[1]);
            two.heard(WHO[0], LIFE[0]);
            for port in 0..count {
                prop_assert!(one.push(WHO[1], Item::PortsInUse(vec![port; 100])));
            }
            one.push(WHO[1], Item::MoveDone { generation: Generation::NONE, entries: 3 });
            let (mut got, mut late, mut step) = (Vec::new(), Vec::new(), 0usize);
            let mut now = Instant(0);
            for _ in 0..20_000 {
                let mut arriving = std::mem::take(&mut late);
                for outgoing in one.flush(now) {
                    step += 1;
                    match luck[step % luck.len()] {
                        // After half of all steps nothing is lost any more, or it could go on forever.
                        0 if step < 600 => {}
                        1 => late.push(outgoing.message),
                        2 => arriving.extend([outgoing.message.clone(), outgoing.message]),
                        _ => arriving.insert(0, outgoing.message),
                    }
                }
                for message in arriving {
                    if let Received::Items(items) = two.receive(WHO[0], LIFE[0], LIFE[1], message, now) {
                        got.extend(items);
                    }
                }
                for outgoing in two.flush(now) {
                    one.receive(WHO[1], LIFE[1], LIFE[0], outgoing.message, now);
                }
                let next = [one.deadline(), two.deadline()].into_iter().flatten().min();
                match next {
                    Some(at) => now = now.max(at),
                    None if late.is_empty() && one.peers[&WHO[1]].sender.queue.is_empty() => break,
                    None => {}
                }
            }
            prop_assert_eq!((one.deadline(), two.deadline()), (None, None));
            let end_is_last = matches!(got.pop(), Some(Item::MoveDone { .. }));
            prop_assert!(end_is_last);
            let mut ports: Vec<u16> = got.iter().filter_map(|item| match item {
                Item::PortsInUse(ports) => ports.first().copied(),
                _ => None,
            }).collect();
            ports.sort_unstable();
            prop_assert_eq!(ports, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_message_for_another_life_is_stale() {
        let (mut one, mut two) = (Streams::new(65_536, Quirks::NONE), Streams::new(65_536, Quirks::NONE));
        one.heard(WHO[1], LIFE[1]);
        two.heard(WHO[0], LIFE[0]);
        one.push(WHO[1], Item::Want);
        let message = one.flush(Instant(0)).remove(0).message;
        let next = Incarnation(513);
        assert_eq!(two.receive(WHO[0], LIFE[0], next, message.clone(), Instant(0)), Received::Stale);
        assert_eq!(two.receive(WHO[0], LIFE[0], LIFE[1], message, Instant(0)), Received::Items(vec![Item::Want]));
    }
}
