//! A failing case in a file that replays it.

use std::fmt::Write as _;
use std::path::Path;

use scalebed_cluster::Ablations;
use scalebed_topologies::Quirks;
use scalebed_topologies::fault::{Fault, Full};
use serde::{Deserialize, Serialize};

use super::cases::Case;
use super::trial::{self, Trial};
use crate::exit::{self, Failure};
use crate::files;

/// Everything that a replay needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repro {
    /// The invariant that it violates.
    pub invariant: String,
    /// The lab: a shipped name.
    pub lab: String,
    /// Seed.
    pub seed: u64,
    /// General distribution with hide NAT instead of the lab's own.
    #[serde(default)]
    pub general: bool,
    /// F28: what members have little of.
    #[serde(default)]
    pub full: Option<Full>,
    /// Rare and legal behaviour of nodes, by name.
    #[serde(default)]
    pub quirks: Vec<String>,
    /// Share of the flows of each kind that is of IPv6, percent.
    #[serde(default)]
    pub ipv6_percent: u32,
    /// The commit at which it was found.
    pub commit: String,
    /// Safeguards that were switched off.
    #[serde(default)]
    pub ablate: Vec<String>,
    /// What is broken, in order of time.
    pub faults: Vec<Fault>,
}

impl Repro {
    /// Reads a file's text.
    ///
    /// # Errors
    /// [`exit::BAD_FILE`]: it is no repro, or does not fit its lab; with the place where there is one.
    pub fn parse(name: &str, text: &str) -> Result<Self, Failure> {
        let bad = |what: String| Failure::new(exit::BAD_FILE, format!("{name}: {what}"));
        let repro: Self = serde_yaml::from_str(text).map_err(|error| bad(error.to_string()))?;
        let (lab, _) = files::lab(&repro.lab)?;
        if let Some(what) = repro.faults.iter().find_map(|fault| lab.refuse(fault)) {
            return Err(bad(what));
        }
        if repro.ipv6_percent > if lab.has_ipv6() { 100 } else { 0 } {
            return Err(bad(format!("`ipv6_percent` {} is too much on `{}`", repro.ipv6_percent, lab.name)));
        }
        repro.ablations()?;
        if let Err(unknown) = repro.quirks() {
            let known: Vec<&str> = Quirks::ALL.iter().map(|(known, _)| *known).collect();
            return Err(bad(format!("no quirk is named `{unknown}`; there are: {}", known.join(", "))));
        }
        Ok(repro)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`Repro::parse`], or it cannot be read.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::new(exit::BAD_FILE, format!("{name}: cannot be read: {error}")))?;
        Self::parse(&name, &text)
    }

    /// The safeguards that are off.
    ///
    /// # Errors
    /// [`exit::USAGE`]: one is not known.
    pub fn ablations(&self) -> Result<Ablations, Failure> {
        super::ablations(&self.ablate)
    }

    fn quirks(&self) -> Result<Quirks, &str> {
        Quirks::named(self.quirks.iter().map(String::as_str))
    }

    /// The case.
    #[must_use]
    pub fn case(&self) -> Case {
        let Self { general, full, seed, ipv6_percent, .. } = *self;
        // Names were checked when it was read.
        let quirks = self.quirks().unwrap_or_default();
        Case { stage: "repro", general, full, quirks, ipv6_percent, faults: self.faults.clone(), seed }
    }

    /// Runs it again.
    ///
    /// # Errors
    /// The lab is not there, or the world broke.
    pub fn replay(&self) -> Result<Trial, Failure> {
        let (lab, _) = files::lab(&self.lab)?;
        trial::run(&lab, &self.case(), self.ablations()?)
    }

    /// The file's text.
    ///
    /// # Errors
    /// It cannot be written as YAML: a bug.
    pub fn to_yaml(&self) -> Result<String, Failure> {
        serde_yaml::to_string(self).map_err(|error| Failure::new(exit::BUG, format!("repro: {error}")))
    }

    /// A name of its own, for files and tests.
    #[must_use]
    pub fn name(&self) -> String {
        let kinds: Vec<String> = self
            .faults
            .iter()
            .map(|fault| format!("{:?}", fault.kind).to_lowercase().replace(['(', ')'], ""))
            .collect();
        let safeguards: String = self.ablate.iter().map(|name| format!("no-{name}-")).collect();
        let lab = self.lab.split('-').next().unwrap_or_default();
        format!("{lab}-{safeguards}{}-{}-{}", self.invariant, kinds.join("-"), self.seed)
    }

    /// A unit test that replays it.
    #[must_use]
    pub fn unit_test(&self) -> String {
        let name = self.name();
        let mut text = String::new();
        // Writing into a String can't fail.
        let _ = writeln!(text, "#[test]\nfn {}() {{", name.replace('-', "_"));
        let _ =
            writeln!(text, "    let repro = Repro::parse({name:?}, include_str!(\"../corpus/{name}.yaml\")).unwrap();");
        let _ = writeln!(text, "    let trial = repro.replay().unwrap();");
        let _ = writeln!(
            text,
            "    assert!(!trial.violated().contains(&repro.invariant.as_str()), \"{{:?}}\", trial.violations);"
        );
        text + "}\n"
    }
}
