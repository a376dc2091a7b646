//! The judge's second writing of the distribution algebra against the nodes' own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use scalebed_checkers::oracle;
use scalebed_distribution::{Facing, Policy};
use scalebed_frame::{DistributionMode, Flow, Protocol};

proptest! {
    #[test]
    fn the_oracle_and_the_nodes_agree(
        src in any::<u128>(), dst in any::<u128>(), v6 in any::<bool>(), src_port in any::<u16>(), dst_port in any::<u16>(),
        mode in 0usize..4, l4 in any::<bool>(), ports in any::<bool>(), internal in any::<bool>(),
    ) {
        let mode = [
            DistributionMode::General, DistributionMode::User, DistributionMode::Network, DistributionMode::AutoTopology,
        ][mode];
        let address = |bits: u128| -> IpAddr {
            let low = u32::try_from(bits & u128::from(u32::MAX)).expect("32 bits");
            if v6 { Ipv6Addr::from(bits).into() } else { Ipv4Addr::from(low).into() }
        };
        let flow = Flow { protocol: Protocol::UDP, src: address(src), dst: address(dst), src_port, dst_port };
        let facing = if internal { Facing::Internal } else { Facing::External };
        let own = Policy { mode, l4, buckets: 512 }.bucket(&flow, ports, facing);
        prop_assert_eq!(own, oracle::bucket(&oracle::key(mode, l4, internal, &flow, ports), 512));
    }
}
