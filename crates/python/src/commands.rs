//! The commands: arguments as on the command line, results as JSON.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prl_cli::api::{self, Error, ValueType};
use prl_cli::{Program, set_program};
use prl_train::{Evaluation, Observer};
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::errors::{exception, of_command, usage};
use crate::frame::Frame;
use crate::jobs;

/// Runs the command line with the arguments `argv`, the program's name first, and exits.
/// `interpreter` runs it again as `-m prl`.
#[pyfunction]
pub fn main(py: Python<'_>, argv: Vec<OsString>, interpreter: PathBuf) -> u8 {
    set_program_of(interpreter);
    // The command handles signals itself.
    py.detach(|| prl_cli::code_from(argv))
}

fn set_program_of(interpreter: PathBuf) {
    set_program(Program {
        path: interpreter,
        arguments: vec!["-m".into(), "prl".into()],
    });
}

/// The flags of a command, as a JSON list of objects.
#[pyfunction]
pub fn flags(py: Python<'_>, command: &str) -> PyResult<String> {
    let Some(flags) = api::flags(command) else {
        return Err(usage(py, &format!("{command}: no such command")));
    };
    let mut all = Vec::with_capacity(flags.len());
    for flag in flags {
        let of = match flag.of {
            ValueType::Integer => "int",
            ValueType::Number => "float",
            ValueType::Path => "path",
            ValueType::Text => "str",
        };
        all.push(json!({
            "name": flag.name,
            "takes_value": flag.takes_value,
            "is_list": flag.is_list,
            "separator": flag.separator,
            "of": of,
            "values": flag.values,
            "help": flag.help,
        }));
    }
    Ok(Value::from(all).to_string())
}

/// Prepares a dataset from a frame; the manifest.
#[pyfunction]
pub fn prepare_frame(py: Python<'_>, frame: &Frame, arguments: Vec<String>) -> PyResult<String> {
    let lazy = frame.lazy();
    let result = jobs::simple(py, |_| api::prepare_frame(lazy, &arguments))?;
    text(py, result)
}

/// Trains a run; the manifest. `observer` has the methods `step(step, total, loss)`, called with
/// the latest step about twenty times a second, and `evaluated(record, is_best)`, called with each
/// line of the run's metrics.jsonl.
#[pyfunction]
pub fn train(
    py: Python<'_>,
    arguments: Vec<String>,
    observer: &Bound<'_, PyAny>,
) -> PyResult<String> {
    let progress = Progress::default();
    let work = |stop: &_| api::train(&arguments, &mut Recorder(&progress), stop);
    let (result, raised) = jobs::run(py, work, &mut |_| progress.show(observer))?;
    match (result, raised) {
        (Ok(manifest), None) => text(py, value(&manifest)),
        (Ok(_), Some(raised)) => Err(raised),
        (Err(error), Some(raised)) if !raised.is_instance_of::<PyKeyboardInterrupt>(py) => {
            // The exception of a callback, with the end of the training as its context.
            raised.set_cause(py, Some(of_command(py, &error)));
            Err(raised)
        }
        (Err(error), _) => Err(of_command(py, &error)),
    }
}

/// Evaluates a run; the report.
#[pyfunction]
pub fn evaluate(py: Python<'_>, arguments: Vec<String>) -> PyResult<String> {
    let result = jobs::simple(py, |stop| api::evaluate(&arguments, stop))?;
    text(py, result)
}

/// Searches for settings; all trials. `interpreter` runs each as `-m prl train`.
#[pyfunction]
pub fn tune(py: Python<'_>, arguments: Vec<String>, interpreter: PathBuf) -> PyResult<String> {
    set_program_of(interpreter);
    let (result, raised) = jobs::run(py, |stop| api::tune(&arguments, stop), &mut |_| Ok(()))?;
    match (result, raised) {
        (result, None) => text(py, result),
        (Err(error), Some(_)) => Err(of_command(py, &error)),
        (Ok(_), Some(raised)) => Err(raised),
    }
}

/// Estimates the returns of an experiment's arms; the report.
#[pyfunction]
pub fn ope(py: Python<'_>, arguments: Vec<String>) -> PyResult<String> {
    let result = jobs::simple(py, |_| api::ope(&arguments))?;
    text(py, result)
}

fn value(of: &impl serde::Serialize) -> Result<Value, Error> {
    let made = serde_json::to_value(of);
    made.map_err(|error| Error {
        kind: api::Kind::Failed,
        message: error.to_string(),
    })
}

fn text(py: Python<'_>, result: Result<Value, Error>) -> PyResult<String> {
    match result {
        Ok(value) => Ok(value.to_string()),
        Err(error) => Err(of_command(py, &error)),
    }
}

/// Progress of a training that has not been shown.
#[derive(Default)]
struct Progress(Mutex<Unshown>);

#[derive(Default)]
struct Unshown {
    /// The latest step: its number, the number of all, and its loss.
    step: Option<(u64, u64, f64)>,
    evaluations: Vec<(Evaluation, bool)>,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, Unshown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, observer: &Bound<'_, PyAny>) -> PyResult<()> {
        let unshown = std::mem::take(&mut *self.lock());
        for (evaluation, is_best) in unshown.evaluations {
            let record = serde_json::to_string(&evaluation);
            let record = record.map_err(|e| exception(observer.py(), "Error", &e.to_string()))?;
            observer.call_method1("evaluated", (record, is_best))?;
        }
        if let Some(step) = unshown.step {
            observer.call_method1("step", step)?;
        }
        Ok(())
    }
}

/// Records progress on the training's thread.
struct Recorder<'a>(&'a Progress);

impl Observer for Recorder<'_> {
    fn step(&mut self, step: u64, total: u64, loss: f64) {
        self.0.lock().step = Some((step, total, loss));
    }

    fn evaluated(&mut self, evaluation: &Evaluation, is_best: bool) {
        self.0
            .lock()
            .evaluations
            .push((evaluation.clone(), is_best));
    }
}
