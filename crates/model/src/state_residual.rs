//! Residual connection of the modern recipe, which keeps the state in the space of the item
//! embeddings:
//!
//! ```text
//! projected:   y = W h + b + x       h the encoder's state, x the last item's embedding
//! scaled:      y = g * h + x         g a vector; for an h that a layer norm has scaled
//! ```

use candle_core::{Module, Result, Tensor};
use candle_nn::VarBuilder;
use prl_nn::fused::linear;
use prl_nn::{Backend, Init, Linear, get};

/// Initial value of g: the standard deviation of the item embeddings.
const SCALE: f64 = 0.01;

/// Kind of the residual connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResidualKind {
    /// None: the state is the encoder's.
    #[default]
    None,
    /// A linear map of the encoder's state, and the last item.
    Projected,
    /// A scaled encoder's state, and the last item.
    Scaled,
}

/// See the module.
pub(crate) enum StateResidual {
    None,
    Projected(Linear),
    /// g: `[width]`.
    Scaled(Tensor),
}

impl StateResidual {
    /// A connection from states of `width` to items of `dim`.
    pub(crate) fn new(
        kind: ResidualKind,
        width: usize,
        dim: usize,
        vb: VarBuilder,
    ) -> Result<Self> {
        Ok(match kind {
            ResidualKind::None => Self::None,
            ResidualKind::Projected => Self::Projected(Linear::new(width, dim, vb.pp("proj"))?),
            ResidualKind::Scaled => Self::Scaled(get(&vb, dim, "scale", Init::Const(SCALE))?),
        })
    }

    /// y `[B, dim]` of the states `[B, width]` and the embeddings `[B, dim]`.
    pub(crate) fn forward(
        &self,
        state: &Tensor,
        last: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Tensor> {
        match self {
            Self::None => Ok(state.clone()),
            Self::Projected(proj) => {
                let projected = match proj.backend() {
                    Backend::Reference => proj.forward(state)?,
                    Backend::CpuFused | Backend::Cuda => linear(proj, state)?,
                };
                projected + last()?
            }
            Self::Scaled(scale) => state.broadcast_mul(scale)? + last()?,
        }
    }
}
