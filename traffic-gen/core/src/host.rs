//! A host of the simulated world: ARP, services that others call, and calls of its own, over a small TCP (`conversation`).
//! It stands where namespaces have a kernel, and shows that a stream comes through whole, never how fast a kernel's would.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use scalebed_engine::{Engine, Frame, Input, Instant, Output, PortIndex};
use scalebed_frame::build;
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
    /// Its address.
    pub address: Ipv4Addr,
    /// The cluster's address on its network.
    pub gateway: Ipv4Addr,
    /// What whoever connects to a port is told.
    pub serves: BTreeMap<u16, Says>,
    /// Whom it calls.
    pub calls: Vec<Call>,
}

/// A call of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// When (not before the gateway is known).
    pub at: Instant,
    /// Whom.
    pub to: Ipv4Addr,
    /// At which port.
    pub port: u16,
    /// What it says itself.
    pub says: Says,
}

/// A host. Port 0 is its only one.
#[derive(Debug)]
pub struct Host {
    config: HostConfig,
    gateway: Option<Mac>,
    ask: Instant,
    /// So many of the calls were begun.
    begun: usize,
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
            config,
            gateway: None,
            ask: Instant(0),
            begun: 0,
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
        let (src, dst) = (self.config.address.into(), (*to).into());
        Some(Flow { protocol: Protocol::TCP, src, dst, src_port, dst_port: *port })
    }

    /// Lets a conversation send what it may.
    fn speak(&mut self, flow: Flow, what: impl FnOnce(&mut Conversation, &mut Here<'_>)) {
        let Some(gateway) = self.gateway else { return };
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
            self.conversations.insert(mine, Conversation::new(self.config.address, says.clone(), self.now));
        }
        self.speak(mine, |conversation, here| conversation.on_tcp(here, tcp, payload));
    }

    fn on_frame(&mut self, frame: &Frame) {
        let bytes = frame.bytes();
        let Some(view) = View::parse(bytes) else { return };
        match view.network {
            Network::Arp(arp) => self.on_arp(&arp),
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
        if arp.sender_ip == self.config.gateway && !arp.sender_mac.is_group() {
            self.gateway = Some(arp.sender_mac);
        }
        if arp.operation == REQUEST && arp.target_ip == self.config.address {
            let (sender_mac, sender_ip) = (self.config.mac, self.config.address);
            let (target_mac, target_ip) = (arp.sender_mac, arp.sender_ip);
            let reply = Arp { operation: REPLY, sender_mac, sender_ip, target_mac, target_ip };
            let frame = build::arp(sender_mac, target_mac, reply);
            self.outputs.push_back(Output::Transmit { port: PortIndex(0), frame });
        }
        self.on_time();
    }

    fn on_time(&mut self) {
        if self.gateway.is_none() {
            if self.now >= self.ask {
                self.ask = self.now + ASK;
                let (sender_mac, sender_ip, target_ip) = (self.config.mac, self.config.address, self.config.gateway);
                let arp = Arp { operation: REQUEST, sender_mac, sender_ip, target_mac: Mac::ZERO, target_ip };
                let frame = build::arp(sender_mac, Mac::BROADCAST, arp);
                self.outputs.push_back(Output::Transmit { port: PortIndex(0), frame });
            }
            return;
        }
        while let Some(call) = self.config.calls.get(self.begun).filter(|call| call.at <= self.now) {
            let says = call.says.clone();
            if let Some(flow) = self.flow_of(self.begun) {
                self.conversations.insert(flow, Conversation::new(self.config.address, says, self.now));
            }
            self.begun += 1;
        }
        let flows: Vec<Flow> = self.conversations.keys().copied().collect();
        for flow in flows {
            self.speak(flow, Conversation::on_time);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        if self.gateway.is_none() {
            return Some(self.ask);
        }
        let call = self.config.calls.get(self.begun).map(|call| call.at);
        let all = self.conversations.values().filter_map(|conversation| conversation.deadline(self.now));
        all.chain(call).min()
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
