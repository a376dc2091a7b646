//! The command as a user meets it: clear words, documented exit codes, nothing created for a bad file.

use std::process::{Command, Output};

use scalebed_tests::programs;

fn scalebed(args: &[&str]) -> Output {
    Command::new(programs().join("scalebed")).args(args).output().expect("target/release/scalebed: run `make build`")
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn shipped_files_are_valid() {
    let mut args = vec!["check"];
    args.extend(scalebed_topologies::catalogue::lab_names());
    args.extend(scalebed_topologies::catalogue::scenario_names());
    let output = scalebed(&args);
    assert_eq!(code(&output), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_bad_file_is_refused_with_its_line_and_nothing_is_created() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let file = place.path().join("bad.yaml");
    std::fs::write(&file, "name: bad\nlab: maestro-single-site\ntrafic: small\n").expect("a file");
    let out = place.path().join("out");
    let output = Command::new(programs().join("scalebed"))
        .args(["run".as_ref(), file.as_os_str(), "--out".as_ref(), out.as_os_str()])
        .output()
        .expect("a run");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(code(&output), Some(22), "{text}");
    assert!(text.contains("bad.yaml:3:1") && text.contains("traffic"), "{text}");
    assert!(!out.exists(), "a run directory was made for a bad file");
}

#[test]
fn what_does_not_exist_is_named_with_what_does() {
    let output = scalebed(&["check", "maestro/stedy"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(code(&output), Some(22), "{text}");
    assert!(text.contains("maestro/stedy"), "{text}");
}

#[test]
fn wrong_usage_exits_with_two() {
    assert_eq!(code(&scalebed(&["run"])), Some(2));
    assert_eq!(code(&scalebed(&["fly"])), Some(2));
}

#[test]
fn a_plan_lists_kernel_effects_and_needs_no_privilege() {
    let output = scalebed(&["plan", "maestro-single-site"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(code(&output), Some(0));
    assert!(text.contains("namespace mho1") && text.contains("cable 0:"), "{text}");
}
