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

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    use super::{Ready, wait};
    use crate::clock::monotonic;

    #[test]
    fn the_place_that_is_ready_is_told() {
        let (idle, _other) = UnixDatagram::pair().expect("sockets");
        let (busy, sender) = UnixDatagram::pair().expect("sockets");
        sender.send(b"x").expect("sent");
        let ready = wait(&[idle.as_fd(), busy.as_fd()], None).expect("a wait");
        assert_eq!((ready.is(0), ready.is(1), ready.is(2), ready.any()), (false, true, false, true));
    }

    #[test]
    fn a_wait_for_nothing_ends_after_its_time_and_not_before() {
        const TIME: Duration = Duration::from_micros(1500);
        let (idle, _other) = UnixDatagram::pair().expect("sockets");
        let before = monotonic();
        assert_eq!(wait(&[idle.as_fd()], Some(TIME)).expect("a wait"), Ready(vec![false]));
        assert!(monotonic().since(before) >= TIME);
    }
}
