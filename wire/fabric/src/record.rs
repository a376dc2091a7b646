//! What a test may keep of a run.

use std::fmt::{self, Write as _};
use std::hash::Hasher as _;

use scalebed_engine::Output;
use siphasher::sip::SipHasher13;

/// What is kept while the fabric runs. Nothing by default: it costs memory without bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// A line of text for every frame that comes out of a cable or is lost on it.
    pub transcript: bool,
    /// Every node's outputs (and their digest).
    pub outputs: bool,
    /// A digest of every node's outputs, without the outputs: for long runs.
    pub digests: bool,
    /// Every node's inputs.
    pub journals: bool,
}

/// Outputs of one node, and a digest over their bytes.
#[derive(Debug, Default)]
pub(crate) struct OutputRecord {
    pub(crate) outputs: Vec<Output>,
    hasher: SipHasher13,
}

impl OutputRecord {
    pub(crate) fn take_in(&mut self, output: &Output, whole: bool) {
        match output {
            Output::Transmit { port, frame } => {
                self.hasher.write_u8(1);
                self.hasher.write_u16(port.0);
                self.hasher.write_usize(frame.bytes().len());
                self.hasher.write(frame.bytes());
            }
            // `Debug` of the others shows every field; of a frame it shows one line of text only.
            Output::SetPort { .. } | Output::Event(_) | Output::InstallConfig(_) | Output::Reboot | Output::Idle(_) => {
                self.hasher.write_u8(2);
                let mut into_hasher = IntoHasher(&mut self.hasher);
                // Writing into a hasher can't fail.
                let _ = write!(into_hasher, "{output:?}");
            }
        }
        if whole {
            self.outputs.push(output.clone());
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        self.hasher.finish()
    }
}

struct IntoHasher<'a>(&'a mut SipHasher13);

impl fmt::Write for IntoHasher<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}
