//! The commands of labs that stay up.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use scalebed_frame::{Flow, Protocol};
use scalebed_topologies::Lab;
use scalebed_topologies::fault::Kind;

use super::protocol::{LabStatus, Request, SeenFlow};
use super::up::{self, Wanted};
use super::{capture, client, place, show};
use crate::driver::live::kind;
use crate::exit::{self, Failure};
use crate::{explain, files, graph};

/// A command that cannot be found and one that cannot be executed, as shells say it.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;
/// Taps hand over blocks of 100 ms, and are read every 50 ms.
const TAPS: Duration = Duration::from_millis(200);

/// A form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Which lab.
#[derive(Clone, Debug, clap::Args)]
pub struct Which {
    /// The lab, by the name that it is up by; needed only while several are.
    #[arg(long = "lab", short = 'l', env = "SCALEBED_LAB")]
    name: Option<String>,
}

/// How a lab is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Build {
    /// Let every node write a journal of its inputs, which `replay` reads. They grow as long as the lab is up.
    #[arg(long)]
    pub journals: bool,
    /// Let every cable go through a wire process, so that `fault inject` can impair it (`loss=1`, `delay=20`, `black-hole`).
    /// Each hop then takes up to a millisecond longer under load.
    #[arg(long)]
    pub wires: bool,
    /// Cable so many members more than the file has, or as many as fit, so that they can come by a later `up` of a file that
    /// has them. Nothing shows them until then. [default: 2]
    #[arg(long, value_name = "N")]
    pub spare: Option<u8>,
}

impl Build {
    /// So many members more than the file has are cabled.
    #[must_use]
    pub fn room(self) -> u8 {
        self.spare.unwrap_or(2)
    }

    /// What was asked for, as it is written.
    #[must_use]
    pub fn words(self) -> Vec<String> {
        let flags = [(self.journals, "--journals"), (self.wires, "--wires")];
        let flags = flags.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag.to_owned());
        flags.chain(self.spare.map(|spare| format!("--spare={spare}"))).collect()
    }
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Live {
    /// Bring a lab up and leave it up; a keeper holds it until `down`.
    #[command(visible_alias = "deploy")]
    Up {
        /// A lab: a path or a shipped name. Default: the only lab file in the working directory.
        lab: Option<String>,
        /// A name of its own, so that one lab can be up several times. Default: the lab's.
        #[arg(long, env = "SCALEBED_LAB")]
        name: Option<String>,
        /// The run directory; new or empty. Default: runs/<utc>-<name>-0.
        #[arg(long, env = "SCALEBED_OUT")]
        out: Option<PathBuf>,
        /// How it is built.
        #[command(flatten)]
        build: Build,
    },
    /// Take a lab down.
    #[command(visible_alias = "destroy")]
    Down {
        /// Which lab.
        #[command(flatten)]
        which: Which,
    },
    /// Run a command on a node (hosts, members, switches) and exit with its status; its terminal is this one.
    Exec {
        /// Which lab.
        #[command(flatten)]
        which: Which,
        /// The node.
        node: String,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Members, roles, states, generation, buckets, connections, drops of a lab that is up.
    #[command(visible_alias = "inspect")]
    Status {
        /// Which lab.
        #[command(flatten)]
        which: Which,
        /// Form of the output.
        #[arg(long, env = "SCALEBED_FORMAT", value_enum, default_value_t = Format::Table)]
        format: Format,
        /// Only list the labs that are up.
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// What happened since a lab was brought up, as JSON lines.
    Events {
        /// Which lab.
        #[command(flatten)]
        which: Which,
        /// Go on with what happens.
        #[arg(long, short)]
        follow: bool,
    },
    /// Write what passes over cables of a lab that is up into one pcapng file, for Wireshark.
    Capture {
        /// Which lab.
        #[command(flatten)]
        which: Which,
        /// Cables by name, or nodes: all their cables. Default: every cable.
        places: Vec<String>,
        /// The file. Default: NAME.pcapng.
        #[arg(long, short)]
        write: Option<PathBuf>,
        /// End after this: `90s`, `10m`, `1h`. Default: Ctrl-C ends it.
        #[arg(long = "for", value_parser = crate::words::duration)]
        time: Option<Duration>,
        /// End after so many frames.
        #[arg(long)]
        frames: Option<u64>,
    },
    /// Break and mend a lab that is up.
    Fault {
        /// What to do.
        #[command(subcommand)]
        what: FaultCommand,
    },
    /// Which member gets a flow and which its answers, and why; on a lab that is up also what taps saw of it.
    Explain {
        /// A lab: a path or a shipped name, or the name of one that is up.
        lab: String,
        /// The client's address.
        src: IpAddr,
        /// The server's address.
        dst: IpAddr,
        /// `tcp:1024:80`, `udp:53`, `icmp`: protocol, source port, destination port.
        #[arg(default_value = "tcp", value_parser = explain::ports)]
        ports: (Protocol, u16, u16),
        /// Form of the output.
        #[arg(long, env = "SCALEBED_FORMAT", value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Draw a lab; one that is up with its roles and what is broken.
    Graph {
        /// A lab: a path or a shipped name, or the name of one that is up.
        lab: String,
        /// Form of the drawing.
        #[arg(long, env = "SCALEBED_FORMAT", value_enum, default_value_t = graph::Form::Mermaid)]
        format: graph::Form,
    },
    /// What `up` leaves.
    #[command(hide = true)]
    Keeper {
        /// The name that the lab is up by.
        #[arg(long)]
        name: String,
        /// Its run directory.
        #[arg(long)]
        folder: PathBuf,
        /// Pid of `up`.
        #[arg(long)]
        parent: u32,
        /// How it is built.
        #[command(flatten)]
        build: Build,
    },
}

/// What is done with faults.
#[derive(Debug, Subcommand)]
pub enum FaultCommand {
    /// Break something: `kill sgm-1-03`, `hang mho1`, `unplug mho1--sgm-1-01`.
    Inject {
        /// Which lab.
        #[command(flatten)]
        which: Which,
        /// `kill`, `power-off`, `restart`, `hang`, `unplug`, `flap=MS`; with `up --wires` also `mute`, `deafen`, `isolate`,
        /// `black-hole`, `cut-to-a`, `cut-to-b`, `loss=PERCENT`, `delay=MS`.
        #[arg(value_parser = kind)]
        kind: Kind,
        /// A node, `smo` or `pivot` for who has the role or, for what is done to one cable, a cable (`scalebed plan LAB` names
        /// them).
        target: String,
    },
    /// Mend all that is broken at a target, or everything.
    Heal {
        /// Which lab.
        #[command(flatten)]
        which: Which,
        /// The node or cable. Default: all.
        target: Option<String>,
    },
}

/// Carries out a command; its exit code.
///
/// # Errors
/// Each says in one line what is wrong, with the documented exit code.
pub fn command(live: Live) -> Result<u8, Failure> {
    match live {
        Live::Up { lab, name, out, build } => {
            up::up(&Wanted { lab: lab.as_deref(), name: name.as_deref(), out: out.as_deref(), build })
        }
        Live::Keeper { name, folder, parent, build } => Ok(up::keeper(&name, &folder, parent, build)),
        Live::Down { which } => down(&which),
        Live::Exec { which, node, command } => exec(&which, &node, &command),
        Live::Status { all: true, format, .. } => list(format),
        Live::Status { which, format, all: false } => status(&which, format),
        Live::Events { which, follow } => {
            let place = place::find(which.name.as_deref())?;
            let mut out = io::stdout();
            client::events(&place, follow, |line| writeln!(out, "{line}").and_then(|()| out.flush()))?;
            Ok(exit::PASS)
        }
        Live::Capture { which, places, write, time, frames } => {
            let place = place::find(which.name.as_deref())?;
            let file = write.unwrap_or_else(|| capture::default_file(&place));
            let wanted = capture::Wanted { where_: &places, file: &file, time, frames };
            println!("{}: {} frames", file.display(), capture::capture(&place, &wanted)?);
            Ok(exit::PASS)
        }
        Live::Fault { what: FaultCommand::Inject { which, kind, target } } => {
            let place = place::find(which.name.as_deref())?;
            let broken: Vec<String> = client::ask(&place, &Request::Inject { kind, target })?;
            println!("broken now: {}", if broken.is_empty() { "nothing".to_owned() } else { broken.join(", ") });
            Ok(exit::PASS)
        }
        Live::Fault { what: FaultCommand::Heal { which, target } } => {
            let place = place::find(which.name.as_deref())?;
            let mended: Vec<String> = client::ask(&place, &Request::Heal { target })?;
            println!("mended: {}", mended.join(", "));
            Ok(exit::PASS)
        }
        Live::Explain { lab, src, dst, ports: (protocol, src_port, dst_port), format } => {
            explained(&lab, &explain::flow((src, dst), (protocol, src_port, dst_port)), format)
        }
        Live::Graph { lab, format } => drawn(&lab, format),
    }
}

fn down(which: &Which) -> Result<u8, Failure> {
    if let Some(name) = &which.name
        && place::forget(name)?
    {
        println!("{name}: its keeper had been killed, and its lab with it; it is forgotten");
        return Ok(exit::PASS);
    }
    let place = place::find(which.name.as_deref())?;
    let _gone: bool = client::ask(&place, &Request::Down)?;
    println!("{} is down; what it wrote is in {}", place.name, place.card.folder.display());
    Ok(exit::PASS)
}

fn exec(which: &Which, node: &str, command: &[OsString]) -> Result<u8, Failure> {
    let place = place::find(which.name.as_deref())?;
    let entry = client::enter(&place, node)?;
    let [program, args @ ..] = command else { return Err(Failure::new(exit::USAGE, "name a command")) };
    match entry.run(program, args) {
        // As shells count: 128 and the signal.
        Ok(status) => {
            let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
            Ok(u8::try_from(code).unwrap_or(u8::MAX))
        }
        Err(scalebed_netns::Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Err(Failure::new(NOT_FOUND, format!("{node}: there is no command `{}`", program.display())))
        }
        Err(scalebed_netns::Error::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
            Err(Failure::new(NOT_EXECUTABLE, format!("{node}: `{}` cannot be executed", program.display())))
        }
        Err(error) => Err(Failure::new(exit::BUG, format!("{node}: {error}"))),
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::new(exit::BUG, error.to_string()))?;
    println!("{text}");
    Ok(())
}

fn list(format: Format) -> Result<u8, Failure> {
    let places = place::all()?;
    match format {
        Format::Table => print!("{}", show::labs(&places)),
        Format::Json => {
            let rows: Vec<_> = places
                .iter()
                .map(|place| serde_json::json!({ "name": place.name, "up": place.up, "card": place.card }))
                .collect();
            print_json(&rows)?;
        }
    }
    Ok(exit::PASS)
}

fn status(which: &Which, format: Format) -> Result<u8, Failure> {
    let place = place::find(which.name.as_deref())?;
    let status: LabStatus = client::ask(&place, &Request::Status)?;
    match format {
        Format::Table => print!("{}", show::status(&status)),
        Format::Json => print_json(&status)?,
    }
    Ok(exit::PASS)
}

/// The place of a name, if a lab is up by it. Not being allowed to ask is none: the command then speaks of the file.
fn up_by(name: &str) -> Option<place::Place> {
    place::find(Some(name)).ok()
}

/// The lab as it was brought up, or as its file is.
fn lab_of(name: &str, up: Option<&place::Place>) -> Result<Lab, Failure> {
    let file = up.map_or_else(|| name.to_owned(), |place| place.lab_file().display().to_string());
    Ok(files::lab(&file)?.0)
}

fn explained(name: &str, flow: &Flow, format: Format) -> Result<u8, Failure> {
    let up = up_by(name);
    if up.is_some() {
        // What passed before this was typed is to be in it.
        std::thread::sleep(TAPS);
    }
    let seen: Option<SeenFlow> =
        up.as_ref().map(|place| client::ask(place, &Request::Seen { flow: *flow })).transpose()?;
    let lab = lab_of(name, up.as_ref())?;
    let matrix = seen.as_ref().and_then(|seen| seen.matrix.clone()).unwrap_or_else(|| explain::first_matrix(&lab));
    let way = explain::way(&lab, &matrix, flow)?;
    match format {
        Format::Table => {
            print!("{way}");
            if let Some(seen) = &seen {
                print!("{}", show::seen(seen));
            }
        }
        Format::Json => {
            let places = seen.map(|seen| seen.places);
            print_json(&serde_json::json!({ "way": way, "seen": places }))?;
        }
    }
    Ok(exit::PASS)
}

fn drawn(name: &str, form: graph::Form) -> Result<u8, Failure> {
    let up = up_by(name);
    let status: Option<LabStatus> = up.as_ref().map(|place| client::ask(place, &Request::Status)).transpose()?;
    let lab = lab_of(name, up.as_ref())?;
    let remarks = status.iter().flat_map(|status| &status.nodes).map(|node| (node.name.clone(), show::remark(node)));
    print!("{}", graph::draw(&lab, &remarks.collect(), form));
    Ok(exit::PASS)
}
