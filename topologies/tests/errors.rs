//! What a person reads who made a mistake in a file: every message names file, line and column, and what to write
//! instead.

use std::fmt::Write as _;

use scalebed_topologies::{catalogue, load_lab, load_scenario};

/// A mistake: its title, what is replaced in a shipped file, and by what.
type Mistake = (&'static str, &'static str, &'static str);

fn spoiled(text: &str, (title, from, to): Mistake) -> String {
    assert_eq!(text.matches(from).count().min(2), 1, "{title}: `{from}` must occur once");
    text.replace(from, to)
}

fn lab_messages(lab: &str, mistakes: &[Mistake]) -> String {
    let text = catalogue::lab_text(lab).unwrap();
    let mut out = String::new();
    for &mistake in mistakes {
        let error = match load_lab("lab.yaml", &spoiled(text, mistake)) {
            Ok(_) => panic!("{}: accepted", mistake.0),
            Err(error) => error,
        };
        assert!(error.line() > 0 && error.column() > 0);
        writeln!(out, "# {}\n{error}\n", mistake.0).unwrap();
    }
    out
}

fn scenario_messages(scenario: &str, mistakes: &[Mistake]) -> String {
    let text = catalogue::scenario_text(scenario).unwrap();
    let (lab, _) = catalogue::scenario(scenario).unwrap().unwrap();
    let mut out = String::new();
    for &mistake in mistakes {
        let error = match load_scenario("scenario.yaml", &spoiled(text, mistake), &lab) {
            Ok(_) => panic!("{}: accepted", mistake.0),
            Err(error) => error,
        };
        writeln!(out, "# {}\n{error}\n", mistake.0).unwrap();
    }
    out
}

#[test]
fn mistakes_in_keys_and_values() {
    let text = lab_messages(
        "maestro-single-site",
        &[
            ("a key misspelt", "networks:\n", "netwroks:\n"),
            ("a key in the wrong place", "  l4: off\n", "  l4: off\n  subnet: 198.18.7.0/24\n"),
            ("a key twice", "members: 4 ", "members: 4\nmembers: 5 "),
            ("a value misspelt", "distribution: auto-topology", "distribution: auto-topolgy"),
            ("another architecture", "architecture: maestro", "architecture: clusterxl"),
            ("an unknown platform", "platform: mho-140 ", "platform: mho-141 "),
            ("the other one's platform", "platform: mho-140 ", "platform: elasticxl "),
            ("a number out of range", "buckets: 512", "buckets: 70000"),
            ("not a number", "buckets: 512", "buckets: many"),
            ("a time without its unit", "sync_delay: 3s", "sync_delay: 3"),
            ("a time out of range", "unit: 100ms", "unit: 1ms"),
            ("a word for a switch", "l4: off", "l4: maybe"),
            ("a list where a value belongs", "members: 4 ", "members: [4] "),
            (
                "a value where a mapping belongs",
                "bond:\n  mode: xor\n  hash: [src-mac, dst-mac, src-ip, dst-ip]\n",
                "bond: xor\n",
            ),
            ("a missing key", "architecture: maestro\n", ""),
            ("a bad name", "name: maestro-single-site", "name: Maestro/Site 1"),
            ("a bad address", "next_hop: 198.18.0.2,", "next_hop: 198.18.0.256,"),
            ("a prefix with host bits", "198.18.64.0/18:", "198.18.65.0/18:"),
            ("ports without a protocol", "protocol: tcp, ports: 23", "ports: 23"),
            ("several at once", "  buckets: 512\n  redeal: minimal-move\n", "  bucket: 512\n  redeal: minimal\n"),
        ],
    );
    insta::assert_snapshot!(text);
}

#[test]
fn mistakes_in_what_belongs_together() {
    let text = lab_messages(
        "maestro-single-site",
        &[
            ("too many members for the ports", "members: 4 ", "members: 22 "),
            ("two networks overlap", "subnet: 198.18.2.0/24", "subnet: 198.18.0.0/16"),
            ("the sync network is taken", "subnet: 198.18.2.0/24", "subnet: 192.0.2.0/24"),
            ("an address outside its subnet", "cluster: 198.18.2.1", "cluster: 198.18.3.1"),
            ("an address twice", "hosts: [198.18.2.101]", "hosts: [198.18.2.1]"),
            ("the broadcast address", "hosts: [198.18.2.101]", "hosts: [198.18.2.255]"),
            ("a network that is not there", "from: inside, to: outside, ports", "from: inside, to: outsied, ports"),
            ("no outside network", "role: outside ", "role: management "),
            ("no route behind the next hop", "next_hop: 198.18.1.2", "next_hop: 198.18.1.3"),
            ("a block over somebody's address", "on_link: 198.18.0.16/28", "on_link: 198.18.0.96/28"),
            ("a route over a subnet", "198.18.64.0/18:", "198.18.0.0/18:"),
            ("a key of the other architecture", "  l4: off\n", "  l4: off\n  sticky: table\n"),
            ("too few NAT ports", "ports: 10000-59999", "ports: 10000-10063"),
        ],
    );
    insta::assert_snapshot!(text);
}

#[test]
fn mistakes_with_ipv6() {
    let text = lab_messages(
        "maestro-single-site",
        &[
            ("in the key of IPv4", "cluster: 198.18.2.1\n", "cluster: 2001:2:0:2::1\n"),
            ("IPv4 in its key", "cluster6: 2001:2:0:2::1\n", "cluster6: 198.18.2.1\n"),
            ("a subnet without the cluster", "    cluster6: 2001:2:0:2::1\n", ""),
            ("the cluster without a subnet", "    subnet6: 2001:2:0:2::/64\n", ""),
            ("an address outside its subnet", "cluster6: 2001:2:0:2::1\n", "cluster6: 2001:2:0:3::1\n"),
            ("the routers' anycast address", "cluster6: 2001:2:0:2::1\n", "cluster6: \"2001:2:0:2::\"\n"),
            ("addresses of a link", "2001:2:0:2::/64", "fe80::/64"),
            ("too small", "2001:2:0:2::/64", "2001:2:0:2::/126"),
            ("two networks overlap", "2001:2:0:2::/64", "2001:2::/56"),
            ("host bits", "2001:2:0:40::/58", "2001:2:0:41::/58"),
            ("a next hop of the other family", "2001:2:0:40::/58: 2001:2::2", "2001:2:0:40::/58: 198.18.0.2"),
            ("a host without", "hosts6: [2001:2::101, 2001:2::102]", "hosts6: [2001:2::101]"),
            ("a block over the next hop", "on_link6: 2001:2::10/124", "on_link6: \"2001:2::/124\""),
            ("no next hop", ", next_hop6: 2001:2::2}", "}"),
            ("on one side alone", ", on_link6: 2001:2::10/124, next_hop6: 2001:2::2}", "}"),
            (
                "smaller than its links must carry",
                "    cluster6: 2001:2:0:2::1\n",
                "    cluster6: 2001:2:0:2::1\n    mtu: 1200\n",
            ),
            ("a rule that nothing matches", "{from: mgmt, to: any,", "{from: 198.18.0.0/24, to: 2001:2::/64,"),
        ],
    );
    insta::assert_snapshot!(text);
}

#[test]
fn the_limits_of_elasticxl() {
    let text = lab_messages(
        "elasticxl-single-site",
        &[
            ("a fourth member", "members: 3 ", "members: 4 "),
            ("orchestrators", "members: 3 ", "orchestrators: 2\nmembers: 3 "),
        ],
    );
    insta::assert_snapshot!(text);
}

#[test]
fn what_is_not_built_yet_is_refused_at_its_line() {
    let maestro = lab_messages(
        "maestro-single-site",
        &[
            ("LACP", "mode: xor", "mode: lacp"),
            ("another bond hash", "hash: [src-mac, dst-mac, src-ip, dst-ip]", "hash: [src-ip, dst-ip, src-port]"),
            ("dual site", "members: 4 ", "sites: 2\nmembers: 4 "),
            ("four orchestrators", "orchestrators: 2", "orchestrators: 4"),
            ("several groups", "generator:\n", "groups: []\ngenerator:\n"),
            ("weights", "  l4: off\n", "  l4: off\n  weights: {1_01: 2}\n"),
            ("static NAT", "generator:\n", "static_nat: []\ngenerator:\n"),
            ("static NAT", "  l4: off\n", "  l4: off\n  static_nat: []\n"),
        ],
    );
    let elasticxl = lab_messages(
        "elasticxl-single-site",
        &[("pivot_forward: data", "pivot_forward: sync ", "pivot_forward: data ")],
    );
    let all = maestro + &elasticxl;
    assert_eq!(all.matches("not supported yet").count(), 9);
    insta::assert_snapshot!(all);
}

#[test]
fn mistakes_of_yaml_itself() {
    let deep = "[".repeat(40) + &"]".repeat(40);
    let big = "#".repeat((1 << 20) + 1);
    let cases = [
        ("an unclosed list", "name: [a, b\nmembers: 3\n"),
        ("a tab as indentation", "group:\n\tid: 1\n"),
        ("an anchor", "name: &a b\nother: *a\n"),
        ("a tag", "name: !!str b\n"),
        ("two documents", "name: a\n---\nname: b\n"),
        ("too deep", &deep),
        ("too big", &big),
        ("empty", ""),
        ("a list as a key", "[a, b]: c\n"),
        ("a control character", "name: \"\u{7}\\e[31m\"\n"),
    ];
    let mut out = String::new();
    for (title, text) in cases {
        writeln!(out, "# {title}\n{}\n", load_lab("lab.yaml", text).unwrap_err()).unwrap();
    }
    insta::assert_snapshot!(out);
}

#[test]
fn mistakes_in_scenarios() {
    let maestro = scenario_messages(
        "maestro/member-kill",
        &[
            ("a member that is not there", "kill: {member: 1_03}", "kill: {member: 1_07}"),
            ("an unknown fault", "kill: {member: 1_03}", "kil: {member: 1_03}"),
            ("a fault of later", "kill: {member: 1_03}", "partition: {member: 1_03}"),
            ("two faults in one event", "kill: {member: 1_03}", "kill: {member: 1_03}\n    hang: {who: smo, units: 5}"),
            ("a role of the other architecture", "kill: {member: 1_03}", "kill: pivot"),
            ("an orchestrator that keeps carrier", "kill: {member: 1_03}", "kill: {mho: 1}"),
            ("within the baseline", "at: 5.5s", "at: 3s"),
            ("out of order", "at: 9.5s", "at: 5.4s"),
            ("who runs already", "start: last-victim", "start: {member: 1_02}"),
            ("no outcome class", "    outcome: young-lost\n", ""),
            ("an outcome of later", "outcome: young-lost", "outcome: unavailable"),
            ("another lab", "lab: maestro-single-site", "lab: elasticxl-single-site"),
            ("not a share", "moved_share: 1/4", "moved_share: 25%"),
            ("a key misspelt", "baseline:", "base_line:"),
            ("an unknown task of hosts", "traffic: small", "traffic: small\nhosts: [upload]"),
            ("a task of hosts twice", "traffic: small", "traffic: small\nhosts: [session, session]"),
            ("the owner of nothing", "kill: {member: 1_03}", "kill: hosts-owner"),
            (
                "denied flows that nothing denies",
                "traffic: small",
                "traffic: {probes: 16, probe_rate: 50, population: 40, population_rate: 2, young_percent: 20, denied: 4}",
            ),
        ],
    );
    let elasticxl = scenario_messages(
        "elasticxl/member-kill",
        &[
            ("an orchestrator", "kill: {member: 1_03}", "power_off: {mho: 1}"),
            ("a downlink", "kill: {member: 1_03}", "downlink_down: {member: 1_03, mho: 1}"),
        ],
    );
    let text = maestro + &elasticxl;
    insta::assert_snapshot!(text);
}

#[test]
fn mistakes_in_faults_of_cables() {
    let whole = "fault: {cables: [mho1--sgm-1-02], kinds: [loss=1, delay=20], for: 3s}";
    let text = scenario_messages(
        "maestro/downlink-lossy",
        &[
            ("no such cable", "mho1--sgm-1-02", "mho1--sgm-1-2"),
            ("the tester's own cable", "mho1--sgm-1-02", "generator--sw-inside"),
            ("twice", "[mho1--sgm-1-02]", "[mho1--sgm-1-02, mho1--sgm-1-02]"),
            ("no cable", "[mho1--sgm-1-02]", "[]"),
            ("no such kind", "loss=1", "los=1"),
            ("over the top", "loss=1", "loss=101"),
            ("not a number", "delay=20", "delay=20ms"),
            ("what is done to nodes", "loss=1", "kill"),
            ("nothing", "[loss=1, delay=20]", "[]"),
            ("a key misspelt", "kinds:", "kind:"),
            ("for ever", ", for: 3s", ""),
            ("a word", whole, "fault: unplug"),
            (
                "while another one stands",
                "    generations: 0\n",
                "    generations: 0\n  - at: 7s\n    fault: {cables: [mho2--sgm-1-02, mho1--sgm-1-02], kinds: [lan], for: 1s}\n    \
                 outcome: no-loss\n    generations: 0\n",
            ),
        ],
    );
    let whole = "isolate: {member: 1_02, for: 3s}";
    let of_node = scenario_messages(
        "maestro/member-isolated",
        &[
            ("no such member", "member: 1_02", "member: 1_09"),
            ("no such orchestrator", "member: 1_02", "mho: 3"),
            ("nobody", "member: 1_02, ", ""),
            ("two", "member: 1_02", "member: 1_02, mho: 1"),
            ("a role", "member: 1_02", "who: smo"),
            ("for ever", ", for: 3s", ""),
            ("a word", whole, "isolate: 1_02"),
            ("two things", whole, "isolate: {member: 1_02, for: 3s}\n    mute: {member: 1_02, for: 3s}"),
            (
                "while it stands already",
                "    generations: 2 ",
                "    generations: 2\n  - at: 7s\n    mute: {member: 1_02, for: 1s}\n    outcome: no-loss\n    generations: 0 ",
            ),
        ],
    );
    let of_lab = lab_messages(
        "elasticxl-single-site",
        &[
            ("every member absent", "name: ela", "absent: [1_01, 1_02, 1_03]\nname: ela"),
            ("no such member absent", "name: ela", "absent: [1_09]\nname: ela"),
            (
                "a lab's cable that is not there",
                "name: ela",
                "impairments: [{cables: [sync], kinds: [lan]}]\nname: ela",
            ),
            (
                "a lab's cable that flaps",
                "name: ela",
                "impairments: [{cables: [member-1-02--sw-sync], kinds: [flap=5]}]\nname: ela",
            ),
            (
                "a lab's cable for a time",
                "name: ela",
                "impairments: [{cables: [member-1-02--sw-sync], kinds: [lan], for: 3s}]\nname: ela",
            ),
            ("no list", "name: ela", "impairments: lossy\nname: ela"),
        ],
    );
    insta::assert_snapshot!(text + &of_node + &of_lab);
}

#[test]
fn interface_names_that_the_kernel_would_refuse() {
    let long = |lab: &str, edits: &[(&str, &str)]| {
        let shipped = catalogue::lab_text(lab).unwrap().to_owned();
        let text = edits.iter().fold(shipped, |text, (from, to)| text.replace(from, to));
        load_lab("lab.yaml", &text).unwrap_err().to_string()
    };
    let of_a_switch = long("maestro-single-site", &[("mgmt", "management-net")]);
    let edits = [("  inside:", "  house-and-garden:"), ("from: inside,", "from: house-and-garden,")];
    let of_a_member = long("elasticxl-single-site", &edits);
    let text = of_a_switch + "\n\n" + &of_a_member;
    insta::assert_snapshot!(text);
}

#[test]
fn a_hostile_file_costs_little() {
    let many_keys: String = (0..60_000).map(|key| format!("key{key}: x\n")).collect();
    let many_flows = "a: {b: [".to_owned() + &"c, ".repeat(300_000) + "]}\n";
    let one_line = "x".repeat(1 << 20);
    let nested = "[".repeat(500_000);
    for text in [many_keys, many_flows, one_line, nested] {
        let error = load_lab("lab.yaml", &text).unwrap_err();
        assert!(error.problems().len() <= 100);
        assert!(error.to_string().len() < 20_000);
    }
}
