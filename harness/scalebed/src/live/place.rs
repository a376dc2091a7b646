//! Where labs that are up are found: a card and a socket each, in one folder. A keeper locks its card for as long as it
//! lives, so whether a lab is up is a question to the kernel, not to a file.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exit::{self, Failure};

/// Names the folder, for tests and for machines without /run.
pub const FOLDER: &str = "SCALEBED_STATE";
/// The folder otherwise. It is gone after a boot, like every lab.
const DEFAULT: &str = "/run/scalebed";
/// So often is a card that is locked tried again, ...
const GLANCES: u32 = 20;
/// ... after so long.
const GLANCE: Duration = Duration::from_millis(5);

/// What is on a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The lab's own name; several may be up under names of their own.
    pub lab: String,
    /// The run directory, absolute.
    pub folder: PathBuf,
    /// Pid of the keeper, for people: nothing is signalled by it.
    pub keeper: u32,
    /// When it was brought up, RFC 3339.
    pub since: String,
}

/// A place that this process holds.
#[derive(Debug)]
pub struct Claim {
    name: String,
    card: File,
}

fn folder() -> PathBuf {
    std::env::var_os(FOLDER).map_or_else(|| PathBuf::from(DEFAULT), PathBuf::from)
}

fn card(name: &str) -> PathBuf {
    folder().join(format!("{name}.json"))
}

/// The keeper's socket.
pub fn socket(name: &str) -> PathBuf {
    folder().join(format!("{name}.sock"))
}

/// A name becomes file names.
///
/// # Errors
/// [`exit::USAGE`]: it would be more than that.
pub fn check(name: &str) -> Result<(), Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.len() <= 48 && name.chars().all(plain) {
        return Ok(());
    }
    let text = format!("`{name}` is no name for a lab: write up to 48 letters, digits, - and _");
    Err(Failure::new(exit::USAGE, text))
}

impl Claim {
    /// Takes the place of a name and writes its card.
    ///
    /// # Errors
    /// [`exit::USAGE`]: a lab of this name is up. [`exit::CAPABILITY`]: the folder cannot be written.
    pub fn take(name: &str, lab: &str, run: PathBuf) -> Result<Self, Failure> {
        check(name)?;
        let broke = |error: io::Error| refused(&error);
        DirBuilder::new().recursive(true).mode(0o700).create(folder()).map_err(broke)?;
        let mut file = loop {
            let path = card(name);
            let options =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
            let file = options.map_err(broke)?;
            if !lock(&file).map_err(broke)? {
                return Err(is_up(name));
            }
            // Its last holder may have removed it between the two calls: then it is nobody's card.
            let same = fs::metadata(&path).and_then(|there| Ok(there.ino() == file.metadata()?.ino()));
            if same.unwrap_or(false) {
                break file;
            }
        };
        let card = Card { lab: lab.to_owned(), folder: run, keeper: std::process::id(), since: crate::rundir::utc() };
        let text = serde_json::to_vec(&card).map_err(io::Error::from).map_err(broke)?;
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(&text)).map_err(broke)?;
        // What a killed keeper of this name left.
        match fs::remove_file(socket(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(broke(error)),
            _ => {}
        }
        Ok(Self { name: name.to_owned(), card: file })
    }
}

/// False: a keeper holds it. Somebody who only looks whether one does holds it for an instant too.
fn lock(card: &File) -> io::Result<bool> {
    for _ in 0..GLANCES {
        match card.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => std::thread::sleep(GLANCE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _gone_is_fine = fs::remove_file(socket(&self.name));
        let _gone_is_fine = fs::remove_file(card(&self.name));
        let _closing_does_it_too = self.card.unlock();
    }
}

/// A lab that is or was up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// By this name.
    pub name: String,
    /// Its card.
    pub card: Card,
    /// Does its keeper live?
    pub up: bool,
}

impl Place {
    /// The file that it was built from.
    pub fn lab_file(&self) -> PathBuf {
        self.card.folder.join("lab.yaml")
    }
}

/// The lab of this name, if it is up.
///
/// # Errors
/// The directory of labs cannot be read.
pub fn up(name: &str) -> Result<Option<Place>, Failure> {
    Ok(all()?.into_iter().find(|place| place.up && place.name == name))
}

/// Every lab that is up, and every one whose keeper was killed, in order of name.
///
/// # Errors
/// [`exit::CAPABILITY`]: the folder is another user's.
pub fn all() -> Result<Vec<Place>, Failure> {
    let entries = match fs::read_dir(folder()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(refused(&error)),
    };
    let mut places = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| refused(&error))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".json")) else { continue };
        // One that is being written or removed right now is no lab yet, or no longer.
        let Ok(Some(place)) = read(name) else { continue };
        places.push(place);
    }
    places.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(places)
}

fn read(name: &str) -> io::Result<Option<Place>> {
    let mut file = File::open(card(name))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let Ok(card) = serde_json::from_str(&text) else { return Ok(None) };
    let up = match file.try_lock_shared() {
        Ok(()) => false,
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(error)) => return Err(error),
    };
    Ok(Some(Place { name: name.to_owned(), card, up }))
}

/// The lab that is meant: by name, or the only one that is up.
///
/// # Errors
/// [`exit::NOT_UP`]: there is none, or several and no name.
pub fn find(name: Option<&str>) -> Result<Place, Failure> {
    let places = all()?;
    let mut up = places.iter().filter(|place| place.up);
    let names = || {
        let names: Vec<_> = places.iter().filter(|place| place.up).map(|place| place.name.as_str()).collect();
        if names.is_empty() { "none is; bring one up: scalebed up LAB".to_owned() } else { names.join(", ") }
    };
    let none = |text: String| Err(Failure::new(exit::NOT_UP, text));
    let Some(name) = name else {
        return match (up.next(), up.next(), places.first()) {
            (Some(place), None, _) => Ok(place.clone()),
            (Some(_), Some(_), _) => none(format!("several labs are up: say which with --lab: {}", names())),
            (None, _, Some(dead)) => none(is_dead(dead)),
            (None, _, None) => none("no lab is up; bring one up: scalebed up LAB".to_owned()),
        };
    };
    match places.iter().find(|place| place.name == name) {
        Some(place) if place.up => Ok(place.clone()),
        Some(place) => none(is_dead(place)),
        None => none(format!("no lab `{name}` is up; up: {}", names())),
    }
}

fn is_dead(place: &Place) -> String {
    let Place { name, card, .. } = place;
    format!(
        "the keeper of `{name}` (process {}) was killed, and its lab ended with it; what it wrote is in {}; to forget it: \
         scalebed down --lab {name}",
        card.keeper,
        card.folder.display()
    )
}

fn is_up(name: &str) -> Failure {
    let text =
        format!("a lab `{name}` is up; take it down first (scalebed down --lab {name}), or give this one a --name");
    Failure::new(exit::USAGE, text)
}

/// Forgets a lab whose keeper was killed; false: there is no such card, or its keeper lives.
///
/// # Errors
/// [`exit::CAPABILITY`]: the folder is another user's.
pub fn forget(name: &str) -> Result<bool, Failure> {
    let Ok(Some(place)) = read(name) else { return Ok(false) };
    if place.up {
        return Ok(false);
    }
    // Taken and given back: whoever else brings a lab up under this name now wins, and keeps it.
    drop(Claim::take(name, &place.card.lab, place.card.folder)?);
    Ok(true)
}

fn refused(error: &io::Error) -> Failure {
    let text = format!("{}: {error}; labs that are up belong to root: use sudo", folder().display());
    Failure::new(exit::CAPABILITY, text)
}
