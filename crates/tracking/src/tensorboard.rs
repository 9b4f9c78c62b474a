//! TensorBoard: a directory of event files for each run.

mod event_file;
mod messages;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::numbers::{Record, now};
use crate::run_ids::RunIds;
use crate::target::Target;
use crate::tracked_run::{RunEnd, TrackedRun, Tracker};
use event_file::{EventFile, last_step};
use messages::{
    Event, HParams, HParamsData, ProtoValue, ProtoValueKind, SessionEnd, SessionLog, SessionStart,
    Summary, SummaryValue, What,
};

/// Names of event files; TensorBoard reads those that contain `tfevents`, in the order of their
/// names, and the time in the name has ten digits.
const PREFIX: &str = "events.out.tfevents.";

/// A run in a directory that TensorBoard shows.
pub(crate) struct TensorBoard {
    log_dir: PathBuf,
    run: TrackedRun,
    ids: RunIds,
    file: Option<EventFile>,
}

impl TensorBoard {
    /// The run in the directory `log_dir`, which need not exist.
    pub fn new(log_dir: PathBuf, run: TrackedRun, ids: RunIds) -> Self {
        Self {
            log_dir,
            run,
            ids,
            file: None,
        }
    }

    /// Directory of the run: that of an earlier process, or a new one without event files.
    fn dir(&self) -> Result<PathBuf> {
        let tracker = Target::TensorBoard(self.log_dir.clone()).to_string();
        if let Some(name) = self.ids.get(&tracker) {
            return Ok(self.log_dir.join(name));
        }
        let (mut name, mut number) = (self.run.name.clone(), 1);
        while !event_files(&self.log_dir.join(&name))?.is_empty() {
            number += 1;
            name = format!("{}-{number}", self.run.name);
        }
        self.ids.set(&tracker, &name)?;
        Ok(self.log_dir.join(name))
    }

    fn write(&mut self, events: &[Event]) -> Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let written = file.append(events);
        if written.is_err() {
            // What follows a record that is incomplete is not read: the next one starts a file.
            self.file = None;
        }
        written
    }
}

impl Tracker for TensorBoard {
    fn open(&mut self) -> Result<Option<u64>> {
        let dir = self.dir()?;
        fs::create_dir_all(&dir).map_err(Error::io(&dir))?;
        let files = event_files(&dir)?;
        let mut last = None;
        for file in &files {
            last = last.max(last_step(file)?);
        }
        let path = dir.join(new_name(files.last().map(PathBuf::as_path)));
        self.file = Some(EventFile::create(&path)?);
        let mut events = vec![Event::at(0, What::FileVersion("brain.Event:2".into()))];
        match last {
            // Readers drop what they have of later steps, as after any restart.
            Some(last) => events.push(Event::at(
                last as i64 + 1,
                What::SessionLog(SessionLog::start()),
            )),
            None => events.push(settings_event(&self.run)),
        }
        self.write(&events)?;
        Ok(last)
    }

    fn log(&mut self, records: &[Record]) -> Result<()> {
        let mut events = Vec::with_capacity(records.len());
        for record in records {
            let mut value = Vec::with_capacity(record.numbers.len());
            for (name, number) in &record.numbers {
                value.push(SummaryValue::scalar(name, *number));
            }
            events.push(Event {
                wall_time: record.time,
                step: record.step as i64,
                what: Some(What::Summary(Summary { value })),
            });
        }
        self.write(&events)
    }

    fn end(&mut self, end: RunEnd) -> Result<()> {
        let is_success = match end {
            RunEnd::Finished => true,
            RunEnd::Failed => false,
            // Goes on when it is resumed.
            RunEnd::Interrupted => return Ok(()),
        };
        let end = HParamsData::End(SessionEnd::new(is_success, now()));
        self.write(&[hparams_event("_hparams_/session_end_info", end)])
    }
}

/// The event that holds the settings, for TensorBoard's page of hyperparameters.
fn settings_event(run: &TrackedRun) -> Event {
    let mut hparams = HashMap::with_capacity(run.settings.len());
    for (name, value) in &run.settings {
        let kind = match value {
            toml::Value::Integer(number) => ProtoValueKind::Number(*number as f64),
            toml::Value::Float(number) => ProtoValueKind::Number(*number),
            toml::Value::Boolean(value) => ProtoValueKind::Bool(*value),
            toml::Value::String(text) => ProtoValueKind::Text(text.clone()),
            value => ProtoValueKind::Text(value.to_string()),
        };
        hparams.insert(name.clone(), ProtoValue { kind: Some(kind) });
    }
    let start = SessionStart {
        hparams,
        model_uri: run.dir.display().to_string(),
        group_name: run.name.clone(),
        start_time_secs: now(),
    };
    hparams_event("_hparams_/session_start_info", HParamsData::Start(start))
}

fn hparams_event(tag: &str, data: HParamsData) -> Event {
    let content = HParams {
        version: 0,
        data: Some(data),
    };
    let value = vec![SummaryValue::hparams(tag, &content)];
    Event::at(0, What::Summary(Summary { value }))
}

/// Event files of a run, oldest first; none if there is no directory.
fn event_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(files),
        Err(error) => return Err(Error::io(dir)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(Error::io(dir))?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Name of a new event file, which sorts after the last one.
fn new_name(last: Option<&Path>) -> String {
    let mut seconds = now() as u64;
    if let Some(last) = last {
        let name = last.file_name().unwrap_or_default().to_string_lossy();
        let digits = name[PREFIX.len()..].split('.').next().unwrap_or_default();
        if let Ok(last) = digits.parse::<u64>() {
            seconds = seconds.max(last + 1);
        }
    }
    format!("{PREFIX}{seconds:010}.prl")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(dir: &Path) -> TrackedRun {
        TrackedRun {
            name: "a".into(),
            dir: dir.to_owned(),
            settings: vec![("lr".into(), toml::Value::Float(0.5))],
            dataset: "d".into(),
        }
    }

    fn record(step: u64, value: f64) -> Record {
        Record {
            step,
            time: 1.0,
            numbers: vec![("epoch".into(), value)],
        }
    }

    /// Steps and values of all event files of a directory.
    fn scalars(dir: &Path) -> Vec<(i64, String, f32)> {
        let mut found = Vec::new();
        for file in event_files(dir).unwrap() {
            for event in event_file::read(&file).unwrap() {
                let Some(What::Summary(summary)) = event.what else {
                    continue;
                };
                for value in summary.value {
                    if let Some(number) = value.as_scalar() {
                        found.push((event.step, value.tag, number));
                    }
                }
            }
        }
        found
    }

    #[test]
    fn reopened_run_continues_after_its_last_step() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("tb");
        let ids = RunIds::open(dir.path()).unwrap();
        let open = || TensorBoard::new(log.clone(), run(dir.path()), ids.clone());
        let mut first = open();
        assert_eq!(first.open().unwrap(), None);
        first.log(&[record(3, 0.1), record(6, 1e-30)]).unwrap();
        let mut second = open();
        assert_eq!(second.open().unwrap(), Some(6));
        second.log(&[record(9, 0.3)]).unwrap();
        second.end(RunEnd::Finished).unwrap();
        let name = || "epoch".to_owned();
        let expected = [(3, name(), 0.1), (6, name(), 1e-30), (9, name(), 0.3)];
        assert_eq!(scalars(&log.join("a")), expected);
    }

    #[test]
    fn record_that_is_incomplete_is_logged_again() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("tb");
        let ids = RunIds::open(dir.path()).unwrap();
        let open = || TensorBoard::new(log.clone(), run(dir.path()), ids.clone());
        let mut first = open();
        first.open().unwrap();
        first.log(&[record(3, 0.1), record(6, 0.2)]).unwrap();
        let file = event_files(&log.join("a")).unwrap().remove(0);
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(open().open().unwrap(), Some(3));
    }

    #[test]
    fn other_run_of_the_same_name_gets_another_directory() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("tb");
        for (run_dir, expected) in [("x", "a"), ("y", "a-2"), ("x", "a")] {
            let run_dir = dir.path().join(run_dir);
            fs::create_dir_all(&run_dir).unwrap();
            let ids = RunIds::open(&run_dir).unwrap();
            let mut tracker = TensorBoard::new(log.clone(), run(&run_dir), ids.clone());
            tracker.open().unwrap();
            assert_eq!(tracker.dir().unwrap(), log.join(expected));
        }
    }
}
