//! Dealing buckets to members. The matrix travels as [`scalebed_frame::control::Matrix`].

use scalebed_frame::control::{Admitted, Matrix};
use scalebed_frame::{Generation, Incarnation, MhoId};
use scalebed_topologies::lab::Redeal;

/// Digest over generation and content: equal matrices have equal digests on every machine.
#[must_use]
pub fn digest(matrix: &Matrix) -> u64 {
    let _ = matrix;
    0
}

/// The first matrix: `buckets` dealt evenly over `admitted`, in order of id.
#[must_use]
pub fn first(
    generation: Generation,
    buckets: u16,
    admitted: &[Admitted],
    orchestrators: &[(MhoId, Incarnation)],
) -> Matrix {
    let _ = buckets;
    Matrix { generation, admitted: admitted.to_vec(), orchestrators: orchestrators.to_vec(), buckets: Vec::new() }
}

/// The next matrix, with exactly `admitted`. Orphaned buckets go to their backup; a joiner takes its share (planned: the
/// previous owner is noted); the loss of any one member spreads its buckets evenly over the others.
#[must_use]
pub fn next(
    matrix: &Matrix,
    generation: Generation,
    admitted: &[Admitted],
    orchestrators: &[(MhoId, Incarnation)],
    redeal: Redeal,
) -> Matrix {
    let _ = redeal;
    Matrix {
        generation,
        admitted: admitted.to_vec(),
        orchestrators: orchestrators.to_vec(),
        buckets: matrix.buckets.clone(),
    }
}
