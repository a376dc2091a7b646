//! From a packet's tuple to its bucket.
//!
//! `emulated:` the vendor's hash is unpublished. Ours is SipHash-2-4 with the key `scalebed-bucket\0` over these bytes,
//! reduced to a bucket by taking the 64-bit result modulo the number of buckets:
//!
//! ```text
//! general, L4 off   'g' | lower address (16 bytes) | higher address (16 bytes)
//! general, L4 on    'G' | lower (address 16, port 2) | higher (address 16, port 2)
//! user, L4 off      'a' | destination address (16 bytes)
//! user, L4 on       'A' | destination address (16) | source port (2)
//! network, L4 off   'a' | source address (16 bytes)
//! network, L4 on    'A' | source address (16) | destination port (2)
//! ```
//! An IPv4 address takes its IPv4-mapped IPv6 form (RFC 4291 section 2.5.5.2); ports are big endian. `general` orders its
//! two ends by value, so both directions of a flow give one key; `user` of one direction and `network` of the other give
//! the same key, which is what makes auto-topology symmetric.

use std::fmt;
use std::hash::Hasher as _;
use std::net::IpAddr;

use scalebed_frame::{Bucket, DistributionMode, Flow};
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

/// The published key of the bucket hash.
const HASH_KEY: &[u8; 16] = b"scalebed-bucket\0";

/// Which way an interface faces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Facing {
    /// Towards users.
    Internal,
    /// Towards the world.
    External,
}

/// How a group distributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Distribution mode.
    pub mode: DistributionMode,
    /// Do ports take part?
    pub l4: bool,
    /// Buckets of the matrix.
    pub buckets: u16,
}

/// What decides about a packet's bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// General: both ends, the lower first. Ports are 0 where they take no part.
    Pair {
        /// The lower end.
        low: (IpAddr, u16),
        /// The higher end.
        high: (IpAddr, u16),
        /// Do ports take part?
        l4: bool,
    },
    /// User or network: one address, and with L4 the port of the other end.
    One {
        /// The address.
        address: IpAddr,
        /// The other end's port.
        port: Option<u16>,
    },
}

impl Policy {
    /// The key of a packet of `flow` that enters at an interface facing `facing`. `ports` false: a fragment or a protocol
    /// without ports, which falls back to the IP-only key of the same mode.
    #[must_use]
    pub fn key(&self, flow: &Flow, ports: bool, facing: Facing) -> Key {
        let l4 = self.l4 && ports;
        let user = Key::One { address: flow.dst, port: l4.then_some(flow.src_port) };
        let network = Key::One { address: flow.src, port: l4.then_some(flow.dst_port) };
        match (self.mode, facing) {
            (DistributionMode::General, _) => {
                let end = |address, port| (address, if l4 { port } else { 0 });
                let (a, b) = (end(flow.src, flow.src_port), end(flow.dst, flow.dst_port));
                Key::Pair { low: a.min(b), high: a.max(b), l4 }
            }
            (DistributionMode::User, _) | (DistributionMode::AutoTopology, Facing::Internal) => user,
            (DistributionMode::Network, _) | (DistributionMode::AutoTopology, Facing::External) => network,
        }
    }

    /// The bucket of a packet of `flow` that enters at an interface facing `facing`; `ports` as in [`Self::key`].
    #[must_use]
    pub fn bucket(&self, flow: &Flow, ports: bool, facing: Facing) -> Bucket {
        let buckets = u64::from(self.buckets.max(1));
        Bucket(u16::try_from(self.key(flow, ports, facing).hash() % buckets).unwrap_or(0))
    }
}

impl Key {
    /// The 64-bit hash over the bytes that the module's page shows.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hasher = SipHasher24::new_with_key(HASH_KEY);
        match self {
            Self::Pair { low, high, l4 } => {
                hasher.write(if *l4 { b"G" } else { b"g" });
                for (address, port) in [low, high] {
                    hasher.write(&octets(*address));
                    if *l4 {
                        hasher.write(&port.to_be_bytes());
                    }
                }
            }
            Self::One { address, port } => {
                hasher.write(if port.is_some() { b"A" } else { b"a" });
                hasher.write(&octets(*address));
                if let Some(port) = port {
                    hasher.write(&port.to_be_bytes());
                }
            }
        }
        hasher.finish()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pair { low, high, l4: true } => write!(f, "{}:{} <> {}:{}", low.0, low.1, high.0, high.1),
            Self::Pair { low, high, l4: false } => write!(f, "{} <> {}", low.0, high.0),
            Self::One { address, port: Some(port) } => write!(f, "{address} + port {port}"),
            Self::One { address, port: None } => write!(f, "{address}"),
        }
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;
    use scalebed_frame::{DistributionMode, Flow, Protocol};

    use super::{Facing, Policy};

    fn policy(mode: DistributionMode, l4: bool) -> Policy {
        Policy { mode, l4, buckets: 512 }
    }

    /// Of either family.
    fn flows() -> impl Strategy<Value = Flow> {
        let ends = (any::<bool>(), any::<u128>(), any::<u128>(), any::<u16>(), any::<u16>());
        ends.prop_map(|(v6, src, dst, src_port, dst_port)| {
            let address = |bits: u128| -> IpAddr {
                let low = u32::try_from(bits & u128::from(u32::MAX)).unwrap_or(0);
                if v6 { Ipv6Addr::from(bits).into() } else { Ipv4Addr::from(low).into() }
            };
            Flow { protocol: Protocol::UDP, src: address(src), dst: address(dst), src_port, dst_port }
        })
    }

    proptest! {
        #[test]
        fn auto_topology_sends_both_directions_to_one_bucket(flow in flows(), nat in any::<u32>(), port in any::<u16>()) {
            let policy = policy(DistributionMode::AutoTopology, false);
            // Hide NAT: the answers go to another address and port; the server stays the key.
            let hidden = if flow.is_ipv4() { Ipv4Addr::from(nat).into() } else { flow.src };
            let back = Flow { dst: hidden, dst_port: port, ..flow.reversed() };
            let out = policy.bucket(&flow, true, Facing::Internal);
            prop_assert_eq!(out, policy.bucket(&back, true, Facing::External));
        }

        #[test]
        fn general_is_the_same_both_ways_without_nat(flow in flows(), l4 in any::<bool>()) {
            let policy = policy(DistributionMode::General, l4);
            let back = policy.bucket(&flow.reversed(), true, Facing::External);
            prop_assert_eq!(policy.bucket(&flow, true, Facing::Internal), back);
        }

        #[test]
        fn without_ports_the_ip_only_key_counts(flow in flows(), other in any::<u16>()) {
            let policy = policy(DistributionMode::General, true);
            let same = Flow { src_port: other, ..flow };
            let bucket = policy.bucket(&flow, false, Facing::Internal);
            prop_assert_eq!(bucket, policy.bucket(&same, false, Facing::Internal));
        }
    }

    #[test]
    fn directions_are_dealt_independently_where_the_algebra_says_so() {
        // User both ways: the keys are S and C. Over many flows the two buckets agree about once in 512.
        let policy = policy(DistributionMode::User, false);
        let same = (0..20_000u32)
            .filter(|n| {
                let flow = Flow {
                    protocol: Protocol::UDP,
                    src: Ipv4Addr::from(0x0a00_0000 + n).into(),
                    dst: Ipv4Addr::from(0x0b00_0000 + n * 7).into(),
                    src_port: 1,
                    dst_port: 2,
                };
                policy.bucket(&flow, true, Facing::Internal) == policy.bucket(&flow.reversed(), true, Facing::External)
            })
            .count();
        assert!((10..90).contains(&same), "{same} of 20,000, expected about 39");
    }

    #[test]
    fn the_hash_is_the_published_one() {
        // A change of these numbers moves every flow of every lab: it must be deliberate.
        let flow = Flow {
            protocol: Protocol::UDP,
            src: Ipv4Addr::new(198, 18, 64, 1).into(),
            dst: Ipv4Addr::new(198, 18, 128, 1).into(),
            src_port: 1024,
            dst_port: 80,
        };
        let bucket = |mode, l4| policy(mode, l4).bucket(&flow, true, Facing::Internal).0;
        let all = [
            bucket(DistributionMode::General, false),
            bucket(DistributionMode::General, true),
            bucket(DistributionMode::User, false),
            bucket(DistributionMode::User, true),
            bucket(DistributionMode::Network, false),
            bucket(DistributionMode::Network, true),
        ];
        assert_eq!(all, [129, 16, 203, 222, 311, 455]);
        let v6 = |network, last| Ipv6Addr::new(0x2001, 2, 0, network, 0, 0, 0, last).into();
        let flow = Flow { src: v6(0x40, 1), dst: v6(0x80, 1), ..flow };
        let bucket = |mode, l4| policy(mode, l4).bucket(&flow, true, Facing::Internal).0;
        let all = [
            bucket(DistributionMode::General, false),
            bucket(DistributionMode::User, false),
            bucket(DistributionMode::Network, true),
        ];
        assert_eq!(all, [276, 380, 249]);
    }
}
