//! The run directory: everything a run leaves, under one path that it alone owns.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use scalebed_record::{History, Record};

/// A run's own directory.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// `out` itself if it is given (it must not exist, or be empty), else `runs/<utc>-<name>-<seed>` here, with
    /// `runs/latest` pointing at it.
    ///
    /// # Errors
    /// The directory cannot be made, or holds something already.
    pub fn create(out: Option<&Path>, name: &str, seed: u64) -> io::Result<Self> {
        let path = match out {
            Some(out) => out.to_path_buf(),
            None => {
                let name = name.replace('/', "-");
                Path::new("runs").join(format!("{}-{name}-{seed}", utc().replace(['-', ':'], "")))
            }
        };
        fs::create_dir_all(&path)?;
        if fs::read_dir(&path)?.next().is_some() {
            let text = format!("{} holds something already: name an empty or new directory", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        let path = fs::canonicalize(path)?;
        if out.is_none() {
            point_latest_at(&path)?;
        }
        Ok(Self { path })
    }

    /// Its path, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory inside, made if need be.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Writes a file whole: under a temporary name, then renamed, so that a reader never sees half of one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, content: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        let draft = self.path.join(format!(".{name}.draft"));
        fs::write(&draft, content)?;
        fs::rename(&draft, &path)?;
        Ok(path)
    }

    /// Writes the history, one JSON line an entry.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_history(&self, history: &History) -> io::Result<()> {
        let mut file = io::BufWriter::new(fs::File::create(self.path.join("history.jsonl"))?);
        for entry in &history.entries {
            serde_json::to_writer(&mut file, entry)?;
            file.write_all(b"\n")?;
        }
        file.flush()
    }

    /// Writes the verdicts alone.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_verdicts(&self, record: &Record) -> io::Result<PathBuf> {
        self.write("verdicts.json", &serde_json::to_string_pretty(&record.verdicts)?)
    }

    /// Writes verdicts and every form of the report.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write_report(&self, record: &Record) -> Result<PathBuf, Box<dyn std::error::Error + Send + Sync>> {
        self.write_verdicts(record)?;
        self.write("record.json", &scalebed_render::json(record)?)?;
        self.write("report.md", &scalebed_render::markdown(record)?)?;
        self.write("junit.xml", &scalebed_render::junit(std::slice::from_ref(record))?)?;
        Ok(self.write("report.html", &scalebed_render::html(record)?)?)
    }
}

fn point_latest_at(path: &Path) -> io::Result<()> {
    let link = path.with_file_name("latest");
    let draft = path.with_file_name(format!(".latest-{}", std::process::id()));
    let name = path.file_name().unwrap_or_default();
    std::os::unix::fs::symlink(name, &draft)?;
    fs::rename(&draft, &link)
}

/// Now, UTC, as RFC 3339 without fractions.
#[must_use]
pub fn utc() -> String {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    rfc3339(seconds)
}

/// Days to a civil date by the proleptic Gregorian calendar: eras of 146,097 days, years that start in March.
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::{RunDir, rfc3339};

    #[test]
    fn dates_are_civil() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_795_569_661), "2026-11-25T01:21:01Z");
    }

    #[test]
    fn a_directory_that_holds_something_is_refused() {
        let place = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(place.path().join("mine"), "x").expect("a file");
        let error = RunDir::create(Some(place.path()), "n", 1).expect_err("must refuse");
        assert!(error.to_string().contains("holds something already"), "{error}");
    }
}
