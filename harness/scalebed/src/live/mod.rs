//! Labs that stay up. `up` leaves a keeper, a process that holds the lab as `run` holds its own; every other command asks
//! it over a socket. Whatever ends the keeper, SIGKILL included, ends the lab.

mod capture;
mod client;
pub mod commands;
mod keeper;
mod place;
mod protocol;
mod show;
mod up;
mod update;
