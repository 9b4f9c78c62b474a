//! Checkpoints: weights, Adam's moments and the place in training, whole or absent.
//!
//! Randomness needs no state (it is a function of seed and step), so the step is the whole cursor. A checkpoint is a
//! directory written aside, its manifest with the checksums last, synced, and put in place by a rename.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor, Var};
use prl_sessions::{FileEntry, open_to_readers, replace_directory, sha256_hex, sync_directory, write_synced};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::Model;
use crate::slot::Slot;

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
pub(crate) struct Checkpoint {
    dir: PathBuf,
}

impl Checkpoint {
    /// At this directory, there or not.
    pub(crate) fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where it lies.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether one is there. What a killed write left behind is put right first.
    pub(crate) fn exists(&self) -> Result<bool> {
        prl_sessions::recover_directory(&self.dir)?;
        Ok(self.dir.join(MANIFEST).exists())
    }

    /// Saves weights, and the moments if training is to go on from here; returns the hash of the weights.
    pub(crate) fn save(&self, model: &Model, progress: &Progress, with_moments: bool) -> Result<String> {
        let mut tensors = vec![(WEIGHTS, named(model, "", |s| &s.param)?)];
        if with_moments {
            let mut moments = named(model, "first.", |s| &s.first)?;
            moments.extend(named(model, "second.", |s| &s.second)?);
            tensors.push((MOMENTS, moments));
        }
        self.write(tensors, progress)
    }

    /// Saves the arrays of a baseline in the place of weights; returns their hash.
    pub(crate) fn save_arrays(&self, arrays: HashMap<String, Tensor>) -> Result<String> {
        self.write(vec![(WEIGHTS, arrays)], &Progress::default())
    }

    fn write(&self, tensors: Vec<(&str, HashMap<String, Tensor>)>, progress: &Progress) -> Result<String> {
        let parent = self.dir.parent().unwrap_or(Path::new("."));
        let staged = tempfile::Builder::new().prefix(".staged-").tempdir_in(parent).map_err(Error::io(parent))?;
        let mut files = Vec::new();
        for (name, tensors) in tensors {
            let path = staged.path().join(name);
            candle_core::safetensors::save(&tensors, &path)?;
            std::fs::File::open(&path).and_then(|f| f.sync_all()).map_err(Error::io(&path))?;
            let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
            files.push(FileEntry { name: name.into(), bytes: bytes.len() as u64, sha256: sha256_hex(&bytes) });
        }
        let weights = files[0].sha256.clone();
        let manifest = Manifest { format: FORMAT.into(), format_version: VERSION, progress: progress.clone(), files };
        let json = serde_json::to_vec_pretty(&manifest).map_err(|e| Error::run(&self.dir, e.to_string()))?;
        write_synced(&staged.path().join(MANIFEST), &json)?;
        sync_directory(staged.path())?;
        open_to_readers(staged.path())?;
        replace_directory(staged.path(), &self.dir)?;
        Ok(weights)
    }

    /// Reads the manifest and every file, by checksum.
    fn read(&self) -> Result<(Manifest, BTreeMap<String, Vec<u8>>)> {
        let path = self.dir.join(MANIFEST);
        if !self.exists()? {
            return Err(Error::run(&self.dir, "no checkpoint here; train the run first"));
        }
        let json = std::fs::read(&path).map_err(Error::io(&path))?;
        let value: serde_json::Value = serde_json::from_slice(&json)
            .map_err(|e| Error::run(&path, format!("not valid JSON ({e}); train the run again")))?;
        if value["format"] != FORMAT || value["format_version"] != VERSION {
            let what = format!(
                "format {} version {}, this build reads {FORMAT} {VERSION}; train the run again",
                value["format"], value["format_version"]
            );
            return Err(Error::run(&path, what));
        }
        let manifest: Manifest =
            serde_json::from_value(value).map_err(|e| Error::run(&path, format!("{e}; train the run again")))?;
        let mut files = BTreeMap::new();
        for entry in manifest.files.iter().filter(|f| [WEIGHTS, MOMENTS].contains(&f.name.as_str())) {
            let path = self.dir.join(&entry.name);
            let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
            if bytes.len() as u64 != entry.bytes || sha256_hex(&bytes) != entry.sha256 {
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
    pub(crate) fn load(&self, model: &Model) -> Result<Progress> {
        let (manifest, files) = self.read()?;
        self.fill(model, &files, WEIGHTS, "", |s| &s.param)?;
        if files.contains_key(MOMENTS) {
            self.fill(model, &files, MOMENTS, "first.", |s| &s.first)?;
            self.fill(model, &files, MOMENTS, "second.", |s| &s.second)?;
        }
        Ok(manifest.progress)
    }

    /// SHA-256 of the weights.
    pub(crate) fn hash(&self) -> Result<String> {
        let (manifest, _) = self.read()?;
        let weights = manifest.files.into_iter().find(|f| f.name == WEIGHTS);
        weights.map(|f| f.sha256).ok_or_else(|| Error::run(&self.dir, "holds no weights; train the run again"))
    }

    /// Loads the arrays of a baseline.
    pub(crate) fn load_arrays(&self) -> Result<HashMap<String, Tensor>> {
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
            Some(bytes) => Ok(candle_core::safetensors::load_buffer(bytes, device)?),
            None => Err(Error::run(&self.dir, format!("{name} is missing; train the run again"))),
        }
    }

    fn fill(
        &self,
        model: &Model,
        files: &BTreeMap<String, Vec<u8>>,
        file: &str,
        prefix: &str,
        which: impl Fn(&Slot) -> &Var,
    ) -> Result<()> {
        let tensors = self.tensors(files, file, model.device())?;
        for (name, slot) in model.slots() {
            let var = which(slot);
            match tensors.get(&format!("{prefix}{name}")) {
                Some(t) if t.shape() == var.shape() => var.set(&t.to_dtype(var.dtype())?)?,
                Some(t) => {
                    let what = format!("{name} is {:?}, the model's is {:?}", t.shape(), var.shape());
                    return Err(Error::run(&self.dir.join(file), what));
                }
                None => return Err(Error::run(&self.dir.join(file), format!("{name} is missing"))),
            }
        }
        Ok(())
    }
}

fn named(model: &Model, prefix: &str, which: impl Fn(&Slot) -> &Var) -> Result<HashMap<String, Tensor>> {
    let cpu = |s: &Slot| which(s).as_tensor().detach().to_device(&Device::Cpu);
    model.slots().map(|(name, slot)| Ok((format!("{prefix}{name}"), cpu(slot)?))).collect()
}
