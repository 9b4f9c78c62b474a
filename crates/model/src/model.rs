//! A model: one network, or under SQN and SAC two; one training step, and one inference.

use std::sync::Arc;

use candle_core::{DType, Device, Var};
use prl_core::{PromptBlockConfig, Prompts};
use prl_dataset::Windows;
use prl_encoders::{SessionEncoder, Shape};
use prl_kernels::ops::adam::Adam;
use prl_kernels::ops::rank::{NonFiniteScore, Ranking};
use prl_kernels::ops::top_k_serving::TransposedItemMatrix;
use prl_kernels::storage::with;
use prl_nn::{ForwardCtx, Params};
use rand::RngCore;

use crate::config::{self, ModelConfig};
use crate::error::{Error, Result};
use crate::finite::{is_finite, sum_of_bits};
use crate::finite_check::FiniteCheck;
use crate::head::HeadOutput;
use crate::network::{ModelDims, Network};
use crate::param::{AdamParam, AdamStep};
use crate::process_group::{ProcessGroup, SingleProcess};
use crate::q_learning;
use crate::timing::{Clock, StepTimes};
use crate::training_batch::TrainingBatch;

/// A trainable recommender.
pub struct Model {
    /// The first one answers; under SQN and SAC the second takes turns with it in learning.
    networks: Vec<Network>,
    seed: u64,
    device: Device,
    group: Arc<dyn ProcessGroup>,
}

/// A loss that is a number.
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

/// Whose turn a training step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MainNetwork {
    /// The step, from 1.
    pub step: u64,
    /// The network that learns.
    pub main: usize,
    /// Its own steps, this one counted: each network's Adam has its own time.
    pub optimizer_step: u64,
}

impl MainNetwork {
    /// Step `step` of a model of one network.
    pub fn single(step: u64) -> Self {
        Self {
            step,
            main: 0,
            optimizer_step: step,
        }
    }
}

/// How a model is made around an encoder.
#[derive(Clone, Copy, Debug)]
pub struct ModelSpec {
    /// Width of an embedded item.
    pub dim: usize,
    /// Items of the catalogue.
    pub items: usize,
    /// The prompt block, if there is one.
    pub block: Option<PromptBlockConfig>,
    /// Two networks with a Q layer each: SQN and SAC.
    pub is_double: bool,
    /// The seed of initial values, dropout and turns.
    pub seed: u64,
    /// `f32`, or `f64` for checks.
    pub dtype: DType,
}

impl Model {
    /// A model with one of this build's encoders.
    pub fn new(config: &ModelConfig, plan: &ModelSpec, device: &Device) -> Result<Self> {
        let size = Shape {
            dim: config.dim,
            window: config.window,
            update_bias: config.update_bias,
        };
        Self::with_encoder(
            |params| config.encoder.build(size, params.scope("encoder")),
            plan,
            device,
        )
    }

    /// A model around an encoder of the caller's own.
    pub fn with_encoder(
        encoder: impl Fn(&mut Params) -> candle_core::Result<Box<dyn SessionEncoder>>,
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
        } = *plan;
        let network = |seed| {
            Network::new(
                &encoder,
                block,
                is_double,
                &ModelDims {
                    dim,
                    items,
                    seed,
                    dtype,
                    device,
                },
            )
        };
        let mut networks = vec![network(seed)?];
        if is_double {
            networks.push(network(
                prl_seed::stream(seed, "second network", 0).next_u64(),
            )?);
        }
        Ok(Self {
            networks,
            seed,
            device: device.clone(),
            group: Arc::new(SingleProcess),
        })
    }

    /// The same model trained on several ranks: each gives [`step`](Self::step) its share of the batch, in the order of the
    /// ranks and with the whole batch's scale, and all of them take the step of the whole.
    ///
    /// # Errors
    /// [`Error::Config`] for what runs on one rank only: SQN and SAC, and a GPU.
    pub fn with_process_group(self, group: Arc<dyn ProcessGroup>) -> Result<Self> {
        group.check(self.networks.len() == 2, &self.device)?;
        Ok(Self { group, ..self })
    }

    /// The same model trained with what its output layer multiplies rounded to bfloat16
    /// (the setting `bf16_head`), or not; of an `f64` one nothing is.
    ///
    /// # Errors
    /// [`Error::Config`] on a GPU.
    pub fn with_bf16_head(mut self, is_bf16: bool) -> Result<Self> {
        config::check_bf16_head(is_bf16, &self.device)?;
        self.networks
            .iter_mut()
            .for_each(|network| network.head.is_bf16 = is_bf16);
        Ok(self)
    }

    /// Whether the model is fed a prompt.
    pub fn is_prompted(&self) -> bool {
        self.networks[0].is_prompted()
    }

    /// Where it lives.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// One training step; returns the loss before it, the same on every rank. Without transitions that is `sum of scale[b] x cross-entropy[b]`; with
    /// them half the squared error of the Q-values is added to each cross-entropy.
    ///
    /// # Errors
    /// [`Error::Diverged`] if the loss or a gradient of the middle is not finite. After the first nothing is updated; after the
    /// second the output layer is. (Its own gradient is never held whole: what that spoils, the next loss shows.)
    pub fn step(
        &self,
        adam: Adam,
        turn: MainNetwork,
        examples: &TrainingBatch,
        times: &mut StepTimes,
    ) -> Result<f64> {
        let pass = self.pass(turn);
        let main = &self.networks[turn.main];
        let mut clock = Clock::start(times.is_exact.then(|| self.device.clone()));
        let forward = main.forward(&examples.windows, &examples.prompts, &pass)?;
        let (hidden, targets) = (forward.hidden.detach(), &examples.targets);
        let watch = FiniteCheck::over(&hidden)?;
        let by = AdamStep {
            adam,
            t: turn.optimizer_step,
            watch: &watch,
        };
        clock.lap(&mut times.encoder)?;
        let descent = match &examples.transitions {
            None => {
                let step = main
                    .head
                    .step(by, &hidden, targets, &examples.scale, &*self.group)?;
                clock.lap(&mut times.head)?;
                HeadOutput {
                    cross_entropy: step.loss,
                    beside: 0.0,
                    gradient: step.hidden,
                }
            }
            Some(transitions) => {
                let other = self.networks.get(1 - turn.main).unwrap_or(main);
                let both = q_learning::Pair { main, other };
                let critique =
                    both.evaluate(&hidden, examples, transitions, &pass, &mut clock, times);
                let critique = critique.map_err(|e| e.at_step(turn.step, "among the Q-values"))?;
                let step = both.step(by, turn.step, &hidden, examples, transitions, &critique)?;
                clock.lap(&mut times.head)?;
                step
            }
        };
        let HeadOutput {
            cross_entropy,
            beside,
            gradient,
        } = descent;
        let loss = finite(turn.step, cross_entropy.unwrap_or_default() + beside)?;
        let grads = main
            .backward(forward, gradient)?
            .with_process_group(&*self.group)?;
        clock.lap(&mut times.backward)?;
        main.take(by, turn.step, &grads)?;
        let Some(seen) = watch.read()? else {
            clock.lap(&mut times.adam)?;
            return Ok(loss);
        };
        clock.lap(&mut times.adam)?;
        let loss = finite(turn.step, seen.loss + beside)?;
        if !seen.is_finite {
            grads.check(turn.step)?;
        }
        Ok(loss)
    }

    /// The pass of a step: a rank's dropout masks are its share of those of the whole batch.
    fn pass(&self, turn: MainNetwork) -> ForwardCtx {
        let pass = ForwardCtx::train(self.seed, turn.step);
        if self.group.is_alone() {
            return pass;
        }
        let group = Arc::clone(&self.group);
        pass.sharing(move |n| group.before(n))
    }

    /// ProcessGroup of the targets (if given) and the `k` best items for each window under its prompt.
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
        let hidden = network.hidden(windows, prompts, &ForwardCtx::infer())?;
        Ok(network.head.rank(&hidden, targets, k)??)
    }

    /// The score of each of `items` for one window under its prompt, on a CPU bit for bit as [`rank`](Self::rank)
    /// computes it.
    pub fn scores(&self, window: &Windows, prompt: &Prompts, items: &[u32]) -> Result<Vec<f32>> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let network = &self.networks[0];
        let hidden = network.hidden(window, prompt, &ForwardCtx::infer())?;
        let repeated = hidden.broadcast_as((items.len(), hidden.dim(1)?))?;
        let scores = network.head.scores(&repeated, items)?;
        if scores.iter().all(|s| s.is_finite()) {
            Ok(scores.into_iter().map(|s| s as f32).collect())
        } else {
            Err(NonFiniteScore { row: 0 }.into())
        }
    }

    /// The output layer laid out for small batches; `None` where the kernels do not run.
    pub fn catalogue(&self) -> Result<Option<TransposedItemMatrix<f32>>> {
        Ok(self.networks[0].head.catalogue()?)
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

    /// Refuses weights and moments that are not finite, as those of a training that has diverged at `step`.
    pub fn check(&self, step: u64) -> Result<()> {
        for (name, slot) in self.adam_params() {
            for (what, var) in [
                ("weights", &slot.param),
                ("moments", &slot.first),
                ("moments", &slot.second),
            ] {
                if !is_finite(var)? {
                    return Err(Error::Diverged {
                        step,
                        cause: format!("the {what} of {name} are not finite"),
                    });
                }
            }
        }
        Ok(())
    }

    /// A number that two models with other weights or moments hardly share.
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

    /// Every parameter with its moments, by name; those of a second network begin with `second.`.
    pub fn adam_params(&self) -> impl Iterator<Item = (String, &AdamParam)> {
        let prefixed = self.networks.iter().zip(["", "second."]);
        prefixed.flat_map(|(network, prefix)| {
            network
                .adam_params()
                .map(move |(name, slot)| (format!("{prefix}{name}"), slot))
        })
    }

    /// Every parameter, by name.
    pub fn parameters(&self) -> impl Iterator<Item = (String, &Var)> {
        self.adam_params().map(|(name, slot)| (name, &slot.param))
    }
}
