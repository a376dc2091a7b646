//! Hide NAT: every cabled member has its own range of each pool, so that no two ever choose the same port.

use std::collections::BTreeSet;
use std::net::IpAddr;

use scalebed_frame::{MemberId, NetworkId};
use scalebed_topologies::lab::HideNat;

/// The hide rules of a group, and which ports are in use, as one member sees them.
#[derive(Clone, Debug)]
pub(crate) struct Nat {
    pools: Vec<Pool>,
    members: Vec<MemberId>,
    me: MemberId,
}

#[derive(Clone, Debug)]
struct Pool {
    rule: HideNat,
    /// Ports of this member's range that a connection uses, here or elsewhere.
    used: BTreeSet<u16>,
    /// Ports go round, so that one that was just freed rests longest.
    next: u16,
}

/// 2^32 by the golden ratio.
const GOLDEN: u32 = 0x9e37_79b9;

/// First and last port of a member's range.
type Range = (u16, u16);

impl Nat {
    /// `members`: every cabled member, in order of id; `start`: which start of this member's process it is, from 0. Each
    /// begins elsewhere in the range: what an earlier one sent may still be under way, and nobody can say what.
    pub(crate) fn new(rules: &[HideNat], members: &[MemberId], me: MemberId, start: u32) -> Self {
        let pools = rules.iter().map(|&rule| Pool { rule, used: BTreeSet::new(), next: 0 }).collect();
        let mut nat = Self { pools, members: members.to_vec(), me };
        for rule in 0..nat.pools.len() {
            let Some((first, last)) = nat.range_of(rule, me) else { continue };
            let each = u64::from(last - first) + 1;
            // Multiples of the golden ratio spread evenly, however many there are (Knuth, multiplicative hashing).
            let place = (u64::from(start.wrapping_mul(GOLDEN)) * each) >> 32;
            nat.pools[rule].next = first + u16::try_from(place).unwrap_or(0);
        }
        nat
    }

    /// The rule for connections that enter at `from` and leave at `to`.
    pub(crate) fn rule(&self, from: NetworkId, to: NetworkId) -> Option<usize> {
        self.pools.iter().position(|pool| pool.rule.from == from && pool.rule.to == to)
    }

    /// The address of a rule.
    pub(crate) fn address(&self, rule: usize) -> Option<IpAddr> {
        self.pools.get(rule).map(|pool| pool.rule.address.into())
    }

    /// Is it an address that connections hide behind?
    pub(crate) fn hides_behind(&self, address: IpAddr) -> bool {
        self.pools.iter().any(|pool| IpAddr::V4(pool.rule.address) == address)
    }

    /// Addresses that connections take on `network`.
    pub(crate) fn addresses(&self, network: NetworkId) -> impl Iterator<Item = std::net::Ipv4Addr> + '_ {
        self.pools.iter().filter(move |pool| pool.rule.to == network).map(|pool| pool.rule.address)
    }

    /// Takes a free port of this member's range for which `fits` holds; `None`: none is left.
    pub(crate) fn take(&mut self, rule: usize, fits: impl Fn(u16) -> bool) -> Option<u16> {
        let (first, last) = self.range_of(rule, self.me)?;
        let pool = self.pools.get_mut(rule)?;
        let start = pool.next.clamp(first, last);
        let free = |port: &u16| !pool.used.contains(port) && fits(*port);
        let port = (start..=last).chain(first..start).find(free)?;
        pool.used.insert(port);
        pool.next = if port == last { first } else { port + 1 };
        Some(port)
    }

    /// A connection, here or elsewhere, uses this address and port.
    pub(crate) fn reserve(&mut self, address: IpAddr, port: u16) {
        if let Some(pool) = self.mine(address, port) {
            pool.used.insert(port);
        }
    }

    /// It no longer does.
    pub(crate) fn free(&mut self, address: IpAddr, port: u16) {
        if let Some(pool) = self.mine(address, port) {
            pool.used.remove(&port);
        }
    }

    /// Ports that another member says it still uses of this member's range, of any pool.
    pub(crate) fn reserve_all(&mut self, ports: &[u16]) {
        for rule in 0..self.pools.len() {
            if let Some(address) = self.address(rule) {
                ports.iter().for_each(|&port| self.reserve(address, port));
            }
        }
    }

    /// In whose range an address and port lie.
    pub(crate) fn range_owner(&self, address: IpAddr, port: u16) -> Option<MemberId> {
        let rule = self.pools.iter().position(|pool| IpAddr::V4(pool.rule.address) == address)?;
        let within = |member: &&MemberId| {
            self.range_of(rule, **member).is_some_and(|(first, last)| (first..=last).contains(&port))
        };
        self.members.iter().find(within).copied()
    }

    fn mine(&mut self, address: IpAddr, port: u16) -> Option<&mut Pool> {
        if self.range_owner(address, port) != Some(self.me) {
            return None;
        }
        self.pools.iter_mut().find(|pool| IpAddr::V4(pool.rule.address) == address)
    }

    /// (ports in all) / (cabled members) ports each, by index.
    fn range_of(&self, rule: usize, member: MemberId) -> Option<Range> {
        let (low, high) = self.pools.get(rule)?.rule.ports;
        let index = u32::try_from(self.members.iter().position(|one| *one == member)?).ok()?;
        let all = (u32::from(high) + 1).checked_sub(u32::from(low))?;
        let each = all / u32::try_from(self.members.len()).ok()?;
        let first = u32::from(low) + index * each;
        let last = (first + each).checked_sub(1).filter(|last| *last >= first)?;
        Some((u16::try_from(first).ok()?, u16::try_from(last).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use proptest::prelude::*;
    use scalebed_frame::{MemberId, NetworkId};
    use scalebed_topologies::lab::HideNat;

    use super::Nat;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);

    fn nat(ports: (u16, u16), members: u8, me: u8) -> Nat {
        let rule = HideNat { from: NetworkId(1), to: NetworkId(2), address: ADDRESS, ports };
        let members: Vec<_> = (1..=members).map(|number| MemberId::new(1, number)).collect();
        Nat::new(&[rule], &members, MemberId::new(1, me), 0)
    }

    proptest! {
        #[test]
        fn no_two_members_ever_take_the_same_port(low in 1u16..60000, size in 0u16..200, members in 1u8..6) {
            let mut seen = BTreeSet::new();
            for me in 1..=members {
                let mut nat = nat((low, low + size), members, me);
                while let Some(port) = nat.take(0, |_| true) {
                    prop_assert!(seen.insert(port), "{} twice", port);
                    prop_assert!((low..=low + size).contains(&port));
                    prop_assert_eq!(nat.range_owner(ADDRESS.into(), port), Some(MemberId::new(1, me)));
                }
            }
            let each = (usize::from(size) + 1) / usize::from(members);
            prop_assert_eq!(seen.len(), each * usize::from(members));
        }
    }

    #[test]
    fn a_joiner_avoids_ports_of_its_range_that_are_in_use_elsewhere() {
        let mut nat = nat((100, 107), 2, 2);
        nat.reserve_all(&[104, 106, 101]);
        let taken: Vec<_> = std::iter::from_fn(|| nat.take(0, |_| true)).collect();
        assert_eq!(taken, [105, 107]);
        nat.free(ADDRESS.into(), 104);
        assert_eq!(nat.take(0, |_| true), Some(104));
    }

    #[test]
    fn a_port_that_was_just_freed_rests_longest() {
        let mut nat = nat((100, 102), 1, 1);
        assert_eq!(nat.take(0, |_| true), Some(100));
        nat.free(ADDRESS.into(), 100);
        assert_eq!(nat.take(0, |_| true), Some(101));
        assert_eq!(nat.take(0, |port| port != 102), Some(100));
    }

    #[test]
    fn each_start_begins_elsewhere_in_the_range() {
        let rule = HideNat { from: NetworkId(1), to: NetworkId(2), address: ADDRESS, ports: (10_000, 59_999) };
        let members: Vec<_> = (1..=4).map(|number| MemberId::new(1, number)).collect();
        let first = |start| Nat::new(&[rule], &members, MemberId::new(1, 2), start).take(0, |_| true).expect("a port");
        let mut firsts: Vec<u16> = (0..8).map(first).collect();
        assert_eq!(firsts[0], 22_500);
        firsts.sort_unstable();
        assert!(firsts.iter().all(|port| (22_500..35_000).contains(port)), "{firsts:?}");
        assert!(firsts.windows(2).all(|two| two[1] - two[0] > 12_500 / 16), "{firsts:?}");
    }
}
