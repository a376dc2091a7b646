//! Engines on cables in virtual time. Knows only `dyn Engine`.
