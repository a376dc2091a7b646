//! The contract of whatever hangs on a cable: inputs, outputs, instants, seeded randomness.
