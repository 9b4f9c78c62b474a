//! Training steps on a GPU as one graph launch each.
//!
//! The step itself is the same code with and without a graph; see
//! [`prl_kernels::cuda::StepGraphs`].

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

use prl_kernels::cuda::GraphCounts;
use prl_kernels::ops::adam::Adam;
use prl_nn::Backend;

use crate::error::Result;
use crate::model::{MainNetwork, Model};
use crate::network::OutputHead;
use crate::timing::{Part, StepTimer, StepTimes};
use crate::training_batch::TrainingBatch;

/// Variable of the environment that turns graphs off if it is `0`.
const SWITCH: &str = "PRL_CUDA_GRAPH";

/// The graphs of a model's steps.
pub(crate) type StepGraphs = Mutex<prl_kernels::cuda::StepGraphs>;

/// Whether the environment allows graphs.
pub(crate) fn are_on() -> bool {
    std::env::var_os(SWITCH).is_none_or(|value| value != "0")
}

impl Model {
    /// Sets whether a training step on a GPU is one graph launch. Results do not depend on it. The
    /// default is yes for this build's encoders, and no for another one, whose operations may
    /// not be recorded.
    ///
    /// # Errors
    /// If the GPU fails.
    pub fn with_cuda_graphs(mut self, is_on: bool) -> Result<Self> {
        self.graphs = None;
        let dtype = self.networks[0].output_bias().dtype();
        if is_on && Backend::new(&self.device, dtype) == Backend::Cuda {
            let mut parameters = Vec::new();
            for (_, param) in self.adam_params() {
                parameters.extend([&param.param, &param.first, &param.second]);
            }
            let parameters = parameters.into_iter().map(|var| var.as_tensor());
            let graphs = prl_kernels::cuda::StepGraphs::new(&self.device, parameters)?;
            self.graphs = Some(Mutex::new(graphs));
        }
        Ok(self)
    }

    /// Counts of the steps that ran by graphs; `None` without graphs.
    pub fn graph_counts(&self) -> Option<GraphCounts> {
        let graphs = self.graphs.as_ref()?;
        let graphs = graphs.lock().unwrap_or_else(PoisonError::into_inner);
        Some(graphs.counts())
    }

    /// The graphs, if the step consists of fused kernels and reads nothing from the GPU.
    pub(crate) fn graphs_of(
        &self,
        adam: Adam,
        batch: &TrainingBatch,
        times: &StepTimes,
    ) -> Option<&StepGraphs> {
        let has_plain_heads = self
            .networks
            .iter()
            .all(|network| matches!(network.head, OutputHead::Plain(_)));
        let is_fused = has_plain_heads && batch.sequences.is_none() && adam.weight_decay == 0.0;
        // Parts of a step are timed by waiting for each.
        self.graphs.as_ref().filter(|_| is_fused && !times.is_exact)
    }

    /// Takes a training step as one graph launch.
    pub(crate) fn graph_step(
        &self,
        graphs: &StepGraphs,
        (adam, turn, batch): (Adam, MainNetwork, &TrainingBatch),
        times: &mut StepTimes,
    ) -> Result<f64> {
        let mut graphs = graphs.lock().unwrap_or_else(PoisonError::into_inner);
        let recorded = Cell::new(*times);
        let submitted = graphs.run(|| {
            let mut times = recorded.get();
            let submitted = self.submit((adam, turn, batch), &mut times)?;
            recorded.set(times);
            Ok::<_, crate::Error>(submitted)
        })?;
        *times = recorded.get();
        if let Some(reason) = graphs.take_failure() {
            // Candle's tensors may hold values of the recorded step, which was not executed.
            self.weights_changed();
            tracing::warn!("training steps run without CUDA graphs: {reason}");
        }
        let mut timer = StepTimer::start(times, &self.device);
        let loss = submitted.conclude(turn.step);
        timer.lap(Part::Adam)?;
        loss
    }
}
