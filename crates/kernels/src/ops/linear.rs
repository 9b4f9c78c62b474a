//! Linear layer `x W + b` with an optional ReLU.

#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Result, Tensor, bail};
use pulp::{Arch, Simd, WithSimd};

use crate::Real;
use crate::autograd::op::{FusedOp, Op};
use crate::simd::gemm::{Strided, multiply_add};
use crate::simd::slices::{self, add, each, relu_grad, sum_all, transpose};

/// Rows per block. Fixed, so that sums over rows are split alike for any number of threads.
const BLOCK: usize = 128;

/// `[.., inputs]` to `[.., outputs]` by `weight` `[inputs, outputs]` and `bias` `[outputs]`; `relu`
/// clamps the result at zero, with gradient zero there. Runs where [`runs_on`](crate::runs_on) is
/// true.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor, relu: bool) -> Result<Tensor> {
    let (inputs, outputs) = weight.dims2()?;
    let mut shape = x.dims().to_vec();
    if shape.pop() != Some(inputs) || bias.dims() != [outputs] || inputs == 0 || outputs == 0 {
        bail!(
            "linear: x {:?}, weight {:?} and bias {:?} do not match",
            x.shape(),
            weight.shape(),
            bias.shape()
        );
    }
    shape.push(outputs);
    let op = Op::new(
        Linear {
            inputs,
            outputs,
            relu,
        },
        shape,
    );
    op.of([x, weight, bias])
}

#[derive(Clone, Copy)]
struct Linear {
    inputs: usize,
    outputs: usize,
    relu: bool,
}

impl FusedOp<3> for Linear {
    const NAME: &'static str = "linear";
    type Saved<T: Real> = ();

    fn forward<T: Real>(&self, [x, weight, bias]: [&[T]; 3]) -> (Vec<T>, ()) {
        let mut y = bias.repeat(x.len() / self.inputs);
        let blocks = y
            .chunks_mut(BLOCK * self.outputs)
            .zip(x.chunks(BLOCK * self.inputs));
        let arch = Arch::new();
        each(x.len() * self.outputs, blocks, |(y, x)| {
            arch.dispatch(Forward {
                linear: *self,
                x,
                weight,
                y,
            })
        });
        (y, ())
    }

    fn backward<T: Real>(
        &self,
        [x, weight, _]: [&[T]; 3],
        _: &(),
        y: &[T],
        grad: &[T],
    ) -> [Vec<T>; 3] {
        let Self {
            inputs, outputs, ..
        } = *self;
        let across = &transpose(weight, outputs);
        let mut dx = vec![T::zero(); x.len()];
        let blocks = dx.chunks_mut(BLOCK * inputs).zip(x.chunks(BLOCK * inputs));
        let blocks = blocks.zip(y.chunks(BLOCK * outputs).zip(grad.chunks(BLOCK * outputs)));
        let arch = Arch::new();
        let parts = each(2 * x.len() * outputs, blocks, |((dx, x), (y, grad))| {
            arch.dispatch(Backward {
                linear: *self,
                x,
                y,
                grad,
                across,
                dx,
            })
        });
        let mut dweight = sum_all((inputs + 1) * outputs, parts);
        let dbias = dweight.split_off(inputs * outputs);
        [dx, dweight, dbias]
    }
}

/// A block of rows; `y` holds the bias.
struct Forward<'a, T> {
    linear: Linear,
    x: &'a [T],
    weight: &'a [T],
    y: &'a mut [T],
}

impl<T: Real> WithSimd for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Linear {
            inputs,
            outputs,
            relu,
        } = self.linear;
        let x = Strided {
            data: self.x,
            row: inputs,
            column: 1,
        };
        multiply_add(
            simd,
            [self.x.len() / inputs, outputs, inputs],
            x,
            self.weight,
            outputs,
            self.y,
            outputs,
        );
        if relu {
            slices::relu(self.y);
        }
    }
}

/// Backward pass of a block: fills `dx` and returns its part of the gradients of weight and bias,
/// `[inputs + 1, outputs]`.
struct Backward<'a, T> {
    linear: Linear,
    x: &'a [T],
    y: &'a [T],
    grad: &'a [T],
    /// The weight, transposed.
    across: &'a [T],
    dx: &'a mut [T],
}

impl<T: Real> WithSimd for Backward<'_, T> {
    type Output = Vec<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<T> {
        let Linear {
            inputs,
            outputs,
            relu,
        } = self.linear;
        let rows = self.x.len() / inputs;
        let gated: Vec<T>;
        let mut grad = self.grad;
        if relu {
            gated = relu_grad(grad, self.y);
            grad = &gated;
        }
        let by_row = Strided {
            data: grad,
            row: outputs,
            column: 1,
        };
        multiply_add(
            simd,
            [rows, inputs, outputs],
            by_row,
            self.across,
            inputs,
            self.dx,
            inputs,
        );
        let mut sums = vec![T::zero(); (inputs + 1) * outputs];
        let x = Strided {
            data: self.x,
            row: 1,
            column: inputs,
        };
        multiply_add(
            simd,
            [inputs, outputs, rows],
            x,
            grad,
            outputs,
            &mut sums,
            outputs,
        );
        for g in grad.chunks_exact(outputs) {
            add(&mut sums[inputs * outputs..], g);
        }
        sums
    }
}
