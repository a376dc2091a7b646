//! Plan, apply, run, judge, report: what the `scalebed` command is made of.
//!
//! `files -> Spec -> Lab -> Plan -> Testbed -> (History, Observations) -> Verdicts -> Record -> Report`: [`files`] and
//! [`plan`] need no privilege; [`driver`] runs the phases of a scenario against a [`world::World`], of which there are
//! two: namespaces and the simulation.

pub mod bench;
pub mod compare;
pub mod driver;
pub mod environment;
pub mod exit;
pub mod explain;
pub mod explore;
pub mod files;
pub mod graph;
pub mod journals;
pub mod live;
pub mod nodes;
pub mod plan;
pub mod replay;
pub mod run;
pub mod rundir;
pub mod seeds;
pub mod traffic;
pub mod translate;
pub mod words;
pub mod world;
