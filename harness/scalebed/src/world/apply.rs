//! Applies a plan: one step, one kernel effect, no decision.

use std::collections::BTreeMap;

use scalebed_netns::{NsId, Sandbox, Stack, VethEnd};

use crate::exit::{self, Failure};
use crate::plan::{Plan, PlannedEnd, Step};

/// Namespaces by index of the lab's nodes.
pub type Namespaces = BTreeMap<usize, NsId>;

/// Does every step. On an error the sandbox, and with it everything done so far, is the caller's to drop.
///
/// # Errors
/// [`exit::APPLY`] with the step that failed.
pub fn apply(sandbox: &mut Sandbox, plan: &Plan) -> Result<Namespaces, Failure> {
    let mut namespaces = Namespaces::new();
    for step in &plan.steps {
        one(sandbox, &mut namespaces, step)
            .map_err(|error| Failure::new(exit::APPLY, format!("step `{step}` failed: {error}")))?;
    }
    Ok(namespaces)
}

fn one(sandbox: &mut Sandbox, namespaces: &mut Namespaces, step: &Step) -> Result<(), scalebed_netns::Error> {
    match step {
        Step::Namespace { node, name } => {
            let id = sandbox.namespace(name)?;
            namespaces.insert(*node, id);
            Ok(())
        }
        Step::Cable { a, b, .. } => sandbox.veth(&end(namespaces, a), &end(namespaces, b)),
        Step::Bare { node, interface, .. } => sandbox.stack(namespaces[node], interface, Stack::Cut),
        Step::OffloadsOff { node, interface, .. } => sandbox.offloads_off(namespaces[node], interface),
        Step::Up { node, interface, .. } => sandbox.set_up(namespaces[node], interface, true).map(drop),
        Step::Ipv6 { node, interface, .. } => sandbox.ipv6(namespaces[node], interface),
        Step::Address { node, interface, address, length, .. } => {
            sandbox.address(namespaces[node], interface, *address, *length)
        }
        Step::Route { node, prefix, via, .. } => sandbox.route(namespaces[node], prefix.address, prefix.length, *via),
    }
}

fn end(namespaces: &Namespaces, end: &PlannedEnd) -> VethEnd {
    VethEnd { ns: namespaces[&end.node], name: end.interface.clone(), mac: end.mac.0, mtu: u32::from(end.mtu) }
}
