//! What the report says of the machine that a run ran on.

use std::collections::BTreeMap;

use nix::sys::utsname::uname;
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

fn cpu_model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or_else(|| "unknown".to_owned(), |(_, model)| model.to_owned())
}
