//! The keeper: builds a lab, holds it, and answers whoever asks, until it is told to take it down.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getppid, setsid};
use scalebed_engine::Role;
use scalebed_frame::{Flow, Protocol};
use scalebed_record::history::{Declared, Heard};
use scalebed_record::{Entry, Fact};
use scalebed_topologies::lab::{Architecture, Network, NodeKind};
use scalebed_topologies::{Lab, Scenario};
use serde::Serialize;

use super::commands::Build;
use super::place::{self, Claim};
use super::protocol::{Answer, LabStatus, NodeStatus, Request, SeenFlow, SeenPlace};
use super::update::Change;
use crate::driver::live::Live;
use crate::driver::{Settings, bent_by};
use crate::exit::{self, Failure};
use crate::plan::Plan;
use crate::run;
use crate::rundir;
use crate::world::World as _;
use crate::world::netns::{Netns, Places};

/// Observations of taps that are kept, for `explain`: some seconds of a busy lab.
const RECENT: usize = 200_000;
/// An asker that does not say its line within this is not heard.
const PATIENCE: Duration = Duration::from_secs(2);
/// Every so often a process that died without a word is noticed.
const GLANCE: Duration = Duration::from_millis(200);

/// What to keep.
#[derive(Debug)]
pub struct Order<'a> {
    /// The name that the lab is up by.
    pub name: &'a str,
    /// The lab.
    pub lab: &'a Lab,
    /// The run directory.
    pub folder: &'a Path,
    /// Where the node programs are.
    pub programs: &'a Path,
    /// How it is built.
    pub build: Build,
    /// Pid of whoever waits for it to be up: if that ends before, so does this.
    pub parent: u32,
}

/// Leaves the terminal, builds the lab, says `ready`, and keeps it until it is taken down.
///
/// # Errors
/// A lab of this name is up; the lab could not be built; taking it down left something.
pub fn keep(order: &Order<'_>, say: &mut dyn FnMut(&str) -> io::Result<()>) -> Result<(), Failure> {
    let broke = |what: &str, error: &dyn std::fmt::Display| Failure::new(exit::BUG, format!("{what}: {error}"));
    setsid().map_err(|error| broke("a session of its own", &error))?;
    // Ctrl-C at `up` ends `up`, and this must follow. From then on nobody waits.
    prctl::set_pdeathsig(Signal::SIGTERM).map_err(|error| broke("parent", &error))?;
    if getppid().as_raw().cast_unsigned() != order.parent {
        return Err(Failure::new(exit::INTERRUPTED, "interrupted by the operator"));
    }
    let claim = Claim::take(order.name, &order.lab.name, order.folder.to_path_buf())?;
    let mut told = |phase: &str| say(phase).map_err(|_| Failure::new(exit::INTERRUPTED, "nobody waits for it"));
    let signals = run::take_signals()?;
    told("build")?;
    let places = Places::of(order.folder, order.programs);
    let bent = if order.build.wires { (0..order.lab.cables.len()).collect() } else { bent_by(order.lab, &[]) };
    let places = Places { journals: order.build.journals, recent: Some(RECENT), bent, ..places };
    let mut world = Netns::build(order.lab, &places, Some(signals))?;
    let outcome = told("boot").and_then(|()| serve(order, &mut world, &mut told));
    let down = world.teardown();
    drop(world);
    drop(claim);
    let asker = outcome?;
    if let Some(mut asker) = asker {
        let answer = Answer::of(down.clone().map(|()| true));
        let _gone_is_fine = write_line(&mut asker, &answer);
    }
    down
}

/// Whoever asked for the end, if it was not a signal.
fn serve(
    order: &Order<'_>,
    world: &mut Netns,
    told: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<Option<UnixStream>, Failure> {
    let broke = |error: io::Error| Failure::new(exit::BUG, format!("keeper: {error}"));
    let began = world.now();
    let idle = Scenario::idle(order.lab);
    let live = Live::boot(world, order.lab, &idle, Settings::default())?;
    let listener = UnixListener::bind(place::socket(order.name)).map_err(broke)?;
    listener.set_nonblocking(true).map_err(broke)?;
    let history = File::create(order.folder.join("history.jsonl")).map_err(broke)?;
    let mut keeper = Keeper {
        order,
        live,
        up: order.lab.clone(),
        began,
        since: rundir::utc(),
        history,
        last_change: BTreeMap::new(),
        matrix: None,
        followers: Vec::new(),
    };
    keeper.write_down()?;
    prctl::set_pdeathsig(None::<Signal>).map_err(|error| broke(error.into()))?;
    told("ready")?;
    loop {
        let now = keeper.live.world().now();
        let due = keeper.live.next().map(|at| Duration::from_nanos(at.saturating_sub(now)));
        let waited = keeper.live.world().wait(listener.as_fd(), due.map_or(GLANCE, |due| due.min(GLANCE)))?;
        keeper.live.told(waited.told);
        keeper.live.on_time();
        for (node, how) in waited.died {
            keeper.live.died(node, &how);
        }
        keeper.write_down()?;
        if waited.interrupted {
            return Ok(None);
        }
        if waited.asked
            && let Ok((stream, _)) = listener.accept()
            && let Some(asker) = keeper.answer(stream)?
        {
            return Ok(Some(asker));
        }
    }
}

struct Keeper<'a> {
    order: &'a Order<'a>,
    live: Live<'a, Netns>,
    /// The lab, with those absent and spare who are now.
    up: Lab,
    /// By the world's clock, ns.
    began: u64,
    since: String,
    history: File,
    /// By node's name.
    last_change: BTreeMap<String, (f64, String)>,
    /// The newest that was heard.
    matrix: Option<scalebed_frame::control::Matrix>,
    followers: Vec<UnixStream>,
}

impl Keeper<'_> {
    /// What happened goes to the history and to whoever follows.
    fn write_down(&mut self) -> Result<(), Failure> {
        let heard = std::mem::take(&mut self.live.world().collected().heard);
        for entry in heard {
            if let Fact::Heard(Heard::Matrix(matrix)) = entry.fact
                && self.matrix.as_ref().is_none_or(|known| known.generation < matrix.generation)
            {
                self.matrix = Some(matrix);
            }
        }
        for entry in self.live.history() {
            match &entry.fact {
                Fact::Declared { node, text, what: Declared::State(_) | Declared::Fenced(_) }
                | Fact::Operation { node, text, .. } => {
                    self.last_change.insert(node.clone(), (self.seconds(entry.at), text.clone()));
                }
                _ => {}
            }
            let broke = |error: io::Error| Failure::new(exit::BUG, format!("history: {error}"));
            serde_json::to_writer(&mut self.history, &entry).map_err(io::Error::from).map_err(broke)?;
            self.history.write_all(b"\n").map_err(broke)?;
            let line = event(self.seconds(entry.at), &entry);
            // One that does not read is no longer followed: the lab does not wait for it.
            self.followers.retain_mut(|follower| write_line(follower, &line).is_ok());
        }
        Ok(())
    }

    /// Who has a role now, if the word is one; else the word.
    fn in_role(&mut self, word: String) -> Result<String, Failure> {
        let role = match (word.as_str(), self.order.lab.architecture) {
            ("smo", _) => Role::Smo,
            ("pivot", Architecture::ElasticXl) => Role::Pivot,
            _ => return Ok(word),
        };
        let has = |node: &NodeStatus| node.status.iter().any(|status| status.roles.contains(&role));
        let holder = self.status().nodes.into_iter().find(has).map(|node| node.name);
        holder.ok_or_else(|| Failure::new(exit::USAGE, format!("nobody has the role {word} now: name a node")))
    }

    fn seconds(&self, at: u64) -> f64 {
        Duration::from_nanos(at.saturating_sub(self.began)).as_secs_f64()
    }

    /// Answers one question; gives the asker back who wants the end.
    fn answer(&mut self, mut stream: UnixStream) -> Result<Option<UnixStream>, Failure> {
        let Ok(request) = read_request(&stream) else { return Ok(None) };
        // Whoever goes before the answer comes does not want it.
        let _sent_or_gone = match request {
            Request::Down => return Ok(Some(stream)),
            Request::Status => write_line(&mut stream, &Answer::Done(self.status())),
            Request::Enter { node } => self.enter(&node, &mut stream),
            Request::Inject { kind, target } => {
                let target = self.in_role(target);
                let outcome = target.and_then(|target| self.live.inject(kind, &target).map(|()| self.live.broken()));
                write_line(&mut stream, &Answer::of(outcome))
            }
            Request::Heal { target } => {
                let outcome = self.live.heal(target.as_deref());
                write_line(&mut stream, &Answer::of(outcome))
            }
            Request::Update { text } => {
                let outcome = self.update(&text);
                write_line(&mut stream, &Answer::of(outcome))
            }
            Request::Seen { flow } => {
                let seen = self.seen(&flow);
                write_line(&mut stream, &Answer::Done(seen))
            }
            Request::Events { follow } => self.events(stream, follow),
        };
        self.write_down()?;
        Ok(None)
    }

    fn status(&mut self) -> LabStatus {
        let lab = self.order.lab;
        let mut nodes = Vec::new();
        for (index, node) in lab.nodes.iter().enumerate().filter(|(_, node)| !self.up.is_spare(node)) {
            let (kind, detail) = match &node.kind {
                NodeKind::Mho(mho) => ("orchestrator", mho.to_string()),
                NodeKind::Member(member) => ("member", member.to_string()),
                NodeKind::Switch(network) => {
                    let subnets = |network: &Network| words(network.subnets());
                    ("switch", lab.network(*network).map_or("sync".to_owned(), subnets))
                }
                NodeKind::Host(host) => ("host", words(host.addresses())),
                NodeKind::Generator => ("generator", String::new()),
            };
            let process = self.live.process(index);
            // One that stands still would keep everybody waiting.
            let status = if process == Some("running") { self.live.world().status(index).ok() } else { None };
            nodes.push(NodeStatus {
                name: node.name.clone(),
                kind: kind.to_owned(),
                detail,
                process: process.map(str::to_owned),
                status,
                last_change: self.last_change.get(&node.name).cloned(),
            });
        }
        LabStatus {
            name: self.order.name.to_owned(),
            lab: lab.name.clone(),
            architecture: lab.architecture.title().to_owned(),
            since: self.since.clone(),
            folder: self.order.folder.to_path_buf(),
            keeper: std::process::id(),
            broken: self.live.broken(),
            nodes,
        }
    }

    /// Starts and switches off whom another text of the lab's file lets come and go.
    fn update(&mut self, text: &str) -> Result<Change, Failure> {
        let file = self.order.folder.join("lab.yaml");
        let new = scalebed_topologies::load_lab_as_cabled("lab.yaml", text, &self.up)
            .map_err(|error| Failure::new(exit::BAD_FILE, error.to_string()))?;
        let change = Change::between(&self.up, &new)?;
        self.live.change(&change.come, &change.go, &new.spare)?;
        std::fs::write(&file, text).map_err(|error| Failure::new(exit::BUG, format!("{}: {error}", file.display())))?;
        self.up = new;
        Ok(change)
    }

    fn enter(&mut self, node: &str, stream: &mut UnixStream) -> io::Result<()> {
        if let Some(text) = self.live.not_there(node) {
            return write_line(stream, &Answer::<bool>::Refused { code: exit::USAGE, text });
        }
        let Some(ns) = self.live.world().namespace(node) else {
            let there = self.up.nodes.iter().filter(|node| !self.up.is_spare(node));
            let names: Vec<_> = there.map(|node| node.name.as_str()).collect();
            let text = format!("there is no node `{node}`; there are {}", names.join(", "));
            return write_line(stream, &Answer::<bool>::Refused { code: exit::USAGE, text });
        };
        let words = serde_json::to_vec(&Answer::Done(true))?;
        self.live.world().sandbox().lend(ns, stream, &words).map_err(io::Error::other)
    }

    fn events(&mut self, mut stream: UnixStream, follow: bool) -> io::Result<()> {
        write_line(&mut stream, &Answer::Done(true))?;
        let past = std::fs::read_to_string(self.order.folder.join("history.jsonl"))?;
        for line in past.lines() {
            let entry: Entry = serde_json::from_str(line)?;
            write_line(&mut stream, &event(self.seconds(entry.at), &entry))?;
        }
        if follow {
            stream.set_nonblocking(true)?;
            self.followers.push(stream);
        }
        Ok(())
    }

    fn seen(&mut self, flow: &Flow) -> SeenFlow {
        let lab = self.order.lab;
        let mut places: Vec<SeenPlace> = Vec::new();
        let world = self.live.world();
        for observation in &world.collected().observations {
            let Some(seen) = observation.flow else { continue };
            let Some((back, translated)) = direction(lab, flow, &seen) else { continue };
            let Some(cable) = lab.cables.get(usize::from(observation.tap.cable())) else { continue };
            let (from, to) = if observation.tap.at_b() { (cable.a, cable.b) } else { (cable.b, cable.a) };
            // What a switch floods reaches the cables of the room too, and nobody there.
            if self.up.is_spare(&lab.nodes[usize::from(to.node)]) {
                continue;
            }
            let name = |end: scalebed_topologies::lab::End| lab.nodes[usize::from(end.node)].name.clone();
            let shim = observation.shim.map(|shim| format!("{:?}", shim.kind).to_lowercase());
            let (from, to) = (name(from), name(to));
            let known = places.iter_mut().find(|place| {
                (&place.from, &place.to, &place.shim) == (&from, &to, &shim)
                    && (place.back, place.translated) == (back, translated)
            });
            match known {
                Some(place) => {
                    place.frames += 1;
                    place.first = place.first.min(observation.at);
                }
                None => places.push(SeenPlace { from, to, shim, back, translated, frames: 1, first: observation.at }),
            }
        }
        places.sort_by_key(|place| (place.back, place.first));
        SeenFlow { matrix: self.matrix.clone(), places }
    }
}

/// Is this a packet of the connection? From the server back, and translated?
fn direction(lab: &Lab, asked: &Flow, seen: &Flow) -> Option<(bool, bool)> {
    let server = |seen: &Flow| {
        seen.protocol == asked.protocol
            && seen.dst == asked.dst
            && (asked.dst_port == 0 || asked.protocol == Protocol::ICMP || seen.dst_port == asked.dst_port)
    };
    let own = |seen: &Flow| seen.src == asked.src && (asked.src_port == 0 || seen.src_port == asked.src_port);
    let hidden = |seen: &Flow| lab.group.nat.iter().any(|nat| seen.src == nat.address);
    [(false, *seen), (true, seen.reversed())]
        .into_iter()
        .find_map(|(back, seen)| (server(&seen) && (own(&seen) || hidden(&seen))).then(|| (back, !own(&seen))))
}

/// An event for people and programs: seconds after the lab was brought up, who, and what.
fn event(at: f64, entry: &Entry) -> serde_json::Value {
    let at = (at * 1e6).round() / 1e6;
    match &entry.fact {
        Fact::Declared { node, text, what } => {
            serde_json::json!({ "at": at, "node": node, "event": "declared", "text": text, "what": what })
        }
        Fact::Operation { node, text, proof, .. } => {
            serde_json::json!({ "at": at, "node": node, "event": "operation", "text": text, "proof": proof })
        }
        Fact::Note(text) => serde_json::json!({ "at": at, "event": "note", "text": text }),
        Fact::Phase(text) => serde_json::json!({ "at": at, "event": "phase", "text": text }),
        other => serde_json::json!({ "at": at, "event": "fact", "what": other }),
    }
}

fn read_request(stream: &UnixStream) -> io::Result<Request> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

fn write_line(stream: &mut UnixStream, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn words(all: impl Iterator<Item = impl ToString>) -> String {
    all.map(|one| one.to_string()).collect::<Vec<_>>().join(" ")
}

/// Writes what a lab is made of into its run directory.
///
/// # Errors
/// It cannot be written.
pub fn describe(dir: &rundir::RunDir, lab: &Lab, text: &str) -> Result<(), Failure> {
    let broke = |error: io::Error| Failure::new(exit::BUG, format!("run directory: {error}"));
    dir.write("lab.yaml", text).map_err(broke)?;
    dir.write("plan.txt", &Plan::of(lab).to_string()).map_err(broke)?;
    Ok(())
}
