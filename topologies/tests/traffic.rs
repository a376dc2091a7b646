//! The share of IPv6 in a scenario's traffic.

use scalebed_topologies::scenario::{Scenario, Share, Traffic};
use scalebed_topologies::{Lab, catalogue, load_lab, load_scenario};

const SCENARIO: &str = "maestro/steady";
const NUMBERS: &str = "{probes: 16, probe_rate: 50, population: 40, population_rate: 2, young_percent: 20";

/// The shipped lab, and what is left of it without its IPv6.
fn labs() -> [Lab; 2] {
    let text = catalogue::lab_text("maestro-single-site").expect("a shipped lab");
    let is_of_ipv6 = |line: &str| {
        ["subnet6:", "cluster6:", "hosts6:", "2001:2:0:40::/58:", "2001:2:0:80::/57:"]
            .iter()
            .any(|key| line.trim_start().starts_with(key))
    };
    let mut without: String = text.lines().filter(|line| !is_of_ipv6(line)).map(|line| format!("{line}\n")).collect();
    for own in
        [", on_link6: 2001:2::10/124, next_hop6: 2001:2::2", ", on_link6: 2001:2:0:1::10/124, next_hop6: 2001:2:0:1::2"]
    {
        assert_eq!(without.matches(own).count(), 1, "{own}");
        without = without.replace(own, "");
    }
    [text.to_owned(), without].map(|text| load_lab("lab.yaml", &text).unwrap_or_else(|error| panic!("{error}")))
}

/// The shipped scenario with other traffic and no expectation of IPv6.
fn with(traffic: &str, lab: &Lab) -> Result<Scenario, String> {
    let text = catalogue::scenario_text(SCENARIO).expect("a shipped scenario");
    let text = text.replace("traffic: small", &format!("traffic: {traffic}"));
    let text = text.replace("  corrected_return_share6: 0/1\n", "");
    load_scenario("scenario.yaml", &text, lab).map_err(|error| error.to_string())
}

#[test]
fn half_of_the_flows_are_of_ipv6_where_nothing_else_is_said_and_the_lab_has_it() {
    let [dual, ipv4] = labs();
    assert!(dual.has_ipv6() && !ipv4.has_ipv6());
    for (traffic, lab, percent) in [
        ("small".to_owned(), &dual, 50),
        ("small".to_owned(), &ipv4, 0),
        (format!("{NUMBERS}}}"), &dual, 50),
        (format!("{NUMBERS}}}"), &ipv4, 0),
        (format!("{NUMBERS}, ipv6_percent: 0}}"), &dual, 0),
        (format!("{NUMBERS}, ipv6_percent: 0}}"), &ipv4, 0),
        (format!("{NUMBERS}, ipv6_percent: 100}}"), &dual, 100),
    ] {
        let scenario = with(&traffic, lab).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(scenario.traffic.ipv6_percent, percent, "{traffic}");
    }
    assert_eq!([&dual, &ipv4].map(|lab| Scenario::idle(lab).traffic.ipv6_percent), [50, 0]);
}

#[test]
fn what_cannot_be_of_ipv6_says_where_and_what_to_write() {
    let [dual, ipv4] = labs();
    let refused = |traffic: &str, lab: &Lab| with(traffic, lab).expect_err("a mistake");
    insta::assert_snapshot!(refused(&format!("{NUMBERS}, ipv6_percent: 25}}"), &ipv4));
    insta::assert_snapshot!(refused(&format!("{NUMBERS}, ipv6_percent: 101}}"), &dual));
    let text = catalogue::scenario_text(SCENARIO).expect("a shipped scenario");
    let text = text.replace("traffic: small", &format!("traffic: {NUMBERS}, ipv6_percent: 0}}"));
    let error = load_scenario("scenario.yaml", &text, &dual).expect_err("an expectation of nothing");
    insta::assert_snapshot!(error);
}

#[test]
fn what_translates_expects_corrections_of_ipv4_alone() {
    for (name, share) in [("steady", 0), ("general-hide-nat", 3)] {
        let (_, scenario) = catalogue::scenario(&format!("maestro/{name}")).expect("shipped").expect("valid");
        let expect = scenario.expect;
        assert_eq!(expect.corrected_return_share.map(|share| share.of), Some(share), "{name}");
        assert_eq!(expect.corrected_return_share6, Some(Share { of: 0, total: 1 }), "{name}");
    }
}

#[test]
fn a_record_of_before_has_no_ipv6() {
    let text = serde_yaml::to_string(&Traffic::SMALL).expect("yaml");
    let before = text.replace("ipv6_percent: 0\n", "");
    assert_ne!(before, text);
    assert_eq!(serde_yaml::from_str::<Traffic>(&before).expect("traffic"), Traffic::SMALL);
}
