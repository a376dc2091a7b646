//! Files that nobody wrote on purpose: whatever is in them, loading ends, with a value or with a place to look at.

use proptest::prelude::*;
use scalebed_topologies::{Error, catalogue, lab_of_scenario, load_lab, load_scenario};

/// What editors, transmission and malice do to a text.
#[derive(Clone, Debug)]
enum Edit {
    Delete(usize, usize),
    Insert(usize, String),
    Double(usize, usize),
    Swap(usize, usize),
    Cut(usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let text = prop_oneof![
        "[\\[\\]{}:,&*!|>'\"%@`#?\\-]{1,4}",
        "\\PC{1,8}",
        Just("\n".to_owned()),
        Just("  ".to_owned()),
        Just("\t".to_owned()),
        Just("\u{0}".to_owned()),
        Just("<<: *a".to_owned()),
        Just("99999999999999999999".to_owned()),
        Just("-1".to_owned()),
        Just("2001:2::1".to_owned()),
        Just("/0".to_owned()),
        Just("[".repeat(64)),
    ];
    let edit = prop_oneof![
        (any::<usize>(), 1..20usize).prop_map(|(at, length)| Edit::Delete(at, length)),
        (any::<usize>(), text).prop_map(|(at, text)| Edit::Insert(at, text)),
        (any::<usize>(), 1..200usize).prop_map(|(at, length)| Edit::Double(at, length)),
        (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Edit::Swap(a, b)),
        any::<usize>().prop_map(Edit::Cut),
    ];
    prop::collection::vec(edit, 1..4)
}

fn apply(text: &str, edits: &[Edit]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for edit in edits {
        let length = chars.len().max(1);
        match edit {
            Edit::Delete(at, count) => {
                let at = at % length;
                chars.drain(at..(at + count).min(chars.len()));
            }
            Edit::Insert(at, text) => {
                let at = at % length;
                chars.splice(at..at, text.chars());
            }
            Edit::Double(at, count) => {
                let at = at % length;
                let part: Vec<char> = chars[at..(at + count).min(chars.len())].to_vec();
                chars.splice(at..at, part);
            }
            // An edit before this one may have left nothing.
            Edit::Swap(..) if chars.is_empty() => {}
            Edit::Swap(a, b) => chars.swap(a % length, b % length),
            Edit::Cut(at) => chars.truncate(at % length + 1),
        }
    }
    chars.into_iter().collect()
}

fn has_a_place(error: &Error, text: &str) -> bool {
    let lines = text.lines().count().max(1);
    let inside = error.problems().iter().all(|p| (1..=lines).contains(&p.place.line) && p.place.column >= 1);
    let said = error.problems().iter().all(|p| !p.what.is_empty() && !p.instead.is_empty());
    let first = format!("x.yaml:{}:{}: ", error.line(), error.column());
    let printed = error.to_string();
    inside && said && printed.starts_with(&first) && !printed.chars().any(|c| c.is_control() && c != '\n')
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_mutated_lab_never_panics(which in any::<usize>(), edits in edits()) {
        let names = catalogue::lab_names();
        let name = names[which % names.len()];
        let text = apply(catalogue::lab_text(name).unwrap(), &edits);
        match load_lab("x.yaml", &text) {
            Ok(lab) => prop_assert!(!lab.nodes.is_empty()),
            Err(error) => prop_assert!(has_a_place(&error, &text), "{error}"),
        }
    }

    #[test]
    fn a_mutated_scenario_never_panics(which in any::<usize>(), edits in edits()) {
        let names = catalogue::scenario_names();
        let name = names[which % names.len()];
        let (lab, _) = catalogue::scenario(name).unwrap().unwrap();
        let text = apply(catalogue::scenario_text(name).unwrap(), &edits);
        if let Err(error) = load_scenario("x.yaml", &text, &lab) {
            prop_assert!(has_a_place(&error, &text), "{error}");
        }
        if let Err(error) = lab_of_scenario("x.yaml", &text) {
            prop_assert!(has_a_place(&error, &text), "{error}");
        }
    }
}
