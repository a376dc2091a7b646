//! CPUs that do not sleep while a run is on: a tester that must be on time can't wait for a CPU to come back.

use std::fs::{File, OpenOptions};
use std::io::Write;

/// The kernel's request for a bound on how long a CPU may take to wake up (`Documentation/power/pm_qos_interface`).
const REQUEST: &str = "/dev/cpu_dma_latency";

/// While this lives, idle CPUs poll instead of halting. On a virtual machine a halted CPU has to queue for a real one each
/// time it wakes: measured on a shared host, a thread that wakes every 500 us was over 2 ms late for 2.5 % of ten seconds
/// (median of 5), and for 0.2 % with the request. The kernel takes the request back with the descriptor, however the
/// process ends.
#[derive(Debug)]
pub struct Awake {
    _request: File,
}

impl Awake {
    /// Asks for it.
    ///
    /// # Errors
    /// The kernel has no such device, or does not let this process have it (a container without it): the run goes on, its
    /// tester may be late, and then its verdicts say so.
    pub fn keep() -> std::io::Result<Self> {
        let mut request = OpenOptions::new().write(true).open(REQUEST)?;
        // Microseconds, a 32-bit number as the machine writes it.
        request.write_all(&0i32.to_ne_bytes())?;
        Ok(Self { _request: request })
    }
}
