//! What a process gives up once its sockets are open.

use std::io;

use nix::sys::prctl::set_no_new_privs;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// What a process still has to do after its sockets are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// It only reads and writes what it has opened.
    Nothing,
    /// It sets its own ports up and down (CAP_NET_ADMIN, of its namespace).
    Links,
}

/// Drops every capability of the calling thread but what it `keeps`, for good: no-new-privs is set, and threads and
/// programs that it starts later get no more. capabilities(7).
///
/// # Errors
/// The kernel refuses.
pub fn drop_privileges(keeps: Keeps) -> io::Result<()> {
    set_no_new_privs()?;
    let kept = match keeps {
        Keeps::Nothing => CapabilitySet::empty(),
        Keeps::Links => CapabilitySet::NET_ADMIN,
    };
    let held = capabilities(None)?.permitted & kept;
    Ok(set_capabilities(
        None,
        CapabilitySets { effective: held, permitted: held, inheritable: CapabilitySet::empty() },
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_does_not_come_back() {
        // A thread of its own: capabilities belong to threads.
        let outcome = std::thread::spawn(|| {
            let before = capabilities(None).expect("capabilities");
            drop_privileges(Keeps::Links).expect("links");
            assert_eq!(
                capabilities(None).expect("capabilities").effective,
                before.permitted & CapabilitySet::NET_ADMIN
            );
            drop_privileges(Keeps::Nothing).expect("nothing");
            assert!(capabilities(None).expect("capabilities").permitted.is_empty());
            let all = CapabilitySets { effective: before.permitted, ..before };
            assert_eq!(set_capabilities(None, all).is_err(), !before.permitted.is_empty());
        });
        outcome.join().expect("a thread");
    }
}
