//! `up` of a lab that is up: members come and go while traffic runs.

use std::process::{Child, Stdio};

use scalebed_tests::user::{User, both};
use scalebed_tests::{installed, needs_root, nothing_left};

/// `up` again with another text of the file, while a ping goes on.
#[test]
fn netns_members_come_and_go_while_a_lab_is_up() {
    if needs_root() || !installed("ping") {
        return;
    }
    let user = User::new();
    let shipped = scalebed_topologies::catalogue::lab_text("maestro-single-site").expect("a shipped lab");
    let write = |text: &str| std::fs::write(user.place.path().join("mine.yaml"), text).expect("a file");
    let up = ["up", "mine.yaml"];
    write(shipped);
    user.gets(&up);
    let folder = user.run_directory();
    let ping = ["exec", "inside-1", "--", "ping", "-c", "120", "-i", "0.05", "-W", "1", "198.18.1.101"];
    let ping = user.command(&ping).stdout(Stdio::piped()).spawn().expect("a ping");
    write(&format!("{shipped}\nabsent: [1_04]\n"));
    let text = user.gets(&up);
    assert!(text.contains("- sgm-1-04") && text.contains("0 started, 1 switched off"), "{text}");
    user.is_told(&["fault", "inject", "kill", "sgm-1-04"], 2, "is absent");
    user.sees(&["switch sgm-1-04 off", "declares 1_04 dead", "is active"]);
    let status = user.gets(&["status"]);
    assert!(status.contains("members 3 / 4 active") && status.contains("absent"), "{status}");
    // Another one goes in the same breath in which that one comes back.
    write(&format!("{shipped}\nabsent: [1_03]\n"));
    let text = user.gets(&up);
    assert!(text.contains("+ sgm-1-04") && text.contains("- sgm-1-03"), "{text}");
    user.gets(&["fault", "inject", "kill", "sgm-1-02"]);
    write(&format!("{shipped}\nabsent: [1_02]\n"));
    user.is_told(&up, 2, "sgm-1-02 is dead: heal it first");
    user.gets(&["fault", "heal"]);
    write(shipped);
    assert!(user.gets(&up).contains("1 started, 0 switched off"));
    user.sees(&["start sgm-1-02", "active:"]);
    write(&shipped.replace("sync_delay: 3s", "sync_delay: 2s"));
    user.is_told(&up, 2, "group.sync_delay_ms");
    write(&shipped.replace("members: 4", "members: 7"));
    user.is_told(&up, 2, "6 members are cabled, and the file has 7");
    user.is_told(&["up", "mine.yaml", "--wires", "--spare", "3"], 2, "--wires --spare=3 is for the first `up`");
    // Whoever carried it may have gone twice, and is missed for a few units.
    let received = answers(ping);
    assert!((100..=120).contains(&received), "{received} of 120");
    // The file is not what was built any more: what was built goes all the same.
    user.gets(&["down"]);
    assert!(nothing_left(&folder, "after down"));
}

/// So many answers a ping had.
fn answers(ping: Child) -> u32 {
    let said = String::from_utf8_lossy(&ping.wait_with_output().expect("an end").stdout).into_owned();
    println!("{}", said.lines().find(|line| line.contains("received")).unwrap_or_default());
    let received = said.split(" received").next().and_then(|text| text.rsplit(' ').next());
    received.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no ping: {said}"))
}

/// `members: N` of the file becomes N + 1 while a ping goes on, and N again.
fn one_more_joins(lab: &str, fewer: usize, member: &str) {
    if needs_root() || !installed("ping") {
        return;
    }
    let shipped = scalebed_topologies::catalogue::lab_text(lab).expect("a shipped lab");
    let user = User::new();
    let line = shipped.lines().find(|line| line.starts_with("members: ")).expect("members");
    let write = |members: usize| {
        let text = shipped.replacen(line, &format!("members: {members}"), 1);
        std::fs::write(user.place.path().join("mine.yaml"), text).expect("a file");
    };
    let up = ["up", "mine.yaml"];
    write(fewer);
    user.gets(&up);
    let folder = user.run_directory();
    let shown = || {
        let json: serde_json::Value = serde_json::from_str(&user.gets(&["status", "--format", "json"])).expect("JSON");
        let node = json["nodes"].as_array().and_then(|nodes| nodes.iter().find(|node| node["name"] == member)).cloned();
        let drawn = user.gets(&["graph", lab]).contains(member);
        // A drop is told with its port, which is named after whom it leads to: what it once dropped stays true.
        let status = user.gets(&["status"]);
        let listed = status.lines().any(|line| line.starts_with(member));
        assert_eq!((drawn, listed), (node.is_some(), node.is_some()), "{status}");
        node
    };
    let is_away = || {
        assert_eq!(shown(), None);
        user.is_told(&["exec", member, "--", "true"], 2, "write more `members`, and `up` again");
        user.is_told(&["fault", "inject", "kill", member], 2, "write more `members`, and `up` again");
        let text = both(&user.types(&["exec", "nowhere", "--", "true"]));
        assert!(!text.contains(member), "{text}");
    };
    is_away();
    let ping = ["exec", "inside-1", "--", "ping", "-c", "160", "-i", "0.05", "-W", "1", "198.18.1.101"];
    let mut ping = user.command(&ping).stdout(Stdio::piped()).spawn().expect("a ping");
    write(fewer + 1);
    let text = user.gets(&up);
    assert!(text.contains(&format!("+ {member}")) && text.contains("1 started, 0 switched off"), "{text}");
    let node = shown().expect("it is there");
    assert_eq!((&node["status"]["state"], &node["process"]), (&"active".into(), &"running".into()), "{node}");
    assert!(node["status"]["buckets"].as_u64().is_some_and(|buckets| buckets > 512 / (fewer as u64 + 2)), "{node}");
    assert_eq!(ping.try_wait().expect("a state"), None, "it joined while the ping went on");
    assert!(user.gets(&up).contains("nothing to change"));
    assert_eq!(answers(ping), 160, "none is lost");
    user.gets(&["fault", "inject", "kill", member]);
    write(fewer);
    user.is_told(&up, 2, "is dead: heal it first");
    user.gets(&["fault", "heal"]);
    let text = user.gets(&up);
    assert!(text.contains(&format!("- {member}")) && text.contains("0 started, 1 switched off"), "{text}");
    is_away();
    user.sees(&[&format!("switch {member} off"), "dead", "is active"]);
    assert!(user.gets(&["status"]).contains(&format!("members {fewer} / {fewer} active")));
    user.gets(&["down"]);
    assert!(nothing_left(&folder, "after down"));
}

#[test]
fn netns_a_member_that_the_file_did_not_have_joins_a_maestro_lab() {
    one_more_joins("maestro-single-site", 4, "sgm-1-05");
}

#[test]
fn netns_a_member_that_the_file_did_not_have_joins_an_elasticxl_lab() {
    one_more_joins("elasticxl-single-site", 2, "member-1-03");
}
