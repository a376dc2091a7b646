//! MAC addresses, and the schemes by which clusters choose them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{GroupId, MemberId, MhoId, NetworkId};

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// 00:00:00:00:00:00, the unknown target of an ARP request.
    pub const ZERO: Self = Self([0; 6]);

    /// The group bit: broadcast and multicast.
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The MAC of a kernel host or a generator port: `02:5a` and a 32-bit number of the lab's choosing.
    #[must_use]
    pub const fn host(number: u32) -> Self {
        let n = number.to_be_bytes();
        Self([0x02, 0x5a, n[0], n[1], n[2], n[3]])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Byte 4 carries the Security Group, so that groups on one switch never share an address (`emulated:`).
const fn scheme(group: GroupId, low: u16) -> Mac {
    let [high, low] = low.to_be_bytes();
    Mac([0x02, 0x5b, 0xed, group.0, high, low])
}

/// The shared MAC of a data interface on a site: bit 1 set, bits 2-3 site, bits 4-8 MHO, bits 9-16 port (of a bond: its
/// lowest leg). Bits are counted from the most significant of the low 16, as the administration guides do.
#[must_use]
pub const fn vmac(group: GroupId, site: u8, mho: MhoId, port: u8) -> Mac {
    scheme(group, 0x8000 | ((site as u16 & 3) << 13) | ((mho.0 as u16 & 0x1f) << 8) | port as u16)
}

/// The downlink MAC of a member: bit 1 clear, bits 2-8 member id, bit 14 clear, bits 15-16 the interface (MHO - 1).
#[must_use]
pub const fn bmac(group: GroupId, member: MemberId, interface: u8) -> Mac {
    scheme(group, member_bits(member) | (interface as u16 & 3))
}

/// The sync MAC of a member: as [`bmac`] with bit 14 set.
#[must_use]
pub const fn smac(group: GroupId, member: MemberId) -> Mac {
    scheme(group, member_bits(member) | 4)
}

/// The MAC that an ElasticXL member owns on a data network beside the cluster's (`emulated:`): as [`bmac`] with the
/// network in bits 9-13, so that a switch never learns one address behind two ports.
#[must_use]
pub const fn member_mac(group: GroupId, member: MemberId, network: NetworkId) -> Mac {
    scheme(group, member_bits(member) | ((network.0 as u16 & 0x1f) << 3))
}

/// The MAC of an orchestrator on the internal network (`emulated:`): an even group byte of zero, never a member's.
#[must_use]
pub const fn orchestrator_mac(mho: MhoId) -> Mac {
    scheme(GroupId(0), 0x0100 | mho.0 as u16)
}

const fn member_bits(member: MemberId) -> u16 {
    // Site 2 counts from 64: member ids are 7 bits, and a dual site holds at most 14 + 14.
    let id = if member.site == 2 { 64 + member.number } else { member.number };
    (id as u16 & 0x7f) << 8
}
