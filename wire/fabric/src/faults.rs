//! What tests and scenarios do to nodes and cables.

use scalebed_cable::Settings;
use scalebed_engine::{Engine, Input, PortIndex};

use crate::fabric::{CableIndex, Fabric, NodeIndex};
use crate::node::Process;

impl Fabric {
    /// The process dies; its ports stay up, and what comes to them vanishes.
    pub fn kill(&mut self, node: NodeIndex) {
        self.nodes[node.0].die();
    }

    /// The process dies, and its ports go down with it.
    pub fn power_off(&mut self, node: NodeIndex) {
        self.kill(node);
        self.set_all_ports(node, false);
    }

    /// Starts a fresh engine on a node, its ports up. A process that is still there is killed first.
    pub fn restart(&mut self, node: NodeIndex, engine: Box<dyn Engine>) {
        self.kill(node);
        self.set_all_ports(node, true);
        let it = &mut self.nodes[node.0];
        it.engine = Some(engine);
        it.journal.clear();
        self.start(node);
    }

    /// Stops a running process: its inputs wait in a bounded backlog, carrier changes fold into the last one.
    pub fn hang(&mut self, node: NodeIndex) {
        let it = &mut self.nodes[node.0];
        if it.process == Process::Running {
            it.process = Process::Hung;
        }
    }

    /// Lets a hung process go on, as its shell would: first the timeout that passed meanwhile, then carrier, then the
    /// backlog, all of it now, frames with the stamps of their arrival.
    pub fn wake(&mut self, node: NodeIndex) {
        let now = self.now;
        let it = &mut self.nodes[node.0];
        if it.process != Process::Hung {
            return;
        }
        it.process = Process::Running;
        let missed = std::mem::take(&mut it.missed);
        let backlog = std::mem::take(&mut it.backlog);
        let deadline = it.deadline;
        if deadline.is_some_and(|deadline| deadline <= now) {
            it.deadline = None;
            self.hand_over(node.0, Input::Timeout);
        } else if let Some(deadline) = deadline {
            // Its wake-up may have fired in vain meanwhile.
            self.arm(node.0, Some(deadline));
        }
        for (port, (up, changes)) in missed {
            self.hand_over(node.0, Input::Link { port: PortIndex(port), up, changes });
        }
        for input in backlog {
            self.hand_over(node.0, input);
        }
    }

    /// Pulls a cable: both ends lose carrier.
    pub fn cut(&mut self, cable: CableIndex) {
        self.cables[cable.0].cut = true;
        self.settle_carrier(cable.0);
    }

    /// Plugs it again.
    pub fn mend(&mut self, cable: CableIndex) {
        self.cables[cable.0].cut = false;
        self.settle_carrier(cable.0);
    }

    /// Changes what a cable does to frames that are put in from now on; the carrier stays.
    pub fn set_cable(&mut self, cable: CableIndex, settings: Settings) {
        self.cables[cable.0].settings = settings;
    }

    /// Sets a port administratively up or down, as the node or the harness would. A port that does not exist is left
    /// alone.
    pub fn set_port(&mut self, node: NodeIndex, port: PortIndex, up: bool) {
        let Some(state) = self.nodes[node.0].ports.get_mut(usize::from(port.0)) else { return };
        state.admin = up;
        if let Some((cable, _)) = state.cable {
            self.settle_carrier(cable);
        }
    }

    fn set_all_ports(&mut self, node: NodeIndex, up: bool) {
        for port in 0..self.nodes[node.0].ports.len() {
            self.set_port(node, PortIndex(u16::try_from(port).unwrap_or(u16::MAX)), up);
        }
    }
}
