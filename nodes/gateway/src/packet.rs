//! A data packet on its way through a member.

use scalebed_engine::{Frame, Instant};
use scalebed_frame::view::{Fragment, Ip, Tcp, Transport};
use scalebed_frame::{Flow, Kind, MemberId, NetworkId, NodeId, Protocol, Quote, View};

use crate::fragments::Pieces;

/// How it got here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// By an orchestrator, by the pivot, or from the network itself: this member is where it entered.
    Entered,
    /// Another member passed it on.
    Corrected(MemberId),
}

/// A packet with what was read of it. Offsets count in `frame` as it is, with or without its shim.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) frame: Frame,
    pub(crate) l3: usize,
    pub(crate) ip: Ip,
    /// The tuple by which its connection is found: its own; of an ICMP error that of the packets that go its way.
    pub(crate) flow: Flow,
    /// May ports of `flow` take part in the distribution key?
    pub(crate) ports: bool,
    /// What it quotes, if it is an ICMP error.
    pub(crate) quote: Option<Quote>,
    /// Where it entered the cluster.
    pub(crate) network: NetworkId,
    /// By which port of this node it came.
    pub(crate) port: u16,
    pub(crate) arrival: Arrival,
    /// Corrections so far.
    pub(crate) hop: u8,
    /// Counter of the generation that the sender saw for its bucket.
    pub(crate) generation: u32,
    /// Since when it waits, if it did.
    pub(crate) since: Option<Instant>,
    /// A piece that has its packet's tuple.
    pub(crate) pieced: bool,
    /// Were the others asked for its connection already?
    pub(crate) asked: bool,
}

impl Packet {
    /// `entered`: the network of the port, for frames without a shim.
    pub(crate) fn new(frame: Frame, view: &View, ip: Ip, entered: NetworkId, port: u16) -> Self {
        let shim = view.shim;
        let from = shim.filter(|shim| shim.kind == Kind::Correction).and_then(|shim| NodeId::from_code(shim.origin));
        let quote = Quote::parse(frame.bytes(), &ip);
        let (flow, ports) = quote.map_or_else(|| (ip.flow(), ip.has_ports()), |quote| (quote.flow.reversed(), true));
        Self {
            frame,
            l3: view.l3,
            flow,
            ports,
            quote,
            ip,
            network: shim.map_or(entered, |shim| shim.network),
            port,
            arrival: from.and_then(NodeId::member).map_or(Arrival::Entered, Arrival::Corrected),
            hop: shim.map_or(0, |shim| shim.hop),
            generation: shim.map_or(0, |shim| shim.generation),
            since: None,
            pieced: false,
            asked: false,
        }
    }

    /// May it start a connection? (To an address that connections hide behind none does; the caller knows.)
    pub(crate) fn is_first(&self) -> bool {
        match self.ip.transport {
            Transport::Tcp(tcp) => is_bare_syn(&tcp),
            Transport::Udp { .. } => true,
            Transport::Echo { reply, .. } => !reply,
            Transport::Icmp { .. } | Transport::None => false,
        }
    }

    /// Is it of a protocol that is tracked, or an error about such a packet?
    pub(crate) fn is_tracked(&self) -> bool {
        let echo = if self.flow.is_ipv4() { Protocol::ICMP } else { Protocol::ICMPV6 };
        (self.has_transport() || self.pieced || self.quote.is_some())
            && (self.flow.protocol == echo || matches!(self.flow.protocol, Protocol::TCP | Protocol::UDP))
    }

    /// Has it ports, or what stands for them?
    pub(crate) const fn has_transport(&self) -> bool {
        matches!(self.ip.transport, Transport::Tcp(_) | Transport::Udp { .. } | Transport::Echo { .. })
    }

    /// Of a piece: which packet it is of.
    pub(crate) fn pieces(&self) -> Option<Pieces> {
        (self.ip.fragment != Fragment::Whole).then(|| Pieces::of(&self.ip))
    }

    /// A piece without a transport header.
    pub(crate) fn is_later_piece(&self) -> bool {
        self.ip.fragment == Fragment::Later
    }

    /// Did it come as its network brought it, without a shim?
    pub(crate) fn is_plain(&self) -> bool {
        View::parse(self.frame.bytes()).is_some_and(|view| view.shim.is_none())
    }
}

const fn is_bare_syn(tcp: &Tcp) -> bool {
    use scalebed_frame::view::{ACK, RST, SYN};
    tcp.has(SYN) && !tcp.has(ACK | RST)
}
