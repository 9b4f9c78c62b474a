//! SQN and SAC: double Q-learning over two full networks (Xin et al., SIGIR '20).
//!
//! At each step one network, picked at random, is the main one and learns. Its Q layer chooses the best action of the next
//! state, the other's says what that action is worth; the temporal difference goes back through the main network together
//! with the cross-entropy.

use candle_core::{Result, Tensor};
use prl_baselines::{DoubleQ, TdLoss};
use prl_core::Prompts;
use prl_nn::ForwardCtx;
use rand::RngCore;

use crate::head::Head;
use crate::model::{Descent, Examples, Transitions};
use crate::network::{Clock, Network, StepTimes};
use crate::ranks::Alone;
use crate::slot::Update;

/// Whose turn a training step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The step, from 1.
    pub step: u64,
    /// The network that learns.
    pub main: usize,
    /// Its own steps, this one counted: each network's Adam has its own time.
    pub taken: u64,
}

impl Turn {
    /// Step `step` of a model of one network.
    pub fn single(step: u64) -> Self {
        Self {
            step,
            main: 0,
            taken: step,
        }
    }
}

/// Deals the turns. Who is main at a step is a function of the seed and the step alone.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    seed: u64,
    is_double: bool,
    taken: [u64; 2],
}

impl Turns {
    /// After so many steps.
    pub(crate) fn after(steps: u64, seed: u64, is_double: bool) -> Self {
        let mut turns = Self {
            seed,
            is_double,
            taken: [0; 2],
        };
        (1..=steps).for_each(|step| _ = turns.next(step));
        turns
    }

    /// The turn of `step`; steps must be dealt in order.
    pub(crate) fn next(&mut self, step: u64) -> Turn {
        let draw = || prl_seed::stream(self.seed, "main", step).next_u32() as usize % 2;
        let main = if self.is_double { draw() } else { 0 };
        self.taken[main] += 1;
        Turn {
            step,
            main,
            taken: self.taken[main],
        }
    }
}

/// The two networks in the roles of one step.
pub(crate) struct Pair<'a> {
    pub(crate) main: &'a Network,
    pub(crate) other: &'a Network,
}

/// What the critics say of a batch.
pub(crate) struct Critique {
    /// Q_main(s, a) `[B]`.
    values: Vec<f64>,
    /// What it should be `[B]`.
    targets: Vec<f64>,
}

impl Pair<'_> {
    /// Q(s, a), and r + gamma Q_other(s')[argmax Q_main(s')].
    pub(crate) fn evaluate(
        &self,
        hidden: &Tensor,
        examples: &Examples,
        transitions: &Transitions,
        pass: &ForwardCtx,
        clock: &mut Clock,
        times: &mut StepTimes,
    ) -> crate::Result<Critique> {
        let next = &transitions.next;
        let nothing = Prompts {
            returns: vec![0.0; next.done.len()],
            steps: next.windows.time_steps.clone(),
        };
        let [main, other] =
            [self.main, self.other].map(|network| network.hidden(&next.windows, &nothing, pass));
        let (main, other) = (main?, other?);
        clock.lap(&mut times.encoder)?;
        let best = critic(self.main)?.best(&main)??;
        let worth = critic(self.other)?.scores(&other, &best)?;
        let values = critic(self.main)?.scores(hidden, &examples.targets)?;
        let targets = DoubleQ {
            gamma: transitions.gamma,
        }
        .targets(&transitions.rewards, &worth, &next.done)?;
        Ok(Critique { values, targets })
    }

    /// Takes both layers' steps, `step` being that of the training.
    pub(crate) fn step(
        &self,
        by: Update<'_>,
        step: u64,
        hidden: &Tensor,
        examples: &Examples,
        transitions: &Transitions,
        critique: &Critique,
    ) -> crate::Result<Descent> {
        let Critique { values, targets } = critique;
        let scaled = |by: &[f64]| -> Vec<f64> {
            examples.scale.iter().zip(by).map(|(s, x)| s * x).collect()
        };
        let scale = match transitions.critic {
            Some(critic) => scaled(&critic.weights(step - 1, values)),
            None => examples.scale.clone(),
        };
        let TdLoss { losses, gradients } = TdLoss::new(values, targets)?;
        let td: f64 = scaled(&losses).iter().sum();
        if !td.is_finite() {
            return Ok(Descent {
                cross_entropy: None,
                beside: td,
                gradient: hidden.clone(),
            });
        }
        let taken = self
            .main
            .head
            .step(by, hidden, &examples.targets, &scale, &Alone)?;
        if taken.loss.is_some_and(|loss| !loss.is_finite()) {
            return Ok(Descent {
                cross_entropy: taken.loss,
                beside: td,
                gradient: hidden.clone(),
            });
        }
        let gradients = scaled(&gradients);
        let by_value = critic(self.main)?.step_chosen(by, hidden, &examples.targets, &gradients)?;
        Ok(Descent {
            cross_entropy: taken.loss,
            beside: td,
            gradient: (taken.hidden + by_value)?,
        })
    }
}

fn critic(network: &Network) -> Result<&Head> {
    let missing = || candle_core::Error::Msg("this network has no Q layer".into());
    network.critic.as_ref().ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::{Turn, Turns};

    #[test]
    fn turns_are_fair_repeat_and_go_on_after_any_step() {
        let deal = |turns: &mut Turns, steps: std::ops::RangeInclusive<u64>| {
            steps.map(|step| turns.next(step)).collect::<Vec<Turn>>()
        };
        let all = deal(&mut Turns::after(0, 3, true), 1..=1000);
        assert_eq!(
            deal(&mut Turns::after(400, 3, true), 401..=1000),
            all[400..]
        );
        let second = all.iter().filter(|turn| turn.main == 1).count() as u64;
        assert!((400..600).contains(&second), "{second}");
        let last = |main| {
            all.iter()
                .rev()
                .find(|turn| turn.main == main)
                .unwrap()
                .taken
        };
        assert_eq!((last(0), last(1)), (1000 - second, second));
        assert_eq!(
            deal(&mut Turns::after(2, 3, false), 3..=3),
            [Turn::single(3)]
        );
    }
}
