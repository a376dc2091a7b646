//! Somebody who types commands at labs that stay up.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::programs;

/// A user with a state folder and a working directory of its own.
pub struct User {
    /// It works here.
    pub place: tempfile::TempDir,
}

impl Default for User {
    fn default() -> Self {
        Self::new()
    }
}

impl User {
    /// Of whom nothing is left afterwards.
    #[must_use]
    pub fn new() -> Self {
        Self { place: tempfile::tempdir().expect("a temporary directory") }
    }

    /// A command as it would be typed, not run yet.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(programs().join("scalebed"));
        command.args(args).env("SCALEBED_STATE", self.state()).current_dir(self.place.path());
        command
    }

    /// Where its labs are known.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.place.path().join("state")
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// There is no program: `make build` makes it.
    #[must_use]
    pub fn types(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("target/release/scalebed, which `make build` makes")
    }

    /// What a command prints that must succeed.
    pub fn gets(&self, args: &[&str]) -> String {
        let output = self.types(args);
        assert!(output.status.success(), "{args:?}: {}\n{}", output.status, both(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What a command prints that must fail, with one line and this code.
    pub fn is_told(&self, args: &[&str], code: i32, words: &str) -> String {
        let output = self.types(args);
        let text = both(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(words) && text.lines().count() == 1, "{args:?}: {text}");
        assert!(!text.contains("os error"), "an errno is no clear line: {args:?}: {text}");
        text
    }

    /// Of the lab that was brought up last.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn run_directory(&self) -> PathBuf {
        std::fs::canonicalize(self.place.path().join("runs/latest")).expect("a run directory")
    }

    /// Waits for events that have these words, in order; whatever was before counts too.
    pub fn sees(&self, words: &[&str]) {
        let mut follower = self.command(&["events", "--follow"]).stdout(Stdio::piped()).spawn().expect("a follower");
        let mut lines = BufReader::new(follower.stdout.take().expect("a pipe")).lines();
        for word in words {
            let line = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(word)));
            assert!(line.is_some(), "the events ended before {word}");
        }
        follower.kill().expect("a kill");
        follower.wait().expect("an end");
    }
}

/// A test that fails midway leaves no lab either.
impl Drop for User {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let Ok(all) = self.command(&["status", "--all"]).output() else { return };
        for line in String::from_utf8_lossy(&all.stdout).lines().skip(1) {
            let name = line.split_whitespace().next().unwrap_or_default();
            let _told_if_it_works = self.command(&["down", "--lab", name]).status();
        }
    }
}

/// What was said, on both streams.
#[must_use]
pub fn both(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
