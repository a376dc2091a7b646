//! The system calls of the data path: all `unsafe` of the crate, each function safe to call.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::batch::{BATCH, FrameBatch, LONGEST};

/// Room for one stamp in a control message.
const CONTROL: usize = 64;

fn checked(result: libc::c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn socklen(length: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(length).unwrap_or(libc::socklen_t::MAX)
}

fn set<T>(socket: BorrowedFd<'_>, level: i32, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: `value` is alive and as long as is said; the kernel only reads it.
    let result = unsafe {
        let value = std::ptr::from_ref(value).cast();
        libc::setsockopt(socket.as_raw_fd(), level, name, value, socklen(size_of::<T>()))
    };
    checked(result.into()).map(drop)
}

/// Binds a packet socket to an interface: every protocol, promiscuous, nothing of what it sends itself, kernel stamps,
/// a queue of `queue` bytes.
pub(crate) fn bind_packet(socket: BorrowedFd<'_>, interface: u32, queue: i32) -> io::Result<()> {
    let index = i32::try_from(interface).map_err(io::Error::other)?;
    set(socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1i32)?;
    set(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1i32)?;
    // Above the limit of unprivileged sockets where that is permitted, else up to it.
    set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &queue)
        .or_else(|_| set(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &queue))?;
    let membership = libc::packet_mreq {
        mr_ifindex: index,
        mr_type: u16::try_from(libc::PACKET_MR_PROMISC).map_err(io::Error::other)?,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set(socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &membership)?;
    // SAFETY: sockaddr_ll is plain old data, for which all zeroes is a value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    address.sll_protocol = u16::try_from(libc::ETH_P_ALL).map_err(io::Error::other)?.to_be();
    address.sll_ifindex = index;
    // SAFETY: the address is alive and as long as is said; the kernel only reads it.
    let result =
        unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), socklen(size_of::<libc::sockaddr_ll>())) };
    checked(result.into()).map(drop)
}

/// Fills the batch with what has come (recvmmsg(2)); stamps are CLOCK_REALTIME, ns. Never blocks.
pub(crate) fn receive(socket: BorrowedFd<'_>, batch: &mut FrameBatch, stamps: &mut [u64; BATCH]) -> io::Result<usize> {
    let mut controls = [[0u8; CONTROL]; BATCH];
    // SAFETY: mmsghdr and iovec are plain old data, for which all zeroes is a value.
    let (mut headers, mut pieces): ([libc::mmsghdr; BATCH], [libc::iovec; BATCH]) = unsafe { (zeroed(), zeroed()) };
    for (index, slot) in batch.slots.iter_mut().enumerate() {
        pieces[index] = libc::iovec { iov_base: slot.buffer.as_mut_ptr().cast(), iov_len: LONGEST };
        headers[index].msg_hdr.msg_iov = &raw mut pieces[index];
        headers[index].msg_hdr.msg_iovlen = 1;
        headers[index].msg_hdr.msg_control = controls[index].as_mut_ptr().cast();
        headers[index].msg_hdr.msg_controllen = CONTROL;
    }
    // SAFETY: every header points at a buffer and a control area that outlive the call and are as long as they say.
    let result = unsafe {
        let count = u32::try_from(BATCH).unwrap_or(0);
        libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT, std::ptr::null_mut())
    };
    let count = checked(result.into())?;
    for (index, header) in headers.iter().take(count).enumerate() {
        // A frame longer than the buffer is cut by the kernel; its length here is what was kept.
        batch.slots[index].length = (header.msg_len as usize).min(LONGEST);
        stamps[index] = stamp(&header.msg_hdr);
    }
    Ok(count)
}

/// The SCM_TIMESTAMPNS stamp of a message, CLOCK_REALTIME ns; 0 if there is none.
fn stamp(header: &libc::msghdr) -> u64 {
    // SAFETY: the header was filled by the kernel; the macros stay inside its control area.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: not null, so it points at a whole control message of the area.
        let (level, kind) = unsafe { ((*message).cmsg_level, (*message).cmsg_type) };
        if level == libc::SOL_SOCKET && kind == libc::SCM_TIMESTAMPNS {
            // SAFETY: a message of this type carries a timespec; it may be unaligned.
            let time = unsafe { libc::CMSG_DATA(message).cast::<libc::timespec>().read_unaligned() };
            return time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs();
        }
        // SAFETY: as for the first one.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    0
}

/// Sends the frames from `batch.done` on (sendmmsg(2)); gives how many the kernel took. Never blocks.
pub(crate) fn send(socket: BorrowedFd<'_>, batch: &FrameBatch) -> io::Result<usize> {
    // SAFETY: mmsghdr and iovec are plain old data, for which all zeroes is a value.
    let (mut headers, mut pieces): ([libc::mmsghdr; BATCH], [libc::iovec; BATCH]) = unsafe { (zeroed(), zeroed()) };
    let open = &batch.slots[batch.done..batch.used];
    for (index, slot) in open.iter().enumerate() {
        // The kernel only reads what is sent.
        pieces[index] = libc::iovec { iov_base: slot.buffer.as_ptr().cast_mut().cast(), iov_len: slot.length };
        headers[index].msg_hdr.msg_iov = &raw mut pieces[index];
        headers[index].msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: every header points at a buffer that outlives the call and is as long as it says.
    let result = unsafe {
        let count = u32::try_from(open.len()).unwrap_or(0);
        libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT)
    };
    checked(result.into())
}

/// Frames that came and frames that found no room, since the last call (PACKET_STATISTICS).
pub(crate) fn statistics(socket: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = socklen(size_of::<libc::tpacket_stats>());
    // SAFETY: the kernel writes at most `length` bytes into `stats`, which is that long.
    let result = unsafe {
        let place = (&raw mut stats).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, place, &raw mut length)
    };
    checked(result.into())?;
    Ok((stats.tp_packets.into(), stats.tp_drops.into()))
}
