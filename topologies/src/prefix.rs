//! Prefixes of both families.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// A prefix, of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Prefix {
    /// Network address, host bits zero.
    pub address: IpAddr,
    /// Length, 0..=32 of IPv4, 0..=128 of IPv6.
    pub length: u8,
}

impl Prefix {
    /// Its address with the host bits cleared.
    #[must_use]
    pub fn network(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & self.mask4()).into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & self.mask6()).into(),
        }
    }

    /// Its last address: of an IPv4 subnet the broadcast address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() | !self.mask4()).into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() | !self.mask6()).into(),
        }
    }

    /// Have the two an address in common?
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// Does it hold `address`? None of the other family.
    #[must_use]
    pub fn contains(&self, address: impl Into<IpAddr>) -> bool {
        match (self.address, address.into()) {
            (IpAddr::V4(own), IpAddr::V4(address)) => (own.to_bits() ^ address.to_bits()) & self.mask4() == 0,
            (IpAddr::V6(own), IpAddr::V6(address)) => (own.to_bits() ^ address.to_bits()) & self.mask6() == 0,
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// Is it of the family of `address`?
    #[must_use]
    pub const fn is_like(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
    }

    /// The address that is `number` behind its first; wraps at the end of the family's addresses.
    #[must_use]
    pub fn host(&self, number: u64) -> IpAddr {
        match self.network() {
            // An IPv4 prefix has fewer than 2^32 addresses: what is above means nothing there.
            IpAddr::V4(first) => {
                let number = u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0);
                Ipv4Addr::from_bits(first.to_bits().wrapping_add(number)).into()
            }
            IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits().wrapping_add(number.into())).into(),
        }
    }

    /// How many addresses it has; saturates at 2^64 - 1.
    #[must_use]
    pub fn addresses(&self) -> u64 {
        let bits = if self.address.is_ipv4() { 32 } else { 128 };
        1u64.checked_shl(u32::from(bits - self.length.min(bits))).unwrap_or(u64::MAX)
    }

    fn mask4(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.length.min(32))).unwrap_or(0)
    }

    fn mask6(&self) -> u128 {
        u128::MAX.checked_shl(128 - u32::from(self.length.min(128))).unwrap_or(0)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str, length: u8) -> Prefix {
        Prefix { address: text.parse().unwrap(), length }
    }

    #[test]
    fn an_address_is_in_a_prefix_of_its_own_family_alone() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for (prefix, inside, outside) in [
            (prefix("198.18.64.0", 18), "198.18.127.255", "198.18.128.0"),
            (prefix("2001:2:0:40::", 58), "2001:2:0:7f:ffff:ffff:ffff:ffff", "2001:2:0:80::"),
            (prefix("0.0.0.0", 0), "255.255.255.255", "::"),
            (prefix("::", 0), "ffff::1", "0.0.0.0"),
            (prefix("198.18.0.1", 32), "198.18.0.1", "198.18.0.0"),
            (prefix("2001:2::1", 128), "2001:2::1", "2001:2::"),
        ] {
            assert!(prefix.contains(address(inside)) && !prefix.contains(address(outside)), "{prefix}");
            assert!(
                !prefix.overlaps(&Prefix { address: address(outside), length: prefix.length }) || prefix.length == 0
            );
        }
    }

    #[test]
    fn its_ends_and_its_addresses() {
        let both = [prefix("198.18.64.0", 18), prefix("2001:2:0:40::", 58)];
        assert_eq!(both.map(|one| one.last().to_string()), ["198.18.127.255", "2001:2:0:7f:ffff:ffff:ffff:ffff"]);
        assert_eq!(both.map(|one| one.host(257).to_string()), ["198.18.65.1", "2001:2:0:40::101"]);
        assert_eq!(both.map(|one| one.addresses()), [1 << 14, u64::MAX]);
        assert_eq!((prefix("2001:2::10", 124).addresses(), prefix("10.0.0.0", 31).addresses()), (16, 2));
        assert_eq!(prefix("198.18.65.7", 18).network(), prefix("198.18.64.0", 18).address);
    }
}
