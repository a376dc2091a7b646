//! The chains: one MHO and one SGM as processes, three kernel routers, and one process that only passes frames on.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use scalebed_cluster::Ablations;
use scalebed_frame::control::MemberState;
use scalebed_frame::{Mac, MhoId, NodeId};
use scalebed_netns::{NsId, Process, ProcessSpec, Sandbox, Stack, VethEnd};
use scalebed_topologies::lab::{Lab, NetworkRole, NodeKind, PortRole};

use crate::exit::{self, Failure};
use crate::{files, nodes, run};

/// A chain does not come up in this: something is wrong.
const BOOT: Duration = Duration::from_secs(15);

/// A chain between the two ports of the namespace `sender`.
pub struct Chain {
    sandbox: Sandbox,
    /// Where the ports `inside` and `outside` are.
    pub sender: NsId,
    /// The MAC that packets are sent to.
    pub gateway: Mac,
    processes: Vec<(String, Process)>,
}

/// A process that passes on what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// The node that does nothing else.
    Switch,
    /// The wire process, without rules.
    Wire,
}

fn failed(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(exit::APPLY, format!("bench: {error}"))
}

impl Chain {
    /// generator -> mho -> sgm -> mho -> sink: the shipped lab, cut down to one orchestrator and one member, its uplinks
    /// plugged straight into the generator.
    pub fn maestro(place: &Path) -> Result<Self, Failure> {
        let (lab, _) = files::lab("maestro-single-site")?;
        let lab = reduced(&lab)?;
        let folder = tempfile::tempdir_in(place).map_err(|error| failed(&error))?.keep();
        let mut sandbox = Sandbox::create(&folder).map_err(|error| failed(&error))?;
        let names = ["sender", "mho1", "sgm-1-01"];
        let mut ids = Vec::new();
        for name in names {
            ids.push(sandbox.namespace(name).map_err(|error| failed(&error))?);
        }
        let [sender, mho, sgm] = ids[..] else { return Err(failed(&"three namespaces")) };
        let port = |node: &str, role: PortRole| -> Result<(String, Mac), Failure> {
            let (_, node) = lab.node(node).ok_or_else(|| failed(&"no such node"))?;
            let port = node.ports.iter().find(|port| port.role == role).ok_or_else(|| failed(&"no such port"))?;
            Ok((port.name.clone(), port.mac))
        };
        let network = |role| lab.role(role).ok_or_else(|| failed(&"no such network"));
        let (inside, outside) = (network(NetworkRole::Inside)?, network(NetworkRole::Outside)?);
        let member = lab.members()[0];
        cable(
            &mut sandbox,
            (sender, ("inside".to_owned(), Mac::host(0x0300_0001))),
            (mho, port("mho1", PortRole::Uplink(inside.id))?),
            1500,
        )?;
        cable(
            &mut sandbox,
            (sender, ("outside".to_owned(), Mac::host(0x0300_0002))),
            (mho, port("mho1", PortRole::Uplink(outside.id))?),
            1500,
        )?;
        cable(
            &mut sandbox,
            (mho, port("mho1", PortRole::DownlinkTo(member))?),
            (sgm, port("sgm-1-01", PortRole::Downlink(MhoId(1)))?),
            1600,
        )?;
        let mut processes = Vec::new();
        for (name, ns) in [("mho1", mho), ("sgm-1-01", sgm)] {
            let process = start(&sandbox, ns, &lab, name, &folder)?;
            processes.push((name.to_owned(), process));
        }
        let chain = Self { sandbox, sender, gateway: inside.cluster_mac, processes };
        wait_for(
            &folder.join("sgm-1-01.events"),
            &format!("\"to\":\"{}\"", format!("{:?}", MemberState::Active).to_lowercase()),
        )?;
        Ok(chain)
    }

    /// generator -> three kernel routers with ip_forward and conntrack -> sink.
    pub fn kernel(place: &Path) -> Result<Self, Failure> {
        let folder = tempfile::tempdir_in(place).map_err(|error| failed(&error))?.keep();
        let mut sandbox = Sandbox::create(&folder).map_err(|error| failed(&error))?;
        let sender = sandbox.namespace("sender").map_err(|error| failed(&error))?;
        let mut routers = Vec::new();
        for name in ["r1", "r2", "r3"] {
            let ns = sandbox.namespace(name).map_err(|error| failed(&error))?;
            sandbox.forwarding(ns, true).map_err(|error| failed(&error))?;
            routers.push(ns);
        }
        let mac = |n: u32| Mac::host(0x0300_0010 + n);
        let end = |name: &str, n: u32| (name.to_owned(), mac(n));
        cable(&mut sandbox, (sender, end("inside", 0)), (routers[0], end("left", 1)), 1500)?;
        cable(&mut sandbox, (routers[0], end("right", 2)), (routers[1], end("left", 3)), 1500)?;
        cable(&mut sandbox, (routers[1], end("right", 4)), (routers[2], end("left", 5)), 1500)?;
        cable(&mut sandbox, (routers[2], end("right", 6)), (sender, end("outside", 7)), 1500)?;
        for (index, ns) in routers.iter().enumerate() {
            let n = u8::try_from(index).unwrap_or(0);
            for (name, address) in [("left", Ipv4Addr::new(10, 9, n, 2)), ("right", Ipv4Addr::new(10, 9, n + 1, 1))] {
                sandbox.stack(*ns, name, Stack::Kernel).map_err(|error| failed(&error))?;
                sandbox.address(*ns, name, address, 24).map_err(|error| failed(&error))?;
            }
            let any = Ipv4Addr::UNSPECIFIED;
            sandbox.route(*ns, any, 0, Ipv4Addr::new(10, 9, n + 1, 2)).map_err(|error| failed(&error))?;
            track(&sandbox, *ns)?;
        }
        Ok(Self { sandbox, sender, gateway: mac(1), processes: Vec::new() })
    }

    /// generator -> one process that passes frames on -> sink.
    pub fn hop(place: &Path, hop: Hop) -> Result<Self, Failure> {
        let folder = tempfile::tempdir_in(place).map_err(|error| failed(&error))?.keep();
        let mut sandbox = Sandbox::create(&folder).map_err(|error| failed(&error))?;
        let sender = sandbox.namespace("sender").map_err(|error| failed(&error))?;
        let between = sandbox.namespace("hop").map_err(|error| failed(&error))?;
        let end = |name: &str, n: u32| (name.to_owned(), Mac::host(0x0300_0020 + n));
        let json = |value: serde_json::Result<String>| value.map_err(|error| failed(&error));
        let (program, names, config) = match hop {
            Hop::Switch => {
                let (mut lab, _) = files::lab("maestro-single-site")?;
                let switch = lab.nodes.iter_mut().find(|node| node.name == "sw-inside");
                let switch = switch.ok_or_else(|| failed(&"no switch"))?;
                switch.ports.retain(|port| port.role == PortRole::Access);
                switch.ports.truncate(2);
                let names: Vec<String> = switch.ports.iter().map(|port| port.name.clone()).collect();
                let (_, node) = lab.node("sw-inside").ok_or_else(|| failed(&"no switch"))?;
                let config = nodes::config(&lab, &[], node, 1, Ablations::default());
                ("switch", names, json(config.ok_or_else(|| failed(&"no process"))?.to_json())?)
            }
            Hop::Wire => {
                let names = ["a", "b"].map(str::to_owned);
                let [a, b] = names.clone();
                let through = scalebed_wire::Through { cable: 0, a, b, settings: scalebed_cable::Settings::default() };
                let config = scalebed_wire::Config { name: "wires".to_owned(), seed: 1, cables: vec![through] };
                ("wire", names.to_vec(), json(serde_json::to_string(&config))?)
            }
        };
        let [near, far] = names.as_slice() else { return Err(failed(&"two ports")) };
        cable(&mut sandbox, (sender, end("inside", 0)), (between, end(near, 1)), 1500)?;
        cable(&mut sandbox, (between, end(far, 2)), (sender, end("outside", 3)), 1500)?;
        let process = launch(&sandbox, between, (&folder, program), program, &config)?;
        wait_for(&folder.join(format!("{program}.events")), "\"ready\"")?;
        Ok(Self { sandbox, sender, gateway: Mac::host(2), processes: vec![(program.to_owned(), process)] })
    }

    /// For sockets in its namespaces.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Nanoseconds on a CPU so far, of each hop's process.
    pub fn cpu(&self) -> Vec<(String, u64)> {
        let spent = |process: &Process| {
            let text = std::fs::read_to_string(format!("/proc/{}/schedstat", process.pid())).unwrap_or_default();
            text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0)
        };
        self.processes.iter().map(|(name, process)| (name.clone(), spent(process))).collect()
    }

    /// Takes it down.
    pub fn teardown(mut self) -> Result<(), Failure> {
        self.processes.clear();
        self.sandbox.teardown().map_err(|errors| {
            let text: Vec<_> = errors.iter().map(ToString::to_string).collect();
            Failure::new(exit::TEARDOWN, text.join("; "))
        })
    }
}

/// One orchestrator and one member of the lab, without the ports that lead elsewhere.
fn reduced(lab: &Lab) -> Result<Lab, Failure> {
    let mut lab = lab.clone();
    let member = *lab.members().first().ok_or_else(|| failed(&"no member"))?;
    lab.nodes.retain(|node| match node.kind.id() {
        Some(NodeId::Mho(mho)) => mho == MhoId(1),
        Some(NodeId::Member(one)) => one == member,
        None => false,
    });
    let management = lab.role(NetworkRole::Management).map(|network| network.id);
    lab.networks.retain(|network| network.role != NetworkRole::Management);
    for node in &mut lab.nodes {
        node.ports.retain(|port| match port.role {
            PortRole::Uplink(network) => Some(network) != management,
            PortRole::DownlinkTo(one) => one == member,
            PortRole::Downlink(mho) => mho == MhoId(1),
            _ => false,
        });
    }
    debug_assert!(lab.nodes.iter().all(|node| !matches!(node.kind, NodeKind::Generator)));
    Ok(lab)
}

fn cable(sandbox: &mut Sandbox, a: (NsId, (String, Mac)), b: (NsId, (String, Mac)), mtu: u32) -> Result<(), Failure> {
    let end = |(ns, (name, mac)): &(NsId, (String, Mac))| VethEnd { ns: *ns, name: name.clone(), mac: mac.0, mtu };
    let ends = [end(&a), end(&b)];
    sandbox.veth(&ends[0], &ends[1]).map_err(|error| failed(&error))?;
    for end in &ends {
        sandbox.stack(end.ns, &end.name, Stack::Cut).map_err(|error| failed(&error))?;
        sandbox.set_up(end.ns, &end.name, true).map_err(|error| failed(&error))?;
    }
    Ok(())
}

fn start(sandbox: &Sandbox, ns: NsId, lab: &Lab, name: &str, folder: &Path) -> Result<Process, Failure> {
    let (_, node) = lab.node(name).ok_or_else(|| failed(&"no such node"))?;
    let config = nodes::config(lab, &[], node, 1, Ablations::default()).ok_or_else(|| failed(&"no process"))?;
    let json = config.to_json().map_err(|error| failed(&error))?;
    launch(sandbox, ns, (folder, name), config.program(), &json)
}

/// Starts a program of ours; its files are in a folder, under a name.
fn launch(
    sandbox: &Sandbox,
    ns: NsId,
    (folder, name): (&Path, &str),
    program: &str,
    config: &str,
) -> Result<Process, Failure> {
    let path = |ending: &str| -> PathBuf { folder.join(format!("{name}.{ending}")) };
    std::fs::write(path("json"), config).map_err(|error| failed(&error))?;
    let text = |ending: &str| path(ending).to_string_lossy().into_owned();
    let args = ["--config", &text("json"), "--control", &text("sock"), "--events", &text("events")];
    let spec = ProcessSpec {
        program: run::programs_beside_this_one()?.join(program),
        args: args.map(str::to_owned).to_vec(),
        env: Vec::new(),
        stdout: path("out"),
        stderr: path("err"),
        fifo_priority: None,
    };
    sandbox.spawn(ns, &spec).map_err(|error| failed(&error))
}

/// Reads a process's events until it says these words.
fn wait_for(events: &Path, words: &str) -> Result<(), Failure> {
    let deadline = std::time::Instant::now() + BOOT;
    loop {
        if std::fs::read_to_string(events).is_ok_and(|text| text.contains(words)) {
            return Ok(());
        }
        if std::time::Instant::now() > deadline {
            return Err(failed(&format!("no {words} in {}", events.display())));
        }
        let _timer_only = scalebed_port::wait(&[], Some(Duration::from_millis(5)));
    }
}

/// Connection tracking in a router: a rule that asks for a state makes the kernel keep one.
fn track(sandbox: &Sandbox, ns: NsId) -> Result<(), Failure> {
    let rules = "table ip bench { chain forward { type filter hook forward priority 0; ct state invalid drop; }; }";
    let done =
        sandbox.run_in(ns, || std::process::Command::new("nft").arg(rules).output()).map_err(|error| failed(&error))?;
    match done {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(failed(&format!("nft: {}", String::from_utf8_lossy(&output.stderr).trim()))),
        Err(error) => {
            Err(Failure::new(exit::CAPABILITY, format!("the kernel chain needs nft (package nftables): {error}")))
        }
    }
}
