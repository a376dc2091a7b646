//! Scratch threads. A namespace is a property of a thread: whoever enters one does so on a thread that ends there, so
//! that no other code ever runs in the wrong place.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use crate::Error;

/// Runs `work` on a thread of its own and returns its value.
pub fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("scratch".to_owned())
            .spawn_scoped(scope, work)
            .map_err(Error::io("start of a scratch thread"))?;
        thread.join().map_err(|_| Error::Panicked { what: "a scratch thread" })
    })
}

/// Runs `work` in a net namespace.
pub fn in_namespace<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    on_thread(|| {
        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(Error::nix("enter a net namespace"))?;
        Ok(work())
    })?
}

/// A new net namespace that only its descriptor keeps alive, after `prepare` ran in it.
pub fn new_namespace<T: Send>(prepare: impl FnOnce() -> Result<T, Error> + Send) -> Result<(OwnedFd, T), Error> {
    on_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(Error::nix("create a net namespace"))?;
        let file = std::fs::File::open("/proc/thread-self/ns/net").map_err(Error::io("open a net namespace"))?;
        Ok((file.into(), prepare()?))
    })?
}
