use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use scalebed_engine::{Command, Frame, Input, Instant, NodeEvent, Output, PortIndex};

use super::{Digest, Journal, JournalError, Kept, MAGIC, Reader, Start};

fn start() -> Start {
    Start { program: "switch".to_owned(), config: "{}".to_owned() }
}

/// A journal in a directory that lives as long as the first value.
fn journal() -> (tempfile::TempDir, PathBuf, Journal) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let path = place.path().join("journal");
    let journal = Journal::begin(File::create(&path).expect("a file"), &start()).expect("a journal");
    (place, path, journal)
}

fn inputs() -> Vec<(Input, Instant)> {
    vec![
        (Input::Timeout, Instant(1)),
        (Input::Link { port: PortIndex(1), up: true, changes: 3 }, Instant(2)),
        (Input::Frame { port: PortIndex(300), frame: Frame(vec![7; 1500]), received: Instant(2) }, Instant(3)),
        (Input::Frame { port: PortIndex(0), frame: Frame(Vec::new()), received: Instant(0) }, Instant(3)),
        (Input::Command(Command::Drain), Instant(4)),
    ]
}

fn keep(journal: &mut Journal, input: &Input, now: Instant) {
    journal.input(input, now);
    journal.output(&Output::Idle(Some(now)));
    journal.done();
}

fn read(path: &Path) -> Result<(Vec<Kept>, bool), JournalError> {
    let mut reader = Reader::open(path)?;
    assert_eq!(*reader.start(), start());
    let mut kept = Vec::new();
    while let Some(input) = reader.input()? {
        kept.push(input);
    }
    Ok((kept, reader.lost()))
}

#[test]
fn inputs_come_back_as_they_were() {
    let (_place, path, mut journal) = journal();
    inputs().iter().for_each(|(input, now)| keep(&mut journal, input, *now));
    journal.finish().expect("written");
    let (kept, lost) = read(&path).expect("whole");
    assert!(!lost);
    assert_eq!(kept.iter().map(|kept| (kept.input.clone(), kept.now)).collect::<Vec<_>>(), inputs());
    for kept in &kept {
        let mut digest = Digest::default();
        digest.see(&Output::Idle(Some(kept.now)));
        assert_eq!(kept.outputs, Some(digest.take()));
    }
    let bytes = std::fs::read(&path).expect("there");
    std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("cut");
    assert_eq!(read(&path).expect("cut off at the end").0.len(), inputs().len() - 1);
}

#[test]
fn a_node_that_panics_leaves_all_its_inputs_and_which_was_the_last() {
    let (_place, path, mut journal) = journal();
    let outcome = catch_unwind(AssertUnwindSafe(move || {
        (0..1000).for_each(|at| keep(&mut journal, &Input::Timeout, Instant(at)));
        journal.input(&Input::Command(Command::Drain), Instant(1000));
        resume_unwind(Box::new("the engine"));
    }));
    assert!(outcome.is_err());
    let (kept, _) = read(&path).expect("whole");
    assert_eq!(kept.len(), 1001);
    assert!(kept[..1000].iter().all(|kept| kept.outputs.is_some()));
    assert_eq!(kept[1000], Kept { input: Input::Command(Command::Drain), now: Instant(1000), outputs: None });
}

#[test]
fn what_finds_no_room_ends_the_journal_with_a_mark() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let path = place.path().join("journal");
    // Less than the largest frame, more than anything before it.
    let mut journal = Journal::with_room(File::create(&path).expect("a file"), &start(), 1000).expect("a journal");
    inputs().iter().for_each(|(input, now)| keep(&mut journal, input, *now));
    journal.finish().expect("written");
    let (kept, lost) = read(&path).expect("readable");
    assert!(lost);
    assert_eq!(kept.len(), 2, "up to where it was full");
}

#[test]
fn what_is_no_journal_is_refused() {
    let (_place, path, mut journal) = journal();
    keep(&mut journal, &Input::Timeout, Instant(1));
    journal.finish().expect("written");
    let whole = std::fs::read(&path).expect("there");
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("written");
        read(&path).expect_err("must refuse").to_string()
    };
    assert!(refused(b"").contains("not a journal"));
    assert!(refused(b"something else entirely").contains("not a journal"));
    assert!(refused(&MAGIC).contains("damaged at record 0"));
    let mut long = whole.clone();
    long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(refused(&long).contains("damaged at record 0"));
    let mut odd = whole.clone();
    let last = odd.len() - 9;
    odd[last] = 9;
    assert!(refused(&odd).contains("damaged at record 1"), "neither a digest nor none");
    assert!(matches!(Reader::open(Path::new("/nonexistent")), Err(JournalError::Io(_))));
}

#[test]
fn a_digest_covers_every_byte_and_field_and_the_order() {
    let frame = |port, bytes: &[u8]| Output::Transmit { port: PortIndex(port), frame: Frame(bytes.to_vec()) };
    let lists = [
        vec![],
        vec![frame(0, &[1, 2])],
        vec![frame(1, &[1, 2])],
        vec![frame(0, &[1, 3])],
        vec![frame(0, &[1]), frame(0, &[2])],
        vec![frame(0, &[2]), frame(0, &[1])],
        vec![Output::SetPort { port: PortIndex(0), up: true }],
        vec![Output::SetPort { port: PortIndex(0), up: false }],
        vec![Output::Event(NodeEvent::Ready)],
        vec![Output::Event(NodeEvent::Announced { round: 1 })],
        vec![Output::Reboot],
        vec![Output::Idle(None)],
        vec![Output::Idle(Some(Instant(0)))],
    ];
    let digests = lists.iter().map(|list| {
        let mut digest = Digest::default();
        list.iter().for_each(|output| digest.see(output));
        digest.take()
    });
    assert_eq!(digests.collect::<std::collections::BTreeSet<_>>().len(), lists.len());
}
