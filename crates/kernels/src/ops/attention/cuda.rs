//! CUDA launches of the attention: one thread block per window.

use candle_core::Result;

use super::Attention;
use crate::autograd::cuda::CudaOp;
use crate::cuda::{ATTENTION, Arg, DeviceBuffer, DeviceF32, Gpu, View, blocks, threads, view};

/// Window table and dropout factors, shared by both passes.
pub(crate) struct Saved {
    /// Per window: first query, queries, first key, keys, first weight.
    windows: DeviceBuffer<u32>,
    /// Dropout factors of the weights.
    factors: Option<DeviceF32>,
    /// Largest number of keys of a window.
    longest: usize,
}

impl Attention {
    fn keep(&self, gpu: &Gpu) -> Result<Saved> {
        let (mut words, mut weight, mut longest) = (Vec::new(), 0, 0);
        for (queries, keys) in self
            .layout
            .q_offsets
            .iter()
            .zip(self.layout.k_offsets.iter())
        {
            words.extend(
                [queries.start, queries.len(), keys.start, keys.len(), weight].map(|n| n as u32),
            );
            weight += queries.len() * keys.len();
            longest = longest.max(keys.len());
        }
        let factors = self.mask.as_ref().map(|mask| mask.alone(gpu)).transpose()?;
        Ok(Saved {
            windows: gpu.copy_in(&words)?,
            factors,
            longest,
        })
    }

    fn launch(&self, gpu: &Gpu, name: &'static str, shared: usize, args: &[Arg]) -> Result<()> {
        gpu.launch(
            ATTENTION,
            name,
            blocks(self.layout.q_offsets.windows(), threads(self.width), shared),
            args,
        )
    }
}

impl CudaOp<3> for Attention {
    type SavedCuda = Saved;

    fn forward_cuda(&self, gpu: &Gpu, [q, k, v]: [View<'_>; 3], y: View<'_>) -> Result<Saved> {
        let kept = self.keep(gpu)?;
        let args = [
            y.into(),
            q.into(),
            k.into(),
            v.into(),
            kept.factors.as_ref().map(view).into(),
        ];
        let rest = [
            (&kept.windows).into(),
            (self.width as u32).into(),
            self.layout.causal.into(),
        ];
        self.launch(
            gpu,
            "attention",
            kept.longest,
            &[args.as_slice(), &rest].concat(),
        )?;
        Ok(kept)
    }

    fn backward_cuda(
        &self,
        gpu: &Gpu,
        [q, k, v]: [View<'_>; 3],
        kept: &Saved,
        _: View<'_>,
        grad: View<'_>,
    ) -> Result<Vec<DeviceF32>> {
        let (dq, dk, dv) = (gpu.alloc(q.len)?, gpu.alloc(k.len)?, gpu.alloc(v.len)?);
        let args = [
            (&dq).into(),
            (&dk).into(),
            (&dv).into(),
            q.into(),
            k.into(),
            v.into(),
        ];
        let given = [
            kept.factors.as_ref().map(view).into(),
            (&kept.windows).into(),
            grad.into(),
        ];
        let rest = [
            (self.width as u32).into(),
            self.layout.causal.into(),
            (kept.longest as u32).into(),
        ];
        self.launch(
            gpu,
            "attention_backward",
            2 * kept.longest,
            &[args.as_slice(), &given, &rest].concat(),
        )?;
        Ok(vec![dq, dk, dv])
    }
}
