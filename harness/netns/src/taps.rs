//! Taps: what came out of each cable, as the kernel saw and stamped it.
//!
//! One thread reads all rings. It does not wait in poll(2): it walks over them on a timer. With 40 busy rings poll would
//! wake it for each block of each ring; a walk reads one word a ring and loses nothing, since a ring holds over 500 ms
//! at the profile's peak.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;

use crate::clock::Offset;
use crate::enter::Entry;
use crate::sandbox::{NsId, Sandbox};
use crate::sys::{Geometry, Ring};
use crate::{Error, scratch};

/// A full frame of 256 bytes takes 352 in the ring: 6 MiB hold 596 ms of them at 30,000 frames/s. The block timeout is
/// 100 ms, since stamps are the kernel's and many idle rings with a short one cost CPU (80 rings: 46 % of a core at 1 ms,
/// 3 % at 100 ms).
const GEOMETRY: Geometry = Geometry { block: 64 << 10, blocks: 96, timeout_ms: 100, snap: 256 };
/// A capture keeps whole frames: 12 MiB hold 7,000 of the longest.
const WHOLE: Geometry = Geometry { block: 64 << 10, blocks: 192, timeout_ms: 100, snap: 65_535 };
/// Time between two walks over the rings.
const WALK: Duration = Duration::from_millis(50);
/// After the intake is closed the last blocks come within the block timeout; a ring that needs longer lost frames.
const DRAIN: Duration = Duration::from_secs(1);
/// Time between two looks while draining.
const DRAIN_WALK: Duration = Duration::from_millis(5);

/// Where to put a tap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapSpec {
    /// The namespace of the receiving end.
    pub ns: NsId,
    /// Its interface.
    pub ifname: String,
    /// How its frames are marked.
    pub tap: u16,
}

/// Where a tap goes, as the kernel knows it.
struct Place<'a> {
    net: BorrowedFd<'a>,
    ifname: String,
    tap: u16,
}

/// What the taps saw, by tap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TapStats {
    /// Frames that were handed over.
    pub frames: BTreeMap<u16, u64>,
    /// Frames that came and were not handed over: the ring was full. Any of them makes a run invalid.
    pub drops: BTreeMap<u16, u64>,
    /// Largest change of CLOCK_REALTIME against CLOCK_MONOTONIC within a second, ns: stamps are wrong by that.
    pub clock_step: u64,
}

/// Open taps and the thread that reads them. Dropping them is [`Self::stop`] without the account.
#[derive(Debug)]
pub struct Taps {
    /// Dropping it is the signal to stop.
    stop: Option<Sender<()>>,
    reader: Option<JoinHandle<Result<TapStats, Error>>>,
}

struct Tap {
    ring: Ring,
    tap: u16,
    /// Handed over.
    frames: u64,
    /// Came in and were dropped, by the kernel's count.
    came: u64,
    dropped: u64,
}

impl Taps {
    /// Opens a promiscuous, ingress-only tap at each place and starts reading. `each` gets, on the reader's thread, the
    /// mark of the tap, the kernel's stamp (CLOCK_MONOTONIC, ns), the length on the wire, and up to 256 bytes. Frames of
    /// one tap come in order, those of different taps do not.
    ///
    /// # Errors
    /// No such interface, or the kernel refuses a ring.
    pub fn open(
        sandbox: &Sandbox,
        specs: Vec<TapSpec>,
        each: impl FnMut(u16, u64, u32, &[u8]) + Send + 'static,
    ) -> Result<Self, Error> {
        let mut places = Vec::new();
        for TapSpec { ns, ifname, tap } in specs {
            // Said in the sandbox's words: the kernel does not know the namespace's name.
            sandbox.index(ns, &ifname)?;
            places.push(Place { net: sandbox.get(ns)?.fd.as_fd(), ifname, tap });
        }
        Self::start(open_all(places, GEOMETRY)?, each)
    }

    /// As [`Self::open`] from outside a lab, by ways into its namespaces; whole frames.
    ///
    /// # Errors
    /// As there.
    pub fn capture(
        places: Vec<(&Entry, String, u16)>,
        each: impl FnMut(u16, u64, u32, &[u8]) + Send + 'static,
    ) -> Result<Self, Error> {
        let places = places.into_iter().map(|(entry, ifname, tap)| Place { net: entry.net(), ifname, tap });
        Self::start(open_all(places.collect(), WHOLE)?, each)
    }

    fn start(taps: Vec<Tap>, each: impl FnMut(u16, u64, u32, &[u8]) + Send + 'static) -> Result<Self, Error> {
        let (stop, stopped) = channel();
        let reader = thread::Builder::new()
            .name("taps".to_owned())
            .spawn(move || read(taps, &stopped, each))
            .map_err(Error::io("start of the taps' thread"))?;
        Ok(Self { stop: Some(stop), reader: Some(reader) })
    }

    /// Closes the taps for new frames, hands over every frame that is in them, and accounts for all.
    ///
    /// # Errors
    /// The kernel does not give its counters, or the callback panicked.
    pub fn stop(mut self) -> Result<TapStats, Error> {
        self.stop = None;
        let reader = self.reader.take().ok_or(Error::TornDown)?;
        reader.join().map_err(|_| Error::Panicked { what: "the callback of the taps" })?
    }
}

impl Drop for Taps {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(reader) = self.reader.take() {
            let _nobody_to_tell = reader.join();
        }
    }
}

/// Opens all at once: the kernel waits for an RCU grace period two or three times a ring, and those of different threads
/// pass together (40 rings: 700 ms one after the other).
fn open_all(places: Vec<Place<'_>>, geometry: Geometry) -> Result<Vec<Tap>, Error> {
    let open = |place: Place<'_>| {
        let ring = scratch::in_namespace(place.net, || {
            let index = if_nametoindex(place.ifname.as_str())?;
            Ring::open(index, geometry)
        })?;
        let ring = ring.map_err(Error::io(format!("tap on {}", place.ifname)))?;
        Ok(Tap { ring, tap: place.tap, frames: 0, came: 0, dropped: 0 })
    };
    thread::scope(|scope| {
        let opening: Vec<_> = places.into_iter().map(|place| scope.spawn(move || open(place))).collect();
        let panicked = |_| Error::Panicked { what: "the opening of a tap" };
        opening.into_iter().map(|tap| tap.join().map_err(panicked)?).collect()
    })
}

/// Closes all at once, for the same reason.
fn close_all(taps: Vec<Tap>) {
    thread::scope(|scope| {
        for tap in taps {
            scope.spawn(move || drop(tap));
        }
    });
}

fn read(
    mut taps: Vec<Tap>,
    stopped: &Receiver<()>,
    mut each: impl FnMut(u16, u64, u32, &[u8]),
) -> Result<TapStats, Error> {
    let mut clock = Offset::now();
    while stopped.recv_timeout(WALK) == Err(RecvTimeoutError::Timeout) {
        clock.refresh();
        taps.iter_mut().for_each(|tap| tap.walk(&clock, &mut each));
    }
    for tap in &taps {
        tap.ring.close_intake().map_err(Error::io("close a tap"))?;
    }
    let closed = Instant::now();
    loop {
        let mut complete = true;
        for tap in &mut taps {
            tap.count()?;
            tap.walk(&clock, &mut each);
            complete &= tap.frames == tap.came;
        }
        if complete || closed.elapsed() > DRAIN {
            break;
        }
        thread::sleep(DRAIN_WALK);
    }
    clock.refresh();
    let stats = TapStats {
        frames: taps.iter().map(|tap| (tap.tap, tap.frames)).collect(),
        drops: taps.iter().map(|tap| (tap.tap, tap.dropped + tap.came.saturating_sub(tap.frames))).collect(),
        clock_step: clock.step(),
    };
    close_all(taps);
    Ok(stats)
}

impl Tap {
    /// Hands over every block that is ready, at most a ring full: a busy tap must not starve the others.
    fn walk(&mut self, clock: &Offset, each: &mut impl FnMut(u16, u64, u32, &[u8])) {
        for _ in 0..self.ring.blocks() {
            let tap = self.tap;
            let frames =
                self.ring.read_block(|frame| each(tap, clock.to_monotonic(frame.real), frame.wire, frame.bytes));
            let Some(frames) = frames else { break };
            self.frames += u64::from(frames);
        }
    }

    fn count(&mut self) -> Result<(), Error> {
        let (seen, dropped) = self.ring.statistics().map_err(Error::io("counters of a tap"))?;
        self.came += seen - dropped;
        self.dropped += dropped;
        Ok(())
    }
}
