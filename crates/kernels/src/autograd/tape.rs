//! A tape of fused operations with its own backward pass.
//!
//! candle's backward pass allocates zeros for every argument and adds the gradient to them, also
//! for a parameter that is used once. On a GPU that is most of a small step. Under [`record`] fused
//! operations are recorded here instead: gradients are moved, and added only where a tensor has
//! several uses.
//!
//! candle's operations may be mixed in: to candle, the result of a recorded operation is a
//! variable, and candle's own backward pass ends there.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::op::BackpropOp;
use candle_core::{Result, Tensor, TensorId, bail};

use crate::autograd::backward_from;
use crate::autograd::op::{FusedOp, Op};

/// A recorded operation with its arguments and result.
struct Entry {
    op: Box<dyn Recorded>,
    args: Vec<Tensor>,
    out: Tensor,
}

/// Type-erased fused operation.
trait Recorded {
    /// The gradient of each argument.
    fn backward_erased(&self, args: &[Tensor], out: &Tensor, grad: &Tensor) -> Result<Vec<Tensor>>;
}

impl<F: FusedOp<N>, const N: usize> Recorded for Op<F, N> {
    fn backward_erased(&self, args: &[Tensor], out: &Tensor, grad: &Tensor) -> Result<Vec<Tensor>> {
        Ok(self
            .backward(std::array::from_fn(|i| &args[i]), out, grad)?
            .into())
    }
}

thread_local! {
    /// Operations recorded on this thread; `None` when not recording.
    static OPEN: RefCell<Option<Vec<Entry>>> = const { RefCell::new(None) };
}

/// Recorded fused operations in execution order.
pub struct Tape(Vec<Entry>);

/// Calls `f` and records the fused operations that it runs on this thread. candle sees their
/// results as variables.
///
/// # Errors
/// If `f` fails.
pub fn record<R, E>(
    f: impl FnOnce() -> std::result::Result<R, E>,
) -> std::result::Result<(R, Tape), E> {
    /// Restores the outer recording, also if `f` panics.
    struct Outer(Option<Vec<Entry>>);
    impl Drop for Outer {
        fn drop(&mut self) {
            OPEN.set(self.0.take());
        }
    }
    let _outer = Outer(OPEN.replace(Some(Vec::new())));
    let result = f()?;
    Ok((result, Tape(OPEN.take().unwrap_or_default())))
}

/// Runs an operation and records it.
pub(crate) fn run<F: FusedOp<N>, const N: usize>(
    op: Op<F, N>,
    args: [Tensor; N],
) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    let recorded = op.run_recorded(&args)?;
    #[cfg(not(feature = "cuda"))]
    let recorded = None;
    let out = match recorded {
        Some(out) => out,
        None => run_now(&op, &args)?,
    };
    if !is_open() {
        return Ok(out);
    }
    let entry = Entry {
        op: Box::new(op),
        args: args.into(),
        out: out.clone(),
    };
    OPEN.with_borrow_mut(|open| open.get_or_insert_default().push(entry));
    Ok(out)
}

/// The result as a variable of its own.
fn run_now<F: FusedOp<N>, const N: usize>(op: &Op<F, N>, args: &[Tensor; N]) -> Result<Tensor> {
    let guards = args.each_ref().map(Tensor::storage_and_layout);
    let (storage, shape) = op.run(
        guards
            .each_ref()
            .map(|(storage, layout)| (&**storage, *layout)),
    )?;
    Ok(Tensor::from_storage(
        storage,
        shape,
        BackpropOp::none(),
        true,
    ))
}

/// Whether fused operations on a tensor are this module's: the thread records a tape, or a step of
/// the tensor's GPU.
pub(crate) fn is_used_for(x: &Tensor) -> bool {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        let is_recording = |gpu: crate::cuda::Gpu| gpu.is_recording();
        return is_open() || crate::cuda::Gpu::of(x).is_ok_and(is_recording);
    }
    _ = x;
    is_open()
}

/// Whether this thread is recording.
pub(crate) fn is_open() -> bool {
    OPEN.with_borrow(Option::is_some)
}

impl Tape {
    /// Back-propagates `grad`, the gradient of `y`, to all variables that `y` depends on.
    ///
    /// # Errors
    /// If the gradient's shape differs from that of `y`, or a backward pass fails.
    pub fn backward(self, y: &Tensor, grad: Tensor) -> Result<Gradients> {
        let mut grads = Gradients(HashMap::new());
        grads.give(y, grad)?;
        for Entry { op, args, out } in self.0.into_iter().rev() {
            // Results that `y` does not depend on have no gradient.
            let Some(grad) = grads.remove(&out) else {
                continue;
            };
            for (arg, grad) in args.iter().zip(op.backward_erased(&args, &out, &grad)?) {
                grads.give(arg, grad)?;
            }
        }
        Ok(grads)
    }
}

/// Gradients by variable.
pub struct Gradients(HashMap<TensorId, Tensor>);

impl Gradients {
    /// Removes and returns the gradient by a variable; `None` if the result does not depend on it.
    pub fn remove(&mut self, of: &Tensor) -> Option<Tensor> {
        self.0.remove(&of.id())
    }

    /// Accumulates a gradient of `x`.
    fn give(&mut self, x: &Tensor, grad: Tensor) -> Result<()> {
        if x.shape() != grad.shape() {
            bail!(
                "gradient shape {:?} does not match tensor shape {:?}",
                grad.shape(),
                x.shape()
            );
        }
        if x.is_variable() {
            return self.add(x.id(), grad);
        }
        if x.track_op() {
            // A candle result: continue with candle's backward pass.
            let grads = backward_from::backward(x, &grad)?;
            // In any order of the ids: each has a sum of its own.
            for &id in grads.get_ids() {
                grads
                    .get_id(id)
                    .map_or(Ok(()), |grad| self.add(id, grad.clone()))?;
            }
        }
        Ok(())
    }

    fn add(&mut self, id: TensorId, grad: Tensor) -> Result<()> {
        let sum = match self.0.remove(&id) {
            Some(there) => sum(&there, &grad)?,
            None => grad,
        };
        self.0.insert(id, sum);
        Ok(())
    }
}

/// The sum of two gradients.
fn sum(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() && x.is_contiguous() && y.is_contiguous() {
        let sum = crate::cuda::row_ops::add(x, y)?;
        return Ok(sum);
    }
    x + y
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result, Tensor, Var};

    use super::record;
    use crate::ops::index_select::{add, index_select};
    use crate::ops::linear::linear;

    fn var(shape: (usize, usize), seed: f64) -> Var {
        let values = (0..shape.0 * shape.1)
            .map(|i| (seed + 1.7 * i as f64).sin())
            .collect();
        Var::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// Fused operations before, between and after candle's; results used once, twice and never.
    fn mixed(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let first = linear(&x.sqr()?, weight, bias, true)?;
        let _unused = linear(&first, weight, bias, false)?;
        let turned = (first.t()?.contiguous()?.t()?.contiguous()? * 0.5)?;
        let second = add(&linear(&turned, weight, bias, false)?, &first)?;
        let both = (index_select(&second, &[2, 0])? + index_select(&turned, &[1, 3])?)?;
        add(&both, &both)? * 3.0
    }

    #[test]
    fn tape_backward_matches_candle_autograd() {
        let (x, weight, bias) = (var((4, 3), 0.1), var((3, 3), 0.2), var((1, 3), 0.3));
        let bias = Var::from_tensor(&bias.flatten_all().unwrap()).unwrap();
        let grad = var((2, 3), 0.4).as_tensor().detach();
        let (y, tape) = record(|| mixed(&x, &weight, &bias)).unwrap();
        let mut ours = tape.backward(&y, grad.clone()).unwrap();
        let plain = mixed(&x, &weight, &bias).unwrap();
        let theirs = (&plain * &grad)
            .unwrap()
            .sum_all()
            .unwrap()
            .backward()
            .unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(flat(&y), flat(&plain));
        for var in [&x, &weight, &bias] {
            for (a, b) in flat(&ours.remove(var).unwrap())
                .iter()
                .zip(flat(theirs.get(var).unwrap()))
            {
                assert!((a - b).abs() < 1e-13, "{a} and {b}");
            }
        }
        assert!(
            ours.0.is_empty(),
            "there is nothing else to have a gradient by"
        );
    }

    #[test]
    fn unrecorded_ops_use_candle_autograd() {
        let (x, weight) = (var((4, 3), 0.1), var((3, 3), 0.2));
        let bias = Tensor::zeros(3, candle_core::DType::F64, &Device::Cpu).unwrap();
        assert!(record(|| linear(&x, &x, &bias, false)).is_err());
        let y = linear(&x, &weight, &bias, false).unwrap();
        assert!(
            y.sum_all()
                .unwrap()
                .backward()
                .unwrap()
                .get(&weight)
                .is_some()
        );
        let (y, tape) = record(|| linear(&x, &weight, &bias, false)).unwrap();
        assert!(
            tape.backward(&y, x.get(0).unwrap()).is_err(),
            "a gradient of another shape"
        );
    }
}
