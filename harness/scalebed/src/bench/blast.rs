//! A sender and a sink, and the search for the highest rate that loses at most 0.1 %.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use scalebed_frame::build::{self, Envelope};
use scalebed_frame::view::{Arp, Network, Transport};
use scalebed_frame::{Flow, Frame, Mac, Protocol, View};
use scalebed_port::{FrameBatch, PacketPort, Port as _, clock, wait};

use super::chains::Chain;
use crate::exit::{self, Failure};

/// Connections that the packets are spread over.
pub const CONNECTIONS: u16 = 1024;
/// 64 bytes on the wire are 60 without the checksum: 14 + 20 + 8 + 18.
const PAYLOAD: usize = 18;
/// Loss that a trial may have.
const LOSS: f64 = 0.001;
/// Length of a trial.
const TRIAL: Duration = Duration::from_millis(1000);
/// The search ends when its bounds are this close, as a ratio.
const CLOSE: f64 = 1.04;
/// The port that packets go to.
const PORT: u16 = 9;

/// CPU of each hop's process, us a packet.
pub type Hops = Vec<(String, f64)>;

/// What a chain carries.
#[derive(Clone, Debug)]
pub struct Rate {
    /// Packets a second.
    pub rate: f64,
    /// CPU of each hop's process at that rate, us a packet.
    pub cpu_us: Hops,
}

/// Finds the highest rate. The bounds close in geometrically.
pub fn search(chain: &mut Chain) -> Result<Rate, Failure> {
    // Opens every connection and resolves every neighbour, slowly.
    for _ in 0..2 {
        trial(chain, 4000.0)?;
    }
    let (mut good, mut bad) = (2_000.0, 600_000.0);
    let mut best = Rate { rate: 0.0, cpu_us: Vec::new() };
    while bad / good > CLOSE {
        let rate = f64::sqrt(good * bad);
        let (sent, got, cpu_us) = trial(chain, rate)?;
        if sent > 0
            && (sent - got.min(sent)) as f64 <= LOSS * sent as f64
            && sent as f64 >= rate * TRIAL.as_secs_f64() * 0.97
        {
            good = rate;
            best = Rate { rate: sent as f64 / TRIAL.as_secs_f64(), cpu_us };
        } else {
            bad = rate;
        }
    }
    Ok(best)
}

/// A rate that every hop carries.
const EASY: f64 = 50_000.0;

/// CPU of the only hop at an easy rate, us a packet.
///
/// # Errors
/// It lost more than a packet in a thousand: what it took is not what passing takes.
pub fn cost(chain: &mut Chain) -> Result<f64, Failure> {
    let (sent, got, cpu_us) = trial(chain, EASY)?;
    if (sent - got.min(sent)) as f64 > LOSS * sent as f64 {
        return Err(Failure::new(exit::APPLY, format!("bench: {got} of {sent} packets came through a single hop")));
    }
    Ok(cpu_us.first().map_or(0.0, |(_, us)| *us))
}

/// Sends at a rate for a second; gives what was sent, what came out, and the CPU of each hop.
fn trial(chain: &mut Chain, rate: f64) -> Result<(u64, u64, Hops), Failure> {
    let broke = |error: &dyn std::fmt::Display| Failure::new(exit::BUG, format!("bench: {error}"));
    let got = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let sandbox = chain.sandbox();
    let mut out =
        sandbox.run_in(chain.sender, || PacketPort::open("inside")).map_err(|e| broke(&e))?.map_err(|e| broke(&e))?;
    let into =
        sandbox.run_in(chain.sender, || PacketPort::open("outside")).map_err(|e| broke(&e))?.map_err(|e| broke(&e))?;
    let (count, end) = (Arc::clone(&got), Arc::clone(&stop));
    let sink = std::thread::spawn(move || receive(into, &count, &end));
    let before = chain.cpu();
    let sent = send(&mut out, chain.gateway, rate).map_err(|error| broke(&error))?;
    // What is under way arrives: the queues hold far less than this.
    let quiet = clock::monotonic() + Duration::from_millis(200);
    wait(&[], Some(quiet.since(clock::monotonic()))).map_err(|error| broke(&error))?;
    stop.store(true, Ordering::Relaxed);
    sink.join().map_err(|_| broke(&"the sink panicked"))?.map_err(|error| broke(&error))?;
    let after = chain.cpu();
    let each =
        before.into_iter().zip(after).map(|((name, a), (_, b))| (name, (b - a) as f64 / 1000.0 / sent.max(1) as f64));
    Ok((sent, got.load(Ordering::Relaxed), each.collect()))
}

fn frame(gateway: Mac, connection: u16) -> Frame {
    let flow = Flow {
        protocol: Protocol::UDP,
        src: Ipv4Addr::new(198, 18, 64, (connection & 0xff) as u8).into(),
        dst: Ipv4Addr::new(198, 18, 128, (connection >> 2 & 0xff) as u8).into(),
        src_port: 10_000 + connection,
        dst_port: PORT,
    };
    build::udp(
        Envelope { src: Mac::host(1), dst: gateway, ttl: 64, identification: connection },
        flow,
        &[0x5b; PAYLOAD],
    )
}

/// Sends on an absolute schedule, in batches.
fn send(port: &mut PacketPort, gateway: Mac, rate: f64) -> std::io::Result<u64> {
    let frames: Vec<Frame> = (0..CONNECTIONS).map(|connection| frame(gateway, connection)).collect();
    let mut batch = FrameBatch::new();
    let start = clock::monotonic();
    let mut sent = 0u64;
    loop {
        let elapsed = clock::monotonic().since(start);
        if elapsed >= TRIAL {
            return Ok(sent);
        }
        let due = (elapsed.as_secs_f64() * rate) as u64;
        while sent < due && !batch.is_full() {
            let _fits = batch.push(frames[(sent % u64::from(CONNECTIONS)) as usize].bytes());
            sent += 1;
        }
        if batch.is_empty() {
            let next = Duration::from_secs_f64((sent + 1) as f64 / rate).saturating_sub(elapsed);
            wait(&[], Some(next.min(Duration::from_micros(100))))?;
        } else {
            port.send(&mut batch)?;
        }
    }
}

/// Counts what comes out, and answers ARP as the next hop on the outside.
fn receive(mut port: PacketPort, count: &AtomicU64, stop: &AtomicBool) -> std::io::Result<()> {
    let mut batch = FrameBatch::new();
    let mut answers = FrameBatch::new();
    while !stop.load(Ordering::Relaxed) {
        port.recv(&mut batch)?;
        if batch.is_empty() {
            wait(&[], Some(Duration::from_micros(200)))?;
        }
        for slot in batch.frames() {
            let Some(view) = View::parse(slot.bytes()) else { continue };
            match view.network {
                Network::Ip(ip) if matches!(ip.transport, Transport::Udp { dst_port: PORT, .. }) => {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Network::Arp(arp) if arp.operation == 1 => {
                    let reply = Arp {
                        operation: 2,
                        sender_mac: Mac::host(2),
                        sender_ip: arp.target_ip,
                        target_mac: arp.sender_mac,
                        target_ip: arp.sender_ip,
                    };
                    let _fits = answers.push(build::arp(Mac::host(2), arp.sender_mac, reply).bytes());
                }
                _ => {}
            }
        }
        port.send(&mut answers)?;
    }
    Ok(())
}
