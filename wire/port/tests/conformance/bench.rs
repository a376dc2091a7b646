//! Two joined ports of one backend, and the throw-away namespace that they live in.

use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use scalebed_port::{Capabilities, FrameBatch, MemoryPort, PacketPort, PnetPort, Port, clock, wait};

/// For a loaded machine.
const PATIENCE: Duration = Duration::from_secs(3);
/// The interfaces' MTU; a frame has 14 bytes more.
pub const MTU: usize = 1600;

/// What the suite needs of a backend besides [`Port`].
pub trait Backend: Port + Sized {
    const NAME: &str;
    const CAPABILITIES: Capabilities;
    /// Waits until something has come, or for a while.
    fn pause(&self, at_most: Duration) -> bool;
    fn unsent(&self) -> u64;
}

macro_rules! backend {
    ($type:ty, $name:literal, $pause:expr) => {
        impl Backend for $type {
            const NAME: &str = $name;
            const CAPABILITIES: Capabilities = <$type>::CAPABILITIES;
            fn pause(&self, at_most: Duration) -> bool {
                let pause: fn(&Self, Duration) -> bool = $pause;
                pause(self, at_most)
            }
            fn unsent(&self) -> u64 {
                Self::unsent(self)
            }
        }
    };
}
backend!(MemoryPort, "memory", |_, _| false);
backend!(PnetPort, "pnet", poll);
backend!(PacketPort, "packet", poll);

fn poll(port: &impl AsFd, at_most: Duration) -> bool {
    wait(&[port.as_fd()], Some(at_most)).expect("a wait").is(0)
}

/// What has come to a port: frames and their stamps (ns).
pub type Arrivals = Vec<(Vec<u8>, u64)>;

pub fn send(port: &mut impl Port, frames: &[Vec<u8>]) {
    let mut batch = FrameBatch::new();
    for frame in frames {
        if batch.is_full() {
            port.send(&mut batch).expect("sent");
        }
        assert!(batch.push(frame), "a frame of {} bytes fits", frame.len());
    }
    port.send(&mut batch).expect("sent");
    assert!(batch.is_empty(), "a sent batch is empty");
}

/// One batch of what has come.
pub fn receive(port: &mut impl Port) -> Arrivals {
    let mut batch = FrameBatch::new();
    assert!(batch.push(b"left over from before"));
    port.recv(&mut batch).expect("received");
    batch.frames().map(|slot| (slot.bytes().to_vec(), slot.received.0)).collect()
}

/// Receives until `count` frames have come, or nothing more does.
pub fn receive_all(port: &mut impl Backend, count: usize) -> Arrivals {
    let end = clock::monotonic() + PATIENCE;
    let mut arrived = Arrivals::new();
    while arrived.len() < count && clock::monotonic() < end {
        port.pause(Duration::from_millis(100));
        arrived.extend(receive(port));
    }
    arrived
}

/// Sends from one to the other until a frame comes through: an interface that was set up drops what it gets until the
/// kernel has noticed its carrier, a moment later. Nothing is on its way afterwards.
pub fn until_through(from: &mut impl Backend, to: &mut impl Backend) {
    let end = clock::monotonic() + PATIENCE;
    for number in 0.. {
        let probe = frame(number, 20);
        send(from, std::slice::from_ref(&probe));
        to.pause(Duration::from_millis(20));
        // Only the youngest counts: an older one has others behind it.
        if receive(to).last().is_some_and(|(bytes, _)| *bytes == probe) {
            return;
        }
        assert!(clock::monotonic() < end, "no frame comes through");
    }
}

/// Runs `test` in a network namespace of its own with a veth pair `port-a`, `port-b`. Says so where that is not permitted.
pub fn in_namespace(test: &'static str, run: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: {test}: namespaces need root");
        return;
    }
    if Command::new("ip").arg("-Version").output().is_err() {
        println!("skipped: {test}: ip (iproute2) is not installed");
        return;
    }
    // The thread ends with the test, and the namespace with it.
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        // No stack behind the ports: what arrives is what was sent. A kernel without IPv6 has no such file.
        let _no_ipv6 = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        ip("link add port-a index 10 mtu 1600 type veth peer name port-b index 20 mtu 1600");
        ip("link set port-a arp off up");
        ip("link set port-b arp off up");
        run();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs iproute2 in the calling thread's namespace.
pub fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2 is installed");
    assert!(status.success(), "ip {arguments}: {status}");
}

/// A frame of `length` bytes: addresses of nobody, an ethertype for experiments (RFC 5342), and bytes that depend on
/// `number`, so that frames cannot be taken for one another.
pub fn frame(number: usize, length: usize) -> Vec<u8> {
    let head = [2, 0, 0, 0, 0, 0xb, 2, 0, 0, 0, 0, 0xa, 0x88, 0xb5];
    let body = (0..).map(|place: usize| (number * 31 + place * 7 + (number >> 8)) as u8);
    head.into_iter().chain(body).take(length).collect()
}
