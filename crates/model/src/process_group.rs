//! One training on several ranks: processes that hold the same weights and take a share of every batch each.
//!
//! A rank sums its share's gradients with the others' and takes the same step as they do, so that weights are never sent:
//! equal bits in, equal bits out. How ranks reach each other is not known here; [`SingleProcess`] is the one that has no others.

use std::fmt::Display;
use std::ops::Range;

use bytemuck::Pod;
use candle_core::{D, Device, Result, Tensor};
use prl_kernels::storage::MutableStorage;

use crate::dtype::by_dtype;
use crate::error::Error;

/// This process among those that train together. Every rank makes the same calls in the same order, and each call waits for
/// all of them; a rank that is lost must end the others.
pub trait ProcessGroup: Send + Sync {
    /// Which one this is, from 0.
    fn rank(&self) -> usize;
    /// How many there are.
    fn size(&self) -> usize;
    /// Replaces each number by its sum over the ranks: the same bits on every rank.
    fn all_reduce_sum(&self, numbers: Buffer<'_>);
    /// Every rank's bytes, in the order of the ranks.
    fn all_gather(&self, bytes: &[u8]) -> Vec<Vec<u8>>;
}

/// Buffer to sum, of either type.
#[derive(Debug)]
pub enum Buffer<'a> {
    /// In single precision.
    F32(&'a mut [f32]),
    /// In double precision.
    F64(&'a mut [f64]),
}

/// The only rank.
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
    /// Whether there are no others.
    pub fn is_alone(&self) -> bool {
        self.size() == 1
    }

    /// Refuses what runs on one rank only: SQN and SAC, and a GPU.
    pub fn check(&self, is_double: bool, device: &Device) -> crate::Result<()> {
        let rule = |ok: bool, what: &str| {
            if ok {
                Ok(())
            } else {
                Err(Error::Config(what.into()))
            }
        };
        rule(
            self.is_alone() || !is_double,
            "sqn and sac train on one rank only; leave --mpi out",
        )?;
        rule(
            self.is_alone() || device.is_cpu(),
            "several ranks train on CPUs only; use --device cpu",
        )
    }

    /// Whether this is the one that writes and validates.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// This rank's share of a batch of `n` rows.
    pub fn share(&self, n: usize) -> Range<usize> {
        let (rank, size) = (self.rank(), self.size());
        rank * n / size..(rank + 1) * n / size
    }

    /// How many elements the ranks before this one hold of a tensor that has `n` here.
    pub fn before(&self, n: usize) -> usize {
        gather(self, &[n as u64])[..self.rank()]
            .iter()
            .map(|&n| n as usize)
            .sum()
    }

    /// The sum of one number over the ranks.
    pub fn total(&self, x: f64) -> f64 {
        let mut x = [x];
        self.all_reduce_sum(Buffer::F64(&mut x));
        x[0]
    }

    /// What each rank came to, known to all: if one failed, all of them fail, and so none is left waiting.
    ///
    /// # Errors
    /// This rank's own, or [`Error::Rank`] with the words of the first one that failed.
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

/// The elements of a tensor type that [`Buffer`] knows.
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

/// Everyone's numbers in a row. One rank's need not be as many as another's.
fn gather<T: Pod>(group: &dyn ProcessGroup, values: &[T]) -> Vec<T> {
    let everyones = group.all_gather(bytemuck::cast_slice(values));
    everyones
        .iter()
        .flat_map(|bytes| bytemuck::pod_collect_to_vec::<u8, T>(bytes))
        .collect()
}

/// The sums of some tensors over the ranks, in one call; at least one tensor, all of one type, on the CPU.
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

/// The rows of every rank one below the other: their ids, and their gradient `[ids, width]`.
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
