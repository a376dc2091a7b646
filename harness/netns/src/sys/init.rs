//! The lab's init: pid 1 of the lab's namespaces, made by clone3 of this process, bound to the lifeline.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{pipe2, read};

use super::checked;

/// The running init.
#[derive(Debug)]
pub struct Init {
    /// Its pid in this process's pid namespace.
    pub pid: u32,
    /// Readable when it is dead.
    pub pidfd: OwnedFd,
    /// The only writing end of the lifeline: closing it ends the lab.
    pub lifeline: OwnedFd,
}

/// What the init does before it says that it is ready; the index is what it reports on failure.
const STEPS: [&str; 4] = ["a session of its own", "descriptors", "private mounts", "its own /proc"];

/// Starts the init and waits until its namespaces are ready.
///
/// The new process is a copy of a possibly multi-threaded one: locks of other threads may be held in it for ever. So
/// between clone3 and its end it makes nothing but system calls: no allocation, no formatting, no panic.
pub fn start_init() -> Result<Init, (&'static str, io::Error)> {
    let failed = |step: &'static str| move |errno: nix::Error| (step, io::Error::from(errno));
    let (alive, lifeline) = pipe2(OFlag::O_CLOEXEC).map_err(failed("lifeline"))?;
    let (ready, say) = pipe2(OFlag::O_CLOEXEC).map_err(failed("lifeline"))?;
    // All signals stay blocked in the init: a handler of this program must not run in its copy.
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(failed("signal mask"))?;
    let cloned = clone_init(alive.as_raw_fd(), say.as_raw_fd());
    mask.thread_set_mask().map_err(failed("signal mask"))?;
    let (pid, pidfd) = cloned.map_err(|error| ("clone3 with new namespaces", error))?;
    drop(say);
    match await_ready(&ready) {
        Ok(()) => Ok(Init { pid, pidfd, lifeline }),
        Err(failed) => {
            // It is dead or dies now; nobody else would take its pid.
            drop(lifeline);
            let _only_tidiness = waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED);
            Err(failed)
        }
    }
}

/// What the init says of its start.
fn await_ready(ready: &OwnedFd) -> Result<(), (&'static str, io::Error)> {
    let mut answer = [0; 5];
    loop {
        return match read(ready, &mut answer) {
            Ok(5) if usize::from(answer[0]) == STEPS.len() => Ok(()),
            Ok(5) => {
                let [step, errno @ ..] = answer;
                let step = STEPS.get(usize::from(step)).copied().unwrap_or("unknown step");
                Err((step, io::Error::from_raw_os_error(i32::from_ne_bytes(errno))))
            }
            Ok(_) => Err(("start", io::Error::from(io::ErrorKind::UnexpectedEof))),
            Err(Errno::EINTR) => continue,
            Err(errno) => Err(("start", errno.into())),
        };
    }
}

fn clone_init(alive: RawFd, say: RawFd) -> io::Result<(u32, OwnedFd)> {
    let flags = libc::CLONE_NEWPID
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_PIDFD;
    let mut pidfd: RawFd = -1;
    let arguments = libc::clone_args {
        flags: u64::from(flags.cast_unsigned()),
        pidfd: (&raw mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    // SAFETY: without CLONE_VM and with no stack given this is fork(2): the child runs on a copy of this stack. The
    // argument block and `pidfd` outlive the call. The child only calls `init`, which never returns.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    if pid == 0 {
        init(alive, say);
    }
    let pid = u32::try_from(checked(pid)?).map_err(io::Error::other)?;
    // SAFETY: CLONE_PIDFD made this descriptor (close-on-exec) for us alone.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// The whole life of the init. System calls only; see [`start_init`].
fn init(alive: RawFd, say: RawFd) -> ! {
    let steps: [&dyn Fn() -> bool; 4] = [&own_session, &|| close_all_but(alive, say), &private_mounts, &own_proc];
    for (index, step) in (0u8..).zip(steps) {
        if !step() {
            report(say, index);
            exit(1);
        }
    }
    report(say, 4);
    // SAFETY: closes a descriptor that only this process knows under this number.
    unsafe { libc::close(say) };
    // Nobody ever writes: a read returns when the last writing end is gone.
    let mut byte = 0u8;
    loop {
        // SAFETY: reads at most one byte into a live variable.
        let got = unsafe { libc::read(alive, (&raw mut byte).cast(), 1) };
        // All signals are blocked, so an error is not EINTR: without a lifeline there is no lab.
        if got <= 0 {
            exit(0);
        }
    }
}

/// Not a child of the terminal's session: Ctrl-C is for the harness. And nothing to wait for: orphans of the lab are
/// reaped by the kernel (SIG_IGN for SIGCHLD, wait(2)).
fn own_session() -> bool {
    // SAFETY: each call takes plain integers or pointers to live or static data, and is async-signal-safe.
    unsafe {
        let mut ignore: libc::sigaction = std::mem::zeroed();
        ignore.sa_sigaction = libc::SIG_IGN;
        libc::setsid() != -1
            && libc::prctl(libc::PR_SET_NAME, c"scalebed-init".as_ptr()) == 0
            && libc::sigaction(libc::SIGCHLD, &raw const ignore, ptr::null_mut()) == 0
            && libc::chdir(c"/".as_ptr()) == 0
    }
}

/// The copy of the writing end above all: the init must not keep itself alive. Nor another lab, nor a pipe of whoever
/// reads this program's output.
fn close_all_but(one: RawFd, other: RawFd) -> bool {
    let (low, high) = (one.min(other).cast_unsigned(), one.max(other).cast_unsigned());
    close_range(0, low.wrapping_sub(1), low > 0)
        && close_range(low + 1, high.wrapping_sub(1), high > low + 1)
        && close_range(high + 1, u32::MAX, true)
}

fn close_range(first: u32, last: u32, needed: bool) -> bool {
    // SAFETY: this process is a copy that uses none of these descriptors.
    !needed || unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0
}

fn private_mounts() -> bool {
    mount(c"none", c"/", ptr::null(), libc::MS_REC | libc::MS_PRIVATE)
}

/// A /proc of the new pid namespace: the lab's processes see only each other.
fn own_proc() -> bool {
    mount(c"proc", c"/proc", c"proc".as_ptr(), libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC)
}

fn mount(source: &CStr, target: &CStr, kind: *const libc::c_char, flags: libc::c_ulong) -> bool {
    // SAFETY: static strings that end in a zero byte; no data argument.
    unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, ptr::null()) == 0 }
}

/// Tells the harness the step that failed and its errno; the number of steps means that none did.
fn report(say: RawFd, step: u8) {
    // SAFETY: reads the calling thread's errno.
    let errno = unsafe { *libc::__errno_location() }.to_ne_bytes();
    let answer = [step, errno[0], errno[1], errno[2], errno[3]];
    // SAFETY: writes five bytes of a live array; whatever happens, the reader sees five bytes or the end.
    let _reader_gone_is_fine = unsafe { libc::write(say, answer.as_ptr().cast(), answer.len()) };
}

fn exit(code: i32) -> ! {
    // SAFETY: ends the process at once, with no handler of the program that it was copied from.
    unsafe { libc::_exit(code) }
}
