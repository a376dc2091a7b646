//! What the report says of the machine that a run ran on.

use std::collections::BTreeMap;

use nix::sys::utsname::uname;
use scalebed_netns::Awake;
use scalebed_record::Record;

use crate::files::Loaded;

/// The commit that this program was built from, where git knew it then.
pub const COMMIT: &str = match option_env!("SCALEBED_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Says in a record when the run began (RFC 3339), how it is repeated, on what machine it was, and what of its lab stands for something
/// else.
pub fn sign(record: &mut Record, loaded: &Loaded, started: &str, command: &str) {
    started.clone_into(&mut record.started);
    command.clone_into(&mut record.command);
    record.environment = describe(&loaded.lab_text, &loaded.scenario_text);
    record.notes.extend(loaded.lab.emulated.iter().map(|choice| format!("emulated: {choice}")));
}

/// Kernel, CPUs, versions, hashes of the files, and the arguments that repeat the run.
#[must_use]
pub fn describe(lab_text: &str, scenario_text: &str) -> BTreeMap<String, String> {
    let mut about = BTreeMap::new();
    let mut put = |name: &str, value: String| {
        about.insert(name.to_owned(), value);
    };
    put("scalebed", env!("CARGO_PKG_VERSION").to_owned());
    put("commit", COMMIT.to_owned());
    if let Ok(names) = uname() {
        put("kernel", names.release().to_string_lossy().into_owned());
        put("machine", names.machine().to_string_lossy().into_owned());
    }
    put("cpus", std::thread::available_parallelism().map_or(0, usize::from).to_string());
    put("cpu model", cpu_model());
    put("lab hash", format!("{:016x}", crate::files::hash64(lab_text.as_bytes())));
    put("scenario hash", format!("{:016x}", crate::files::hash64(scenario_text.as_bytes())));
    put("build", if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned());
    about
}

/// What the host of this machine took, in a report's environment.
pub const STOLEN: &str = "stolen by the host";

/// The machine while a run in namespaces is on: its CPUs are kept awake, and what its host takes is counted.
#[derive(Debug)]
pub struct Machine {
    awake: std::io::Result<Awake>,
    before: Option<CpuTime>,
}

impl Machine {
    /// From now on.
    #[must_use]
    pub fn watch() -> Self {
        Self { awake: Awake::keep(), before: CpuTime::now() }
    }

    /// The run is over; what a report says of it.
    #[must_use]
    pub fn told(self) -> BTreeMap<String, String> {
        let awake = self.awake.map_or_else(|error| format!("no: {error}"), |_| "yes".to_owned());
        let stolen = self.before.zip(CpuTime::now()).map(|(before, after)| {
            let share = after.stolen_since(before);
            (STOLEN.to_owned(), format!("{share:.1} % of the CPU time of the run"))
        });
        [("CPUs kept awake".to_owned(), awake)].into_iter().chain(stolen).collect()
    }
}

/// CPU time of this machine so far, in clock ticks: what its host gave to others, and all (`/proc/stat`, `man 5 proc`).
#[derive(Clone, Copy, Debug)]
struct CpuTime {
    stolen: u64,
    all: u64,
}

impl CpuTime {
    /// `None`: not told here.
    fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted within user.
        Some(Self { stolen: *ticks.get(7)?, all: ticks.iter().take(8).sum() })
    }

    /// What the host took since then, percent of all CPU time.
    fn stolen_since(self, before: Self) -> f64 {
        let (stolen, all) = (self.stolen.saturating_sub(before.stolen), self.all.saturating_sub(before.all));
        if all == 0 { 0.0 } else { stolen as f64 * 100.0 / all as f64 }
    }
}

fn cpu_model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or_else(|| "unknown".to_owned(), |(_, model)| model.to_owned())
}

#[cfg(test)]
mod tests {
    use super::CpuTime;

    #[test]
    fn stolen_time_is_a_share_of_all_but_guests() {
        let at = |line: &str| CpuTime::parse(line).expect("a line of /proc/stat");
        let before = at("cpu  100 0 100 700 0 0 0 100 50 0\ncpu0 1 2 3");
        let after = at("cpu  150 0 150 780 0 0 0 120 99 0");
        assert!((after.stolen_since(before) - 10.0).abs() < 1e-9);
        assert!(before.stolen_since(before).abs() < 1e-9);
        assert!(CpuTime::parse("intr 1").is_none() && CpuTime::parse("").is_none());
    }
}
