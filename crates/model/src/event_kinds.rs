//! Kinds of past events in the state of the modern recipe:
//!
//! ```text
//! x_j = E[item_j] + k [event j is a purchase]
//! ```
//!
//! k is learned and starts at zero. Clicks have no vector of their own, so that a log of clicks has
//! the same model with and without.

use candle_core::{Device, Result, Tensor};
use candle_nn::VarBuilder;
use prl_dataset::Kind;
use prl_nn::{Init, get};

/// See the module.
pub(crate) struct EventKinds {
    /// k: `[dim]`.
    purchase: Tensor,
}

impl EventKinds {
    pub(crate) fn new(dim: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            purchase: get(&vb, dim, "purchase", Init::Const(0.0))?,
        })
    }

    /// The embedded items `[.., dim]` plus the vectors of their events' kinds.
    pub(crate) fn add(&self, x: &Tensor, kinds: &[Kind]) -> Result<Tensor> {
        if !kinds.contains(&Kind::Purchase) {
            return Ok(x.clone());
        }
        let mut shape = x.dims().to_vec();
        shape[x.rank() - 1] = 1;
        let mut is_purchase = Vec::with_capacity(kinds.len());
        for &kind in kinds {
            is_purchase.push(f32::from(u8::from(kind == Kind::Purchase)));
        }
        let is_purchase = Tensor::from_vec(is_purchase, shape, &Device::Cpu)?
            .to_dtype(x.dtype())?
            .to_device(x.device())?;
        x + is_purchase.broadcast_mul(&self.purchase)?
    }
}
