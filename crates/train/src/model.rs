//! A model: one network, or under SQN and SAC two; one training step, and one inference.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use prl_baselines::Critic;
use prl_core::{PromptBlockConfig, Prompts};
use prl_dataset::{NextStates, Windows};
use prl_encoders::{SessionEncoder, Shape};
use prl_kernels::adam::Adam;
use prl_kernels::catalogue::Catalogue;
use prl_kernels::rank::{NotFinite, Ranking};
use prl_kernels::storage::with;
use prl_nn::{ForwardCtx, Params};
use rand::RngCore;

use crate::config;
use crate::double_q::{self, Turn};
use crate::error::{Error, Result};
use crate::finite::{is_finite, sum_of_bits};
use crate::network::{Clock, Ends, Network, StepTimes};
use crate::ranks::{Alone, Ranks};
use crate::slot::{Slot, Update};
use crate::watch::Watch;

/// A trainable recommender.
pub struct Model {
    /// The first one answers; under SQN and SAC the second takes turns with it in learning.
    networks: Vec<Network>,
    seed: u64,
    device: Device,
    ranks: Arc<dyn Ranks>,
}

/// What a model learns from at a step.
#[derive(Clone, Debug, Default)]
pub struct Examples {
    /// The states.
    pub windows: Windows,
    /// What is said beside them.
    pub prompts: Prompts,
    /// The items to predict `[B]`.
    pub targets: Vec<u32>,
    /// The weight of each example's cross-entropy in the loss `[B]`, the mean's 1 / B included.
    pub scale: Vec<f64>,
    /// What the actions brought, for SQN and SAC.
    pub transitions: Option<Transitions>,
}

/// The other half of a batch of transitions.
#[derive(Clone, Debug, Default)]
pub struct Transitions {
    /// The reward of each action `[B]`.
    pub rewards: Vec<f64>,
    /// The states after them.
    pub next: NextStates,
    /// Discount of the Q-value of the next state.
    pub gamma: f64,
    /// SAC's critic, which weighs the cross-entropy; SQN has none.
    pub critic: Option<Critic>,
}

/// Where the output layers went in a step.
pub(crate) struct Descent {
    /// The cross-entropy, unless the step's watch will know it.
    pub(crate) cross_entropy: Option<f64>,
    /// What else there is to the loss.
    pub(crate) beside: f64,
    /// The loss's gradient by the hidden vectors.
    pub(crate) gradient: Tensor,
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

/// How a model is made around an encoder.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
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
    pub fn new(shape: &config::Model, plan: &Plan, device: &Device) -> Result<Self> {
        let size = Shape {
            dim: shape.dim,
            window: shape.window,
            update_bias: shape.update_bias,
        };
        Self::with_encoder(
            |params| shape.encoder.build(size, params.scope("encoder")),
            plan,
            device,
        )
    }

    /// A model around an encoder of the caller's own.
    pub fn with_encoder(
        encoder: impl Fn(&mut Params) -> candle_core::Result<Box<dyn SessionEncoder>>,
        plan: &Plan,
        device: &Device,
    ) -> Result<Self> {
        let Plan {
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
                &Ends {
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
            ranks: Arc::new(Alone),
        })
    }

    /// The same model trained on several ranks: each gives [`step`](Self::step) its share of the batch, in the order of the
    /// ranks and with the whole batch's scale, and all of them take the step of the whole.
    ///
    /// # Errors
    /// [`Error::Config`] for what runs on one rank only: SQN and SAC, and a GPU.
    pub fn over(self, ranks: Arc<dyn Ranks>) -> Result<Self> {
        ranks.check(self.networks.len() == 2, &self.device)?;
        Ok(Self { ranks, ..self })
    }

    /// The same model trained with what its output layer multiplies rounded to bfloat16
    /// ([`Config::bf16_head`](crate::Config::bf16_head)), or not; of an `f64` one nothing is.
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
        turn: Turn,
        examples: &Examples,
        times: &mut StepTimes,
    ) -> Result<f64> {
        let pass = self.pass(turn);
        let main = &self.networks[turn.main];
        let mut clock = Clock::start(times.is_exact.then(|| self.device.clone()));
        let forward = main.forward(&examples.windows, &examples.prompts, &pass)?;
        let (hidden, targets) = (forward.hidden.detach(), &examples.targets);
        let watch = Watch::over(&hidden)?;
        let by = Update {
            adam,
            t: turn.taken,
            watch: &watch,
        };
        clock.lap(&mut times.encoder)?;
        let descent = match &examples.transitions {
            None => {
                let step = main
                    .head
                    .step(by, &hidden, targets, &examples.scale, &*self.ranks)?;
                clock.lap(&mut times.head)?;
                Descent {
                    cross_entropy: step.loss,
                    beside: 0.0,
                    gradient: step.hidden,
                }
            }
            Some(transitions) => {
                let other = self.networks.get(1 - turn.main).unwrap_or(main);
                let both = double_q::Pair { main, other };
                let critique =
                    both.evaluate(&hidden, examples, transitions, &pass, &mut clock, times);
                let critique = critique.map_err(|e| e.at(turn.step, "among the Q-values"))?;
                let step = both.step(by, turn.step, &hidden, examples, transitions, &critique)?;
                clock.lap(&mut times.head)?;
                step
            }
        };
        let Descent {
            cross_entropy,
            beside,
            gradient,
        } = descent;
        let loss = finite(turn.step, cross_entropy.unwrap_or_default() + beside)?;
        let grads = main.backward(forward, gradient)?.over(&*self.ranks)?;
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
    fn pass(&self, turn: Turn) -> ForwardCtx {
        let pass = ForwardCtx::train(self.seed, turn.step);
        if self.ranks.is_alone() {
            return pass;
        }
        let ranks = Arc::clone(&self.ranks);
        pass.sharing(move |n| ranks.before(n))
    }

    /// Ranks of the targets (if given) and the `k` best items for each window under its prompt.
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
            Err(NotFinite { row: 0 }.into())
        }
    }

    /// The output layer laid out for small batches; `None` where the kernels do not run.
    pub(crate) fn catalogue(&self) -> Result<Option<Catalogue<f32>>> {
        Ok(self.networks[0].head.catalogue()?)
    }

    /// Calls `f` with the hidden vectors `[B, width]`, on a CPU.
    pub(crate) fn with_hidden<R>(
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
    pub(crate) fn check(&self, step: u64) -> Result<()> {
        for (name, slot) in self.slots() {
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
    pub(crate) fn fingerprint(&self) -> Result<u64> {
        let mut print = 0_u64;
        for (_, slot) in self.slots() {
            for var in [&slot.param, &slot.first, &slot.second] {
                let bits = sum_of_bits(var)?;
                print = print.rotate_left(1).wrapping_add(bits);
            }
        }
        Ok(print)
    }

    /// Every parameter with its moments, by name; those of a second network begin with `second.`.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (String, &Slot)> {
        let prefixed = self.networks.iter().zip(["", "second."]);
        prefixed.flat_map(|(network, prefix)| {
            network
                .slots()
                .map(move |(name, slot)| (format!("{prefix}{name}"), slot))
        })
    }

    /// Every parameter, by name.
    pub fn parameters(&self) -> impl Iterator<Item = (String, &Var)> {
        self.slots().map(|(name, slot)| (name, &slot.param))
    }
}
