//! The shell around an engine: event loop, control socket, journal, clock.
