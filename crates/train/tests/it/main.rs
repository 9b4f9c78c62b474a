//! Integration tests of training.

#[path = "../common/mod.rs"]
mod common;

mod blend;
mod conventions;
mod formats;
mod golden;
mod grow;
mod modern_gradients;
mod next_event_prompt;
mod numbers;
mod process_group;
mod session_sampling;
mod slow_learning;
mod training;
mod validation;
