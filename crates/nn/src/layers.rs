//! Linear layer, layer norm, softmax and ReLU with the right gradients.

use candle_core::{D, Module, Result, Tensor};
use candle_nn::VarBuilder;

use crate::backend::Backend;
use crate::init::Init;
use crate::packed_param::{PackedLayout, PackedPart, PackedWeights, get};

/// Affine map `y = x W^T + b` with `weight` W `[outputs, inputs]` and `bias` b `[outputs]`.
///
/// `forward` is candle's operations, on any device; [`fused::linear`](crate::fused::linear) is the
/// kernel. The storage is `[inputs, outputs]`, the order in which the kernel reads it.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
    packed: PackedWeights,
}

impl Linear {
    /// A layer with Glorot weights and a zero bias.
    pub fn new(inputs: usize, outputs: usize, vb: VarBuilder) -> Result<Self> {
        let shape = [inputs, outputs];
        let part = PackedPart::permuted("weight", shape, [1, 0], Init::Glorot);
        let layout = PackedLayout::new("weight", &shape, vec![part])?;
        let packed = PackedWeights::new(&vb, &layout, move |rng| Init::Glorot.values(&shape, rng))?;
        Ok(Self {
            weight: packed.named(0),
            bias: get(&vb, outputs, "bias", Init::Const(0.0))?,
            packed,
        })
    }

    /// The weight `[outputs, inputs]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias `[outputs]`.
    pub fn bias(&self) -> &Tensor {
        &self.bias
    }

    /// The weight as the kernel reads it, `[inputs, outputs]`.
    pub(crate) fn packed(&self) -> Result<&Tensor> {
        self.packed.packed()
    }

    /// The fastest backend that the weights allow.
    pub fn backend(&self) -> Backend {
        self.packed.backend()
    }
}

impl Module for Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (outputs, inputs) = self.weight.dims2()?;
        let mut shape = x.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = outputs;
        }
        let x = x.contiguous()?.reshape(((), inputs))?;
        // candle's product of a transposed view is wrong (candle #3744), hence the copy.
        let y = x.matmul(&self.weight.t()?.contiguous()?)?;
        y.broadcast_add(&self.bias)?.reshape(shape)
    }
}

/// Layer norm over the last axis (Ba et al., 2016): `(x - mean) / sqrt(variance + eps) * weight +
/// bias`, weight and bias `[width]`.
///
/// [`candle_nn::LayerNorm`] has no gradient on contiguous input. `forward` is candle's elementary
/// operations; [`fused::layer_norm`](crate::fused::layer_norm) is the kernel.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
    pub(crate) eps: f64,
}

impl LayerNorm {
    /// A layer with weight one and bias zero.
    pub fn new(width: usize, eps: f64, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            weight: get(&vb, width, "weight", Init::Const(1.0))?,
            bias: get(&vb, width, "bias", Init::Const(0.0))?,
            eps,
        })
    }

    /// A layer of these tensors, `[width]` each.
    pub fn from_tensors(weight: Tensor, bias: Tensor, eps: f64) -> Self {
        Self { weight, bias, eps }
    }
}

impl Module for LayerNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        let normal = centred.broadcast_div(&(variance + self.eps)?.sqrt()?)?;
        normal
            .broadcast_mul(&self.weight)?
            .broadcast_add(&self.bias)
    }
}

/// max(x, 0), with gradient 0 at 0, as in PyTorch; candle's own has gradient 1 there.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    x.gt(0.0)?.where_cond(x, &x.zeros_like()?)
}

/// Logistic function 1 / (1 + exp(-x)).
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    ((x.neg()?.exp()? + 1.0)?).recip()
}

/// Softmax over the last axis. candle's `softmax_last_dim` has no gradient.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    let max = x.max_keepdim(D::Minus1)?.detach();
    let e = x.broadcast_sub(&max)?.exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}
