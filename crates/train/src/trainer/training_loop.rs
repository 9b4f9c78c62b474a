//! The training loop: steps, validations, checkpoints and early stopping.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use candle_core::Device;
use prl_dataset::{Dataset, SplitExamples};
use prl_eval::Scores;
use prl_fs::{append_synced, write_atomic};
use prl_kernels::ops::adam::Adam;
use prl_model::{HeadDtype, Model, NegativeSampler, ProcessGroup, StepTimes, TrainingBatch};
use prl_runs::{Error, Progress, Recommender, Result, Run, RunManifest};

use super::{json_line, validate};
use crate::batches::{Batches, prefetch};
use crate::network_schedule::NetworkSchedule;
use crate::observer::{Evaluation, Observer, Outcome};

/// A model with its optimizer state and progress.
pub(super) struct TrainingLoop<'a> {
    run: &'a Run,
    data: &'a Dataset,
    /// Examples that select the weights; without them the last weights are kept.
    val: Option<&'a SplitExamples<'a>>,
    per_epoch: u64,
    model: Recommender,
    adam: Adam,
    turns: NetworkSchedule,
    progress: Progress,
    total: u64,
    device: &'a Device,
    group: &'a Arc<dyn ProcessGroup>,
}

/// Where and how a training runs; results do not depend on it.
#[derive(Clone, Copy)]
pub(super) struct TrainingPlace<'a> {
    pub(super) device: &'a Device,
    pub(super) group: &'a Arc<dyn ProcessGroup>,
    /// Whether a step on a GPU is one graph launch; `None` for the environment's choice.
    #[cfg_attr(not(feature = "cuda"), allow(dead_code))]
    pub(super) cuda_graphs: Option<bool>,
}

impl<'a> TrainingLoop<'a> {
    /// Training loop at the run's checkpoint, or at step 0 with initial values if there is none.
    pub(super) fn new(
        run: &'a Run,
        data: &'a Dataset,
        batches: &Batches<'_>,
        val: Option<&'a SplitExamples<'a>>,
        place: TrainingPlace<'a>,
    ) -> Result<Self> {
        let TrainingPlace { device, group, .. } = place;
        let config = run.config();
        let mut model = run
            .fresh_model(device)?
            .with_head_dtype(run.config().head_dtype())?
            .with_process_group(Arc::clone(group))?;
        #[cfg(feature = "cuda")]
        if let Some(is_on) = place.cuda_graphs {
            model = model.with_cuda_graphs(is_on)?;
        }
        if let Some(options) = config.negative_options() {
            let counts = batches.target_counts();
            model = model.with_negatives(NegativeSampler::new(options, &counts, config.seed)?)?;
        }
        let lineage = run.lineage()?;
        let progress = if run.checkpoint().exists() {
            run.checkpoint().load(&model)?
        } else {
            if lineage.is_some() {
                run.initial().load(&model)?;
            }
            Progress::default()
        };
        let total = batches.total_steps();
        let adam = Adam {
            weight_decay: config.weight_decay,
            ..Adam::new(config.lr.unwrap_or(0.005))
        };
        let mut parameters = 0;
        for (_, var) in model.parameters() {
            parameters += var.elem_count();
        }
        if group.is_first() {
            let ranks = group.size();
            let is_bf16 = run.config().head_dtype() == HeadDtype::Bf16;
            if is_bf16 && device.is_cpu() && !prl_kernels::simd::bf16::is_faster() {
                tracing::warn!(
                    "no AMX in use, nor AVX-512 BF16 of full rate (AMD): without bf16_head it is quicker"
                );
            }
            if device.is_cpu() && !prl_kernels::simd::has_fused_multiply_add() {
                tracing::warn!(
                    "this processor has no AVX2 with FMA: a training step takes many times as long"
                );
            }
            if val.is_none() {
                tracing::info!("no validation: the last weights are kept");
            }
            tracing::info!(
                rows = batches.rows(),
                steps = total,
                parameters,
                from = progress.step,
                ranks,
                "training"
            );
        }
        let model = Recommender::Neural(Box::new(model));
        let turns = NetworkSchedule::after(progress.step, config.seed, config.method.is_double());
        let turns = turns.with_earlier_updates(lineage.map_or([0; 2], |l| l.optimizer_steps));
        let per_epoch = batches.per_epoch();
        let trainer = Self {
            run,
            data,
            val,
            per_epoch,
            model,
            adam,
            turns,
            progress,
            total,
            device,
            group,
        };
        if group.is_first() {
            trainer.rewind_metrics()?;
        }
        Ok(trainer)
    }

    /// Trains to the end, or until the stop flag is set.
    pub(super) fn run(
        mut self,
        batches: &Batches<'_>,
        stop: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<Outcome> {
        let steps = self.progress.step + 1..=self.total;
        let outcome =
            thread::scope(|scope| self.steps(prefetch(scope, batches, steps), stop, observer))?;
        if let Some(interrupted) = outcome {
            return Ok(interrupted);
        }
        let finished = if self.group.is_first() {
            self.finish().map(Some)
        } else {
            Ok(None)
        };
        let manifest = match self.group.broadcast_result(finished)? {
            Some(manifest) => Some(manifest),
            None => self.run.manifest()?,
        };
        match manifest {
            Some(manifest) => Ok(Outcome::Finished(Box::new(manifest))),
            None => Err(Error::run(
                self.run.dir(),
                "the first rank's manifest is not seen; share the directory",
            )),
        }
    }

    fn finish(&self) -> Result<RunManifest> {
        let weights = self.run.best().hash()?;
        let manifest = self
            .run
            .finish(&weights, self.data, &self.progress, self.device)?;
        // Only a training without a checkpoint starts from the initial weights.
        let initial = self.run.initial();
        if initial.exists() {
            let dir = initial.dir();
            std::fs::remove_dir_all(dir).map_err(Error::io(dir))?;
        }
        Ok(manifest)
    }

    /// Takes training steps; returns `None` when the batches end or validation stops improving, and
    /// the interruption when the stop flag is set.
    fn steps(
        &mut self,
        batches: impl Iterator<Item = (u64, TrainingBatch)>,
        stop: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<Option<Outcome>> {
        self.compare()?;
        let mut clock = Instant::now();
        // A run that was stopped during a validation repeats the validation first.
        if self.is_due() && !self.validated(&mut clock, stop, observer)? {
            return self.interrupted(&mut clock).map(Some);
        }
        for (t, examples) in batches {
            // The flags are summed over the group: only the first process validates, and a signal
            // may reach any process.
            if self.group.total(f64::from(self.is_stale())) > 0.0 {
                break;
            }
            if self.group.total(f64::from(stop.load(Ordering::Relaxed))) > 0.0 {
                return self.interrupted(&mut clock).map(Some);
            }
            let turn = self.turns.next(t);
            let adam = self.adam_at(t);
            let loss = self
                .neural()
                .step(adam, turn, &examples, &mut StepTimes::default())?;
            self.progress.step = t;
            self.progress.loss_sum += loss;
            self.progress.loss_steps += 1;
            observer.step(t, self.total, loss);
            if self.is_due() && !self.validated(&mut clock, stop, observer)? {
                return self.interrupted(&mut clock).map(Some);
            }
        }
        Ok(None)
    }

    /// Whether a validation is due after the current step.
    fn is_due(&self) -> bool {
        let step = self.progress.step;
        let every = match self.run.config().eval_every {
            0 => self.per_epoch,
            every => every,
        };
        let is_end = step.is_multiple_of(every) || step == self.total;
        is_end && self.progress.loss_steps > 0
    }

    /// Saves a checkpoint at the current step.
    fn interrupted(&mut self, clock: &mut Instant) -> Result<Outcome> {
        self.lap(clock);
        let saved = if self.group.is_first() {
            self.save().map(Some)
        } else {
            Ok(None)
        };
        self.group.broadcast_result(saved)?;
        Ok(Outcome::Interrupted(self.progress.step))
    }

    /// Validates in the first process; `false` if the stop flag was set meanwhile.
    fn validated(
        &mut self,
        clock: &mut Instant,
        stop: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<bool> {
        self.compare()?;
        let done = if self.group.is_first() {
            self.evaluate(clock, stop, observer).map(Some)
        } else {
            Ok(None)
        };
        let is_cut_short = self.group.broadcast_result(done)? == Some(false);
        Ok(self.group.total(f64::from(is_cut_short)) == 0.0)
    }

    /// Validates, if there is a validation, saves the weights if they are the best so far, and
    /// saves a checkpoint; `false` if the stop flag was set meanwhile.
    fn evaluate(
        &mut self,
        clock: &mut Instant,
        stop: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<bool> {
        let step = self.progress.step;
        let val = match self.val {
            Some(rows) => {
                let val = validate(stop, self.run, &self.model, rows);
                match val.map_err(|e| e.at_step(step, "in validation"))? {
                    Some(val) => Some(val),
                    None => return Ok(false),
                }
            }
            None => None,
        };
        // Without validation the last weights are the best ones.
        let is_best = val.as_ref().is_none_or(|val| self.rate(val));
        self.lap(clock);
        let epoch = step as f64 / self.per_epoch as f64;
        let loss = Some(self.progress.loss_sum / self.progress.loss_steps.max(1) as f64);
        let evaluation = Evaluation {
            step,
            epoch,
            loss,
            seconds: self.progress.seconds,
            val,
        };
        (self.progress.loss_sum, self.progress.loss_steps) = (0.0, 0);
        if is_best {
            self.run.best().save(self.neural(), &self.progress, false)?;
        }
        let path = self.run.dir().join("metrics.jsonl");
        append_synced(&path, json_line(&evaluation)?.as_bytes())?;
        self.save()?;
        observer.evaluated(&evaluation, is_best);
        Ok(true)
    }

    /// Whether the scores are better than at every validation before; counts the validations since
    /// the best one.
    fn rate(&mut self, val: &Scores) -> bool {
        let score = self.run.config().select.score(val);
        let is_best = self.progress.best.is_none_or(|(_, best)| score > best);
        if is_best {
            self.progress.best = Some((self.progress.step, score));
            self.progress.stale = 0;
        } else {
            self.progress.stale += 1;
        }
        is_best
    }

    fn save(&self) -> Result<String> {
        self.run
            .checkpoint()
            .save(self.neural(), &self.progress, true)
    }

    /// Fails if the weights of the processes differ.
    fn compare(&self) -> Result<()> {
        let step = self.progress.step;
        if self.group.is_alone() {
            return Ok(());
        }
        let prints = self
            .group
            .all_gather(&self.neural().fingerprint()?.to_le_bytes());
        for (rank, print) in prints.iter().enumerate() {
            if *print != prints[0] {
                return Err(Error::Model(prl_model::Error::Rank {
                    rank,
                    what: format!("its weights at step {step} are not those of rank 0"),
                }));
            }
        }
        Ok(())
    }

    /// Removes the lines of `metrics.jsonl` after the checkpoint, since their steps are repeated.
    fn rewind_metrics(&self) -> Result<()> {
        let path = self.run.dir().join("metrics.jsonl");
        let Ok(text) = std::fs::read_to_string(&path) else {
            return Ok(());
        };
        let mut kept = String::with_capacity(text.len());
        for line in text.lines() {
            let Ok(evaluation) = serde_json::from_str::<Evaluation>(line) else {
                continue;
            };
            if evaluation.step <= self.progress.step {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        if kept != text {
            write_atomic(&path, kept.as_bytes())?;
        }
        Ok(())
    }

    fn is_stale(&self) -> bool {
        match self.run.config().patience {
            Some(patience) => self.progress.stale >= patience,
            None => false,
        }
    }

    /// Adam at step `t`, with the learning rate of the schedule.
    fn adam_at(&self, t: u64) -> Adam {
        let config = self.run.config();
        Adam {
            lr: self.adam.lr * config.lr_schedule.factor(t, config.lr_warm_up, self.total),
            ..self.adam
        }
    }

    fn lap(&mut self, clock: &mut Instant) {
        self.progress.seconds += std::mem::replace(clock, Instant::now())
            .elapsed()
            .as_secs_f64();
    }

    fn neural(&self) -> &Model {
        match &self.model {
            Recommender::Neural(model) => model,
            Recommender::Baseline(_) | Recommender::Blend(_) => {
                unreachable!("a trainer is made for neural methods alone")
            }
        }
    }
}
