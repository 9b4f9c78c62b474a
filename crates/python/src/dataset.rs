//! Prepared datasets: their manifest, items and events.

use std::path::PathBuf;

use polars::prelude::*;
use prl_cli::api;
use pyo3::prelude::*;

use crate::errors::of_command;
use crate::frame::Frame;

/// A prepared dataset, mapped from its directory.
#[pyclass(frozen, module = "prl._prl")]
pub struct Dataset(prl_dataset::Dataset);

#[pymethods]
impl Dataset {
    /// Opens the dataset in a directory.
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let opened = prl_dataset::Dataset::open(&path);
        let opened = opened.map_err(|error| of_command(py, &anyhow::Error::from(error).into()))?;
        Ok(Self(opened))
    }

    /// The manifest, as JSON.
    fn manifest(&self, py: Python<'_>) -> PyResult<String> {
        let text = serde_json::to_string(self.0.manifest());
        text.map_err(|error| of_command(py, &failed(&error)))
    }

    /// Raw ids of the items, by index.
    fn items(&self) -> Vec<String> {
        let items = self.0.items();
        let mut raw = Vec::with_capacity(items.len());
        for index in 0..items.len() as u32 {
            raw.push(items.raw(index).unwrap_or_default().to_owned());
        }
        raw
    }

    /// The events, session by session, oldest first: `session` (number of the session), `item`
    /// (index), `kind` (click or purchase), `split` (train, val or test) and `time` (ms).
    fn events(&self, py: Python<'_>) -> PyResult<Frame> {
        let frame = py.detach(|| events(&self.0));
        frame
            .map(Frame)
            .map_err(|error| of_command(py, &failed(&error)))
    }
}

fn failed(error: &dyn std::fmt::Display) -> api::Error {
    api::Error {
        kind: api::Kind::Failed,
        message: error.to_string(),
    }
}

fn events(data: &prl_dataset::Dataset) -> PolarsResult<DataFrame> {
    let n = data.item_indices().len();
    let (mut sessions, mut kinds, mut splits) = (
        Vec::with_capacity(n),
        Vec::with_capacity(n),
        Vec::with_capacity(n),
    );
    for (number, session) in data.sessions().enumerate() {
        for event in session {
            sessions.push(number as u32);
            kinds.push(data.kinds()[event].name());
            splits.push(data.splits()[event].name());
        }
    }
    DataFrame::new(
        n,
        vec![
            Column::new("session".into(), sessions),
            Column::new("item".into(), data.item_indices()),
            Column::new("kind".into(), kinds),
            Column::new("split".into(), splits),
            Column::new("time".into(), data.times()),
        ],
    )
}
