//! A lab's namespaces for other programs: descriptors that travel over a Unix socket, and commands among the lab's own
//! processes. Such a command ends with the lab, like every process of its pid namespace.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, Signal};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use crate::sandbox::{NsId, Sandbox};
use crate::{Error, scratch, sys};

/// A way into one namespace of a lab.
#[derive(Debug)]
pub struct Entry {
    init: OwnedFd,
    net: OwnedFd,
}

impl Sandbox {
    /// Sends `words` and, with them, what [`receive`] makes an [`Entry`] of.
    ///
    /// # Errors
    /// No such namespace, or the other end is gone.
    pub fn lend(&self, ns: NsId, to: &UnixStream, words: &[u8]) -> Result<(), Error> {
        let descriptors = [self.init.as_fd(), self.get(ns)?.fd.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        if !rights.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(Error::io("descriptors of a namespace")(io::Error::from(io::ErrorKind::InvalidInput)));
        }
        let sent = sendmsg(to, &[IoSlice::new(words)], &mut rights, SendFlags::NOSIGNAL)
            .map_err(|errno| Error::io("descriptors of a namespace")(errno.into()))?;
        if sent == words.len() {
            Ok(())
        } else {
            Err(Error::io("descriptors of a namespace")(io::Error::from(io::ErrorKind::WriteZero)))
        }
    }
}

/// What [`Sandbox::lend`] sent, or words alone: the other end says why.
///
/// # Errors
/// The other end is gone.
pub fn receive(from: &UnixStream) -> io::Result<(Vec<u8>, Option<Entry>)> {
    let mut words = vec![0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(from, &mut [IoSliceMut::new(&mut words)], &mut rights, RecvFlags::CMSG_CLOEXEC)?;
    words.truncate(got.bytes);
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    for message in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(these) = message {
            descriptors.extend(these);
        }
    }
    let entry = match <[OwnedFd; 2]>::try_from(descriptors) {
        Ok([init, net]) => Some(Entry { init, net }),
        Err(_) => None,
    };
    Ok((words, entry))
}

impl Entry {
    /// The net namespace.
    pub(crate) fn net(&self) -> BorrowedFd<'_> {
        self.net.as_fd()
    }

    /// Runs a command there with this process's own standard streams, terminal and working directory, and waits for it.
    /// Meanwhile Ctrl-C and Ctrl-\\ are the command's.
    ///
    /// # Errors
    /// The lab is gone, or the command cannot be started ([`Error::Io`] with its kind).
    pub fn run(self, program: &OsString, args: &[OsString]) -> Result<ExitStatus, Error> {
        let mut child = self.start(program, args)?;
        // Held no longer: the lab may end while the command's last output is read.
        drop(self);
        let terminal: SigSet = [Signal::SIGINT, Signal::SIGQUIT].into_iter().collect();
        terminal.thread_block().map_err(Error::nix("signals"))?;
        child.wait().map_err(Error::io(program.display().to_string()))
    }

    fn start(&self, program: &OsString, args: &[OsString]) -> Result<Child, Error> {
        let here = std::env::current_dir().map_err(Error::io("working directory"))?;
        scratch::on_thread(move || {
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_FILES).map_err(Error::nix("launcher"))?;
            sys::close_rest_on_exec(3).map_err(Error::io("launcher's descriptors"))?;
            setns(self.init.as_fd(), CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)
                .map_err(Error::nix("enter the lab's pid and mount namespaces"))?;
            setns(self.net.as_fd(), CloneFlags::CLONE_NEWNET).map_err(Error::nix("enter the net namespace"))?;
            // Entering a mount namespace puts a thread into its root directory.
            std::env::set_current_dir(here).map_err(Error::io("working directory"))?;
            Command::new(program).args(args).spawn().map_err(Error::io(program.display().to_string()))
        })?
    }
}
