//! Lab and scenario -> what the generator is told.

use std::net::Ipv4Addr;

use scalebed_topologies::Lab;
use scalebed_topologies::lab::GeneratorSide;
use scalebed_topologies::scenario::Scenario;
use scalebed_traffic::{Addresses, Config, Profile, Side, Side6, profile};

use crate::driver;
use crate::exit::{self, Failure};

/// Numbers of the MACs of the stations that the generator plays; ports of the lab's nodes count from 0.
const MAC_BASES: [u32; 2] = [0x0100_0000, 0x0200_0000];

/// The generator's configuration for a run whose schedule starts at `start` (ns) and is `length` ns long.
///
/// # Errors
/// The lab has no generator with a side inside and one outside.
pub fn generator(lab: &Lab, scenario: &Scenario, seed: u64, start: u64, length: u64) -> Result<Config, Failure> {
    let [inside, outside] = lab.generator.as_slice() else {
        return Err(Failure::new(exit::BUG, "the lab's generator has not two sides"));
    };
    let addresses = |side: &GeneratorSide| Addresses { on_link: side.on_link.clone(), behind: side.behind.clone() };
    let schedule = profile(&Profile {
        seed,
        run: crate::files::hash64(format!("{} {} {seed}", lab.name, scenario.name).as_bytes()),
        start,
        length,
        event: first_event(scenario).unwrap_or(length / 2),
        traffic: scenario.traffic,
        clients: addresses(inside),
        servers: addresses(outside),
    });
    Ok(Config {
        name: "generator".to_owned(),
        schedule,
        inside: side(lab, inside, MAC_BASES[0]),
        outside: side(lab, outside, MAC_BASES[1]),
        inside_prefixes: inside.behind.clone(),
    })
}

/// Of the scenario, ns after the schedule's start. (Not of faults that an explored case adds.)
fn first_event(scenario: &Scenario) -> Option<u64> {
    scenario.events.first().map(|event| driver::WARM_UP + event.at_ms * 1_000_000)
}

fn side(lab: &Lab, side: &GeneratorSide, mac_base: u32) -> Side {
    let network = lab.network(side.network);
    let ipv6 = side.next_hop6.zip(network.and_then(|network| network.ipv6));
    Side {
        network: side.network,
        mac_base,
        on_link: side.on_link.clone(),
        next_hop: side.next_hop,
        gateway: network.map_or(Ipv4Addr::UNSPECIFIED, |network| network.cluster_ip),
        ipv6: ipv6.map(|(next_hop, own)| Side6 { next_hop, gateway: own.cluster_ip }),
    }
}
