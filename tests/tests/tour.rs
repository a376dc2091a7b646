//! The session of docs/live.md, typed: what a reader sees there is what comes.
//!
//! `SCALEBED_TOUR=write` puts what comes into the page instead.

use std::path::Path;
use std::process::Command;

use scalebed_tests::user::User;
use scalebed_tests::{installed, needs_root, programs};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/live.md");

/// A line of the page, in a shell.
fn types(user: &User, line: &str) -> String {
    let path = format!("{}:{}", programs().display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("bash")
        .args(["-c", &line.replace("sudo ", "")])
        .env("PATH", path)
        .env("SCALEBED_STATE", user.state())
        .current_dir(user.place.path())
        .output()
        .expect("bash");
    assert!(output.status.success(), "{line}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let here = std::fs::canonicalize(user.place.path()).expect("a folder");
    text.replace(&*here.to_string_lossy(), "/home/you")
}

/// What differs from day to day does not count: times, digests, the widths of columns that hold them.
fn lasting(text: &str) -> String {
    let word = |word: &str| {
        let plain = word.trim_matches(|c: char| matches!(c, ',' | '(' | ')' | ':' | ';'));
        let digits = plain.chars().filter(char::is_ascii_digit).count();
        let number = digits > 0 && plain.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '/'));
        let time =
            plain.contains('T') && digits >= 12 || plain.starts_with("time=") || plain.ends_with("ms") && digits > 0;
        let digest = plain.len() == 16 && plain.chars().all(|c| c.is_ascii_hexdigit());
        let decimal = number && plain.contains('.') && plain.split('.').count() == 2 || plain.split('/').count() == 4;
        if time || digest || decimal { "#".to_owned() } else { word.to_owned() }
    };
    // A node drops and counts what comes before it is ready: more where it was started later than its neighbours. So the
    // number under DROPS differs, and whether the table of reasons is there. A connection has a copy once it is older than
    // the sync delay: how many COPIES a member keeps is how fast somebody types.
    let (mut passing, mut reasons, mut lasting) = (Vec::new(), false, String::new());
    for line in text.lines() {
        let ends = line.starts_with("$ ") || line.starts_with("```");
        reasons = line.starts_with("DROPPED AT") || reasons && !ends;
        if ends || line.trim().is_empty() {
            passing.clear();
        }
        if reasons || line.trim().is_empty() {
            continue;
        }
        let mut words: Vec<String> = line.split_whitespace().map(word).collect();
        for before in passing.iter().filter_map(|column| line.get(..*column)) {
            words[before.split_whitespace().count()] = "#".to_owned();
        }
        if line.ends_with("LAST CHANGE") {
            passing = ["COPIES", "DROPS"].iter().filter_map(|head| line.find(head)).collect();
        }
        lasting += &(words.join(" ") + "\n");
    }
    lasting
}

/// The page again, with what comes of each command under it.
fn retold(page: &str, types: impl Fn(&str) -> String) -> String {
    let mut told = String::new();
    let mut inside = false;
    for line in page.lines() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) => {
                let Some(command) = line.strip_prefix("$ ") else { continue };
                told += &format!("{line}\n{}", types(command));
                continue;
            }
            (false, _) => {}
        }
        told += line;
        told.push('\n');
    }
    told
}

#[test]
fn netns_the_tour_is_as_it_is_told() {
    if needs_root() || !installed("ping") {
        return;
    }
    let page = std::fs::read_to_string(PAGE).expect("the page");
    let user = User::new();
    let told = retold(&page, |line| types(&user, line));
    if std::env::var("SCALEBED_TOUR").is_ok_and(|what| what == "write") {
        std::fs::write(PAGE, told).expect("written");
        return;
    }
    let (expected, came) = (lasting(&page), lasting(&told));
    for (expected, came) in expected.lines().zip(came.lines()) {
        assert_eq!(came, expected, "{} (SCALEBED_TOUR=write rewrites it)", Path::new(PAGE).display());
    }
    assert_eq!(came.lines().count(), expected.lines().count(), "the page has as many lines as come");
}

#[test]
fn what_lasts_is_told_from_what_does_not() {
    let one =
        "64 bytes from 198.18.1.101: icmp_seq=1 ttl=63 time=5.64 ms\nup since 2026-11-25T23:44:32Z  14b992c51884403a\n";
    let other =
        "64 bytes from 198.18.1.101: icmp_seq=1 ttl=63 time=0.7 ms\nup since 2027-01-02T03:04:05Z 0000000000000000\n";
    assert_eq!(lasting(one), lasting(other));
    assert_ne!(lasting("members 4 / 4 active"), lasting("members 3 / 4 active"));
    assert_ne!(lasting("owner 1_04, bucket 407"), lasting("owner 1_03, bucket 407"));
    let head = "NAME  STATE   GENERATION  DROPS  LAST CHANGE\n";
    let quick = format!("{head}mho2  active  1.1_01#256  0      0.0 s: start mho2\n$ next\n");
    let reasons = "DROPPED AT  REASON  FRAMES\nmho2  not-ready  3\n";
    let slow = format!("{head}mho2  active  1.1_01#256  3      0.2 s: start mho2\n\n{reasons}$ next\n");
    assert_eq!(lasting(&quick), lasting(&slow));
    assert_ne!(lasting(&quick), lasting(&slow.replace("active", "booting")));
    let row = |connections, copies| {
        let head = "MEMBER    ID    ROLE  BUCKETS  CONNECTIONS  COPIES  DROPS  LAST CHANGE";
        format!(
            "{head}\nsgm-1-01  1_01        171      {connections}            {copies}       3      0.1 s: admitted\n"
        )
    };
    assert_eq!(lasting(&row(2, 0)), lasting(&row(2, 1)));
    assert_ne!(lasting(&row(2, 0)), lasting(&row(1, 0)));
    let page = "text\n```console\n$ one\nold\n$ two\n```\nend\n";
    assert_eq!(retold(page, |line| format!("{line}!\n")), "text\n```console\n$ one\none!\n$ two\ntwo!\n```\nend\n");
}
