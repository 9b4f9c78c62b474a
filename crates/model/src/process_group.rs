//! Data-parallel training: every process holds the same weights and computes the gradients of its
//! share of each batch.
//!
//! The gradients are summed over the processes (all-reduce), and each process applies the same
//! update, so that weights are never sent. The transport is an implementation of [`ProcessGroup`];
//! [`SingleProcess`] is a group of one.

use std::fmt::Display;
use std::ops::Range;

use bytemuck::Pod;
use candle_core::{D, Device, Result, Tensor};
use prl_kernels::storage::MutableStorage;

use crate::dtype::by_dtype;
use crate::error::Error;

/// Communication among the processes that train one model.
///
/// Every process makes the same calls in the same order, and each call waits for all of them. An
/// implementation must end all processes when one is lost.
pub trait ProcessGroup: Send + Sync {
    /// Rank of this process, from 0.
    fn rank(&self) -> usize;
    /// Number of processes.
    fn size(&self) -> usize;
    /// Replaces each element by its sum over the processes: the same bits in each of them.
    fn all_reduce_sum(&self, numbers: Buffer<'_>);
    /// The bytes of every process, in the order of the ranks.
    fn all_gather(&self, bytes: &[u8]) -> Vec<Vec<u8>>;
}

/// Elements to sum.
#[derive(Debug)]
pub enum Buffer<'a> {
    /// Single precision.
    F32(&'a mut [f32]),
    /// Double precision.
    F64(&'a mut [f64]),
}

/// A group of one process.
#[derive(Clone, Copy, Debug)]
pub struct SingleProcess;

impl ProcessGroup for SingleProcess {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn all_reduce_sum(&self, _: Buffer<'_>) {}

    fn all_gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        vec![bytes.to_vec()]
    }
}

impl dyn ProcessGroup + '_ {
    /// Whether the group has one process.
    pub fn is_alone(&self) -> bool {
        self.size() == 1
    }

    /// Fails for what trains in one process only: SQN, SAC, and a GPU.
    pub fn check(&self, is_double: bool, device: &Device) -> crate::Result<()> {
        if self.is_alone() {
            return Ok(());
        }
        if is_double {
            return Err(Error::Config(
                "sqn and sac train on one rank only; leave --mpi out".into(),
            ));
        }
        if !device.is_cpu() {
            return Err(Error::Config(
                "several ranks train on CPUs only; use --device cpu".into(),
            ));
        }
        Ok(())
    }

    /// Whether this process writes the run and validates.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// The share of this process in a batch of `n` examples.
    pub fn share(&self, n: usize) -> Range<usize> {
        let (rank, size) = (self.rank(), self.size());
        rank * n / size..(rank + 1) * n / size
    }

    /// Number of elements that the lower ranks hold of a tensor with `n` elements here.
    pub fn before(&self, n: usize) -> usize {
        let mut before = 0;
        for &n in &gather(self, &[n as u64])[..self.rank()] {
            before += n as usize;
        }
        before
    }

    /// The sum of one number over the processes.
    pub fn total(&self, x: f64) -> f64 {
        let mut x = [x];
        self.all_reduce_sum(Buffer::F64(&mut x));
        x[0]
    }

    /// The result of this process, unless another process failed: then all fail, so that none waits
    /// for a call that never comes.
    ///
    /// # Errors
    /// The error of this process, or [`Error::Rank`] with the message of the first one that failed.
    pub fn broadcast_result<T, E: Display + From<Error>>(
        &self,
        result: std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let said = self.all_gather(
            result
                .as_ref()
                .err()
                .map(ToString::to_string)
                .unwrap_or_default()
                .as_bytes(),
        );
        let value = result?;
        match said.iter().position(|what| !what.is_empty()) {
            Some(rank) => Err(E::from(Error::Rank {
                rank,
                what: String::from_utf8_lossy(&said[rank]).into_owned(),
            })),
            None => Ok(value),
        }
    }
}

/// An element type that can be summed over a process group.
pub(crate) trait Number: MutableStorage {
    fn as_buffer(x: &mut [Self]) -> Buffer<'_>;
}

impl Number for f32 {
    fn as_buffer(x: &mut [f32]) -> Buffer<'_> {
        Buffer::F32(x)
    }
}

impl Number for f64 {
    fn as_buffer(x: &mut [f64]) -> Buffer<'_> {
        Buffer::F64(x)
    }
}

/// The values of all processes, concatenated; their numbers may differ.
pub(crate) fn gather<T: Pod>(group: &dyn ProcessGroup, values: &[T]) -> Vec<T> {
    let parts = group.all_gather(bytemuck::cast_slice(values));
    parts
        .iter()
        .flat_map(|bytes| bytemuck::pod_collect_to_vec::<u8, T>(bytes))
        .collect()
}

/// Sums of tensors over the processes, in one call. CPU tensors of one type, at least one.
pub(crate) fn sum_tensors(group: &dyn ProcessGroup, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
    let flat = Tensor::cat(
        &tensors
            .iter()
            .map(Tensor::flatten_all)
            .collect::<Result<Vec<_>>>()?,
        0,
    )?;
    let summed = by_dtype!(flat.dtype(), T => {
        let mut values = flat.to_vec1::<T>()?;
        group.all_reduce_sum(T::as_buffer(&mut values));
        Tensor::from_vec(values, flat.shape(), &Device::Cpu)?
    });
    let mut at = 0;
    let part = |tensor: &Tensor| {
        let part = summed
            .narrow(0, at, tensor.elem_count())?
            .reshape(tensor.shape());
        at += tensor.elem_count();
        part
    };
    tensors.iter().map(part).collect()
}

/// The rows of all processes, concatenated: their ids, and their gradient `[ids, width]`.
pub(crate) fn gather_rows(
    group: &dyn ProcessGroup,
    ids: &[u32],
    grad: &Tensor,
) -> Result<(Vec<u32>, Tensor)> {
    let ids = gather(group, ids);
    let (values, shape) = (grad.flatten_all()?, (ids.len(), grad.dim(D::Minus1)?));
    by_dtype!(values.dtype(), T => {
        Ok((ids, Tensor::from_vec(gather(group, &values.to_vec1::<T>()?), shape, &Device::Cpu)?))
    })
}
