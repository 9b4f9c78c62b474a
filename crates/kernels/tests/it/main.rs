//! Integration tests of the CPU kernels.

mod common;
mod first_pass;
mod fused_ops;
mod golden;
mod gru;
mod rank_two_pass;
mod softmax_head;
mod softmax_head_bf16;
mod top_k_serving;
