//! `prl evaluate --via`: every case of a split asked of a running server, by raw ids, and the same report made of its answers.
//!
//! A list of 21 tells every rank up to 20, ties and all, and that is all that HR, NDCG and reward@1 need; MRR needs the ranks
//! beyond and is left out. Every answer says which model gave it, so a reload half way through cannot pass unseen.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use prl_core::{PromptSpec, TargetReturn};
use prl_dataset::{Dataset, Split};
use prl_eval::{Case, PerMetric, Report, TOP};
use prl_runs::{Cases, Run, report, rows};
use serde::Deserialize;
use serde_json::{Value, json};

/// Questions that the server takes at once.
const QUESTIONS: usize = 100;
/// Bytes of questions that are sent at once, well within what the server takes.
const BYTES: usize = 1 << 19;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that serves the run, and the run.
pub struct Remote<'a> {
    run: &'a Run,
    agent: ureq::Agent,
    url: String,
    key: Option<String>,
    model: String,
    is_prompted: bool,
}

/// The server answers with another model than the run's.
#[derive(Debug)]
pub struct OtherModel {
    url: String,
    found: String,
    expected: String,
}

impl std::fmt::Display for OtherModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            url,
            found,
            expected,
        } = self;
        write!(
            f,
            "{url} serves model {found}, but the run is model {expected}; name with --run what it serves"
        )
    }
}

impl std::error::Error for OtherModel {}

#[derive(Deserialize)]
struct Answers {
    answers: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    items: Vec<Listed>,
    unknown_items: Vec<String>,
    model: String,
}

#[derive(Deserialize)]
struct Listed {
    item: String,
    score: f32,
}

/// A case that was asked, in the order of the questions.
struct Asked {
    target: u32,
    question: String,
}

impl<'a> Remote<'a> {
    /// Asks the server which model it serves.
    ///
    /// # Errors
    /// [`OtherModel`], or if there is no server that answers.
    pub fn connect(url: &str, run: &'a Run) -> Result<Self> {
        let url = url.trim_end_matches('/').to_owned();
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build();
        let (key, model) = (std::env::var("PRL_API_KEY").ok(), run.model_name()?);
        let mut remote = Self {
            run,
            agent: config.into(),
            url,
            key,
            model,
            is_prompted: false,
        };
        let said: Value = serde_json::from_str(&remote.send("/v1/model", None)?)?;
        remote.check(said["model"].as_str().unwrap_or("without a name"))?;
        remote.is_prompted = said["prompted"] == true;
        Ok(remote)
    }

    /// The report on a split under a prompt, from the server's answers.
    pub fn evaluate(&self, data: &Dataset, split: Split, ask: PromptSpec) -> Result<Report> {
        let rows = rows(self.run, data, split)?;
        let longest = data
            .sessions()
            .map(|session| session.len())
            .max()
            .unwrap_or(0)
            .max(1);
        let mut said = Cases {
            cases: Vec::with_capacity(rows.len()),
            sessions: rows.session_of_examples(),
            top: Vec::new(),
        };
        let (start, mut asked, mut bytes) = (Instant::now(), Vec::new(), 0);
        for row in 0..rows.len() {
            // A window as long as any session is the whole history.
            let batch = rows.batch([row], longest, None);
            let history = &batch.windows.items[..batch.windows.time_steps[0] as usize];
            said.cases.push(Case {
                kind: batch.kinds[0],
                rank: 0,
            });
            let question = self.question(history, ask, row).to_string();
            bytes += question.len();
            asked.push(Asked {
                target: batch.targets[0],
                question,
            });
            if asked.len() == QUESTIONS || bytes >= BYTES || row + 1 == rows.len() {
                self.ask(&std::mem::take(&mut asked), &mut said)?;
                bytes = 0;
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let mut report = report(
            self.run,
            data,
            split,
            self.is_prompted.then_some(ask),
            &said,
        )?;
        report.events_per_second = Some(rows.len() as f64 / seconds.max(1e-9));
        without_mrr(&mut report);
        Ok(report)
    }

    fn question(&self, history: &[u32], ask: PromptSpec, row: usize) -> Value {
        let items: Vec<&str> = history
            .iter()
            .filter_map(|&item| self.run.items().raw(item))
            .collect();
        let mut question = json!({ "items": items, "k": self.listed(), "case": row });
        match ask.target {
            TargetReturn::Relative { mu, eps } => {
                (question["mu"], question["eps"]) = (mu.into(), eps.into())
            }
            TargetReturn::Absolute(value) => question["target_return"] = value.into(),
            TargetReturn::Quantile(q) => question["quantile"] = q.into(),
            TargetReturn::Max => question["max_return"] = true.into(),
        }
        question
    }

    /// One more than counts, so that a tie across the end is seen.
    fn listed(&self) -> usize {
        (TOP + 1).min(self.run.items().len())
    }

    /// Asks about the last cases, and fills in what the server says of them.
    fn ask(&self, asked: &[Asked], said: &mut Cases) -> Result<()> {
        let questions: Vec<&str> = asked.iter().map(|asked| asked.question.as_str()).collect();
        let body = format!("{{\"questions\":[{}]}}", questions.join(","));
        let Answers { answers } =
            serde_json::from_str(&self.send("/v1/recommend/batch", Some(body))?)?;
        ensure!(
            answers.len() == asked.len(),
            "{} answers to {} questions",
            answers.len(),
            asked.len()
        );
        let first = said.cases.len() - asked.len();
        for ((case, asked), answer) in said.cases[first..].iter_mut().zip(asked).zip(answers) {
            self.check(&answer.model)?;
            let index = |listed: &Listed| self.run.items().index(&listed.item);
            let items: Option<Vec<u32>> = answer.items.iter().map(index).collect();
            let items = items
                .filter(|items| items.len() == self.listed() && answer.unknown_items.is_empty());
            let items = items.context("the server's catalogue is not the run's")?;
            case.rank = rank(&items, &answer.items, asked.target);
            said.top.extend(&items[..TOP.min(items.len())]);
        }
        Ok(())
    }

    fn check(&self, found: &str) -> Result<()> {
        if found == self.model {
            return Ok(());
        }
        let (url, expected) = (self.url.clone(), self.model.clone());
        Err(OtherModel {
            url,
            found: found.to_owned(),
            expected,
        }
        .into())
    }

    /// The body of a successful answer.
    fn send(&self, path: &str, body: Option<String>) -> Result<String> {
        let url = format!("{}{path}", self.url);
        let key = self.key.iter().map(|key| format!("Bearer {}", key.trim()));
        let sent = match body {
            Some(body) => {
                let request = self
                    .agent
                    .post(&url)
                    .header("content-type", "application/json");
                key.fold(request, |request, key| request.header("authorization", key))
                    .send(body)
            }
            None => {
                let request = self.agent.get(&url);
                key.fold(request, |request, key| request.header("authorization", key))
                    .call()
            }
        };
        let mut response = sent.with_context(|| format!("no answer from {url}"))?;
        let text = response
            .body_mut()
            .read_to_string()
            .with_context(|| format!("no whole answer from {url}"))?;
        if response.status().is_success() {
            return Ok(text);
        }
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        bail!(
            "{url}: {}: {}",
            response.status(),
            problem["detail"]
                .as_str()
                .unwrap_or("not an answer of prl serve")
        )
    }
}

/// The target's pessimistic rank, from 1: exact up to the list's length, and beyond it where the target is not listed or may
/// tie with what is not.
fn rank(items: &[u32], listed: &[Listed], target: u32) -> u32 {
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
        metrics.into_iter().for_each(|metrics| metrics.mrr = None);
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
    use super::{Listed, rank};

    #[test]
    fn ties_count_against_the_target() {
        let listed: Vec<Listed> = [9.0, 7.0, 7.0, 7.0, 1.0]
            .iter()
            .map(|&score| Listed {
                item: String::new(),
                score,
            })
            .collect();
        let of = |target| rank(&[40, 41, 42, 43, 44], &listed, target);
        assert_eq!([40, 41, 42, 43, 44, 45].map(of), [1, 4, 4, 4, 5, 6]);
    }
}
