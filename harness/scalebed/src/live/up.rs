//! `up`: starts a keeper and waits until its lab is in service.

use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::commands::Build;
use super::keeper::{self, Order};
use super::{place, update};
use crate::exit::{self, Failure};
use crate::files;
use crate::run;
use crate::rundir::RunDir;

/// The keeper's last word when the lab is in service; any other is a phase, or what went wrong.
const READY: &str = "ready";
/// Before what went wrong: its exit code.
const FAILED: &str = "failed ";

/// What is wanted.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// A lab's path or shipped name; none: the only lab file here.
    pub lab: Option<&'a str>,
    /// A name of its own.
    pub name: Option<&'a str>,
    /// The run directory.
    pub out: Option<&'a Path>,
    /// How it is built.
    pub build: Build,
}

/// Brings a lab up, or changes the one of this name that is up.
///
/// # Errors
/// [`exit::BAD_FILE`], [`exit::USAGE`] (one of this name is up, and differs), [`exit::CAPABILITY`], [`exit::APPLY`].
pub fn up(wanted: &Wanted<'_>) -> Result<u8, Failure> {
    let file = match wanted.lab {
        Some(name) => name.to_owned(),
        None => only_lab_here()?,
    };
    let (lab, text) = files::lab_with_room(&file, wanted.build.room())?;
    let name = wanted.name.unwrap_or(&lab.name);
    place::check(name)?;
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::new(exit::CAPABILITY, "a lab needs root for its namespaces and raw sockets: use sudo"));
    }
    if let Some(place) = place::up(name)? {
        // How it was built stays so; saying nothing would let somebody wait for what never comes.
        let out = wanted.out.map(|out| format!("--out={}", out.display()));
        let words: Vec<String> = wanted.build.words().into_iter().chain(out).collect();
        if !words.is_empty() {
            let words = words.join(" ");
            let text = format!("{name} is up, and {words} is for the first `up`: `scalebed down`, then `up {words}`");
            return Err(Failure::new(exit::USAGE, text));
        }
        return update::update(&place, &text);
    }
    let dir = RunDir::create(wanted.out, name, 0)
        .map_err(|error| Failure::new(exit::USAGE, format!("run directory: {error}")))?;
    keeper::describe(&dir, &lab, &text)?;
    wait_for(name, &dir, wanted.build)?;
    println!(
        "{name} is up: scalebed status, exec NODE -- COMMAND, down; its run directory is {}",
        dir.path().display()
    );
    Ok(exit::PASS)
}

fn wait_for(name: &str, dir: &RunDir, build: Build) -> Result<(), Failure> {
    let broke = |what: &str, error: std::io::Error| Failure::new(exit::BUG, format!("keeper: {what}: {error}"));
    let this = std::env::current_exe().map_err(|error| broke("own path", error))?;
    let log = std::fs::File::create(dir.path().join("keeper.log")).map_err(|error| broke("log", error))?;
    let mut command = Command::new(this);
    command.args(["keeper", "--name", name, "--parent", &std::process::id().to_string(), "--folder"]).arg(dir.path());
    command.args(build.words());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(|error| broke("start", error))?;
    let words = child.stdout.take().map(BufReader::new);
    let terminal = std::io::stdout().is_terminal();
    for line in words.into_iter().flat_map(BufReader::lines) {
        let line = line.map_err(|error| broke("words", error))?;
        if line == READY {
            if terminal {
                print!("\r\x1b[2K");
            }
            // It is nobody's child from now on: the machine's init waits for it.
            return Ok(());
        }
        if let Some((code, text)) = line.strip_prefix(FAILED).and_then(|rest| rest.split_once(' ')) {
            let _it_ends = child.wait();
            return Err(Failure::new(code.parse().unwrap_or(exit::BUG), text));
        }
        if terminal {
            print!("\r\x1b[2K{name}: {line}");
            let _best_effort = std::io::stdout().flush();
        } else {
            println!("{name}: {line}");
        }
    }
    let _it_ended = child.wait();
    let said = std::fs::read_to_string(dir.path().join("keeper.log")).unwrap_or_default();
    let last = said.lines().last().unwrap_or("it said nothing").to_owned();
    Err(Failure::new(exit::BUG, format!("the keeper ended: {last}")))
}

/// The keeper's side of [`wait_for`].
pub fn keeper(name: &str, folder: &Path, parent: u32, build: Build) -> u8 {
    let mut say = |word: &str| {
        let mut out = std::io::stdout();
        writeln!(out, "{word}")?;
        out.flush()
    };
    let outcome = (|| {
        let file = folder.join("lab.yaml");
        let (lab, _) = files::lab_with_room(&file.to_string_lossy(), build.room())?;
        let programs = run::programs_beside_this_one()?;
        keeper::keep(&Order { name, lab: &lab, folder, programs: &programs, build, parent }, &mut say)
    })();
    match outcome {
        Ok(()) => exit::PASS,
        Err(failure) => {
            eprintln!("scalebed: {failure}");
            let _nobody_may_wait = say(&format!("{FAILED}{} {}", failure.code, failure.text.replace('\n', " ")));
            failure.code
        }
    }
}

/// The lab file in the working directory, if there is exactly one.
fn only_lab_here() -> Result<String, Failure> {
    let entries = std::fs::read_dir(".")
        .map_err(|error| Failure::new(exit::USAGE, format!("the working directory cannot be read: {error}")))?;
    let is_lab = |path: &PathBuf| {
        path.extension().is_some_and(|ending| ending == "yaml")
            && std::fs::read_to_string(path)
                .is_ok_and(|text| text.lines().any(|line| line.starts_with("architecture:")))
    };
    let mut labs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_lab).collect();
    labs.sort();
    match labs.as_slice() {
        [one] => Ok(one.display().to_string()),
        [] => {
            Err(Failure::new(exit::USAGE, "name a lab: there is no lab file here (scalebed list shows shipped ones)"))
        }
        several => {
            let names: Vec<_> = several.iter().map(|path| path.display().to_string()).collect();
            Err(Failure::new(exit::USAGE, format!("name a lab: there are several here: {}", names.join(", "))))
        }
    }
}
