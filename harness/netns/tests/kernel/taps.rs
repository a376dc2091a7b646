//! Taps see every frame once, with the kernel's stamp, as a cable would carry it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use scalebed_netns::{NsId, Sandbox, TapSpec, TapStats, Taps, monotonic};
use scalebed_port::{FrameBatch, PacketPort, Port as _};

use crate::common::{self, A, B};

/// Datagrams of a burst.
const BURST: u64 = 2_000;
/// More datagrams than a ring holds.
const FLOOD: u64 = 60_000;
/// Bytes of a bulk transfer.
const BULK: usize = 1 << 20;
/// For a loaded machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// A frame as a tap handed it over.
struct Seen {
    tap: u16,
    at: u64,
    wire: u32,
    bytes: Vec<u8>,
}

/// Taps 0 and 1 at a's and b's end of the cable, around `traffic`; then the frames that each end sent.
fn tapped(sandbox: &Sandbox, a: NsId, b: NsId, traffic: impl FnOnce()) -> (Vec<Seen>, TapStats, [u64; 2]) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let sent = || [a, b].map(|ns| sandbox.tx_packets(ns).expect("counters")["eth0"]);
    let specs = [(a, 0), (b, 1)].map(|(ns, tap)| TapSpec { ns, ifname: "eth0".to_owned(), tap }).into();
    let before = sent();
    let taps = Taps::open(sandbox, specs, move |tap, at, wire, bytes: &[u8]| {
        sink.lock().expect("no panic").push(Seen { tap, at, wire, bytes: bytes.to_vec() });
    })
    .expect("taps");
    traffic();
    let after = sent();
    let stats = taps.stop().expect("their account");
    let seen = std::mem::take(&mut *seen.lock().expect("no panic"));
    (seen, stats, [after[0] - before[0], after[1] - before[1]])
}

#[test]
fn netns_a_tap_sees_every_frame_that_its_cable_was_given() {
    let Some((mut sandbox, _place)) = common::sandbox("netns_a_tap_sees_every_frame_that_its_cable_was_given") else {
        return;
    };
    let (a, b) = common::two_hosts(&mut sandbox);
    let listener = sandbox.run_in(b, || UdpSocket::bind((B, 9))).expect("in b").expect("a socket");
    let began = monotonic();
    let (seen, stats, sent) = tapped(&sandbox, a, b, || {
        let burst = || -> std::io::Result<()> {
            let socket = UdpSocket::bind((A, 0))?;
            socket.connect((B, 9))?;
            (0..BURST).try_for_each(|number| socket.send(&number.to_be_bytes()).map(drop))
        };
        sandbox.run_in(a, burst).expect("in a").expect("sent");
    });
    let ended = monotonic();
    drop(listener);
    assert_eq!(stats.frames, [(0, sent[1]), (1, sent[0])].into(), "put in is got out, on both sides");
    assert_eq!(stats.drops, [(0, 0), (1, 0)].into());
    assert!(seen.iter().all(|frame| (began..ended).contains(&frame.at)), "every stamp lies within the run");
    assert!(seen.iter().filter(|frame| frame.tap == 1).is_sorted_by_key(|frame| frame.at));
    // Ethernet 14, IPv4 20, UDP 8, then the number.
    let numbers: Vec<&[u8]> =
        seen.iter().filter(|frame| frame.tap == 1 && frame.wire == 50).map(|frame| &frame.bytes[42..]).collect();
    assert_eq!(numbers, (0..BURST).map(u64::to_be_bytes).collect::<Vec<_>>());
}

#[test]
fn netns_a_tap_keeps_256_bytes_and_knows_the_length() {
    let Some((mut sandbox, _place)) = common::sandbox("netns_a_tap_keeps_256_bytes_and_knows_the_length") else {
        return;
    };
    let (a, b) = common::two_hosts(&mut sandbox);
    let (seen, ..) = tapped(&sandbox, a, b, || {
        let send = || UdpSocket::bind((A, 0))?.send_to(&[7; 1000], (B, 9));
        sandbox.run_in(a, send).expect("in a").expect("sent");
    });
    let frame = seen.iter().find(|frame| frame.tap == 1 && frame.wire == 1042).expect("the datagram");
    assert_eq!(frame.bytes.len(), 256);
    assert_eq!(frame.bytes[..6], [2, 0, 0, 0, 0, 2]);
    assert!(frame.bytes[42..].iter().all(|byte| *byte == 7));
}

/// A cable may cut a frame anywhere behind its Ethernet header: a tap sees what is left, whatever it was to be.
#[test]
fn netns_a_tap_sees_frames_that_end_behind_their_header() {
    let Some((mut sandbox, _place)) = common::sandbox("netns_a_tap_sees_frames_that_end_behind_their_header") else {
        return;
    };
    let (a, b) = common::two_hosts(&mut sandbox);
    let head = |ethertype: u16, length: usize| {
        let [high, low] = ethertype.to_be_bytes();
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, high, low];
        frame.resize(length, 1);
        frame
    };
    // IPv4, ARP, and the shim, whose kind is the byte behind.
    let frames: Vec<Vec<u8>> =
        [0x0800, 0x0806, 0x88b5].into_iter().flat_map(|kind| (14..18).map(move |length| head(kind, length))).collect();
    let (seen, stats, sent) = tapped(&sandbox, a, b, || {
        let mut port = sandbox.run_in(a, || PacketPort::open("eth0")).expect("in a").expect("a port");
        let mut batch = FrameBatch::new();
        assert!(frames.iter().all(|frame| batch.push(frame)), "fewer than a batch");
        port.send(&mut batch).expect("sent");
    });
    assert_eq!(stats.frames[&1], sent[0], "put in is got out");
    let ours: Vec<&Vec<u8>> = seen.iter().filter(|frame| frame.tap == 1).map(|frame| &frame.bytes).collect();
    for frame in &frames {
        assert!(ours.contains(&frame), "{frame:?} was not seen");
    }
}

#[test]
fn netns_kernel_tcp_looks_like_on_a_cable() {
    let Some((mut sandbox, _place)) = common::sandbox("netns_kernel_tcp_looks_like_on_a_cable") else { return };
    let (a, b) = common::two_hosts(&mut sandbox);
    let (seen, ..) = tapped(&sandbox, a, b, || bulk(&sandbox, a, b));
    let longest = seen.iter().map(|frame| frame.wire).max().expect("frames");
    assert_eq!(longest, 1514, "no frame is longer than the MTU");
    // Frames that the tap kept whole: their checksums must be those of a cable, not left to a device.
    let whole: Vec<&Seen> =
        seen.iter().filter(|frame| frame.bytes[12..14] == [8, 0] && frame.wire as usize == frame.bytes.len()).collect();
    assert!(whole.len() >= 4, "a handshake and an end");
    for frame in whole {
        let ip = &frame.bytes[14..];
        let header = usize::from(ip[0] & 0xf) * 4;
        let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        let segment = &ip[header..total];
        let length = u16::try_from(segment.len()).expect("a length").to_be_bytes();
        let pseudo = [&ip[12..20], &[0, 6], &length].concat();
        assert_eq!(ones_sum(&[pseudo, segment.to_vec()].concat()), 0xffff);
    }
}

/// One's complement sum (RFC 1071); 0xffff over a valid checksum.
fn ones_sum(bytes: &[u8]) -> u16 {
    let sum = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    u16::try_from((folded & 0xffff) + (folded >> 16)).expect("folded")
}

/// b sends a megabyte to a.
fn bulk(sandbox: &Sandbox, a: NsId, b: NsId) {
    let listener = sandbox.run_in(b, || TcpListener::bind((B, 0))).expect("in b").expect("a socket");
    let to = listener.local_addr().expect("an address");
    let serve = std::thread::spawn(move || listener.accept()?.0.write_all(&vec![1; BULK]));
    let fetch = || {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.read_to_end(&mut Vec::new())
    };
    let got = sandbox.run_in(a, fetch).expect("in a").expect("bytes");
    serve.join().expect("no panic").expect("served");
    assert_eq!(got, BULK);
}

#[test]
fn netns_a_full_ring_is_counted() {
    let Some((mut sandbox, _place)) = common::sandbox("netns_a_full_ring_is_counted") else { return };
    let (a, b) = common::two_hosts(&mut sandbox);
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let specs = vec![TapSpec { ns: b, ifname: "eth0".to_owned(), tap: 3 }];
    let before = sandbox.tx_packets(a).expect("counters")["eth0"];
    // The first frame holds the reader until the gate is gone.
    let taps = Taps::open(&sandbox, specs, move |_, _, _, _: &[u8]| {
        let _gone = gate.recv();
    })
    .expect("a tap");
    let flood = || -> std::io::Result<()> {
        let socket = UdpSocket::bind((A, 0))?;
        socket.connect((B, 9))?;
        // b has no such port and says so now and then; that is no failure of sending.
        (0..FLOOD).for_each(|_| drop(socket.send(b"flood")));
        Ok(())
    };
    sandbox.run_in(a, flood).expect("in a").expect("sent");
    let put_in = sandbox.tx_packets(a).expect("counters")["eth0"] - before;
    drop(open);
    let stats = taps.stop().expect("its account");
    assert!(stats.drops[&3] > 0, "{FLOOD} frames fit: {stats:?}");
    assert_eq!(stats.frames[&3] + stats.drops[&3], put_in);
}

#[test]
fn netns_taps_that_are_dropped_stop() {
    let Some((mut sandbox, _place)) = common::sandbox("netns_taps_that_are_dropped_stop") else { return };
    let (a, _) = common::two_hosts(&mut sandbox);
    let (alive, gone) = std::sync::mpsc::channel::<()>();
    let spec = TapSpec { ns: a, ifname: "eth0".to_owned(), tap: 0 };
    let taps = Taps::open(&sandbox, vec![spec], move |_, _, _, _: &[u8]| {
        let _nobody_listens = alive.send(());
    })
    .expect("a tap");
    drop(taps);
    assert_eq!(gone.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected), "the callback is gone");
    let spec = TapSpec { ns: a, ifname: "eth7".to_owned(), tap: 0 };
    let error = Taps::open(&sandbox, vec![spec], |_, _, _, _: &[u8]| ()).expect_err("no such interface");
    assert_eq!(error.to_string(), "a has no interface eth7");
    sandbox.teardown().expect("nothing is left");
}
