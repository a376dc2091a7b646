//! `scalebed replay`: what a node was told, told to its engine again. Engines are pure, so it does again what it did, and
//! what went wrong in namespaces can be looked at without them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use scalebed_daemon::journal::{Digest, Kept, Reader};
use scalebed_engine::{Engine, Input, Output};

use crate::exit::{self, Failure};
use crate::journals;
use crate::nodes::Config;

/// Outputs that are shown where they differ.
const SHOWN: usize = 20;

/// What came of replaying one journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The program whose engine it was.
    pub program: String,
    /// Inputs that were handed over, the one that differs among them.
    pub inputs: u64,
    /// Their outputs.
    pub outputs: u64,
    /// How it ended.
    pub end: End,
    /// Memory was full while it was written: it ends before its node did.
    pub lost: bool,
}

/// How a replay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The same outputs all through.
    Equal,
    /// The node ended while it handled the last input, and its engine panics there again, with these words.
    Panics(String),
    /// The node ended while it handled the last input; its engine does not.
    Survives,
    /// Something else came of this input: its text, and what came now.
    Differs(String, Vec<String>),
}

impl Replayed {
    /// Did the engine do again what it did?
    #[must_use]
    pub fn is_equal(&self) -> bool {
        matches!(self.end, End::Equal | End::Panics(_))
    }
}

/// Replays every journal of a run directory or of a node's folder, a line each.
///
/// # Errors
/// [`exit::BAD_FILE`]: there is none, or one cannot be read. The others are replayed all the same.
pub fn replay(dir: &Path) -> Result<u8, Failure> {
    let bad = |text: String| Failure::new(exit::BAD_FILE, format!("{}: {text}", dir.display()));
    let journals = journals::find(dir).map_err(|error| bad(format!("cannot be read: {error}")))?;
    if journals.is_empty() {
        return Err(bad("holds no journals: only a run in namespaces that failed keeps them \
                        (a simulated one is repeated by its seed)"
            .to_owned()));
    }
    let mut worst = exit::PASS;
    for path in journals {
        let name = path.strip_prefix(dir).unwrap_or(&path).display();
        match one(&path) {
            Ok(replayed) => {
                println!("{name}: {}", line(&replayed));
                if let End::Differs(_, outputs) = &replayed.end {
                    outputs.iter().for_each(|output| println!("  now: {output}"));
                }
                worst = worst.max(if replayed.is_equal() { exit::PASS } else { exit::FAIL });
            }
            Err(failure) => {
                eprintln!("scalebed: {failure}");
                worst = worst.max(failure.code);
            }
        }
    }
    Ok(worst)
}

fn line(replayed: &Replayed) -> String {
    let Replayed { program, inputs, outputs, end, lost } = replayed;
    let end = match end {
        End::Equal => "equal".to_owned(),
        End::Panics(words) => format!("equal up to the last input, in which the engine panics as it did: {words}"),
        End::Survives => "differs: the node ended while it handled the last input, and the engine does not".to_owned(),
        End::Differs(input, _) => format!("differs at the last of them: {input}"),
    };
    let lost = if *lost { "; the node was faster than its disk, and what came after is not in it" } else { "" };
    format!("{program}, {inputs} inputs, {outputs} outputs: {end}{lost}")
}

/// Replays one journal, up to the first input of which something else comes.
///
/// # Errors
/// [`exit::BAD_FILE`]: it cannot be read.
pub fn one(path: &Path) -> Result<Replayed, Failure> {
    let bad = |text: String| Failure::new(exit::BAD_FILE, format!("{}: {text}", path.display()));
    let mut reader = Reader::open(path).map_err(|error| bad(error.to_string()))?;
    let start = reader.start().clone();
    let config = Config::from_json(&start.program, &start.config)
        .map_err(|error| bad(format!("its configuration is not one of `{}`: {error}", start.program)))?
        .ok_or_else(|| bad(format!("there is no program `{}`", start.program)))?;
    let mut engine = config.engine();
    let mut replayed = Replayed { program: start.program, inputs: 0, outputs: 0, end: End::Equal, lost: false };
    while let Some(kept) = reader.input().map_err(|error| bad(error.to_string()))? {
        replayed.inputs += 1;
        let outputs = quietly(|| told(engine.as_mut(), &kept));
        replayed.outputs += outputs.as_ref().map_or(0, |outputs| outputs.len() as u64);
        if let Some(end) = compare(&kept, outputs) {
            replayed.end = end;
            break;
        }
    }
    replayed.lost = reader.lost();
    Ok(replayed)
}

/// The end, if this is one.
fn compare(kept: &Kept, outputs: Result<Vec<Output>, String>) -> Option<End> {
    match (kept.outputs, outputs) {
        (Some(recorded), Ok(outputs)) => {
            let mut digest = Digest::default();
            outputs.iter().for_each(|output| digest.see(output));
            let shown = || outputs.iter().take(SHOWN).map(|output| format!("{output:?}")).collect();
            (digest.take() != recorded).then(|| End::Differs(text(kept), shown()))
        }
        (Some(_), Err(words)) => Some(End::Differs(text(kept), vec![format!("a panic: {words}")])),
        (None, Err(words)) => Some(End::Panics(words)),
        (None, Ok(_)) => Some(End::Survives),
    }
}

fn text(kept: &Kept) -> String {
    let Kept { input, now, .. } = kept;
    match input {
        Input::Frame { port, frame, received } => {
            format!("at {now}: port {}, received at {received}: {frame:?}", port.0)
        }
        Input::Link { .. } | Input::Command(_) | Input::Timeout => format!("at {now}: {input:?}"),
    }
}

fn told(engine: &mut dyn Engine, kept: &Kept) -> Vec<Output> {
    scalebed_engine::replay(engine, &[(kept.input.clone(), kept.now)])
}

/// A panic is what is being looked for here, and no bug of this program: its words come back, and nothing is printed.
fn quietly<T>(what: impl FnOnce() -> T) -> Result<T, String> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = catch_unwind(AssertUnwindSafe(what));
    std::panic::set_hook(hook);
    outcome.map_err(|words| {
        let text = words.downcast_ref::<String>().cloned();
        text.or_else(|| words.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use scalebed_daemon::journal::{Digest, Kept};
    use scalebed_engine::{Input, Instant, Output};

    use super::{End, compare, quietly};

    #[test]
    fn what_came_is_held_against_what_was_kept() {
        let outputs = || vec![Output::Idle(None)];
        let mut digest = Digest::default();
        outputs().iter().for_each(|output| digest.see(output));
        let kept = |outputs| Kept { input: Input::Timeout, now: Instant(1), outputs };
        let same = digest.take();
        assert_eq!(compare(&kept(Some(same)), Ok(outputs())), None);
        assert!(matches!(compare(&kept(Some(same)), Ok(Vec::new())), Some(End::Differs(..))));
        let panics = || quietly(|| -> Vec<Output> { panic!("no such {}", "port") });
        assert!(matches!(compare(&kept(Some(same)), panics()), Some(End::Differs(..))));
        assert_eq!(compare(&kept(None), panics()), Some(End::Panics("no such port".to_owned())));
        assert_eq!(compare(&kept(None), Ok(outputs())), Some(End::Survives));
    }
}
