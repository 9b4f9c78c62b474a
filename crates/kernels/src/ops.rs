//! The operations, one module each: the CPU implementation, and in its `cuda` module that on a GPU.

pub mod adam;
pub mod attention;
pub mod caser_conv;
pub mod dropout;
pub mod embedding;
pub mod embedding_sum;
pub mod gru;
pub mod index_select;
pub mod lag_attention;
pub mod layer_norm;
pub mod linear;
pub mod nextitnet_block;
#[cfg(feature = "cuda")]
pub mod q_learning;
pub mod rank;
pub mod score_offsets;
pub mod softmax_head;
pub(crate) mod top_k;
pub mod top_k_serving;
