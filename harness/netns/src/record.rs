//! What a sandbox made, on disk as it is made: how anybody can prove later that nothing of it is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The file in the run directory.
const FILE: &str = "namespaces.json";
/// Kinds of namespaces that a lab's init has of its own, as /proc names them.
const KINDS: [&str; 5] = ["pid", "mnt", "net", "ipc", "uts"];

/// Everything by which a lab can be recognised: by ownership, never by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Pid of the lab's init.
    pub init: u32,
    /// Its start time in clock ticks since boot (field 22 of /proc/pid/stat): with the pid it is unique.
    pub started: u64,
    /// In the order of creation.
    pub namespaces: Vec<RecordedNamespace>,
}

/// A namespace of a lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedNamespace {
    /// The node, or `init`.
    pub name: String,
    /// `net`, `pid`, `mnt`, `ipc` or `uts`.
    pub kind: String,
    /// Inode number in nsfs. The kernel uses numbers again once a namespace is gone.
    pub inode: u64,
}

impl Recorded {
    /// The init's own namespaces, and descriptors that keep them: as long as one is held, its inode number belongs to no
    /// other namespace.
    pub(crate) fn of_init(pid: u32) -> io::Result<(Self, Vec<OwnedFd>)> {
        let mut namespaces = Vec::new();
        let mut held = Vec::new();
        for kind in KINDS {
            let file = fs::File::open(format!("/proc/{pid}/ns/{kind}"))?;
            let inode = file.metadata()?.ino();
            namespaces.push(RecordedNamespace { name: "init".to_owned(), kind: kind.to_owned(), inode });
            held.push(file.into());
        }
        Ok((Self { init: pid, started: Stat::read(&format!("/proc/{pid}"))?.started, namespaces }, held))
    }

    /// Reads what a run recorded.
    ///
    /// # Errors
    /// The file cannot be read or is not ours.
    pub fn load(run_dir: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(run_dir.join(FILE))?)?)
    }

    /// Replaces the file in one step: a reader sees the old or the new one, never half.
    pub(crate) fn save(&self, run_dir: &Path) -> io::Result<()> {
        let new = run_dir.join("namespaces.json.new");
        fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        fs::rename(new, run_dir.join(FILE))
    }

    /// Everything on this machine that still refers to the lab: its init, threads in its namespaces, descriptors and
    /// mounts of them. Each line names the process. Empty is what a teardown promises.
    ///
    /// A zombie has given back everything but its pid, and only its parent can take that: after SIGKILL of the harness,
    /// the machine's own init. (One was seen that does so every 2 s.) So a dead process does not count as one in the
    /// lab's pid namespace; in any other namespace it would.
    ///
    /// Ask only when the lab should be gone: the harness itself holds descriptors as long as it lives, and inode numbers
    /// are used again by later namespaces.
    ///
    /// # Errors
    /// /proc cannot be listed.
    pub fn leftovers(&self) -> io::Result<Vec<String>> {
        self.scan(None)
    }

    /// As [`Self::leftovers`], for a harness that still holds the namespaces: its own descriptors do not count, and no
    /// inode number can have been used again.
    pub(crate) fn leftovers_beside_held(&self) -> io::Result<Vec<String>> {
        self.scan(Some(std::process::id()))
    }

    /// Does the lab's init live? By pid and start time, which no later process has. Its end is the end of every process in
    /// the lab's pid namespace.
    #[must_use]
    pub fn init_lives(&self) -> bool {
        Stat::read(&format!("/proc/{}", self.init)).is_ok_and(|stat| stat.started == self.started && !stat.ending)
    }

    fn scan(&self, holder: Option<u32>) -> io::Result<Vec<String>> {
        let inodes: BTreeSet<u64> = self.namespaces.iter().map(|namespace| namespace.inode).collect();
        // As links in /proc and mounts name them, `net:[4026531840]`.
        let labels: BTreeMap<String, &str> = self
            .namespaces
            .iter()
            .map(|namespace| (format!("{}:[{}]", namespace.kind, namespace.inode), namespace.name.as_str()))
            .collect();
        let mut found = Vec::new();
        if self.init_lives() {
            found.push(format!("the init, process {}", self.init));
        }
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.bytes().all(|byte| byte.is_ascii_digit()) {
                threads_in(&name, &inodes, &mut found);
                if holder.is_none_or(|holder| holder.to_string() != name) {
                    descriptors_of(&name, &labels, &mut found);
                }
                mounts_of(&name, &labels, &mut found);
            }
        }
        Ok(found)
    }
}

/// Threads of process `pid` in these namespaces. A process that ends meanwhile refers to nothing; so below.
fn threads_in(pid: &str, inodes: &BTreeSet<u64>, found: &mut Vec<String>) {
    for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let ending = Stat::read(&thread.path().to_string_lossy()).is_ok_and(|stat| stat.ending);
        for kind in KINDS.into_iter().filter(|kind| !(ending && *kind == "pid")) {
            let inode = fs::metadata(thread.path().join("ns").join(kind)).map(|metadata| metadata.ino());
            if inode.is_ok_and(|inode| inodes.contains(&inode)) {
                let thread = thread.file_name().to_string_lossy().into_owned();
                found.push(format!("thread {thread} of process {pid} in a {kind} namespace of the lab"));
            }
        }
    }
}

fn descriptors_of(pid: &str, labels: &BTreeMap<String, &str>, found: &mut Vec<String>) {
    for descriptor in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        let target = fs::read_link(descriptor.path()).unwrap_or_default();
        if let Some(name) = labels.get(&*target.to_string_lossy()) {
            found.push(format!("a descriptor of process {pid} on {name}"));
        }
    }
}

fn mounts_of(pid: &str, labels: &BTreeMap<String, &str>, found: &mut Vec<String>) {
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    for label in mounts.split_ascii_whitespace().filter(|word| labels.contains_key(*word)) {
        found.push(format!("a mount of {label} seen by process {pid}"));
    }
}

/// What /proc/pid/stat says of a process or thread.
struct Stat {
    /// In its end or a zombie: it will run no more code of its own.
    ending: bool,
    /// Clock ticks since boot.
    started: u64,
}

impl Stat {
    /// linux/sched.h: getting shut down.
    const PF_EXITING: u64 = 4;

    fn read(folder: &str) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("{folder}/stat"))?;
        // The name in parentheses may hold anything; the fields after it are the state (3) and numbers.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
        let (Some(flags), Some(started)) = (number(9), number(22)) else {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        };
        Ok(Self { ending: flags & Self::PF_EXITING != 0, started })
    }
}

#[cfg(test)]
mod tests {
    use super::Recorded;

    #[test]
    fn a_process_that_lives_is_found_by_everything_it_refers_to() {
        let (this, _held) = Recorded::of_init(std::process::id()).expect("own namespaces");
        let found = this.leftovers().expect("a readable /proc");
        assert!(found.iter().any(|line| line.starts_with("the init")), "{found:?}");
        assert!(found.iter().any(|line| line.contains("in a net namespace")), "{found:?}");
    }

    #[test]
    fn a_descriptor_of_a_namespace_is_found_unless_it_is_the_holders() {
        let (this, _held) = Recorded::of_init(std::process::id()).expect("own namespaces");
        let own = format!("a descriptor of process {} on init", std::process::id());
        assert!(this.leftovers().expect("a readable /proc").contains(&own));
        assert!(!this.leftovers_beside_held().expect("a readable /proc").contains(&own));
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let (this, _held) = Recorded::of_init(std::process::id()).expect("own namespaces");
        this.save(place.path()).expect("saved");
        assert_eq!(Recorded::load(place.path()).expect("loaded"), this);
    }
}
