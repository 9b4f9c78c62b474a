//! A run directory: settings, items, metrics and weights of one training.
//!
//! `config.toml`, `items.safetensors`, `properties.safetensors` if the dataset has properties of
//! items, `purchase_counts.safetensors`, `bought_together.safetensors` if sessions bought several
//! items, and `returns.json` are written at the start, `metrics.jsonl` grows, `checkpoint/` is the
//! state to resume from, `best/` the weights of the best validation (the last ones in a run without
//! validation), and `manifest.json` is written last: a run with a manifest is complete. `prl
//! forecast` adds `forecast/`. A run that starts from another one's weights also has `parent.json`
//! and, until it is complete, `initial/`.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use prl_core::{PromptPosition, PromptSpec, Prompts, PurchaseRates, StepReturns};
use prl_dataset::{BoughtTogether, Dataset, Discount, ItemMap, PurchaseCounts, ReturnTable, Split};
use prl_fs::{FileEntry, finish_interrupted_rename, read_at_most, remove_temp_files, write_atomic};
use prl_items::{ItemTable, MAX_ITEMS_FILE};
use prl_model::{Model, ModelSpec};

use crate::baseline::load_baseline;
use crate::blend::Blend;
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::forecast::Forecaster;
use crate::format::{
    BOUGHT_TOGETHER, CONFIG, ITEMS, MANIFEST, MAX_JSON, MAX_TEXT, PARENT, PROPERTIES,
    PURCHASE_COUNTS,
};
use crate::lineage::Lineage;
use crate::method::Method;
use crate::recommender::Recommender;
use crate::return_stats::Returns;

/// Absence of what a target return of the state needs, and its mend.
pub(crate) const NO_FORECAST: &str = "no forecast of returns; fit one with `prl forecast --run ..`";

const BEST: &str = "best";
const CHECKPOINT: &str = "checkpoint";
const INITIAL: &str = "initial";
const METRICS: &str = "metrics.jsonl";

/// A run directory.
pub struct Run {
    dir: PathBuf,
    config: Config,
    items: ItemMap,
    returns: ReturnTable,
    dataset: String,
}

impl Run {
    /// Completes or removes what a killed process left in `dir`. The caller must hold its lock.
    pub fn recover_run_dir(dir: &Path) -> Result<()> {
        for checkpoint in [BEST, CHECKPOINT, INITIAL] {
            finish_interrupted_rename(&dir.join(checkpoint))?;
        }
        let swept = remove_temp_files(dir)?;
        if swept > 0 {
            tracing::info!(swept, "removed what a killed process left unfinished");
        }
        Ok(())
    }

    /// Creates a run in the existing directory `dir`, which must not contain one. The settings are
    /// written last.
    pub fn create(dir: &Path, config: &Config, data: &Dataset) -> Result<Self> {
        config.check()?;
        Self::check_is_free(dir)?;
        let mut mean_over = Vec::new();
        for &split in config.mean_over.splits() {
            mean_over.push(config.examples(data, split));
        }
        let table = ReturnTable::new(&mean_over, config.rewards, config.lambda, config.discount);
        let (items, settings) = (data.items().to_bytes()?, config.to_toml()?);
        let counts = PurchaseCounts::of(&config.examples(data, Split::Train)).to_bytes()?;
        let mut files = vec![
            FileEntry::new(ITEMS, &items),
            FileEntry::new(CONFIG, settings.as_bytes()),
            FileEntry::new(PURCHASE_COUNTS, &counts),
        ];
        let together = BoughtTogether::of(&config.examples(data, Split::Train));
        if !together.is_empty() {
            let together = together.to_bytes()?;
            files.push(FileEntry::new(BOUGHT_TOGETHER, &together));
            write_atomic(&dir.join(BOUGHT_TOGETHER), &together)?;
        }
        if let Some(properties) = data.properties()? {
            files.push(FileEntry::new(PROPERTIES, &properties));
            write_atomic(&dir.join(PROPERTIES), &properties)?;
        }
        write_atomic(&dir.join(ITEMS), &items)?;
        write_atomic(&dir.join(PURCHASE_COUNTS), &counts)?;
        Returns::write(dir, data.manifest().dataset.clone(), table, files)?;
        write_atomic(&dir.join(CONFIG), settings.as_bytes())?;
        Self::open(dir)
    }

    /// Whether `dir` contains a run, finished or not.
    pub fn is_in(dir: &Path) -> bool {
        dir.join(CONFIG).exists()
    }

    /// Fails if a run cannot be created in `dir`: if it contains one, or a directory's manifest
    /// that the run's would replace.
    pub fn check_is_free(dir: &Path) -> Result<()> {
        let what = if Self::is_in(dir) {
            "already holds a run; go on with --resume, or name another --out"
        } else if dir.join(MANIFEST).exists() {
            "holds a manifest.json of something that is not a run; name another --out"
        } else {
            return Ok(());
        };
        Err(Error::run(dir, what))
    }

    /// Opens the run in `dir`, finished or not.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(CONFIG);
        if !path.exists() {
            return Err(Error::run(
                dir,
                "no run here (config.toml is missing); name the directory that `prl train --out` wrote",
            ));
        }
        let text = String::from_utf8(read_at_most(&path, MAX_TEXT)?)
            .map_err(|e| Error::run(&path, e.to_string()))?;
        let config: Config = toml::from_str(&text).map_err(|e| Error::run(&path, e.to_string()))?;
        config
            .check()
            .map_err(|e| Error::run(&path, e.to_string()))?;
        let Returns { dataset, table, .. } = Returns::read(dir)?;
        let items = ItemMap::load(&dir.join(ITEMS))?;
        Ok(Self {
            dir: dir.to_owned(),
            config,
            items,
            returns: table,
            dataset,
        })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Raw item ids.
    pub fn items(&self) -> &ItemMap {
        &self.items
    }

    /// The returns of the training sessions by time step.
    pub fn returns(&self) -> &ReturnTable {
        &self.returns
    }

    /// Hash of the dataset it is trained on.
    pub fn dataset(&self) -> &str {
        &self.dataset
    }

    /// Opens the dataset that the run was trained on, at its recorded path or `elsewhere`.
    pub fn data(&self, elsewhere: Option<&Path>) -> Result<Dataset> {
        let path = elsewhere.unwrap_or(&self.config.data);
        let data = Dataset::open(path).map_err(|e| Error::of_dataset(e, Some(&self.dataset)))?;
        if data.manifest().dataset != self.dataset {
            let found = data.manifest().dataset.clone();
            return Err(Error::OtherDataset {
                path: path.to_owned(),
                found,
                expected: self.dataset.clone(),
            });
        }
        Ok(data)
    }

    /// The forecast that a prompt needs; `None` if it needs none.
    ///
    /// # Errors
    /// If the prompt needs one and the run has none, or it is damaged.
    pub fn forecaster_for(&self, ask: PromptSpec) -> Result<Option<Forecaster>> {
        if !ask.target.needs_forecast() {
            return Ok(None);
        }
        match self.forecaster()? {
            Some(forecaster) => Ok(Some(forecaster)),
            None => Err(Error::Run {
                path: self.dir.clone(),
                what: NO_FORECAST.into(),
            }),
        }
    }

    /// The prompts at some positions.
    pub fn prompts(&self, ask: PromptSpec, moments: &[PromptPosition]) -> Prompts {
        let scale = self.config.model.prompt_scale;
        let mut returns = Vec::with_capacity(moments.len());
        let mut steps = Vec::with_capacity(moments.len());
        for &at in moments {
            returns.push(ask.prompt(scale, &Table(&self.returns), at, self.config.seed));
            steps.push(at.step);
        }
        Prompts {
            returns,
            steps,
            tilt: ask.tilt,
        }
    }

    /// Discount of time step `t` relative to the session's start: converts returns from `t` on to
    /// returns from the start.
    pub fn decay(&self, t: u32) -> f64 {
        match self.config.discount {
            Discount::Relative if self.config.lambda > 0.0 => self.config.lambda.powi(t as i32),
            _ => 1.0,
        }
    }

    /// The prompt of validation, from the settings.
    pub fn ask(&self) -> PromptSpec {
        self.config.goal().into()
    }

    /// An untrained model with the run's settings.
    pub fn fresh_model(&self, device: &Device) -> Result<Model> {
        self.config.fresh_model(self.items.len(), device)
    }

    /// Properties of the items; a table without columns if the dataset had none.
    ///
    /// # Errors
    /// If the table is damaged.
    pub fn item_table(&self) -> Result<ItemTable> {
        let (path, items) = (self.dir.join(PROPERTIES), self.items.len());
        if !path.exists() {
            return Ok(ItemTable::empty(u32::try_from(items).unwrap_or(u32::MAX)));
        }
        let damaged = |what: String| Error::run(&path, format!("{what}; train the run again"));
        let content = read_at_most(&path, MAX_ITEMS_FILE)?;
        let table = ItemTable::from_bytes(&content).map_err(|e| damaged(e.to_string()))?;
        if table.catalogue() != items {
            let found = table.catalogue();
            return Err(damaged(format!(
                "properties of {found} items for a catalogue of {items}"
            )));
        }
        Ok(table)
    }

    /// Items that were bought in the same training sessions; `None` if no session bought two, and
    /// for a run of an older version.
    ///
    /// # Errors
    /// If the counts are damaged.
    pub fn bought_together(&self) -> Result<Option<BoughtTogether>> {
        let path = self.dir.join(BOUGHT_TOGETHER);
        if !path.exists() {
            return Ok(None);
        }
        let counts = BoughtTogether::load(&path, self.items.len());
        let damaged = |e| Error::run(&path, format!("{e}; train the run again"));
        Ok(Some(counts.map_err(damaged)?))
    }

    /// Events and purchases of the items in training; `None` for a run of an older version.
    pub fn purchase_counts(&self) -> Result<Option<PurchaseCounts>> {
        let path = self.dir.join(PURCHASE_COUNTS);
        if !path.exists() {
            return Ok(None);
        }
        let items = self.items.len();
        let counts = PurchaseCounts::load(&path, items);
        let damaged = |_| {
            let what = format!("not the purchase counts of {items} items; train the run again");
            Error::run(&path, what)
        };
        Ok(Some(counts.map_err(damaged)?))
    }

    /// The purchase rates of the items in training; `None` for a run of an older version, and on a
    /// log without purchases.
    pub fn purchase_rates(&self) -> Result<Option<PurchaseRates>> {
        let counts = self.purchase_counts()?;
        Ok(counts.and_then(|counts| PurchaseRates::new(&counts.events, &counts.purchases)))
    }

    /// The trained recommender, of the best weights, or the blend.
    pub fn load(&self, device: &Device) -> Result<Recommender> {
        let values = || -> Result<Option<Vec<f32>>> {
            let rates = self.purchase_rates()?;
            Ok(rates.map(|rates| rates.values()))
        };
        if self.config.method == Method::Blend {
            let mut blend = Blend::load(self, device)?;
            blend.item_values = values()?;
            return Ok(Recommender::Blend(Box::new(blend)));
        }
        if !self.config.method.is_neural() {
            return Ok(Recommender::Baseline(load_baseline(
                self.config.method,
                &self.best(),
            )?));
        }
        let mut model = self.fresh_model(device)?;
        self.best().load(&model)?;
        if let Some(values) = values()? {
            model.set_item_values(&values)?;
        }
        Ok(Recommender::Neural(Box::new(model)))
    }

    /// The model's name: the first 12 digits of its weights' SHA-256.
    pub fn model_name(&self) -> Result<String> {
        Ok(self.best().hash()?[..12].to_owned())
    }

    /// The weights of the best validation, or the last ones of a run without validation.
    pub fn best(&self) -> Checkpoint {
        Checkpoint::at(self.dir.join(BEST))
    }

    /// The weights that a training from another run's starts from.
    pub fn initial(&self) -> Checkpoint {
        Self::initial_in(&self.dir)
    }

    /// Those of a run that is being created in `dir`.
    pub fn initial_in(dir: &Path) -> Checkpoint {
        Checkpoint::at(dir.join(INITIAL))
    }

    /// Passes over the training examples at the last validation.
    pub fn passes(&self) -> Result<f64> {
        let path = self.dir.join(METRICS);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let Some(last) = text.lines().last() else {
            let what = "empty, as in a run of imported weights; start from a run of `prl train`";
            return Err(Error::run(&path, what));
        };
        let damaged = || Error::run(&path, "its last line has no epoch; train the run again");
        let line: serde_json::Value = serde_json::from_str(last).map_err(|_| damaged())?;
        line["epoch"].as_f64().ok_or_else(damaged)
    }

    /// What the run took over from its parent; `None` for a run that started from nothing.
    pub fn lineage(&self) -> Result<Option<Lineage>> {
        if self.config.parent.is_none() {
            return Ok(None);
        }
        let path = self.dir.join(PARENT);
        let damaged = |e: serde_json::Error| Error::run(&path, format!("{e}; train the run again"));
        let json = read_at_most(&path, MAX_JSON)?;
        Ok(Some(serde_json::from_slice(&json).map_err(damaged)?))
    }

    /// Writes what a run that is being created in `dir` takes over from its parent.
    pub fn write_lineage(dir: &Path, lineage: &Lineage) -> Result<()> {
        let json =
            serde_json::to_vec_pretty(lineage).map_err(|e| Error::run(dir, e.to_string()))?;
        Ok(write_atomic(&dir.join(PARENT), &json)?)
    }

    /// The state that a resumed training starts from.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint::at(self.dir.join(CHECKPOINT))
    }
}

impl Config {
    /// An untrained model of `items` items with these settings.
    pub fn fresh_model(&self, items: usize, device: &Device) -> Result<Model> {
        let Self {
            model,
            seed,
            method,
            ..
        } = self;
        let plan = ModelSpec {
            dim: model.dim,
            items,
            block: self.block(),
            is_double: method.is_double(),
            seed: *seed,
            dtype: DType::F32,
            options: model.network_options(),
        };
        Ok(Model::new(model, &plan, device)?)
    }
}

/// The table of returns as the prompt's statistics.
struct Table<'a>(&'a ReturnTable);

impl StepReturns for Table<'_> {
    fn mean(&self, t: u32) -> f64 {
        self.0.mean_at(t)
    }

    fn max(&self, t: u32) -> f64 {
        self.0.max_at(t)
    }

    fn quantile(&self, t: u32, q: f64) -> f64 {
        self.0.quantile_at(t, q)
    }
}
