//! Checkpoints: weights, Adam's moments and the place in training, whole or absent.
//!
//! Randomness needs no state (it is a function of seed and step), so the step is the whole cursor. A checkpoint is a
//! directory written aside, its manifest with the checksums last, synced, and put in place in one step. Nothing is saved that
//! is not finite: the last good checkpoint outlives a training that diverges.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor, Var};
use prl_fs::{FileEntry, StagedDir, sha256_hex};
use prl_model::{AdamParam, Model, is_finite};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::format::{MAX_JSON, check_format};

const FORMAT: &str = "prl-checkpoint";
const VERSION: u32 = 1;
const MANIFEST: &str = "manifest.json";
const WEIGHTS: &str = "weights.safetensors";
const MOMENTS: &str = "moments.safetensors";

/// How far training has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps taken.
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

/// A checkpoint's directory.
pub struct Checkpoint {
    dir: PathBuf,
}

impl Checkpoint {
    /// At this directory, there or not.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether one is there.
    pub fn exists(&self) -> bool {
        self.dir.join(MANIFEST).exists()
    }

    /// Saves weights, and the moments if training is to go on from here; returns the hash of the weights.
    ///
    /// # Errors
    /// [`Error::Diverged`] if one of them is not finite: the older checkpoint stays.
    pub fn save(&self, model: &Model, progress: &Progress, with_moments: bool) -> Result<String> {
        model.check(progress.step)?;
        let mut tensors = vec![(WEIGHTS, named(model, "", |s| &s.param)?)];
        if with_moments {
            let mut moments = named(model, "first.", |s| &s.first)?;
            moments.extend(named(model, "second.", |s| &s.second)?);
            tensors.push((MOMENTS, moments));
        }
        self.write(tensors, progress)
    }

    /// Saves the arrays of a baseline in the place of weights; returns their hash.
    pub fn save_arrays(&self, arrays: HashMap<String, Tensor>) -> Result<String> {
        self.write(vec![(WEIGHTS, arrays)], &Progress::default())
    }

    fn write(
        &self,
        tensors: Vec<(&str, HashMap<String, Tensor>)>,
        progress: &Progress,
    ) -> Result<String> {
        let staged = StagedDir::create(&self.dir)?;
        let write = |(name, tensors): (&str, HashMap<String, Tensor>)| {
            Ok(staged.write_tensors(name, tensors)?)
        };
        let files = tensors
            .into_iter()
            .map(write)
            .collect::<Result<Vec<FileEntry>>>()?;
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

    /// Reads the manifest and every file, by checksum. A run in training may put a newer checkpoint in the place of one that
    /// is being read: then the newer one is read.
    fn read(&self) -> Result<(Manifest, BTreeMap<String, Vec<u8>>)> {
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

    fn read_files(&self, json: &[u8]) -> Result<(Manifest, BTreeMap<String, Vec<u8>>)> {
        let path = self.dir.join(MANIFEST);
        let value: serde_json::Value = serde_json::from_slice(json)
            .map_err(|e| Error::run(&path, format!("not valid JSON ({e}); train the run again")))?;
        check_format(&path, &value, FORMAT, VERSION)?;
        let manifest: Manifest = serde_json::from_value(value)
            .map_err(|e| Error::run(&path, format!("{e}; train the run again")))?;
        let mut files = BTreeMap::new();
        for entry in manifest
            .files
            .iter()
            .filter(|f| [WEIGHTS, MOMENTS].contains(&f.name.as_str()))
        {
            let path = self.dir.join(&entry.name);
            // A file of another length is not read: there is no bound on what it may be.
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
        Ok((manifest, files))
    }

    /// Loads the weights into a model of the same shape, and its moments if there are any.
    pub fn load(&self, model: &Model) -> Result<Progress> {
        let (manifest, files) = self.read()?;
        self.fill(model, &files, WEIGHTS, "", |s| &s.param)?;
        if files.contains_key(MOMENTS) {
            self.fill(model, &files, MOMENTS, "first.", |s| &s.first)?;
            self.fill(model, &files, MOMENTS, "second.", |s| &s.second)?;
        }
        Ok(manifest.progress)
    }

    /// SHA-256 of the weights.
    pub fn hash(&self) -> Result<String> {
        let (manifest, _) = self.read()?;
        let weights = manifest.files.into_iter().find(|f| f.name == WEIGHTS);
        weights
            .map(|f| f.sha256)
            .ok_or_else(|| Error::run(&self.dir, "holds no weights; train the run again"))
    }

    /// Loads the arrays of a baseline.
    pub fn load_arrays(&self) -> Result<HashMap<String, Tensor>> {
        let (_, files) = self.read()?;
        self.tensors(&files, WEIGHTS, &Device::Cpu)
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

    /// A file that has its checksum and is no safetensors file of a model.
    fn unread(&self, file: &str, why: &candle_core::Error) -> Error {
        let why = why.to_string();
        let first = why.lines().next().unwrap_or_default();
        Error::run(
            &self.dir.join(file),
            format!("could not be read ({first}); train the run again"),
        )
    }

    fn fill(
        &self,
        model: &Model,
        files: &BTreeMap<String, Vec<u8>>,
        file: &str,
        prefix: &str,
        which: impl Fn(&AdamParam) -> &Var,
    ) -> Result<()> {
        let tensors = self.tensors(files, file, model.device())?;
        for (name, slot) in model.adam_params() {
            let var = which(slot);
            match tensors.get(&format!("{prefix}{name}")) {
                Some(t) if t.shape() == var.shape() => {
                    var.set(&t.to_dtype(var.dtype()).map_err(|e| self.unread(file, &e))?)?;
                    if !is_finite(var)? {
                        let what = format!(
                            "{name} holds numbers that are not finite; train the run again"
                        );
                        return Err(Error::run(&self.dir.join(file), what));
                    }
                }
                Some(t) => {
                    let what = format!(
                        "{name} is {:?}, the model's is {:?}",
                        t.shape(),
                        var.shape()
                    );
                    return Err(Error::run(&self.dir.join(file), what));
                }
                None => {
                    return Err(Error::run(
                        &self.dir.join(file),
                        format!("{name} is missing"),
                    ));
                }
            }
        }
        Ok(())
    }
}

fn named(
    model: &Model,
    prefix: &str,
    which: impl Fn(&AdamParam) -> &Var,
) -> Result<HashMap<String, Tensor>> {
    let cpu = |s: &AdamParam| which(s).as_tensor().detach().to_device(&Device::Cpu);
    model
        .adam_params()
        .map(|(name, slot)| Ok((format!("{prefix}{name}"), cpu(slot)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::{Checkpoint, Progress};
    use prl_model::{Error, Model, ModelConfig, ModelSpec};

    #[test]
    fn what_is_not_finite_is_never_saved() {
        let dir = tempfile::tempdir().unwrap();
        let plan = ModelSpec {
            dim: 4,
            items: 5,
            block: None,
            is_double: false,
            seed: 1,
            dtype: DType::F32,
        };
        let model = Model::new(&ModelConfig::default(), &plan, &Device::Cpu).unwrap();
        let saved = Checkpoint::at(dir.path().join("checkpoint"));
        let at = |step| Progress {
            step,
            ..Progress::default()
        };
        saved.save(&model, &at(1), true).unwrap();
        for name in ["embedding.weight", "head.bias"] {
            let (_, slot) = model.adam_params().find(|(own, _)| own == name).unwrap();
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
}
