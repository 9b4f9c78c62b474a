//! Application of fused operations to tensors: on the open tape, else on candle's graph.

use candle_core::{Result, Tensor};

use crate::autograd::op::{FusedOp, Op, all};
use crate::autograd::tape;

fn contiguous<const N: usize>(args: [&Tensor; N]) -> Result<[Tensor; N]> {
    all(args.into_iter().map(Tensor::contiguous))
}

impl<F: FusedOp<1>> Op<F, 1> {
    /// The differentiable result: recorded on the open tape, else on candle's graph.
    pub(crate) fn of(self, args: [&Tensor; 1]) -> Result<Tensor> {
        let args = contiguous(args)?;
        if tape::is_used_for(&args[0]) {
            return tape::run(self, args);
        }
        let [x] = args;
        x.apply_op1(self)
    }
}

impl<F: FusedOp<2>> Op<F, 2> {
    /// The differentiable result: recorded on the open tape, else on candle's graph.
    pub(crate) fn of(self, args: [&Tensor; 2]) -> Result<Tensor> {
        let args = contiguous(args)?;
        if tape::is_used_for(&args[0]) {
            return tape::run(self, args);
        }
        let [x, y] = args;
        x.apply_op2(&y, self)
    }
}

impl<F: FusedOp<3>> Op<F, 3> {
    /// The differentiable result: recorded on the open tape, else on candle's graph.
    pub(crate) fn of(self, args: [&Tensor; 3]) -> Result<Tensor> {
        let args = contiguous(args)?;
        if tape::is_used_for(&args[0]) {
            return tape::run(self, args);
        }
        let [x, y, z] = args;
        x.apply_op3(&y, &z, self)
    }
}
