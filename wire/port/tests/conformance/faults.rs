//! What backends do when something does not work.

use std::time::Duration;

use pnet_datalink::{Channel, Config, channel, interfaces};
use scalebed_port::{MemoryPort, PacketPort, PnetPort};

use crate::bench::{Backend, MTU, frame, ip, receive, receive_all, send, until_through};

pub fn full_memory(a: &mut MemoryPort, b: &mut MemoryPort) {
    const SENT: usize = 5000;
    send(a, &(0..SENT).map(|number| frame(number, 60)).collect::<Vec<_>>());
    let queued = SENT - usize::try_from(a.unsent()).expect("a count");
    assert!(queued < SENT, "the queue is bounded");
    let arrived = receive_all(b, queued);
    assert_eq!((arrived.len(), a.unsent_by().queue_full), (queued, a.unsent()));
    assert_eq!(arrived[queued - 1].0, frame(queued - 1, 60), "the youngest are lost");
}

pub fn full_queue(a: &mut PacketPort, b: &mut PacketPort) {
    // 32 MiB by the kernel's reckoning, 768 bytes a short frame: 43,700 fit.
    const SENT: usize = 60_000;
    let some: Vec<_> = (0..1000).map(|number| frame(number, 60)).collect();
    (0..SENT / some.len()).for_each(|_| send(a, &some));
    let unsent = usize::try_from(a.unsent()).expect("a count");
    let dropped = usize::try_from(b.dropped().expect("a count")).expect("a count");
    assert!(dropped > 0, "the queue is bounded");
    let arrived = receive_all(b, SENT - dropped - unsent).len();
    assert_eq!(arrived + dropped + unsent, SENT, "{arrived} {dropped} {unsent}");
    assert_eq!(receive(b), vec![]);
    assert_eq!(b.dropped().expect("a count"), dropped as u64, "the count stays");
}

/// Frames longer than the MTU, and shorter than a header, between good ones.
pub fn refused<B: Backend>(a: &mut B, b: &mut B) {
    send(a, &[frame(0, 60), frame(1, MTU + 15), frame(2, 60), frame(3, 13), frame(4, 60)]);
    let arrived: Vec<_> = receive_all(b, 3).into_iter().map(|(bytes, _)| bytes).collect();
    assert_eq!(arrived, [frame(0, 60), frame(2, 60), frame(4, 60)]);
    assert_eq!(a.unsent(), 2);
}

/// A backend that counts what is longer than a slot of a batch.
pub trait Cut: Backend {
    fn cut(&self) -> u64;
}

impl Cut for PacketPort {
    fn cut(&self) -> u64 {
        Self::cut(self)
    }
}

impl Cut for PnetPort {
    fn cut(&self) -> u64 {
        Self::cut(self)
    }
}

pub fn too_long<B: Cut>(_: &mut B, b: &mut B) {
    ip("link set port-a mtu 4000");
    ip("link set port-b mtu 4000");
    let interface = interfaces().into_iter().find(|interface| interface.name == "port-a").expect("a");
    let Channel::Ethernet(mut sender, _) = channel(&interface, Config::default()).expect("a channel") else {
        panic!("another kind of channel")
    };
    for (number, length) in [(0, 60), (1, 3000), (2, 2048), (3, 2049)] {
        sender.send_to(&frame(number, length), None).expect("a frame").expect("sent");
    }
    let arrived: Vec<_> = receive_all(b, 2).into_iter().map(|(bytes, _)| bytes).collect();
    assert_eq!(arrived, [frame(0, 60), frame(2, 2048)]);
    receive(b);
    assert_eq!(b.cut(), 2);
}

pub fn flap<B: Backend>(a: &mut B, b: &mut B) {
    for _ in 0..3 {
        ip("link set port-a down");
        receive(a);
        assert!(!a.pause(Duration::from_millis(20)), "a loop that waits for a port that is down must not spin");
        let before = a.unsent();
        send(a, &[frame(1, 60), frame(2, 60), frame(3, 60)]);
        assert_eq!(a.unsent() - before, 3, "what a port that is down was given");
        assert_eq!((receive(a), receive(b)), (vec![], vec![]));
        ip("link set port-a up");
        until_through(a, b);
        until_through(b, a);
        let before = (a.unsent(), b.unsent());
        send(a, &[frame(4, 60)]);
        send(b, &[frame(5, 60)]);
        assert_eq!(receive_all(b, 1)[0].0, frame(4, 60));
        assert_eq!(receive_all(a, 1)[0].0, frame(5, 60));
        assert_eq!((a.unsent(), b.unsent()), before);
    }
}

/// Nobody read the port while it was down: the error that is left in the socket is not the next frame's.
pub fn stale_error(a: &mut PacketPort, b: &mut PacketPort) {
    ip("link set port-a down");
    ip("link set port-a up");
    send(a, &[frame(1, 60), frame(2, 60)]);
    assert_eq!((receive_all(b, 2).len(), a.unsent()), (2, 0));
    ip("link set port-a down");
    send(a, &[frame(3, 60)]);
    assert_eq!((a.unsent(), a.unsent_by().link_down), (1, 1));
    assert_eq!(a.unsent_by().reasons()[0], ("link-down", 1));
}

/// Another socket on the same interface (a tap, a stack that is not cut) is no cable.
pub fn neighbour(a: &mut PacketPort, b: &mut PacketPort) {
    let mut other = PacketPort::open("port-a").expect("a second port there");
    send(&mut other, &[frame(1, 60)]);
    assert_eq!(receive_all(b, 1).len(), 1);
    assert_eq!(receive(a), vec![], "what goes out there did not come in there");
}

/// A veth pair lets every address through, a card does not: what counts is that the kernel was told.
pub fn promiscuous(a: &mut PacketPort, _: &mut PacketPort) {
    let shown = std::process::Command::new("ip").args(["-details", "link", "show", "port-a"]).output();
    let shown = String::from_utf8(shown.expect("iproute2 is installed").stdout).expect("text");
    assert!(shown.contains(" promiscuity 1 "), "{a:?}: {shown}");
}

/// As with a card: what is sent while the other end is down is lost. The kernel says so only until it has noticed.
pub fn no_carrier<B: Backend>(a: &mut B, b: &mut B) {
    ip("link set port-a down");
    send(b, &[frame(1, 60)]);
    assert!(b.unsent() <= 1);
    ip("link set port-a up");
    until_through(a, b);
    assert_eq!(receive(a), vec![]);
}
