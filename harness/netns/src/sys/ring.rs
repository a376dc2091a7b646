//! A packet receive ring (AF_PACKET, TPACKET_V3: Documentation/networking/packet_mmap.rst).

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use scalebed_frame::shim;

use super::checked;

/// Offsets in `tpacket_block_desc`.
const BLOCK_HEADER: usize = offset_of!(libc::tpacket_block_desc, hdr);
const STATUS: usize = BLOCK_HEADER + offset_of!(libc::tpacket_hdr_v1, block_status);
const COUNT: usize = BLOCK_HEADER + offset_of!(libc::tpacket_hdr_v1, num_pkts);
const FIRST: usize = BLOCK_HEADER + offset_of!(libc::tpacket_hdr_v1, offset_to_first_pkt);
/// Nominal only: TPACKET_V3 packs frames of any length into a block.
const FRAME_SIZE: u32 = 2048;

const SHIM_ETHERTYPE: u32 = shim::ETHERTYPE as u32;
const SHIM_CONTROL: u32 = shim::CONTROL as u32;

/// Sizes of a ring.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Bytes of a block, a multiple of the page size.
    pub block: u32,
    /// Blocks.
    pub blocks: u32,
    /// A block with frames is handed over after so many milliseconds even if it is not full.
    pub timeout_ms: u32,
    /// Bytes kept of a frame; control messages under the shim are kept whole.
    pub snap: u32,
}

/// A frame in the ring.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Kernel stamp, CLOCK_REALTIME, ns.
    pub real: u64,
    /// Length on the wire.
    pub wire: u32,
    /// Its beginning.
    pub bytes: &'a [u8],
}

/// A socket and its mapped ring.
#[derive(Debug)]
pub struct Ring {
    socket: OwnedFd,
    map: NonNull<u8>,
    geometry: Geometry,
    next: u32,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread.
unsafe impl Send for Ring {}

impl Ring {
    /// How many blocks it has.
    pub const fn blocks(&self) -> u32 {
        self.geometry.blocks
    }

    /// A promiscuous ring on an interface of the calling thread's namespace; it sees only frames that come in.
    pub fn open(interface: u32, geometry: Geometry) -> io::Result<Self> {
        // Protocol 0: nothing is queued before the ring stands and the socket is bound to its interface.
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        let fd = socket.as_fd();
        let index = i32::try_from(interface).map_err(io::Error::other)?;
        set(fd, libc::SOL_PACKET, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V3 as i32))?;
        set(fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1i32)?;
        keep_bytes_and_control(fd, geometry.snap)?;
        let request = libc::tpacket_req3 {
            tp_block_size: geometry.block,
            tp_block_nr: geometry.blocks,
            tp_frame_size: FRAME_SIZE,
            tp_frame_nr: geometry.block / FRAME_SIZE * geometry.blocks,
            tp_retire_blk_tov: geometry.timeout_ms,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set(fd, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        let map = map(fd, length(geometry))?;
        let ring = Self { socket, map, geometry, next: 0 };
        let membership = libc::packet_mreq {
            mr_ifindex: index,
            mr_type: u16::try_from(libc::PACKET_MR_PROMISC).map_err(io::Error::other)?,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        set(ring.socket.as_fd(), libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &membership)?;
        bind(ring.socket.as_fd(), index)?;
        Ok(ring)
    }

    /// Hands every frame of the next full block to `each` and gives the block back to the kernel. Returns the number of
    /// frames handed over, or nothing if no block is ready.
    pub fn read_block(&mut self, mut each: impl FnMut(Frame<'_>)) -> Option<u32> {
        let size = self.geometry.block as usize;
        // SAFETY: `next` is below `blocks`, so the block lies inside the mapping.
        let start = unsafe { self.map.add(self.next as usize * size) };
        // SAFETY: the status word is aligned, lives as long as the mapping, and is shared with the kernel: an atomic.
        let status = unsafe { start.add(STATUS).cast::<AtomicU32>().as_ref() };
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: a block with TP_STATUS_USER belongs to user space: the kernel does not write to it until the status is
        // set back below, after the last use of the slice.
        let block = unsafe { std::slice::from_raw_parts(start.as_ptr(), size) };
        let count = word(block, COUNT).unwrap_or(0);
        let mut at = word(block, FIRST).unwrap_or(0) as usize;
        let mut given = 0;
        while given < count
            && let Some((frame, next)) = frame(block, at)
        {
            each(frame);
            at += next;
            given += 1;
        }
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % self.geometry.blocks;
        Some(given)
    }

    /// Frames that came in and frames that found no room, since the last call.
    pub fn statistics(&self) -> io::Result<(u64, u64)> {
        let mut stats = libc::tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
        let mut length = socklen(size_of::<libc::tpacket_stats_v3>())?;
        // SAFETY: the kernel writes at most `length` bytes into `stats`, which is that long.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut length,
            )
        };
        checked(result.into())?;
        Ok((stats.tp_packets.into(), stats.tp_drops.into()))
    }

    /// From now on no frame enters the ring or its statistics; what is in it can still be read.
    pub fn close_intake(&self) -> io::Result<()> {
        keep_bytes(self.socket.as_fd(), 0)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `open` made, of this length, and nothing borrows from it any more.
        unsafe { libc::munmap(self.map.as_ptr().cast(), length(self.geometry)) };
    }
}

/// The frame at `at`, and the distance to the next. Nothing if the kernel's offsets lead out of the block.
fn frame(block: &[u8], at: usize) -> Option<(Frame<'_>, usize)> {
    let header = block.get(at..)?;
    let seconds = word(header, offset_of!(libc::tpacket3_hdr, tp_sec))?;
    let nanos = word(header, offset_of!(libc::tpacket3_hdr, tp_nsec))?;
    let kept = word(header, offset_of!(libc::tpacket3_hdr, tp_snaplen))? as usize;
    let wire = word(header, offset_of!(libc::tpacket3_hdr, tp_len))?;
    let next = word(header, offset_of!(libc::tpacket3_hdr, tp_next_offset))?;
    let mac = header.get(offset_of!(libc::tpacket3_hdr, tp_mac)..)?.first_chunk::<2>()?;
    let mac = usize::from(u16::from_ne_bytes(*mac));
    let bytes = header.get(mac..)?.get(..kept)?;
    let real = u64::from(seconds) * 1_000_000_000 + u64::from(nanos);
    Some((Frame { real, wire, bytes }, next as usize))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

fn length(geometry: Geometry) -> usize {
    geometry.block as usize * geometry.blocks as usize
}

fn map(socket: BorrowedFd<'_>, length: usize) -> io::Result<NonNull<u8>> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice, of the length that PACKET_RX_RING made.
    let map = unsafe { libc::mmap(std::ptr::null_mut(), length, access, libc::MAP_SHARED, socket.as_raw_fd(), 0) };
    if map == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // A forked child has no use for it, and copying its page table would delay the start of every process.
    // SAFETY: advice on the mapping just made.
    let _only_slower = unsafe { libc::madvise(map, length, libc::MADV_DONTFORK) };
    NonNull::new(map.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))
}

/// A socket filter that keeps `count` bytes of every frame; 0 keeps no frame at all.
fn keep_bytes(socket: BorrowedFd<'_>, count: u32) -> io::Result<()> {
    attach(socket, &mut [statement(libc::BPF_RET | libc::BPF_K, count)?])
}

/// A socket filter that keeps `count` bytes of every frame, but whole what is under the shim with kind control: the judge
/// reads those messages. A load behind the end of a frame would drop it, so its length is asked for first: a cable may have
/// cut it right behind its EtherType.
fn keep_bytes_and_control(socket: BorrowedFd<'_>, count: u32) -> io::Result<()> {
    let mut program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0)?,
        libc::sock_filter { jf: 5, ..statement(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, 14)? },
        statement(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 12)?,
        libc::sock_filter { jf: 3, ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, SHIM_ETHERTYPE)? },
        statement(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 14)?,
        libc::sock_filter { jf: 1, ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, SHIM_CONTROL)? },
        statement(libc::BPF_RET | libc::BPF_K, u32::MAX)?,
        statement(libc::BPF_RET | libc::BPF_K, count)?,
    ];
    attach(socket, &mut program)
}

fn statement(code: u32, k: u32) -> io::Result<libc::sock_filter> {
    Ok(libc::sock_filter { code: u16::try_from(code).map_err(io::Error::other)?, jt: 0, jf: 0, k })
}

fn attach(socket: BorrowedFd<'_>, program: &mut [libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    let filter = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
}

fn bind(socket: BorrowedFd<'_>, interface: i32) -> io::Result<()> {
    // SAFETY: sockaddr_ll is plain old data, for which all zeroes is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    address.sll_protocol = u16::try_from(libc::ETH_P_ALL).map_err(io::Error::other)?.to_be();
    address.sll_ifindex = interface;
    let length = socklen(size_of::<libc::sockaddr_ll>())?;
    // SAFETY: the kernel reads `length` bytes of a struct that is that long.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    checked(result.into()).map(drop)
}

fn set<T>(socket: BorrowedFd<'_>, level: i32, name: i32, value: &T) -> io::Result<()> {
    let length = socklen(size_of::<T>())?;
    // SAFETY: the kernel reads `length` bytes of a value that is that long; pointers in it (a filter's program) live
    // until the call returns.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length) };
    checked(result.into()).map(drop)
}

fn socklen(length: usize) -> io::Result<libc::socklen_t> {
    libc::socklen_t::try_from(length).map_err(io::Error::other)
}
