//! `manifest.json` of a complete run. Written last.

use candle_core::Device;
use prl_dataset::Dataset;
use prl_fs::{read_at_most, write_atomic};
use serde::{Deserialize, Serialize};

use crate::blend::BlendManifest;
use crate::checkpoint::Progress;
use crate::error::{Error, Result};
use crate::format::{MANIFEST, MAX_JSON, check_format};
use crate::lineage::Lineage;
use crate::method::Method;
use crate::run_dir::Run;
use crate::validation::Validation;

const FORMAT: &str = "prl-run";
const VERSION: u32 = 1;

/// `manifest.json` of a finished run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunManifest {
    /// Always `prl-run`.
    pub format: String,
    /// The version of the format.
    pub format_version: u32,
    /// The model's name: the first 12 digits of its weights' SHA-256.
    pub model: String,
    /// Hash of the dataset it was trained on.
    pub dataset: String,
    /// Whether the dataset is synthetic.
    pub synthetic: bool,
    /// The encoder, if there is one.
    pub encoder: Option<String>,
    /// The method.
    pub method: Method,
    /// The seed.
    pub seed: u64,
    /// Steps taken.
    pub steps: u64,
    /// The step of the weights: that of the best validation, or the last one without validation.
    pub best_step: u64,
    /// Validation that selected the weights.
    #[serde(default, skip_serializing_if = "Validation::is_split")]
    pub validation: Validation,
    /// Seconds of training, validations included.
    pub seconds: f64,
    /// Machine of the training.
    pub machine: Machine,
    /// Time of the last event that it was trained on, in milliseconds since 1970, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_until: Option<i64>,
    /// Members and weights of a blend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blend: Option<BlendManifest>,
    /// The run that the training started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Lineage>,
    /// The file whose weights the run has, if another program trained them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<ImportedWeights>,
}

/// File of weights that another program trained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedWeights {
    /// Its name, without its directory.
    pub file: String,
    /// SHA-256 of its contents.
    pub sha256: String,
}

/// Hardware and software of a training.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Model name of the processor.
    pub processor: String,
    /// Threads used.
    pub threads: usize,
    /// `cpu` or `cuda`.
    pub device: String,
    /// Operating system and architecture.
    pub system: String,
    /// Version of this program.
    pub version: String,
}

impl Machine {
    fn here(device: &Device) -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo
            .lines()
            .find_map(|l| l.strip_prefix("model name")?.split_once(':'));
        Self {
            processor: model.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            threads: rayon::current_num_threads(),
            device: prl_model::describe_device(device).to_owned(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

impl Run {
    /// The manifest, if the run is finished.
    pub fn manifest(&self) -> Result<Option<RunManifest>> {
        let path = self.dir().join(MANIFEST);
        if !path.exists() {
            return Ok(None);
        }
        let damaged = |e: serde_json::Error| Error::run(&path, format!("{e}; train the run again"));
        let value = serde_json::from_slice(&read_at_most(&path, MAX_JSON)?).map_err(damaged)?;
        check_format(&path, &value, FORMAT, VERSION)?;
        Ok(Some(serde_json::from_value(value).map_err(damaged)?))
    }

    /// Writes the manifest, which completes the run.
    pub fn finish(
        &self,
        weights: &str,
        data: &Dataset,
        progress: &Progress,
        device: &Device,
    ) -> Result<RunManifest> {
        let neural = self.config().method.is_neural();
        let parent = self.lineage()?;
        let is_parent_synthetic = parent.as_ref().is_some_and(|parent| parent.synthetic);
        let validation = Validation::of(self.config(), data);
        let best_step = match (validation, progress.best) {
            (Validation::None, _) => progress.step,
            (_, best) => best.map_or(0, |(step, _)| step),
        };
        let manifest = RunManifest {
            format: FORMAT.into(),
            format_version: VERSION,
            model: weights[..12].to_owned(),
            dataset: self.dataset().to_owned(),
            synthetic: data.manifest().input.source.synthetic || is_parent_synthetic,
            encoder: neural.then(|| self.config().model.encoder.name().to_owned()),
            method: self.config().method,
            seed: self.config().seed,
            steps: progress.step,
            best_step,
            validation,
            seconds: progress.seconds,
            machine: Machine::here(device),
            trained_until: self.config().trained_until(data),
            blend: None,
            parent,
            imported: None,
        };
        self.write_manifest(manifest)
    }

    /// Writes the manifest of a blend.
    pub(crate) fn finish_blend(
        &self,
        weights: &str,
        data: &Dataset,
        seconds: f64,
        device: &Device,
        blend: BlendManifest,
    ) -> Result<RunManifest> {
        self.write_manifest(RunManifest {
            format: FORMAT.into(),
            format_version: VERSION,
            model: weights[..12].to_owned(),
            dataset: self.dataset().to_owned(),
            synthetic: data.manifest().input.source.synthetic,
            encoder: None,
            method: self.config().method,
            seed: self.config().seed,
            steps: 0,
            best_step: 0,
            validation: Validation::of(self.config(), data),
            seconds,
            machine: Machine::here(device),
            trained_until: None,
            blend: Some(blend),
            parent: None,
            imported: None,
        })
    }

    /// Writes the manifest of a run whose weights another program trained: no validation selected
    /// them.
    pub fn finish_imported(
        &self,
        weights: &str,
        data: &Dataset,
        device: &Device,
        imported: ImportedWeights,
    ) -> Result<RunManifest> {
        self.write_manifest(RunManifest {
            format: FORMAT.into(),
            format_version: VERSION,
            model: weights[..12].to_owned(),
            dataset: self.dataset().to_owned(),
            synthetic: data.manifest().input.source.synthetic,
            encoder: Some(self.config().model.encoder.name().to_owned()),
            method: self.config().method,
            seed: self.config().seed,
            steps: 0,
            best_step: 0,
            validation: Validation::None,
            seconds: 0.0,
            machine: Machine::here(device),
            trained_until: self.config().trained_until(data),
            blend: None,
            parent: None,
            imported: Some(imported),
        })
    }

    fn write_manifest(&self, manifest: RunManifest) -> Result<RunManifest> {
        let json = serde_json::to_vec_pretty(&manifest)
            .map_err(|e| Error::run(self.dir(), e.to_string()))?;
        write_atomic(&self.dir().join(MANIFEST), &json)?;
        Ok(manifest)
    }
}
