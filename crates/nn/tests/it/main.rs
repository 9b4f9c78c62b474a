//! Integration tests of prl-nn.

mod attention;
mod candle_nn;
mod kernel_ops;
mod layers;
mod seeded_values;
