//! Where a flow is.

use scalebed_frame::signature::Direction;

use super::cluster::{Mutant, run};
use super::{EVENT, MS};

/// Half closed before its member died: what the client sent last still tells of the dead one, what the server sends does not.
#[test]
fn a_flow_is_at_the_member_that_took_its_newest_packet_whichever_way_it_went() {
    let mut run = run("elasticxl/member-kill", Mutant::None);
    let rows = |run: &super::Run| run.judge().record.owners;
    let before = rows(&run);
    assert_eq!(before[0].when, "before kill member-1-03");
    let place = 2;
    let moved = |flow: &usize| before[0].members[*flow] == place && before[1].members[*flow] >= 0;
    // Not a probe: those are so fast that their last packets of a second ago are too old to count.
    let probes = run.scenario.traffic.probes as usize;
    let flow = (probes..before[0].members.len()).find(moved).expect("a connection of the victim that goes on");
    let client = |direction, at| direction == Direction::Forward && at > EVENT - 100 * MS;
    run.observations
        .retain(|seen| seen.probe.is_none_or(|probe| probe.flow as usize != flow || !client(probe.direction, seen.at)));
    let after = rows(&run);
    assert_eq!(after[0].members[flow], place);
    assert_eq!(after[1].members[flow], before[1].members[flow]);
    assert_ne!(after[1].members[flow], place, "{}", after[1].when);
}
