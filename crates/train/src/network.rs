//! One network: the item embedding, the encoder, the prompt block, the output layer, and under SQN and SAC a Q layer beside it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use prl_core::{EncodedState, PromptBlock, PromptBlockConfig, Prompts};
use prl_dataset::Windows;
use prl_encoders::{PaddedBatch, SessionEncoder};
use prl_kernels::tape::{Tape, record};
use prl_nn::{ForwardCtx, Params};

use crate::embedding::Embedding;
use crate::error::{Error, Result};
use crate::finite::first_strange;
use crate::head::Head;
use crate::ranks::{Ranks, gather_rows, sum_tensors};
use crate::slot::{Slot, Update};

/// The sizes of a network's ends, and where it lives.
pub(crate) struct Ends<'a> {
    pub(crate) dim: usize,
    pub(crate) items: usize,
    pub(crate) seed: u64,
    pub(crate) dtype: DType,
    pub(crate) device: &'a Device,
}

/// A network with the state of its optimiser.
pub(crate) struct Network {
    embedding: Embedding,
    encoder: Box<dyn SessionEncoder>,
    block: Option<PromptBlock>,
    /// Scores of the items as the next one.
    pub(crate) head: Head,
    /// Q(s, a) of the items as actions.
    pub(crate) critic: Option<Head>,
    /// Parameters of the middle, by name.
    middle: BTreeMap<String, Slot>,
}

/// The hidden vectors of a batch in training, and what it takes to go back through them.
pub(crate) struct Forward<'a> {
    windows: &'a Windows,
    /// The embedded items, by which the middle is differentiated.
    leaf: Tensor,
    /// `[B, width]`.
    pub(crate) hidden: Tensor,
    tape: Tape,
}

/// The gradients of a batch by all between the output layer and the embedding.
pub(crate) struct Gradients<'a> {
    /// By the parameters of the middle that have one.
    middle: Vec<(&'a str, &'a Slot, Tensor)>,
    /// The embedded items, and by their rows.
    rows: Option<(Cow<'a, [u32]>, Tensor)>,
}

impl Gradients<'_> {
    /// Each with the name of what it is by.
    fn all(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let middle = self.middle.iter().map(|(name, _, grad)| (*name, grad));
        middle.chain(self.rows.iter().map(|(_, grad)| ("embedding.weight", grad)))
    }

    /// Whether all are finite.
    ///
    /// # Errors
    /// [`Error::Diverged`] at `step` if one is not.
    pub(crate) fn check(&self, step: u64) -> Result<()> {
        let (names, tensors): (Vec<&str>, Vec<&Tensor>) = self.all().unzip();
        let Some(strange) = first_strange(&tensors)? else {
            return Ok(());
        };
        Err(Error::Diverged {
            step,
            cause: format!("the gradient of {} is not finite", names[strange]),
        })
    }

    /// The whole batch's, when each rank has those of its share.
    pub(crate) fn over(self, ranks: &dyn Ranks) -> Result<Self> {
        if ranks.is_alone() {
            return Ok(self);
        }
        let grads: Vec<Tensor> = self.middle.iter().map(|(.., grad)| grad.clone()).collect();
        let sums = if grads.is_empty() {
            grads
        } else {
            sum_tensors(ranks, &grads)?
        };
        let middle = self
            .middle
            .into_iter()
            .zip(sums)
            .map(|((name, slot, _), sum)| (name, slot, sum))
            .collect();
        let gathered = self
            .rows
            .map(|(ids, grad)| gather_rows(ranks, &ids, &grad))
            .transpose()?;
        Ok(Self {
            middle,
            rows: gathered.map(|(ids, grad)| (Cow::Owned(ids), grad)),
        })
    }
}

/// Where the time of training steps went.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepTimes {
    /// Whether a GPU is waited for at the end of each part: otherwise its time shows where a step waits anyway.
    pub is_exact: bool,
    /// Embedding rows, encoder and prompt block, forward.
    pub encoder: Duration,
    /// The output layers: losses, gradients and their Adam steps.
    pub head: Duration,
    /// Back through prompt block and encoder.
    pub backward: Duration,
    /// Adam on the middle and the embedding.
    pub adam: Duration,
}

/// Says how long it is since it was asked last.
pub(crate) struct Clock {
    last: Instant,
    /// What is waited for.
    device: Option<Device>,
}

impl Clock {
    /// Begins now; laps wait for the device if there is one.
    pub(crate) fn start(device: Option<Device>) -> Self {
        Self {
            last: Instant::now(),
            device,
        }
    }

    pub(crate) fn lap(&mut self, into: &mut Duration) -> candle_core::Result<()> {
        if let Some(device) = &self.device {
            device.synchronize()?;
        }
        *into += std::mem::replace(&mut self.last, Instant::now()).elapsed();
        Ok(())
    }
}

impl Network {
    /// A network with seeded initial values around an encoder of the caller's making.
    pub(crate) fn new(
        encoder: impl FnOnce(&mut Params) -> candle_core::Result<Box<dyn SessionEncoder>>,
        block: Option<PromptBlockConfig>,
        has_critic: bool,
        ends: &Ends<'_>,
    ) -> Result<Self> {
        let Ends {
            dim,
            items,
            seed,
            dtype,
            device,
        } = *ends;
        let mut params = Params::new(dtype, device, seed);
        let encoder = encoder(&mut params)?;
        let width = encoder.width();
        let block = block
            .map(|config| PromptBlock::new(config, width, params.scope("prompt")))
            .transpose()?;
        let slots = params
            .iter()
            .map(|(name, var)| Ok((name.to_owned(), Slot::new(var.clone())?)));
        let head = |name: &str| Head::new(items, width, dtype, device, seed, name);
        Ok(Self {
            embedding: Embedding::new(items, dim, dtype, device, seed)?,
            head: head("head")?,
            critic: has_critic.then(|| head("critic")).transpose()?,
            middle: slots.collect::<Result<_>>()?,
            encoder,
            block,
        })
    }

    /// Whether it is fed a prompt.
    pub(crate) fn is_prompted(&self) -> bool {
        self.block.as_ref().is_some_and(PromptBlock::is_prompted)
    }

    /// The hidden vectors of a batch, to be learned from.
    pub(crate) fn forward<'a>(
        &self,
        windows: &'a Windows,
        prompts: &Prompts,
        pass: &ForwardCtx,
    ) -> Result<Forward<'a>> {
        let leaf = self.embedding.rows(&windows.items, windows.window_len)?;
        let (hidden, tape) = record(|| self.middle(&leaf, windows, prompts, pass))?;
        Ok(Forward {
            windows,
            leaf,
            hidden,
            tape,
        })
    }

    /// The hidden vectors of a batch, to be read only: `[B, width]`.
    pub(crate) fn hidden(
        &self,
        windows: &Windows,
        prompts: &Prompts,
        pass: &ForwardCtx,
    ) -> Result<Tensor> {
        let x = self
            .embedding
            .rows(&windows.items, windows.window_len)?
            .detach();
        Ok(self.middle(&x, windows, prompts, pass)?.detach())
    }

    fn middle(
        &self,
        x: &Tensor,
        windows: &Windows,
        prompts: &Prompts,
        pass: &ForwardCtx,
    ) -> Result<Tensor> {
        let lengths = windows.lengths.as_slice();
        let embedded = PaddedBatch { x, lengths };
        let Some(block) = &self.block else {
            return Ok(self.encoder.encode(&embedded, pass)?);
        };
        if !block.needs_outputs() {
            let state = self.encoder.encode(&embedded, pass)?;
            return Ok(block.forward(
                &EncodedState {
                    state: &state,
                    outputs: None,
                    lengths,
                },
                prompts,
                pass,
            )?);
        }
        let Some(outputs) = self.encoder.outputs(&embedded, pass)? else {
            return Err(Error::Config(
                "attention = \"released\" needs an encoder with outputs: sasrec".into(),
            ));
        };
        let (batch, length, width) = outputs.dims3()?;
        let last: Vec<u32> = (0..)
            .zip(lengths)
            .map(|(b, &n)| b * length as u32 + n - 1)
            .collect();
        let state = prl_nn::take(&outputs.reshape((batch * length, width))?, &last)?;
        Ok(block.forward(
            &EncodedState {
                state: &state,
                outputs: Some(&outputs),
                lengths,
            },
            prompts,
            pass,
        )?)
    }

    /// Goes back from the gradient of the hidden vectors.
    pub(crate) fn backward<'a>(
        &'a self,
        forward: Forward<'a>,
        grad: Tensor,
    ) -> Result<Gradients<'a>> {
        let mut grads = forward.tape.backward(&forward.hidden, grad)?;
        let rows = grads
            .take(&forward.leaf)
            .map(|grad| (Cow::Borrowed(forward.windows.items.as_slice()), grad));
        let middle = self.middle.iter();
        let middle = middle
            .filter_map(|(name, slot)| Some((name.as_str(), slot, grads.take(&slot.param)?)))
            .collect();
        Ok(Gradients { middle, rows })
    }

    /// Takes Adam's step on the middle and the embedding.
    ///
    /// # Errors
    /// [`Error::Diverged`] if a gradient is not finite: none of them is taken then. A GPU's watch says that later.
    pub(crate) fn take(&self, by: Update<'_>, step: u64, grads: &Gradients<'_>) -> Result<()> {
        let tensors: Vec<&Tensor> = grads.all().map(|(_, grad)| grad).collect();
        if !by.watch.looks_at(&tensors)? {
            grads.check(step)?;
        }
        let middle: Vec<_> = grads
            .middle
            .iter()
            .map(|(_, slot, grad)| (*slot, grad.clone()))
            .collect();
        Slot::step_all(by, &middle)?;
        if let Some((ids, grad)) = &grads.rows {
            self.embedding.step(by, ids, grad)?;
        }
        Ok(())
    }

    /// Every parameter with its moments, by name.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (String, &Slot)> {
        let heads = [("head", Some(&self.head)), ("critic", self.critic.as_ref())];
        let heads = heads
            .into_iter()
            .filter_map(|(name, head)| Some((name, head?)))
            .flat_map(|(name, head)| {
                [
                    (format!("{name}.bias"), &head.bias),
                    (format!("{name}.weight"), &head.weight),
                ]
            });
        let middle = self.middle.iter().map(|(name, slot)| (name.clone(), slot));
        std::iter::once(("embedding.weight".to_owned(), &self.embedding.slot))
            .chain(heads)
            .chain(middle)
    }
}
