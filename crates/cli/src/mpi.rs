//! Process group over MPI, for `mpirun -n 2 prl train --mpi`.
//!
//! A killed process ends the job by MPI's own rules; one that fails or panics aborts it here, so
//! that no process waits forever in a collective operation.

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

/// Exit code of a process that panics, as without MPI.
const PANICKED: i32 = 101;
/// Maximum number of elements in one all-reduce: MPI counts are 32-bit.
const MAX_ELEMENTS: usize = 1 << 28;

/// Calls `work` as one process of the MPI job; an error in it aborts the whole job.
pub fn with_process_group<T>(
    work: impl FnOnce(Arc<dyn ProcessGroup>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    // Funneled: only the training thread calls MPI.
    let (universe, _) = ::mpi::initialize_with_threading(Threading::Funneled)
        .context("failed to initialize MPI")?;
    let world = universe.world();
    let ranks = Mpi {
        rank: world.rank() as usize,
        size: world.size() as usize,
    };
    match catch_unwind(AssertUnwindSafe(|| work(Arc::new(ranks)))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => world.abort(exit::print(&error).into()),
        // The panic hook has printed the message.
        Err(_) => world.abort(PANICKED),
    }
}

/// The world communicator of the job.
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
        let (mut starts, mut total) = (Vec::with_capacity(self.size), 0);
        for n in &counts {
            starts.push(total);
            total += n;
        }
        if counts.iter().all(|&n| n == 0) {
            // Open MPI rejects the dangling address of an empty vector.
            return vec![Vec::new(); self.size];
        }
        let mut all = vec![0_u8; total as usize];
        world.all_gather_varcount_into(
            bytes,
            &mut PartitionMut::new(&mut all[..], &counts[..], &starts[..]),
        );
        let mut parts = Vec::with_capacity(self.size);
        for (&start, &n) in starts.iter().zip(&counts) {
            parts.push(all[start as usize..][..n as usize].to_vec());
        }
        parts
    }
}

fn sum<T: Equivalence + Copy>(x: &mut [T]) {
    let world = SimpleCommunicator::world();
    for part in x.chunks_mut(MAX_ELEMENTS) {
        let mine = part.to_vec();
        world.all_reduce_into(&mine[..], part, SystemOperation::sum());
    }
}
