//! Golden captures: of each kind of frame that a group sends, the first few, from boot through the death of the SMO (pivot)
//! and its return. Their bytes are the wire format; the dissector of docs/ is held against them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use scalebed_frame::control::{self, Reassembler};
use scalebed_frame::{DistributionMode, Frame, View};
use scalebed_harness::driver::{self, Settings};
use scalebed_harness::files;
use scalebed_harness::world::sim::Sim;
use scalebed_topologies::fault::{Fault, Kind};
use scalebed_topologies::scenario::{Overrides, Traffic};

/// So many frames of a kind.
const OF_A_KIND: usize = 3;
/// Little traffic: what is looked for is the kinds.
const TRAFFIC: Traffic = Traffic {
    probes: 16,
    probe_rate: 50,
    population: 40,
    population_rate: 2,
    young_percent: 20,
    states_percent: 0,
    denied: 0,
    ipv6_percent: 50,
};
/// What the dissector is asked for.
const FIELDS: [&str; 16] = [
    "frame.number",
    "scalebed.kind",
    "scalebed.network",
    "scalebed.origin",
    "scalebed.target",
    "scalebed.generation",
    "scalebed.hop",
    "scalebed_control.from",
    "scalebed_control.body",
    "arp.opcode",
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
    "icmpv6.type",
    "icmpv6.nd.ns.target_address",
];

/// What kind of frame it is: by the shim, and by what a control message says.
fn kind(frame: &Frame) -> String {
    let Some(view) = View::parse(frame.bytes()) else { return "unreadable".to_owned() };
    let Some(shim) = view.shim else { return format!("plain {:#06x}", view.ethertype) };
    let message = control::payload(frame.bytes(), &view).map(|piece| Reassembler::default().push(0, piece));
    match message {
        None => format!("{:?} of {:#06x}, flags {}", shim.kind, view.ethertype, shim.flags),
        Some(Ok(Some(message))) => {
            format!("{:?}", message.body).chars().take_while(char::is_ascii_alphabetic).collect()
        }
        Some(_) => "a part of a message".to_owned(),
    }
}

/// The frames as they come out of cables, with their instants, ns.
fn frames(scenario: &str, smo: &str) -> Vec<(u64, Frame)> {
    let loaded = files::scenario(scenario).expect("a shipped scenario");
    let general = Overrides { distribution: Some(DistributionMode::General), ..Overrides::default() };
    let lab = loaded.lab.with(&Overrides { sync_delay_ms: Some(500), ..general });
    let scenario = scalebed_topologies::Scenario { traffic: TRAFFIC, baseline_ms: 1_500, ..loaded.scenario.clone() };
    let faults = [Fault { at_ms: 1_500, for_ms: 1_500, kind: Kind::Kill, target: smo.to_owned() }];
    let kept = Rc::new(RefCell::new((BTreeMap::<String, usize>::new(), Vec::new())));
    let sink = Rc::clone(&kept);
    let mut world = Sim::new(&lab, 1);
    world.fabric().on_deliver(Box::new(move |at, _, _, frame| {
        let (kinds, frames) = &mut *sink.borrow_mut();
        let seen = kinds.entry(kind(frame)).or_default();
        *seen += 1;
        if *seen <= OF_A_KIND {
            frames.push((at.0, frame.clone()));
        }
    }));
    driver::drive_with(&mut world, &lab, &scenario, &faults, Settings::default(), &mut |_| {}).expect("a run");
    drop(world);
    let (kinds, frames) = Rc::into_inner(kept).expect("nobody else's").into_inner();
    println!("{kinds:?}");
    frames
}

fn capture(frames: &[(u64, Frame)]) -> Vec<u8> {
    let mut writer = PcapNgWriter::new(Vec::new()).expect("memory");
    let interface = InterfaceDescriptionBlock {
        linktype: DataLink::ETHERNET,
        snaplen: 0,
        options: vec![InterfaceDescriptionOption::IfTsResol(9)],
    };
    writer.write_pcapng_block(interface).expect("memory");
    for (at, frame) in frames {
        let packet = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_nanos(*at),
            original_len: u32::try_from(frame.bytes().len()).expect("short"),
            data: Cow::Borrowed(frame.bytes()),
            options: Vec::new(),
        };
        writer.write_pcapng_block(packet).expect("memory");
    }
    writer.into_inner()
}

/// The fields of every frame, as Wireshark reads them.
fn dissected(bytes: &[u8]) -> Option<String> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("written");
    let script = concat!("lua_script:", env!("CARGO_MANIFEST_DIR"), "/../docs/scalebed.lua");
    let mut tshark = Command::new("tshark");
    tshark.args(["-X", script, "-T", "fields", "-E", "separator=,", "-r"]).arg(file.path());
    let Ok(read) = tshark.args(FIELDS.iter().flat_map(|field| ["-e", field])).output() else {
        println!("skipped: that tshark reads the golden captures: it is not installed");
        return None;
    };
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    Some(String::from_utf8_lossy(&read.stdout).into_owned())
}

#[test]
fn fabric_maestro_frames_are_as_they_were() {
    let bytes = capture(&frames("maestro/steady", "sgm-1-01"));
    insta::assert_binary_snapshot!("maestro.pcapng", bytes.clone());
    if let Some(text) = dissected(&bytes) {
        insta::assert_snapshot!("maestro-dissected", text);
    }
}

#[test]
fn fabric_elasticxl_frames_are_as_they_were() {
    let bytes = capture(&frames("elasticxl/steady", "member-1-01"));
    insta::assert_binary_snapshot!("elasticxl.pcapng", bytes.clone());
    if let Some(text) = dissected(&bytes) {
        insta::assert_snapshot!("elasticxl-dissected", text);
    }
}
