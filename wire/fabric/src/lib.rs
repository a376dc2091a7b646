//! Engines on cables in virtual time.
