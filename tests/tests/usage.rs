//! Every wrong argument and every missing permission: what is wrong, what to write instead, the documented exit code, and
//! nothing created.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use scalebed_tests::programs;

/// Nobody, as most systems number him.
const NOBODY: u32 = 65_534;

/// In a folder of its own, with no lab up.
fn types(program: &Path, place: &Path, text: &str) -> Command {
    let mut command = Command::new(program);
    command.args(text.split_whitespace()).current_dir(place).env("SCALEBED_STATE", place.join("state"));
    command.env_remove("SCALEBED_LAB");
    command
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn is_empty(place: &Path) -> bool {
    std::fs::read_dir(place).expect("a folder").next().is_none()
}

#[test]
fn every_wrong_argument_is_refused_with_what_to_write() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let program = programs().join("scalebed");
    for (typed, code, words) in [
        ("fly", 2, "unrecognized subcommand"),
        ("run", 2, "<SCENARIO>"),
        ("run nothing", 22, "maestro/steady"),
        ("run maestro/stedy", 22, "maestro/steady"),
        ("run maestro/steady --world moon", 2, "netns, sim"),
        ("run maestro/steady --seed x", 2, "--seed"),
        ("run maestro/steady --sed 3", 2, "--seed"),
        ("sim", 2, "<SCENARIOS>"),
        ("sim nothing", 22, "shipped"),
        ("sim maestro/steady --seeds none", 2, "--seeds"),
        ("explore nothing", 22, "maestro-single-site"),
        ("explore --budget soon", 2, "90s"),
        ("explore maestro-single-site --ablate nothing", 2, "fence"),
        ("explore --replay nothing.yaml", 22, "cannot be read"),
        ("compare --x", 2, "unexpected argument"),
        ("check", 2, "<FILES>"),
        ("check nothing.yaml", 22, "nothing.yaml"),
        ("plan nothing", 22, "maestro-single-site"),
        ("replay nothing", 22, "cannot be read"),
        ("graph nothing", 22, "maestro-single-site"),
        ("graph maestro-single-site --format gif", 2, "svg"),
        ("explain maestro-single-site here there", 2, "invalid IP address"),
        ("explain maestro-single-site 198.18.0.101 198.18.1.101 sctp", 2, "tcp"),
        ("capture --for x", 2, "90s"),
        ("capture", 26, "no lab is up"),
        ("bench --world moon", 2, "netns, sim"),
        ("up nothing", 22, "maestro-single-site"),
        ("up", 2, "name a lab"),
        ("up maestro-single-site --name a/b", 2, "no name for a lab"),
        ("up maestro-single-site --nmae x", 2, "--name"),
        ("up maestro-single-site --spare many", 2, "--spare"),
        ("up maestro-single-site --spare 256", 2, "0..=255"),
        ("exec", 2, "<NODE>"),
        ("exec inside-1 true", 26, "no lab is up"),
        ("status --lab mine", 26, "no lab `mine` is up"),
        ("status --format xml", 2, "json"),
        ("events", 26, "no lab is up"),
        ("fault", 2, "inject"),
        ("fault inject kill", 2, "<TARGET>"),
        ("fault inject explode mho1", 2, "black-hole"),
        ("fault inject loss=much mho1--mho2", 2, "no number"),
        ("fault heal", 26, "no lab is up"),
        ("down", 26, "no lab is up"),
        ("list more", 2, "unexpected argument"),
    ] {
        let output = types(&program, place.path(), typed).output().expect("it runs");
        let text = told(&output);
        assert_eq!(output.status.code(), Some(code), "scalebed {typed}: {text}");
        assert!(text.contains(words), "scalebed {typed}: `{words}` is not in: {text}");
        assert!(!text.contains("panicked"), "scalebed {typed}: {text}");
        assert!(is_empty(place.path()), "scalebed {typed} left something");
    }
}

#[test]
fn without_permission_nothing_is_begun_and_what_needs_none_works() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(place.path(), open.clone()).expect("mine");
    // Wherever this clone is, another user can run a copy there.
    let program = place.path().join("scalebed");
    std::fs::copy(programs().join("scalebed"), &program).expect("a copy");
    std::fs::set_permissions(&program, open).expect("mine");
    let home = place.path().join("home");
    std::fs::create_dir(&home).expect("a folder");
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&home, Some(NOBODY), Some(NOBODY)).expect("root may");
    }
    let as_nobody = |typed: &str| {
        let mut command = types(&program, &home, typed);
        if nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.output().expect("it runs")
    };
    for (typed, words) in [
        ("run maestro/steady", "use sudo"),
        ("compare", "root"),
        ("up maestro-single-site", "use sudo"),
        ("up maestro-single-site --wires", "use sudo"),
        ("bench", "root"),
    ] {
        let output = as_nobody(typed);
        let text = told(&output);
        assert_eq!(output.status.code(), Some(24), "scalebed {typed}: {text}");
        assert!(text.contains(words), "scalebed {typed}: {text}");
        let left: Vec<_> = std::fs::read_dir(&home).expect("a folder").collect();
        assert!(left.is_empty(), "scalebed {typed} left {left:?}");
    }
    for typed in ["list", "check maestro/steady", "plan maestro-single-site", "graph elasticxl-single-site"] {
        let output = as_nobody(typed);
        assert_eq!(output.status.code(), Some(0), "scalebed {typed}: {}", told(&output));
    }
    let simulated = as_nobody("sim maestro/steady --seeds 1 --flows 40 --out seeds");
    assert_eq!(simulated.status.code(), Some(0), "{}", told(&simulated));
    assert!(home.join("seeds").is_dir());
}
