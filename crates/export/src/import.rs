//! Import: a run of weights that another program trained.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use prl_dataset::Dataset;
use prl_fs::{StagedDir, map_file, read_at_most, sha256_hex};
use prl_model::{Model, is_finite};
use prl_runs::{Config, ImportedWeights, Run, RunManifest};

use crate::error::{Error, Result};
use crate::names;

/// Largest file of settings.
const MAX_SETTINGS: u64 = 1 << 20;

/// Place of the network's settings.
#[derive(Clone, Debug)]
pub enum Settings {
    /// In a run directory.
    Like(PathBuf),
    /// In a file: the `config.toml` of a run, or the `config.json` of an export.
    File(PathBuf),
}

/// Files of an import.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The safetensors file.
    pub weights: PathBuf,
    /// The settings of its network.
    pub settings: Settings,
    /// The prepared dataset; by default that of the settings.
    pub data: Option<PathBuf>,
    /// A table of the names of the file's tensors, where they differ.
    pub names: Option<PathBuf>,
}

/// Makes the run `out` of a file of weights.
///
/// # Errors
/// [`Error::Mismatch`] with every tensor that is missing, additional, of another shape or not
/// finite; [`Error::Input`] for unreadable files, and errors of the settings and the dataset.
/// Nothing is written then.
pub fn import(options: &ImportOptions, out: &Path) -> Result<RunManifest> {
    Run::check_is_free(out)?;
    let has_files = std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if has_files {
        return Err(Error::input(
            out,
            "the directory is not empty; name another --out",
        ));
    }
    let (mut config, data) = settings(options)?;
    if !config.method.is_neural() {
        let method = config.method.name();
        let what = format!(
            "the settings are of {method}, which has no weights of a network; name those of an encoder"
        );
        return Err(Error::input(&options.weights, what));
    }
    config.resolve_own_items(&data);
    config.parent = None;
    config.check()?;
    let device = Device::Cpu;
    let model = config.fresh_model(data.items().len(), &device)?;
    let renamed = match &options.names {
        Some(path) => names::read(path)?,
        None => BTreeMap::new(),
    };
    let imported = fill(&model, &options.weights, &renamed)?;
    let staged = StagedDir::create(out)?;
    let run = Run::create(staged.path(), &config, &data)?;
    let weights = run.best().save(&model, &Default::default(), false)?;
    // No training wrote metrics.
    staged.write("metrics.jsonl", b"")?;
    let manifest = run.finish_imported(&weights, &data, &device, imported)?;
    staged.publish()?;
    Ok(manifest)
}

/// The settings, and the dataset that they are for.
fn settings(options: &ImportOptions) -> Result<(Config, Dataset)> {
    let elsewhere = options.data.as_deref();
    let (mut config, data) = match &options.settings {
        Settings::Like(dir) => {
            let run = Run::open(dir)?;
            (run.config().clone(), run.data(elsewhere)?)
        }
        Settings::File(path) => {
            let config = read_settings(path)?;
            let dir = elsewhere.unwrap_or(&config.data);
            if dir.as_os_str().is_empty() {
                let what = "the settings name no dataset; name one with --data";
                return Err(Error::input(path, what));
            }
            let data = Dataset::open(dir).map_err(|e| prl_runs::Error::of_dataset(e, None))?;
            (config, data)
        }
    };
    // The run is used from other directories.
    config.data =
        std::path::absolute(data.dir()).map_err(|e| Error::input(data.dir(), e.to_string()))?;
    Ok((config, data))
}

/// Settings in TOML, or in the JSON of an export.
fn read_settings(path: &Path) -> Result<Config> {
    let mend = "expected the config.toml of a run or the config.json of an export";
    let bytes = read_at_most(path, MAX_SETTINGS)?;
    let text = String::from_utf8(bytes).map_err(|e| Error::input(path, format!("{e}; {mend}")))?;
    if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        let unread = |e: serde_json::Error| Error::input(path, format!("{e}; {mend}"));
        let mut value: serde_json::Value = serde_json::from_str(&text).map_err(unread)?;
        let Some(settings) = value.get_mut("settings") else {
            return Err(Error::input(path, format!("no field settings; {mend}")));
        };
        return serde_json::from_value(settings.take()).map_err(unread);
    }
    toml::from_str(&text).map_err(|e| Error::input(path, format!("{}; {mend}", e.message())))
}

/// Sets the weights of a model from a file.
fn fill(model: &Model, path: &Path, renamed: &BTreeMap<String, String>) -> Result<ImportedWeights> {
    let bytes = map_file(path)?;
    let mut tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|e| {
        let cause = e.to_string();
        let first = cause.lines().next().unwrap_or_default();
        Error::input(
            path,
            format!("not a safetensors file ({first}); write it with safetensors.torch.save_file"),
        )
    })?;
    let mut problems = Vec::new();
    let mut known = Vec::new();
    let mut packed = Vec::new();
    for (network, param) in model.adam_params() {
        let mut named = Vec::new();
        for (name, shape) in param.packing.names().zip(param.packing.shapes()) {
            let name = format!("{network}{name}");
            let stored = renamed.get(&name).unwrap_or(&name);
            match take(&mut tensors, stored, &shape) {
                Ok(tensor) => named.push(tensor),
                Err(problem) => problems.push(problem),
            }
            known.push(name);
        }
        packed.push((param, named));
    }
    for name in renamed.keys() {
        if !known.contains(name) {
            problems.push(format!("names: {name} is no tensor of the network"));
        }
    }
    let mut extra: Vec<_> = tensors.into_iter().collect();
    extra.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, tensor) in extra {
        problems.push(format!("extra: {name} {:?}", tensor.dims()));
    }
    if !problems.is_empty() {
        return Err(Error::Mismatch {
            path: path.to_owned(),
            problems,
        });
    }
    for (param, named) in packed {
        param.param.set(&param.packing.pack(&named)?)?;
    }
    model.weights_changed();
    let file = path.file_name().unwrap_or_default();
    Ok(ImportedWeights {
        file: file.to_string_lossy().into_owned(),
        sha256: sha256_hex(&bytes),
    })
}

/// Removes the tensor of a name from a file's tensors.
///
/// # Errors
/// If it is missing, of another shape, of whole numbers or not finite.
fn take(
    tensors: &mut HashMap<String, Tensor>,
    name: &str,
    shape: &[usize],
) -> std::result::Result<Tensor, String> {
    let Some(tensor) = tensors.remove(name) else {
        return Err(format!("missing: {name} {shape:?}"));
    };
    if tensor.dims() != shape {
        let found = tensor.dims();
        return Err(format!(
            "wrong shape: {name} is {found:?}, the network's is {shape:?}"
        ));
    }
    if !tensor.dtype().is_float() {
        return Err(format!(
            "wrong type: {name} holds whole numbers, the network's are f32"
        ));
    }
    let narrowed = tensor
        .to_dtype(DType::F32)
        .map_err(|e| format!("{name}: {e}"))?;
    match is_finite(&narrowed) {
        Ok(true) => Ok(narrowed),
        Ok(false) => Err(format!("not finite: {name} holds NaN or infinity")),
        Err(e) => Err(format!("{name}: {e}")),
    }
}
