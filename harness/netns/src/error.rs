//! What can go wrong.

use std::io;
use std::time::Duration;

/// A kernel effect that did not happen, or something that stayed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lab's init could not be started. The first error of a machine that does not permit namespaces.
    #[error("lab init: {step}: {source}")]
    Init {
        /// What it was doing.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, on what.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A netlink request was refused.
    #[error("{what}: {source}")]
    Netlink {
        /// What was tried, on what.
        what: String,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
    /// The sandbox has been torn down.
    #[error("the sandbox is torn down")]
    TornDown,
    /// An identifier of another sandbox, or of one that is torn down.
    #[error("no such namespace")]
    UnknownNamespace,
    /// No cable of the sandbox ends there under that name.
    #[error("{namespace} has no interface {interface}")]
    UnknownInterface {
        /// Name of the namespace.
        namespace: String,
        /// Interface asked for.
        interface: String,
    },
    /// The kernel takes interface names of 1 to 15 bytes (IFNAMSIZ is 16 with the terminator).
    #[error("interface name {interface:?} of {namespace} has {length} bytes, 1 to 15 are possible")]
    InterfaceName {
        /// Name of the namespace.
        namespace: String,
        /// The name.
        interface: String,
        /// Its length.
        length: usize,
    },
    /// A route whose destination and next hop are of two families.
    #[error("{what}: two families")]
    Families {
        /// The route.
        what: String,
    },
    /// The netlink answer lacks something that the kernel always sends.
    #[error("{what}: the kernel's answer lacks it")]
    Incomplete {
        /// What.
        what: String,
    },
    /// A process was asked for something after its end.
    #[error("process {pid} is dead")]
    Dead {
        /// Its pid in the harness's pid namespace.
        pid: u32,
    },
    /// Something did not end in time.
    #[error("{what} lives on after {after:?}")]
    Alive {
        /// What.
        what: String,
        /// How long was waited.
        after: Duration,
    },
    /// Something still refers to the lab after teardown.
    #[error("left behind: {0}")]
    Left(String),
    /// A thread of ours panicked.
    #[error("{what} panicked")]
    Panicked {
        /// Which.
        what: &'static str,
    },
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }

    /// As [`Self::io`], for errors of the nix crate.
    pub(crate) fn nix(what: impl Into<String>) -> impl FnOnce(nix::Error) -> Self {
        let what = what.into();
        |errno| Self::Io { what, source: errno.into() }
    }

    pub(crate) fn netlink(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        let what = what.into();
        |source| Self::Netlink { what, source }
    }
}
