//! A host of the simulated world: ARP and neighbour discovery, services that others call, and calls of its own, over a small TCP (`conversation`).
//! It stands where namespaces have a kernel, and shows that a stream comes through whole, never how fast a kernel's would.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use scalebed_engine::{Engine, Frame, Input, Instant, Output, PortIndex};
use scalebed_frame::build;
use scalebed_frame::ndp::Ndp;
use scalebed_frame::view::{ACK, Arp, Network, RST, SYN, Tcp, Transport};
use scalebed_frame::{Flow, Mac, Protocol, View, checksum};

mod conversation;

use conversation::{Conversation, Here};
pub use conversation::{Fetched, LINE, Pace, Says, content};

/// Between two questions for the gateway's MAC.
const ASK: Duration = Duration::from_millis(100);
/// The port of a client's first call; each next call has the next.
const CLIENT_PORT: u16 = 40_000;
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// What a host is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// MAC of its port.
    pub mac: Mac,
    /// At most one of each family.
    pub stacks: Vec<Stack>,
    /// What whoever connects to a port is told.
    pub serves: BTreeMap<u16, Says>,
    /// Whom it calls.
    pub calls: Vec<Call>,
}

/// What a host has of one family: both addresses are of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Its address.
    pub address: IpAddr,
    /// The cluster's address on its network.
    pub gateway: IpAddr,
}

/// A call of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// When (not before the gateway is known).
    pub at: Instant,
    /// Whom.
    pub to: IpAddr,
    /// At which port.
    pub port: u16,
    /// What it says itself.
    pub says: Says,
}

/// A host. Port 0 is its only one.
#[derive(Debug)]
pub struct Host {
    config: HostConfig,
    /// Of each of the stacks.
    gateways: Vec<Option<Mac>>,
    ask: Instant,
    /// Indexes of the calls that are not begun.
    waiting: VecDeque<usize>,
    /// By the tuple of the frames that this host sends.
    conversations: BTreeMap<Flow, Conversation>,
    outputs: VecDeque<Output>,
    now: Instant,
}

impl Host {
    /// A host that has said nothing yet. Its calls must be in order of time.
    #[must_use]
    pub fn new(config: HostConfig) -> Self {
        Self {
            gateways: vec![None; config.stacks.len()],
            waiting: (0..config.calls.len()).collect(),
            config,
            ask: Instant(0),
            conversations: BTreeMap::new(),
            outputs: VecDeque::new(),
            now: Instant(0),
        }
    }

    /// What came so far of one of its calls; `None`: it was not begun.
    #[must_use]
    pub fn fetched(&self, call: usize) -> Option<Fetched> {
        let conversation = self.conversations.get(&self.flow_of(call)?)?;
        Some(conversation.fetched())
    }

    /// The tuple of a call, as this host sends.
    fn flow_of(&self, call: usize) -> Option<Flow> {
        let Call { to, port, .. } = self.config.calls.get(call)?;
        let src_port = CLIENT_PORT + u16::try_from(call).ok()?;
        let src = self.config.stacks[self.stack(*to)?].address;
        Some(Flow { protocol: Protocol::TCP, src, dst: *to, src_port, dst_port: *port })
    }

    /// Which stack an address is of, by its family.
    fn stack(&self, address: IpAddr) -> Option<usize> {
        self.config.stacks.iter().position(|stack| stack.address.is_ipv4() == address.is_ipv4())
    }

    /// The gateway's MAC on the way to an address.
    fn gateway(&self, to: IpAddr) -> Option<Mac> {
        self.gateways[self.stack(to)?]
    }

    /// Whoever says so has this address.
    fn learn(&mut self, address: IpAddr, mac: Mac) {
        let stacks = self.config.stacks.iter().zip(&mut self.gateways);
        if let Some((_, gateway)) = stacks.into_iter().find(|(stack, _)| stack.gateway == address && !mac.is_group()) {
            *gateway = Some(mac);
        }
    }

    fn has(&self, address: IpAddr) -> bool {
        self.config.stacks.iter().any(|stack| stack.address == address)
    }

    fn transmit(&mut self, frame: Frame) {
        self.outputs.push_back(Output::Transmit { port: PortIndex(0), frame });
    }

    /// Lets a conversation send what it may.
    fn speak(&mut self, flow: Flow, what: impl FnOnce(&mut Conversation, &mut Here<'_>)) {
        let Some(gateway) = self.gateway(flow.dst) else { return };
        if let Some(conversation) = self.conversations.get_mut(&flow) {
            let mut here = Here { mac: self.config.mac, gateway, flow, now: self.now, outputs: &mut self.outputs };
            what(conversation, &mut here);
        }
    }

    fn on_tcp(&mut self, flow: Flow, tcp: &Tcp, payload: &[u8]) {
        let mine = flow.reversed();
        let fresh = tcp.flags & (SYN | ACK | RST) == SYN;
        if fresh
            && !self.conversations.contains_key(&mine)
            && let Some(says) = self.config.serves.get(&tcp.dst_port)
        {
            self.conversations.insert(mine, Conversation::new(mine.src, says.clone(), self.now));
        }
        self.speak(mine, |conversation, here| conversation.on_tcp(here, tcp, payload));
    }

    fn on_frame(&mut self, frame: &Frame) {
        let bytes = frame.bytes();
        let Some(view) = View::parse(bytes) else { return };
        match view.network {
            Network::Arp(arp) => self.on_arp(&arp),
            Network::Ip(_) if let Some(ndp) = Ndp::read(bytes, &view) => self.on_ndp(ndp),
            Network::Ip(ip) if view.dst == self.config.mac && checksum::is_valid(bytes, view.l3, &ip) => {
                if let Transport::Tcp(tcp) = ip.transport {
                    let payload = bytes.get(tcp.payload..ip.end).unwrap_or_default().to_vec();
                    self.on_tcp(ip.flow(), &tcp, &payload);
                }
            }
            Network::Ip(_) | Network::Other | Network::Malformed | Network::Corrupt => {}
        }
    }

    fn on_arp(&mut self, arp: &Arp) {
        self.learn(arp.sender_ip.into(), arp.sender_mac);
        if arp.operation == REQUEST && self.has(arp.target_ip.into()) {
            let (sender_mac, sender_ip) = (self.config.mac, arp.target_ip);
            let (target_mac, target_ip) = (arp.sender_mac, arp.sender_ip);
            let reply = Arp { operation: REPLY, sender_mac, sender_ip, target_mac, target_ip };
            self.transmit(build::arp(sender_mac, target_mac, reply));
        }
        self.on_time();
    }

    fn on_ndp(&mut self, ndp: Ndp) {
        match ndp {
            Ndp::Advertisement { target, link, .. } => self.learn(target.into(), link),
            Ndp::Solicitation { from, target } => {
                if let Some((address, mac)) = from {
                    self.learn(address.into(), mac);
                }
                if self.has(target.into()) {
                    let to = from.map(|(address, mac)| (mac, address));
                    self.transmit(build::advertisement(self.config.mac, target, false, to));
                }
            }
        }
        self.on_time();
    }

    /// Asks for each gateway that is not known.
    fn ask(&mut self) {
        if self.asks().is_none_or(|at| at > self.now) {
            return;
        }
        self.ask = self.now + ASK;
        let mac = self.config.mac;
        let unknown = self.config.stacks.iter().zip(&self.gateways).filter(|(_, gateway)| gateway.is_none());
        let questions: Vec<Frame> = unknown
            .filter_map(|(stack, _)| match (stack.address, stack.gateway) {
                (IpAddr::V4(sender_ip), IpAddr::V4(target_ip)) => {
                    let target_mac = Mac::ZERO;
                    let arp = Arp { operation: REQUEST, sender_mac: mac, sender_ip, target_mac, target_ip };
                    Some(build::arp(mac, Mac::BROADCAST, arp))
                }
                (IpAddr::V6(from), IpAddr::V6(target)) => Some(build::solicitation(mac, from, target)),
                _ => None,
            })
            .collect();
        questions.into_iter().for_each(|question| self.transmit(question));
    }

    /// When it asks next, if there is anything to ask for.
    fn asks(&self) -> Option<Instant> {
        self.gateways.iter().any(Option::is_none).then_some(self.ask)
    }

    /// The next call whose way is known, by its place among those that wait: one family does not wait for the other.
    fn next_call(&self) -> Option<(usize, &Call)> {
        let mut calls = self.waiting.iter().map(|index| &self.config.calls[*index]).enumerate();
        calls.find(|(_, call)| self.gateway(call.to).is_some())
    }

    fn on_time(&mut self) {
        self.ask();
        while let Some((place, call)) = self.next_call().filter(|(_, call)| call.at <= self.now) {
            let says = call.says.clone();
            if let Some(flow) = self.waiting.remove(place).and_then(|index| self.flow_of(index)) {
                self.conversations.insert(flow, Conversation::new(flow.src, says, self.now));
            }
        }
        let flows: Vec<Flow> = self.conversations.keys().copied().collect();
        for flow in flows {
            self.speak(flow, Conversation::on_time);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let call = self.next_call().map(|(_, call)| call.at);
        let all = self.conversations.values().filter_map(|conversation| conversation.deadline(self.now));
        all.chain(call).chain(self.asks()).min()
    }
}

impl Engine for Host {
    fn handle(&mut self, input: Input, now: Instant) {
        self.now = now;
        match input {
            Input::Frame { frame, .. } => self.on_frame(&frame),
            Input::Timeout => self.on_time(),
            Input::Link { .. } | Input::Command(_) => {}
        }
    }

    fn poll(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| Output::Idle(self.deadline()))
    }
}

#[cfg(test)]
mod tests;
