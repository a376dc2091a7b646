//! Choices of ours that a lab rests on because the vendor has not published its own.

use crate::lab::{Architecture, Redeal, Sticky};
use crate::platform::Platform;
use crate::spec::LabSpec;

pub(super) fn list(spec: &LabSpec, platform: &Platform) -> Vec<String> {
    let mut list = vec![
        "internal frames carry a shim of 16 bytes under EtherType 0x88B5: the vendor's own tags are unpublished"
            .to_owned(),
        "the hash from a key to a bucket is ours; the modes and their fields are the vendor's".to_owned(),
        "byte 4 of cluster and member MACs carries the Security Group".to_owned(),
        "a lower member id that returns does not take the SMO role back".to_owned(),
        "hide NAT gives each cabled member its own range of ports".to_owned(),
        match spec.group.redeal {
            Redeal::MinimalMove => "re-deal on a change: minimal-move".to_owned(),
            Redeal::Full => "re-deal on a change: full".to_owned(),
        },
    ];
    match spec.architecture {
        Architecture::Maestro => {
            if let Some(roles) = platform.roles {
                let show =
                    |(low, high): (u16, u16)| if low == high { low.to_string() } else { format!("{low}-{high}") };
                list.push(format!(
                    "port roles of {}: management {}, uplink {}, downlink {}, pair {}",
                    platform.name,
                    show(roles.management),
                    show(roles.uplink),
                    show(roles.downlink),
                    show(roles.pair)
                ));
            }
            list.push(format!("at most {} members a group ({})", platform.members, platform.release));
            list.push("orchestrators have MACs of our own scheme on downlinks and the pair cable".to_owned());
        }
        Architecture::ElasticXl => {
            list.push("pivot_forward: sync: handovers travel over the sync network".to_owned());
            let sticky = spec.group.sticky.map_or(Sticky::Table, |at| at.value);
            list.push(
                match sticky {
                    Sticky::Table => "sticky: table: the pivot asks the connections that it knows before the matrix",
                    Sticky::Hash => "sticky: hash: the pivot asks the matrix only",
                }
                .to_owned(),
            );
            list.push("a member has a MAC of its own on every data network, beside the cluster's".to_owned());
        }
    }
    list
}
