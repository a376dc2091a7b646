//! What a member tells of connections in buckets that moved: whoever gets their packets next must know them.

use scalebed_frame::sync::{ConnectionState, Entry, Item, Version};
use scalebed_frame::{Bucket, MemberId};
use scalebed_topologies::Quirks;

use super::*;

fn entry(owner: MemberId, port: u16) -> Entry {
    let forward = Flow { protocol: Protocol::UDP, src: CLIENT.into(), dst: SERVER.into(), src_port: port, dst_port: 9 };
    Entry {
        forward,
        reverse: Flow { dst: HIDDEN.into(), dst_port: port, ..forward.reversed() },
        entered: INSIDE,
        left: OUTSIDE,
        owner,
        life: LIFE,
        bucket: Bucket(port % 8),
        version: Version { generation: 1, counter: 1 },
        state: ConnectionState::OneWay,
        age_ms: 1,
        expires_ms: 30_000,
    }
}

/// A gateway with that matrix that hears all others.
fn gateway(owner: MemberId, backup: MemberId) -> Gateway {
    let mut gateway = Gateway::new(config());
    gateway.view.install(Some(&matrix(owner, Some(backup), Some(ME))), |_| (false, None));
    for other in OTHERS {
        gateway.streams.heard(other, LIFE);
    }
    gateway
}

/// What is on its way to a member.
fn told(gateway: &mut Gateway, to: MemberId) -> Vec<Item> {
    let out = gateway.streams.flush(gateway.now);
    out.into_iter().filter(|one| one.to == to).flat_map(|one| one.message.items).collect()
}

#[test]
fn a_previous_owner_sends_what_it_keeps_for_others_before_the_end_of_its_list() {
    let [new, other, _] = OTHERS;
    let mut gateway = gateway(new, other);
    let (own, kept, elsewhere) = (entry(ME, 10_001), entry(other, 10_002), entry(other, 10_003));
    let back_to_its_owner = entry(new, 10_010);
    for one in [&own, &kept, &elsewhere, &back_to_its_owner] {
        gateway.apply_entry(one);
    }
    gateway.send_move(new, GENERATION, &[own.bucket, kept.bucket, back_to_its_owner.bucket]);
    let items = told(&mut gateway, new);
    let flows: Vec<(bool, Flow)> = items
        .iter()
        .filter_map(|item| match item {
            Item::Entry(entry) => Some((true, entry.forward)),
            Item::Kept(entry) => Some((false, entry.forward)),
            _ => None,
        })
        .collect();
    assert_eq!(flows, [(true, own.forward), (false, kept.forward)]);
    assert!(matches!(items.last(), Some(Item::MoveDone { entries: 2, .. })), "{items:?}");
}

#[test]
fn a_connection_in_a_bucket_that_moved_away_is_known_to_its_owner_and_its_backup_however_young() {
    let [owner, backup, _] = OTHERS;
    let mut gateway = gateway(owner, backup);
    gateway.apply_entry(&entry(ME, 10_001));
    gateway.walk();
    let items = gateway.streams.flush(gateway.now);
    let mut to: Vec<MemberId> = items.iter().filter(|one| !one.message.items.is_empty()).map(|one| one.to).collect();
    to.sort_unstable();
    assert_eq!(to, [owner, backup]);
}

#[test]
fn a_list_longer_than_the_queue_goes_in_parts_and_ends_last() {
    let [new, other, _] = OTHERS;
    let mut gateway = gateway(new, other);
    gateway.streams = crate::stream::Streams::new(8, Quirks::NONE);
    gateway.streams.heard(new, LIFE);
    for port in 0..60 {
        gateway.apply_entry(&entry(if port % 3 == 0 { other } else { ME }, 10_000 + port));
    }
    let buckets: Vec<Bucket> = (0..8).map(Bucket).collect();
    gateway.send_move(new, GENERATION, &buckets);
    let mut items = Vec::new();
    for _ in 0..20 {
        items.extend(told(&mut gateway, new));
        gateway.make_up();
    }
    let known: std::collections::BTreeSet<Flow> = items
        .iter()
        .filter_map(|item| match item {
            Item::Entry(entry) | Item::Kept(entry) => Some(entry.forward),
            _ => None,
        })
        .collect();
    assert_eq!(known.len(), 60);
    assert!(matches!(items.last(), Some(Item::MoveDone { entries: 60, .. })), "{:?}", items.last());
    assert_eq!(items.len(), 61, "nothing twice");
}

#[test]
fn a_new_owner_heard_in_its_new_life_after_the_move_gets_the_list_again() {
    let [new, other, _] = OTHERS;
    let mut gateway = gateway(new, other);
    gateway.apply_entry(&entry(ME, 10_001));
    gateway.send_move(new, GENERATION, &[Bucket(10_001 % 8)]);
    assert!(gateway.streams.heard(new, Incarnation(512)), "the queue of the life before is gone");
    gateway.move_again(new);
    let items = told(&mut gateway, new);
    assert!(matches!(items[..], [Item::Entry(_), Item::MoveDone { entries: 1, .. }]), "{items:?}");
}

#[test]
fn a_joiner_takes_its_own_old_copies_over_only_when_the_list_is_complete() {
    let [previous, ..] = OTHERS;
    let mut gateway = gateway(ME, previous);
    // It owned this in the life before; meanwhile the previous owner began the connection anew.
    gateway.apply_entry(&Entry { life: Incarnation(1), ..entry(ME, 10_001) });
    (gateway.view.incarnation, gateway.view.accepted) = (LIFE, GENERATION);
    gateway.view.install(Some(&matrix(ME, Some(previous), Some(ME))), |_| (true, Some(previous)));
    gateway.walk();
    let newer = Entry { version: Version { generation: 2, counter: 0 }, ..entry(previous, 10_001) };
    let newer = Entry { reverse: Flow { dst_port: 777, ..newer.reverse }, ..newer };
    gateway.apply_entry(&newer);
    let port = |gateway: &Gateway| {
        let (id, _) = gateway.table.find(&newer.forward).unwrap();
        gateway.table.get(id).unwrap().reverse.dst_port
    };
    assert_eq!(port(&gateway), 777, "the list's word is newer");
    // What no list named is its own again when the list is complete.
    gateway.apply_entry(&Entry { life: Incarnation(1), ..entry(ME, 10_002) });
    gateway.view.install(Some(&matrix(ME, Some(previous), Some(ME))), |_| (true, None));
    gateway.walk();
    let (id, _) = gateway.table.find(&entry(ME, 10_002).forward).unwrap();
    assert_eq!(gateway.table.get(id).unwrap().life, LIFE);
}
