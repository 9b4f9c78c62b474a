//! Schedule of the two networks of SQN and SAC.

use prl_model::MainNetwork;
use rand::RngCore;

/// The main network of each training step: a function of the seed and the step.
#[derive(Clone, Debug)]
pub(crate) struct NetworkSchedule {
    seed: u64,
    is_double: bool,
    optimizer_steps: [u64; 2],
}

impl NetworkSchedule {
    /// The schedule after `steps` training steps.
    pub(crate) fn after(steps: u64, seed: u64, is_double: bool) -> Self {
        let mut turns = Self {
            seed,
            is_double,
            optimizer_steps: [0; 2],
        };
        for step in 1..=steps {
            turns.next(step);
        }
        turns
    }

    /// The schedule of networks that were updated so many times before the first step: their
    /// moments are carried over from another run.
    pub(crate) fn with_earlier_updates(mut self, updates: [u64; 2]) -> Self {
        for (steps, earlier) in self.optimizer_steps.iter_mut().zip(updates) {
            *steps += earlier;
        }
        self
    }

    /// Updates of each network so far.
    pub(crate) fn updates(&self) -> [u64; 2] {
        self.optimizer_steps
    }

    /// The main network of `step`; steps must be taken in order.
    pub(crate) fn next(&mut self, step: u64) -> MainNetwork {
        let draw = || prl_seed::stream(self.seed, "main", step).next_u32() as usize % 2;
        let main = if self.is_double { draw() } else { 0 };
        self.optimizer_steps[main] += 1;
        MainNetwork {
            step,
            main,
            optimizer_step: self.optimizer_steps[main],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MainNetwork, NetworkSchedule};

    #[test]
    fn schedule_is_balanced_and_resumes_after_any_step() {
        let deal = |turns: &mut NetworkSchedule, steps: std::ops::RangeInclusive<u64>| {
            steps
                .map(|step| turns.next(step))
                .collect::<Vec<MainNetwork>>()
        };
        let all = deal(&mut NetworkSchedule::after(0, 3, true), 1..=1000);
        assert_eq!(
            deal(&mut NetworkSchedule::after(400, 3, true), 401..=1000),
            all[400..]
        );
        let second = all.iter().filter(|turn| turn.main == 1).count() as u64;
        assert!((400..600).contains(&second), "{second}");
        let last = |main| {
            all.iter()
                .rev()
                .find(|turn| turn.main == main)
                .unwrap()
                .optimizer_step
        };
        assert_eq!((last(0), last(1)), (1000 - second, second));
        assert_eq!(
            deal(&mut NetworkSchedule::after(2, 3, false), 3..=3),
            [MainNetwork::single(3)]
        );
    }
}
