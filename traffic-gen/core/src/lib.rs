//! Schedule and TCP pair: the generator as an engine.
