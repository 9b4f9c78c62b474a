//! Trainings and what their trackers have of them.

mod common;
mod read_back;
mod slow_server;
mod unreached;
