//! Experiments and their logs.

use prl_arms::{Experiment, Log, Record, SessionOptions};
use prl_data::{Source, Table};

use crate::raw::{check, written};

/// Definition of an experiment. The arms of an accepted one have probabilities.
pub fn experiment(input: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(input).map_err(|error| error.to_string())?;
    let experiment = Experiment::from_toml("e.toml", text).map_err(|error| error.to_string())?;
    let total: f64 = experiment.arms().iter().map(|arm| arm.p).sum();
    assert!((total - 1.0).abs() < 1e-9, "{total}");
    for session in ["", "1", "session"] {
        let assigned = experiment.assign(session);
        assert_eq!(assigned.arm, &experiment.arms()[assigned.index]);
    }
    Ok(())
}

/// Log of an experiment, as sessions and as training data. What is read is what is written again.
pub fn arms_log(input: &[u8]) -> Result<(), String> {
    let path = written("log.jsonl", input);
    let log = Log::open(&path).map_err(|error| error.to_string())?;
    let mut records = Vec::new();
    for read in log.records() {
        let (_, record) = read.map_err(|error| error.to_string())?;
        records.push(record);
    }
    for record in &records {
        let line = record
            .clone()
            .into_line()
            .map_err(|error| error.to_string())?;
        assert_eq!(&Record::parse(&line)?, record);
    }
    let sessions = log.sessions(&SessionOptions::default());
    let prepared = check(Source::ArmsLog {
        input: path.into(),
        table: Table::of_arms_log(false),
    });
    sessions.map_err(|error| error.to_string())?;
    prepared
}
