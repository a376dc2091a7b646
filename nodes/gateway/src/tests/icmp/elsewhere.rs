//! An error that lands at another member than its connection's owner goes the way of a packet of its own direction.

use scalebed_frame::sync::{ConnectionState, Entry, Item, Version};
use scalebed_frame::{Bucket, Kind, MhoId, NodeId, Shim};

use super::*;
use crate::counters::Fate;
use crate::path::{Entering, Known};

const OWNER: MemberId = OTHERS[0];
pub(crate) const DOWNLINK: u16 = 0;

/// A member behind one orchestrator.
pub(crate) fn of_maestro(me: MemberId) -> NodeConfig {
    let downlink = PortRole::Downlink(MhoId(1));
    let port = Port { name: "down".to_owned(), role: downlink, mac: mac::bmac(GroupId(1), me, 0), mtu: 1600, cable: 0 };
    NodeConfig {
        id: me.into(),
        architecture: Architecture::Maestro,
        ports: vec![port],
        members: [ME].into_iter().chain(OTHERS).collect(),
        ..config()
    }
}

/// A member that serves, where all buckets are `buckets`' and may be owned, with the next hops known.
pub(crate) fn member(config: NodeConfig, buckets: MemberId) -> Gateway {
    let mut gateway = Gateway::new(config);
    gateway.links.fill(true);
    gateway.view.install(Some(&matrix(buckets, None, None)), |_| (true, None));
    (gateway.view.incarnation, gateway.view.accepted, gateway.view.fenced) = (LIFE, GENERATION, false);
    for other in OTHERS.into_iter().chain([ME]) {
        gateway.streams.heard(other, LIFE);
    }
    for (network, ip) in [(INSIDE, CLIENT), (OUTSIDE, SERVER)] {
        gateway.install_neighbour(network, ip.into(), Mac::host(network.0.into()));
    }
    gateway
}

/// The UDP connection of `sent` and `seen`, as its owner tells of it.
fn entry(owner: MemberId) -> Entry {
    Entry {
        forward: sent(Protocol::UDP),
        reverse: seen(Protocol::UDP).reversed(),
        entered: INSIDE,
        left: OUTSIDE,
        owner,
        life: LIFE,
        bucket: Bucket(1),
        version: Version { generation: 1, counter: 1 },
        state: ConnectionState::OneWay,
        age_ms: 1,
        expires_ms: 30_000,
    }
}

/// As an orchestrator sends it down to a member.
pub(crate) fn dispatched(mut frame: Frame, to: MemberId, network: NetworkId, generation: u32) -> Frame {
    let mut shim = Shim::new(Kind::Data, network, GroupId(1));
    (shim.origin, shim.target, shim.generation) = (NodeId::from(MhoId(1)).code(), NodeId::from(to).code(), generation);
    shim.insert(frame.bytes_mut());
    frame
}

/// Hands a frame over, looks that nothing is remembered of it, and gives its fate and what came out.
fn take(gateway: &mut Gateway, frame: Frame) -> (Fate, Vec<Frame>) {
    let before = memory(gateway);
    let fate = gateway.intake(DOWNLINK, frame, gateway.now);
    assert_eq!(memory(gateway), before, "an error changes nothing");
    (fate, transmitted(gateway))
}

pub(crate) fn transmitted(gateway: &mut Gateway) -> Vec<Frame> {
    let out = std::iter::from_fn(|| match gateway.poll() {
        Output::Transmit { frame, .. } => Some(Some(frame)),
        Output::Idle(_) => None,
        _ => Some(None),
    });
    out.flatten().collect()
}

pub(crate) fn shim(frame: &Frame) -> Shim {
    View::parse(frame.bytes()).and_then(|view| view.shim).expect("a shim")
}

/// From outside, and from inside: where it enters, and the error.
fn errors() -> [(NetworkId, Frame); 2] {
    let (outside, inside) = (seen(Protocol::UDP), sent(Protocol::UDP).reversed());
    [(OUTSIDE, about(1, ROUTER, outside)), (INSIDE, about(0, INNER_ROUTER, inside))]
}

#[test]
fn it_is_corrected_to_the_owner_who_translates_it() {
    for (network, error) in errors() {
        // A copy says who the owner is; the buckets say otherwise.
        let mut here = member(of_maestro(ME), OTHERS[2]);
        here.apply_entry(&entry(OWNER));
        let (fate, out) = take(&mut here, dispatched(error.clone(), ME, network, 7));
        assert_eq!((fate, out.len()), (Fate::Sent, 1));
        let corrected = shim(&out[0]);
        assert_eq!((corrected.kind, corrected.hop, corrected.network), (Kind::Correction, 1, network));
        assert_eq!((corrected.origin, corrected.target), (NodeId::from(ME).code(), NodeId::from(OWNER).code()));
        assert_eq!(out[0].bytes()[14 + 16..], error.bytes()[14..], "as it is");
        assert_eq!(here.counters.get(Count::CorrectedOut), 1);

        let mut there = member(of_maestro(OWNER), OTHERS[2]);
        there.apply_entry(&entry(OWNER));
        let (fate, out) = take(&mut there, out[0].clone());
        assert_eq!((fate, out.len(), there.counters.get(Count::CorrectedIn)), (Fate::Sent, 1, 1));
        let mut plain = out[0].bytes().to_vec();
        assert!(Shim::remove(&mut plain).is_some());
        assert_eq!((sum(&plain[14..34]), sum(&plain[34..])), (0xffff, 0xffff));
        let (src, dst, _, quote) = read(&plain);
        if network == OUTSIDE {
            assert_eq!((src, dst, quote), (ROUTER.into(), CLIENT.into(), &quoted(sent(Protocol::UDP))[..]));
        } else {
            let other = quoted(seen(Protocol::UDP).reversed());
            assert_eq!((src, dst, quote), (HIDDEN.into(), SERVER.into(), &other[..]));
        }
    }
}

#[test]
fn unknown_it_goes_to_the_owner_of_the_bucket_of_its_direction() {
    for ((network, error), l4) in errors().into_iter().flat_map(|error| [(error.clone(), false), (error, true)]) {
        let base = of_maestro(ME);
        let mut here = member(NodeConfig { group: Group { l4, ..base.group.clone() }, ..base }, OWNER);
        // Only one bucket is the other's: that of the packets which go the error's way.
        let flow = if network == OUTSIDE { seen(Protocol::UDP).reversed() } else { sent(Protocol::UDP) };
        let bucket = usize::from(here.bucket(&flow, true, network).0);
        for (index, place) in here.view.places.iter_mut().enumerate() {
            place.assignment.owner = if index == bucket { OTHERS[1] } else { ME };
        }
        let (fate, out) = take(&mut here, dispatched(error, ME, network, 7));
        assert_eq!((fate, out.len()), (Fate::Sent, 1));
        assert_eq!((shim(&out[0]).target, shim(&out[0]).hop), (NodeId::from(OTHERS[1]).code(), 1));
    }
}

#[test]
fn the_hop_limit_holds() {
    let mut here = member(of_maestro(ME), OTHERS[2]);
    here.apply_entry(&entry(OWNER));
    let mut frame = dispatched(errors()[0].1.clone(), ME, OUTSIDE, 7);
    let corrected = Shim {
        kind: Kind::Correction,
        hop: 2,
        origin: NodeId::from(OTHERS[2]).code(),
        incarnation: 256,
        ..shim(&frame)
    };
    corrected.replace(frame.bytes_mut());
    assert_eq!(take(&mut here, frame), (Fate::Dropped(Reason::HopLimit), Vec::new()));
}

/// The same question as for any unknown packet, once; the answer lets it go on, no answer ends it.
#[test]
fn others_are_asked_for_its_connection() {
    for known in [true, false] {
        let mut here = member(of_maestro(ME), ME);
        let (fate, _) = take(&mut here, dispatched(errors()[0].1.clone(), ME, OUTSIDE, 7));
        assert_eq!((fate, here.waiting.len(), here.counters.get(Count::Queries)), (Fate::Waits, 1, 1));
        let items = here.streams.flush(here.now).into_iter().flat_map(|one| one.message.items);
        let asked: Vec<Item> = items.collect();
        assert_eq!(asked, vec![Item::Query(seen(Protocol::UDP).reversed()); 3]);
        if known {
            let mut there = member(of_maestro(OWNER), ME);
            there.apply_entry(&entry(OWNER));
            let mut answer = there.table.iter().map(|(_, one)| one.entry(there.now));
            here.apply_entry(&answer.next().expect("a connection"));
            for packet in here.waiting.take(crate::waiting::For::Answer(seen(Protocol::UDP).reversed())) {
                assert_eq!(here.route(packet), Fate::Sent);
            }
            let out = transmitted(&mut here);
            assert_eq!((out.len(), shim(&out[0]).target), (1, NodeId::from(OWNER).code()));
        } else {
            let late = here.waiting.next_late(here.now + Duration::from_millis(20)).expect("it waited");
            assert_eq!(late.0.late(), Reason::OutOfState);
        }
    }
}

#[test]
fn a_new_owner_passes_it_to_the_previous_one() {
    let mut here = member(of_maestro(ME), ME);
    here.view.install(Some(&matrix(ME, None, Some(OTHERS[1]))), |_| (true, Some(OTHERS[1])));
    let (fate, out) = take(&mut here, dispatched(errors()[0].1.clone(), ME, OUTSIDE, 7));
    assert_eq!((fate, here.counters.get(Count::ToPrevious)), (Fate::Sent, 1));
    assert_eq!(shim(&out[0]).target, NodeId::from(OTHERS[1]).code());
}

#[test]
fn it_waits_for_the_generation_that_its_sender_has() {
    let mut here = member(of_maestro(ME), ME);
    let (fate, _) = take(&mut here, dispatched(errors()[0].1.clone(), ME, OUTSIDE, 8));
    assert_eq!((fate, here.waiting.is_awaited(crate::waiting::For::Generation(8))), (Fate::Waits, true));
}

#[test]
fn a_fenced_member_takes_none() {
    let mut here = member(of_maestro(ME), ME);
    here.view.install(None, |_| (false, None));
    here.view.fenced = true;
    let frame = dispatched(errors()[0].1.clone(), ME, OUTSIDE, 0);
    assert_eq!(take(&mut here, frame), (Fate::Dropped(Reason::Fenced), Vec::new()));
}

/// A copy whose owner is gone is taken over as for a packet; the error goes out, and the state is as it was.
#[test]
fn the_heir_of_a_lost_owner_takes_over() {
    let mut here = member(of_maestro(ME), ME);
    here.apply_entry(&Entry { life: Incarnation(1), ..entry(OWNER) });
    let of = |gateway: &Gateway| gateway.table.iter().map(|(_, one)| (one.track, one.expires)).collect::<Vec<_>>();
    let before = of(&here);
    let fate = here.intake(DOWNLINK, dispatched(errors()[0].1.clone(), ME, OUTSIDE, 7), here.now);
    assert_eq!((fate, here.counters.get(Count::TakenOver)), (Fate::Sent, 1));
    assert_eq!(of(&here), before);
}

/// The pivot looks in its table by the reversed quote.
#[test]
fn the_pivot_hands_it_to_the_owner_that_its_table_knows() {
    fn by_table(entering: &Entering) -> Option<MemberId> {
        assert_eq!(entering.known, Some(Known { owner: OWNER, admitted: true, heir: Some(OTHERS[2]) }));
        entering.known.map(|known| known.owner)
    }
    for ((network, error), port) in errors().into_iter().zip([1, 0]) {
        let mut pivot = member(config(), OTHERS[2]);
        pivot.decide = Some(by_table);
        pivot.view.leads = true;
        pivot.apply_entry(&entry(OWNER));
        let before = memory(&pivot);
        assert_eq!(pivot.intake(port, error, pivot.now), Fate::Sent);
        assert_eq!(memory(&pivot), before);
        let out = transmitted(&mut pivot);
        let handed = shim(&out[0]);
        assert_eq!((handed.kind, handed.network, handed.hop), (Kind::Handover, network, 0));
        assert_eq!((handed.target, out.len()), (NodeId::from(OWNER).code(), 1));
    }
}
