//! All of the process but its ports and its clock: what the loop does with a frame, with the time, and in the end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};

use scalebed_engine::{Engine as _, EventLine, Frame, Input, Instant, Output};
use scalebed_record::traffic::GeneratorReport;
use scalebed_traffic::{Config, Generator, Place};

use crate::pace::{Pace, Wait};

/// The engine, and what it wants done.
#[derive(Debug)]
pub struct Driver {
    generator: Generator,
    /// A file or a FIFO.
    events: File,
    pace: Pace,
    deadline: Option<Instant>,
    outgoing: [Vec<Frame>; 2],
    frames: u64,
}

/// What the ports of a run lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Frames that found no room in a receive queue.
    pub receive_drops: u64,
    /// Frames that the kernel did not take, by reason.
    pub unsent: BTreeMap<String, u64>,
    /// Frames longer than a batch takes.
    pub cut: u64,
}

impl Driver {
    /// Starts the engine: both ports are told to be up, and it asks for the cluster's addresses at once.
    ///
    /// # Errors
    /// If the events file can't be written.
    pub fn start(config: Config, events: File, now: Instant) -> io::Result<Self> {
        let mut driver = Self {
            generator: Generator::new(config),
            events,
            pace: Pace::new(now),
            deadline: None,
            outgoing: [Vec::new(), Vec::new()],
            frames: 0,
        };
        for place in Place::BOTH {
            driver.hand_over(Input::Link { port: place.port(), up: true, changes: 0 }, now)?;
        }
        driver.hand_over(Input::Timeout, now)?;
        Ok(driver)
    }

    /// A wait is over: says so if it took too long, and hands over the timeout if its instant has come.
    ///
    /// # Errors
    /// If the events file can't be written.
    pub fn on_time(&mut self, now: Instant) -> io::Result<()> {
        if let Some(late) = self.pace.late(now) {
            self.events.write_all(&EventLine::stall(now, late).to_bytes()?)?;
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.hand_over(Input::Timeout, now)?;
        }
        Ok(())
    }

    /// A frame came in.
    ///
    /// # Errors
    /// If the events file can't be written.
    pub fn on_frame(&mut self, place: Place, frame: Frame, received: Instant, now: Instant) -> io::Result<()> {
        self.frames += 1;
        self.pace.on_frames(now);
        self.hand_over(Input::Frame { port: place.port(), frame, received }, now)
    }

    /// The frames to be sent on a side, in order. Whoever sends them takes them out.
    pub fn outgoing(&mut self, place: Place) -> &mut Vec<Frame> {
        &mut self.outgoing[place as usize]
    }

    /// How to wait now.
    pub fn wait(&mut self, now: Instant) -> Wait {
        self.pace.wait(self.deadline, self.generator.end(), now)
    }

    /// Has the schedule ended and drained?
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.generator.end()
    }

    /// The report, with what only the process knows: the CPU that it used, and what its ports lost.
    #[must_use]
    pub fn report(&self, lost: Losses, cpu_ns: u64) -> GeneratorReport {
        let Losses { receive_drops, unsent, cut } = lost;
        GeneratorReport { receive_drops, unsent, cut, cpu_ns, frames: self.frames, ..self.generator.report() }
    }

    fn hand_over(&mut self, input: Input, now: Instant) -> io::Result<()> {
        self.generator.handle(input, now);
        loop {
            match self.generator.poll() {
                Output::Transmit { port, frame } => {
                    if let Some(place) = Place::of(port) {
                        self.frames += 1;
                        self.pace.on_frames(now);
                        self.outgoing[place as usize].push(frame);
                    }
                }
                Output::Event(event) => self.events.write_all(&EventLine::event(now, &event).to_bytes()?)?,
                // A generator sets no ports and is not cloned.
                Output::SetPort { .. } | Output::InstallConfig(_) | Output::Reboot => {}
                Output::Idle(deadline) => {
                    self.deadline = deadline;
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use scalebed_frame::signature::{Class, Signature};
    use scalebed_frame::view::Arp;
    use scalebed_frame::{Flow, Mac, NetworkId, Protocol, View, build};
    use scalebed_record::{FlowKind, FlowSpec, Schedule, Shape};
    use scalebed_topologies::lab::Prefix;
    use scalebed_traffic::Side;

    use super::*;
    use crate::pace::TICK;

    const MS: u64 = 1_000_000;
    const BEGIN: Instant = Instant(5_000 * MS);
    const CLUSTER: Mac = Mac([2, 0x5b, 0xed, 1, 0x80, 1]);

    fn config() -> Config {
        let side = |third: u8| Side {
            network: NetworkId(third + 1),
            mac_base: u32::from(third) * 100,
            on_link: vec![],
            next_hop: [198, 18, third, 2].into(),
            gateway: [198, 18, third, 1].into(),
            ipv6: None,
        };
        let (src, dst) = ([198, 18, 64, 1].into(), [198, 18, 128, 1].into());
        let forward = Flow { protocol: Protocol::UDP, src, dst, src_port: 10_000, dst_port: 8_000 };
        let flow = FlowSpec {
            class: Class::Probe,
            kind: FlowKind::Udp,
            forward,
            first: 0,
            last: 100 * MS,
            rate: 1_000,
            shape: Shape::Steady,
        };
        Config {
            name: "generator".to_owned(),
            schedule: Schedule {
                run: 1,
                key: [1; 16],
                seed: 1,
                start: BEGIN.0 + 50 * MS,
                end: 100 * MS,
                flows: vec![flow],
            },
            inside: side(0),
            outside: side(1),
            inside_prefixes: vec![Prefix { address: std::net::IpAddr::from([198, 18, 64, 0]), length: 18 }],
        }
    }

    struct Bench {
        driver: Driver,
        path: PathBuf,
        _folder: tempfile::TempDir,
    }

    fn bench() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let driver = Driver::start(config(), File::create(&path).unwrap(), BEGIN).unwrap();
        Bench { driver, path, _folder: folder }
    }

    impl Bench {
        fn lines(&self) -> String {
            std::fs::read_to_string(&self.path).unwrap()
        }

        /// Answers the generator's questions 1 ms after its start.
        fn resolve(&mut self) {
            for place in Place::BOTH {
                let third = place as u8;
                let [question] = &self.driver.outgoing(place).split_off(0)[..] else { panic!("one question") };
                let asker = View::parse(question.bytes()).unwrap().src;
                let arp = Arp {
                    operation: 2,
                    sender_mac: CLUSTER,
                    sender_ip: [198, 18, third, 1].into(),
                    target_mac: asker,
                    target_ip: [198, 18, third, 2].into(),
                };
                let at = Instant(BEGIN.0 + MS);
                self.driver.on_frame(place, build::arp(CLUSTER, asker, arp), at, at).unwrap();
            }
        }
    }

    #[test]
    fn it_asks_at_once_says_ready_when_answered_and_sends_when_due() {
        let mut bench = bench();
        bench.resolve();
        assert_eq!(bench.lines(), "{\"at\":5001000000,\"event\":\"ready\"}\n");
        let at = Instant(BEGIN.0 + 10 * MS);
        let wait = bench.driver.wait(at);
        assert_eq!((wait.on_frames, wait.timeout), (true, Duration::from_millis(40)));
        let due = Instant(BEGIN.0 + 50 * MS);
        bench.driver.on_time(Instant(due.0 - 1)).unwrap();
        assert!(bench.driver.outgoing(Place::Inside).is_empty());
        bench.driver.on_time(due).unwrap();
        let sent = bench.driver.outgoing(Place::Inside).split_off(0);
        let sequences: Vec<_> = sent.iter().filter_map(|frame| Signature::peek(&frame.bytes()[42..])).collect();
        assert_eq!((sequences.len(), sequences[0].sequence, sequences[0].intended), (1, 0, due.0));
        // Loaded now: it looks again after a tick, whatever comes.
        let wait = bench.driver.wait(due);
        assert_eq!((wait.on_frames, wait.timeout), (false, TICK));
        let unsent = BTreeMap::from([("queue-full".to_owned(), 2)]);
        let report = bench.driver.report(Losses { receive_drops: 3, unsent, cut: 1 }, 7);
        assert_eq!((report.sent, report.frames, report.receive_drops, report.cpu_ns), (1, 5, 3, 7));
        assert_eq!((report.unsent["queue-full"], report.cut), (2, 1));
    }

    #[test]
    fn a_stall_is_told_and_its_packets_are_skipped() {
        let mut bench = bench();
        bench.resolve();
        bench.driver.wait(Instant(BEGIN.0 + 10 * MS));
        let late = Instant(BEGIN.0 + 80 * MS + 1);
        bench.driver.on_time(late).unwrap();
        assert!(bench.lines().ends_with("{\"at\":5080000001,\"stall\":30000001}\n"), "{}", bench.lines());
        let report = bench.driver.report(Losses::default(), 0);
        // Requests were due at 50, 51, .. 80 ms, replies at 50.5, .. 79.5 ms; what was due since 78.1 is not too late, but
        // a server that has seen nothing has nobody to reply to.
        assert_eq!((report.sent, report.not_opened, report.skipped), (2, 2, 31 + 30 - 4));
    }

    #[test]
    fn it_is_over_after_the_drain() {
        let bench = bench();
        assert!(!bench.driver.is_over(Instant(BEGIN.0 + 2_150 * MS - 1)));
        assert!(bench.driver.is_over(Instant(BEGIN.0 + 2_150 * MS)));
    }
}
