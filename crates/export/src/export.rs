//! Export of a run: a directory that appears whole or not at all.

use std::path::{Path, PathBuf};

use prl_eval::{CaseSplit, Conventions, Report};
use prl_fs::{FileEntry, StagedDir, read_at_most};
use prl_model::Model;
use prl_runs::{CaseLog, Device, Evaluation, Method, Recommender, Run, RunManifest};
use serde_json::{Value, json};

use crate::card::{self, Card};
use crate::error::{Error, Result};
use crate::onnx;
use crate::preprocessing;
use crate::weights::Weights;

/// Largest file of an evaluation.
const MAX_EVALUATION: u64 = 1 << 26;

/// Files of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The network as ONNX.
    Onnx,
    /// The weights as safetensors.
    Safetensors,
    /// Both, with a model card, in the layout of a model repository.
    Hub,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 3] = [Format::Onnx, Format::Safetensors, Format::Hub];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Onnx => "onnx",
            Format::Safetensors => "safetensors",
            Format::Hub => "hub",
        }
    }
}

/// Metrics of the model card.
#[derive(Clone, Debug, Default)]
pub enum Metrics {
    /// Metrics of the validation that selected the weights, as the run records them.
    #[default]
    Recorded,
    /// Metrics of an evaluation on the test split, which the export makes. The dataset may be in
    /// another directory than the run names.
    Evaluate(Option<PathBuf>),
    /// Metrics in a file, the output of `prl evaluate --json`.
    File(PathBuf),
}

/// Options of an export.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Its files.
    pub format: Format,
    /// The metrics of the model card, which [`Format::Hub`] has.
    pub metrics: Metrics,
}

/// Writes a finished run as a directory and returns its files.
///
/// # Errors
/// [`Error::NoNetwork`] for baselines and blends, [`Error::Unfinished`], [`Error::Occupied`] if the
/// directory exists and is not empty, [`Error::TooLarge`], and errors of reading the run. Nothing
/// is written then.
pub fn export(run: &Run, to: &Path, options: &ExportOptions) -> Result<Vec<FileEntry>> {
    let config = run.config();
    check_has_network(run)?;
    let Some(manifest) = run.manifest()? else {
        return Err(Error::Unfinished {
            path: run.dir().to_owned(),
        });
    };
    check_is_free(to)?;
    let recommender = run.load(&Device::Cpu)?;
    let evaluation = match &options.metrics {
        Metrics::Recorded => None,
        Metrics::Evaluate(data) => Some(evaluate(run, &recommender, data.as_deref())?),
        Metrics::File(path) => Some(read_evaluation(path, run)?),
    };
    let model = network(run, recommender)?;
    let staged = StagedDir::create(to)?;
    let mut files = Vec::new();
    if options.format != Format::Onnx {
        files.push(staged.write_tensors("model.safetensors", model.named_parameters()?)?);
    }
    if options.format != Format::Safetensors {
        let mut weights = Weights::of(&model)?;
        // The copy is enough: a network may be most of what memory holds.
        drop(model);
        let about = [
            ("model", manifest.model.clone()),
            ("dataset", manifest.dataset.clone()),
            ("encoder", config.model.encoder.name().to_owned()),
            ("method", config.method.name().to_owned()),
        ];
        let bytes = onnx::model(config, &mut weights, &about)?;
        files.push(staged.write("model.onnx", &bytes)?);
    }
    let mut items = Vec::with_capacity(run.items().len());
    for index in 0..run.items().len() {
        items.extend(run.items().raw(index as u32));
    }
    files.push(staged.write("items.json", &serde_json::to_vec(&items)?)?);
    let preprocessing = serde_json::to_vec_pretty(&preprocessing::describe(run))?;
    files.push(staged.write("preprocessing.json", &preprocessing)?);
    let settings = serde_json::to_vec_pretty(&settings(run, &manifest)?)?;
    files.push(staged.write("config.json", &settings)?);
    if options.format == Format::Hub {
        let card = Card {
            run,
            manifest: &manifest,
            evaluation: evaluation.as_ref(),
        };
        files.push(staged.write("README.md", card::text(&card)?.as_bytes())?);
    }
    staged.publish()?;
    Ok(files)
}

/// Fails for a run without a network of its own.
fn check_has_network(run: &Run) -> Result<()> {
    let method = run.config().method;
    if method.is_neural() {
        return Ok(());
    }
    Err(Error::NoNetwork {
        path: run.dir().to_owned(),
        method: method.name(),
        hint: match method {
            Method::Blend => ", such as a member of the blend, or serve the blend with `prl serve`",
            _ => ", or serve the baseline with `prl serve`",
        },
    })
}

/// Fails if the directory exists and is not empty.
fn check_is_free(to: &Path) -> Result<()> {
    let occupied = || Error::Occupied {
        path: to.to_owned(),
    };
    if !to.exists() {
        return Ok(());
    }
    let mut entries = std::fs::read_dir(to).map_err(|_| occupied())?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(occupied()),
    }
}

/// The trained network of a run.
fn network(run: &Run, recommender: Recommender) -> Result<Box<Model>> {
    match recommender {
        Recommender::Neural(model) => Ok(model),
        Recommender::Baseline(_) | Recommender::Blend(_) => Err(Error::NoNetwork {
            path: run.dir().to_owned(),
            method: run.config().method.name(),
            hint: "",
        }),
    }
}

/// The report on the test split, as `prl evaluate` has it by default.
fn evaluate(run: &Run, model: &Recommender, data: Option<&Path>) -> Result<Report> {
    let data = run.data(data)?;
    let conventions = Conventions {
        skip_first: run.config().skip_first,
        ..Conventions::default()
    };
    let log = CaseLog::own(run, &data, CaseSplit::Test, conventions)?;
    Ok(Evaluation::new(run, model).run(&log, &mut [])?)
}

/// The report of an evaluation on the run's own dataset.
fn read_evaluation(path: &Path, run: &Run) -> Result<Report> {
    let bytes = read_at_most(path, MAX_EVALUATION)?;
    let mend = "give it the output of `prl evaluate --run .. --json`";
    let report: Report = serde_json::from_slice(&bytes)
        .map_err(|e| Error::input(path, format!("not an evaluation ({e}); {mend}")))?;
    if report.setting.dataset != run.dataset() && report.setting.other_log.is_none() {
        let (found, expected) = (&report.setting.dataset, run.dataset());
        let what = format!("an evaluation on dataset {found}, the run's is {expected}; {mend}");
        return Err(Error::input(path, what));
    }
    Ok(report)
}

/// The settings without paths of the machine that trained the run.
fn settings(run: &Run, manifest: &RunManifest) -> Result<Value> {
    let mut settings = serde_json::to_value(run.config())?;
    if let Some(settings) = settings.as_object_mut() {
        settings.remove("data");
        settings.remove("parent");
    }
    Ok(json!({
        "model_type": "prl",
        "library_name": "prl",
        "version": manifest.machine.version,
        "model": manifest.model,
        "dataset": manifest.dataset,
        "items": run.items().len(),
        "settings": settings,
    }))
}
