//! Checkpoints: weights, Adam's moments and the progress of a training.
//!
//! Randomness needs no state, since it is a function of the seed and the training step. A
//! checkpoint is a directory that is written under a temporary name, its manifest with the
//! checksums last, synced, and renamed into place. Values that are not finite are never saved, so
//! that the last good checkpoint survives a divergence.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor, Var};
use prl_fs::{FileEntry, StagedDir, sha256_hex};
use prl_model::{AdamParam, Model, is_finite};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::format::{MANIFEST, MAX_JSON, check_format};

const FORMAT: &str = "prl-checkpoint";
/// Version 2 has one tensor for each parameter, under candle's names and in candle's layouts.
/// Version 1 has the packed tensors of the kernels; it is still read, moments included.
const VERSION: u32 = 2;
const WEIGHTS: &str = "weights.safetensors";
const MOMENTS: &str = "moments.safetensors";
/// Prefix of the steps of the last touches, of tables that lazy Adam updates.
const LAST: &str = "last.";

/// Progress of a training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Training steps taken.
    pub step: u64,
    /// Seconds trained, over all starts.
    pub seconds: f64,
    /// The best validation so far: its step and its score.
    pub best: Option<(u64, f64)>,
    /// Validations since the best one.
    pub stale: u64,
    /// Sum of the losses since the last validation.
    pub loss_sum: f64,
    /// Steps since the last validation.
    pub loss_steps: u64,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    format: String,
    format_version: u32,
    progress: Progress,
    files: Vec<FileEntry>,
}

/// The files of a checkpoint, by name, and the version of their format.
struct Saved {
    version: u64,
    files: BTreeMap<String, Vec<u8>>,
}

/// One of the three variables of a parameter.
#[derive(Clone, Copy)]
enum Part {
    Param,
    First,
    Second,
}

impl Part {
    fn of(self, param: &AdamParam) -> &Var {
        match self {
            Self::Param => &param.param,
            Self::First => &param.first,
            Self::Second => &param.second,
        }
    }
}

/// A checkpoint's directory.
pub struct Checkpoint {
    dir: PathBuf,
}

impl Checkpoint {
    /// The checkpoint in a directory, which may not exist yet.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the directory contains a checkpoint.
    pub fn exists(&self) -> bool {
        self.dir.join(MANIFEST).exists()
    }

    /// Saves the weights, and the moments if training may resume from here; returns the hash of the
    /// weights.
    ///
    /// # Errors
    /// Divergence if a value is not finite: the previous checkpoint stays.
    pub fn save(&self, model: &Model, progress: &Progress, with_moments: bool) -> Result<String> {
        model.check(progress.step)?;
        let mut tensors = vec![(WEIGHTS, named(model, "", Part::Param)?)];
        if with_moments {
            let mut moments = named(model, "first.", Part::First)?;
            moments.extend(named(model, "second.", Part::Second)?);
            moments.extend(last_touches(model)?);
            tensors.push((MOMENTS, moments));
        }
        self.write(tensors, progress)
    }

    /// Saves the arrays of a baseline as the weights; returns their hash.
    pub fn save_arrays(&self, arrays: HashMap<String, Tensor>) -> Result<String> {
        self.write(vec![(WEIGHTS, arrays)], &Progress::default())
    }

    fn write(
        &self,
        tensors: Vec<(&str, HashMap<String, Tensor>)>,
        progress: &Progress,
    ) -> Result<String> {
        let staged = StagedDir::create(&self.dir)?;
        let mut files = Vec::with_capacity(tensors.len());
        for (name, tensors) in tensors {
            files.push(staged.write_tensors(name, tensors)?);
        }
        let weights = files[0].sha256.clone();
        let manifest = Manifest {
            format: FORMAT.into(),
            format_version: VERSION,
            progress: progress.clone(),
            files,
        };
        let json = serde_json::to_vec_pretty(&manifest)
            .map_err(|e| Error::run(&self.dir, e.to_string()))?;
        staged.write(MANIFEST, &json)?;
        staged.publish()?;
        Ok(weights)
    }

    /// Reads the manifest and every file, and verifies the checksums. If a training replaces the
    /// checkpoint meanwhile, the newer one is read.
    fn read(&self) -> Result<(Manifest, Saved)> {
        let mut json = self.manifest()?;
        loop {
            match self.read_files(&json) {
                Err(error) => {
                    let now = self.manifest()?;
                    if now == json {
                        return Err(error);
                    }
                    json = now;
                }
                read => return read,
            }
        }
    }

    fn manifest(&self) -> Result<Vec<u8>> {
        if !self.exists() {
            return Err(Error::run(
                &self.dir,
                "no checkpoint here; train the run first",
            ));
        }
        Ok(prl_fs::read_at_most(&self.dir.join(MANIFEST), MAX_JSON)?)
    }

    fn read_files(&self, json: &[u8]) -> Result<(Manifest, Saved)> {
        let path = self.dir.join(MANIFEST);
        let value: serde_json::Value = serde_json::from_slice(json)
            .map_err(|e| Error::run(&path, format!("not valid JSON ({e}); train the run again")))?;
        let version = match value["format_version"].as_u64() {
            Some(1) => 1,
            _ => VERSION,
        };
        check_format(&path, &value, FORMAT, version)?;
        let manifest: Manifest = serde_json::from_value(value)
            .map_err(|e| Error::run(&path, format!("{e}; train the run again")))?;
        let mut files = BTreeMap::new();
        for entry in &manifest.files {
            if ![WEIGHTS, MOMENTS].contains(&entry.name.as_str()) {
                continue;
            }
            let path = self.dir.join(&entry.name);
            // A file of another length is not read, since its size has no bound.
            let length = std::fs::metadata(&path).map_err(Error::io(&path))?.len();
            let bytes = if length == entry.bytes {
                std::fs::read(&path).map_err(Error::io(&path))?
            } else {
                Vec::new()
            };
            if length != entry.bytes || sha256_hex(&bytes) != entry.sha256 {
                return Err(Error::run(
                    &path,
                    "the file is not the one that was saved (checksum); train the run again",
                ));
            }
            files.insert(entry.name.clone(), bytes);
        }
        let version = u64::from(version);
        Ok((manifest, Saved { version, files }))
    }

    /// Loads the weights into a model of the same shape, and the moments if they were saved.
    pub fn load(&self, model: &Model) -> Result<Progress> {
        let (manifest, saved) = self.read()?;
        self.fill(model, &saved, (WEIGHTS, ""), Part::Param)?;
        if saved.files.contains_key(MOMENTS) {
            self.fill(model, &saved, (MOMENTS, "first."), Part::First)?;
            self.fill(model, &saved, (MOMENTS, "second."), Part::Second)?;
            self.fill_last_touches(model, &saved)?;
        }
        model.weights_changed();
        Ok(manifest.progress)
    }

    /// SHA-256 of the weights.
    pub fn hash(&self) -> Result<String> {
        let (manifest, _) = self.read()?;
        for file in manifest.files {
            if file.name == WEIGHTS {
                return Ok(file.sha256);
            }
        }
        Err(Error::run(
            &self.dir,
            "holds no weights; train the run again",
        ))
    }

    /// Loads the arrays of a baseline.
    pub fn load_arrays(&self) -> Result<HashMap<String, Tensor>> {
        let (_, saved) = self.read()?;
        self.tensors(&saved.files, WEIGHTS, &Device::Cpu)
    }

    fn tensors(
        &self,
        files: &BTreeMap<String, Vec<u8>>,
        name: &str,
        device: &Device,
    ) -> Result<HashMap<String, Tensor>> {
        match files.get(name) {
            Some(bytes) => candle_core::safetensors::load_buffer(bytes, device)
                .map_err(|e| self.unread(name, &e)),
            None => Err(Error::run(
                &self.dir,
                format!("{name} is missing; train the run again"),
            )),
        }
    }

    /// The error for a file with the right checksum that is not a safetensors file.
    fn unread(&self, file: &str, why: &candle_core::Error) -> Error {
        let why = why.to_string();
        let first = why.lines().next().unwrap_or_default();
        Error::run(
            &self.dir.join(file),
            format!("could not be read ({first}); train the run again"),
        )
    }

    /// Sets one variable of every parameter from a file; `kind` is the prefix of the file's names.
    fn fill(
        &self,
        model: &Model,
        saved: &Saved,
        (file, kind): (&str, &str),
        part: Part,
    ) -> Result<()> {
        let tensors = self.tensors(&saved.files, file, model.device())?;
        for (network, param) in model.adam_params() {
            let (packing, var) = (&param.packing, part.of(param));
            let prefix = format!("{kind}{network}");
            let packed = if saved.version == 1 {
                let name = format!("{prefix}{}", packing.format1_name());
                self.find(&tensors, file, &name, var.dims())?
            } else {
                let mut named = Vec::new();
                for (name, shape) in packing.names().zip(packing.shapes()) {
                    named.push(self.find(&tensors, file, &format!("{prefix}{name}"), &shape)?);
                }
                packing.pack(&named)?
            };
            let packed = packed.to_dtype(var.dtype());
            var.set(&packed.map_err(|e| self.unread(file, &e))?)?;
            if !is_finite(var)? {
                let name = format!("{prefix}{}", param.name());
                let what = format!("{name} holds numbers that are not finite; train the run again");
                return Err(Error::run(&self.dir.join(file), what));
            }
        }
        Ok(())
    }

    /// Sets the steps of the last touches of lazy Adam's tables.
    fn fill_last_touches(&self, model: &Model, saved: &Saved) -> Result<()> {
        let lazy = |param: &AdamParam| param.is_lazy();
        if !model.adam_params().any(|(_, param)| lazy(param)) {
            return Ok(());
        }
        let tensors = self.tensors(&saved.files, MOMENTS, &Device::Cpu)?;
        for (network, param) in model.adam_params() {
            let Some(mut touches) = param.last_touches() else {
                continue;
            };
            let name = format!("{LAST}{network}{}", param.name());
            let tensor = self.find(&tensors, MOMENTS, &name, &[touches.len()])?;
            *touches = tensor.to_vec1().map_err(|e| self.unread(MOMENTS, &e))?;
        }
        Ok(())
    }

    /// The tensor of a name and a shape.
    fn find(
        &self,
        tensors: &HashMap<String, Tensor>,
        file: &str,
        name: &str,
        shape: &[usize],
    ) -> Result<Tensor> {
        let what = match tensors.get(name) {
            Some(tensor) if tensor.dims() == shape => return Ok(tensor.clone()),
            Some(tensor) => format!("{name} is {:?}, the model's is {shape:?}", tensor.dims()),
            None => format!("{name} is missing"),
        };
        Err(Error::run(&self.dir.join(file), what))
    }
}

/// The steps of the last touches of lazy Adam's tables, by name.
fn last_touches(model: &Model) -> Result<HashMap<String, Tensor>> {
    let mut named = HashMap::new();
    for (network, param) in model.adam_params() {
        if let Some(touches) = param.last_touches() {
            let tensor = Tensor::from_slice(&touches, touches.len(), &Device::Cpu)?;
            named.insert(format!("{LAST}{network}{}", param.name()), tensor);
        }
    }
    Ok(named)
}

/// The named tensors in one variable of every parameter, on the CPU, each name after `kind`.
fn named(model: &Model, kind: &str, part: Part) -> Result<HashMap<String, Tensor>> {
    let mut named = HashMap::new();
    for (network, param) in model.adam_params() {
        let packed = part
            .of(param)
            .as_tensor()
            .detach()
            .to_device(&Device::Cpu)?;
        for (name, tensor) in param.packing.unpack(&packed)? {
            named.insert(format!("{kind}{network}{name}"), tensor);
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::{DType, Device, Tensor, Var};
    use candle_nn::VarBuilder;
    use prl_core::{PromptBlockConfig, Prompts, RewardCode, TokenMixer};
    use prl_dataset::Windows;
    use prl_encoders::{EncoderKind, PaddedBatch};
    use prl_kernels::ops::adam::Adam;
    use prl_model::{
        AdamParam, Error, MainNetwork, Model, ModelConfig, ModelSpec, StepTimes, TrainingBatch,
    };
    use prl_nn::ForwardCtx;

    use super::{Checkpoint, MANIFEST, MOMENTS, Progress, WEIGHTS};

    #[test]
    fn non_finite_values_are_never_saved() {
        let dir = tempfile::tempdir().unwrap();
        let plan = ModelSpec {
            dim: 4,
            items: 5,
            block: None,
            is_double: false,
            seed: 1,
            dtype: DType::F32,
            options: prl_model::NetworkOptions::default(),
        };
        let model = Model::new(&ModelConfig::default(), &plan, &Device::Cpu).unwrap();
        let saved = Checkpoint::at(dir.path().join("checkpoint"));
        let at = |step| Progress {
            step,
            ..Progress::default()
        };
        saved.save(&model, &at(1), true).unwrap();
        for name in ["item_emb.weight", "head.bias"] {
            let (_, slot) = model.adam_params().find(|(_, p)| p.name() == name).unwrap();
            for (what, var) in [
                ("weights", &slot.param),
                ("moments", &slot.first),
                ("moments", &slot.second),
            ] {
                let good = var.as_tensor().copy().unwrap();
                var.set(&Tensor::full(f32::INFINITY, var.shape(), &Device::Cpu).unwrap())
                    .unwrap();
                let error = saved.save(&model, &at(2), true).unwrap_err();
                let crate::Error::Model(Error::Diverged { step: 2, cause }) = error else {
                    panic!("{error}")
                };
                assert!(cause.contains(what) && cause.contains(name), "{cause}");
                var.set(&good).unwrap();
            }
        }
        assert_eq!(saved.load(&model).unwrap(), at(1));
    }

    /// A model with one encoder, the prompt block and Q layers, after some steps.
    fn trained(encoder: EncoderKind, block: Option<PromptBlockConfig>, steps: u64) -> Model {
        let config = ModelConfig {
            encoder,
            dim: 4,
            window: 5,
            ..ModelConfig::default()
        };
        let spec = ModelSpec {
            dim: 4,
            items: 7,
            block,
            is_double: block.is_none(),
            seed: 1,
            dtype: DType::F32,
            options: prl_model::NetworkOptions::default(),
        };
        let model = Model::new(&config, &spec, &Device::Cpu).unwrap();
        continued(&model, 1..=steps);
        model
    }

    /// Takes training steps; returns the bits of the losses.
    fn continued(model: &Model, steps: std::ops::RangeInclusive<u64>) -> Vec<u64> {
        let mut windows = Windows::new(5);
        for i in 0..6 {
            windows.push(&[i, (i + 3) % 7, (i + 1) % 7], 7);
        }
        let batch = TrainingBatch {
            prompts: Prompts {
                returns: vec![1.5; 6],
                steps: vec![3; 6],
                tilt: 0.0,
            },
            windows,
            targets: vec![1, 2, 3, 4, 5, 6],
            loss_weights: vec![1.0 / 6.0; 6],
            transitions: None,
            sequences: None,
        };
        let mut losses = Vec::new();
        for step in steps {
            let turn = MainNetwork::single(step);
            let loss = model.step(Adam::new(0.01), turn, &batch, &mut StepTimes::default());
            losses.push(loss.unwrap().to_bits());
        }
        losses
    }

    fn models() -> Vec<(EncoderKind, Option<PromptBlockConfig>)> {
        let mut models = Vec::new();
        for &encoder in EncoderKind::ALL {
            models.push((encoder, None));
            models.push((encoder, Some(PromptBlockConfig::default())));
        }
        let mlp = PromptBlockConfig {
            mixing: TokenMixer::Mlp,
            rewards: RewardCode::Binned,
            ..PromptBlockConfig::default()
        };
        models.push((EncoderKind::ALL[0], Some(mlp)));
        models
    }

    /// Writes a checkpoint as version 1 did: the packed tensors under their old names.
    fn save_version_1(checkpoint: &Checkpoint, model: &Model, progress: &Progress) {
        let named = |kind: &str, which: fn(&AdamParam) -> &Var| {
            let mut tensors = HashMap::new();
            for (network, param) in model.adam_params() {
                let name = format!("{kind}{network}{}", param.packing.format1_name());
                tensors.insert(name, which(param).as_tensor().clone());
            }
            tensors
        };
        let mut moments = named("first.", |p| &p.first);
        moments.extend(named("second.", |p| &p.second));
        let files = vec![(WEIGHTS, named("", |p| &p.param)), (MOMENTS, moments)];
        checkpoint.write(files, progress).unwrap();
        let path = checkpoint.dir.join(MANIFEST);
        let json = std::fs::read_to_string(&path).unwrap();
        let json = json.replace("\"format_version\": 2", "\"format_version\": 1");
        std::fs::write(&path, json).unwrap();
    }

    #[test]
    fn resuming_either_version_continues_with_the_same_bits() {
        let dir = tempfile::tempdir().unwrap();
        let progress = Progress {
            step: 3,
            ..Progress::default()
        };
        for (i, (encoder, block)) in models().into_iter().enumerate() {
            let model = trained(encoder, block, 3);
            let old = Checkpoint::at(dir.path().join(format!("{i} version 1")));
            save_version_1(&old, &model, &progress);
            let new = Checkpoint::at(dir.path().join(format!("{i} version 2")));
            new.save(&model, &progress, true).unwrap();
            let losses = continued(&model, 4..=6);
            for checkpoint in [old, new] {
                let resumed = trained(encoder, block, 0);
                assert_eq!(checkpoint.load(&resumed).unwrap(), progress);
                assert_eq!(continued(&resumed, 4..=6), losses, "{}", encoder.name());
                assert_eq!(resumed.fingerprint().unwrap(), model.fingerprint().unwrap());
            }
        }
    }

    #[test]
    fn encoder_loaded_by_candles_builder_has_the_states_of_the_model() {
        let dir = tempfile::tempdir().unwrap();
        let mut windows = Windows::new(5);
        windows.push(&[3, 1, 4], 7);
        windows.push(&[2, 5, 0, 6, 1], 7);
        for &kind in EncoderKind::ALL {
            let model = trained(kind, Some(PromptBlockConfig::default()), 2);
            let saved = Checkpoint::at(dir.path().join(kind.name()));
            saved.save(&model, &Progress::default(), false).unwrap();
            let bytes = std::fs::read(saved.dir().join(WEIGHTS)).unwrap();
            let vb = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu);
            let vb = vb.unwrap();
            let encoder = kind.config().build(4, 5, vb.pp("encoder")).unwrap();
            let items = Tensor::new(windows.items.as_slice(), &Device::Cpu).unwrap();
            let embedding = vb.get((8, 4), "item_emb.weight").unwrap();
            let xs = embedding
                .index_select(&items, 0)
                .unwrap()
                .reshape((2, 5, 4))
                .unwrap();
            let batch = PaddedBatch {
                xs: &xs,
                lengths: &windows.lengths,
            };
            let loaded = encoder.encode(&batch, &ForwardCtx::infer()).unwrap();
            let own = model.states(&windows).unwrap();
            let [loaded, own] = [loaded, own].map(|t| t.to_vec2::<f32>().unwrap());
            assert_eq!(loaded, own, "{}", kind.name());
        }
    }
}
