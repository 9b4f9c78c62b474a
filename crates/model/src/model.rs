//! A model: one network, or two for SQN and SAC; its training step and its inference.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use prl_core::{PromptBlockConfig, Prompts};
use prl_dataset::Windows;
use prl_encoders::SessionEncoder;
use prl_kernels::ops::adam::Adam;
use prl_kernels::ops::rank::{NonFiniteScore, Ranking};
use prl_kernels::ops::score_offsets::ScoreOffsets;
use prl_kernels::ops::top_k_serving::TransposedItemMatrix;
use prl_kernels::storage::with;
use prl_nn::ForwardCtx;
use rand::RngCore;

use crate::config::{self, ModelConfig};
use crate::error::{Error, Result};
use crate::finite::{is_finite, sum_of_bits};
use crate::finite_check::FiniteCheck;
use crate::gradients::Gradients;
use crate::negative_sampler::NegativeSampler;
use crate::network::{ModelDims, Network, NetworkOptions, negatives_need_similarity};
use crate::param::{AdamParam, AdamStep};
use crate::process_group::{ProcessGroup, SingleProcess};
use crate::q_learning::{AMONG_Q_VALUES, DoubleNetworks};
#[cfg(feature = "cuda")]
use crate::step_graphs::{self, StepGraphs};
use crate::timing::{Part, StepTimer, StepTimes};
use crate::training_batch::TrainingBatch;

/// Entries of the lists of a ranking with excluded items that are held at once.
const MAX_LISTED: usize = 1 << 18;

/// A trainable recommender.
pub struct Model {
    /// The first one recommends. SQN and SAC train a second one.
    pub(crate) networks: Vec<Network>,
    /// The value of each item, `[items]`, by which scores are tilted.
    item_values: Option<Tensor>,
    seed: u64,
    pub(crate) device: Device,
    group: Arc<dyn ProcessGroup>,
    #[cfg(feature = "cuda")]
    pub(crate) graphs: Option<StepGraphs>,
}

/// The loss, or [`Error::Diverged`] if it is not finite.
fn finite(step: u64, loss: f64) -> Result<f64> {
    if loss.is_finite() {
        Ok(loss)
    } else {
        Err(Error::Diverged {
            step,
            cause: format!("the loss is {loss}"),
        })
    }
}

/// A training step whose updates are launched.
pub(crate) struct Submitted<'a> {
    grads: Gradients<'a>,
    /// Weighted cross-entropy; `None` on a GPU, where the finite check has it.
    ce_loss: Option<f64>,
    td_loss: f64,
    check: FiniteCheck,
}

impl Submitted<'_> {
    /// Waits for the step; returns its loss.
    pub(crate) fn conclude(self, step: u64) -> Result<f64> {
        let Some(status) = self.check.read()? else {
            return finite(step, self.ce_loss.unwrap_or_default() + self.td_loss);
        };
        // On a GPU the cross-entropy and the finite check arrive only now.
        if let Some(row) = status.bad_row {
            let error = Error::from(NonFiniteScore { row });
            return Err(error.at_step(step, AMONG_Q_VALUES));
        }
        let ce_loss = self.ce_loss.unwrap_or(status.loss);
        let loss = finite(step, ce_loss + self.td_loss + status.td_loss)?;
        if !status.is_finite {
            self.grads.check(step)?;
        }
        Ok(loss)
    }
}

/// The network that a training step updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MainNetwork {
    /// The training step, from 1.
    pub step: u64,
    /// Index of the network.
    pub main: usize,
    /// Number of updates of that network including this one: Adam's time step.
    pub optimizer_step: u64,
}

impl MainNetwork {
    /// Step `step` of a model with one network.
    pub fn single(step: u64) -> Self {
        Self {
            step,
            main: 0,
            optimizer_step: step,
        }
    }
}

/// Sizes, heads, seed and element type of a model.
#[derive(Clone, Copy, Debug)]
pub struct ModelSpec {
    /// Width of an embedded item.
    pub dim: usize,
    /// Number of items.
    pub items: usize,
    /// The prompt block, if there is one.
    pub block: Option<PromptBlockConfig>,
    /// Two networks with a Q layer each: SQN and SAC.
    pub is_double: bool,
    /// The seed of initial values and dropout.
    pub seed: u64,
    /// `f32`, or `f64` for checks.
    pub dtype: DType,
    /// Parts beyond the paper's network.
    pub options: NetworkOptions,
}

impl Model {
    /// A model with one of this build's encoders.
    pub fn new(config: &ModelConfig, plan: &ModelSpec, device: &Device) -> Result<Self> {
        let encoder = config.encoder_config();
        let model = Self::with_encoder(
            |vb| encoder.clone().build(config.dim, config.window, vb),
            plan,
            device,
        )?;
        #[cfg(feature = "cuda")]
        let model = model.with_cuda_graphs(step_graphs::are_on())?;
        Ok(model)
    }

    /// A model around the encoder that `encoder` builds.
    pub fn with_encoder(
        encoder: impl Fn(VarBuilder) -> candle_core::Result<Box<dyn SessionEncoder>>,
        plan: &ModelSpec,
        device: &Device,
    ) -> Result<Self> {
        let ModelSpec {
            dim,
            items,
            block,
            is_double,
            seed,
            dtype,
            options,
        } = *plan;
        let mut seeds = vec![seed];
        if is_double {
            seeds.push(prl_seed::stream(seed, "second network", 0).next_u64());
        }
        let mut networks = Vec::with_capacity(seeds.len());
        for network_seed in seeds {
            let dims = ModelDims {
                dim,
                items,
                seed: network_seed,
                dtype,
                device,
                options,
            };
            networks.push(Network::new(&encoder, block, is_double, &dims)?);
        }
        Ok(Self {
            networks,
            item_values: None,
            seed,
            device: device.clone(),
            group: Arc::new(SingleProcess),
            #[cfg(feature = "cuda")]
            graphs: None,
        })
    }

    /// Trains the model in several processes.
    ///
    /// Each process passes its share of the batch to [`step`](Self::step), in the order of the
    /// ranks and with the loss weights of the whole batch; all take the step of the whole batch.
    ///
    /// # Errors
    /// [`Error::Config`] for SQN, SAC or a GPU, which train in one process only.
    pub fn with_process_group(self, group: Arc<dyn ProcessGroup>) -> Result<Self> {
        group.check(self.networks.len() == 2, &self.device)?;
        Ok(Self { group, ..self })
    }

    /// Trains with sampled negatives and, for the item embedding and the output layer, lazy Adam:
    /// a training step costs as much with any number of items. Call it before a checkpoint is
    /// loaded. Inference ranks all items, as before.
    ///
    /// # Errors
    /// [`Error::Config`] on a GPU, for the paper's output layer, and for a sampler of another
    /// number of items.
    pub fn with_negatives(mut self, sampler: NegativeSampler) -> Result<Self> {
        config::check_negatives(true, &self.device)?;
        let [network] = self.networks.as_mut_slice() else {
            return Err(negatives_need_similarity());
        };
        network.set_negatives(sampler)?;
        Ok(self)
    }

    /// Whether the hidden vectors depend on a prompt.
    pub fn is_prompted(&self) -> bool {
        self.networks[0].is_prompted()
    }

    /// The device of its parameters.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Takes one training step; returns the loss before the update, the same in every process.
    ///
    /// Without transitions the loss is `sum_b w_b CE_b` with the batch's loss weights `w_b`; with
    /// them, half the squared error of the Q-values is added to each cross-entropy. The output
    /// layer is updated before the backbone's backward pass, which needs its gradient of the hidden
    /// vectors only.
    ///
    /// # Errors
    /// [`Error::Diverged`] if the loss is not finite (nothing is updated) or a gradient of the
    /// backbone is not finite (the output layer is already updated). The output layer's own
    /// gradient is never stored; a bad one shows in the next loss.
    pub fn step(
        &self,
        adam: Adam,
        turn: MainNetwork,
        batch: &TrainingBatch,
        times: &mut StepTimes,
    ) -> Result<f64> {
        #[cfg(feature = "cuda")]
        if let Some(graphs) = self.graphs_of(adam, batch, times) {
            return self.graph_step(graphs, (adam, turn, batch), times);
        }
        let submitted = self.submit((adam, turn, batch), times)?;
        let mut timer = StepTimer::start(times, &self.device);
        let loss = submitted.conclude(turn.step);
        timer.lap(Part::Adam)?;
        loss
    }

    /// Computes a step's losses and gradients and updates the parameters. On a GPU the work is
    /// launched, and may not have begun.
    pub(crate) fn submit<'a>(
        &'a self,
        (adam, turn, batch): (Adam, MainNetwork, &'a TrainingBatch),
        times: &mut StepTimes,
    ) -> Result<Submitted<'a>> {
        let main = &self.networks[turn.main];
        let pass = self.pass(turn);
        let mut timer = StepTimer::start(times, &self.device);

        let forward = match &batch.sequences {
            // Ranks would draw different numbers of masks, and wait for each other.
            Some(_) if !self.group.is_alone() => {
                return Err(Error::Config(
                    "whole sessions train on one rank only; leave --mpi out".into(),
                ));
            }
            Some(sequences) => main.forward_sequences(sequences, &batch.prompts, &pass)?,
            None => main.forward(&batch.windows, &batch.prompts, &pass)?,
        };
        let hidden = forward.hidden.detach();
        let check = FiniteCheck::begin(&hidden, batch.transitions.is_some())?;
        let adam = AdamStep {
            adam,
            t: turn.optimizer_step,
            check: &check,
        };
        timer.lap(Part::SessionEncoder)?;
        let output = match &batch.transitions {
            None => {
                let head_batch = batch.head_batch(&hidden);
                main.head_step(adam, &head_batch, &batch.windows, &*self.group)?
            }
            Some(transitions) => {
                let other = self.networks.get(1 - turn.main).unwrap_or(main);
                let both = DoubleNetworks { main, other };
                let next = both.encode_next(transitions, &pass)?;
                timer.lap(Part::SessionEncoder)?;
                both.step(adam, turn.step, (&hidden, batch), transitions, &next)?
            }
        };
        timer.lap(Part::Head)?;
        finite(turn.step, output.loss())?;
        let grads = main.backward(forward, output.hidden_grad)?;
        let mut grads = grads.all_reduce(&*self.group)?;
        grads.items = output.item_grad;
        if let Some(rows) = output.item_rows {
            grads.add_rows(rows)?;
        }
        timer.lap(Part::Backward)?;
        main.apply_gradients(adam, turn.step, &grads)?;
        self.decay(adam.adam, main)?;
        timer.lap(Part::Adam)?;
        Ok(Submitted {
            grads,
            ce_loss: output.ce_loss,
            td_loss: output.td_loss,
            check,
        })
    }

    /// Forward context of a step. With several processes, the dropout masks are this process's
    /// share of those of the whole batch.
    fn pass(&self, turn: MainNetwork) -> ForwardCtx {
        let pass = ForwardCtx::train(self.seed, turn.step);
        if self.group.is_alone() {
            return pass;
        }
        let group = Arc::clone(&self.group);
        pass.sharing(move |n| group.before(n))
    }

    /// Ranks of the targets, if given, and the `k` best items for each window under its prompt.
    pub fn rank(
        &self,
        windows: &Windows,
        prompts: &Prompts,
        targets: Option<&[u32]>,
        k: usize,
    ) -> Result<Ranking<f32>> {
        if windows.is_empty() {
            return Ok(Ranking {
                ranks: Vec::new(),
                top: Vec::new(),
            });
        }
        let network = &self.networks[0];
        let bias = self.tilted_bias(prompts.tilt)?;
        let hidden = network.hidden(windows, prompts, &ForwardCtx::infer())?;
        Ok(network.rank(&hidden, windows, targets, k, &bias)??)
    }

    /// As [`rank`](Self::rank), with the items `excluded[b]` (ascending) left out of the ranking
    /// and the list of window `b`. The target keeps the rank that it has among the others, even if
    /// it is left out itself.
    ///
    /// Beside the ranking, a window costs the scores of its target and of its excluded items.
    pub fn rank_excluding(
        &self,
        windows: &Windows,
        prompts: &Prompts,
        targets: &[u32],
        k: usize,
        excluded: &[Vec<u32>],
    ) -> Result<Ranking<f32>> {
        let mut ranking = Ranking::default();
        if windows.is_empty() {
            return Ok(ranking);
        }
        let network = &self.networks[0];
        let bias = self.tilted_bias(prompts.tilt)?;
        let hidden = network.hidden(windows, prompts, &ForwardCtx::infer())?;
        // Excluded items may fill the head of a list. One long session would lengthen all lists of
        // the batch, so the rows that are ranked at once are bounded by their length.
        let listed = k + excluded.iter().map(Vec::len).max().unwrap_or(0);
        let rows = (MAX_LISTED / listed.max(1)).max(1);
        for (i, targets) in targets.chunks(rows).enumerate() {
            let hidden = hidden.narrow(0, i * rows, targets.len())?;
            let windows = windows.rows(i * rows..i * rows + targets.len());
            let part = network.rank(&hidden, &windows, Some(targets), listed, &bias)??;
            ranking.ranks.extend(part.ranks);
            ranking.top.extend(part.top);
        }
        for (b, excluded) in excluded.iter().enumerate() {
            ranking.top[b].retain(|(item, _)| excluded.binary_search(item).is_err());
            ranking.top[b].truncate(k);
            if excluded.is_empty() {
                continue;
            }
            let mut items = vec![targets[b]];
            items.extend_from_slice(excluded);
            let row = hidden.narrow(0, b, 1)?;
            let scores = network.scores(&row, &windows.rows(b..b + 1), &items, &bias)?;
            let mut above = 0;
            for (&item, &score) in items.iter().zip(&scores).skip(1) {
                // An item that the model excludes has no score, and is below all others.
                above += u32::from(item != targets[b] && score >= scores[0]);
            }
            // Outside the CPU these scores and those of the ranking may round differently.
            ranking.ranks[b] = ranking.ranks[b].saturating_sub(above).max(1);
        }
        Ok(ranking)
    }

    /// The score of each of `items` for one window under its prompt, `None` for an item that the
    /// model excludes; on a CPU, the same bits as in [`rank`](Self::rank).
    pub fn scores(
        &self,
        window: &Windows,
        prompt: &Prompts,
        items: &[u32],
    ) -> Result<Vec<Option<f32>>> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let network = &self.networks[0];
        let bias = self.tilted_bias(prompt.tilt)?;
        let hidden = network.hidden(window, prompt, &ForwardCtx::infer())?;
        let scores = network.scores(&hidden, window, items, &bias)?;
        let mut narrowed = Vec::with_capacity(scores.len());
        for score in scores {
            if score.is_some_and(|score| !score.is_finite()) {
                return Err(NonFiniteScore { row: 0 }.into());
            }
            narrowed.push(score.map(|score| score as f32));
        }
        Ok(narrowed)
    }

    /// Sets the value of each item: a prompt's tilt times the value is added to the item's score.
    ///
    /// # Errors
    /// If there is not one value for each item.
    pub fn set_item_values(&mut self, values: &[f32]) -> Result<()> {
        let bias = self.networks[0].output_bias();
        let values = Tensor::from_slice(values, values.len(), &Device::Cpu)?;
        self.item_values = Some(
            values
                .reshape(bias.shape())?
                .to_dtype(bias.dtype())?
                .to_device(bias.device())?,
        );
        Ok(())
    }

    /// Whether the items have values, so that scores can be tilted.
    pub fn has_item_values(&self) -> bool {
        self.item_values.is_some()
    }

    /// What a tilt adds to the scores of the items, `[items]`.
    ///
    /// # Errors
    /// If the items have no values.
    pub fn tilt(&self, tilt: f64) -> Result<Vec<f32>> {
        let added = (self.values_to_tilt_by()? * tilt)?;
        Ok(added.to_dtype(DType::F32)?.to_vec1()?)
    }

    /// The output layer's bias plus the tilt times the items' values, `[items]`.
    fn tilted_bias(&self, tilt: f64) -> Result<Tensor> {
        let bias = self.networks[0].output_bias();
        if tilt == 0.0 {
            return Ok(bias.clone());
        }
        Ok((bias + (self.values_to_tilt_by()? * tilt)?)?)
    }

    fn values_to_tilt_by(&self) -> Result<&Tensor> {
        let missing =
            || Error::Config("a tilt needs the items' values, and the model has none".into());
        self.item_values.as_ref().ok_or_else(missing)
    }

    /// The output layer in the layout for small batches; `None` unless it is `f32` on a CPU.
    pub fn catalogue(&self) -> Result<Option<TransposedItemMatrix<f32>>> {
        Ok(self.networks[0].catalogue()?)
    }

    /// Additions to the scores of each window's own items, for a [`catalogue`](Self::catalogue).
    pub fn score_offsets(&self, windows: &Windows) -> Result<ScoreOffsets<f32>> {
        Ok(self.networks[0].score_offsets(windows)?)
    }

    /// Drops what was derived from the weights: call it after replacing them, as by a checkpoint.
    pub fn weights_changed(&self) {
        for network in &self.networks {
            network.weights_changed();
        }
    }

    /// The decoupled weight decay of AdamW, after the step: every parameter times 1 - lr decay,
    /// but for the tables of lazy Adam.
    fn decay(&self, adam: Adam, main: &Network) -> Result<()> {
        if adam.weight_decay == 0.0 {
            return Ok(());
        }
        for param in main.adam_params() {
            // Lazy Adam decays the rows that it touches.
            if param.is_lazy() {
                continue;
            }
            param.scale(1.0 - adam.lr * adam.weight_decay)?;
        }
        Ok(())
    }

    /// The encoder's states `[B, width]`, before any prompt block.
    pub fn states(&self, windows: &Windows) -> Result<Tensor> {
        self.networks[0].states(windows)
    }

    /// Calls `f` with the hidden vectors `[B, width]`, on a CPU.
    pub fn with_hidden<R>(
        &self,
        windows: &Windows,
        prompts: &Prompts,
        f: impl FnOnce(&[f32]) -> Result<R>,
    ) -> Result<R> {
        let hidden = self.networks[0]
            .hidden(windows, prompts, &ForwardCtx::infer())?
            .contiguous()?;
        with(&hidden, |hidden| Ok(f(hidden)))?
    }

    /// Fails with [`Error::Diverged`] at `step` if a weight or moment is not finite.
    pub fn check(&self, step: u64) -> Result<()> {
        for (prefix, slot) in self.adam_params() {
            for (what, var) in [
                ("weights", &slot.param),
                ("moments", &slot.first),
                ("moments", &slot.second),
            ] {
                if !is_finite(var)? {
                    return Err(Error::Diverged {
                        step,
                        cause: format!("the {what} of {prefix}{} are not finite", slot.name()),
                    });
                }
            }
        }
        Ok(())
    }

    /// Checksum of all weights and moments.
    pub fn fingerprint(&self) -> Result<u64> {
        let mut print = 0_u64;
        for (_, slot) in self.adam_params() {
            for var in [&slot.param, &slot.first, &slot.second] {
                let bits = sum_of_bits(var)?;
                print = print.rotate_left(1).wrapping_add(bits);
            }
        }
        Ok(print)
    }

    /// Every parameter with its moments, and the prefix of its names: `second.` in a second
    /// network.
    pub fn adam_params(&self) -> impl Iterator<Item = (&'static str, &AdamParam)> {
        let mut params = Vec::new();
        for (network, prefix) in self.networks.iter().zip(["", "second."]) {
            for param in network.adam_params() {
                params.push((prefix, param));
            }
        }
        params.into_iter()
    }

    /// The parameters with a row for each item, in each network: the first axis is the item index.
    /// The item embedding has one more row, that of the pad.
    pub fn item_tables(&self) -> impl Iterator<Item = &AdamParam> {
        self.networks.iter().flat_map(Network::item_tables)
    }

    /// Every variable with its name. Several named tensors may share one variable, in the layout
    /// that the kernels read; [`named_parameters`](Self::named_parameters) tells them apart.
    pub fn parameters(&self) -> impl Iterator<Item = (String, &Var)> {
        self.adam_params()
            .map(|(prefix, p)| (format!("{prefix}{}", p.name()), &p.param))
    }

    /// A copy of every named tensor, as in a checkpoint's weights: candle's names and layouts.
    pub fn named_parameters(&self) -> Result<Vec<(String, Tensor)>> {
        let mut named = Vec::new();
        for (prefix, p) in self.adam_params() {
            for (name, tensor) in p.packing.unpack(&p.param)? {
                named.push((format!("{prefix}{name}"), tensor));
            }
        }
        Ok(named)
    }
}
