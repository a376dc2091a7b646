//! What a lab and its taps cost: building and teardown of namespaces and cables, and the taps' share of a core at a load.
//!
//! `cargo run --release -p scalebed-netns --example tap-cost -- [FRAMES_PER_SECOND]`, as root.

use std::error::Error;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use scalebed_netns::{NsId, Sandbox, TapSpec, Taps, VethEnd};

/// Cables, each with a tap at both ends.
const CABLES: u8 = 20;
/// How long the load lasts.
const LOAD: Duration = Duration::from_secs(5);
/// Frames are sent in batches of a millisecond.
const BATCH: Duration = Duration::from_millis(1);

fn main() -> Result<(), Box<dyn Error>> {
    let rate: u64 = std::env::args().nth(1).map_or(Ok(125_000), |text| text.parse())?;
    let place = tempfile::tempdir()?;
    let mut sandbox = Sandbox::create(place.path())?;
    let began = Instant::now();
    let ends = build(&mut sandbox)?;
    println!("{} namespaces, {CABLES} cables of hosts built in {:?}", ends.len(), began.elapsed());
    let bare = load(&sandbox, &ends, rate)?;
    println!("without taps: {} frames sent, {:.2} us of the sender's CPU a frame", bare.0, bare.1);
    let reader = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&reader);
    let began = Instant::now();
    let specs = (0u16..).zip(&ends).map(|(tap, (ns, _))| TapSpec { ns: *ns, ifname: "eth0".to_owned(), tap }).collect();
    let taps = Taps::open(&sandbox, specs, move |_, _, _, bytes: &[u8]| {
        // The least that a consumer does: look at the bytes. Every 64th frame tells what the thread has used.
        if std::hint::black_box(bytes).last().is_some_and(|byte| byte % 64 == 0) {
            clock.store(nanos(ClockId::CLOCK_THREAD_CPUTIME_ID), Ordering::Relaxed);
        }
    })?;
    println!("{} taps opened in {:?}", ends.len(), began.elapsed());
    let tapped = load(&sandbox, &ends, rate)?;
    let began = Instant::now();
    let stats = taps.stop()?;
    let frames: u64 = stats.frames.values().sum();
    let drops: u64 = stats.drops.values().sum();
    println!("with taps: {} frames sent, {:.2} us of the sender's CPU a frame", tapped.0, tapped.1);
    let used = Duration::from_nanos(reader.load(Ordering::Relaxed));
    println!(
        "taps: {frames} frames, {drops} drops, drained in {:?}; reader used {used:?} of {LOAD:?}",
        began.elapsed()
    );
    let began = Instant::now();
    sandbox.teardown().map_err(|errors| format!("{errors:?}"))?;
    println!("teardown in {:?}", began.elapsed());
    Ok(())
}

fn build(sandbox: &mut Sandbox) -> Result<Vec<(NsId, Ipv4Addr)>, Box<dyn Error>> {
    let mut ends = Vec::new();
    for cable in 0..CABLES {
        let pair = [2 * cable, 2 * cable + 1].map(|end| (end, Ipv4Addr::new(198, 18, cable, 1 + end % 2)));
        let mut made = Vec::new();
        for (end, address) in pair {
            let ns = sandbox.namespace(&format!("host-{end}"))?;
            made.push((VethEnd { ns, name: "eth0".to_owned(), mac: [2, 0, 0, 0, 0, end], mtu: 1500 }, address));
        }
        sandbox.veth(&made[0].0, &made[1].0)?;
        for (end, address) in made {
            sandbox.set_up(end.ns, "eth0", true)?;
            sandbox.address(end.ns, "eth0", address, 24)?;
            ends.push((end.ns, address));
        }
    }
    Ok(ends)
}

/// Datagrams at `rate` over all ends in turn; how many, and microseconds of CPU of the sending thread for each.
fn load(sandbox: &Sandbox, ends: &[(NsId, Ipv4Addr)], rate: u64) -> Result<(u64, f64), Box<dyn Error>> {
    let mut sockets = Vec::new();
    for (ns, address) in ends {
        // The receiver exists and never reads: no ICMP error comes back, and nobody is woken.
        sockets.push(sandbox.run_in(*ns, || UdpSocket::bind((*address, 9)))??);
    }
    for pair in sockets.chunks(2) {
        pair[0].connect(pair[1].local_addr()?)?;
        pair[1].connect(pair[0].local_addr()?)?;
    }
    let (began, used) = (Instant::now(), nanos(ClockId::CLOCK_THREAD_CPUTIME_ID));
    let mut sent = 0u64;
    while began.elapsed() < LOAD {
        let due = u64::try_from(began.elapsed().as_micros())? * rate / 1_000_000;
        for socket in sockets.iter().cycle().skip(usize::try_from(sent)? % sockets.len()) {
            if sent >= due {
                break;
            }
            socket.send(&sent.to_le_bytes())?;
            sent += 1;
        }
        std::thread::sleep(BATCH);
    }
    let used = nanos(ClockId::CLOCK_THREAD_CPUTIME_ID) - used;
    Ok((sent, used as f64 / 1_000.0 / sent as f64))
}

fn nanos(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |time| u64::try_from(Duration::from(time).as_nanos()).unwrap_or(u64::MAX))
}
