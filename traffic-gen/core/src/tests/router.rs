//! The other end of the bench: answers ARP and solicitations for the cluster's addresses on both sides, and routes between
//! them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::rc::Rc;

use scalebed_engine::{Engine, Frame, Input, Instant, Output, PortIndex};
use scalebed_frame::rewrite::{self, End};
use scalebed_frame::view::{Arp, Network};
use scalebed_frame::{Flow, Mac, Ndp, Protocol, View, build};

use crate::{Config, Place};

/// What the router does beyond routing.
#[derive(Debug, Default)]
pub struct Faults {
    /// Nothing from this side is passed on.
    pub drop_from: Option<Place>,
    /// Sources inside take this address outside.
    pub hide_behind: Option<Ipv4Addr>,
    /// What is added to their port.
    pub port_offset: u16,
    /// The offset is for UDP only.
    pub only_udp: bool,
    /// Solicitations are not answered.
    pub no_ipv6: bool,
}

/// The router.
pub struct Router {
    config: Config,
    faults: Rc<RefCell<Faults>>,
    /// (tuple of replies from outside, address and port inside).
    bindings: Vec<(Flow, Flow)>,
    outputs: VecDeque<Output>,
}

impl Router {
    pub const MAC: Mac = Mac([0x02, 0x5b, 0xed, 1, 0x81, 5]);

    pub fn new(config: Config, faults: Rc<RefCell<Faults>>) -> Self {
        Self { config, faults, bindings: Vec::new(), outputs: VecDeque::new() }
    }

    fn on_arp(&mut self, place: Place, arp: &Arp) {
        let gateway = self.config.side(place).gateway;
        if arp.operation == 1 && arp.target_ip == gateway {
            let reply = Arp {
                operation: 2,
                sender_mac: Self::MAC,
                sender_ip: gateway,
                target_mac: arp.sender_mac,
                target_ip: arp.sender_ip,
            };
            let frame = build::arp(Self::MAC, arp.sender_mac, reply);
            self.outputs.push_back(Output::Transmit { port: place.port(), frame });
        }
    }

    fn on_ndp(&mut self, place: Place, ndp: Ndp) {
        let Ndp::Solicitation { from: Some((asker, mac)), target } = ndp else { return };
        let gateway = self.config.side(place).ipv6.map(|side| side.gateway);
        if gateway == Some(target) && !self.faults.borrow().no_ipv6 {
            let frame = build::advertisement(Self::MAC, target, true, Some((mac, asker)));
            self.outputs.push_back(Output::Transmit { port: place.port(), frame });
        }
    }

    fn route(&mut self, place: Place, mut frame: Frame, view: &View) {
        let faults = self.faults.borrow();
        let Some(flow) = view.flow().filter(|_| faults.drop_from != Some(place)) else { return };
        rewrite::decrement_ttl(frame.bytes_mut(), view.l3);
        let ip = *View::parse(frame.bytes()).unwrap().ip().unwrap();
        let mut dst = flow.dst;
        if let (Some(hide), Place::Inside, true) = (faults.hide_behind, place, flow.is_ipv4()) {
            let has_offset = !faults.only_udp || flow.protocol == Protocol::UDP;
            let port = flow.src_port + if has_offset { faults.port_offset } else { 0 };
            let hidden = Flow { src: hide.into(), src_port: port, ..flow };
            self.bindings.insert(0, (hidden.reversed(), flow.reversed()));
            rewrite::set_end(frame.bytes_mut(), view.l3, &ip, End::Source, hide.into(), port);
        } else if place == Place::Outside
            && let Some((_, inner)) = self.bindings.iter().find(|(outer, _)| *outer == flow)
        {
            dst = inner.dst;
            rewrite::set_end(frame.bytes_mut(), view.l3, &ip, End::Destination, inner.dst, inner.dst_port);
        }
        let out = place.other();
        rewrite::set_macs(frame.bytes_mut(), self.config.side(out).mac(dst), Self::MAC);
        self.outputs.push_back(Output::Transmit { port: out.port(), frame });
    }
}

impl Engine for Router {
    fn handle(&mut self, input: Input, _: Instant) {
        let Input::Frame { port: PortIndex(port), frame, .. } = input else { return };
        let (place, view) = (Place::BOTH[usize::from(port)], View::parse(frame.bytes()).unwrap());
        match view.network {
            Network::Arp(arp) => self.on_arp(place, &arp),
            Network::Ip(_) => match Ndp::read(frame.bytes(), &view) {
                Some(ndp) => self.on_ndp(place, ndp),
                None => self.route(place, frame, &view),
            },
            Network::Other | Network::Malformed | Network::Corrupt => panic!("{frame:?}"),
        }
    }

    fn poll(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or(Output::Idle(None))
    }
}

/// Answers nothing.
pub struct Silent;

impl Engine for Silent {
    fn handle(&mut self, _: Input, _: Instant) {}
    fn poll(&mut self) -> Output {
        Output::Idle(None)
    }
}
