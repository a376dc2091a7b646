//! `scalebed capture`: one pcapng of any cables of a lab that is up. It is taken in this process, through descriptors that
//! the keeper lends; the lab does not notice.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use pcap_file::DataLink;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{PcapNgBlock as _, PcapNgWriter};
use scalebed_netns::{Entry, Taps};
use scalebed_topologies::Lab;
use std::os::fd::AsFd as _;

use super::client;
use super::place::Place;
use crate::exit::{self, Failure};
use crate::{files, run};

/// Taps hand frames over in blocks of 100 ms, one tap after the other: what is this much older than the newest is in
/// order.
const ORDER: u64 = 500_000_000;
/// How often a limit of frames is looked at.
const GLANCE: u16 = 50;
/// Nanoseconds: the resolution of the file's stamps (if_tsresol of the pcapng specification).
const NANOSECONDS: u8 = 9;

/// What is captured.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Names of cables, or of nodes: all their cables. None: every cable.
    pub where_: &'a [String],
    /// The file.
    pub file: &'a Path,
    /// Ends by itself after this.
    pub time: Option<Duration>,
    /// Ends by itself after so many frames.
    pub frames: Option<u64>,
}

/// A frame that waits for its place in the order.
struct Caught {
    tap: u16,
    wire: u32,
    bytes: Vec<u8>,
}

/// Captures until a limit is reached or the operator has enough; frames that were written.
///
/// # Errors
/// [`exit::USAGE`]: there is no such cable or node, or the file cannot be written.
pub fn capture(place: &Place, wanted: &Wanted<'_>) -> Result<u64, Failure> {
    let (lab, _) = files::lab(&place.lab_file().to_string_lossy())?;
    let cables = meant(&lab, wanted.where_)?;
    let broke = |error: &dyn std::fmt::Display| Failure::new(exit::BUG, format!("capture: {error}"));
    let refused =
        |error: &dyn std::fmt::Display| Failure::new(exit::USAGE, format!("{}: {error}", wanted.file.display()));
    let file = File::create(wanted.file).map_err(|error| refused(&error))?;
    let signals = run::take_signals()?;
    let mut entries: BTreeMap<usize, Entry> = BTreeMap::new();
    let ends: Vec<(usize, usize, bool)> = cables
        .iter()
        .flat_map(|cable| [(*cable, false), (*cable, true)])
        .map(|(cable, at_b)| {
            let ends = &lab.cables[cable];
            (cable, usize::from(if at_b { ends.b.node } else { ends.a.node }), at_b)
        })
        .collect();
    for (_, node, _) in &ends {
        if !entries.contains_key(node) {
            entries.insert(*node, client::enter(place, &lab.nodes[*node].name)?);
        }
    }
    let mut writer = head(BufWriter::new(file), place, &lab, &ends).map_err(|error| refused(&error))?;
    let (caught, catch) = channel();
    let taps = (0u16..).zip(&ends).map(|(tap, (cable, node, at_b))| {
        let cable = &lab.cables[*cable];
        let end = if *at_b { cable.b } else { cable.a };
        let port = lab.nodes[*node].ports[usize::from(end.port)].name.clone();
        (&entries[node], port, tap)
    });
    let taps = Taps::capture(taps.collect(), hand_over(caught)).map_err(|error| broke(&error))?;
    eprintln!("capturing at {} ends of {} cables; Ctrl-C ends it", ends.len(), cables.len());
    let epoch = since_epoch();
    let mut written = Written { frames: 0, waiting: BTreeMap::new(), sequence: 0, epoch };
    let ended = until_enough(&catch, &signals, wanted, &mut written, &mut writer);
    let stats = taps.stop().map_err(|error| broke(&error))?;
    ended.map_err(|error| refused(&error))?;
    while let Ok((at, frame)) = catch.try_recv() {
        written.wait(at, frame);
    }
    written.write(&mut writer, u64::MAX).map_err(|error| refused(&error))?;
    writer.get_mut().flush().map_err(|error| refused(&error))?;
    let dropped: u64 = stats.drops.values().sum();
    if dropped > 0 {
        eprintln!("scalebed: {dropped} frames are not in it: this machine did not read them in time");
    }
    Ok(written.frames)
}

fn hand_over(caught: Sender<(u64, Caught)>) -> impl FnMut(u16, u64, u32, &[u8]) + Send + 'static {
    move |tap, at, wire, bytes| {
        let _the_end_may_be_near = caught.send((at, Caught { tap, wire, bytes: bytes.to_vec() }));
    }
}

/// The offset of CLOCK_MONOTONIC, in which taps stamp, to the time that a file has.
fn since_epoch() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX).saturating_sub(scalebed_netns::monotonic())
}

fn until_enough(
    catch: &Receiver<(u64, Caught)>,
    signals: &SignalFd,
    wanted: &Wanted<'_>,
    written: &mut Written,
    writer: &mut PcapNgWriter<impl Write>,
) -> Result<(), pcap_file::PcapError> {
    let began = Instant::now();
    loop {
        match catch.recv_timeout(Duration::from_millis(GLANCE.into())) {
            Ok((at, frame)) => {
                written.wait(at, frame);
                while let Ok((at, frame)) = catch.try_recv() {
                    written.wait(at, frame);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        written.write(writer, ORDER)?;
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let stopped = poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
        let enough = wanted.frames.is_some_and(|frames| written.sequence >= frames);
        if stopped || enough || wanted.time.is_some_and(|time| began.elapsed() >= time) {
            return Ok(());
        }
    }
}

/// Puts frames of all taps into the order of their stamps.
struct Written {
    frames: u64,
    waiting: BTreeMap<(u64, u64), Caught>,
    sequence: u64,
    epoch: u64,
}

impl Written {
    fn wait(&mut self, at: u64, frame: Caught) {
        self.waiting.insert((at, self.sequence), frame);
        self.sequence += 1;
    }

    /// Writes what is older than the newest by `order` ns; all of it with the largest.
    fn write(&mut self, writer: &mut PcapNgWriter<impl Write>, order: u64) -> Result<(), pcap_file::PcapError> {
        let newest = self.waiting.last_key_value().map_or(0, |((at, _), _)| *at);
        while let Some(first) = self.waiting.first_entry() {
            let at = first.key().0;
            if order != u64::MAX && at.saturating_add(order) > newest {
                break;
            }
            let Caught { tap, wire, bytes } = first.remove();
            let packet = EnhancedPacketBlock {
                interface_id: tap.into(),
                timestamp: Duration::from_nanos(self.epoch + at),
                original_len: wire,
                data: Cow::Owned(bytes),
                options: Vec::new(),
            };
            writer.write_block(&packet.into_block())?;
            self.frames += 1;
        }
        Ok(())
    }
}

/// The file's head: an interface for each end of each cable, named by both.
fn head<W: Write>(
    out: W,
    place: &Place,
    lab: &Lab,
    ends: &[(usize, usize, bool)],
) -> Result<PcapNgWriter<W>, pcap_file::PcapError> {
    let about = format!("scalebed lab {} ({}), {}", place.name, lab.name, lab.architecture.title());
    let section = SectionHeaderBlock {
        options: vec![
            SectionHeaderOption::Comment(Cow::Owned(about)),
            SectionHeaderOption::UserApplication(Cow::Borrowed("scalebed capture")),
        ],
        ..SectionHeaderBlock::default()
    };
    let mut writer = PcapNgWriter::with_section_header(out, section)?;
    for (cable, node, _) in ends {
        let (cable, node) = (&lab.cables[*cable], &lab.nodes[*node]);
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Owned(format!("{} > {}", cable.name, node.name))),
                InterfaceDescriptionOption::IfDescription(Cow::Owned(format!("what {} gets", node.name))),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        writer.write_block(&interface.into_block())?;
    }
    Ok(writer)
}

/// Indexes of the cables that are meant.
fn meant(lab: &Lab, names: &[String]) -> Result<Vec<usize>, Failure> {
    if names.is_empty() {
        return Ok((0..lab.cables.len()).collect());
    }
    let mut cables = std::collections::BTreeSet::new();
    for name in names {
        let of_node = lab.node(name).map(|(node, _)| node);
        let found: Vec<usize> = lab
            .cables
            .iter()
            .enumerate()
            .filter(|(_, cable)| {
                cable.name == *name || [cable.a.node, cable.b.node].iter().any(|end| Some(usize::from(*end)) == of_node)
            })
            .map(|(index, _)| index)
            .collect();
        if found.is_empty() {
            let known: Vec<_> = lab.cables.iter().map(|cable| cable.name.as_str()).collect();
            let text = format!("there is no node or cable `{name}`; cables: {}", known.join(", "));
            return Err(Failure::new(exit::USAGE, text));
        }
        cables.extend(found);
    }
    Ok(cables.into_iter().collect())
}

/// The file that a capture goes to if none is named.
#[must_use]
pub fn default_file(place: &Place) -> PathBuf {
    PathBuf::from(format!("{}.pcapng", place.name))
}
