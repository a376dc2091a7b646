//! The sandbox: an init on a lifeline, and namespaces that live by descriptors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use rtnetlink::{Handle, LinkUnspec};
use tokio::runtime::Runtime;

use crate::process::Children;
use crate::record::{Recorded, RecordedNamespace};
use crate::{Error, scratch, sys};

/// A teardown that takes longer has failed. Measured worst: 0.7 s.
const TEARDOWN: Duration = Duration::from_secs(5);
/// How often a teardown looks again while the kernel works.
const AGAIN: u16 = 5;

/// Sysctls of every namespace. A new one inherits some of them from its creator (ip_forward = 1 was seen), so that
/// whatever matters is set. IPv6 is off, but for hosts that have addresses of it ([`Sandbox::ipv6`]): a port that nobody
/// addresses must stay silent.
const SYSCTLS: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
    // Routes are what the plan says: nobody is taught another way in the middle of a run.
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    // A host answers for its own port's addresses alone.
    ("ipv4/conf/all/arp_ignore", "1"),
    // Hosts ping without privilege.
    ("ipv4/ping_group_range", "0 2147483647"),
];

/// A namespace of a [`Sandbox`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NsId(usize);

/// A namespace as the harness holds it.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) name: String,
    pub(crate) fd: OwnedFd,
    /// A netlink socket stays in the namespace it was made in.
    pub(crate) netlink: Handle,
    /// Index by name, of the interfaces that this sandbox made.
    pub(crate) interfaces: BTreeMap<String, u32>,
}

/// A lab's share of the kernel. Ends with [`Self::teardown`], with its value, or with this process, however that ends.
#[derive(Debug)]
pub struct Sandbox {
    run_dir: PathBuf,
    pub(crate) init: OwnedFd,
    /// The only writing end; none once torn down.
    lifeline: Option<OwnedFd>,
    /// The init's namespaces: their inode numbers stay ours until teardown has looked for them.
    held: Vec<OwnedFd>,
    pub(crate) namespaces: Vec<Namespace>,
    runtime: Option<Runtime>,
    recorded: Recorded,
    pub(crate) children: Mutex<Children>,
    /// Cables made so far: the two ends of each get indexes that no other end has.
    pub(crate) cables: u32,
}

impl Sandbox {
    /// Starts the lab's init and writes `run_dir/namespaces.json`.
    ///
    /// # Errors
    /// [`Error::Init`]: namespaces are not permitted here (root is needed). [`Error::Io`]: the run directory.
    pub fn create(run_dir: &Path) -> Result<Self, Error> {
        let init = sys::start_init().map_err(|(step, source)| Error::Init { step, source })?;
        // From here on an error drops the sandbox, which ends the init.
        let mut sandbox = Self {
            run_dir: run_dir.to_path_buf(),
            init: init.pidfd,
            lifeline: Some(init.lifeline),
            held: Vec::new(),
            namespaces: Vec::new(),
            runtime: None,
            recorded: Recorded::default(),
            children: Mutex::default(),
            cables: 0,
        };
        let (recorded, held) = Recorded::of_init(init.pid).map_err(Error::io("namespaces of the lab init"))?;
        (sandbox.recorded, sandbox.held) = (recorded, held);
        sandbox.recorded.save(run_dir).map_err(Error::io("namespaces.json"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        sandbox.runtime = Some(runtime.map_err(Error::io("netlink runtime"))?);
        Ok(sandbox)
    }

    /// A new net namespace: loopback up, no forwarding, no IPv6, nothing else in it. `name` is for people and records.
    ///
    /// # Errors
    /// The kernel refuses, or the run directory cannot be written.
    pub fn namespace(&mut self, name: &str) -> Result<NsId, Error> {
        let runtime = self.runtime.as_ref().ok_or(Error::TornDown)?;
        let (fd, (connection, netlink)) = scratch::new_namespace(|| {
            for (key, value) in SYSCTLS {
                write_sysctl(key, value)?;
            }
            // Registers the socket with the runtime; it is driven whenever a request waits for its answer.
            let _entered = runtime.enter();
            let (connection, netlink, _) = rtnetlink::new_connection().map_err(Error::io("netlink socket"))?;
            Ok((connection, netlink))
        })?;
        runtime.spawn(connection);
        let loopback = netlink.link().set(LinkUnspec::new_with_name("lo").up().build());
        runtime.block_on(loopback.execute()).map_err(Error::netlink(format!("{name}: loopback up")))?;
        let file = fs::File::from(fd);
        let inode = file.metadata().map_err(Error::io(format!("{name}: namespace")))?.ino();
        let id = NsId(self.namespaces.len());
        self.namespaces.push(Namespace {
            name: name.to_owned(),
            fd: file.into(),
            netlink,
            interfaces: BTreeMap::new(),
        });
        let entry = RecordedNamespace { name: name.to_owned(), kind: "net".to_owned(), inode };
        self.recorded.namespaces.push(entry);
        self.recorded.save(&self.run_dir).map_err(Error::io("namespaces.json"))?;
        Ok(id)
    }

    /// Inode numbers of every namespace of the lab, the init's own included.
    #[must_use]
    pub fn inodes(&self) -> BTreeSet<u64> {
        self.recorded.namespaces.iter().map(|namespace| namespace.inode).collect()
    }

    /// What was recorded so far.
    #[must_use]
    pub fn recorded(&self) -> &Recorded {
        &self.recorded
    }

    /// Runs `work` on a thread of its own in a namespace and returns its value. Sockets made there stay there.
    ///
    /// # Errors
    /// The namespace cannot be entered, or `work` panicked.
    pub fn run_in<T: Send>(&self, ns: NsId, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        scratch::in_namespace(self.get(ns)?.fd.as_fd(), work)
    }

    /// Writes a sysctl below `net/` of a namespace, such as `ipv4/ip_forward`.
    ///
    /// # Errors
    /// No such sysctl, or a value that it does not take.
    pub fn sysctl(&self, ns: NsId, key: &str, value: &str) -> Result<(), Error> {
        self.run_in(ns, || write_sysctl(key, value))?
    }

    /// Whether the kernel routes between the ports of a namespace; off in a new one.
    ///
    /// # Errors
    /// As [`Self::sysctl`].
    pub fn forwarding(&self, ns: NsId, on: bool) -> Result<(), Error> {
        self.sysctl(ns, "ipv4/ip_forward", if on { "1" } else { "0" })
    }

    /// Ends the lab: closes the lifeline, waits until the kernel has killed everything, and looks for what stayed.
    /// Further calls do nothing.
    ///
    /// Everything of the harness that uses the lab's namespaces ([`crate::Taps`], sockets) should be dropped before:
    /// a socket keeps its namespace.
    ///
    /// # Errors
    /// Everything that did not end in 5 s, or still refers to the lab.
    pub fn teardown(&mut self) -> Result<(), Vec<Error>> {
        let Some(lifeline) = self.lifeline.take() else { return Ok(()) };
        let began = Instant::now();
        drop(lifeline);
        let mut errors = Vec::new();
        errors.extend(self.await_init(began).err());
        loop {
            match self.recorded.leftovers_beside_held() {
                Ok(left) if left.is_empty() => break,
                Ok(left) if began.elapsed() >= TEARDOWN => {
                    errors.extend(left.into_iter().map(Error::Left));
                    break;
                }
                // A scratch thread or a killed process may be on its way out.
                Ok(_) => std::thread::sleep(Duration::from_millis(AGAIN.into())),
                Err(error) => {
                    errors.push(Error::io("list of processes")(error));
                    break;
                }
            }
        }
        // Only now: the numbers that were looked for must be nobody else's meanwhile. The kernel drops the namespaces
        // after this call; nothing is left that could keep them.
        self.held.clear();
        self.namespaces.clear();
        // Netlink sockets hold their namespaces too: tasks of the runtime, gone with it.
        self.runtime = None;
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Waits until the init is dead. Processes of the lab are children of the harness, and the kernel lets a pid
    /// namespace's init end only when all of them have been waited for.
    fn await_init(&self, began: Instant) -> Result<(), Error> {
        loop {
            self.children.lock().unwrap_or_else(std::sync::PoisonError::into_inner).reap();
            if readable(self.init.as_fd(), AGAIN.into()).map_err(Error::io("lab init"))? {
                let id = Id::PIDFd(self.init.as_fd());
                return waitid(id, WaitPidFlag::WEXITED).map(drop).map_err(Error::nix("lab init"));
            }
            if began.elapsed() >= TEARDOWN {
                return Err(Error::Alive { what: "the lab init".to_owned(), after: began.elapsed() });
            }
        }
    }

    pub(crate) fn get(&self, ns: NsId) -> Result<&Namespace, Error> {
        self.namespaces.get(ns.0).ok_or(Error::UnknownNamespace)
    }

    pub(crate) fn get_mut(&mut self, ns: NsId) -> Result<&mut Namespace, Error> {
        self.namespaces.get_mut(ns.0).ok_or(Error::UnknownNamespace)
    }

    pub(crate) fn runtime(&self) -> Result<&Runtime, Error> {
        self.runtime.as_ref().ok_or(Error::TornDown)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _nobody_to_tell = self.teardown();
    }
}

/// Whether a descriptor becomes readable within `timeout`.
pub(crate) fn readable(fd: BorrowedFd<'_>, timeout: PollTimeout) -> io::Result<bool> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    match poll(&mut fds, timeout) {
        Ok(count) => Ok(count > 0),
        Err(nix::Error::EINTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn write_sysctl(key: &str, value: &str) -> Result<(), Error> {
    fs::write(format!("/proc/sys/net/{key}"), value).map_err(Error::io(format!("sysctl {key} = {value}")))
}
