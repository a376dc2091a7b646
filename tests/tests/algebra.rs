//! The judge's second writing of the distribution algebra against the nodes' own.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use scalebed_checkers::oracle;
use scalebed_distribution::{Facing, Policy};
use scalebed_frame::{DistributionMode, Flow, Protocol};

proptest! {
    #[test]
    fn the_oracle_and_the_nodes_agree(
        src in any::<u32>(), dst in any::<u32>(), src_port in any::<u16>(), dst_port in any::<u16>(),
        mode in 0usize..4, l4 in any::<bool>(), ports in any::<bool>(), internal in any::<bool>(),
    ) {
        let mode = [
            DistributionMode::General, DistributionMode::User, DistributionMode::Network, DistributionMode::AutoTopology,
        ][mode];
        let flow = Flow {
            protocol: Protocol::UDP,
            src: Ipv4Addr::from(src).into(),
            dst: Ipv4Addr::from(dst).into(),
            src_port,
            dst_port,
        };
        let facing = if internal { Facing::Internal } else { Facing::External };
        let own = Policy { mode, l4, buckets: 512 }.bucket(&flow, ports, facing);
        prop_assert_eq!(own, oracle::bucket(&oracle::key(mode, l4, internal, &flow, ports), 512));
    }
}
