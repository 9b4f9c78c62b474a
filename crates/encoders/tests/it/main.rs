//! Integration tests of prl-encoders. They need every encoder.
#![cfg(all(
    feature = "caser",
    feature = "gru",
    feature = "nextitnet",
    feature = "sasrec"
))]

mod candle_module;
mod encoders;
mod golden;
mod initial_values;
mod safetensors;
mod sequence_states;
