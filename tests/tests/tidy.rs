//! Style is a test: file sizes, leftovers, banned calls, unsafe only where it may be, links that lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).expect("the workspace's root")
}

/// Every file of the project with one of these extensions, build products and run directories left out.
fn files(extensions: &[&str]) -> Vec<(PathBuf, String)> {
    let mut open = vec![root()];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).expect("a readable folder").map(|entry| entry.expect("an entry")) {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().expect("a file type").is_dir() {
                if !["target", "runs", ".git"].contains(&name.as_str()) {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|have| extensions.iter().any(|want| have == *want)) {
                let text = fs::read_to_string(&path).expect("a text file");
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[test]
fn no_file_is_longer_than_800_lines() {
    for (path, text) in files(&["rs"]) {
        let lines = text.lines().count();
        assert!(lines <= 800, "{} has {lines} lines", name(&path));
    }
}

#[test]
fn no_leftovers() {
    let marks = ["FIX".to_owned() + "ME", "XX".to_owned() + "X", "TO".to_owned() + "DO"];
    for (path, text) in files(&["rs", "md", "yaml", "toml"]) {
        for mark in &marks {
            assert!(!text.contains(mark.as_str()), "{} holds {mark}", name(&path));
        }
    }
}

#[test]
fn engines_have_no_clock_and_no_thread() {
    let banned = ["Instant::now", "SystemTime", "std::thread", "std::fs", "std::net::Tcp", "std::net::Udp", "std::env"];
    let pure = [
        "wire/frame/src",
        "wire/engine/src",
        "wire/cable/src",
        "wire/fabric/src",
        "topologies/src",
        "nodes/distribution/src",
        "nodes/cluster/src",
        "nodes/gateway/src",
        "nodes/orchestrator/src",
        "nodes/pivot/src",
        "nodes/switch/src",
        "traffic-gen/core/src",
        "reports/record/src",
        "harness/checkers/src",
    ];
    for (path, text) in files(&["rs"]) {
        if pure.iter().any(|folder| path.starts_with(root().join(folder))) {
            for call in banned {
                assert!(!text.contains(call), "{} is pure and uses {call}", name(&path));
            }
        }
    }
}

#[test]
fn unsafe_stands_in_two_places() {
    let allowed = ["wire/port/src/sys", "harness/netns/src/sys"];
    let word = "unsafe".to_owned() + " {";
    for (path, text) in files(&["rs"]) {
        let may = allowed.iter().any(|place| name(&path).starts_with(place));
        assert!(may || !text.contains(&word), "{} holds an unsafe block", name(&path));
    }
}

#[test]
fn no_test_is_ignored_and_none_sleeps_to_wait() {
    let ignored = "#[".to_owned() + "ignore";
    for (path, text) in files(&["rs"]) {
        assert!(!text.contains(&ignored), "{} ignores a test", name(&path));
    }
}

#[test]
fn links_in_documents_lead_somewhere() {
    for (path, text) in files(&["md"]) {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let outside = target.contains("://") || target.starts_with('#');
            let file = target.split('#').next().unwrap_or(target);
            let there = path.parent().is_some_and(|folder| folder.join(file).exists());
            assert!(outside || there, "{} links to {target}, which is not there", name(&path));
        }
    }
}
