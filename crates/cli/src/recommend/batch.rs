//! Answers to a file or stream of requests, in batches and in constant memory.

use std::path::Path;
use std::time::Instant;

use prl_core::PromptSpec;
use prl_runs::{Id, InvalidRequest, RecommendRequest, RequestFields, Responder};
use rayon::prelude::*;

use super::lines::Lines;
use super::output::Sink;
#[cfg(feature = "tables")]
use super::table::Table;
use crate::exit::Usage;
use crate::output::errln;

/// Requests that are ranked together, as in `prl evaluate`; answers do not depend on it.
const BATCH: usize = 256;
/// Requests that are held in memory.
const CHUNK: usize = 16 * BATCH;

/// Values of the fields that a request leaves open.
pub struct Defaults {
    /// Number of items, draw and filters.
    pub fields: RequestFields,
    /// The prompt.
    pub ask: PromptSpec,
}

/// Input of requests.
pub enum Source {
    /// JSON lines.
    Lines(Lines),
    /// A Parquet file.
    #[cfg(feature = "tables")]
    Table(Box<Table>),
}

/// A request before it is checked.
pub enum Draft {
    /// A JSON line.
    Text(Vec<u8>),
    /// A row of a table.
    #[cfg(feature = "tables")]
    Fields(Box<RequestFields>),
}

impl Source {
    /// Opens a file of JSON lines or a Parquet file; `None` and `-` are standard input. `columns`
    /// maps fields to columns of a Parquet file.
    pub fn open(path: Option<&Path>, columns: &str) -> anyhow::Result<Self> {
        let path = path.filter(|path| *path != Path::new("-"));
        if let Some(path) = path
            && is_parquet(path)
        {
            #[cfg(feature = "tables")]
            return Ok(Source::Table(Box::new(Table::open(path, columns)?)));
            #[cfg(not(feature = "tables"))]
            return Err(Usage(no_tables(path)).into());
        }
        if !columns.is_empty() {
            let message = "--columns names the columns of a Parquet file; the input is JSON lines";
            return Err(Usage(message.into()).into());
        }
        Ok(Source::Lines(Lines::open(path)?))
    }

    /// The next requests with their lines or rows; empty at the end.
    fn next(&mut self) -> anyhow::Result<Vec<(u64, Draft)>> {
        match self {
            Source::Lines(lines) => {
                let read = lines.next(CHUNK)?.into_iter();
                Ok(read.map(|(line, text)| (line, Draft::Text(text))).collect())
            }
            #[cfg(feature = "tables")]
            Source::Table(table) => table.next(CHUNK),
        }
    }

    /// The place of a request in messages.
    fn place(&self, at: u64) -> String {
        match self {
            Source::Lines(lines) => lines.place(at),
            #[cfg(feature = "tables")]
            Source::Table(table) => table.place(at),
        }
    }
}

/// Whether a path is named as a Parquet file.
pub fn is_parquet(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("parquet"))
}

/// Message of a build without Parquet.
#[cfg(not(feature = "tables"))]
pub fn no_tables(path: &Path) -> String {
    format!(
        "{}: this build has no Parquet; use JSON lines, or build with the feature tables",
        path.display()
    )
}

impl Draft {
    /// Name of the session, and the checked request.
    fn resolve(
        self,
        responder: &Responder,
        defaults: &Defaults,
    ) -> Result<(Option<Id>, RecommendRequest), InvalidRequest> {
        let mut fields = match self {
            Draft::Text(text) => RequestFields::parse(&text)?,
            #[cfg(feature = "tables")]
            Draft::Fields(fields) => *fields,
        };
        fields.fill(&defaults.fields);
        let session = fields.session.clone();
        let request = fields.resolve(defaults.ask)?;
        responder.check(&request)?;
        Ok((session, request))
    }
}

/// Numbers of a batch for the final message.
#[derive(Default)]
struct Counts {
    sessions: u64,
    cold: u64,
    with_unknown: u64,
}

/// Answers the requests of a source in their order. The answers before an invalid request are
/// written to standard output; a file is not written then.
pub fn answer(
    responder: &Responder,
    defaults: &Defaults,
    mut source: Source,
    mut sink: Sink,
) -> anyhow::Result<()> {
    let (start, mut counts) = (Instant::now(), Counts::default());
    loop {
        let drafts = source.next()?;
        if drafts.is_empty() {
            break;
        }
        let check = |(at, draft): (u64, Draft)| {
            let resolved = draft.resolve(responder, defaults);
            resolved.map_err(|error| (at, error))
        };
        let checked: Vec<_> = drafts.into_par_iter().map(check).collect();
        let (mut sessions, mut requests, mut invalid) = (Vec::new(), Vec::new(), None);
        for request in checked {
            match request {
                Ok((session, request)) => {
                    sessions.push(session);
                    requests.push(request);
                }
                Err(error) => {
                    invalid = Some(error);
                    break;
                }
            }
        }
        for (sessions, requests) in sessions.chunks(BATCH).zip(requests.chunks(BATCH)) {
            let answers = responder.respond(requests)?;
            for response in &answers {
                counts.sessions += 1;
                counts.cold += u64::from(response.cold);
                counts.with_unknown += u64::from(!response.answer.unknown_items.is_empty());
            }
            sink.write(sessions, &answers)?;
        }
        if let Some((at, error)) = invalid {
            return Err(Usage(error.within(&source.place(at)).to_string()).into());
        }
    }
    if sink.finish()? {
        let Counts {
            sessions,
            cold,
            with_unknown,
        } = counts;
        let seconds = start.elapsed().as_secs_f64();
        errln!(
            "{sessions} sessions in {seconds:.1} s ({:.0}/s); {with_unknown} with items outside \
             the catalogue, {cold} without any item in it",
            sessions as f64 / seconds.max(1e-9)
        );
    }
    Ok(())
}
