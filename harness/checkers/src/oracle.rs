//! The distribution algebra, written a second time on purpose: from a packet and the mode of the interface where it enters
//! to its bucket. The hash is published (`emulated:` the vendor's is not): SipHash-2-4 under a fixed key, over one letter
//! for the shape of the key and the fields, addresses in their 16-byte IPv4-mapped form, all big endian, modulo the number
//! of buckets.

use std::hash::Hasher as _;
use std::net::IpAddr;

use scalebed_frame::control::Matrix;
use scalebed_frame::{Bucket, DistributionMode, Flow, MemberId};
use scalebed_topologies::Lab;
use scalebed_topologies::lab::NetworkRole;
use siphasher::sip::SipHasher24;

/// The fixed key of the bucket hash.
const KEY: &[u8; 16] = b"scalebed-bucket\0";

/// A distribution key, as the bytes that are hashed: equal bytes, equal bucket, everywhere.
pub type Key = Vec<u8>;

/// The key of a packet of `flow` under `mode` at an interface that faces users (`internal`) or the world. `ports` false:
/// the packet has none (a later fragment, a protocol without ports), and the IP-only key of the same mode counts.
#[must_use]
pub fn key(mode: DistributionMode, l4: bool, internal: bool, flow: &Flow, ports: bool) -> Key {
    let l4 = l4 && ports;
    let mut bytes = Vec::with_capacity(37);
    let by_destination = match mode {
        DistributionMode::General => {
            let end = |address: IpAddr, port: u16| {
                let mut end = mapped(address).to_vec();
                if l4 {
                    end.extend(port.to_be_bytes());
                }
                // Families never mix in one flow, so the mapped bytes order as the addresses do.
                end
            };
            let mut ends = [end(flow.src, flow.src_port), end(flow.dst, flow.dst_port)];
            ends.sort();
            bytes.push(if l4 { b'G' } else { b'g' });
            bytes.extend(ends.concat());
            return bytes;
        }
        DistributionMode::User => true,
        DistributionMode::Network => false,
        DistributionMode::AutoTopology => internal,
    };
    let (address, port) = if by_destination { (flow.dst, flow.src_port) } else { (flow.src, flow.dst_port) };
    bytes.push(if l4 { b'A' } else { b'a' });
    bytes.extend(mapped(address));
    if l4 {
        bytes.extend(port.to_be_bytes());
    }
    bytes
}

/// The bucket of a key among `buckets`.
#[must_use]
pub fn bucket(key: &[u8], buckets: u16) -> Bucket {
    let mut hasher = SipHasher24::new_with_key(KEY);
    hasher.write(key);
    Bucket(u16::try_from(hasher.finish() % u64::from(buckets.max(1))).unwrap_or(0))
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The algebra of one lab.
#[derive(Clone, Copy, Debug)]
pub struct Oracle<'a> {
    lab: &'a Lab,
}

impl<'a> Oracle<'a> {
    /// Of this lab, a scenario's changes applied.
    #[must_use]
    pub const fn new(lab: &'a Lab) -> Self {
        Self { lab }
    }

    /// The key of a client's packet: it enters inside.
    #[must_use]
    pub fn forward_key(&self, forward: &Flow) -> Key {
        key(self.lab.group.distribution, self.lab.group.l4, true, forward, true)
    }

    /// The key of a server's packet, which enters outside. `None`: a NAT port that was not predicted takes part in it.
    #[must_use]
    pub fn return_key(&self, forward: &Flow) -> Option<Key> {
        let group = &self.lab.group;
        let Some(address) = self.hidden_behind(forward) else {
            return Some(key(group.distribution, group.l4, false, &forward.reversed(), true));
        };
        let by_destination = group.distribution == DistributionMode::User;
        if group.l4 && !by_destination {
            return None;
        }
        let answer = Flow { dst: address, ..forward.reversed() };
        Some(key(group.distribution, group.l4, false, &answer, true))
    }

    /// The owner of a key's bucket in a matrix.
    #[must_use]
    pub fn owner(&self, key: &[u8], matrix: &Matrix) -> Option<MemberId> {
        let buckets = u16::try_from(matrix.buckets.len()).unwrap_or(u16::MAX);
        matrix.buckets.get(usize::from(bucket(key, buckets).0)).map(|bucket| bucket.owner)
    }

    /// The address that the client of a flow hides behind on the outside, if it does. One of IPv6 never does.
    #[must_use]
    pub fn hidden_behind(&self, forward: &Flow) -> Option<IpAddr> {
        if !forward.is_ipv4() {
            return None;
        }
        let inside = self.lab.role(NetworkRole::Inside)?.id;
        let outside = self.lab.role(NetworkRole::Outside)?.id;
        let nat = self.lab.group.nat.iter().find(|nat| (nat.from, nat.to) == (inside, outside))?;
        Some(nat.address.into())
    }
}
