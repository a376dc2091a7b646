//! The wire process of a lab in namespaces: every cable that something may impair goes through it.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use scalebed_cable::Settings;
use scalebed_checkers::decisions::Decisions;
use scalebed_engine::{NodeEvent, Status};
use scalebed_netns::{NsId, Process, ProcessSpec, Sandbox};
use scalebed_record::{Entry, Fact};
use scalebed_wire::{Change, Config, Through};

use super::{PROCESS_LIMIT, Places, TESTER_PRIORITY, broke, counters, decisions};
use crate::exit::{self, Failure};
use crate::plan::{WIRES, inner_name};
use crate::world::control;
use crate::world::events::Stream;

/// It is to be empty within this once nobody puts anything in any more: longer than any delay that makes sense.
const DRAIN: Duration = Duration::from_secs(10);

/// The process and its cables.
pub(super) struct Wires {
    process: Process,
    stream: Stream,
    folder: PathBuf,
    ns: NsId,
    cables: BTreeSet<usize>,
    /// It writes a journal.
    judged: bool,
}

impl Wires {
    /// Starts it in its namespace, and comes back when it forwards.
    pub(super) fn start(sandbox: &Sandbox, ns: NsId, places: &Places<'_>) -> Result<Self, Failure> {
        let (folder, cables, seed) = (places.folder.join(WIRES), places.bent.clone(), places.seed);
        let failed = |error: &dyn std::fmt::Display| Failure::new(exit::APPLY, format!("{WIRES}: {error}"));
        std::fs::create_dir_all(&folder).map_err(|error| failed(&error))?;
        let through = |cable: &usize| Through {
            cable: *cable as u64,
            a: inner_name(*cable, false),
            b: inner_name(*cable, true),
            settings: Settings::default(),
        };
        let config = Config { name: WIRES.to_owned(), seed, cables: cables.iter().map(through).collect() };
        let json = serde_json::to_string(&config).map_err(|error| failed(&error))?;
        std::fs::write(folder.join("config.json"), json).map_err(|error| failed(&error))?;
        let mut stream = Stream::create(&folder).map_err(|error| failed(&error))?;
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let mut args = vec![
            ("--config", path("config.json")),
            ("--control", path("control.sock")),
            ("--events", path("events.fifo")),
        ];
        // What it was given, and when: of that the judge knows what it was to do.
        args.extend(places.is_judged().then(|| ("--journal", path("journal"))));
        let spec = ProcessSpec {
            program: places.programs.join("wire"),
            args: args.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect(),
            env: Vec::new(),
            stdout: folder.join("stdout.log"),
            stderr: folder.join("stderr.log"),
            // A cable does not wait for a CPU.
            fifo_priority: Some(TESTER_PRIORITY),
        };
        let process = sandbox.spawn(ns, &spec).map_err(|error| failed(&error))?;
        let wait = PollTimeout::try_from(PROCESS_LIMIT.as_millis()).unwrap_or(PollTimeout::MAX);
        let ready = |stream: &mut Stream| -> Result<bool, Failure> {
            let lines = stream.drain().map_err(|error| failed(&error))?;
            Ok(lines.iter().any(|line| line.event == Some(NodeEvent::Ready)))
        };
        while !ready(&mut stream)? {
            let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, wait).map_err(|error| failed(&error))? == 0 {
                let last = std::fs::read_to_string(&spec.stderr).unwrap_or_default();
                return Err(failed(&format!("not ready within {PROCESS_LIMIT:?}: {}", last.trim())));
            }
        }
        Ok(Self { process, stream, folder, ns, cables, judged: places.is_judged() })
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("control.sock")
    }

    /// Does this cable go through it?
    pub(super) fn has(&self, cable: usize) -> bool {
        self.cables.contains(&cable)
    }

    /// Gives cables other settings, all at once; they are in force when this comes back, and since when, ns, is told.
    pub(super) fn set(&self, cables: &[(usize, Settings)]) -> Result<u64, Failure> {
        let changes: Vec<Change> = cables.iter().map(|(cable, settings)| (*cable as u64, *settings)).collect();
        let json = serde_json::to_string(&changes).map_err(|error| broke(&format!("{WIRES}: {error}")))?;
        let status = control::configure(&self.socket(), &json).map_err(|error| broke(&format!("{WIRES}: {error}")))?;
        match ["refused", "configured"].map(|name| status.counters.get(name)) {
            [Some(0), Some(&at)] => Ok(at),
            _ => Err(broke(&format!("{WIRES} did not take the settings of cables {cables:?}"))),
        }
    }

    /// Ends it once nothing is on its way: what the rules took and doubled, when its loop stood still, and what it was to do.
    pub(super) fn finish(mut self, sandbox: &Sandbox, at: u64) -> Result<(Vec<Entry>, Option<Decisions>), Failure> {
        let failed = |error: &dyn std::fmt::Display| broke(&format!("{WIRES}: {error}"));
        let began = std::time::Instant::now();
        let status = loop {
            let status = control::status(&self.socket()).map_err(|error| failed(&error))?;
            if status.counters.get("waiting") == Some(&0) {
                break status;
            }
            if began.elapsed() > DRAIN {
                return Err(failed(&format!("frames are still on their way {DRAIN:?} after the last was put in")));
            }
            std::thread::yield_now();
        };
        let sent = counters(sandbox, self.ns)?;
        let mut entries: Vec<Entry> = self
            .cables
            .iter()
            .map(|&cable| Entry { at, fact: taken(&status, cable, |to_b| sent.get(&inner_name(cable, to_b)).copied()) })
            .collect();
        let fact =
            Fact::Counters { node: WIRES.to_owned(), drops: status.drops.clone(), counters: status.counters.clone() };
        entries.push(Entry { at, fact });
        for line in self.stream.drain().map_err(|error| failed(&error))? {
            if let Some(late) = line.stall {
                entries.push(Entry { at: line.at, fact: Fact::Stall { who: WIRES.to_owned(), late } });
            }
        }
        // An orderly end: its journal is whole.
        self.process.terminate().map_err(|error| failed(&error))?;
        self.process.wait(PROCESS_LIMIT).map_err(|error| failed(&error))?;
        let journal = self.folder.join("journal");
        let decisions = self.judged.then(|| decisions::recomputed(&journal)).transpose();
        let decisions = decisions.map_err(|error| failed(&format!("its journal {error}")))?;
        let _best_effort = std::fs::remove_file(journal);
        Ok((entries, decisions))
    }
}

/// What a cable took and doubled. What it sent and the kernel did not pass on met an end that was down: `sent` says how
/// many frames an inner interface sent in the kernel's account.
fn taken(status: &Status, cable: usize, sent: impl Fn(bool) -> Option<u64>) -> Fact {
    let name = |way: &str, what: &str| format!("{cable}.{way}.{what}");
    let of = |way: &str, to_b: bool| {
        let counted = |what: &str| status.counters.get(&name(way, what)).copied().unwrap_or(0);
        let drops: u64 = status
            .drops
            .iter()
            .filter(|(drop, _)| drop.starts_with(&format!("{cable}.{way}.")))
            .map(|(_, count)| count)
            .sum();
        let met_nobody = counted("sent").saturating_sub(sent(to_b).unwrap_or(0));
        (drops + met_nobody, counted("doubled"))
    };
    let ((a_to_b, doubled_a_to_b), (b_to_a, doubled_b_to_a)) = (of("to-b", true), of("to-a", false));
    Fact::Taken { cable: u16::try_from(cable).unwrap_or(u16::MAX), a_to_b, b_to_a, doubled_a_to_b, doubled_b_to_a }
}
