//! Every form of a report: what a person reads, and what must never be in it.

mod example;

use scalebed_record::comparison::{Cell, Comparison, Row};
use scalebed_record::record::{FaultRow, Outage, Record, Replay, Throughput, Topology};
use scalebed_record::verdict::{Outcome, Verdict};
use scalebed_render::{comparison_html, comparison_markdown, comparison_text, html, json, junit, markdown};

/// A run in which one check fails and one can't say.
fn failed() -> Record {
    let mut record = example::record("maestro", true);
    record.verdicts[0].outcome = Outcome::Fail(vec!["flow 17: c2s at sgm-1-01, s2c at sgm-1-02".to_owned()]);
    record.verdicts[8].outcome = Outcome::Invalid("mho1--sgm-1-03: put in 4,012, got out 4,011".to_owned());
    record.replay = Some(Replay {
        command: "scalebed replay runs/20261125T010203Z-member-kill-1".to_owned(),
        journals: vec![
            ("nodes/sgm-1-03/journal".to_owned(), 812_345),
            ("nodes/sgm-1-03/journal-2".to_owned(), 12_345_678),
        ],
    });
    record
}

/// Elements, attributes and schemes by which a page could run or fetch something.
fn assert_inert(page: &str) {
    let page = page.to_lowercase();
    for banned in
        ["<script", "<img", "<iframe", "<object", "<link rel=\"stylesheet", "@import", "url(", "javascript:\""]
    {
        assert!(!page.contains(banned), "{banned} in the page");
    }
    for (at, _) in page.match_indices("http") {
        let before = &page[page[..at].rfind(['<', '>']).unwrap_or(0)..at];
        assert!(before.starts_with('>') || !before.contains("href="), "a link out: {before}");
        assert!(before.starts_with('>') || !before.contains("src="), "a source out: {before}");
    }
    // Only what we wrote ourselves opens an element: a hostile `<` arrives as an entity.
    let tags: std::collections::BTreeSet<&str> = page
        .split('<')
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '!' && c != '/').next().unwrap())
        .map(|tag| tag.trim_start_matches('/'))
        .collect();
    let known = [
        "!doctype", "a", "b", "body", "br", "circle", "code", "details", "div", "h1", "h2", "h3", "head", "html", "i",
        "li", "line", "link", "main", "meta", "p", "path", "pre", "rect", "span", "style", "summary", "svg", "table",
        "td", "text", "th", "title", "tr", "ul",
    ];
    for tag in tags {
        assert!(known.contains(&tag), "unknown element <{tag}>");
    }
}

#[test]
fn a_page_is_one_file_that_asks_nobody() {
    for architecture in ["maestro", "elasticxl"] {
        for kill in [false, true] {
            let page = html(&example::record(architecture, kill)).unwrap();
            assert_inert(&page);
            assert!(!page.contains("src="));
            assert!(page.len() < 500_000, "{} bytes", page.len());
        }
    }
    assert_inert(&comparison_html(&example::comparison()).unwrap());
}

#[test]
fn hostile_texts_are_inert_in_every_field() {
    for record in [example::record("maestro", true), example::record("elasticxl", true), failed()] {
        let record = example::hostile(&record);
        let page = html(&record).unwrap();
        assert!(page.contains("&lt;script&gt;"), "the texts are shown");
        assert!(page.contains("{{ 7 * 7 }}"), "and not taken for templates");
        assert_inert(&page);
        let text = markdown(&record).unwrap();
        let links = text.replace("\\]", "");
        assert!(!text.contains("<script") && !links.contains("](javascript"), "{text}");
    }
}

#[test]
fn a_failed_run_says_first_how_it_is_replayed() {
    let record = failed();
    let command = "scalebed replay runs/20261125T010203Z-member-kill-1";
    let text = markdown(&record).unwrap();
    let before = &text[..text.find(command).expect("the command")];
    assert!(
        before.starts_with("# member-kill") && before.lines().count() == 3,
        "only the title comes before it: {before}"
    );
    assert!(text.contains("nodes/sgm-1-03/journal-2 (12.3 MB)") && text.contains("journal (813 kB)"), "{text}");
    let page = html(&record).unwrap();
    let place = page.find("scalebed replay runs").expect("the command");
    assert!(page.find("<h2>").expect("a part") < place && place < page.find("<h2>Verdicts").expect("verdicts"));
    assert!(!page[page.find("<h2>").expect("a part")..place].contains("class=\"tile"), "it is the first part");
    let passed = example::record("maestro", true);
    assert!(!markdown(&passed).unwrap().contains("eplay it first"));
    assert!(!html(&passed).unwrap().contains("eplay it first"));
}

#[test]
fn a_comparison_links_only_to_files_beside_it() {
    let cell = |evidence: &str| Cell { value: example::HOSTILE.to_owned(), evidence: evidence.to_owned() };
    let comparison = Comparison {
        rows: vec![
            Row { aspect: "a".to_owned(), elasticxl: cell("javascript:alert(1)"), maestro: cell("//203.0.113.9/x") },
            Row { aspect: "b".to_owned(), elasticxl: cell("http://203.0.113.9/"), maestro: cell("ok/report.html") },
        ],
        records: vec![example::hostile(&example::record("maestro", true))],
        reports: vec![example::HOSTILE.to_owned()],
        ..Comparison::default()
    };
    let page = comparison_html(&comparison).unwrap();
    assert_inert(&page);
    let links: Vec<&str> = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(links, ["data:,", "ok&#x2f;report.html"]);
}

#[test]
fn a_failed_run_says_so_first() {
    let page = html(&failed()).unwrap();
    let verdicts = &page[page.find("<h2>Verdicts").unwrap()..];
    let (fail, pass) = (verdicts.find("chip fail").unwrap(), verdicts.find("chip pass").unwrap());
    assert!(fail < pass, "failures stand on top");
    assert!(page.contains("flow 17: c2s at sgm-1-01"), "with their evidence");
    assert!(page.contains("got out 4,011"));
}

#[test]
fn a_record_of_nothing_is_invalid_in_every_form() {
    let empty = Record::default();
    assert!(html(&empty).unwrap().contains("chip big invalid"));
    assert!(markdown(&empty).unwrap().contains(": invalid"));
    assert!(junit(std::slice::from_ref(&empty)).unwrap().contains("errors=\"1\""));
    assert!(comparison_html(&Comparison::default()).unwrap().contains("chip big invalid"));
    assert_eq!(serde_json::from_str::<Record>(&json(&empty).unwrap()).unwrap(), empty);
}

#[test]
fn absurd_numbers_and_dangling_cables_do_no_harm() {
    let mut record = example::record("maestro", true);
    record.topology.cables.extend([(0, 999), (999, 0), (3, 3)]);
    record.throughput.lost.truncate(3);
    record.throughput.members.push(("nobody".to_owned(), Vec::new()));
    for at in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1e300, 1e300] {
        let mut record = record.clone();
        record.faults.push(FaultRow { at_ms: at, full_ms: Some(at), gap_ms: Some((at, at)), ..FaultRow::default() });
        record.timeline[0].at_ms = at;
        record.outages.push(Outage { from_ms: at, to_ms: at, ..Outage::default() });
        record.members[0].expected_keys = at;
        assert_inert(&html(&record).unwrap());
        markdown(&record).unwrap();
    }
    record.topology = Topology { nodes: Vec::new(), cables: vec![(0, 1)] };
    record.throughput = Throughput { bin_ms: 0.0, ..record.throughput };
    assert_inert(&html(&record).unwrap());
}

#[test]
fn outage_strips_are_capped_and_say_so() {
    let mut record = example::record("maestro", true);
    record.outages.iter_mut().skip(400).for_each(|outage| outage.predicted = false);
    let page = html(&record).unwrap();
    assert!(page.contains("120 of 480 flows are drawn"));
    assert_eq!(page.matches("not predicted</title>").count(), 80, "what nobody predicted is never left out");
}

#[test]
fn a_run_as_markdown() {
    let text = markdown(&failed()).unwrap();
    insta::assert_snapshot!(text);
}

#[test]
fn runs_as_junit() {
    let mut record = failed();
    record.verdicts.truncate(2);
    record.verdicts.push(Verdict {
        check: "ledger".to_owned(),
        outcome: Outcome::Invalid("a tap lost 3 frames".to_owned()),
        value: "3 of 1,412,033".to_owned(),
        accuracy: "exact".to_owned(),
        limit: "0".to_owned(),
    });
    let text = junit(&[record, Record::default()]).unwrap();
    insta::assert_snapshot!(text);
}

#[test]
fn a_comparison_as_text_and_markdown() {
    let comparison = example::comparison();
    let text = comparison_text(&comparison) + "\n" + &comparison_markdown(&comparison).unwrap();
    insta::assert_snapshot!(text);
}
