//! Ranks that reach each other over MPI: what `mpirun -n 2 prl train --mpi` trains on.
//!
//! A rank that is killed ends the others by MPI's own rules; one that fails or panics aborts them here. Nobody is left waiting.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ::mpi::Threading;
use ::mpi::collective::SystemOperation;
use ::mpi::datatype::{Equivalence, PartitionMut};
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::*;
use anyhow::Context;
use prl_model::{Buffer, ProcessGroup};

use crate::exit;

/// Exit code of a rank that panics: Rust's own.
const PANICKED: i32 = 101;
/// Numbers summed in one call: MPI counts in 32 bits.
const AT_ONCE: usize = 1 << 28;

/// Calls `work` as one of the ranks that were started together; where it ends in an error, all of them end.
pub fn with_process_group<T>(
    work: impl FnOnce(Arc<dyn ProcessGroup>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    // Only the thread that trains calls MPI.
    let (universe, _) =
        ::mpi::initialize_with_threading(Threading::Funneled).context("MPI does not start")?;
    let world = universe.world();
    let ranks = Mpi {
        rank: world.rank() as usize,
        size: world.size() as usize,
    };
    match catch_unwind(AssertUnwindSafe(|| work(Arc::new(ranks)))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => world.abort(exit::tell(&error).into()),
        // The panic has told its message.
        Err(_) => world.abort(PANICKED),
    }
}

/// All processes of the job.
struct Mpi {
    rank: usize,
    size: usize,
}

impl ProcessGroup for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_reduce_sum(&self, numbers: Buffer<'_>) {
        match numbers {
            Buffer::F32(x) => sum(x),
            Buffer::F64(x) => sum(x),
        }
    }

    fn all_gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let world = SimpleCommunicator::world();
        let mut counts = vec![0_i32; self.size];
        world.all_gather_into(&(bytes.len() as i32), &mut counts[..]);
        let starts: Vec<i32> = counts
            .iter()
            .scan(0, |at, n| Some(std::mem::replace(at, *at + n)))
            .collect();
        if counts.iter().all(|&n| n == 0) {
            // An empty vector has no address that Open MPI would take.
            return vec![Vec::new(); self.size];
        }
        let mut all = vec![0_u8; counts.iter().map(|&n| n as usize).sum()];
        world.all_gather_varcount_into(
            bytes,
            &mut PartitionMut::new(&mut all[..], &counts[..], &starts[..]),
        );
        let part = |(&at, &n): (&i32, &i32)| all[at as usize..][..n as usize].to_vec();
        starts.iter().zip(&counts).map(part).collect()
    }
}

fn sum<T: Equivalence + Copy>(x: &mut [T]) {
    let world = SimpleCommunicator::world();
    for part in x.chunks_mut(AT_ONCE) {
        let mine = part.to_vec();
        world.all_reduce_into(&mine[..], part, SystemOperation::sum());
    }
}
