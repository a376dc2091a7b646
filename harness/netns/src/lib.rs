//! The kernel side of a lab: namespaces, veth pairs, the lifeline, processes, taps.
//!
//! **The kernel is the teardown.** [`Sandbox::create`] starts the lab's init, pid 1 of new pid, mount, net, ipc and uts
//! namespaces. It holds the reading end of the *lifeline*, a pipe whose only writing end is in this process. However this
//! process ends, SIGKILL included, the init reads end of file and exits; then the kernel kills every process of the lab
//! and drops its namespaces. Member namespaces are anonymous: descriptors of this process, nothing under /run/netns.
//!
//! The init is a `clone3` of the calling process that never executes anything. So a sandbox works in any program, test
//! binaries too, with no hidden entry in `main`; and no instant exists at which a lab lives without its lifeline.
//!
//! All calls block. They must not be made on a tokio worker thread: netlink runs on a small runtime inside.
//! All `unsafe` is in the module `sys`.

mod awake;
mod clock;
mod enter;
mod error;
mod host;
mod links;
mod process;
mod record;
mod sandbox;
mod scratch;
#[expect(unsafe_code, reason = "clone3, ioctl, packet rings: system calls that nix does not wrap")]
mod sys;
mod taps;

pub use awake::Awake;
pub use clock::monotonic;
pub use enter::{Entry, receive};
pub use error::Error;
pub use host::HostState;
pub use links::{MLD_REPORTS, Stack, VethEnd};
pub use process::{Process, ProcessSpec};
pub use record::{Recorded, RecordedNamespace};
pub use sandbox::{NsId, Sandbox};
pub use taps::{TapSpec, TapStats, Taps};
