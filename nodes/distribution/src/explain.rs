//! Why a packet goes where it goes, in an operator's words (`asg_dxl calc` of the vendor's guides).

use std::fmt;

use scalebed_frame::control::Matrix;
use scalebed_frame::{Bucket, DistributionMode, Flow, MemberId};
use serde::{Deserialize, Serialize};

use crate::{Facing, Policy};

/// The way from a packet to its members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Distribution mode of the group.
    pub mode: DistributionMode,
    /// Do ports take part for this packet?
    pub l4: bool,
    /// Which way the interface of entry faces.
    pub facing: Facing,
    /// What was hashed.
    pub key: String,
    /// Its bucket.
    pub bucket: Bucket,
    /// Processes it; `None` where the matrix has no such bucket.
    pub owner: Option<MemberId>,
    /// Takes it over.
    pub backup: Option<MemberId>,
    /// Still has its older connections, during a planned move.
    pub previous: Option<MemberId>,
}

/// Explains a packet of `flow` that enters at an interface facing `facing`; `ports` as in [`Policy::key`].
#[must_use]
pub fn explain(policy: &Policy, flow: &Flow, ports: bool, facing: Facing, matrix: &Matrix) -> Explanation {
    let bucket = policy.bucket(flow, ports, facing);
    let assignment = matrix.buckets.get(usize::from(bucket.0));
    Explanation {
        mode: policy.mode,
        l4: policy.l4 && ports,
        facing,
        key: policy.key(flow, ports, facing).to_string(),
        bucket,
        owner: assignment.map(|assignment| assignment.owner),
        backup: assignment.and_then(|assignment| assignment.backup),
        previous: assignment.and_then(|assignment| assignment.previous),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let l4 = if self.l4 { "L4 on" } else { "L4 off" };
        write!(f, "{:?}, {l4}, entered {:?}: key {}, bucket {}", self.mode, self.facing, self.key, self.bucket.0)?;
        for (what, member) in [("owner", self.owner), ("backup", self.backup), ("previous", self.previous)] {
            if let Some(member) = member {
                write!(f, ", {what} {member}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use scalebed_frame::control::Admitted;
    use scalebed_frame::{Generation, Incarnation, Protocol};

    use super::*;
    use crate::matrix;

    #[test]
    fn the_way_of_a_packet_is_told() {
        let flow = Flow {
            protocol: Protocol::TCP,
            src: Ipv4Addr::new(198, 18, 64, 1).into(),
            dst: Ipv4Addr::new(198, 18, 128, 1).into(),
            src_port: 1024,
            dst_port: 80,
        };
        let admitted =
            [1, 2, 3].map(|number| Admitted { member: MemberId::new(1, number), incarnation: Incarnation(1) });
        let matrix = matrix::first(Generation::NONE, 512, &admitted, &[]);
        let mut lines = String::new();
        for (mode, l4) in [
            (DistributionMode::AutoTopology, false),
            (DistributionMode::AutoTopology, true),
            (DistributionMode::General, false),
            (DistributionMode::General, true),
        ] {
            let policy = Policy { mode, l4, buckets: 512 };
            for (flow, facing) in [(flow, Facing::Internal), (flow.reversed(), Facing::External)] {
                lines += &format!("{}\n", explain(&policy, &flow, true, facing, &matrix));
            }
        }
        insta::assert_snapshot!(lines, @r"
        AutoTopology, L4 off, entered Internal: key 198.18.128.1, bucket 203, owner 1_03, backup 1_02
        AutoTopology, L4 off, entered External: key 198.18.128.1, bucket 203, owner 1_03, backup 1_02
        AutoTopology, L4 on, entered Internal: key 198.18.128.1 + port 1024, bucket 222, owner 1_01, backup 1_02
        AutoTopology, L4 on, entered External: key 198.18.128.1 + port 1024, bucket 222, owner 1_01, backup 1_02
        General, L4 off, entered Internal: key 198.18.64.1 <> 198.18.128.1, bucket 129, owner 1_01, backup 1_03
        General, L4 off, entered External: key 198.18.64.1 <> 198.18.128.1, bucket 129, owner 1_01, backup 1_03
        General, L4 on, entered Internal: key 198.18.64.1:1024 <> 198.18.128.1:80, bucket 16, owner 1_02, backup 1_03
        General, L4 on, entered External: key 198.18.64.1:1024 <> 198.18.128.1:80, bucket 16, owner 1_02, backup 1_03
        ");
        let short = Matrix { buckets: Vec::new(), ..matrix };
        let policy = Policy { mode: DistributionMode::General, l4: false, buckets: 512 };
        assert_eq!(explain(&policy, &flow, true, Facing::Internal, &short).owner, None);
    }
}
