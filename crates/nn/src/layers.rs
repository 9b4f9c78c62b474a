//! Linear, layer norm and softmax: fused, or where no kernel runs composed from operations whose gradients are right.

use candle_core::{D, Result, Tensor};
use prl_kernels::ops::layer_norm;
use prl_kernels::ops::linear;
use prl_kernels::runs_on;

use crate::params::{Init, Scope};

/// `x W + b`, with `W` `[inputs, outputs]`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// A Glorot matrix `weight` and a zero `bias`.
    pub fn new(inputs: usize, outputs: usize, mut scope: Scope<'_>) -> Result<Self> {
        let weight = scope.get("weight", (inputs, outputs), Init::Glorot)?;
        Ok(Self {
            weight,
            bias: scope.get("bias", outputs, Init::Const(0.0))?,
        })
    }

    /// `[.., inputs]` to `[.., outputs]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if runs_on(x) {
            linear::linear(x, &self.weight, &self.bias, false)
        } else {
            self.composed(x)
        }
    }

    /// The same and a ReLU.
    pub fn forward_relu(&self, x: &Tensor) -> Result<Tensor> {
        if runs_on(x) {
            linear::linear(x, &self.weight, &self.bias, true)
        } else {
            relu(&self.composed(x)?)
        }
    }

    fn composed(&self, x: &Tensor) -> Result<Tensor> {
        let (inputs, outputs) = self.weight.dims2()?;
        let mut shape = x.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = outputs;
        }
        x.contiguous()?
            .reshape(((), inputs))?
            .matmul(&self.weight)?
            .broadcast_add(&self.bias)?
            .reshape(shape)
    }
}

/// Normalises the last dimension to mean zero and variance one, then scales and shifts it (Ba et al., 2016).
#[derive(Clone, Debug)]
pub struct LayerNorm {
    scale: Tensor,
    shift: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// Over a last dimension of `width`; `eps` is added to the variance.
    pub fn new(width: usize, eps: f64, mut scope: Scope<'_>) -> Result<Self> {
        let scale = scope.get("scale", width, Init::Const(1.0))?;
        Ok(Self {
            scale,
            shift: scope.get("shift", width, Init::Const(0.0))?,
            eps,
        })
    }

    /// `[.., width]` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if runs_on(x) {
            layer_norm::layer_norm(x, &self.scale, &self.shift, self.eps)
        } else {
            layer_norm(x, &self.scale, &self.shift, self.eps)
        }
    }
}

/// A layer norm with scale and shift `[width]` of the caller's, from candle's operations.
pub fn layer_norm(x: &Tensor, scale: &Tensor, shift: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normal = centred.broadcast_div(&(variance + eps)?.sqrt()?)?;
    normal.broadcast_mul(scale)?.broadcast_add(shift)
}

/// max(x, 0), with gradient 0 at 0 (candle's own has 1 there).
pub fn relu(x: &Tensor) -> Result<Tensor> {
    x.gt(0.0)?.where_cond(x, &x.zeros_like()?)
}

/// Softmax over the last dimension.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    let top = x.max_keepdim(D::Minus1)?.detach();
    let e = x.broadcast_sub(&top)?.exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}

#[cfg(test)]
mod tests {
    use super::{LayerNorm, Linear, layer_norm, relu, softmax};
    use crate::check::{differences, one, values};
    use candle_core::Tensor;
    use proptest::prelude::*;

    fn linear(args: &[&Tensor]) -> Linear {
        Linear {
            weight: args[1].clone(),
            bias: args[2].clone(),
        }
    }

    fn norm(args: &[&Tensor]) -> LayerNorm {
        LayerNorm {
            scale: args[1].clone(),
            shift: args[2].clone(),
            eps: 1e-8,
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let x = &values(&[2, 3, 5], "x");
        let (weight, bias, scale) = (
            &values(&[5, 19], "w"),
            &values(&[19], "b"),
            &values(&[5], "s"),
        );
        differences(&[x, weight, bias], |a| linear(a).forward(a[0]));
        differences(&[x, weight, bias], |a| linear(a).forward_relu(a[0]));
        differences(&[x, scale, scale], |a| norm(a).forward(a[0]));
        differences(&[x], |a| softmax(a[0]));
    }

    proptest! {
        #[test]
        fn the_fused_and_the_composed_layers_are_one(
            rows in 1..150usize, more in 1..4usize, inputs in 2..40usize, outputs in 1..40usize
        ) {
            let x = &values(&[rows, more, inputs], "x");
            let (weight, bias) = (&values(&[inputs, outputs], "w"), &values(&[outputs], "b"));
            let scale = &values(&[inputs], "s");
            one(&[x, weight, bias], |a| linear(a).forward(a[0]), |a| linear(a).composed(a[0]));
            one(&[x, weight, bias], |a| linear(a).forward_relu(a[0]), |a| relu(&linear(a).composed(a[0])?));
            one(&[x, scale, scale], |a| norm(a).forward(a[0]), |a| layer_norm(a[0], a[1], a[2], 1e-8));
        }
    }

    #[test]
    fn a_layer_norm_has_mean_zero_and_variance_one() {
        let ones = Tensor::ones(5, candle_core::DType::F64, &candle_core::Device::Cpu).unwrap();
        let y = norm(&[&ones, &ones, &ones.zeros_like().unwrap()])
            .forward(&values(&[6, 5], "x"))
            .unwrap();
        for row in y.to_vec2::<f64>().unwrap() {
            let (mean, var) = (
                row.iter().sum::<f64>() / 5.0,
                row.iter().map(|x| x * x).sum::<f64>() / 5.0,
            );
            assert!(mean.abs() < 1e-12 && (var - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_an_error() {
        let (x, weight, bias) = (
            values(&[2, 5], "x"),
            values(&[4, 3], "w"),
            values(&[3], "b"),
        );
        assert!(linear(&[&x, &weight, &bias]).forward(&x).is_err());
        assert!(norm(&[&x, &bias, &bias]).forward(&x).is_err());
    }
}
