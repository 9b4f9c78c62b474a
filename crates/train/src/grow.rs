//! The start of a training from a finished run: its best weights, by raw item id, for the items of
//! a new dataset.
//!
//! What has a row for each item is carried over row by row; anything else as it is. The weights are
//! written to the new run, which no longer needs its parent from then on, so that it resumes
//! exactly even if the parent is replaced.

mod new_items;

use std::path::Path;

use candle_core::{Device, Tensor, Var};
use prl_dataset::{Dataset, ItemMap, Split, SplitExamples};
use prl_model::{AdamParam, Model, NegativeSampler};
use prl_runs::{
    Config, Error, Lineage, OptimizerStart, ParentRun, Progress, Result, Run, RunManifest,
};

use crate::network_schedule::NetworkSchedule;
use new_items::{Mixtures, OldTable};

/// Warns if more than one in so many sessions of a split may have been seen by the parent.
const SEEN_SHARE: usize = 20;

/// Where the items of a new dataset are in an old one.
pub(crate) struct Origins {
    /// Index in the old run of each item; `None` for a new one.
    pub(crate) old: Vec<Option<u32>>,
    /// Items of the old run that are carried over.
    pub(crate) carried: usize,
}

impl Origins {
    pub(crate) fn new(old: &ItemMap, new: &ItemMap) -> Self {
        let (mut origins, mut carried) = (Vec::with_capacity(new.len()), 0);
        for i in 0..new.len() {
            let raw = u32::try_from(i).ok().and_then(|i| new.raw(i));
            let origin = raw.and_then(|raw| old.index(raw));
            carried += usize::from(origin.is_some());
            origins.push(origin);
        }
        Self {
            old: origins,
            carried,
        }
    }
}

/// A finished run that a training starts from, checked against its settings.
pub(crate) struct Growth<'a> {
    config: &'a Config,
    parent: &'a ParentRun,
    data: &'a Dataset,
    old: Run,
    manifest: RunManifest,
    origins: Origins,
}

impl<'a> Growth<'a> {
    /// Opens the parent of a training, if it has one. Writes nothing.
    ///
    /// # Errors
    /// A parent that is not a finished run of these settings, has other weights than when its model
    /// was named, lacks the moments that are to be carried, or has no item in common with the
    /// dataset.
    pub(crate) fn open(config: &'a Config, data: &'a Dataset) -> Result<Option<Self>> {
        let Some(parent) = &config.parent else {
            return Ok(None);
        };
        let old = Run::open(&parent.run)?;
        config.check_grows_from(old.config())?;
        let Some(manifest) = old.manifest()? else {
            return Err(Error::run(
                &parent.run,
                "is not finished; go on with --resume there, or start from another run",
            ));
        };
        let named = old.model_name()?;
        if named != parent.model {
            return Err(Error::run(
                &parent.run,
                format!(
                    "is model {named} now, the training was to start from {}; give --from again, \
                     with another --out",
                    parent.model
                ),
            ));
        }
        if parent.optimizer == OptimizerStart::Carry && !old.checkpoint().exists() {
            return Err(Error::run(
                old.checkpoint().dir(),
                "no checkpoint with Adam's moments here; use --optimizer fresh",
            ));
        }
        let origins = Origins::new(old.items(), data.items());
        if origins.carried == 0 {
            return Err(Error::Config(format!(
                "parent: no item of {} is in {}; name a log of the same shop, or train from nothing \
                 without --from",
                data.dir().display(),
                parent.run.display()
            )));
        }
        Ok(Some(Self {
            config,
            parent,
            data,
            old,
            manifest,
            origins,
        }))
    }

    /// Writes the weights that the run in `dir` starts from, and what they come from.
    pub(crate) fn write(self, dir: &Path) -> Result<()> {
        let Self {
            config,
            parent,
            data,
            old,
            manifest,
            origins,
        } = &self;
        let (old_model, optimizer_steps) = load_parent(config, parent, old)?;
        let items = data.items().len();
        let examples = config.examples(data, Split::Train);
        let mixtures = Mixtures::new(parent.new_items, origins, &examples, config.model.window);
        let new_model = with_lazy_tables(config, config.fresh_model(items, &Device::Cpu)?)?;
        carry(&old_model, &new_model, origins, &mixtures)?;
        let is_carried = parent.optimizer == OptimizerStart::Carry;
        if is_carried {
            rest_new_rows(&new_model, origins, optimizer_steps[0]);
        }
        Run::initial_in(dir).save(&new_model, &Progress::default(), is_carried)?;
        let trained_until = self.trained_until();
        let earlier = old.lineage()?;
        let lineage = Lineage {
            parent: (*parent).clone(),
            dataset: old.dataset().to_owned(),
            synthetic: manifest.synthetic,
            trained_until,
            generation: earlier.map_or(0, |lineage| lineage.generation) + 1,
            optimizer_steps,
            carried: origins.carried,
            added: items - origins.carried,
            added_by_neighbours: mixtures.len(),
            dropped: old.items().len() - origins.carried,
        };
        tracing::info!(
            carried = lineage.carried,
            added = lineage.added,
            by_neighbours = lineage.added_by_neighbours,
            dropped = lineage.dropped,
            "items of the parent"
        );
        if let Some(until) = trained_until {
            for split in [Split::Val, Split::Test] {
                warn_of_seen_sessions(&config.examples(data, split), split, until);
            }
        }
        Run::write_lineage(dir, &lineage)
    }

    /// Time of the last event that the parent was trained on.
    fn trained_until(&self) -> Option<i64> {
        if self.manifest.trained_until.is_some() {
            return self.manifest.trained_until;
        }
        // A run of an older version: its dataset has the time, unless it is gone.
        let Ok(data) = self.old.data(None) else {
            return None;
        };
        self.old.config().trained_until(&data)
    }
}

/// Warns if a parent that was trained on events up to `until` may have seen sessions of a split.
fn warn_of_seen_sessions(examples: &SplitExamples<'_>, split: Split, until: i64) {
    let times = examples.dataset().times();
    let mut seen = 0;
    for (_, targets) in examples.targets() {
        seen += usize::from(times[targets.start] <= until);
    }
    let sessions = examples.sessions();
    if seen * SEEN_SHARE > sessions {
        tracing::warn!(
            "{seen} of {sessions} sessions of the {} split begin before the last event that the \
             parent was trained on, which may have seen them: metrics on this split are too high; \
             split by date (prl prepare --split-at), or hold out the latest sessions (--hold-out \
             with --hold-out-by time)",
            split.name()
        );
    }
}

/// The parent's model with its best weights and, if they are carried, the moments of its last step
/// and the updates of each network that they are sums over.
fn load_parent(config: &Config, parent: &ParentRun, old: &Run) -> Result<(Model, [u64; 2])> {
    let model = with_lazy_tables(config, old.fresh_model(&Device::Cpu)?)?;
    let mut updates = [0; 2];
    if parent.optimizer == OptimizerStart::Carry {
        let progress = old.checkpoint().load(&model)?;
        let (seed, is_double) = (old.config().seed, old.config().method.is_double());
        let earlier = old.lineage()?.map_or([0; 2], |l| l.optimizer_steps);
        updates = NetworkSchedule::after(progress.step, seed, is_double)
            .with_earlier_updates(earlier)
            .updates();
    }
    old.best().load(&model)?;
    Ok((model, updates))
}

/// The model, with lazy Adam for the tables of the items if the settings train with negatives.
fn with_lazy_tables(config: &Config, model: Model) -> Result<Model> {
    let Some(options) = config.negative_options() else {
        return Ok(model);
    };
    // Nothing is drawn here: any counts do.
    let items = model.item_tables().next().map_or(0, rows) - 1;
    let counts = vec![1; items];
    let sampler = NegativeSampler::new(options, &counts, config.seed)?;
    Ok(model.with_negatives(sampler)?)
}

fn rows(param: &AdamParam) -> usize {
    param.param.dims().first().copied().unwrap_or(0)
}

/// Sets weights and moments of the new model from the old one's.
fn carry(old: &Model, new: &Model, origins: &Origins, mixtures: &Mixtures) -> Result<()> {
    let tables: Vec<&AdamParam> = new.item_tables().collect();
    for ((_, from), (_, to)) in old.adam_params().zip(new.adam_params()) {
        if !tables.iter().any(|table| std::ptr::eq(*table, to)) {
            for (from, to) in parts(from).into_iter().zip(parts(to)) {
                to.set(from)?;
            }
            continue;
        }
        let touches = from.last_touches().map(|touches| touches.clone());
        if let (Some(old), Some(mut new)) = (touches, to.last_touches()) {
            for (touch, origin) in new.iter_mut().zip(&origins.old) {
                *touch = origin.map_or(0, |o| old[o as usize]);
            }
        }
        let [weights, moments @ ..] = parts(from);
        let [new_weights, new_moments @ ..] = parts(to);
        new_weights.set(&carried_rows(
            weights,
            new_weights,
            origins,
            Some(mixtures),
        )?)?;
        for (from, to) in moments.into_iter().zip(new_moments) {
            to.set(&carried_rows(from, to, origins, None)?)?;
        }
    }
    Ok(())
}

/// Lets lazy Adam skip no step of a row that has no moments: new items were touched last, so to
/// speak, when the parent ended.
fn rest_new_rows(model: &Model, origins: &Origins, step: u64) {
    let step = u32::try_from(step).unwrap_or(u32::MAX);
    for table in model.item_tables() {
        if let Some(mut touches) = table.last_touches() {
            for (touch, origin) in touches.iter_mut().zip(&origins.old) {
                if origin.is_none() {
                    *touch = step;
                }
            }
        }
    }
}

fn parts(param: &AdamParam) -> [&Var; 3] {
    [&param.param, &param.first, &param.second]
}

/// A table of the new model: the old rows of the items that it carries over, `mixtures` of them for
/// new items, and without mixtures, or where they are random, the new model's own values.
fn carried_rows(
    old: &Var,
    new: &Var,
    origins: &Origins,
    mixtures: Option<&Mixtures>,
) -> Result<Tensor> {
    let (from, mut to) = (values(old)?, values(new)?);
    let width = to.len() / new.dim(0)?;
    let table = OldTable::new(&from, width, origins);
    // The pad's row of the item embedding.
    if new.dim(0)? > origins.old.len() {
        let pad = &from[from.len() - width..];
        to[origins.old.len() * width..].copy_from_slice(pad);
    }
    for (i, origin) in origins.old.iter().enumerate() {
        let row = &mut to[i * width..(i + 1) * width];
        match (origin, mixtures) {
            (Some(origin), _) => row.copy_from_slice(table.row(*origin)),
            (None, Some(mixtures)) => mixtures.fill(i, &table, row),
            (None, None) => {}
        }
    }
    Ok(Tensor::from_vec(to, new.shape(), &Device::Cpu)?)
}

fn values(var: &Var) -> Result<Vec<f32>> {
    Ok(var.flatten_all()?.to_vec1()?)
}
