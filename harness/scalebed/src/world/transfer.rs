//! TCP of hosts through the cluster: one asks another for bytes and must get exactly those. In namespaces it is the
//! kernel's TCP.

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
pub const BYTES: u64 = 1 << 20;
/// A transfer that takes longer has failed.
pub const LIMIT: Duration = Duration::from_secs(10);
/// The server's port.
pub const PORT: u16 = 5001;

/// A host that takes part.
pub struct End {
    /// Its place in the lab.
    pub node: usize,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub host: Host,
}

/// Server and client of the transfer: a host outside and one inside, as the policy lets connections be opened.
pub fn ends(lab: &Lab) -> Option<[End; 2]> {
    let end = |role: NetworkRole| -> Option<End> {
        let network = lab.role(role)?.id;
        lab.nodes.iter().enumerate().find_map(|(index, node)| match &node.kind {
            NodeKind::Host(host) if host.network == network => {
                Some(End { node: index, name: node.name.clone(), host: *host })
            }
            _ => None,
        })
    };
    Some([end(NetworkRole::Outside)?, end(NetworkRole::Inside)?])
}

/// What is noted where there is none.
pub fn no_hosts() -> Fact {
    Fact::Note("transfers between hosts were not run: the lab has no host on a side".to_owned())
}

/// The server's addresses of the families that both have, IPv4 first.
pub fn addresses([server, client]: &[End; 2]) -> Vec<IpAddr> {
    let both = |address: &IpAddr| client.host.addresses().any(|other| other.is_ipv4() == address.is_ipv4());
    server.host.addresses().filter(both).collect()
}

/// The transfers: one over each family.
///
/// # Errors
/// A host's namespace could not be entered.
pub fn run(lab: &Lab, sandbox: &Sandbox, namespaces: &Namespaces) -> Result<Vec<Fact>, Failure> {
    let Some(ends) = ends(lab) else { return Ok(vec![no_hosts()]) };
    addresses(&ends).into_iter().map(|address| over(address, &ends, sandbox, namespaces)).collect()
}

fn over(
    address: IpAddr,
    [server, client]: &[End; 2],
    sandbox: &Sandbox,
    namespaces: &Namespaces,
) -> Result<Fact, Failure> {
    let listener = sandbox
        .run_in(namespaces[&server.node], move || TcpListener::bind((address, PORT)))
        .map_err(|error| Failure::new(exit::BUG, format!("{}: {error}", server.name)))?
        .map_err(|error| Failure::new(exit::BUG, format!("{}: cannot listen: {error}", server.name)))?;
    // A socket belongs to the namespace it was made in: this thread needs to enter none.
    let (stop, stopped) = mpsc::channel();
    let serving = std::thread::spawn(move || {
        let outcome = serve(&listener);
        let _gone = stop.send(());
        outcome
    });
    let began = Instant::now();
    let to = SocketAddr::new(address, PORT);
    let got = sandbox
        .run_in(namespaces[&client.node], move || fetch(to))
        .map_err(|error| Failure::new(exit::BUG, format!("{}: {error}", client.name)))?;
    let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let served = match stopped.recv_timeout(LIMIT) {
        Ok(()) => serving.join().unwrap_or_else(|_| Err(std::io::Error::other("the server panicked"))),
        Err(_) => Err(std::io::Error::other("nobody came")),
    };
    let error = got.as_ref().err().map(ToString::to_string).or(served.err().map(|error| format!("server: {error}")));
    Ok(Fact::Transfer {
        from: server.name.clone(),
        to: client.name.clone(),
        ipv6: address.is_ipv6(),
        bytes: BYTES,
        intact: got.is_ok_and(|bytes| bytes == content()),
        took,
        error,
    })
}

fn content() -> Vec<u8> {
    (0..BYTES).map(scalebed_traffic::host::content).collect()
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
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}
