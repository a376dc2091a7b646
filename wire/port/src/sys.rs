//! The system calls of the data path: all `unsafe` of the crate, each function safe to call.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::batch::{BATCH, Slot, TAG};

/// Room for the control messages of a frame: a stamp takes 32 bytes, what the kernel says of a tag 40.
const CONTROL: usize = 96;

/// A control area, aligned as its headers want it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// What the kernel says of a received frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrival {
    /// Bytes in the buffer.
    pub length: usize,
    /// It was longer than the buffer.
    pub cut: bool,
    /// CLOCK_REALTIME, ns; 0 if there is none.
    pub stamp: u64,
    /// The 802.1Q or 802.1ad tag that the kernel took out.
    pub tag: Option<[u8; TAG]>,
}

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

/// Binds a packet socket to an interface: every protocol, promiscuous, nothing that goes out there, kernel stamps, tags
/// told, queues of `queue` bytes.
pub(crate) fn bind_packet(socket: BorrowedFd<'_>, interface: u32, queue: i32) -> io::Result<()> {
    let index = i32::try_from(interface).map_err(io::Error::other)?;
    set(socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1i32)?;
    set(socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1i32)?;
    set(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1i32)?;
    // Above the limit of unprivileged sockets where that is permitted, else up to it.
    set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &queue)
        .or_else(|_| set(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &queue))?;
    set(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &queue)
        .or_else(|_| set(socket, libc::SOL_SOCKET, libc::SO_SNDBUF, &queue))?;
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

/// Receives what has come into the slots (recvmmsg(2)); gives how many frames that were. Never blocks.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    slots: &mut [Slot],
    arrivals: &mut [Arrival; BATCH],
) -> io::Result<usize> {
    let mut controls = [Control([0; CONTROL]); BATCH];
    // SAFETY: mmsghdr and iovec are plain old data, for which all zeroes is a value.
    let (mut headers, mut pieces): ([libc::mmsghdr; BATCH], [libc::iovec; BATCH]) = unsafe { (zeroed(), zeroed()) };
    for (index, slot) in slots.iter_mut().take(BATCH).enumerate() {
        let room = slot.room();
        pieces[index] = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
        headers[index].msg_hdr.msg_iov = &raw mut pieces[index];
        headers[index].msg_hdr.msg_iovlen = 1;
        headers[index].msg_hdr.msg_control = (&raw mut controls[index]).cast();
        headers[index].msg_hdr.msg_controllen = CONTROL;
    }
    // SAFETY: every header that is counted points at a buffer and a control area that outlive the call and are as long
    // as they say.
    let result = unsafe {
        let count = u32::try_from(slots.len().min(BATCH)).unwrap_or(0);
        libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT, std::ptr::null_mut())
    };
    let count = checked(result.into())?;
    for (arrival, header) in arrivals.iter_mut().zip(&headers).take(count) {
        let cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        *arrival = Arrival { length: header.msg_len as usize, cut, ..told(&header.msg_hdr) };
    }
    Ok(count)
}

/// The stamp and the tag that a received message's control area tells.
fn told(header: &libc::msghdr) -> Arrival {
    let mut arrival = Arrival::default();
    // SAFETY: the header was filled by the kernel; the macros stay inside its control area.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: not null, so it points at a whole control message of the area, which is aligned for it.
        let (level, kind) = unsafe { ((*message).cmsg_level, (*message).cmsg_type) };
        if (level, kind) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
            // SAFETY: a message of this type carries a timespec.
            let time = unsafe { libc::CMSG_DATA(message).cast::<libc::timespec>().read_unaligned() };
            arrival.stamp = time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs();
        } else if (level, kind) == (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
            // SAFETY: a message of this type carries a tpacket_auxdata.
            let extra = unsafe { libc::CMSG_DATA(message).cast::<libc::tpacket_auxdata>().read_unaligned() };
            arrival.tag = tag(&extra);
        }
        // SAFETY: as for the first one.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    arrival
}

fn tag(extra: &libc::tpacket_auxdata) -> Option<[u8; TAG]> {
    let both = libc::TP_STATUS_VLAN_VALID | libc::TP_STATUS_VLAN_TPID_VALID;
    (extra.tp_status & both == both).then(|| {
        let ([a, b], [c, d]) = (extra.tp_vlan_tpid.to_be_bytes(), extra.tp_vlan_tci.to_be_bytes());
        [a, b, c, d]
    })
}

/// Sends the frames in order (sendmmsg(2)); gives how many the kernel took before one that it did not. An error is that
/// of the first frame. Never blocks.
pub(crate) fn send(socket: BorrowedFd<'_>, slots: &[Slot]) -> io::Result<usize> {
    // SAFETY: mmsghdr and iovec are plain old data, for which all zeroes is a value.
    let (mut headers, mut pieces): ([libc::mmsghdr; BATCH], [libc::iovec; BATCH]) = unsafe { (zeroed(), zeroed()) };
    for (index, slot) in slots.iter().take(BATCH).enumerate() {
        let frame = slot.bytes();
        // The kernel only reads what is sent.
        pieces[index] = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        headers[index].msg_hdr.msg_iov = &raw mut pieces[index];
        headers[index].msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: every header that is counted points at a buffer that outlives the call and is as long as it says.
    let result = unsafe {
        let count = u32::try_from(slots.len().min(BATCH)).unwrap_or(0);
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
