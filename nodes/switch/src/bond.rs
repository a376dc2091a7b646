//! Which leg of the bond a frame takes.

use scalebed_frame::view::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};

/// The fields that [`hash`] mixes, for plans and reports.
pub const FIELDS: &str = "layer2+3: source MAC, destination MAC, EtherType, source IP, destination IP";

/// XOR over [`FIELDS`], as Linux's bonding driver does under `xmit_hash_policy=layer2+3`
/// (Documentation/networking/bonding.rst): the last bytes of both MACs, the EtherType and both addresses, then folded.
/// IPv6 addresses are folded to 32 bits first. What is not IP has layer 2 only.
#[must_use]
pub fn hash(frame: &[u8]) -> u32 {
    let byte = |at: usize| u32::from(frame.get(at).copied().unwrap_or(0));
    let word = |at: usize| (0..4).fold(0, |word, i| word << 8 | byte(at + i));
    let ethertype = u16::try_from(byte(12) << 8 | byte(13)).unwrap_or(0);
    let mut hash = byte(5) ^ byte(11) ^ u32::from(ethertype);
    match ethertype {
        ETHERTYPE_IPV4 if frame.len() >= 34 => hash ^= word(26) ^ word(30),
        ETHERTYPE_IPV6 if frame.len() >= 54 => hash ^= (22..54).step_by(4).fold(0, |folded, at| folded ^ word(at)),
        _ => return hash,
    }
    hash ^= hash >> 16;
    hash ^ hash >> 8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::hash;

    fn ipv4(src: [u8; 4], dst: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.resize(26, 0);
        frame.extend(src);
        frame.extend(dst);
        frame
    }

    #[test]
    fn worked_example_of_the_formula() {
        // 1 ^ 2 ^ 0x0800 ^ 0xc6120005 ^ 0xc6130007 = 0x0001_0801; ^ >> 16 = 0x0001_0800; ^ >> 8 = 0x0001_0908.
        assert_eq!(hash(&ipv4([198, 18, 0, 5], [198, 19, 0, 7])), 0x0001_0908);
    }

    #[test]
    fn addresses_spread_evenly_over_two_legs() {
        let odd = (0..=255u8).filter(|&host| hash(&ipv4([198, 18, 0, host], [198, 19, 0, 7])) % 2 == 1).count();
        assert_eq!(odd, 128);
    }

    #[test]
    fn ipv6_addresses_count_and_other_types_have_layer_2_only() {
        let mut frame = vec![0; 54];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        let before = hash(&frame);
        frame[53] = 1;
        assert_ne!(hash(&frame), before);
        frame[12..14].copy_from_slice(&[0x08, 0x06]);
        let arp = hash(&frame);
        frame[30] = 9;
        assert_eq!(hash(&frame), arp);
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_hash_and_directions_share_it(mut frame in proptest::collection::vec(any::<u8>(), 34..100)) {
            frame[12] = 8;
            frame[13] = 0;
            let there = hash(&frame);
            for i in 0..6 {
                frame.swap(i, i + 6);
            }
            for i in 26..30 {
                frame.swap(i, i + 4);
            }
            prop_assert_eq!(there, hash(&frame));
        }

        #[test]
        fn short_frames_have_a_small_hash(frame in proptest::collection::vec(any::<u8>(), 0..34)) {
            prop_assert!(hash(&frame) <= 0xffff);
        }
    }
}
