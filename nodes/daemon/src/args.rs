//! The command line of a node, the same for all four.

use std::path::PathBuf;

/// What a node is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// JSON of the node's configuration.
    pub config: PathBuf,
    /// Where the control socket is made.
    pub control: PathBuf,
    /// Where events go: a file or a FIFO.
    pub events: PathBuf,
    /// Where inputs are kept, if at all.
    pub journal: Option<PathBuf>,
}

/// Exit code of a wrong command line.
pub const USAGE: u8 = 2;

/// Wrong use of the command line, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// An argument that is not known.
    #[error("unknown argument `{0}`; known: --config FILE --control SOCKET --events FILE [--journal FILE]")]
    Unknown(String),
    /// An argument without its value.
    #[error("`{0}` needs a value")]
    NoValue(String),
    /// An argument that must be there.
    #[error("`{0}` is missing; usage: --config FILE --control SOCKET --events FILE [--journal FILE]")]
    Missing(&'static str),
}

impl Args {
    /// Reads the arguments behind the program's name.
    ///
    /// # Errors
    /// An unknown argument, one without its value, or one that is missing.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, ArgsError> {
        let (mut config, mut control, mut events, mut journal) = (None, None, None, None);
        let mut args = args.into_iter();
        while let Some(name) = args.next() {
            let place = match name.as_str() {
                "--config" => &mut config,
                "--control" => &mut control,
                "--events" => &mut events,
                "--journal" => &mut journal,
                _ => return Err(ArgsError::Unknown(name)),
            };
            *place = Some(PathBuf::from(args.next().ok_or(ArgsError::NoValue(name))?));
        }
        Ok(Self {
            config: config.ok_or(ArgsError::Missing("--config"))?,
            control: control.ok_or(ArgsError::Missing("--control"))?,
            events: events.ok_or(ArgsError::Missing("--events"))?,
            journal,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Args, ArgsError};

    fn parse(line: &str) -> Result<Args, ArgsError> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_line_is_read_or_refused_in_words() {
        let args = parse("--config a --control b --events c").expect("valid");
        assert_eq!((args.config.to_str(), args.journal), (Some("a"), None));
        assert_eq!(parse("--config a --events c"), Err(ArgsError::Missing("--control")));
        assert_eq!(parse("--config"), Err(ArgsError::NoValue("--config".to_owned())));
        assert_eq!(parse("--what"), Err(ArgsError::Unknown("--what".to_owned())));
    }
}
