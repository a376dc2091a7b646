//! `up` again: what the lab's file says now is held against what is up, and only what differs is done. Members come and go
//! while traffic runs; all else is refused by name, before anything is touched.

use std::fmt;
use std::time::{Duration, Instant};

use scalebed_frame::MemberId;
use scalebed_topologies::Lab;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client;
use super::place::Place;
use super::protocol::{LabStatus, Request};
use crate::exit::{self, Failure};

/// A member that was started is Active within this: twice what a join takes at most.
const LIMIT: Duration = Duration::from_secs(20);
/// How often it is asked.
const GLANCE: Duration = Duration::from_millis(100);

/// Names of members that a file lets come and go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// To be started.
    pub come: Vec<String>,
    /// To be switched off.
    pub go: Vec<String>,
}

impl Change {
    /// What is to be done so that what is up becomes what the file says. The file's lab is cabled as what is up: members
    /// that it does not have are absent there.
    ///
    /// # Errors
    /// [`exit::USAGE`]: it differs in something else.
    pub fn between(up: &Lab, file: &Lab) -> Result<Self, Failure> {
        let (had, wants) = (up.members().len(), file.members().len());
        if had != wants {
            let text = format!(
                "{had} members are cabled, and the file has {wants}: no cable comes while a lab is up; `scalebed down`, \
                 then `up` (its `--spare N` cables N members more than the file has)"
            );
            return Err(Failure::new(exit::USAGE, text));
        }
        let same = Lab { absent: up.absent.clone(), spare: up.spare.clone(), ..file.clone() };
        if same != *up {
            let text = format!(
                "the file differs from what is up in {}; only `members` and `absent` change while a lab is up: `scalebed down`, then \
                 `up`",
                differences(up, &same).join(", ")
            );
            return Err(Failure::new(exit::USAGE, text));
        }
        let name = |member: &MemberId| up.by_id((*member).into()).map(|(_, node)| node.name.clone());
        let only = |of: &[MemberId], other: &[MemberId]| {
            of.iter().filter(|member| !other.contains(member)).filter_map(name).collect()
        };
        Ok(Self { come: only(&up.absent, &file.absent), go: only(&file.absent, &up.absent) })
    }

    /// Is there anything to do?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.come.is_empty() && self.go.is_empty()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.come {
            writeln!(f, "  + {name}  is started and joins")?;
        }
        for name in &self.go {
            writeln!(f, "  - {name}  is switched off")?;
        }
        Ok(())
    }
}

/// Keys in which two labs differ: one level down where a key holds others.
fn differences(one: &Lab, other: &Lab) -> Vec<String> {
    let mut found = Vec::new();
    let (Ok(one), Ok(other)) = (serde_json::to_value(one), serde_json::to_value(other)) else { return found };
    for (key, value) in one.as_object().into_iter().flatten() {
        match (value, other.get(key)) {
            (a, Some(b)) if a == b => {}
            (Value::Object(a), Some(Value::Object(b))) => {
                found.extend(
                    a.iter()
                        .filter(|(inner, value)| b.get(*inner) != Some(value))
                        .map(|(inner, _)| format!("{key}.{inner}")),
                );
            }
            _ => found.push(key.clone()),
        }
    }
    found
}

/// Changes a lab that is up, and waits until who was started is in service.
///
/// # Errors
/// [`exit::USAGE`]: the file differs in what can't change, or a member that is to go is broken. [`exit::APPLY`]: who was
/// started did not come into service.
pub fn update(place: &Place, text: &str) -> Result<u8, Failure> {
    // All of it is begun, or nothing.
    let change: Change = client::ask(place, &Request::Update { text: text.to_owned() })?;
    if change.is_empty() {
        println!("{} is up as the file says: nothing to change", place.name);
        return Ok(exit::PASS);
    }
    print!("{change}");
    let began = Instant::now();
    while let Some(waiting) = waiting(place, &change)? {
        if began.elapsed() >= LIMIT {
            let text = format!("{waiting} did not come into service within {} s", LIMIT.as_secs());
            return Err(Failure::new(exit::APPLY, text));
        }
        std::thread::park_timeout(GLANCE);
    }
    println!("{}: {} started, {} switched off", place.name, change.come.len(), change.go.len());
    Ok(exit::PASS)
}

/// The first of those that were started that is not Active.
fn waiting(place: &Place, change: &Change) -> Result<Option<String>, Failure> {
    let status: LabStatus = client::ask(place, &Request::Status)?;
    let active = |name: &str| {
        let node = status.nodes.iter().find(|node| node.name == name);
        node.and_then(|node| node.status.as_ref()).is_some_and(|status| status.state == "active")
    };
    Ok(change.come.iter().find(|name| !active(name)).cloned())
}

#[cfg(test)]
mod tests {
    use scalebed_topologies::Lab;

    use super::Change;
    use crate::{exit, files};

    #[test]
    fn only_members_come_and_go() {
        let (up, text) = files::lab("maestro-single-site").expect("a shipped lab");
        let lab = |edit: &[(&str, &str)]| {
            let text = edit.iter().fold(text.clone(), |text, (from, to)| {
                assert!(text.contains(from), "{from}");
                text.replacen(from, to, 1)
            });
            scalebed_topologies::load_lab("lab.yaml", &text).expect("a lab")
        };
        assert!(Change::between(&up, &up).expect("the same").is_empty());
        let less = lab(&[("name: maestro", "absent: [1_04, 1_02]\nname: maestro")]);
        let change = Change::between(&up, &less).expect("two go");
        assert_eq!((change.come.len(), change.go), (0, vec!["sgm-1-02".to_owned(), "sgm-1-04".to_owned()]));
        let change = Change::between(&less, &up).expect("two come");
        assert_eq!((change.come, change.go.len()), (vec!["sgm-1-02".to_owned(), "sgm-1-04".to_owned()], 0));
        let both = lab(&[("name: maestro", "absent: [1_03, 1_04]\nname: maestro")]);
        let shown = Change::between(&less, &both).expect("one comes and one goes").to_string();
        assert!(shown.contains("+ sgm-1-02") && shown.contains("- sgm-1-03") && !shown.contains("1-04"), "{shown}");
        for (edits, words) in [
            (vec![("sync_delay: 3s", "sync_delay: 2s")], "group.sync_delay_ms"),
            (vec![("name: maestro-single-site", "name: other")], "name"),
        ] {
            let failure = Change::between(&up, &lab(&edits)).expect_err("refused");
            assert!(failure.text.contains(words), "{failure}");
        }
    }

    /// A shipped lab with room for two members, and other texts of it as `up` again reads them.
    #[test]
    fn members_that_the_file_did_not_have_come_and_highest_ones_go() {
        let (mut up, text) = files::lab_with_room("maestro-single-site", 2).expect("a shipped lab");
        let file = |up: &Lab, edits: &[(&str, &str)]| {
            let text = edits.iter().fold(text.clone(), |text, (from, to)| text.replacen(from, to, 1));
            scalebed_topologies::load_lab_as_cabled("lab.yaml", &text, up).expect("a lab")
        };
        let names = |numbers: &[u8]| numbers.iter().map(|number| format!("sgm-1-{number:02}")).collect::<Vec<_>>();
        let with_absent = "members: 6\nabsent: [1_05, 1_02]";
        for (members, come, go) in [
            ("members: 4", vec![], vec![]),
            ("members: 5", vec![5], vec![]),
            ("members: 3", vec![], vec![4, 5]),
            ("members: 6", vec![4, 5, 6], vec![]),
            (with_absent, vec![], vec![2, 5]),
            ("members: 4", vec![2], vec![6]),
        ] {
            let new = file(&up, &[("members: 4", members)]);
            let change = Change::between(&up, &new).expect("members come and go");
            assert_eq!((change.come, change.go), (names(&come), names(&go)), "{members}");
            up = new;
        }
        for (edits, words) in [
            (vec![("members: 4", "members: 7")], "6 members are cabled, and the file has 7"),
            (vec![("members: 4", "members: 7")], "`scalebed down`, then `up` (its `--spare N`"),
            (vec![("members: 4", "members: 5"), ("sync_delay: 3s", "sync_delay: 2s")], "group.sync_delay_ms"),
            (vec![("members: 4", "members: 3"), ("platform: mho-140 ", "platform: mho-170 ")], "platform"),
        ] {
            let failure = Change::between(&up, &file(&up, &edits)).expect_err("refused");
            assert!(failure.code == exit::USAGE && failure.text.contains(words), "{failure}");
        }
    }
}
