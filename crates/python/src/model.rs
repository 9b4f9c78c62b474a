//! A run that is loaded to recommend and to evaluate.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use polars::prelude::*;
use prl_cli::api::{self, Error, Kind};
use prl_runs::{
    FromJson, InvalidRequest, Json, RecommendRequest, RecommendResponse, RequestFields, Responder,
    Run,
};
use pyo3::prelude::*;
use rayon::prelude::*;

use crate::errors::{of_command, usage};
use crate::frame::Frame;
use crate::scorer::{self, Cases};
use crate::sessions::{self, Sessions};
use crate::{jobs, process, tables};

/// Requests that are ranked together; answers do not depend on it.
const BATCH: usize = 256;

/// A run with its weights in memory.
#[pyclass(frozen, module = "prl._prl")]
pub struct Model {
    responder: Responder,
    /// Whether all ids of the catalogue are integers as Python writes them.
    has_integer_catalogue: bool,
}

#[pymethods]
impl Model {
    /// Loads the run in a directory.
    #[new]
    fn new(py: Python<'_>, path: PathBuf, device: &str, threads: Option<usize>) -> PyResult<Self> {
        process::enter(py)?;
        let loaded = py.detach(|| load(&path, device, threads));
        loaded.map_err(|error| of_command(py, &error))
    }

    /// Name of the model: the start of its weights' checksum.
    fn name(&self, py: Python<'_>) -> PyResult<String> {
        let name = self.responder.run().model_name();
        name.map_err(|error| of_command(py, &anyhow::Error::from(error).into()))
    }

    /// The settings, as JSON.
    fn settings(&self, py: Python<'_>) -> PyResult<String> {
        let text = serde_json::to_string(self.responder.run().config());
        text.map_err(|error| of_command(py, &anyhow::Error::from(error).into()))
    }

    /// Raw ids of the items, by index.
    fn items(&self) -> Vec<String> {
        let items = self.responder.run().items();
        let mut raw = Vec::with_capacity(items.len());
        for index in 0..items.len() as u32 {
            raw.push(items.raw(index).unwrap_or_default().to_owned());
        }
        raw
    }

    /// Answers requests, a JSON list; what they leave open is in `defaults`, a JSON object. A JSON
    /// list.
    fn answer(&self, py: Python<'_>, requests: &str, defaults: &str) -> PyResult<String> {
        let answers = jobs::simple(py, |stop| {
            let requests = parse_list(requests)?;
            self.respond(requests, defaults, stop, "session")
        })?;
        let answers = answers.map_err(|error| of_command(py, &error))?;
        let text = serde_json::to_string(&answers);
        text.map_err(|error| of_command(py, &anyhow::Error::from(error).into()))
    }

    /// Answers requests as [`answer`](Self::answer) does; a frame, whose sessions are named by
    /// `names`.
    fn answer_named(
        &self,
        py: Python<'_>,
        requests: &str,
        defaults: &str,
        names: &Frame,
        has_integer_items: bool,
    ) -> PyResult<Frame> {
        let work = |stop: &_| {
            let sessions = Sessions {
                requests: parse_list(requests)?,
                names: names.0.columns()[0].clone(),
                has_integer_items,
            };
            self.tabulate(sessions, defaults, stop)
        };
        let answered = jobs::simple(py, work)?;
        let frame = answered.map_err(|error| of_command(py, &error))?;
        Ok(Frame(frame))
    }

    /// Answers the sessions of a frame; a frame.
    fn answer_frame(&self, py: Python<'_>, frame: &Frame, defaults: &str) -> PyResult<Frame> {
        let work = |stop: &_| {
            let sessions = sessions::read(&frame.0);
            let sessions = sessions.map_err(|message| Error {
                kind: Kind::BadInput,
                message,
            })?;
            self.tabulate(sessions, defaults, stop)
        };
        let answered = jobs::simple(py, work)?;
        let frame = answered.map_err(|error| of_command(py, &error))?;
        Ok(Frame(frame))
    }

    /// Evaluates another model on the cases of this run: `scorer` gets a list of sessions, each a
    /// pair of the bytes of its item indices (u32) and its number of events, and returns the bytes
    /// of the scores (f32) `[sessions, items]`. The report, as JSON.
    #[allow(clippy::too_many_arguments)]
    fn evaluate_scorer(
        &self,
        py: Python<'_>,
        scorer: &Bound<'_, PyAny>,
        split: &str,
        data: Option<PathBuf>,
        conventions: (bool, bool, bool),
        cutoffs: Option<Vec<u32>>,
        batch_size: usize,
    ) -> PyResult<String> {
        process::enter(py)?;
        let Some(split) = scorer::split(split) else {
            return Err(usage(py, "split: expected train, val or test"));
        };
        let (skip_first, exclude_last, exclude_seen) = conventions;
        let cases = Cases {
            run: self.responder.run(),
            split,
            data: data.as_deref(),
            conventions: prl_eval::Conventions {
                skip_first,
                exclude_last,
                exclude_seen,
            },
            cutoffs: cutoffs.as_deref(),
            batch_size,
        };
        let report = scorer::evaluate(&cases, scorer)?;
        let text = serde_json::to_string(&report);
        text.map_err(|error| of_command(py, &anyhow::Error::from(error).into()))
    }
}

fn load(path: &std::path::Path, device: &str, threads: Option<usize>) -> api::Result<Model> {
    let device = api::open_device(device, threads)?;
    let run = Run::open(path).map_err(anyhow::Error::from)?;
    let recommender = run.load(&device).map_err(anyhow::Error::from)?;
    let responder = Responder::new(run, recommender).map_err(anyhow::Error::from)?;
    let items = responder.run().items();
    let is_integer = |index| {
        let raw = items.raw(index).unwrap_or_default();
        let parsed = raw.parse::<i64>();
        parsed.is_ok_and(|number| number.to_string() == raw)
    };
    let has_integer_catalogue = (0..items.len() as u32).into_par_iter().all(is_integer);
    Ok(Model {
        has_integer_catalogue,
        responder,
    })
}

/// The error of a request, at its place.
fn invalid(error: &InvalidRequest) -> Error {
    Error {
        kind: Kind::Usage,
        message: error.to_string(),
    }
}

fn parse_list(text: &str) -> api::Result<Vec<RequestFields>> {
    let requests: Vec<Json> = serde_json::from_str(text).map_err(anyhow::Error::from)?;
    let mut fields = Vec::with_capacity(requests.len());
    for (at, request) in requests.into_iter().enumerate() {
        let parsed = RequestFields::from_json(request);
        fields.push(parsed.map_err(|e| invalid(&e.within(&format!("session {at}"))))?);
    }
    Ok(fields)
}

impl Model {
    /// Answers requests in their order.
    fn respond(
        &self,
        requests: Vec<RequestFields>,
        defaults: &str,
        stop: &AtomicBool,
        place: &str,
    ) -> api::Result<Vec<RecommendResponse>> {
        let defaults = RequestFields::parse(defaults.as_bytes()).map_err(|e| invalid(&e))?;
        let ask = defaults.prompt(self.responder.run().ask());
        let ask = ask.map_err(|e| invalid(&e))?;
        // What is wrong for every session is said of none.
        let mut empty = defaults.clone();
        empty.items = Some(Vec::new());
        let checked = empty.resolve(ask);
        let checked = checked.and_then(|request| self.responder.check(&request));
        checked.map_err(|e| invalid(&e))?;
        let resolve = |(at, mut fields): (usize, RequestFields)| {
            fields.fill(&defaults);
            let resolved = fields.resolve(ask).and_then(|request| {
                self.responder.check(&request)?;
                Ok(request)
            });
            resolved.map_err(|e| invalid(&e.within(&format!("{place} {at}"))))
        };
        let requests = requests.into_par_iter().enumerate().map(resolve);
        let requests: Vec<RecommendRequest> = requests.collect::<api::Result<_>>()?;
        let mut answers = Vec::with_capacity(requests.len());
        for batch in requests.chunks(BATCH) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let responses = self.responder.respond(batch);
            answers.extend(responses.map_err(anyhow::Error::from)?);
        }
        Ok(answers)
    }

    /// Answers sessions as a frame.
    fn tabulate(
        &self,
        mut sessions: Sessions,
        defaults: &str,
        stop: &AtomicBool,
    ) -> api::Result<DataFrame> {
        let requests = std::mem::take(&mut sessions.requests);
        let answers = self.respond(requests, defaults, stop, "session")?;
        let properties = RequestFields::parse(defaults.as_bytes()).map_err(|e| invalid(&e))?;
        let properties = properties.properties.unwrap_or_default();
        tables::check(&properties).map_err(|message| Error {
            kind: Kind::Usage,
            message,
        })?;
        let frame = tables::frame(&sessions, &answers, &properties, self.has_integer_catalogue);
        Ok(frame.map_err(anyhow::Error::from)?)
    }
}
