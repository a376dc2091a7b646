//! A host of the simulated world: ARP, and one bulk transfer over a small TCP (RFC 9293 without options, congestion
//! control and delayed acknowledgements; go-back-N by a timer of 200 ms that doubles). It stands where namespaces have a
//! kernel, and shows that a stream comes through whole, never how fast a kernel's would.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use scalebed_engine::{Engine, Frame, Input, Instant, Output, PortIndex};
use scalebed_frame::build::{self, Envelope, TcpFields};
use scalebed_frame::view::{ACK, Arp, FIN, Network, RST, SYN, Tcp, Transport};
use scalebed_frame::{Flow, Mac, Protocol, View, checksum};

/// Payload of a full segment, bytes: what an MTU of 1500 holds.
const SEGMENT: u64 = 1_460;
/// Bytes on their way at most.
const WINDOW: u64 = 60_000;
/// First timeout; doubles up to 16 times as long.
const RTO: Duration = Duration::from_millis(200);
/// Between two questions for the gateway's MAC.
const ASK: Duration = Duration::from_millis(100);
/// The client's port.
const CLIENT_PORT: u16 = 40_000;
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// What a host is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// MAC of its port.
    pub mac: Mac,
    /// Its address.
    pub address: Ipv4Addr,
    /// The cluster's address on its network.
    pub gateway: Ipv4Addr,
    /// What it does.
    pub task: Task,
}

/// What a host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Gives whoever connects to a port so many bytes, then closes.
    Serve {
        /// The port.
        port: u16,
        /// How many.
        bytes: u64,
    },
    /// Connects and takes what it is given.
    Fetch {
        /// From whom.
        from: Ipv4Addr,
        /// At which port.
        port: u16,
    },
}

/// What a client got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Bytes in order.
    pub bytes: u64,
    /// Each was the one that belongs there.
    pub intact: bool,
    /// The stream came to its end.
    pub complete: bool,
    /// The peer, or somebody in its name, reset the connection.
    pub reset: bool,
}

/// The byte of the content at an offset: a period (251) that divides no segment's size, so that a piece out of place
/// shows.
#[must_use]
pub fn content(offset: u64) -> u8 {
    u8::try_from(offset % 251).unwrap_or(0)
}

/// A host. Port 0 is its only one.
#[derive(Debug)]
pub struct Host {
    config: HostConfig,
    gateway: Option<Mac>,
    ask: Instant,
    /// As this host sends; none before a client came.
    flow: Option<Flow>,
    /// Sent and not acknowledged, then sent at all: positions of this end's stream, its SYN at 0.
    sent: (u64, u64),
    /// Next position of the peer's stream; 0: its SYN has not come.
    expected: u64,
    peer_isn: u32,
    rto: Duration,
    deadline: Option<Instant>,
    fetched: Fetched,
    outputs: VecDeque<Output>,
    now: Instant,
}

impl Host {
    /// A host that has said nothing yet.
    #[must_use]
    pub fn new(config: HostConfig) -> Self {
        let flow = match config.task {
            Task::Serve { .. } => None,
            Task::Fetch { from, port } => Some(Flow {
                protocol: Protocol::TCP,
                src: config.address.into(),
                dst: from.into(),
                src_port: CLIENT_PORT,
                dst_port: port,
            }),
        };
        Self {
            config,
            gateway: None,
            ask: Instant(0),
            flow,
            sent: (0, 0),
            expected: 0,
            peer_isn: 0,
            rto: RTO,
            deadline: None,
            fetched: Fetched { intact: true, ..Fetched::default() },
            outputs: VecDeque::new(),
            now: Instant(0),
        }
    }

    /// What came so far.
    #[must_use]
    pub const fn fetched(&self) -> Fetched {
        self.fetched
    }

    /// Positions of this end's stream: SYN, content, FIN.
    const fn length(&self) -> u64 {
        match self.config.task {
            Task::Serve { bytes, .. } => bytes + 2,
            // A client closes when the server has.
            Task::Fetch { .. } => 1 + self.fetched.complete as u64,
        }
    }

    /// Sends what the window allows; from the oldest that is not acknowledged if `again`.
    fn push(&mut self, again: bool) {
        if self.flow.is_none() || self.gateway.is_none() || self.fetched.reset {
            return;
        }
        if again {
            self.sent.1 = self.sent.0;
        }
        let opened = self.sent.0 > 0;
        let end = if opened { self.length().min(self.sent.0 + WINDOW) } else { 1 };
        while self.sent.1 < end {
            self.segment(self.sent.1, end);
        }
        let open = self.sent.0 < self.sent.1;
        self.deadline = if open { self.deadline.or(Some(self.now + self.rto)) } else { None };
    }

    fn segment(&mut self, at: u64, end: u64) {
        let last = match self.config.task {
            Task::Serve { bytes, .. } => bytes + 1,
            Task::Fetch { .. } => 1,
        };
        if at == 0 {
            self.sent.1 = 1;
            self.transmit(0, SYN, &[]);
        } else if at == last {
            self.sent.1 = last + 1;
            self.transmit(at, FIN, &[]);
        } else {
            let to = (at + SEGMENT).min(end).min(last);
            let payload: Vec<u8> = (at - 1..to - 1).map(content).collect();
            self.sent.1 = to;
            self.transmit(at, 0, &payload);
        }
    }

    fn transmit(&mut self, at: u64, flags: u8, payload: &[u8]) {
        let (Some(flow), Some(dst)) = (self.flow, self.gateway) else { return };
        let acknowledgement = if self.expected == 0 { 0 } else { position(self.peer_isn, self.expected) };
        let flags = flags | if self.expected == 0 { 0 } else { ACK };
        let fields = TcpFields { sequence: position(self.isn(), at), acknowledgement, flags, window: u16::MAX };
        let envelope = Envelope { src: self.config.mac, dst, ttl: 64, identification: 0 };
        let frame = build::tcp(envelope, flow, fields, payload);
        self.outputs.push_back(Output::Transmit { port: PortIndex(0), frame });
    }

    /// Of no use to an attacker here: any number will do.
    fn isn(&self) -> u32 {
        u32::from(self.config.address).wrapping_mul(2_654_435_761)
    }

    fn on_tcp(&mut self, flow: Flow, tcp: &Tcp, payload: &[u8]) {
        let fresh = tcp.flags & (SYN | ACK | RST) == SYN;
        match self.config.task {
            Task::Serve { port, .. } if fresh && tcp.dst_port == port && self.flow.is_none() => {
                self.flow = Some(flow.reversed());
                (self.peer_isn, self.expected) = (tcp.sequence, 1);
                self.push(false);
                return;
            }
            Task::Serve { .. } | Task::Fetch { .. } => {}
        }
        if self.flow != Some(flow.reversed()) {
            return;
        }
        if tcp.has(RST) {
            self.fetched.reset |= !self.fetched.complete;
            return;
        }
        if tcp.has(SYN) && self.expected == 0 {
            (self.peer_isn, self.expected) = (tcp.sequence, 1);
        }
        if tcp.has(ACK) {
            self.on_ack(tcp.acknowledgement);
        }
        self.on_stream(tcp, payload);
        self.push(false);
    }

    fn on_ack(&mut self, acknowledgement: u32) {
        let ahead = acknowledgement.wrapping_sub(position(self.isn(), self.sent.0));
        let acked = self.sent.0 + u64::from(ahead);
        if ahead > 0 && acked <= self.sent.1 {
            self.sent.0 = acked;
            (self.rto, self.deadline) = (RTO, None);
        }
    }

    fn on_stream(&mut self, tcp: &Tcp, payload: &[u8]) {
        let takes = !payload.is_empty() || tcp.has(FIN) || tcp.has(SYN);
        let next = position(self.peer_isn, self.expected);
        if self.expected > 0 && tcp.sequence == next && !tcp.has(SYN) {
            let offset = self.expected - 1;
            self.fetched.intact &= (offset..).zip(payload).all(|(at, byte)| content(at) == *byte);
            self.fetched.bytes += payload.len() as u64;
            self.expected += payload.len() as u64 + u64::from(tcp.has(FIN));
            self.fetched.complete |= tcp.has(FIN);
        }
        if takes {
            self.transmit(self.sent.1, 0, &[]);
        }
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
        self.push(false);
    }

    fn on_time(&mut self) {
        if self.gateway.is_none() && self.now >= self.ask {
            self.ask = self.now + ASK;
            let (sender_mac, sender_ip, target_ip) = (self.config.mac, self.config.address, self.config.gateway);
            let arp = Arp { operation: REQUEST, sender_mac, sender_ip, target_mac: Mac::ZERO, target_ip };
            let frame = build::arp(sender_mac, Mac::BROADCAST, arp);
            self.outputs.push_back(Output::Transmit { port: PortIndex(0), frame });
        }
        if self.deadline.is_some_and(|at| at <= self.now) {
            self.rto = (self.rto * 2).min(RTO * 16);
            self.deadline = None;
            self.push(true);
        }
    }
}

/// The sequence number of a position of a stream.
fn position(isn: u32, at: u64) -> u32 {
    isn.wrapping_add(u32::try_from(at & 0xffff_ffff).unwrap_or(0))
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
        self.outputs.pop_front().unwrap_or_else(|| {
            let ask = self.gateway.is_none().then_some(self.ask);
            Output::Idle([ask, self.deadline].into_iter().flatten().min())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use scalebed_fabric::{Fabric, Rules, Settings};

    use super::*;

    const BYTES: u64 = 300_000;
    const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 10);
    const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 20);

    struct Shared(Rc<RefCell<Host>>);

    impl Engine for Shared {
        fn handle(&mut self, input: Input, now: Instant) {
            self.0.borrow_mut().handle(input, now);
        }
        fn poll(&mut self) -> Output {
            self.0.borrow_mut().poll()
        }
    }

    fn host(number: u32, address: Ipv4Addr, gateway: Ipv4Addr, task: Task) -> Host {
        Host::new(HostConfig { mac: Mac::host(number), address, gateway, task })
    }

    fn client() -> Host {
        host(2, CLIENT, SERVER, Task::Fetch { from: SERVER, port: 5_001 })
    }

    /// Two hosts on one cable, each the other's gateway.
    fn fetch(settings: Settings, until_ms: u64) -> Fetched {
        let mut fabric = Fabric::new(3);
        let server = host(1, SERVER, CLIENT, Task::Serve { port: 5_001, bytes: BYTES });
        let client = Rc::new(RefCell::new(client()));
        let nodes =
            [fabric.add("server", Box::new(server), 1), fabric.add("client", Box::new(Shared(Rc::clone(&client))), 1)];
        fabric.connect_with((nodes[0], PortIndex(0)), (nodes[1], PortIndex(0)), settings);
        nodes.into_iter().for_each(|node| fabric.start(node));
        fabric.run_until(Instant::from_millis(until_ms));
        client.borrow().fetched()
    }

    #[test]
    fn a_stream_comes_whole_and_in_order() {
        let whole = Fetched { bytes: BYTES, intact: true, complete: true, reset: false };
        assert_eq!(fetch(Settings::default(), 200), whole);
        // Lost segments are sent again until all are there.
        let lossy = Settings::both_ways(Rules::loss(20_000));
        assert_eq!(fetch(lossy, 60_000), whole);
        assert!(!fetch(Settings::both_ways(Rules::cut()), 1_000).complete);
    }

    #[test]
    fn a_byte_out_of_place_shows() {
        let mut client = client();
        (client.expected, client.peer_isn) = (1, 7);
        let tcp = |sequence| Tcp {
            src_port: 5_001,
            dst_port: CLIENT_PORT,
            sequence,
            acknowledgement: 0,
            flags: 0,
            window: 0,
            payload: 0,
        };
        client.on_stream(&tcp(8), &[0, 1, 2]);
        assert!(client.fetched().intact);
        client.on_stream(&tcp(11), &[3, 5]);
        assert!(!client.fetched().intact);
        assert_eq!(client.fetched().bytes, 5);
    }
}
