//! Processes of a lab: children of the harness that live in the lab's pid and mount namespaces and in one net namespace.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::iter;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use crate::sandbox::{NsId, Sandbox, readable};
use crate::{Error, scratch, sys};

/// What to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSpec {
    /// The program: a path, or a name that PATH knows.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables beside those of the harness.
    pub env: Vec<(String, String)>,
    /// Its standard output is appended here.
    pub stdout: PathBuf,
    /// Its standard error is appended here.
    pub stderr: PathBuf,
    /// SCHED_FIFO at this priority (1..=99) where it is permitted.
    pub fifo_priority: Option<i32>,
}

/// A process of a lab. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    realtime: bool,
    tracked: Arc<Mutex<Tracked>>,
}

/// What teardown needs of a process: somebody must wait for it.
#[derive(Debug)]
struct Tracked {
    pidfd: OwnedFd,
    /// How it ended, once that was asked.
    status: Option<ExitStatus>,
}

impl Tracked {
    /// Takes its status if it is dead.
    fn reap(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
            self.status = match waitid(Id::PIDFd(self.pidfd.as_fd()), flags)? {
                // As wait(2) packs them: the code in the second byte, a signal in the first, 128 for a core dump.
                WaitStatus::Exited(_, code) => Some(ExitStatus::from_raw(code << 8)),
                WaitStatus::Signaled(_, signal, core) => {
                    Some(ExitStatus::from_raw(signal as i32 | i32::from(core) << 7))
                }
                _ => None,
            };
        }
        Ok(self.status)
    }
}

/// A specification in the kernel's words.
struct Command {
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Command {
    fn of(spec: &ProcessSpec) -> Result<Self, Error> {
        let c_string = |text: OsString| {
            CString::new(text.into_vec()).map_err(|error| Error::io(spec.program.display().to_string())(error.into()))
        };
        let program = if spec.program.components().count() > 1 {
            std::path::absolute(&spec.program).map_err(Error::io("working directory"))?
        } else {
            spec.program.clone()
        };
        let program = program.into_os_string();
        let arguments = iter::once(program.clone()).chain(spec.args.iter().map(OsString::from));
        let mut environment: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        environment.extend(spec.env.iter().map(|(key, value)| (key.into(), value.into())));
        let pairs = environment.into_iter().map(|(mut pair, value)| {
            pair.push("=");
            pair.push(value);
            pair
        });
        Ok(Self {
            arguments: arguments.map(c_string).collect::<Result<_, _>>()?,
            environment: pairs.map(c_string).collect::<Result<_, _>>()?,
            program: c_string(program)?,
        })
    }
}

/// The processes that a sandbox started.
#[derive(Debug, Default)]
pub(crate) struct Children(Vec<Weak<Mutex<Tracked>>>);

impl Children {
    /// Waits for those that are dead.
    pub(crate) fn reap(&mut self) {
        self.0.retain(|child| child.upgrade().is_some_and(|child| matches!(lock(&child).reap(), Ok(None))));
    }
}

impl Sandbox {
    /// Starts a process in a namespace of the lab. It is in a process group of its own (Ctrl-C is for the harness) and
    /// has no descriptors but its three streams.
    ///
    /// # Errors
    /// The log files cannot be opened, the namespaces not be entered, or the program not be started.
    pub fn spawn(&self, ns: NsId, spec: &ProcessSpec) -> Result<Process, Error> {
        let command = Command::of(spec)?;
        let here = std::env::current_dir().map_err(Error::io("working directory"))?;
        let null = File::open("/dev/null").map_err(Error::io("/dev/null"))?;
        let (stdout, stderr) = (append(&spec.stdout)?, append(&spec.stderr)?);
        let start = sys::Start {
            program: &command.program,
            arguments: &command.arguments,
            environment: &command.environment,
            streams: [null.as_fd(), stdout.as_fd(), stderr.as_fd()],
        };
        let (init, net) = (self.init.as_fd(), self.get(ns)?.fd.as_fd());
        let fifo = spec.fifo_priority;
        let (pid, realtime) = scratch::on_thread(move || {
            // What a mount namespace, a directory and the descriptors' flags need: this thread alone is concerned.
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_FILES).map_err(Error::nix("launcher"))?;
            sys::close_rest_on_exec(3).map_err(Error::io("launcher's descriptors"))?;
            setns(init, CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)
                .map_err(Error::nix("enter the lab's pid and mount namespaces"))?;
            setns(net, CloneFlags::CLONE_NEWNET).map_err(Error::nix("enter the net namespace"))?;
            // Entering a mount namespace puts a thread into its root directory.
            std::env::set_current_dir(here).map_err(Error::io("working directory"))?;
            // Children inherit a thread's scheduling: taken here, the process has it from its first instruction.
            let realtime = fifo.is_some_and(|priority| sys::take_fifo(priority).is_ok());
            let pid = sys::spawn(start).map_err(Error::io(format!("start of {}", spec.program.display())))?;
            Ok::<_, Error>((pid, realtime))
        })??;
        let pidfd = sys::pidfd_open(pid).map_err(Error::io("descriptor of a process"))?;
        let tracked = Arc::new(Mutex::new(Tracked { pidfd, status: None }));
        let mut children = lock(&self.children);
        children.reap();
        children.0.push(Arc::downgrade(&tracked));
        Ok(Process { pid, realtime, tracked })
    }
}

impl Process {
    /// Its pid in the harness's pid namespace.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it got the SCHED_FIFO that was asked for.
    #[must_use]
    pub fn realtime(&self) -> bool {
        self.realtime
    }

    /// SIGKILL. It is dead when [`Self::wait`] returns.
    ///
    /// # Errors
    /// [`Error::Dead`] once it was seen dead.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.signal(Signal::SIGKILL)
    }

    /// SIGTERM.
    ///
    /// # Errors
    /// As [`Self::kill`].
    pub fn terminate(&mut self) -> Result<(), Error> {
        self.signal(Signal::SIGTERM)
    }

    /// SIGSTOP: it hangs until [`Self::cont`]. [`Self::stopped`] proves it.
    ///
    /// # Errors
    /// As [`Self::kill`].
    pub fn stop(&mut self) -> Result<(), Error> {
        self.signal(Signal::SIGSTOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// As [`Self::kill`].
    pub fn cont(&mut self) -> Result<(), Error> {
        self.signal(Signal::SIGCONT)
    }

    /// Whether all its threads stand still by a signal now.
    #[must_use]
    pub fn stopped(&self) -> bool {
        let tracked = lock(&self.tracked);
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        matches!(waitid(Id::PIDFd(tracked.pidfd.as_fd()), flags), Ok(WaitStatus::Stopped(..)))
    }

    /// How it ended, if it did.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        lock(&self.tracked).reap().ok().flatten()
    }

    /// Waits for its end; what returns is the proof that it is dead.
    ///
    /// # Errors
    /// [`Error::Alive`]: it did not end in time.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus, Error> {
        let began = Instant::now();
        loop {
            let left = timeout.saturating_sub(began.elapsed());
            // Rounded up: poll counts milliseconds, and 0 would spin.
            let milliseconds = PollTimeout::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX);
            let mut tracked = lock(&self.tracked);
            let dead = readable(tracked.pidfd.as_fd(), milliseconds).map_err(Error::io("wait for a process"))?;
            let status = if dead { tracked.reap().map_err(Error::io("wait for a process"))? } else { None };
            if let Some(status) = status {
                return Ok(status);
            }
            if left.is_zero() {
                return Err(Error::Alive { what: format!("process {}", self.pid), after: timeout });
            }
        }
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        match sys::pidfd_signal(lock(&self.tracked).pidfd.as_fd(), signal) {
            Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => Err(Error::Dead { pid: self.pid }),
            outcome => outcome.map_err(Error::io(format!("{signal} to process {}", self.pid))),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILLed, so that the wait ends; a dead one has given its status already.
        if self.kill().is_ok() {
            let tracked = lock(&self.tracked);
            while waitid(Id::PIDFd(tracked.pidfd.as_fd()), WaitPidFlag::WEXITED) == Err(Errno::EINTR) {}
        }
    }
}

fn append(path: &Path) -> Result<File, Error> {
    OpenOptions::new().create(true).append(true).open(path).map_err(Error::io(path.display().to_string()))
}

/// A poisoned lock guards nothing here that a panic could have left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
