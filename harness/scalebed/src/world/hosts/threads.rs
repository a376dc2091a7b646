//! Hosts in namespaces: sockets of their kernels, each conversation on a thread of its own that was begun in the host's
//! namespace (a thread begins where its parent is). Everything waits at most [`TICK`] before it looks whether it should
//! stop.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use scalebed_engine::Instant;
use scalebed_netns::{NsId, Sandbox, monotonic};
use scalebed_record::Fact;
use scalebed_traffic::host::{Fetched, LINE, Says, content};

use super::{HostPlan, LATE, Planned, fact};
use crate::exit::{self, Failure};
use crate::world::transfer::{self, End};

/// How often a thread looks whether it should stop.
const TICK: Duration = Duration::from_millis(100);
/// Opening a connection takes no longer.
const CONNECT: Duration = Duration::from_secs(10);

/// What came of each conversation; `None` while it goes on.
type Outcomes = Arc<Mutex<Vec<Option<Outcome>>>>;
type Outcome = (Fetched, Option<String>);

/// The threads of both hosts.
pub(in crate::world) struct HostThreads {
    names: [String; 2],
    calls: Vec<Planned>,
    until: u64,
    outcomes: Outcomes,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl HostThreads {
    /// Begins what the plan says; the client's conversations begin at their times.
    ///
    /// # Errors
    /// A namespace could not be entered, or a port is not free.
    pub(in crate::world) fn start(
        sandbox: &Sandbox,
        [server_ns, client_ns]: [NsId; 2],
        ends: [End; 2],
        plan: &HostPlan,
    ) -> Result<Self, Failure> {
        let entered = |name: &str, error: &dyn std::fmt::Display| Failure::new(exit::BUG, format!("{name}: {error}"));
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        let addresses = transfer::addresses(&ends);
        let [server, client] = ends;
        let services = plan.serves().into_iter();
        let everywhere = services.flat_map(|service| addresses.iter().map(move |address| (*address, service.clone())));
        for (address, (port, says)) in everywhere {
            let stop = Arc::clone(&stop);
            let thread = sandbox.run_in(server_ns, move || serve(address, port, says, stop));
            let thread = thread.map_err(|error| entered(&server.name, &error))?;
            threads.push(thread.map_err(|error| entered(&server.name, &error))?);
        }
        let calls = plan.calls(&addresses);
        let outcomes: Outcomes = Arc::new(Mutex::new(vec![None; calls.len()]));
        let calling = Calling { calls: calls.clone(), outcomes: Arc::clone(&outcomes), stop: Arc::clone(&stop) };
        let thread = sandbox.run_in(client_ns, move || std::thread::spawn(move || calling.run()));
        threads.push(thread.map_err(|error| entered(&client.name, &error))?);
        Ok(Self { names: [server.name, client.name], calls, until: plan.until, outcomes, stop, threads })
    }

    /// Waits until all is done or it is late, ends every thread, and tells.
    pub(in crate::world) fn finish(mut self) -> Vec<Fact> {
        let late = self.until + super::nanos(LATE);
        while monotonic() < late && !self.stop.load(Ordering::Relaxed) && !self.done() {
            std::thread::park_timeout(TICK);
        }
        self.end();
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let told = self.calls.iter().zip(outcomes.iter()).map(|(planned, outcome)| {
            let heard = outcome.as_ref().map(|(heard, _)| *heard);
            let mut told = fact(planned, &self.names, heard);
            if let (Fact::Host(run), Some((_, Some(error)))) = (&mut told, outcome) {
                run.error = Some(error.clone());
            }
            told
        });
        told.collect()
    }

    fn done(&self) -> bool {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).iter().all(Option::is_some)
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic there left its conversation without an outcome, which is a failure.
            let _ended = thread.join();
        }
    }
}

impl Drop for HostThreads {
    fn drop(&mut self) {
        self.end();
    }
}

fn serve(address: IpAddr, port: u16, says: Says, stop: Arc<AtomicBool>) -> io::Result<JoinHandle<()>> {
    let listener = TcpListener::bind((address, port))?;
    listener.set_nonblocking(true)?;
    Ok(std::thread::spawn(move || {
        let mut serving: Vec<JoinHandle<()>> = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let mut wanted = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
            let _timeout_is_fine = poll(&mut wanted, PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO));
            while let Ok((stream, _)) = listener.accept() {
                let (says, stop) = (says.clone(), Arc::clone(&stop));
                // The client tells what came of it: an end that fails here fails there.
                serving.push(std::thread::spawn(move || {
                    let _told_by_the_client = answer(stream, &says, &stop);
                }));
            }
            serving.retain(|thread| !thread.is_finished());
        }
        for thread in serving {
            let _ended = thread.join();
        }
    }))
}

fn answer(mut stream: TcpStream, says: &Says, stop: &AtomicBool) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(CONNECT))?;
    match says {
        Says::Content { bytes, pace } => {
            let began = monotonic();
            let step = pace.map_or(*bytes, |pace| pace.bytes);
            for (tick, from) in (0u64..).zip((0..*bytes).step_by(usize::try_from(step.max(1)).unwrap_or(usize::MAX))) {
                if let Some(pace) = pace
                    && !wait_until(began + tick * super::nanos(pace.every), stop)
                {
                    return Ok(());
                }
                let part: Vec<u8> = (from..(from + step).min(*bytes)).map(content).collect();
                stream.write_all(&part)?;
            }
            stream.shutdown(Shutdown::Write)
        }
        Says::Echo => {
            let mut buffer = [0; 4096];
            while let Some(count) = read(&mut stream, &mut buffer, stop)?.filter(|count| *count > 0) {
                stream.write_all(&buffer[..count])?;
            }
            Ok(())
        }
        Says::Nothing | Says::Lines(_) => Ok(()),
    }
}

/// The client's side: begins each conversation at its time.
struct Calling {
    calls: Vec<Planned>,
    outcomes: Outcomes,
    stop: Arc<AtomicBool>,
}

impl Calling {
    fn run(self) {
        let mut threads = Vec::new();
        for (index, planned) in self.calls.iter().enumerate() {
            if !wait_until(planned.at, &self.stop) {
                break;
            }
            let to = SocketAddr::new(planned.to, planned.port);
            let (says, stop, outcomes) = (planned.says.clone(), Arc::clone(&self.stop), Arc::clone(&self.outcomes));
            threads.push(std::thread::spawn(move || {
                let mut heard = nothing_yet();
                let error = converse(to, &says, &mut heard, &stop).err();
                heard.reset = error.as_ref().is_some_and(|error| error.kind() == ErrorKind::ConnectionReset);
                let error = error.map(|error| error.to_string());
                let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                outcomes[index] = Some((heard, error));
            }));
        }
        for thread in threads {
            let _ended = thread.join();
        }
    }
}

fn nothing_yet() -> Fetched {
    let now = Instant(monotonic());
    Fetched { bytes: 0, intact: true, complete: false, reset: false, began: now, last: now, gap: Duration::ZERO }
}

fn converse(to: SocketAddr, says: &Says, heard: &mut Fetched, stop: &AtomicBool) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, CONNECT)?;
    stream.set_nodelay(true)?;
    if let Says::Lines(lines) = says {
        for (line, at) in (0u64..).zip(lines) {
            if !wait_until(at.0, stop) {
                return Ok(());
            }
            let text: Vec<u8> = (line * LINE..(line + 1) * LINE).map(content).collect();
            stream.write_all(&text)?;
            while heard.bytes < (line + 1) * LINE {
                if !hear(&mut stream, heard, stop)? {
                    return Ok(());
                }
            }
        }
        stream.shutdown(Shutdown::Write)?;
    }
    while hear(&mut stream, heard, stop)? {}
    Ok(())
}

/// Takes what comes. False: the end of the stream, or of the patience.
fn hear(stream: &mut TcpStream, heard: &mut Fetched, stop: &AtomicBool) -> io::Result<bool> {
    let mut buffer = [0; 16_384];
    let Some(count) = read(stream, &mut buffer, stop)? else { return Ok(false) };
    let now = Instant(monotonic());
    heard.intact &= (heard.bytes..).zip(&buffer[..count]).all(|(at, byte)| content(at) == *byte);
    heard.bytes += count as u64;
    heard.gap = heard.gap.max(now.since(heard.last));
    heard.last = now;
    heard.complete |= count == 0;
    Ok(count > 0)
}

/// Reads what is there, as soon as something is. `None`: all is to stop.
fn read(stream: &mut TcpStream, buffer: &mut [u8], stop: &AtomicBool) -> io::Result<Option<usize>> {
    stream.set_read_timeout(Some(TICK))?;
    while !stop.load(Ordering::Relaxed) {
        match stream.read(buffer) {
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            other => return other.map(Some),
        }
    }
    Ok(None)
}

/// Until an instant of the clock. False: all is to stop.
fn wait_until(at: u64, stop: &AtomicBool) -> bool {
    loop {
        let left = at.saturating_sub(monotonic());
        if stop.load(Ordering::Relaxed) || left == 0 {
            return left == 0;
        }
        std::thread::park_timeout(Duration::from_nanos(left).min(TICK));
    }
}
