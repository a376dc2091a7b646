//! Waiting for descriptors, to the nanosecond.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

/// Which of the descriptors are ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready(Vec<bool>);

impl Ready {
    /// Is the descriptor at this place of the list ready (or broken)?
    #[must_use]
    pub fn is(&self, place: usize) -> bool {
        self.0.get(place).copied().unwrap_or(false)
    }

    /// Is any?
    #[must_use]
    pub fn any(&self) -> bool {
        self.0.contains(&true)
    }
}

/// Waits until a descriptor can be read, or for `timeout` (`None`: as long as it takes). A signal ends the wait with
/// nothing ready.
///
/// # Errors
/// The kernel refuses the list.
pub fn wait(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Ready> {
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    match ppoll(&mut polled, timeout.map(TimeSpec::from), None) {
        Ok(_) => Ok(Ready(polled.iter().map(|fd| fd.any().unwrap_or(false)).collect())),
        Err(nix::Error::EINTR) => Ok(Ready(vec![false; fds.len()])),
        Err(error) => Err(error.into()),
    }
}
