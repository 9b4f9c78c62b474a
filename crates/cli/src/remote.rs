//! `prl evaluate --via`: evaluates a running server by raw ids and reports as for a local model.
//!
//! A list of 21 items determines every rank up to 20, ties included, which is all that HR, NDCG and
//! reward@1 need (and one of k + 1 items all metrics at k); MRR without a cutoff needs the ranks
//! beyond and is left out. Every response names its model, so a
//! reload during the evaluation is detected.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use prl_core::{PromptSpec, TargetReturn};
use prl_dataset::Kind;
use prl_eval::{Conventions, NOT_RANKED, PerMetric, Report};
use prl_runs::{CaseBatch, CaseLog, RankedCase, Run, Tally, list_len};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::Client;
use crate::exit::Usage;

/// Maximum number of requests in a batch, as allowed by the server.
const MAX_BATCH: usize = 100;
/// Maximum number of items in a list, as allowed by the server.
const MAX_K: usize = 1_000;
/// Maximum size of a batch in bytes: half of what the server allows.
const MAX_BATCH_BYTES: usize = 1 << 19;

/// A server that serves a local run's model.
pub struct Remote<'a> {
    run: &'a Run,
    client: Client,
    model: String,
    is_prompted: bool,
}

/// The server's model is not the run's.
#[derive(Debug)]
pub struct OtherModel {
    url: String,
    found: String,
    expected: String,
}

impl std::fmt::Display for OtherModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} serves model {}, but the run is model {}; set --run to the run that is served",
            self.url, self.found, self.expected
        )
    }
}

impl std::error::Error for OtherModel {}

#[derive(Deserialize)]
struct BatchResponse {
    answers: Vec<Response>,
}

#[derive(Deserialize)]
struct Response {
    items: Vec<ScoredItem>,
    unknown_items: Vec<String>,
    model: String,
}

#[derive(Deserialize)]
struct ScoredItem {
    item: String,
    score: f32,
}

/// A case whose request is not sent yet.
struct PendingCase {
    session: u32,
    kind: Kind,
    /// Its target, if it is in the run's catalogue.
    target: Option<u32>,
    /// Items that the request excludes, ascending.
    excluded: Vec<u32>,
    request: String,
}

/// An evaluation in progress.
struct Progress<'a> {
    pending: Vec<PendingCase>,
    /// Size of the pending requests.
    bytes: usize,
    tally: Tally<'a>,
    /// Length of a list: one more than the metrics need, so that a tie across the end is detected.
    list_len: usize,
    /// Length of a list that the metrics need.
    top_len: usize,
}

impl<'a> Remote<'a> {
    /// Connects to a server and checks its model.
    ///
    /// # Errors
    /// [`OtherModel`], or if the server does not answer.
    pub fn connect(url: &str, run: &'a Run) -> Result<Self> {
        let mut remote = Self {
            run,
            client: Client::new(url),
            model: run.model_name()?,
            is_prompted: false,
        };
        let model: Value = serde_json::from_str(&remote.client.get("/v1/model")?)?;
        remote.check(model["model"].as_str().unwrap_or("without a name"))?;
        remote.is_prompted = model["prompted"] == true;
        Ok(remote)
    }

    /// The report on a log under a prompt, computed from the server's responses.
    pub fn evaluate(
        &self,
        log: &CaseLog<'_>,
        ask: PromptSpec,
        cutoffs: Option<&[u32]>,
    ) -> Result<Report> {
        let top_len = list_len(cutoffs);
        if top_len >= MAX_K {
            let what = format!(
                "-k {top_len}: a server lists at most {MAX_K} items, and one more than the cutoff \
                 is needed to detect ties; use at most {}, or leave --via out",
                MAX_K - 1
            );
            return Err(Usage(what).into());
        }
        let mut progress = Progress {
            pending: Vec::new(),
            bytes: 0,
            tally: Tally::new(self.run, log)?,
            list_len: (top_len + 1).min(self.run.items().len()),
            top_len,
        };
        let start = Instant::now();
        let mut row = 0;
        let mut send = |batch: CaseBatch| {
            let sent = self.add(&mut progress, batch, log.conventions(), ask, row);
            row += 1;
            sent.map_err(|error| prl_runs::Error::Sink(error.into()))
        };
        // A window as long as the longest session holds the whole history.
        let window = log.longest_session().max(1);
        let other_log = log.for_each_batch(1, window, ask, &mut send)?;
        self.flush(&mut progress)?;
        let seconds = start.elapsed().as_secs_f64();
        let prompt = (self.is_prompted || ask.tilt != 0.0).then_some(ask);
        let mut report = progress
            .tally
            .report(log, prompt, other_log, cutoffs, seconds)?;
        without_mrr(&mut report);
        Ok(report)
    }

    /// Adds a batch of one case, and sends the pending requests once they are many.
    fn add(
        &self,
        progress: &mut Progress<'_>,
        mut batch: CaseBatch,
        conventions: Conventions,
        ask: PromptSpec,
        row: usize,
    ) -> Result<()> {
        let mut request = self.request(&batch, ask, row, progress.list_len);
        if conventions.exclude_seen {
            request["exclude_seen"] = true.into();
        } else if conventions.exclude_last {
            request["exclude"] = self.name(&batch.excluded[0]).into();
        }
        let request = request.to_string();
        progress.bytes += request.len();
        progress.pending.push(PendingCase {
            session: batch.sessions[0],
            kind: batch.kinds[0],
            target: batch.targets[0],
            excluded: std::mem::take(&mut batch.excluded[0]),
            request,
        });
        if progress.pending.len() == MAX_BATCH || progress.bytes >= MAX_BATCH_BYTES {
            self.flush(progress)?;
        }
        Ok(())
    }

    /// Raw ids of items.
    fn name(&self, items: &[u32]) -> Vec<&str> {
        let mut ids = Vec::with_capacity(items.len());
        for &item in items {
            ids.extend(self.run.items().raw(item));
        }
        ids
    }

    /// The request about a case whose window holds the whole session.
    fn request(&self, case: &CaseBatch, ask: PromptSpec, row: usize, k: usize) -> Value {
        let window = &case.windows;
        let events = window.time_steps[0] as usize;
        let (history, kinds) = (&window.items[..events], &window.kinds[..events]);
        let mut request = json!({ "items": self.name(history), "k": k, "case": row });
        if kinds.contains(&Kind::Purchase) {
            let mut names = Vec::with_capacity(events);
            for kind in kinds {
                names.push(kind.name());
            }
            request["kinds"] = names.into();
        }
        match ask.target {
            TargetReturn::Relative { mu, eps } => {
                (request["mu"], request["eps"]) = (mu.into(), eps.into());
            }
            TargetReturn::Absolute(value) => request["target_return"] = value.into(),
            TargetReturn::Quantile(q) => request["quantile"] = q.into(),
            TargetReturn::Max => request["max_return"] = true.into(),
            TargetReturn::StateQuantile(q) => request["state_quantile"] = q.into(),
            TargetReturn::Adaptive { kappa } => request["kappa"] = kappa.into(),
            TargetReturn::Oracle => {
                request["target_return"] = case.positions[0].return_of_state.into();
            }
        }
        if ask.tilt != 0.0 {
            request["tilt"] = ask.tilt.into();
        }
        request
    }

    /// Sends the pending requests and adds their cases to the tally.
    fn flush(&self, progress: &mut Progress<'_>) -> Result<()> {
        let pending = std::mem::take(&mut progress.pending);
        progress.bytes = 0;
        if pending.is_empty() {
            return Ok(());
        }
        let mut requests = Vec::with_capacity(pending.len());
        for case in &pending {
            requests.push(case.request.as_str());
        }
        let body = format!("{{\"questions\":[{}]}}", requests.join(","));
        let text = self.client.post("/v1/recommend/batch", body)?;
        let BatchResponse { answers } = serde_json::from_str(&text)?;
        ensure!(
            answers.len() == pending.len(),
            "{} responses to {} requests",
            answers.len(),
            pending.len()
        );
        for (case, response) in pending.iter().zip(&answers) {
            self.check(&response.model)?;
            let ranked = self.run.items().len() - case.excluded.len();
            let top = self
                .scored(response, progress.list_len.min(ranked))
                .context("the server's catalogue is not the run's")?;
            let rank = match case.target {
                Some(target) if case.excluded.binary_search(&target).is_err() => rank(&top, target),
                _ => NOT_RANKED,
            };
            progress.tally.push(&RankedCase {
                session: case.session,
                kind: case.kind,
                rank,
                item: "",
                top: &top[..top.len().min(progress.top_len)],
                step: 0,
                target_return: None,
            })?;
        }
        Ok(())
    }

    /// Item indices and scores of a response; `None` if it does not fit the run's catalogue.
    fn scored(&self, response: &Response, expected: usize) -> Option<Vec<(u32, f32)>> {
        if response.items.len() != expected || !response.unknown_items.is_empty() {
            return None;
        }
        let mut top = Vec::with_capacity(expected);
        for scored in &response.items {
            top.push((self.run.items().index(&scored.item)?, scored.score));
        }
        Some(top)
    }

    fn check(&self, found: &str) -> Result<()> {
        if found == self.model {
            return Ok(());
        }
        Err(OtherModel {
            url: self.client.url().to_owned(),
            found: found.to_owned(),
            expected: self.model.clone(),
        }
        .into())
    }
}

/// Pessimistic rank of the target, from 1: ties count against it. One more than the list's length
/// if the target is not listed.
fn rank(top: &[(u32, f32)], target: u32) -> u32 {
    let Some(at) = top.iter().position(|&(item, _)| item == target) else {
        return top.len() as u32 + 1;
    };
    let mut ties = 0;
    for &(_, score) in &top[at..] {
        ties += u32::from(score == top[at].1);
    }
    at as u32 + ties
}

fn without_mrr(report: &mut Report) {
    fn drop<T>(metrics: [&mut PerMetric<Option<T>>; 3]) {
        for metrics in metrics {
            metrics.mrr = None;
        }
    }
    let (scores, intervals) = (&mut report.scores, &mut report.intervals);
    drop([&mut scores.purchase, &mut scores.click, &mut scores.all]);
    drop([
        &mut intervals.purchase,
        &mut intervals.click,
        &mut intervals.all,
    ]);
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn rank_counts_ties_against_target() {
        let listed = [(40, 9.0), (41, 7.0), (42, 7.0), (43, 7.0), (44, 1.0)];
        let of = |target| rank(&listed, target);
        assert_eq!([40, 41, 42, 43, 44, 45].map(of), [1, 4, 4, 4, 5, 6]);
    }
}
