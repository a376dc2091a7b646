//! Where a frame goes.

use scalebed_engine::{Frame, Instant};
use scalebed_frame::control::Assignment;
use scalebed_frame::shim::{COPY, DETOURED, MAX_HOP, TO_UPLINK};
use scalebed_frame::view::{Network, Transport};
use scalebed_frame::{Kind, MemberId, NodeId, Shim, View, mac, ndp, quote, rewrite};
use scalebed_topologies::lab::PortRole;

use crate::drops::Drop;
use crate::{Orchestrator, Uplink, node};

/// Who a frame of an uplink is for.
enum For<'a> {
    /// The owner of its bucket.
    Owner(&'a Assignment),
    /// The SMO.
    Smo(MemberId),
    /// All admitted members, a copy each.
    All,
    /// Nobody.
    Nobody(Drop),
}

impl Orchestrator {
    /// A frame that came in on `port`.
    pub(crate) fn frame(&mut self, port: u16, frame: Frame, received: Instant) {
        let Some(view) = View::parse_whole(frame.bytes()) else {
            self.drop(Drop::Malformed);
            return;
        };
        let role = self.config.ports[usize::from(port)].role;
        match (role, view.shim) {
            (PortRole::Uplink(_), Some(_)) => self.drop(Drop::ShimOnUplink),
            (PortRole::Uplink(_), None) => self.uplink_frame(port, frame, &view),
            (_, None) => self.drop(Drop::NoShim),
            (_, Some(shim)) if shim.group != self.config.group.id => self.drop(Drop::ForeignGroup),
            (_, Some(shim)) if shim.hop > MAX_HOP => self.drop(Drop::HopLimit),
            // Nobody behind here could read it either.
            (_, Some(_)) if view.network == Network::Malformed => self.drop(Drop::Malformed),
            (_, Some(shim)) => match shim.kind {
                Kind::Control => self.control(port, frame, &view, shim, received),
                Kind::Data if shim.has(TO_UPLINK) => self.send_up(port, frame, shim),
                Kind::Data if Some(port) == self.pair => self.pass_to_target(port, frame, shim),
                Kind::Data => self.drop(Drop::Misplaced),
                Kind::Correction | Kind::Handover => {
                    self.corrections += 1;
                    self.pass_to_target(port, frame, shim);
                }
            },
        }
    }

    /// An uplink's frame: to the owner of its bucket, the SMO, or everybody.
    fn uplink_frame(&mut self, port: u16, frame: Frame, view: &View) {
        let Some(uplink) = self.uplinks.iter().find(|uplink| uplink.port == port).copied() else {
            self.drop(Drop::NotOurs);
            return;
        };
        if self.cluster.is_fenced() {
            self.drop(Drop::Fenced);
            return;
        }
        let mut shim = Shim::new(Kind::Data, uplink.network, self.config.group.id);
        shim.ingress = self.cluster.id().0;
        shim.origin = self.config.id.code();
        shim.incarnation = (self.cluster.incarnation().0 & 0xffff) as u16;
        match self.addressee(uplink, view, frame.bytes()) {
            For::Nobody(reason) => self.drop(reason),
            For::Smo(smo) => self.send_down(smo, frame, shim, None),
            For::Owner(bucket) => {
                (shim.generation, shim.author) = (bucket.moved.counter, NodeId::from(bucket.moved.author).code());
                let owner = bucket.owner;
                self.send_down(owner, frame, shim, None);
            }
            For::All => {
                shim.flags |= COPY;
                let members: Vec<MemberId> = self
                    .cluster
                    .matrix()
                    .map(|matrix| matrix.admitted.iter().map(|one| one.member).collect())
                    .unwrap_or_default();
                if members.is_empty() {
                    self.drop(Drop::NoMatrix);
                }
                self.copies += (members.len() as u64).saturating_sub(1);
                for member in members {
                    self.send_down(member, frame.clone(), shim, None);
                }
            }
        }
    }

    fn addressee(&self, uplink: Uplink, view: &View, frame: &[u8]) -> For<'_> {
        let Some(matrix) = self.cluster.matrix() else { return For::Nobody(Drop::NoMatrix) };
        let smo = || self.cluster.smo().map_or(For::Nobody(Drop::NoMatrix), For::Smo);
        if !view.dst.is_group() && view.dst != uplink.mac {
            return For::Nobody(Drop::NotOurs);
        }
        match &view.network {
            Network::Arp(arp) if arp.operation == 1 => smo(),
            Network::Arp(_) => For::All,
            Network::Ip(ip) if ndp::is_discovery(ip) => {
                // What neighbours say all members must know; questions are the SMO's.
                let told = matches!(ip.transport, Transport::Icmp { kind: ndp::ADVERTISEMENT, .. });
                if told { For::All } else { smo() }
            }
            Network::Ip(_) if view.dst == scalebed_frame::Mac::BROADCAST => smo(),
            Network::Ip(_) if view.dst.is_group() => For::All,
            Network::Ip(ip) => match uplink.facing {
                None => smo(),
                Some(facing) => {
                    // An ICMP error goes where the packets of its connection go that enter here.
                    let (flow, ports) = quote::tuple(frame, ip);
                    let bucket = self.policy.bucket(&flow, ports, facing);
                    let assignment = matrix.buckets.get(usize::from(bucket.0));
                    assignment.map_or(For::Nobody(Drop::NoMatrix), For::Owner)
                }
            },
            Network::Corrupt => For::Nobody(Drop::BadChecksum),
            Network::Malformed => For::Nobody(Drop::Malformed),
            Network::Other => For::Nobody(Drop::NotIp),
        }
    }

    /// Down to a member; `from` is the internal port that the frame came in on, if it is shimmed already.
    fn send_down(&mut self, member: MemberId, mut frame: Frame, mut shim: Shim, from: Option<u16>) {
        shim.target = NodeId::from(member).code();
        let own = self.downlinks.get(&member).copied().filter(|&port| self.up(port));
        // The pair cable is crossed once: never by what came over it or crossed it before.
        let detour = self.pair.filter(|&pair| self.up(pair) && from != Some(pair) && !shim.has(DETOURED));
        let Some(port) = own.or(detour) else {
            self.drop(Drop::NoPath);
            return;
        };
        if own.is_none() {
            shim.flags |= DETOURED;
            self.detours += 1;
        }
        if from.is_some() {
            shim.replace(frame.bytes_mut());
        } else {
            shim.insert(frame.bytes_mut());
        }
        let interface = self.cluster.id().0.saturating_sub(1);
        let dst = mac::bmac(self.config.group.id, member, interface);
        let src = frame.bytes().get(6..12).and_then(|bytes| bytes.try_into().ok()).map(scalebed_frame::Mac);
        rewrite::set_macs(frame.bytes_mut(), dst, src.unwrap_or_default());
        self.transmit(port, frame);
    }

    /// A correction, or data that crossed the pair: to the member that its shim names.
    fn pass_to_target(&mut self, port: u16, frame: Frame, shim: Shim) {
        // A stale orchestrator's list of the admitted is not to be trusted either.
        if self.cluster.is_fenced() {
            self.drop(Drop::Fenced);
            return;
        }
        if shim.kind != Kind::Data && !self.passes(shim) {
            self.drop(Drop::FencedSender);
            return;
        }
        match node(shim.target) {
            Some(NodeId::Member(member)) => self.send_down(member, frame, shim, Some(port)),
            Some(NodeId::Mho(_)) | None => self.drop(Drop::Misplaced),
        }
    }

    /// What a member sends towards a network: the fence, then out of the uplink, or once over the pair.
    fn send_up(&mut self, port: u16, mut frame: Frame, mut shim: Shim) {
        if self.cluster.is_fenced() {
            self.drop(Drop::Fenced);
            return;
        }
        if !self.passes(shim) {
            self.drop(Drop::FencedSender);
            return;
        }
        let uplink = self.uplinks.iter().find(|uplink| uplink.network == shim.network).map(|uplink| uplink.port);
        if let Some(out) = uplink.filter(|&out| self.up(out)) {
            let _stripped = Shim::remove(frame.bytes_mut());
            self.transmit(out, frame);
            return;
        }
        match self.pair.filter(|&pair| self.up(pair) && pair != port && !shim.has(DETOURED)) {
            Some(pair) => {
                shim.flags |= DETOURED;
                self.detours += 1;
                shim.replace(frame.bytes_mut());
                self.transmit(pair, frame);
            }
            None => self.drop(Drop::NoPath),
        }
    }

    fn passes(&self, shim: Shim) -> bool {
        node(shim.origin).is_some_and(|origin| self.cluster.passes(origin, shim.incarnation))
    }

    /// Control messages pass whatever the fence says: joins are among them. They are switched among the own downlinks
    /// and this orchestrator; what is for everybody never goes into the pair cable.
    fn control(&mut self, port: u16, frame: Frame, view: &View, shim: Shim, received: Instant) {
        match node(shim.target) {
            None if view.dst.is_group() => {
                self.consumed += 1;
                if Some(port) != self.pair {
                    let others: Vec<u16> =
                        self.downlinks.values().copied().filter(|&out| out != port && self.up(out)).collect();
                    self.copies += others.len() as u64;
                    for out in others {
                        self.transmit(out, frame.clone());
                    }
                }
                self.consume(port, &frame, view, received);
            }
            Some(NodeId::Mho(mho)) if mho == self.cluster.id() => {
                self.consumed += 1;
                self.consume(port, &frame, view, received);
            }
            Some(NodeId::Mho(_)) => {
                let free = |&pair: &u16| self.up(pair) && pair != port && !shim.has(DETOURED);
                match self.pair.filter(free) {
                    Some(pair) => self.transmit(pair, frame),
                    None => self.drop(Drop::NoPath),
                }
            }
            Some(NodeId::Member(member)) => self.send_down(member, frame, shim, Some(port)),
            None => self.drop(Drop::Misplaced),
        }
    }
}
