//! posix_spawn(3), for what std does not offer: a signal mask of the child's own, without a fork.
//!
//! Children inherit the mask of the thread that starts them, and a harness that reads its signals from a descriptor
//! blocks them in every thread: SIGTERM would never reach its children. Unblocking in the launching thread would offer
//! that thread to the next Ctrl-C. A hook between fork and exec would do, but with a hook std forks, and a fork of a
//! process of 500 MB took 21 ms where posix_spawn takes 1.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr;

/// What to start.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// A path, or a name that PATH knows.
    pub program: &'a CStr,
    /// With the name of the program as the first.
    pub arguments: &'a [CString],
    /// `KEY=value`.
    pub environment: &'a [CString],
    /// Standard input, output and error.
    pub streams: [BorrowedFd<'a>; 3],
}

/// Starts a process from the calling thread, whose namespaces, working directory and scheduling it inherits: in a
/// process group of its own, no signal blocked or ignored. Its pid; an exec that fails is an error here.
pub fn spawn(start: Start<'_>) -> io::Result<u32> {
    let attributes = Attributes::new()?;
    let actions = Actions::new(start.streams)?;
    let arguments = pointers(start.arguments);
    let environment = pointers(start.environment);
    let mut pid: libc::pid_t = 0;
    // SAFETY: both arrays end in a null pointer and point to strings that outlive the call, as do the two objects, which
    // are initialised. posix_spawn does not write to the strings in spite of its signature.
    let errno = unsafe {
        libc::posix_spawnp(
            &raw mut pid,
            start.program.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            arguments.as_ptr(),
            environment.as_ptr(),
        )
    };
    zero(errno)?;
    u32::try_from(pid).map_err(io::Error::other)
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Self> {
        let flags = libc::POSIX_SPAWN_SETPGROUP | libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        let flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
        let mut raw = MaybeUninit::uninit();
        // SAFETY: the call initialises what it is given.
        zero(unsafe { libc::posix_spawnattr_init(raw.as_mut_ptr()) })?;
        // SAFETY: initialised above.
        let mut attributes = Self(unsafe { raw.assume_init() });
        let raw = &raw mut attributes.0;
        let mut none = MaybeUninit::uninit();
        let mut all = MaybeUninit::uninit();
        // SAFETY: `raw` is initialised, and so are the two sets before they are read.
        unsafe {
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigfillset(all.as_mut_ptr());
            zero(libc::posix_spawnattr_setsigmask(raw, none.as_ptr()))?;
            zero(libc::posix_spawnattr_setsigdefault(raw, all.as_ptr()))?;
            zero(libc::posix_spawnattr_setpgroup(raw, 0))?;
            zero(libc::posix_spawnattr_setflags(raw, flags))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used again.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new(streams: [BorrowedFd<'_>; 3]) -> io::Result<Self> {
        let mut raw = MaybeUninit::uninit();
        // SAFETY: the call initialises what it is given.
        zero(unsafe { libc::posix_spawn_file_actions_init(raw.as_mut_ptr()) })?;
        // SAFETY: initialised above.
        let mut actions = Self(unsafe { raw.assume_init() });
        for (number, stream) in (0..).zip(streams) {
            // SAFETY: initialised; the descriptors are used in the child, before the borrows end.
            zero(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut actions.0, stream.as_raw_fd(), number) })?;
        }
        Ok(actions)
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

fn pointers(strings: &[CString]) -> Vec<*mut libc::c_char> {
    strings.iter().map(|string| string.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
}

/// The posix_spawn family returns the error instead of setting errno.
fn zero(errno: i32) -> io::Result<()> {
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}
