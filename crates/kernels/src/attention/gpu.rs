//! On a GPU: a block a window.

use candle_core::Result;

use super::Attention;
use crate::gpu::op::OnGpu;
use crate::gpu::{ATTENTION, Arg, Gpu, Memory, Numbers, View, blocks, threads, view};

/// What both ways are told of the windows.
pub(crate) struct Kept {
    /// First query and their number, first key and their number, first weight, of each window.
    windows: Memory<u32>,
    /// The factors of the weights, if there is a mask.
    factors: Option<Numbers>,
    /// The most keys of a window.
    longest: usize,
}

impl Attention {
    fn keep(&self, gpu: &Gpu) -> Result<Kept> {
        let (mut words, mut weight) = (Vec::new(), 0);
        for (queries, keys) in self.pattern.queries.iter().zip(self.pattern.keys.iter()) {
            words.extend(
                [queries.start, queries.len(), keys.start, keys.len(), weight].map(|n| n as u32),
            );
            weight += queries.len() * keys.len();
        }
        let longest = self
            .pattern
            .keys
            .iter()
            .map(|keys| keys.len())
            .max()
            .unwrap_or(0);
        let factors = self.mask.as_ref().map(|mask| mask.alone(gpu)).transpose()?;
        Ok(Kept {
            windows: gpu.copy_in(&words)?,
            factors,
            longest,
        })
    }

    fn launch(&self, gpu: &Gpu, name: &'static str, shared: usize, args: &[Arg]) -> Result<()> {
        gpu.launch(
            ATTENTION,
            name,
            blocks(self.pattern.queries.windows(), threads(self.width), shared),
            args,
        )
    }
}

impl OnGpu<3> for Attention {
    type Kept = Kept;

    fn there(&self, gpu: &Gpu, [q, k, v]: [View<'_>; 3], y: View<'_>) -> Result<Kept> {
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
            self.pattern.causal.into(),
        ];
        self.launch(
            gpu,
            "attention",
            kept.longest,
            &[args.as_slice(), &rest].concat(),
        )?;
        Ok(kept)
    }

    fn back(
        &self,
        gpu: &Gpu,
        [q, k, v]: [View<'_>; 3],
        kept: &Kept,
        _: View<'_>,
        grad: View<'_>,
    ) -> Result<Vec<Numbers>> {
        let (dq, dk, dv) = (gpu.room(q.len)?, gpu.room(k.len)?, gpu.room(v.len)?);
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
            self.pattern.causal.into(),
            (kept.longest as u32).into(),
        ];
        self.launch(
            gpu,
            "attention_back",
            2 * kept.longest,
            &[args.as_slice(), &given, &rest].concat(),
        )?;
        Ok(vec![dq, dk, dv])
    }
}
