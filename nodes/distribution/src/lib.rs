//! The distribution hash: mode and fields to bucket to ordered members; matrix, weights, re-deal.
