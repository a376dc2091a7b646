//! The control socket: a Unix stream, 0600, JSON lines. `"status"`, `"drain"` and `{"configure":"..."}` are
//! requests, `"events"` subscribes.

use std::collections::VecDeque;
use std::fs::Permissions;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use scalebed_engine::{Command, EventLine, Instant, NodeEvent};
use serde::Deserialize;

/// Clients at once; a further one is turned away.
const CLIENTS: usize = 8;
/// Bytes that a client may let pile up, either way, before it is cut off.
const BACKLOG: usize = 1 << 20;
/// Requests of a client at once, before it is cut off: the engine answers each in full.
const REQUESTS: usize = 64;

/// A line that a client may say.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Request {
    Status,
    Drain,
    Configure(String),
    Events,
}

/// The socket and its clients.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    clients: Vec<Client>,
    /// Status requests that the engine has not answered: the client's number, by the request's.
    asked: VecDeque<(u64, u64)>,
    next: u64,
}

#[derive(Debug)]
struct Client {
    number: u64,
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    subscribed: bool,
    /// It says no more; it may still wait for an answer.
    ended: bool,
    gone: bool,
}

impl ControlSocket {
    /// Makes the socket, for its owner alone.
    ///
    /// # Errors
    /// The path is taken or cannot be written.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, clients: Vec::new(), asked: VecDeque::new(), next: 1 })
    }

    /// Descriptors to wait for.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.listener.as_fd()).chain(self.clients.iter().map(|client| client.stream.as_fd()))
    }

    /// Has [`Self::serve`] something to do? `ready` tells of a place in [`Self::fds`].
    pub fn is_served_by(&self, ready: impl Fn(usize) -> bool) -> bool {
        // A client that ended is let go at the next turn, one that reads slowly gets more.
        let open = |client: &Client| client.ended || !client.output.is_empty();
        (0..=self.clients.len()).any(ready) || self.clients.iter().any(open)
    }

    /// Accepts, reads, and gives the commands that came.
    pub fn serve(&mut self) -> Vec<Command> {
        // Who ended was answered after the last call: engines answer at once.
        self.clients.retain(|client| !client.ended);
        while let Ok((stream, _)) = self.listener.accept() {
            if self.clients.len() < CLIENTS && stream.set_nonblocking(true).is_ok() {
                self.next += 1;
                self.clients.push(Client {
                    number: self.next,
                    stream,
                    input: Vec::new(),
                    output: Vec::new(),
                    subscribed: false,
                    ended: false,
                    gone: false,
                });
            }
        }
        let mut commands = Vec::new();
        for client in &mut self.clients {
            client.read();
            client.gone |= client.input.iter().filter(|&&byte| byte == b'\n').count() > REQUESTS;
            while !client.gone
                && let Some(end) = client.input.iter().position(|&byte| byte == b'\n')
            {
                let line: Vec<u8> = client.input.drain(..=end).collect();
                match serde_json::from_slice(&line) {
                    Ok(Request::Status) => {
                        self.next += 1;
                        self.asked.push_back((self.next, client.number));
                        commands.push(Command::Status { id: self.next });
                    }
                    Ok(Request::Drain) => commands.push(Command::Drain),
                    Ok(Request::Configure(json)) => commands.push(Command::Configure(json)),
                    Ok(Request::Events) => client.subscribed = true,
                    Err(error) => {
                        let text =
                            format!("{{\"error\":\"not a request: {}\"}}\n", error.to_string().replace('"', "'"));
                        client.output.extend_from_slice(text.as_bytes());
                    }
                }
            }
            client.write();
        }
        self.clients.retain(|client| !client.gone);
        commands
    }

    /// Tells an event to those who subscribed, and a status to the one who asked.
    ///
    /// # Errors
    /// Serialisation fails (a bug).
    pub fn tell(&mut self, at: Instant, event: &NodeEvent) -> io::Result<()> {
        let asker = match event {
            NodeEvent::Status(status) => {
                let place = self.asked.iter().position(|(id, _)| *id == status.id);
                place.and_then(|place| self.asked.remove(place)).map(|(_, client)| client)
            }
            _ => None,
        };
        if asker.is_none() && self.clients.iter().all(|client| !client.subscribed) {
            return Ok(());
        }
        let line = EventLine::event(at, event).to_bytes()?;
        for client in &mut self.clients {
            if client.subscribed || asker == Some(client.number) {
                client.output.extend_from_slice(&line);
                client.write();
            }
        }
        self.clients.retain(|client| !client.gone);
        Ok(())
    }
}

impl Client {
    fn read(&mut self) {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    self.ended = true;
                    return;
                }
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => self.gone = true,
            }
            self.gone |= self.input.len() > BACKLOG;
            if self.gone {
                return;
            }
        }
    }

    fn write(&mut self) {
        while !self.output.is_empty() && !self.gone {
            match self.stream.write(&self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.gone = true,
            }
        }
        self.gone |= self.output.len() > BACKLOG;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::Shutdown;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixStream;

    use scalebed_engine::{Command, Instant, NodeEvent, Status};

    use super::{CLIENTS, ControlSocket, REQUESTS};

    #[test]
    fn who_says_no_more_is_still_answered_and_then_let_go() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let path = place.path().join("control.sock");
        let mut socket = ControlSocket::bind(&path).expect("a socket");
        let mut client = UnixStream::connect(&path).expect("connected");
        client.write_all(b"\"status\"\n").expect("written");
        client.shutdown(Shutdown::Write).expect("half closed");
        let commands = socket.serve();
        let [Command::Status { id }] = commands.as_slice() else { panic!("{commands:?}") };
        let status = Status { id: *id, ..Status::default() };
        socket.tell(Instant(5), &NodeEvent::Status(Box::new(status))).expect("told");
        assert_eq!(socket.serve(), []);
        assert_eq!(socket.clients.len(), 0);
        let mut text = String::new();
        client.read_to_string(&mut text).expect("an answer, then the end");
        assert_eq!(text.lines().count(), 1, "{text}");
    }

    #[test]
    fn who_floods_is_cut_off_and_a_ninth_client_turned_away() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let path = place.path().join("control.sock");
        let mut socket = ControlSocket::bind(&path).expect("a socket");
        let mut clients: Vec<UnixStream> =
            (0..=CLIENTS).map(|_| UnixStream::connect(&path).expect("connected")).collect();
        clients[0].write_all("\"status\"\n".repeat(REQUESTS + 1).as_bytes()).expect("written");
        assert_eq!(socket.serve(), []);
        assert_eq!(socket.clients.len(), CLIENTS - 1);
        assert_eq!(clients[CLIENTS].read(&mut [0]).expect("the end"), 0);
    }

    #[test]
    fn who_asks_is_answered_and_the_socket_is_private() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let path = place.path().join("control.sock");
        let mut socket = ControlSocket::bind(&path).expect("a socket");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut client = UnixStream::connect(&path).expect("connected");
        let mut other = UnixStream::connect(&path).expect("connected");
        client.write_all(b"\"status\"\n").expect("written");
        other.write_all(b"nonsense\n").expect("written");
        let commands = socket.serve();
        let [Command::Status { id }] = commands.as_slice() else { panic!("{commands:?}") };
        let status = Status { id: *id, node: "me".to_owned(), ..Status::default() };
        socket.tell(Instant(5), &NodeEvent::Status(Box::new(status))).expect("told");
        let mut line = String::new();
        BufReader::new(client).read_line(&mut line).expect("an answer");
        assert!(line.contains("\"node\":\"me\""), "{line}");
        let mut line = String::new();
        BufReader::new(other).read_line(&mut line).expect("an answer");
        assert!(line.contains("not a request"), "{line}");
    }
}
