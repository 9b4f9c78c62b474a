//! Training batches: seeded draws of examples with their windows, rewards and returns.

use std::ops::RangeInclusive;
use std::sync::mpsc::sync_channel;
use std::thread::Scope;

use prl_baselines::Critic;
use prl_core::Prompts;
use prl_dataset::{Dataset, ReturnTable, SessionBatches, Split, SplitExamples};
use prl_model::{ProcessGroup, SingleProcess, TrainingBatch, Transitions};
use prl_runs::{Config, Method, Sampling};

/// Least number of steps of a training that starts from a run and has a number of passes.
const MIN_STEPS: u64 = 20;

/// Batches of a dataset's training split; a batch is a function of the seed and the training step.
pub struct Batches<'a> {
    rows: SplitExamples<'a>,
    /// The steps of whole sessions, if that is the sampling.
    sessions: Option<SessionBatches>,
    config: &'a Config,
    returns: &'a ReturnTable,
    group: &'a dyn ProcessGroup,
}

impl<'a> Batches<'a> {
    /// Batches whose prompts are in the unit of `returns`.
    pub fn new(data: &'a Dataset, config: &'a Config, returns: &'a ReturnTable) -> Self {
        let rows = config.examples(data, Split::Train);
        let sessions = (config.sampling == Sampling::Session)
            .then(|| SessionBatches::new(&rows, config.batch_size, config.seed));
        Self {
            rows,
            sessions,
            config,
            returns,
            group: &SingleProcess,
        }
    }

    /// Restricts each batch to this process's share; the shares of all ranks in order are the
    /// batch.
    pub fn with_process_group(self, group: &'a dyn ProcessGroup) -> Self {
        Self { group, ..self }
    }

    /// Training steps of the whole training, if nothing stops it early.
    pub fn total_steps(&self) -> u64 {
        let per_epoch = self.per_epoch();
        let mut total = self.config.epochs.saturating_mul(per_epoch);
        if let Some(passes) = self.config.parent.as_ref().and_then(|parent| parent.passes) {
            total = total.min((passes * per_epoch as f64) as u64);
            total = total.max(MIN_STEPS);
        }
        total.min(self.config.max_steps.unwrap_or(u64::MAX))
    }

    /// Number of examples.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Number of examples with each item as their target.
    pub fn target_counts(&self) -> Vec<u64> {
        self.rows.target_counts()
    }

    /// Training steps of one pass over the examples, equal for every sampling.
    pub fn per_epoch(&self) -> u64 {
        (self.rows.len() / self.config.batch_size).max(1) as u64
    }

    /// The batch of step `t`, from 1.
    pub fn at(&self, t: u64) -> TrainingBatch {
        let config = self.config;
        let window = config.model.window;
        let mut sequences = None;
        let drawn = match (config.sampling, &self.sessions) {
            (Sampling::Draw, _) => self.rows.draw(config.seed, t, config.batch_size),
            (Sampling::Session, Some(sessions)) => {
                let is_whole = config.model.encoder.reads_past_the_window();
                let rows = self.rows.session_rows(&sessions.at(t), window, is_whole);
                sequences = Some(rows.sequences);
                rows.examples
            }
            _ => self.rows.pass(config.seed, t, config.batch_size),
        };
        let rows = &drawn[self.group.share(drawn.len())];
        let rule = Some(config.return_rule());
        let batch = self.rows.batch(rows.iter().copied(), window, rule);
        let mut next = None;
        if config.method.is_double() {
            // After the batch, which has brought these rows of the log into the caches.
            next = Some(self.rows.next_states(rows.iter().copied(), window));
        }
        let n = batch.targets.len();
        let mut rewards = Vec::with_capacity(n);
        let mut returns = Vec::with_capacity(n);
        let mut loss_weights = Vec::with_capacity(n);
        for b in 0..n {
            let reward = batch.rewards[b];
            let mean = self.returns.mean_at(batch.windows.time_steps[b]);
            let prompt = config.model.prompt_scale.prompt(batch.returns[b], mean);
            let weight = config.loss_weight().of(reward, prompt);
            rewards.push(reward);
            returns.push(prompt);
            // The mean is over the whole batch, not over this process's share.
            loss_weights.push(weight / drawn.len() as f64);
        }
        let critic = (config.method == Method::Sac).then_some(Critic {
            warm_up: config.warm_up.unwrap_or(0),
        });
        let transitions = next.map(|next| Transitions {
            rewards,
            next,
            gamma: config.gamma,
            critic,
        });
        let prompts = Prompts {
            returns,
            steps: batch.windows.time_steps.clone(),
            tilt: 0.0,
        };
        TrainingBatch {
            windows: batch.windows,
            prompts,
            targets: batch.targets,
            loss_weights,
            transitions,
            sequences,
        }
    }
}

/// Batches prepared ahead of the training step that uses them.
const AHEAD: usize = 2;

/// Prefetches the batches of some steps on a thread; yields each with its step. The thread ends
/// after the last step or when the receiver is dropped.
pub(crate) fn prefetch<'scope>(
    scope: &'scope Scope<'scope, '_>,
    batches: &'scope Batches<'_>,
    steps: RangeInclusive<u64>,
) -> impl Iterator<Item = (u64, TrainingBatch)> + use<> {
    let (sender, receiver) = sync_channel(AHEAD);
    scope.spawn(move || {
        for t in steps {
            if sender.send((t, batches.at(t))).is_err() {
                break;
            }
        }
    });
    receiver.into_iter()
}
