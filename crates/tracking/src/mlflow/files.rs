//! MLflow's file store: `EXPERIMENT/RUN/{meta.yaml,metrics,params,tags}`, a file a metric.
//!
//! Newer versions of MLflow read it with the environment variable
//! `MLFLOW_ALLOW_FILE_STORE=true` only; their `mlflow migrate-filestore` copies it into a database.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use prl_fs::{read_at_most, write_atomic};

use super::{LAST_METRIC, millis, params, tags};
use crate::error::{Error, Result};
use crate::numbers::{Record, now};
use crate::run_ids::RunIds;
use crate::target::{Target, mlflow_experiment};
use crate::tracked_run::{RunEnd, TrackedRun, Tracker};

const META: &str = "meta.yaml";
const MAX_META: u64 = 1 << 20;
const MAX_METRIC: u64 = 1 << 30;

/// Status of a run in `meta.yaml`.
#[derive(Clone, Copy)]
enum Status {
    Running = 1,
    Finished = 3,
    Failed = 4,
    Killed = 5,
}

/// A run in a file store.
pub(crate) struct MlflowFiles {
    root: PathBuf,
    run: TrackedRun,
    ids: RunIds,
    /// Directory of the run, once it is open.
    dir: PathBuf,
}

impl MlflowFiles {
    /// The run in the file store `root`, which need not exist.
    pub fn new(root: PathBuf, run: TrackedRun, ids: RunIds) -> Self {
        Self {
            root,
            run,
            ids,
            dir: PathBuf::new(),
        }
    }

    /// Directory of the run: that of an earlier process, or a new one.
    fn find_or_create(&self) -> Result<PathBuf> {
        let tracker = Target::MlflowFiles(self.root.clone()).to_string();
        if let Some(id) = self.ids.get(&tracker) {
            let dir = self.root.join(&id);
            if dir.join(META).exists() {
                return Ok(dir);
            }
        }
        let experiment = self.experiment()?;
        let run = unique_id(&self.run.dir);
        let id = format!("{experiment}/{run}");
        let dir = self.root.join(&id);
        for folder in ["metrics", "params", "tags", "artifacts"] {
            let folder = dir.join(folder);
            fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        }
        for (name, value) in tags(&self.run) {
            write_file(&dir.join("tags").join(name), &value)?;
        }
        for (name, value) in params(&self.run) {
            write_file(&dir.join("params").join(name), &value)?;
        }
        // Last: a run without it is not listed.
        let meta = self.meta(&experiment, &run, &dir);
        write_atomic(&dir.join(META), meta)?;
        self.ids.set(&tracker, &id)?;
        Ok(dir)
    }

    fn meta(&self, experiment: &str, run: &str, dir: &Path) -> String {
        let (name, artifacts) = (quoted(&self.run.name), quoted(&uri(&dir.join("artifacts"))));
        let user = std::env::var("USER").unwrap_or_default();
        let (start, user) = (millis(now()), quoted(&user));
        format!(
            "artifact_uri: {artifacts}\nend_time: null\nentry_point_name: ''\n\
             experiment_id: '{experiment}'\nlifecycle_stage: active\nrun_id: {run}\n\
             run_name: {name}\nrun_uuid: {run}\nsource_name: ''\nsource_type: 4\n\
             source_version: ''\nstart_time: {start}\nstatus: 1\ntags: []\nuser_id: {user}\n"
        )
    }

    /// Identifier of the experiment, which is created if there is none of the name.
    fn experiment(&self) -> Result<String> {
        let name = mlflow_experiment();
        fs::create_dir_all(&self.root).map_err(Error::io(&self.root))?;
        for entry in fs::read_dir(&self.root).map_err(Error::io(&self.root))? {
            let meta = entry.map_err(Error::io(&self.root))?.path().join(META);
            if !meta.exists() {
                continue;
            }
            let text = read_text(&meta, MAX_META)?;
            if field(&text, "name").as_deref() == Some(&name)
                && let Some(id) = field(&text, "experiment_id")
            {
                return Ok(id);
            }
        }
        // A number of 18 digits, as MLflow draws them. That of the name: two processes at once
        // create one experiment.
        let seed = prl_fs::sha256_hex(name.as_bytes());
        let number = u64::from_str_radix(&seed[..15], 16).unwrap_or_default();
        let id = format!(
            "{}",
            100_000_000_000_000_000 + number % 900_000_000_000_000_000
        );
        let dir = self.root.join(&id);
        fs::create_dir_all(&dir).map_err(Error::io(&dir))?;
        let (place, name, time) = (quoted(&uri(&dir)), quoted(&name), millis(now()));
        let meta = format!(
            "artifact_location: {place}\ncreation_time: {time}\nexperiment_id: '{id}'\n\
             last_update_time: {time}\nlifecycle_stage: active\nname: {name}\n"
        );
        write_atomic(&dir.join(META), meta)?;
        Ok(id)
    }

    /// Replaces status and end in `meta.yaml`; the other lines stay as they are.
    fn set_status(&self, status: Status) -> Result<()> {
        let path = self.dir.join(META);
        let text = read_text(&path, MAX_META)?;
        let end = match status {
            Status::Running => "null".to_owned(),
            _ => millis(now()).to_string(),
        };
        let mut changed = String::with_capacity(text.len());
        for line in text.lines() {
            if line.starts_with("status:") {
                changed.push_str(&format!("status: {}", status as i32));
            } else if line.starts_with("end_time:") {
                changed.push_str(&format!("end_time: {end}"));
            } else {
                changed.push_str(line);
            }
            changed.push('\n');
        }
        Ok(write_atomic(&path, changed)?)
    }
}

impl Tracker for MlflowFiles {
    fn open(&mut self) -> Result<Option<u64>> {
        self.dir = self.find_or_create()?;
        self.set_status(Status::Running)?;
        let path = self.dir.join("metrics").join(LAST_METRIC);
        if !path.exists() {
            return Ok(None);
        }
        let text = read_text(&path, MAX_METRIC)?;
        let mut last = None;
        for line in text.lines() {
            let step = line.split(' ').nth(2).and_then(|step| step.parse().ok());
            last = last.max(step);
        }
        Ok(last)
    }

    fn log(&mut self, records: &[Record]) -> Result<()> {
        let metrics = self.dir.join("metrics");
        for record in records {
            let (last, others): (Vec<_>, Vec<_>) = record
                .numbers
                .iter()
                .partition(|(name, _)| name == LAST_METRIC);
            for (name, number) in others.into_iter().chain(last) {
                let line = format!("{} {number:?} {}\n", millis(record.time), record.step);
                append(&metrics.join(name), &line)?;
            }
        }
        Ok(())
    }

    fn end(&mut self, end: RunEnd) -> Result<()> {
        self.set_status(match end {
            RunEnd::Finished => Status::Finished,
            RunEnd::Interrupted => Status::Killed,
            RunEnd::Failed => Status::Failed,
        })
    }
}

fn append(path: &Path, line: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut options = fs::OpenOptions::new();
    let file = options.append(true).create(true).open(path);
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    written.map_err(Error::io(path))
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::io(path))
}

fn read_text(path: &Path, max: u64) -> Result<String> {
    let bytes = read_at_most(path, max)?;
    String::from_utf8(bytes).map_err(|_| Error::damaged(path, "not UTF-8"))
}

/// A path as the URL that MLflow stores.
fn uri(path: &Path) -> String {
    let mut uri = String::from("file://");
    for byte in path.display().to_string().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' | b'~' => {
                uri.push(char::from(byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

/// A YAML scalar in single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Value of a key at the top level of a `meta.yaml`.
fn field(text: &str, key: &str) -> Option<String> {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))?;
    let quotes = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\''));
    match quotes {
        Some(inner) => Some(inner.replace("''", "'")),
        None => Some(value.trim_matches('"').to_owned()),
    }
}

/// 32 hexadecimal digits that no other run has: a hash of place, time and process.
fn unique_id(place: &Path) -> String {
    let text = format!("{}\0{}\0{:?}", place.display(), std::process::id(), now());
    let mut hash = prl_fs::sha256_hex(text.as_bytes());
    hash.truncate(32);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracked(dir: &Path) -> (MlflowFiles, RunIds) {
        let ids = RunIds::open(dir).unwrap();
        let run = TrackedRun {
            name: "it's".into(),
            dir: dir.to_owned(),
            settings: vec![("model.dim".into(), toml::Value::Integer(64))],
            dataset: "d".into(),
        };
        let store = dir.join("ml runs");
        (MlflowFiles::new(store, run, ids.clone()), ids)
    }

    fn record(step: u64, value: f64) -> Record {
        Record {
            step,
            time: 17.0,
            numbers: vec![("epoch".into(), 1.0), ("val/all/MRR".into(), value)],
        }
    }

    #[test]
    fn reopened_run_continues_after_its_last_step() {
        let dir = tempfile::tempdir().unwrap();
        let (mut first, _) = tracked(dir.path());
        assert_eq!(first.open().unwrap(), None);
        first.log(&[record(3, 0.1)]).unwrap();
        first.end(RunEnd::Interrupted).unwrap();
        let text = |path: &str| fs::read_to_string(first.dir.join(path)).unwrap();
        assert_eq!(field(&text(META), "status").as_deref(), Some("5"));
        let (mut second, _) = tracked(dir.path());
        assert_eq!(second.open().unwrap(), Some(3));
        assert_eq!(field(&text(META), "end_time").as_deref(), Some("null"));
        second.log(&[record(9, 1e-300)]).unwrap();
        second.end(RunEnd::Finished).unwrap();
        assert_eq!(second.dir, first.dir);
        assert_eq!(text("metrics/val/all/MRR"), "17000 0.1 3\n17000 1e-300 9\n");
        assert_eq!(field(&text(META), "status").as_deref(), Some("3"));
        assert_eq!(field(&text(META), "run_name").as_deref(), Some("it's"));
        assert!(text(META).contains("/ml%20runs/"), "{}", text(META));
        assert_eq!(text("params/model.dim"), "64");
    }

    /// A process that is killed between two metrics of a step: the step is logged again.
    #[test]
    fn step_without_its_last_metric_is_not_complete() {
        let dir = tempfile::tempdir().unwrap();
        let (mut first, _) = tracked(dir.path());
        first.open().unwrap();
        first.log(&[record(3, 0.1)]).unwrap();
        append(&first.dir.join("metrics/val/all/MRR"), "18000 0.2 9\n").unwrap();
        assert_eq!(tracked(dir.path()).0.open().unwrap(), Some(3));
    }

    #[test]
    fn runs_share_the_experiment() {
        let dir = tempfile::tempdir().unwrap();
        let (first, _) = tracked(dir.path());
        assert_eq!(first.experiment().unwrap(), first.experiment().unwrap());
    }
}
