//! A message's way into frames: ports and addresses.

use scalebed_cluster::Port;
use scalebed_cluster::wrap::Envelope;
use scalebed_frame::control::Body;
use scalebed_frame::{GroupId, Incarnation, Mac, MemberId, MhoId, NodeId, mac};
use scalebed_topologies::lab::Architecture;

use crate::world::{booted, config_of, sgm};

fn join(port: Port, to: Option<NodeId>) -> Envelope {
    Envelope { incarnation: Incarnation(256), port, to, body: Body::Join { config: 7 } }
}

fn way(architecture: Architecture, port: Port, to: Option<NodeId>, down: &[u16]) -> Vec<(u16, Mac)> {
    let world = booted(architecture, 3, &[]);
    let config = config_of(&world, 1);
    let frames = join(port, to).frames(&config, &mut 0, &|port| !down.contains(&port));
    let destination = |frame: &[u8]| Mac(frame[..6].try_into().expect("a frame has addresses"));
    frames.iter().map(|(port, frame)| (*port, destination(frame.bytes()))).collect()
}

#[test]
fn a_message_to_everybody_takes_every_path_that_has_carrier() {
    for (architecture, ports) in [(Architecture::Maestro, 2), (Architecture::ElasticXl, 3)] {
        let all: Vec<_> = (0..ports).map(|port| (port, Mac::BROADCAST)).collect();
        assert_eq!(way(architecture, Port::All, None, &[]), all);
        assert_eq!(way(architecture, Port::All, None, &[0]), all[1..]);
        assert_eq!(way(architecture, Port::All, None, &(0..ports).collect::<Vec<_>>()), []);
    }
}

#[test]
fn a_message_to_one_takes_the_nearest_path_that_has_carrier() {
    let group = GroupId(1);
    let member = MemberId::new(1, 2);
    let second = Some(NodeId::Mho(MhoId(2)));
    let maestro = |to, down: &[u16]| way(Architecture::Maestro, Port::Best, to, down);
    assert_eq!(maestro(second, &[]), [(1, mac::orchestrator_mac(MhoId(2)))]);
    assert_eq!(maestro(second, &[1]), [(0, mac::orchestrator_mac(MhoId(2)))]);
    assert_eq!(maestro(Some(sgm(2)), &[]), [(0, mac::bmac(group, member, 0))]);
    assert_eq!(maestro(Some(sgm(2)), &[0]), [(1, mac::bmac(group, member, 1))]);
    let elastic = way(Architecture::ElasticXl, Port::Best, Some(sgm(2)), &[]);
    assert_eq!(elastic, [(0, mac::smac(group, member))]);
}
