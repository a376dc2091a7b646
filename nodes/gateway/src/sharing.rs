//! HyperSync: who gets a copy of what, when; and what is done with what others send.

use std::collections::BTreeSet;
use std::time::Duration;

use scalebed_cluster::Port;
use scalebed_cluster::wrap::Envelope;
use scalebed_frame::control::{Body, Heartbeat, MemberState};
use scalebed_frame::sync::{Entry, Item, Neighbour, SyncMessage, Version};
use scalebed_frame::{Flow, Incarnation, MemberId};
use scalebed_topologies::lab::Sticky;

use crate::counters::{Count, Fate};
use crate::engine::{Gateway, Joining};
use crate::membership::Place;
use crate::stream::Received;
use crate::table::{Connection, Id, Told};
use crate::waiting::For;

impl Gateway {
    /// Queues an item for a peer. False: there is no room, and it will be told what it misses when there is.
    pub(crate) fn push(&mut self, to: MemberId, item: Item) -> bool {
        let entry = matches!(item, Item::Entry(_) | Item::Kept(_));
        let queued = self.streams.push(to, item);
        match (queued, entry) {
            (true, true) => self.counters.one(Count::SyncTxEntries),
            (true, false) => {}
            (false, _) => self.counters.one(Count::SyncOverflow),
        }
        queued
    }

    /// Who missed items and can take some again gets them.
    pub(crate) fn make_up(&mut self) {
        while let Some(member) = self.streams.take_dirty() {
            self.walk_for(member);
            self.go_on_with_moves(member);
        }
    }

    pub(crate) fn flush_streams(&mut self) {
        self.make_up();
        for outgoing in self.streams.flush(self.now) {
            self.counters.one(if outgoing.again { Count::SyncResent } else { Count::SyncTxMessages });
            let port = self.cluster.best_port(outgoing.to.into()).map_or(Port::Best, Port::One);
            let bytes = self.send(Envelope {
                incarnation: self.view.incarnation,
                port,
                to: Some(outgoing.to.into()),
                body: Body::Sync(outgoing.message),
            });
            self.counters.add(Count::SyncTxBytes, bytes);
        }
    }

    /// The member that must have a connection at once: where its return direction lands, if that is not here.
    fn return_member(&self, connection: &Connection) -> Option<MemberId> {
        let lands = self.view.owner(connection.back);
        if lands == Some(self.view.id) {
            return None;
        }
        // The pivot receives everything; by its table it finds what the hash does not tell.
        let by_table = self.is_elastic() && self.config.group.sticky == Sticky::Table;
        let target = if by_table { self.view.smo } else { lands };
        target.filter(|&member| member != self.view.id)
    }

    /// Who must have an owned connection beside this member. In a bucket that moved away that is the bucket's new owner,
    /// where its packets come in, and who gets the bucket next: both at once, they would begin a new connection.
    fn heirs(&self, connection: &Connection) -> [Option<MemberId>; 2] {
        let place = self.view.place(connection.bucket).filter(|_| !self.config.ablations.no_backup_sync);
        let Some(place) = place else { return [None; 2] };
        let delay = Duration::from_millis(self.config.group.sync_delay_ms.into());
        let old = self.now.since(connection.born) >= delay;
        let moved = place.assignment.owner != self.view.id;
        let owner = Some(place.assignment.owner).filter(|_| moved);
        let backup = place.assignment.backup.filter(|&member| member != self.view.id && (old || moved));
        [owner, backup]
    }

    /// A new connection: an asymmetric one is synced at once, others when they are old enough.
    pub(crate) fn sync_new(&mut self, id: Id) {
        let Some(connection) = self.table.get(id) else { return };
        let delay = Duration::from_millis(self.config.group.sync_delay_ms.into());
        let (due, target) = (connection.born + delay, self.return_member(connection));
        self.delayed.insert((due, id));
        let target = target.filter(|_| !self.config.ablations.no_sync_at_once);
        if let Some(target) = target {
            self.tell(id, target);
        }
    }

    /// Sends a connection to a member that does not have it yet.
    pub(crate) fn tell(&mut self, id: Id, to: MemberId) -> bool {
        let now = self.now;
        let Some(life) = self.view.life(to) else { return false };
        let Some(connection) = self.table.get_mut(id) else { return false };
        let told = Told { member: to, life };
        if connection.told.contains(&told) {
            return false;
        }
        connection.told.retain(|one| one.member != to);
        connection.told.push(told);
        connection.refresh = now + connection.track.timeout(connection.forward.protocol) / 3;
        let entry = connection.entry(now);
        let queued = self.push(to, Item::Entry(entry));
        if !queued && let Some(connection) = self.table.get_mut(id) {
            connection.told.retain(|one| *one != told);
        }
        queued
    }

    /// A packet passed: those who have a copy hear of a new state at once, of a longer life now and then.
    pub(crate) fn refresh(&mut self, id: Id, changed: bool) {
        let now = self.now;
        let Some(connection) = self.table.get_mut(id) else { return };
        if connection.told.is_empty() || !(changed || connection.refresh <= now) {
            return;
        }
        connection.version.counter += 1;
        connection.refresh = now + connection.track.timeout(connection.forward.protocol) / 3;
        let entry = connection.entry(now);
        for told in connection.told.clone() {
            if !self.push(told.member, Item::Entry(entry.clone()))
                && let Some(connection) = self.table.get_mut(id)
            {
                connection.told.retain(|one| *one != told);
            }
        }
    }

    /// Connections that reached the sync delay go to their backup.
    pub(crate) fn sync_delayed(&mut self) {
        while let Some(&(at, id)) = self.delayed.first().filter(|(at, _)| *at <= self.now) {
            self.delayed.remove(&(at, id));
            self.share(id);
        }
    }

    /// Makes sure that everybody who must have an owned connection has it. True: somebody was told.
    fn share(&mut self, id: Id) -> bool {
        let Some(connection) = self.table.get(id).filter(|one| self.owns(one) && !one.is_closed()) else {
            return false;
        };
        let (back, [owner, backup]) = (self.return_member(connection), self.heirs(connection));
        // A binding that was taken over uses a port of another's range: that member must know until it ends.
        let range = self.nat.range_owner(connection.reverse.dst, connection.reverse.dst_port);
        let range = range.filter(|&member| member != self.view.id && !self.config.ablations.no_port_learning);
        let mut told = false;
        for member in [back, owner, backup, range].into_iter().flatten() {
            told |= self.tell(id, member);
        }
        told
    }

    /// Another matrix: what waited for it goes on, and a walk finds who must have what now.
    pub(crate) fn matrix_changed(&mut self) {
        let counter = self.view.accepted.counter;
        let admitted = self.waiting.take_admissions(counter);
        let mut free = self.waiting.take_generations(counter);
        let view = &self.view;
        free.extend(self.waiting.take_activated(|bucket| view.place(bucket).is_some_and(|place| place.may_own)));
        self.streams.drop_unless(&self.served, &self.view.admitted);
        self.served.clone_from(&self.view.admitted);
        if !self.view.fenced {
            self.walk();
        }
        for packet in admitted {
            let fate = self.admit(packet);
            self.counters.settle(fate);
        }
        for packet in free {
            let fate = self.route(packet);
            self.counters.settle(fate);
        }
    }

    /// Who is gone needs nothing more. What the dead owned is its heir's: this member's own from Activate on, so that it
    /// has a backup before its next packet comes; of another it is told, who may not have it (a young asymmetric one).
    pub(crate) fn walk(&mut self) {
        self.counters.one(Count::Walks);
        for slot in 0..self.table.slots() {
            let Some(id) = self.table.at(slot) else { continue };
            self.counters.one(Count::Walked);
            let view = &self.view;
            let Some(connection) = self.table.get_mut(id) else { continue };
            connection.told.retain(|told| view.admits(told.member, told.life));
            let orphan = !view.admits(connection.owner, connection.life);
            // A list that is under way may hold something newer: what it does not name is taken over at its end.
            let takes = |place: &Place| place.may_own && place.waiting_for.is_none();
            let heir = view.place(connection.bucket).map(|place| (place.assignment.owner, takes(place)));
            let told = match heir {
                Some((heir, _)) if orphan && heir != view.id => self.tell(id, heir),
                Some((_, true)) if orphan => {
                    self.take_over(id);
                    false
                }
                Some(_) | None => self.share(id),
            };
            self.counters.add(Count::Resynced, u64::from(told));
        }
    }

    /// A peer missed items, and there is room again: it is told of what it was not told of, as far as the room goes.
    fn walk_for(&mut self, member: MemberId) {
        for slot in 0..self.table.slots() {
            if self.streams.is_dirty(member) {
                return;
            }
            let Some(id) = self.table.at(slot) else { continue };
            self.share(id);
        }
    }

    /// A fenced member owns nothing: its connections are copies of nobody's, for whoever asks.
    pub(crate) fn disown(&mut self) {
        for slot in 0..self.table.slots() {
            if let Some(id) = self.table.at(slot)
                && let Some(connection) = self.table.get_mut(id)
            {
                connection.told.clear();
            }
        }
    }

    /// Back in service: a copy whose owner's life ended meanwhile was somebody else's to take over, and its port may have
    /// been given away again since. One of this member's own range can't have been.
    pub(crate) fn discard_stale(&mut self) {
        for slot in 0..self.table.slots() {
            let Some((id, connection)) = self.table.at(slot).and_then(|id| Some((id, self.table.get(id)?))) else {
                continue;
            };
            let (address, port) = (connection.reverse.dst, connection.reverse.dst_port);
            let range = self.nat.range_owner(address, port);
            let elsewhere = range.is_some_and(|member| member != self.view.id);
            if elsewhere && !self.view.admits(connection.owner, connection.life) {
                self.forget(id);
            }
        }
    }

    pub(crate) fn take_over(&mut self, id: Id) {
        let (me, life, generation) = (self.view.id, self.view.incarnation, self.view.accepted.counter);
        let Some(connection) = self.table.get_mut(id) else { return };
        (connection.owner, connection.life) = (me, life);
        connection.version = Version { generation, counter: connection.version.counter + 1 };
        connection.told.clear();
        let (address, port) = (connection.reverse.dst, connection.reverse.dst_port);
        self.nat.reserve(address, port);
        self.counters.one(Count::TakenOver);
        self.sync_new(id);
        self.share(id);
    }

    /// An owned connection ends: those who have a copy bury theirs too.
    pub(crate) fn end(&mut self, id: Id) {
        // The end is newer than every entry, here as at those who were told: a next connection of the tuple starts above.
        if let Some(connection) = self.table.get_mut(id) {
            connection.version.counter += 1;
        }
        let Some(connection) = self.table.remove(id, Some(self.now)) else { return };
        self.nat.free(connection.reverse.dst, connection.reverse.dst_port);
        self.counters.one(Count::Deleted);
        let version = connection.version;
        for told in connection.told {
            self.push(told.member, Item::Delete { forward: connection.forward, version });
        }
    }

    /// A copy goes.
    pub(crate) fn forget(&mut self, id: Id) {
        if let Some(connection) = self.table.remove(id, None) {
            self.nat.free(connection.reverse.dst, connection.reverse.dst_port);
        }
    }

    pub(crate) fn expire(&mut self) {
        while let Some(id) = self.table.next_expired(self.now) {
            let owned = self.table.get(id).is_some_and(|connection| self.owns(connection));
            if owned { self.end(id) } else { self.forget(id) }
        }
    }

    /// A joiner asks everybody who is admitted for neighbours, and for ports of its NAT range that are in use. Whom it has
    /// not heard yet it asks too: a member that stands still for a moment still owns what it owns.
    pub(crate) fn ask_everybody(&mut self) {
        let asked = |member: &MemberId| *member != self.view.id && !self.config.ablations.no_port_learning;
        let open: BTreeSet<MemberId> = self.announced.iter().copied().filter(asked).collect();
        for &member in &open {
            self.push(member, Item::Want);
        }
        self.joining = Some(Joining { open, until: self.now + self.want_limit() });
    }

    /// Whoever has not answered in time is asked again, as long as the join lasts: what was asked while nobody heard this
    /// member came to nobody.
    pub(crate) fn ask_late(&mut self) {
        let Some(mut joining) = self.joining.take_if(|joining| joining.until <= self.now) else { return };
        self.counters.one(Count::WantTimeouts);
        if self.view.state != MemberState::Syncing {
            return;
        }
        for &member in &joining.open {
            self.push(member, Item::Want);
        }
        joining.until = self.now + self.want_limit();
        self.joining = Some(joining);
    }

    /// A member is heard in another life: what was asked of the old one was lost with it.
    pub(crate) fn ask_again(&mut self, member: MemberId) {
        if self.joining.as_ref().is_some_and(|joining| joining.open.contains(&member)) {
            self.push(member, Item::Want);
        }
    }

    /// Who is admitted, by the SMO's word. Who was left out meanwhile has nothing to answer for.
    pub(crate) fn announced(&mut self, beat: &Heartbeat) {
        self.announced = beat.admitted.iter().map(|one| one.member).collect();
        if let Some(joining) = &mut self.joining {
            joining.open.retain(|member| self.announced.contains(member));
            self.ended_asking();
        }
    }

    /// A joiner that has all answers is synced.
    fn ended_asking(&mut self) {
        if self.joining.as_ref().is_some_and(|joining| joining.open.is_empty()) {
            self.joined();
        }
    }

    pub(crate) fn sync_message(&mut self, from: MemberId, life: Incarnation, message: SyncMessage) {
        match self.streams.receive(from, life, self.view.incarnation, message, self.now) {
            Received::Nothing => {}
            Received::Stale => self.counters.one(Count::SyncRxStale),
            Received::Items(items) => {
                for item in items {
                    self.apply(from, item);
                }
            }
        }
    }

    fn apply(&mut self, from: MemberId, item: Item) {
        match item {
            Item::Entry(entry) | Item::Kept(entry) => self.apply_entry(&entry),
            Item::Delete { forward, version } => {
                if let Some((id, _)) = self.table.find(&forward)
                    && self.table.get(id).is_some_and(|one| one.version < version && !self.owns(one))
                {
                    self.forget(id);
                }
                self.table.bury(forward, version, self.now);
            }
            Item::Neighbour(Neighbour { network, address, mac }) => {
                let _no_room = self.install_neighbour(network, address, mac);
            }
            Item::Want => self.answer_want(from),
            Item::WantDone => {
                if let Some(joining) = &mut self.joining {
                    joining.open.remove(&from);
                    self.ended_asking();
                }
            }
            Item::PortsInUse(ports) => self.nat.reserve_all(&ports),
            Item::Query(flow) => {
                let found = self.table.find(&flow).and_then(|(id, _)| self.table.get(id));
                let entry = found.map(|connection| connection.entry(self.now));
                self.push(from, Item::Answer { asked: flow, entry });
            }
            Item::Answer { asked, entry } => self.answered(asked, entry),
            Item::MoveDone { generation, entries } => {
                self.cluster.move_complete(generation, from, entries, self.now);
                self.settle();
            }
        }
    }

    fn answer_want(&mut self, to: MemberId) {
        let neighbours: Vec<Item> = self
            .neighbours
            .iter()
            .map(|(&(network, address), &mac)| Item::Neighbour(Neighbour { network, address, mac }))
            .collect();
        let ports: Vec<u16> = self
            .table
            .iter()
            .map(|(_, connection)| (connection.reverse.dst, connection.reverse.dst_port))
            .filter(|&(address, port)| self.nat.range_owner(address, port) == Some(to))
            .map(|(_, port)| port)
            .collect();
        for item in neighbours {
            self.push(to, item);
        }
        // A message holds a few hundred ports.
        for some in ports.chunks(300) {
            self.push(to, Item::PortsInUse(some.to_vec()));
        }
        self.push(to, Item::WantDone);
    }

    fn answered(&mut self, asked: Flow, entry: Option<Entry>) {
        let Some(entry) = entry else { return };
        self.counters.one(Count::QueryHits);
        self.apply_entry(&entry);
        for packet in self.waiting.take(For::Answer(asked)) {
            let fate: Fate = self.route(packet);
            self.counters.settle(fate);
        }
    }

    /// A copy, if it is newer than what is known; what ended does not come back. Applying never emits sync.
    pub(crate) fn apply_entry(&mut self, entry: &Entry) {
        self.counters.one(Count::SyncRxEntries);
        if self.table.tombstone(&entry.forward).is_some_and(|old| old >= entry.version) {
            self.counters.one(Count::SyncRxOld);
            return;
        }
        if let Some((id, _)) = self.table.find(&entry.forward) {
            let Some(known) = self.table.get(id) else { return };
            if known.version >= entry.version {
                self.counters.one(Count::SyncRxOld);
                return;
            }
            if self.owns(known) && self.view.admits(self.view.id, known.life) && entry.owner == self.view.id {
                self.counters.one(Count::SyncRxConflict);
                return;
            }
            self.forget(id);
        }
        let ports = entry.forward.protocol != scalebed_frame::Protocol(0);
        let back = self.bucket(&entry.reverse, ports, entry.left);
        // A copy in the way of its return tuple is of a connection that ended; its Delete is still on its way.
        if let Some((id, _)) = self.table.find(&entry.reverse)
            && self.table.get(id).is_some_and(|known| !self.owns(known))
        {
            self.forget(id);
        }
        if self.table.insert(Connection::of_entry(entry, back, self.now)).is_err() {
            self.counters.one(Count::SyncRxConflict);
            return;
        }
        self.nat.reserve(entry.reverse.dst, entry.reverse.dst_port);
        if self.config.ablations.no_echo_guard {
            let others = self.view.admitted.iter().map(|one| one.member).filter(|member| *member != self.view.id);
            for member in others.collect::<Vec<_>>() {
                self.push(member, Item::Entry(entry.clone()));
            }
        }
    }
}
