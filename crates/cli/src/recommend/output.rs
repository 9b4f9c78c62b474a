//! Answers as JSON lines or Parquet.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use prl_fs::StagedFile;
use prl_runs::{Id, RecommendResponse};
use rayon::prelude::*;
use serde::Serialize;

use super::batch::is_parquet;
#[cfg(not(feature = "tables"))]
use crate::exit::Usage;

/// Output of answers. A file appears when it is finished.
pub enum Sink {
    /// JSON lines on standard output.
    Stdout,
    /// A file of JSON lines.
    Lines(StagedFile),
    /// A Parquet file.
    #[cfg(feature = "tables")]
    Table(Box<prl_tables::TableWriter>),
}

/// An answer with the name of its session.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a Id>,
    #[serde(flatten)]
    response: &'a RecommendResponse,
}

impl Sink {
    /// Starts a file; `None` and `-` are standard output.
    pub fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Sink::Stdout);
        };
        if is_parquet(path) {
            #[cfg(feature = "tables")]
            return Ok(Sink::Table(Box::new(super::table::create(path)?)));
            #[cfg(not(feature = "tables"))]
            return Err(Usage(super::batch::no_tables(path)).into());
        }
        let file = StagedFile::create(path);
        let file = file.with_context(|| format!("failed to create {}", path.display()))?;
        Ok(Sink::Lines(file))
    }

    /// Writes answers with the names of their sessions.
    pub fn write(
        &mut self,
        sessions: &[Option<Id>],
        answers: &[RecommendResponse],
    ) -> anyhow::Result<()> {
        match self {
            Sink::Stdout => {
                let mut out = std::io::stdout().lock();
                out.write_all(&to_lines(sessions, answers)?)?;
                out.flush()?;
            }
            Sink::Lines(file) => {
                let written = file.write_all(&to_lines(sessions, answers)?);
                written.with_context(|| format!("failed to write {}", file.path().display()))?;
            }
            #[cfg(feature = "tables")]
            Sink::Table(table) => {
                super::table::check(answers)?;
                super::table::write(table, sessions, answers)?;
            }
        }
        Ok(())
    }

    /// Completes the output; returns whether it is a file.
    pub fn finish(self) -> anyhow::Result<bool> {
        match self {
            Sink::Stdout => return Ok(false),
            Sink::Lines(file) => file.publish()?,
            #[cfg(feature = "tables")]
            Sink::Table(table) => table.finish()?,
        }
        Ok(true)
    }
}

fn to_lines(
    sessions: &[Option<Id>],
    answers: &[RecommendResponse],
) -> Result<Vec<u8>, serde_json::Error> {
    let one = |(session, response): (&Option<Id>, &RecommendResponse)| {
        let session = session.as_ref();
        let mut line = serde_json::to_vec(&Line { session, response })?;
        line.push(b'\n');
        Ok(line)
    };
    let pairs = sessions.par_iter().zip(answers);
    let lines: Vec<Vec<u8>> = pairs.map(one).collect::<Result<_, _>>()?;
    Ok(lines.concat())
}
