//! The LAG-aware L2 switch of a network.
