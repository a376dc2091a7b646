//! The loop over two raw ports.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signalfd::SignalFd;
use nix::time::{ClockId, clock_gettime};
use scalebed_engine::Frame;
use scalebed_port::{FrameBatch, PacketPort, Port as _, clock, wait};
use scalebed_record::traffic::GeneratorReport;
use scalebed_traffic::{Config, Place};

use crate::driver::{Driver, Losses};

/// Batches that a port hands over before it is the turn of deadlines and the other port.
const BATCHES: u32 = 4;

/// Runs a generator over two ports, inside first, until its schedule has ended and drained or a signal comes.
///
/// # Errors
/// A port that fails for good, or an events file that can't be written.
pub fn run(
    config: Config,
    events: File,
    ports: &mut [PacketPort; 2],
    signals: &SignalFd,
) -> io::Result<GeneratorReport> {
    let mut driver = Driver::start(config, events, clock::monotonic())?;
    let mut batch = FrameBatch::new();
    flush(&mut driver, ports, &mut batch)?;
    loop {
        let now = clock::monotonic();
        if driver.is_over(now) {
            break;
        }
        let next = driver.wait(now);
        let [inside, outside] = &*ports;
        let fds: [BorrowedFd<'_>; 3] = [signals.as_fd(), inside.as_fd(), outside.as_fd()];
        let ready = wait(if next.on_frames { &fds } else { &fds[..1] }, Some(next.timeout))?;
        // What is due comes before what has come: a process that stood still sees its gap first.
        driver.on_time(clock::monotonic())?;
        flush(&mut driver, ports, &mut batch)?;
        if ready.is(0) {
            break;
        }
        for place in Place::BOTH {
            receive(&mut driver, place, &mut ports[place as usize], &mut batch)?;
        }
        flush(&mut driver, ports, &mut batch)?;
    }
    let mut lost = Losses::default();
    for port in ports {
        lost.receive_drops += port.dropped()?;
        lost.cut += port.cut();
        for (reason, count) in port.unsent_by().reasons() {
            *lost.unsent.entry(reason.to_owned()).or_default() += count;
        }
    }
    Ok(driver.report(lost, cpu_ns()))
}

fn receive(driver: &mut Driver, place: Place, port: &mut PacketPort, batch: &mut FrameBatch) -> io::Result<()> {
    for _ in 0..BATCHES {
        port.recv(batch)?;
        let now = clock::monotonic();
        for slot in batch.frames() {
            driver.on_frame(place, Frame(slot.bytes().to_vec()), slot.received, now)?;
        }
        if !batch.is_full() {
            break;
        }
    }
    batch.clear();
    Ok(())
}

fn flush(driver: &mut Driver, ports: &mut [PacketPort; 2], batch: &mut FrameBatch) -> io::Result<()> {
    for place in Place::BOTH {
        let port = &mut ports[place as usize];
        for frame in driver.outgoing(place).drain(..) {
            if batch.is_full() {
                port.send(batch)?;
            }
            // The generator's frames are a tenth of what a batch takes.
            let _fits = batch.push(frame.bytes());
        }
        port.send(batch)?;
    }
    Ok(())
}

/// CPU time of this process so far, ns; 0 if the kernel does not say.
fn cpu_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .map_or(0, |time| time.tv_sec().unsigned_abs() * 1_000_000_000 + time.tv_nsec().unsigned_abs())
}
