//! What a cable does to frames: loss, bursts of it, a rate with a finite queue, delay, jitter, reordering, duplicates,
//! corruption, frames that are cut short, and a cut that leaves the carrier up. All of it combines.
//!
//! Every draw is a hash of seed, cable, direction, frame index and what is drawn. A [`Line`], which is one direction of a
//! cable, gives for the same frames at the same instants the same [`Fate`]s, wherever it stands: in the simulated world, in
//! a wire process, or where the ledger is recomputed. Loss, duplicates, corruption, what is cut short and who is held back depend on the
//! index alone, bursts on the frames before, the rest on time.

mod draw;
mod line;
mod rules;

pub use line::{Fate, Line, Loss, flip, shortened};
pub use rules::{Burst, DEFAULT_DELAY, Direction, MILLION, Rate, Reorder, Rules, Settings};
