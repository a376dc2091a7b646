//! System calls that neither std nor nix wraps. All `unsafe` of the harness is here; each function is safe to call.

mod init;
mod ring;
mod spawn;

use std::io;
use std::mem;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use nix::sys::signal::Signal;

pub use init::start_init;
pub use ring::{Geometry, Ring};
pub use spawn::{Start, spawn};

/// linux/ethtool.h: ETHTOOL_SRXCSUM, ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO.
const OFFLOADS: [(u32, &str); 5] =
    [(0x15, "receive checksum"), (0x17, "transmit checksum"), (0x1f, "TSO"), (0x24, "GSO"), (0x2c, "GRO")];

/// A descriptor of a process by its pid (pidfd_open(2)). The caller makes sure that the pid is not reused meanwhile:
/// it is a child that has not been waited for.
pub fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: plain integers in; the kernel returns a new descriptor (with FD_CLOEXEC) or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(checked(fd)?).map_err(io::Error::other)?;
    // SAFETY: the kernel just made this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to exactly that process (pidfd_send_signal(2)); ESRCH once it was waited for.
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    let no_info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a live descriptor, a signal number, a null siginfo, no flags: all that the call takes.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal as i32, no_info, 0) };
    checked(result).map(drop)
}

/// SCHED_FIFO at `priority` (1..=99) for the calling thread; processes that it starts inherit it.
pub fn take_fifo(priority: i32) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the struct outlives the call; pid 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    checked(result.into()).map(drop)
}

/// Marks every descriptor from `first` on close-on-exec, in the calling thread's table. What others opened without
/// the flag must not reach the lab's processes.
pub fn close_rest_on_exec(first: u32) -> io::Result<()> {
    // SAFETY: the call only sets flags of descriptors; none is closed.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    checked(result).map(drop)
}

/// Checksum offload, TSO, GSO and GRO of an interface off (SIOCETHTOOL). `socket` is any socket of its namespace.
/// The error names the offload.
pub fn offloads_off(socket: BorrowedFd<'_>, interface: &str) -> io::Result<()> {
    /// struct ethtool_value of linux/ethtool.h.
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    for (command, name) in OFFLOADS {
        let mut value = Value { command, data: 0 };
        // SAFETY: ifreq is plain old data, for which all zeroes is a value.
        let mut request: libc::ifreq = unsafe { mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(interface.bytes()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        // SAFETY: the kernel reads the name and reads or writes `value`, and both outlive the call.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
        checked(result.into()).map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
    }
    Ok(())
}

fn checked(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
