//! `prl evaluate --via`: evaluates a running server by raw ids and reports as for a local model.
//!
//! A list of 21 items determines every rank up to 20, ties included, which is all that HR, NDCG and
//! reward@1 need; MRR needs the ranks beyond and is left out. Every response names its model, so a
//! reload during the evaluation is detected.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use prl_core::{PromptSpec, TargetReturn};
use prl_dataset::{Dataset, Split};
use prl_eval::{Case, PerMetric, Report, TOP};
use prl_runs::{Cases, Run, report, rows};
use serde::Deserialize;
use serde_json::{Value, json};

/// Maximum number of requests in a batch, as allowed by the server.
const MAX_BATCH: usize = 100;
/// Maximum size of a batch in bytes: half of what the server allows.
const MAX_BATCH_BYTES: usize = 1 << 19;
/// Time limit of a call.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A server that serves a local run's model.
pub struct Remote<'a> {
    run: &'a Run,
    agent: ureq::Agent,
    url: String,
    /// Value of the header Authorization, if there is an API key.
    authorization: Option<String>,
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
    target: u32,
    request: String,
}

impl<'a> Remote<'a> {
    /// Connects to a server and checks its model.
    ///
    /// # Errors
    /// [`OtherModel`], or if the server does not answer.
    pub fn connect(url: &str, run: &'a Run) -> Result<Self> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .build();
        let key = std::env::var("PRL_API_KEY").ok();
        let mut remote = Self {
            run,
            agent: config.into(),
            url: url.trim_end_matches('/').to_owned(),
            authorization: key.map(|key| format!("Bearer {}", key.trim())),
            model: run.model_name()?,
            is_prompted: false,
        };
        let model: Value = serde_json::from_str(&remote.get("/v1/model")?)?;
        remote.check(model["model"].as_str().unwrap_or("without a name"))?;
        remote.is_prompted = model["prompted"] == true;
        Ok(remote)
    }

    /// The report on a split under a prompt, computed from the server's responses.
    pub fn evaluate(&self, data: &Dataset, split: Split, ask: PromptSpec) -> Result<Report> {
        let rows = rows(self.run, data, split)?;
        let longest = data.sessions().map(|session| session.len()).max();
        // A window as long as the longest session holds the whole history.
        let window = longest.unwrap_or(0).max(1);
        let mut cases = Cases {
            cases: Vec::with_capacity(rows.len()),
            sessions: rows.session_of_examples(),
            top: Vec::new(),
        };
        let (start, mut pending, mut bytes) = (Instant::now(), Vec::new(), 0);
        for row in 0..rows.len() {
            let batch = rows.batch([row], window, None);
            let history = &batch.windows.items[..batch.windows.time_steps[0] as usize];
            cases.cases.push(Case {
                kind: batch.kinds[0],
                rank: 0,
            });
            let request = self.request(history, ask, row).to_string();
            bytes += request.len();
            pending.push(PendingCase {
                target: batch.targets[0],
                request,
            });
            let is_full = pending.len() == MAX_BATCH || bytes >= MAX_BATCH_BYTES;
            if is_full || row + 1 == rows.len() {
                self.rank_batch(&pending, &mut cases)?;
                pending.clear();
                bytes = 0;
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let prompt = self.is_prompted.then_some(ask);
        let mut report = report(self.run, data, split, prompt, &cases)?;
        report.events_per_second = Some(rows.len() as f64 / seconds.max(1e-9));
        without_mrr(&mut report);
        Ok(report)
    }

    fn request(&self, history: &[u32], ask: PromptSpec, row: usize) -> Value {
        let mut items = Vec::with_capacity(history.len());
        for &item in history {
            items.extend(self.run.items().raw(item));
        }
        let mut request = json!({ "items": items, "k": self.list_len(), "case": row });
        match ask.target {
            TargetReturn::Relative { mu, eps } => {
                (request["mu"], request["eps"]) = (mu.into(), eps.into());
            }
            TargetReturn::Absolute(value) => request["target_return"] = value.into(),
            TargetReturn::Quantile(q) => request["quantile"] = q.into(),
            TargetReturn::Max => request["max_return"] = true.into(),
        }
        request
    }

    /// Length of a list: one more than the metrics need, so that a tie across the end is detected.
    fn list_len(&self) -> usize {
        (TOP + 1).min(self.run.items().len())
    }

    /// Sends the pending requests and sets the ranks of the last cases.
    fn rank_batch(&self, pending: &[PendingCase], cases: &mut Cases) -> Result<()> {
        let requests: Vec<&str> = pending.iter().map(|case| case.request.as_str()).collect();
        let body = format!("{{\"questions\":[{}]}}", requests.join(","));
        let text = self.post("/v1/recommend/batch", body)?;
        let BatchResponse { answers } = serde_json::from_str(&text)?;
        ensure!(
            answers.len() == pending.len(),
            "{} responses to {} requests",
            answers.len(),
            pending.len()
        );
        let first = cases.cases.len() - pending.len();
        for (i, response) in answers.iter().enumerate() {
            self.check(&response.model)?;
            let items = self
                .indices(response)
                .context("the server's catalogue is not the run's")?;
            cases.cases[first + i].rank = rank(&items, &response.items, pending[i].target);
            cases.top.extend(&items[..TOP.min(items.len())]);
        }
        Ok(())
    }

    /// Item indices of a response; `None` if it does not fit the run's catalogue.
    fn indices(&self, response: &Response) -> Option<Vec<u32>> {
        if response.items.len() != self.list_len() || !response.unknown_items.is_empty() {
            return None;
        }
        let mut indices = Vec::with_capacity(response.items.len());
        for scored in &response.items {
            indices.push(self.run.items().index(&scored.item)?);
        }
        Some(indices)
    }

    fn check(&self, found: &str) -> Result<()> {
        if found == self.model {
            return Ok(());
        }
        Err(OtherModel {
            url: self.url.clone(),
            found: found.to_owned(),
            expected: self.model.clone(),
        }
        .into())
    }

    fn get(&self, path: &str) -> Result<String> {
        let url = format!("{}{path}", self.url);
        let mut request = self.agent.get(&url);
        if let Some(value) = &self.authorization {
            request = request.header("authorization", value);
        }
        body(&url, request.call())
    }

    fn post(&self, path: &str, json: String) -> Result<String> {
        let url = format!("{}{path}", self.url);
        let mut request = self
            .agent
            .post(&url)
            .header("content-type", "application/json");
        if let Some(value) = &self.authorization {
            request = request.header("authorization", value);
        }
        body(&url, request.send(json))
    }
}

/// The body of a successful response.
fn body(
    url: &str,
    response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<String> {
    let mut response = response.with_context(|| format!("no answer from {url}"))?;
    let text = response
        .body_mut()
        .read_to_string()
        .with_context(|| format!("incomplete answer from {url}"))?;
    if response.status().is_success() {
        return Ok(text);
    }
    let problem: Value = serde_json::from_str(&text).unwrap_or_default();
    bail!(
        "{url}: {}: {}",
        response.status(),
        problem["detail"]
            .as_str()
            .unwrap_or("not a response of prl serve")
    )
}

/// Pessimistic rank of the target, from 1: ties count against it. One more than the list's length
/// if the target is not listed.
fn rank(items: &[u32], listed: &[ScoredItem], target: u32) -> u32 {
    let Some(at) = items.iter().position(|&item| item == target) else {
        return items.len() as u32 + 1;
    };
    let ties = listed[at..]
        .iter()
        .take_while(|other| other.score == listed[at].score)
        .count();
    (at + ties) as u32
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
    use super::{ScoredItem, rank};

    #[test]
    fn rank_counts_ties_against_target() {
        let listed: Vec<ScoredItem> = [9.0, 7.0, 7.0, 7.0, 1.0]
            .iter()
            .map(|&score| ScoredItem {
                item: String::new(),
                score,
            })
            .collect();
        let of = |target| rank(&[40, 41, 42, 43, 44], &listed, target);
        assert_eq!([40, 41, 42, 43, 44, 45].map(of), [1, 4, 4, 4, 5, 6]);
    }
}
