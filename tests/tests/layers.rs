//! A crate imports only from lower layers, and the judge can't reach the accused.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Layers as ARCHITECTURE.md lists them.
const LAYERS: [(&str, u8); 23] = [
    ("scalebed-frame", 0),
    ("scalebed-cable", 1),
    ("scalebed-engine", 1),
    ("scalebed-topologies", 1),
    ("scalebed-record", 1),
    ("scalebed-fabric", 2),
    ("scalebed-port", 2),
    ("scalebed-wire", 2),
    ("scalebed-distribution", 2),
    ("scalebed-switch", 2),
    ("scalebed-traffic", 2),
    ("scalebed-render", 2),
    ("scalebed-checkers", 2),
    ("scalebed-cluster", 3),
    ("scalebed-netns", 3),
    ("scalebed-generator", 3),
    ("scalebed-gateway", 4),
    ("scalebed-orchestrator", 4),
    ("scalebed-pivot", 5),
    ("scalebed-daemon", 6),
    ("scalebed-harness", 7),
    ("scalebed-model", 8),
    ("scalebed-tests", 8),
];

/// The devices under test: nothing of them may be in the judge's closure.
const NODES: [&str; 7] = [
    "scalebed-distribution",
    "scalebed-cluster",
    "scalebed-gateway",
    "scalebed-orchestrator",
    "scalebed-pivot",
    "scalebed-switch",
    "scalebed-daemon",
];

/// Crates that do no I/O: what they may use is only what is listed in the workspace as pure.
const PURE: [&str; 15] = [
    "scalebed-frame",
    "scalebed-cable",
    "scalebed-engine",
    "scalebed-topologies",
    "scalebed-record",
    "scalebed-fabric",
    "scalebed-wire",
    "scalebed-distribution",
    "scalebed-switch",
    "scalebed-traffic",
    "scalebed-checkers",
    "scalebed-cluster",
    "scalebed-gateway",
    "scalebed-orchestrator",
    "scalebed-pivot",
];

/// Crates that do I/O.
const IMPURE: [&str; 8] =
    ["nix", "libc", "tokio", "rtnetlink", "pnet_datalink", "tempfile", "tracing-subscriber", "scalebed-port"];

/// Dependencies of each workspace crate by name, without development dependencies.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata");
    let names = |package: &cargo_metadata::Package| {
        let normal = package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
        normal.map(|dependency| dependency.name.clone()).collect()
    };
    metadata.packages.iter().map(|package| (package.name.to_string(), names(package))).collect()
}

#[test]
fn a_crate_imports_only_from_lower_layers() {
    let layers: BTreeMap<&str, u8> = LAYERS.into();
    let crates = dependencies();
    let known: BTreeSet<&str> = crates.keys().map(String::as_str).collect();
    assert_eq!(known, layers.keys().copied().collect(), "every crate has a layer, every layer's crate exists");
    for (name, dependencies) in &crates {
        for below in dependencies.iter().filter_map(|dependency| layers.get_key_value(dependency.as_str())) {
            assert!(*below.1 < layers[name.as_str()], "{name} must not import {}", below.0);
        }
    }
}

#[test]
fn the_judge_cannot_reach_the_accused() {
    let crates = dependencies();
    let mut closure = BTreeSet::from(["scalebed-checkers".to_owned()]);
    let mut open = vec!["scalebed-checkers".to_owned()];
    while let Some(name) = open.pop() {
        for dependency in crates.get(&name).into_iter().flatten() {
            if closure.insert(dependency.clone()) {
                open.push(dependency.clone());
            }
        }
    }
    for node in NODES {
        assert!(!closure.contains(node), "the judge's closure holds {node}");
    }
}

#[test]
fn pure_crates_use_nothing_that_does_io() {
    let crates = dependencies();
    for name in PURE {
        for dependency in &crates[name] {
            assert!(!IMPURE.contains(&dependency.as_str()), "{name} is pure and uses {dependency}");
        }
    }
}
