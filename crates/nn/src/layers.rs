//! Linear, layer norm and softmax, composed from operations whose gradients are right.

use candle_core::{D, Result, Tensor};

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
        Ok(Self { weight, bias: scope.get("bias", outputs, Init::Const(0.0))? })
    }

    /// `[.., inputs]` to `[.., outputs]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (inputs, outputs) = self.weight.dims2()?;
        let mut shape = x.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = outputs;
        }
        x.contiguous()?.reshape(((), inputs))?.matmul(&self.weight)?.broadcast_add(&self.bias)?.reshape(shape)
    }

    /// The same and a ReLU.
    pub fn forward_relu(&self, x: &Tensor) -> Result<Tensor> {
        relu(&self.forward(x)?)
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
        Ok(Self { scale, shift: scope.get("shift", width, Init::Const(0.0))?, eps })
    }

    /// `[.., width]` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        layer_norm(x, &self.scale, &self.shift, self.eps)
    }
}

/// The same with scale and shift `[width]` of the caller's.
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
    use super::{LayerNorm, Linear, softmax};
    use crate::{Init, Params};
    use candle_core::{DType, Device, Result, Tensor, Var};

    /// Central differences of `sum(f(x) * w)` at every parameter and the input.
    fn check(params: &Params, x: &Var, f: impl Fn(&Tensor) -> Result<Tensor>) {
        let loss = || {
            let y = f(x.as_tensor())?.flatten_all()?;
            let w: Vec<f64> = (0..y.elem_count()).map(|i| (0.9 * i as f64).cos()).collect();
            (&y * Tensor::from_vec(w, y.shape(), &Device::Cpu)?)?.sum_all()
        };
        let grads = loss().unwrap().backward().unwrap();
        for var in params.iter().map(|(_, v)| v).chain([x]) {
            let grad = grads.get(var).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let start = var.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let at = |i: usize, delta: f64| {
                let mut moved = start.clone();
                moved[i] += delta;
                var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
                loss().unwrap().to_scalar::<f64>().unwrap()
            };
            for (i, ours) in grad.iter().enumerate() {
                let numeric = (at(i, 1e-5) - at(i, -1e-5)) / 2e-5;
                assert!((numeric - ours).abs() < 1e-8, "element {i}: {numeric} and {ours}");
            }
            at(0, 0.0);
        }
    }

    fn setup() -> (Params, Var) {
        let values = Init::Normal(1.0).values(&[30], &mut prl_seed::stream(1, "x", 0)).unwrap();
        let x = Var::from_tensor(&Tensor::from_vec(values, (2, 3, 5), &Device::Cpu).unwrap()).unwrap();
        (Params::new(DType::F64, &Device::Cpu, 4), x)
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (mut params, x) = setup();
        let linear = Linear::new(5, 4, params.scope("linear")).unwrap();
        check(&params, &x, |x| linear.forward(x));
        let (mut params, x) = setup();
        let norm = LayerNorm::new(5, 1e-8, params.scope("norm")).unwrap();
        check(&params, &x, |x| norm.forward(x));
        let (params, x) = setup();
        check(&params, &x, softmax);
    }

    #[test]
    fn a_layer_norm_has_mean_zero_and_variance_one() {
        let (mut params, x) = setup();
        let y = LayerNorm::new(5, 1e-8, params.scope("n")).unwrap().forward(x.as_tensor()).unwrap();
        for row in y.reshape((6, 5)).unwrap().to_vec2::<f64>().unwrap() {
            let (mean, var) = (row.iter().sum::<f64>() / 5.0, row.iter().map(|x| x * x).sum::<f64>() / 5.0);
            assert!(mean.abs() < 1e-12 && (var - 1.0).abs() < 1e-6);
        }
    }
}
