//! Real kernel TCP through the cluster: a host asks another for bytes and must get exactly those.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use scalebed_netns::Sandbox;
use scalebed_record::Fact;
use scalebed_topologies::Lab;
use scalebed_topologies::lab::{Host, NetworkRole, NodeKind};

use super::apply::Namespaces;
use crate::exit::{self, Failure};

/// Bytes of a transfer.
const BYTES: usize = 1 << 20;
/// A transfer that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(10);
/// The server's port.
const PORT: u16 = 5001;

/// One transfer in each direction of opening that the policy allows: inside host to outside host.
///
/// # Errors
/// A host's namespace could not be entered.
pub fn run(lab: &Lab, sandbox: &Sandbox, namespaces: &Namespaces) -> Result<Vec<Fact>, Failure> {
    let host = |role: NetworkRole| -> Option<(usize, &str, Host)> {
        let network = lab.role(role)?.id;
        lab.nodes.iter().enumerate().find_map(|(index, node)| match &node.kind {
            NodeKind::Host(host) if host.network == network => Some((index, node.name.as_str(), *host)),
            _ => None,
        })
    };
    let (Some(client), Some(server)) = (host(NetworkRole::Inside), host(NetworkRole::Outside)) else {
        return Ok(vec![Fact::Note("kernel transfers were not run: the lab has no host on a side".to_owned())]);
    };
    let listener = sandbox
        .run_in(namespaces[&server.0], move || TcpListener::bind((server.2.address, PORT)))
        .map_err(|error| Failure::new(exit::BUG, format!("{}: {error}", server.1)))?
        .map_err(|error| Failure::new(exit::BUG, format!("{}: cannot listen: {error}", server.1)))?;
    // A socket belongs to the namespace it was made in: this thread needs to enter none.
    let (stop, stopped) = mpsc::channel();
    let serving = std::thread::spawn(move || {
        let outcome = serve(&listener);
        let _gone = stop.send(());
        outcome
    });
    let began = Instant::now();
    let to = SocketAddr::new(IpAddr::V4(server.2.address), PORT);
    let got = sandbox
        .run_in(namespaces[&client.0], move || fetch(to))
        .map_err(|error| Failure::new(exit::BUG, format!("{}: {error}", client.1)))?;
    let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let served = match stopped.recv_timeout(LIMIT) {
        Ok(()) => serving.join().unwrap_or_else(|_| Err(std::io::Error::other("the server panicked"))),
        Err(_) => Err(std::io::Error::other("nobody came")),
    };
    let error = got.as_ref().err().map(ToString::to_string).or(served.err().map(|error| format!("server: {error}")));
    Ok(vec![Fact::Transfer {
        from: server.1.to_owned(),
        to: client.1.to_owned(),
        bytes: BYTES as u64,
        intact: got.is_ok_and(|bytes| bytes == content()),
        took,
        error,
    }])
}

fn content() -> Vec<u8> {
    // A pattern whose period (251) divides no segment size, so that a piece out of place shows.
    (0..BYTES).map(|index| u8::try_from(index % 251).unwrap_or(0)).collect()
}

fn serve(listener: &TcpListener) -> std::io::Result<()> {
    listener.set_nonblocking(false)?;
    let (mut stream, _) = listener.accept()?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(&content())
}

fn fetch(to: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&to, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut bytes = Vec::with_capacity(BYTES);
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}
