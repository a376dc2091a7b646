//! The Security Gateway Module: connections, rulebase, NAT, ownership, correction, HyperSync.
