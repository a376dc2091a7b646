//! Engines that do one thing wrong: the judge must catch each.

use scalebed_engine::{Engine, Frame, Input, Instant, Output, PortIndex};
use scalebed_frame::rewrite::{self, End};
use scalebed_frame::shim::TO_UPLINK;
use scalebed_frame::{Kind, MemberId, NetworkId, NodeId, Shim, View, mac};
use scalebed_harness::world::sim::Wrap;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A member loses one of so many packets that it should send out.
    DropOneIn(u64),
    /// A member sends one of so many IPv4 packets out of the `outside` network with an untranslated source.
    LeakOneIn {
        /// One of so many.
        packets: u64,
        /// The outside network.
        outside: NetworkId,
    },
    /// An orchestrator hands everything to one member.
    HardWired {
        /// That member.
        member: MemberId,
        /// The orchestrator's port to it.
        port: PortIndex,
        /// The orchestrator's number, from 1.
        mho: u8,
    },
}

/// An engine around an engine, with a fault.
pub struct Mutant<E> {
    engine: E,
    fault: Fault,
    seen: u64,
}

impl<E: Engine> Mutant<E> {
    /// Puts the fault around an engine.
    pub fn new(engine: E, fault: Fault) -> Self {
        Self { engine, fault, seen: 0 }
    }

    /// The output as the mutant does it; `None`: it does not.
    fn change(&mut self, port: PortIndex, mut frame: Frame) -> Option<(PortIndex, Frame)> {
        let view = View::parse(frame.bytes())?;
        let shim = view.shim.filter(|shim| shim.kind == Kind::Data);
        let up = shim.filter(|shim| shim.has(TO_UPLINK) && view.ip().is_some());
        match (self.fault, up, shim) {
            (Fault::DropOneIn(packets), Some(_), _) => {
                self.seen += 1;
                return (!self.seen.is_multiple_of(packets)).then_some((port, frame));
            }
            (Fault::LeakOneIn { packets, outside }, Some(shim), _)
                if shim.network == outside && view.flow().is_some_and(|flow| flow.is_ipv4()) =>
            {
                self.seen += 1;
                if self.seen.is_multiple_of(packets)
                    && let Some(ip) = view.ip()
                {
                    let inside = std::net::Ipv4Addr::new(198, 18, 64, 9).into();
                    rewrite::set_end(frame.bytes_mut(), view.l3, ip, End::Source, inside, ip.flow().src_port);
                }
            }
            (Fault::HardWired { member, port: wired, mho }, None, Some(shim)) => {
                let shim = Shim { target: NodeId::from(member).code(), ..shim };
                shim.replace(frame.bytes_mut());
                rewrite::set_macs(frame.bytes_mut(), mac::bmac(shim.group, member, mho - 1), view.src);
                return Some((wired, frame));
            }
            _ => {}
        }
        Some((port, frame))
    }
}

/// Every engine as it is.
#[must_use]
pub fn as_it_is() -> Wrap {
    Box::new(|_, engine| engine)
}

/// A fault around every node whose name starts so.
#[must_use]
pub fn around(prefix: &'static str, fault: impl Fn(&str) -> Fault + 'static) -> Wrap {
    Box::new(move |name, engine| -> Box<dyn Engine> {
        if name.starts_with(prefix) { Box::new(Mutant::new(engine, fault(name))) } else { engine }
    })
}

impl<E: Engine> Engine for Mutant<E> {
    fn handle(&mut self, input: Input, now: Instant) {
        self.engine.handle(input, now);
    }

    fn poll(&mut self) -> Output {
        loop {
            match self.engine.poll() {
                Output::Transmit { port, frame } => {
                    if let Some((port, frame)) = self.change(port, frame) {
                        return Output::Transmit { port, frame };
                    }
                }
                other => return other,
            }
        }
    }
}
