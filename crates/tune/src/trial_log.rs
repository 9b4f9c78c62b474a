//! `trials.jsonl`: the trials of a search, an event a line.
//!
//! A line is appended and synced when a trial starts and when it ends. Killed at any time, the file
//! has all lines but the last whole; a part of a line is removed when the log is opened.

use std::path::{Path, PathBuf};

use prl_fs::{append_synced, read_at_most, write_atomic};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::space::Assignment;
use crate::trial::{CurvePoint, Status, Trial};

/// Largest log that is read, in bytes: more than a million trials.
const MAX_BYTES: u64 = 1 << 30;

/// The log of a search.
pub struct TrialLog {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase", deny_unknown_fields)]
enum Event {
    Started {
        trial: u64,
        settings: Assignment,
    },
    Ended {
        trial: u64,
        status: Status,
        curve: Vec<CurvePoint>,
        seconds: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
}

impl TrialLog {
    /// Opens a log, created if absent; returns it with the trials in it.
    ///
    /// # Errors
    /// [`Error::Log`] if a line but the last is damaged, or its trial is not the next one.
    pub fn open(path: &Path) -> Result<(Self, Vec<Trial>)> {
        let log = Self {
            path: path.to_owned(),
        };
        if !path.exists() {
            return Ok((log, Vec::new()));
        }
        let bytes = read_at_most(path, MAX_BYTES)?;
        let end = bytes.iter().rposition(|&byte| byte == b'\n');
        let whole = end.map_or(0, |at| at + 1);
        if whole < bytes.len() {
            write_atomic(path, &bytes[..whole])?;
        }
        let mut trials = Vec::new();
        let lines = bytes[..whole].split(|&byte| byte == b'\n');
        for (i, line) in lines.enumerate() {
            if !line.is_empty() {
                log.replay(line, &mut trials).map_err(|what| Error::Log {
                    path: path.to_owned(),
                    line: i + 1,
                    what,
                })?;
            }
        }
        Ok((log, trials))
    }

    /// Records that a trial has started.
    ///
    /// # Errors
    /// [`Error::Fs`] if the file cannot be written.
    pub fn start(&self, trial: &Trial) -> Result<()> {
        self.append(&Event::Started {
            trial: trial.number,
            settings: trial.settings.clone(),
        })
    }

    /// Records the end of a trial.
    ///
    /// # Errors
    /// [`Error::Fs`] if the file cannot be written.
    pub fn end(&self, trial: &Trial) -> Result<()> {
        self.append(&Event::Ended {
            trial: trial.number,
            status: trial.status,
            curve: trial.curve.clone(),
            seconds: trial.seconds,
            message: trial.message.clone(),
        })
    }

    fn append(&self, event: &Event) -> Result<()> {
        // Events are numbers, names and texts, which always serialize.
        let mut line = serde_json::to_vec(event).unwrap_or_default();
        line.push(b'\n');
        Ok(append_synced(&self.path, &line)?)
    }

    /// Applies one line to the trials of the lines before it.
    fn replay(&self, line: &[u8], trials: &mut Vec<Trial>) -> std::result::Result<(), String> {
        match serde_json::from_slice(line).map_err(|error| error.to_string())? {
            Event::Started { trial, settings } => {
                if trial != trials.len() as u64 {
                    return Err(format!(
                        "trial {trial} starts after {} others",
                        trials.len()
                    ));
                }
                trials.push(Trial::new(trial, settings));
            }
            Event::Ended {
                trial: number,
                status,
                curve,
                seconds,
                message,
            } => {
                let Some(trial) = trials.get_mut(number as usize) else {
                    return Err(format!("trial {number} ends and has not started"));
                };
                *trial = Trial {
                    status,
                    curve,
                    seconds,
                    message,
                    ..trial.clone()
                };
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::Value;

    fn trial(number: u64) -> Trial {
        let mut settings = Assignment::new();
        settings.insert("dim".into(), Value::Integer(64));
        settings.insert("lr".into(), Value::Float(1.0));
        settings.insert("encoder".into(), Value::String("gru".into()));
        settings.insert("tied".into(), Value::Boolean(true));
        Trial::new(number, settings)
    }

    fn ended(number: u64) -> Trial {
        let curve = vec![CurvePoint {
            epoch: 1.0,
            value: 0.1 + 0.2,
        }];
        Trial {
            status: Status::Finished,
            curve,
            seconds: 2.5,
            ..trial(number)
        }
    }

    #[test]
    fn reopened_log_has_the_trials_with_their_types() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trials.jsonl");
        let (log, trials) = TrialLog::open(&path).unwrap();
        assert!(trials.is_empty());
        log.start(&trial(0)).unwrap();
        log.start(&trial(1)).unwrap();
        log.end(&ended(0)).unwrap();
        let (_, trials) = TrialLog::open(&path).unwrap();
        assert_eq!(trials, [ended(0), trial(1)]);
    }

    #[test]
    fn log_cut_at_any_byte_has_the_events_of_its_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trials.jsonl");
        let (log, _) = TrialLog::open(&path).unwrap();
        log.start(&trial(0)).unwrap();
        log.end(&ended(0)).unwrap();
        log.start(&trial(1)).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for cut in (0..=bytes.len()).step_by(3) {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let lines = bytes[..cut].iter().filter(|&&byte| byte == b'\n').count();
            let expected = [
                vec![],
                vec![trial(0)],
                vec![ended(0)],
                vec![ended(0), trial(1)],
            ];
            let (log, trials) = TrialLog::open(&path).unwrap();
            assert_eq!(trials, expected[lines], "cut at {cut}");
            // The log can be continued.
            log.start(&trial(trials.len() as u64)).unwrap();
            assert_eq!(TrialLog::open(&path).unwrap().1.len(), trials.len() + 1);
        }
    }

    #[test]
    fn damaged_line_is_reported_with_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trials.jsonl");
        let (log, _) = TrialLog::open(&path).unwrap();
        log.start(&trial(0)).unwrap();
        let first = std::fs::read_to_string(&path).unwrap();
        for (text, expected) in [
            (format!("{first}xyz\n{first}"), ":2: expected value"),
            (
                format!("{first}{first}"),
                ":2: trial 0 starts after 1 others",
            ),
            (
                format!(
                    "{first}{}\n",
                    r#"{"event":"ended","trial":5,"status":"failed","curve":[],"seconds":0.0}"#
                ),
                ":2: trial 5 ends and has not started",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = TrialLog::open(&path).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
