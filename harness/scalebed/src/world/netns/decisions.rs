//! What a wire process was given, read from its journal, and what it was to do with it. What it did is not asked for here:
//! taps saw that.

use std::io;
use std::path::Path;

use scalebed_cable::Direction;
use scalebed_checkers::decisions::Decisions;
use scalebed_daemon::journal::Reader;
use scalebed_engine::{Command, Input, Instant};
use scalebed_record::TapId;
use scalebed_wire::{Change, Config};

/// The wire process and the taps read the kernel's stamps by clocks of their own: so far apart they may be, ns.
pub(super) const EARLY: u64 = 1_000_000;

/// Reads the journal of a wire process.
pub(super) fn recomputed(path: &Path) -> io::Result<Decisions> {
    let mut reader = Reader::open(path).map_err(io::Error::other)?;
    let config: Config = serde_json::from_str(&reader.start().config)?;
    let mut told = Told::of(config);
    while let Some(kept) = reader.input().map_err(io::Error::other)? {
        told.take(kept.input, kept.now)?;
    }
    if reader.lost() {
        return Err(io::Error::other("is not whole: memory was full while it was written"));
    }
    Ok(told.decisions)
}

/// What a wire process was told so far.
struct Told {
    config: Config,
    decisions: Decisions,
}

impl Told {
    fn of(config: Config) -> Self {
        let cables = config.cables.iter().filter_map(|through| u16::try_from(through.cable).ok());
        let decisions = Decisions::of(config.seed, cables);
        Self { config, decisions }
    }

    fn take(&mut self, input: Input, now: Instant) -> io::Result<()> {
        self.decisions.pass(now.0);
        match input {
            Input::Frame { port, frame, received } => {
                let Some((cable, at_b, place)) = self.end(port.0) else { return Ok(()) };
                let way = if at_b { Direction::ToA } else { Direction::ToB };
                let rules = self.config.cables[place].settings.way(way);
                self.decisions.put_in(TapId::new(cable, !at_b), rules, (received.0, now.0), frame.bytes());
            }
            Input::Link { port, up, .. } => {
                if let Some((cable, at_b, _)) = self.end(port.0) {
                    self.decisions.carrier(cable, at_b, up, now.0);
                }
            }
            Input::Command(Command::Configure(json)) => {
                for (cable, settings) in serde_json::from_str::<Vec<Change>>(&json)? {
                    let of_cable = self.config.cables.iter_mut().filter(|through| through.cable == cable);
                    of_cable.for_each(|through| through.settings = settings);
                }
            }
            Input::Command(_) | Input::Timeout => {}
        }
        Ok(())
    }

    /// The cable of a port, which end of it, and its place in the list.
    fn end(&self, port: u16) -> Option<(u16, bool, usize)> {
        let place = usize::from(port / 2);
        let cable = u16::try_from(self.config.cables.get(place)?.cable).ok()?;
        Some((cable, port % 2 == 1, place))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use scalebed_cable::{Reorder, Rules, Settings};
    use scalebed_checkers::decisions::{Came, print};
    use scalebed_engine::{Command, Engine, Frame, Input, Instant, Output, PortIndex};
    use scalebed_record::TapId;
    use scalebed_record::history::Decided;
    use scalebed_wire::{Config, Through, Wire};

    use super::Told;

    const MS: u64 = 1_000_000;
    const CABLE: u16 = 4;

    /// What a wire process was told, and what came out of it.
    #[derive(Default)]
    struct Ran {
        inputs: Vec<(Input, Instant)>,
        came: BTreeMap<TapId, Vec<Came>>,
    }

    impl Ran {
        /// The wire's loop as the shell has it: a deadline is met, sometimes late, before what comes next.
        fn tell(&mut self, wire: &mut Wire, input: Input, now: u64, deadline: &mut Option<Instant>) {
            while let Some(due) = deadline.take_if(|due| due.0 <= now) {
                self.hand(wire, Input::Timeout, Instant((due.0 + MS / 7).min(now)), deadline);
            }
            self.hand(wire, input, Instant(now), deadline);
        }

        fn hand(&mut self, wire: &mut Wire, input: Input, now: Instant, deadline: &mut Option<Instant>) {
            self.inputs.push((input.clone(), now));
            wire.handle(input, now);
            loop {
                match wire.poll() {
                    Output::Transmit { port, frame } => {
                        let bytes = frame.bytes();
                        let print = print(u32::try_from(bytes.len()).unwrap(), bytes);
                        let tap = TapId::new(CABLE, port.0 % 2 == 1);
                        self.came.entry(tap).or_default().push(Came { at: now.0, print });
                    }
                    Output::Idle(until) => {
                        *deadline = until;
                        return;
                    }
                    _ => {}
                }
            }
        }

        fn decided(&self) -> Vec<Decided> {
            let mut told = Told::of(config());
            self.inputs.iter().for_each(|(input, now)| told.take(input.clone(), *now).unwrap());
            told.decisions.held_against(&self.came, 0)
        }
    }

    fn config() -> Config {
        let settings = Settings::default();
        let cables = vec![Through { cable: CABLE.into(), a: "a".to_owned(), b: "b".to_owned(), settings }];
        Config { name: "wires".to_owned(), seed: 9, cables }
    }

    /// A frame each way each ms, read up to 2 ms late, under rules that change.
    fn ran() -> Ran {
        let (mut ran, mut wire, mut deadline) = (Ran::default(), Wire::new(config()), None);
        let rules = Rules {
            loss: 30_000,
            duplicate: 30_000,
            corrupt: 30_000,
            truncate: 30_000,
            delay: Duration::from_millis(3),
            jitter: Duration::from_millis(2),
            reorder: Reorder { per_million: 50_000, by: Duration::from_millis(4) },
            ..Rules::default()
        };
        for port in [0, 1] {
            ran.tell(&mut wire, Input::Link { port: PortIndex(port), up: true, changes: 1 }, 1, &mut deadline);
        }
        for number in 1..3_000_u64 {
            let settings = match number {
                500 => Some(Settings { to_b: rules, to_a: Rules::default() }),
                1_000 => Some(Settings { to_b: Rules::cut(), to_a: rules }),
                2_000 => Some(Settings::both_ways(rules)),
                2_500 => Some(Settings::default()),
                _ => None,
            };
            let now = number * MS + (number % 5) * MS / 2;
            if let Some(settings) = settings {
                let json = serde_json::to_string(&[(u64::from(CABLE), settings)]).unwrap();
                ran.tell(&mut wire, Input::Command(Command::Configure(json)), now, &mut deadline);
            }
            for port in [0, 1] {
                let mut bytes = vec![0x5a; 60 + usize::try_from(number % 400).unwrap()];
                bytes[14..22].copy_from_slice(&number.to_be_bytes());
                let (port, frame, received) = (PortIndex(port), Frame(bytes), Instant(number * MS));
                ran.tell(&mut wire, Input::Frame { port, frame, received }, now, &mut deadline);
            }
        }
        ran.tell(&mut wire, Input::Command(Command::Status { id: 1 }), 4_000 * MS, &mut deadline);
        ran
    }

    #[test]
    fn what_the_wire_does_is_what_its_journal_says_it_was_to_do() {
        let ran = ran();
        for said in ran.decided() {
            assert_eq!((said.put_in, said.deviates), (2_999, 0), "{said:?}");
            assert!(said.doubled > 20 && said.altered > 20 && said.truncated > 20 && said.held_back() > 30, "{said:?}");
            assert!(said.late[1] >= MS, "the wire read late: {said:?}");
        }
    }

    /// One frame of 6,000, wherever it is: one that the wire swallowed, made two of, or bent.
    #[test]
    fn a_wire_that_deviates_by_one_frame_is_noticed() {
        let right = ran();
        for (tap, came) in &right.came {
            for place in [0, came.len() / 3, came.len() - 1] {
                let edits: [fn(&mut Vec<Came>, usize); 3] = [
                    |came, place| drop(came.drain(place..=place)),
                    |came, place| came.insert(place, came[place]),
                    |came, place| came[place].print ^= 1,
                ];
                for edit in edits {
                    let mut bent = Ran { inputs: right.inputs.clone(), came: right.came.clone() };
                    edit(bent.came.get_mut(tap).unwrap(), place);
                    let deviates: u64 = bent.decided().iter().map(|said| said.deviates).sum();
                    assert!((1..=2).contains(&deviates), "{tap:?} at {place}: {deviates}");
                }
            }
        }
        // One frame less went in by the journal than came out: another cable's word would not do.
        let mut bent = Ran { inputs: right.inputs.clone(), came: right.came.clone() };
        let frame = bent.inputs.iter().position(|(input, _)| matches!(input, Input::Frame { .. })).unwrap();
        bent.inputs.remove(frame);
        assert!(bent.decided().iter().any(|said| said.deviates > 0));
    }
}
