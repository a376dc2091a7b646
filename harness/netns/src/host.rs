//! The state of a net namespace that a run must leave as it found it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures_util::{StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::{Handle, IpVersion};

use crate::Error;

/// Where writable sysctls are.
const SYSCTLS: &str = "/proc/sys/net";

/// Links, addresses, routes, rules, nft tables and writable sysctls of the calling thread's net namespace: what
/// somebody set, without what the kernel counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostState {
    /// One line a thing, in words of netlink.
    things: BTreeSet<String>,
    /// Value by path below /proc/sys/net.
    sysctls: BTreeMap<PathBuf, String>,
}

impl HostState {
    /// Reads it all. Where there is no `nft` program its tables are not looked at.
    ///
    /// # Errors
    /// netlink or /proc/sys cannot be read.
    pub fn capture() -> Result<Self, Error> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(Error::io("netlink runtime"))?;
        let mut things = runtime.block_on(async {
            let (connection, netlink, _) = rtnetlink::new_connection().map_err(Error::io("netlink socket"))?;
            let driver = tokio::spawn(connection);
            let things = dump(&netlink).await.map_err(Error::netlink("state of the host"));
            driver.abort();
            things
        })?;
        things.extend(nft()?);
        let mut sysctls = BTreeMap::new();
        read_sysctls(Path::new(SYSCTLS), &mut sysctls).map_err(Error::io(SYSCTLS))?;
        Ok(Self { things, sysctls })
    }

    /// What is different in a later state, one line each. A sysctl that only the later one has is no difference: a
    /// module brought it, and nobody's setting changed.
    #[must_use]
    pub fn diff(&self, later: &Self) -> Vec<String> {
        let gone = self.things.difference(&later.things).map(|thing| format!("- {thing}"));
        let new = later.things.difference(&self.things).map(|thing| format!("+ {thing}"));
        let changed = self.sysctls.iter().filter_map(|(path, before)| {
            let after = later.sysctls.get(path).map_or("(gone)", String::as_str);
            (before != after).then(|| format!("sysctl {}: {before} -> {after}", path.display()))
        });
        gone.chain(new).chain(changed).collect()
    }
}

async fn dump(netlink: &Handle) -> Result<BTreeSet<String>, rtnetlink::Error> {
    let mut things = BTreeSet::new();
    let mut links = netlink.link().get().execute().boxed_local();
    while let Some(link) = links.try_next().await? {
        let set: Vec<_> = link.attributes.iter().filter(|attribute| is_set(attribute)).collect();
        things.insert(format!("link {} {:?} {set:?}", link.header.index, link.header.flags));
    }
    let mut addresses = netlink.address().get().execute().boxed_local();
    while let Some(address) = addresses.try_next().await? {
        let set = |attribute: &&AddressAttribute| !matches!(attribute, AddressAttribute::CacheInfo(_));
        let attributes: Vec<_> = address.attributes.iter().filter(set).collect();
        things.insert(format!("address {:?} {attributes:?}", address.header));
    }
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        let mut routes = netlink.route().get(request).execute().boxed_local();
        while let Some(route) = routes.try_next().await? {
            let set = |attribute: &&RouteAttribute| !matches!(attribute, RouteAttribute::CacheInfo(_));
            let attributes: Vec<_> = route.attributes.iter().filter(set).collect();
            things.insert(format!("route {:?} {attributes:?}", route.header));
        }
    }
    for version in [IpVersion::V4, IpVersion::V6] {
        let mut rules = netlink.rule().get(version).execute().boxed_local();
        while let Some(rule) = rules.try_next().await? {
            things.insert(format!("rule {:?} {:?}", rule.header, rule.attributes));
        }
    }
    Ok(things)
}

/// What somebody set on a link. The rest are counters and what follows from these.
fn is_set(attribute: &LinkAttribute) -> bool {
    matches!(
        attribute,
        LinkAttribute::IfName(_)
            | LinkAttribute::Mtu(_)
            | LinkAttribute::Address(_)
            | LinkAttribute::Link(_)
            | LinkAttribute::Controller(_)
            | LinkAttribute::LinkInfo(_)
            | LinkAttribute::TxQueueLen(_)
            | LinkAttribute::Promiscuity(_)
            | LinkAttribute::IfAlias(_)
    )
}

/// The rule set without counters, a line a thing. Lines are set into their order: the same line may stand in two chains.
fn nft() -> Result<Vec<String>, Error> {
    let output = match Command::new("nft").args(["--stateless", "list", "ruleset"]).output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("nft")(error)),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::io("nft list ruleset")(io::Error::other(said)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().enumerate().map(|(number, line)| format!("nft {number}: {line}")).collect())
}

/// Every sysctl below `folder` that has a writer and can be read. Some are write-only (`route/flush`).
fn read_sysctls(folder: &Path, into: &mut BTreeMap<PathBuf, String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            read_sysctls(&path, into)?;
        } else if entry.metadata()?.permissions().mode() & 0o200 != 0
            && let Ok(value) = fs::read_to_string(&path)
        {
            into.insert(path, value.trim_end().to_owned());
        }
    }
    Ok(())
}
