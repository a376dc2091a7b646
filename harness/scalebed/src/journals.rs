//! Where the journals of a run lie, and which are kept: those of a run that failed, and of one that broke.

use std::io;
use std::path::{Path, PathBuf};

use scalebed_record::Record;
use scalebed_record::record::Replay;

use crate::exit::Failure;

/// The file in a node's folder for its `start`-th start (from 1).
#[must_use]
pub fn name(start: u32) -> String {
    if start == 1 { "journal".to_owned() } else { format!("journal-{start}") }
}

/// The journals of a run directory or of a node's folder, in order of node and start.
///
/// # Errors
/// A folder cannot be read.
pub fn find(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let nodes = dir.join("nodes");
    let mut folders = vec![dir.to_path_buf()];
    if nodes.is_dir() {
        folders.extend(entries(&nodes)?.into_iter().filter(|path| path.is_dir()));
    }
    let mut found = Vec::new();
    for folder in folders {
        let mut starts: Vec<_> = entries(&folder)?.into_iter().filter_map(|path| Some((start(&path)?, path))).collect();
        starts.sort();
        found.extend(starts.into_iter().map(|(_, path)| path));
    }
    Ok(found)
}

/// The start that a file is the journal of.
fn start(path: &Path) -> Option<u32> {
    let rest = path.file_name()?.to_str()?.strip_prefix("journal")?;
    if rest.is_empty() { Some(1) } else { rest.strip_prefix('-')?.parse().ok() }
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// After the verdicts: a failed run says in its record how its journals are replayed; of any other they are removed.
///
/// # Errors
/// A journal cannot be read or removed.
pub fn keep_if_failed(dir: &Path, record: &mut Record) -> io::Result<()> {
    let journals = find(dir)?;
    if record.outcome() != "fail" {
        return journals.iter().try_for_each(std::fs::remove_file);
    }
    if journals.is_empty() {
        return Ok(());
    }
    let row = |path: &PathBuf| {
        let bytes = path.metadata()?.len();
        Ok((path.strip_prefix(dir).unwrap_or(path).display().to_string(), bytes))
    };
    let journals = journals.iter().map(row).collect::<io::Result<Vec<_>>>()?;
    record.replay = Some(Replay { command: command(dir), journals });
    Ok(())
}

/// Of a run that broke nothing is removed: its failure says where to look.
#[must_use]
pub fn point_at(failure: Failure, dir: &Path) -> Failure {
    if find(dir).unwrap_or_default().is_empty() {
        return failure;
    }
    Failure { text: format!("{}; to replay what its nodes were told: {}", failure.text, command(dir)), ..failure }
}

fn command(dir: &Path) -> String {
    format!("scalebed replay {}", dir.display())
}

#[cfg(test)]
mod tests {
    use scalebed_record::{Outcome, Record, Verdict};

    use super::{find, keep_if_failed, name, point_at};
    use crate::exit::{self, Failure};

    fn run_directory() -> tempfile::TempDir {
        let place = tempfile::tempdir().expect("a temporary directory");
        for node in ["sgm-1-02", "mho1"] {
            let folder = place.path().join("nodes").join(node);
            std::fs::create_dir_all(&folder).expect("a folder");
            for file in [&*name(10), &name(2), &name(1), "journal-x", "journal.old", "config.json"] {
                std::fs::write(folder.join(file), "1234").expect("a file");
            }
        }
        place
    }

    fn record(outcome: Outcome) -> Record {
        let verdict = Verdict {
            check: String::new(),
            outcome,
            value: String::new(),
            accuracy: String::new(),
            limit: String::new(),
        };
        Record { verdicts: vec![verdict], ..Record::default() }
    }

    #[test]
    fn journals_are_found_by_node_and_start() {
        let place = run_directory();
        let names = |found: Vec<std::path::PathBuf>| -> Vec<String> {
            found.iter().map(|path| path.strip_prefix(place.path()).expect("inside").display().to_string()).collect()
        };
        let mho = ["nodes/mho1/journal", "nodes/mho1/journal-2", "nodes/mho1/journal-10"];
        assert_eq!(names(find(&place.path().join("nodes/mho1")).expect("read")), mho);
        let all = names(find(place.path()).expect("read"));
        assert_eq!(all[..3], mho);
        assert_eq!(all[3..], mho.map(|path| path.replace("mho1", "sgm-1-02")));
    }

    #[test]
    fn a_failed_run_keeps_them_and_says_so_and_others_leave_none() {
        for outcome in [Outcome::Pass, Outcome::Invalid("late".to_owned())] {
            let place = run_directory();
            let mut record = record(outcome);
            keep_if_failed(place.path(), &mut record).expect("removed");
            assert_eq!(record.replay, None);
            assert!(find(place.path()).expect("read").is_empty());
            assert!(place.path().join("nodes/mho1/config.json").exists(), "nothing else is removed");
        }
        let place = run_directory();
        let mut record = record(Outcome::Fail(Vec::new()));
        keep_if_failed(place.path(), &mut record).expect("kept");
        let replay = record.replay.expect("says so");
        assert_eq!(replay.journals.len(), 6);
        assert_eq!(replay.journals[0], ("nodes/mho1/journal".to_owned(), 4));
        assert!(replay.command.ends_with(&place.path().display().to_string()), "{}", replay.command);
    }

    #[test]
    fn a_run_that_broke_points_at_what_is_there() {
        let place = run_directory();
        let failure = || Failure::new(exit::BUG, "sgm-1-02 ended by itself");
        assert!(point_at(failure(), place.path()).text.contains("scalebed replay"));
        let empty = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(point_at(failure(), empty.path()).text, failure().text);
    }
}
