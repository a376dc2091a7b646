//! Asking a keeper.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use scalebed_netns::Entry;
use serde::de::DeserializeOwned;

use super::place::{self, Place};
use super::protocol::{Answer, Request};
use crate::exit::{self, Failure};

/// A keeper that does not answer within this does not live as it should. The longest answer is that to `down`.
const PATIENCE: Duration = Duration::from_secs(20);

fn connect(place: &Place, request: &Request) -> Result<UnixStream, Failure> {
    let connected = || -> io::Result<UnixStream> {
        let mut stream = UnixStream::connect(place::socket(&place.name))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        Ok(stream)
    };
    connected().map_err(|error| silent(place, &error))
}

fn silent(place: &Place, error: &io::Error) -> Failure {
    let text = match error.kind() {
        // It lives and has no socket yet.
        io::ErrorKind::NotFound => format!("`{}` is being brought up, or taken down", place.name),
        // The kernel closes a keeper's taps one by one, its socket before them and the lock on its card after: for a second.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            format!(
                "the keeper of `{}` (process {}) ended, and its lab is ending with it",
                place.name, place.card.keeper
            )
        }
        io::ErrorKind::WouldBlock => format!("the keeper of `{}` does not answer", place.name),
        _ => format!("the keeper of `{}`: {error}", place.name),
    };
    Failure::new(exit::NOT_UP, text)
}

fn read<T: DeserializeOwned>(place: &Place, reader: &mut impl io::BufRead) -> Result<T, Failure> {
    let mut line = String::new();
    reader.read_line(&mut line).map_err(|error| silent(place, &error))?;
    if line.is_empty() {
        return Err(Failure::new(exit::NOT_UP, format!("the keeper of `{}` ended meanwhile", place.name)));
    }
    let answer: Answer<T> = serde_json::from_str(&line)
        .map_err(|error| Failure::new(exit::BUG, format!("the keeper of `{}` answered {line}: {error}", place.name)))?;
    answer.into_result()
}

/// Asks for one thing.
///
/// # Errors
/// What the keeper refuses; [`exit::NOT_UP`]: it does not answer.
pub fn ask<T: DeserializeOwned>(place: &Place, request: &Request) -> Result<T, Failure> {
    read(place, &mut BufReader::new(connect(place, request)?))
}

/// Asks for a way into a node's namespace.
///
/// # Errors
/// As [`ask`].
pub fn enter(place: &Place, node: &str) -> Result<Entry, Failure> {
    let stream = connect(place, &Request::Enter { node: node.to_owned() })?;
    let (words, entry) = scalebed_netns::receive(&stream).map_err(|error| silent(place, &error))?;
    let _yes: bool = read(place, &mut words.as_slice())?;
    entry.ok_or_else(|| Failure::new(exit::BUG, "the keeper sent no descriptors"))
}

/// Asks for events, and gives each line of them to `each` until there are no more.
///
/// # Errors
/// As [`ask`]; or `each` cannot take one.
pub fn events(place: &Place, follow: bool, mut each: impl FnMut(&str) -> io::Result<()>) -> Result<(), Failure> {
    let stream = connect(place, &Request::Events { follow })?;
    let mut reader = BufReader::new(stream);
    let _yes: bool = read(place, &mut reader)?;
    // Nothing may happen for hours.
    reader.get_ref().set_read_timeout(None).map_err(|error| silent(place, &error))?;
    for line in reader.lines() {
        let line = line.map_err(|error| silent(place, &error))?;
        // Whoever reads this program's output may have enough.
        if each(&line).is_err() {
            break;
        }
    }
    Ok(())
}
