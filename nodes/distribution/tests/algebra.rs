//! The symmetry algebra: the share of return packets that land on another member than the first packet did.

use std::net::{IpAddr, Ipv4Addr};

use scalebed_distribution::{Facing, Policy, matrix};
use scalebed_frame::control::{Admitted, Matrix};
use scalebed_frame::{DistributionMode, Flow, Generation, Incarnation, MemberId, Protocol};

const FLOWS: u32 = 20_000;
const NAT: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

fn members(n: u8) -> Matrix {
    let one = |number| Admitted { member: MemberId::new(1, number), incarnation: Incarnation(1) };
    matrix::first(Generation::NONE, 512, &(1..=n).map(one).collect::<Vec<_>>(), &[])
}

/// Flow `n` of a client inside to a server outside. Strides are odd and large, so that no field follows another.
fn flow(n: u32) -> Flow {
    let port = |n: u32| u16::try_from(1024 + n % 60_000).expect("below 65,536");
    Flow {
        protocol: Protocol::TCP,
        src: Ipv4Addr::from(0x0a00_0000 | (n.wrapping_mul(2_654_435_761) >> 12)).into(),
        dst: Ipv4Addr::from(0xc612_0000 | (n.wrapping_mul(40_503) & 0xffff)).into(),
        src_port: port(n.wrapping_mul(7_919)),
        dst_port: 443,
    }
}

/// The share of flows whose answer (`back` of what the server sees) is dealt to another member.
fn corrected(policy: Policy, n: u8, ways: (Facing, Facing), translate: impl Fn(u32, Flow) -> (Flow, Flow)) -> f64 {
    let matrix = members(n);
    let owner = |flow: &Flow, facing| matrix.buckets[usize::from(policy.bucket(flow, true, facing).0)].owner;
    let differs = (0..FLOWS).filter(|&number| {
        let (out, back) = translate(number, flow(number));
        owner(&out, ways.0) != owner(&back, ways.1)
    });
    f64::from(u32::try_from(differs.count()).expect("at most all flows")) / f64::from(FLOWS)
}

fn plain(_: u32, flow: Flow) -> (Flow, Flow) {
    (flow, flow.reversed())
}

fn hide(number: u32, flow: Flow) -> (Flow, Flow) {
    let port = 10_000 + u16::try_from(number.wrapping_mul(31) % 50_000).expect("below 65,536");
    (flow, Flow { dst: NAT, dst_port: port, ..flow.reversed() })
}

fn hide_keeps_port(_: u32, flow: Flow) -> (Flow, Flow) {
    (flow, Flow { dst: NAT, ..flow.reversed() })
}

/// From outside to a translated server: enters for the public address, the server answers from its own.
fn static_in(_: u32, flow: Flow) -> (Flow, Flow) {
    let first = Flow { dst: NAT, ..flow };
    (first, flow.reversed())
}

#[test]
fn every_row_of_the_table() {
    let out = (Facing::Internal, Facing::External);
    let inbound = (Facing::External, Facing::Internal);
    for n in [2u8, 3, 4, 8] {
        let all = f64::from(n - 1) / f64::from(n);
        let policy = |mode, l4| Policy { mode, l4, buckets: 512 };
        let (auto, general) = (DistributionMode::AutoTopology, DistributionMode::General);
        let rows = [
            ("auto-topology", corrected(policy(auto, false), n, out, plain), 0.0),
            ("auto-topology, hide NAT", corrected(policy(auto, false), n, out, hide), 0.0),
            ("auto-topology, inbound static NAT", corrected(policy(auto, false), n, inbound, static_in), 0.0),
            ("user on both", corrected(policy(DistributionMode::User, false), n, out, plain), all),
            ("network on both", corrected(policy(DistributionMode::Network, false), n, out, plain), all),
            ("general", corrected(policy(general, false), n, out, plain), 0.0),
            ("general, L4", corrected(policy(general, true), n, out, plain), 0.0),
            ("general, hide NAT", corrected(policy(general, false), n, out, hide), all),
            ("auto-topology, L4, hide NAT", corrected(policy(auto, true), n, out, hide), all),
            ("auto-topology, L4, port kept", corrected(policy(auto, true), n, out, hide_keeps_port), 0.0),
        ];
        for (row, share, predicted) in rows {
            // Six standard deviations of a share over 20,000 independent flows; an exact 0 has none.
            let bound = 6.0 * (predicted * (1.0 - predicted) / f64::from(FLOWS)).sqrt();
            assert!((share - predicted).abs() <= bound, "{row}, {n} members: {share}, predicted {predicted}");
        }
    }
}
