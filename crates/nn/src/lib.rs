//! The layers the models are built of, with every random number seeded and every gradient right.
//!
//! candle's own layers draw their initial values and dropout masks from an unseeded generator on the CPU, and some of its
//! operations (softmax over the last dimension, layer norm) silently have no gradient. The few layers needed here therefore
//! stand on parameters ([`Params`]) whose initial values depend on nothing but the seed and the parameter's name, and run
//! on the fused kernels; where those do not run they are composed from operations of candle whose gradients were checked.

mod attention;
#[cfg(test)]
mod check;
mod layers;
mod params;
mod pass;
mod rows;

pub use attention::{AttentionLayout, SeqOffsets, attention};
pub use layers::{LayerNorm, Linear, layer_norm, relu, softmax};
pub use params::{Init, Params, Scope};
pub use pass::ForwardCtx;
pub use rows::{RowWeights, WeightedRow, WeightedTable, add, blend, put, take};
