//! CUDA launches of the embedding sum: one in the forward pass; in the backward pass one for the
//! dropout and one for all gathered tables.

use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::LaunchConfig;

use super::{EmbeddingSum, RowWeights, WeightedRow};
use crate::autograd::cuda::CudaOp;
use crate::cuda::{Arg, DeviceBuffer, DeviceF32, EMBEDDING_SUM, Gpu, View, sizes, view};
use crate::ops::dropout::cuda::{mask_shape, mask_words};

/// Largest number of tables.
const MOST: usize = 3;
/// Marks an absent row.
const NONE: u32 = u32::MAX;

/// Index tables of the gathered rows.
pub(crate) struct Saved {
    words: DeviceBuffer<u32>,
    /// Offset of each table's words; `None` for identity rows.
    places: Vec<Option<usize>>,
}

impl Saved {
    fn new(gpu: &Gpu, sum: &EmbeddingSum, tables: &[View<'_>]) -> Result<Self> {
        let (mut words, mut places) = (Vec::new(), Vec::new());
        for (shares, table) in sum.shares.iter().zip(tables) {
            places.push(match shares {
                RowWeights::Identity => None,
                RowWeights::Gathered(shares) => {
                    let place = words.len();
                    append_words(&mut words, shares, table.len / sum.width.max(1));
                    Some(place)
                }
            });
        }
        Ok(Self {
            words: gpu.copy_in(&words)?,
            places,
        })
    }

    /// The words of a table; null for identity rows.
    fn of(&self, table: usize) -> Arg {
        self.places[table]
            .map(|place| view(&self.words).from(place))
            .into()
    }
}

/// Appends the words of a table of `height` rows, in the layout of `Part` in `embedding_sum.cu`.
fn append_words(words: &mut Vec<u32>, shares: &[Option<WeightedRow>], height: usize) {
    for share in shares {
        words.push(match share {
            Some(share) => share.row,
            None => NONE,
        });
    }
    for share in shares {
        words.push(match share {
            Some(share) => (share.weight as f32).to_bits(),
            None => 0,
        });
    }
    let starts = words.len();
    words.resize(starts + height + 1, 0);
    for share in shares.iter().flatten() {
        words[starts + share.row as usize + 1] += 1;
    }
    for row in 0..height {
        words[starts + row + 1] += words[starts + row];
    }
    let mut next: Vec<u32> = words[starts..starts + height].to_vec();
    let rows = words.len();
    words.resize(rows + words[starts + height] as usize, 0);
    for (row, share) in shares.iter().enumerate() {
        let Some(share) = share else { continue };
        let next = &mut next[share.row as usize];
        words[rows + *next as usize] = row as u32;
        *next += 1;
    }
}

impl<const N: usize> CudaOp<N> for EmbeddingSum {
    type SavedCuda = Saved;

    fn forward_cuda(&self, gpu: &Gpu, tables: [View<'_>; N], y: View<'_>) -> Result<Saved> {
        let kept = Saved::new(gpu, self, &tables)?;
        let mut args: Vec<Arg> = vec![y.into()];
        for (i, table) in tables.into_iter().enumerate() {
            args.extend([table.into(), kept.of(i)]);
        }
        args.resize(1 + 2 * MOST, Arg::Long(0));
        args.extend(sizes([self.n, self.width]));
        let mask = mask_words(gpu, self.mask.as_ref())?;
        args.push(mask.as_ref().map(view).into());
        gpu.launch(
            EMBEDDING_SUM,
            "embedding_sum",
            mask_shape(self.mask.as_ref(), y.len),
            &args,
        )?;
        Ok(kept)
    }

    fn backward_cuda(
        &self,
        gpu: &Gpu,
        tables: [View<'_>; N],
        kept: &Saved,
        _: View<'_>,
        grad: View<'_>,
    ) -> Result<Vec<DeviceF32>> {
        let dropped = match &self.mask {
            Some(mask) => mask.of(gpu, grad)?,
            None => gpu.copy_of(grad)?,
        };
        let grad = view(&dropped);
        let (mut grads, mut args, mut rows) = (Vec::new(), vec![grad.into()], 0);
        for (i, table) in tables.iter().enumerate() {
            let has_shares = kept.places[i].is_some();
            grads.push(if has_shares {
                gpu.alloc(table.len)?
            } else {
                dropped.clone()
            });
            // The gradient of an identity table is the result's gradient.
            let height = if has_shares {
                table.len / self.width.max(1)
            } else {
                0
            };
            args.extend([(&grads[i]).into(), kept.of(i), (height as u32).into()]);
            rows += height;
        }
        for _ in N..MOST {
            args.extend([Arg::Long(0), Arg::Long(0), Arg::Word(0)]);
        }
        args.extend(sizes([self.n, self.width]));
        let grid = (rows as u32, self.width.div_ceil(32) as u32, 1);
        let shape = LaunchConfig {
            grid_dim: grid,
            block_dim: (32, 8, 1),
            shared_mem_bytes: 0,
        };
        gpu.launch(EMBEDDING_SUM, "embedding_sum_backward", shape, &args)?;
        Ok(grads)
    }
}
