//! A candidate: a second run that is compared with the current model on real requests, or answers
//! the sessions of an arm.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use prl_engine::{Engine, RecommendRequest, RecommendResponse};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::openapi::AdminProblems;
use crate::problem::{Problem, ProblemKind};

/// Number of requests that the report shows, those with the least in common.
const EXAMPLES: usize = 10;

/// Settings of a candidate.
#[derive(Clone, Debug)]
pub struct CandidateOptions {
    /// The run directory.
    pub run: PathBuf,
    /// Share of the current model's answers that are compared, 0 to 1.
    pub shadow: f64,
}

/// The candidate of a server.
pub(crate) struct Candidate {
    pub(crate) options: CandidateOptions,
    engine: OnceLock<Engine>,
    /// Number of answers of the current model.
    answers: AtomicU64,
    comparison: Mutex<Comparison>,
}

/// Sums over compared answers.
#[derive(Default)]
struct Comparison {
    compared: u64,
    failed: u64,
    overlap: f64,
    same_first: u64,
    same_list: u64,
    current: Duration,
    candidate: Duration,
    /// Ascending by overlap.
    examples: Vec<Example>,
}

/// An answer of both models.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct Example {
    /// Share of the current model's list that the candidate's holds.
    overlap: f64,
    /// Items of the session, the latest 10.
    session: Vec<String>,
    /// The current model's list.
    current: Vec<String>,
    /// The candidate's list.
    candidate: Vec<String>,
}

/// Comparison of the current model's answers with the candidate's.
#[derive(Serialize, ToSchema)]
pub(crate) struct ShadowReport {
    /// Name of the current model.
    current: String,
    /// Name of the candidate.
    candidate: String,
    /// Number of answers that were compared.
    compared: u64,
    /// Number of answers that the candidate could not give.
    failed: u64,
    /// Mean share of the current model's list that the candidate's holds; absent without answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64, required = false)]
    overlap: Option<f64>,
    /// Share of the answers with the same first item.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64, required = false)]
    same_first: Option<f64>,
    /// Share of the answers with the same list in the same order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64, required = false)]
    same_list: Option<f64>,
    /// Mean time of the current model's answers in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64, required = false)]
    current_ms: Option<f64>,
    /// Mean time of the candidate's answers in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64, required = false)]
    candidate_ms: Option<f64>,
    /// The answers with the least in common, at most 10.
    examples: Vec<Example>,
}

impl Candidate {
    pub(crate) fn new(options: CandidateOptions) -> Self {
        Self {
            options,
            engine: OnceLock::new(),
            answers: AtomicU64::new(0),
            comparison: Mutex::default(),
        }
    }

    /// Sets the engine. A second call has no effect.
    pub(crate) fn set_ready(&self, engine: Engine) {
        _ = self.engine.set(engine);
    }

    /// The engine; a problem if the candidate is not loaded yet.
    pub(crate) fn engine(&self) -> Result<&Engine, Problem> {
        self.engine.get().ok_or_else(|| {
            let detail = "the candidate is being loaded; poll /health/ready";
            Problem::new(ProblemKind::NotReady, detail)
        })
    }

    /// Whether the next answer is among the share that is compared. Answers are taken evenly.
    fn is_compared(&self) -> bool {
        let n = self.answers.fetch_add(1, Ordering::Relaxed) as f64;
        let share = self.options.shadow;
        ((n + 1.0) * share).floor() > (n * share).floor()
    }

    /// Compares an answer of the current model, which took `time`, with the candidate's.
    async fn compare(&self, request: &RecommendRequest, current: &[String], time: Duration) {
        let start = Instant::now();
        let submitted = self.engine().and_then(|engine| Ok(engine.submit(request)?));
        let answered = match submitted {
            Ok(pending) => pending.response().await.map_err(Problem::from),
            Err(problem) => Err(problem),
        };
        match answered {
            Ok(response) => {
                let candidate = items(&response);
                let took = start.elapsed();
                self.lock().add(request, current, candidate, [time, took]);
            }
            Err(_) => self.lock().failed += 1,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Comparison> {
        let locked = self.comparison.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Comparison {
    fn add(
        &mut self,
        request: &RecommendRequest,
        current: &[String],
        candidate: Vec<String>,
        [current_time, candidate_time]: [Duration; 2],
    ) {
        let found: HashSet<&String> = candidate.iter().collect();
        let common = current.iter().filter(|item| found.contains(item)).count();
        // Two empty lists agree.
        let overlap = (common as f64 + f64::EPSILON) / (current.len() as f64 + f64::EPSILON);
        self.compared += 1;
        self.overlap += overlap;
        self.same_first += u64::from(current.first() == candidate.first());
        self.same_list += u64::from(*current == candidate);
        self.current += current_time;
        self.candidate += candidate_time;
        let is_shown = self.examples.len() < EXAMPLES
            || self
                .examples
                .last()
                .is_some_and(|last| overlap < last.overlap);
        if is_shown {
            let latest = request.session.len().saturating_sub(EXAMPLES);
            let mut session = Vec::new();
            for event in &request.session[latest..] {
                session.push(event.item.to_string());
            }
            let at = self
                .examples
                .partition_point(|example| example.overlap <= overlap);
            let example = Example {
                overlap,
                session,
                current: current.to_vec(),
                candidate,
            };
            self.examples.insert(at, example);
            self.examples.truncate(EXAMPLES);
        }
    }

    fn report(&self, current: String, candidate: String) -> ShadowReport {
        let mean = |sum: f64| (self.compared > 0).then(|| sum / self.compared as f64);
        ShadowReport {
            current,
            candidate,
            compared: self.compared,
            failed: self.failed,
            overlap: mean(self.overlap),
            same_first: mean(self.same_first as f64),
            same_list: mean(self.same_list as f64),
            current_ms: mean(self.current.as_secs_f64() * 1e3),
            candidate_ms: mean(self.candidate.as_secs_f64() * 1e3),
            examples: self.examples.clone(),
        }
    }
}

/// Raw ids of a response's list.
fn items(response: &RecommendResponse) -> Vec<String> {
    let mut items = Vec::with_capacity(response.answer.items.len());
    for item in &response.answer.items {
        items.push(item.item.clone());
    }
    items
}

/// Answers a request by the current model, or by the candidate if the session's arm says so. A
/// share of the current model's answers is compared with the candidate's afterwards.
pub(crate) async fn answer(
    app: &Arc<App>,
    is_candidates: bool,
    request: &RecommendRequest,
) -> Result<RecommendResponse, Problem> {
    let start = Instant::now();
    let engine = app.engine_of(is_candidates)?;
    let response = engine.submit(request)?.response().await?;
    if !is_candidates {
        compare_later(app, request, &response, start.elapsed());
    }
    Ok(response)
}

/// Has an answer of the current model compared, if it is among the share.
pub(crate) fn compare_later(
    app: &Arc<App>,
    request: &RecommendRequest,
    response: &RecommendResponse,
    time: Duration,
) {
    if !app.candidate.as_ref().is_some_and(Candidate::is_compared) {
        return;
    }
    let (app, request, current) = (Arc::clone(app), request.clone(), items(response));
    tokio::spawn(async move {
        if let Some(candidate) = &app.candidate {
            candidate.compare(&request, &current, time).await;
        }
    });
}

/// Comparison of the current model's answers with the candidate's
#[utoipa::path(
    get,
    operation_id = "shadow_report",
    path = "/v1/admin/shadow",
    responses(
        (status = 200, description = "The comparison so far", body = ShadowReport),
        AdminProblems,
    ),
    security(("key" = [])),
)]
pub(crate) async fn shadow_report(
    State(app): State<Arc<App>>,
) -> Result<Json<ShadowReport>, Problem> {
    let Some(candidate) = &app.candidate else {
        let detail = "the server has no candidate; start it with --candidate RUN --shadow SHARE";
        return Err(Problem::new(ProblemKind::NoCandidate, detail));
    };
    let names = (
        app.model()?.name().to_owned(),
        candidate.engine()?.model().name().to_owned(),
    );
    Ok(Json(candidate.lock().report(names.0, names.1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prl_engine::{Event, Filter};

    fn request(items: &[&str]) -> RecommendRequest {
        let mut session = Vec::new();
        for &item in items {
            session.push(Event::click(item.into()));
        }
        RecommendRequest {
            session,
            prompt: prl_core::PromptSpec::default(),
            case: 0,
            k: 4,
            forecast: false,
            filter: Filter::default(),
            properties: Vec::new(),
        }
    }

    fn list(text: &str) -> Vec<String> {
        text.chars().map(String::from).collect()
    }

    #[test]
    fn comparison_has_means_and_the_most_different_answers_first() {
        let mut comparison = Comparison::default();
        let times = [Duration::from_millis(2), Duration::from_millis(4)];
        for (session, current, candidate) in [
            ("x", "abcd", "abcd"),
            ("y", "abcd", "axyz"),
            ("z", "abcd", "bacd"),
        ] {
            comparison.add(&request(&[session]), &list(current), list(candidate), times);
        }
        let report = comparison.report("one".into(), "two".into());
        assert_eq!((report.compared, report.failed), (3, 0));
        assert_eq!(report.overlap, Some((1.0 + 0.25 + 1.0) / 3.0));
        assert_eq!(report.same_first, Some(2.0 / 3.0));
        assert_eq!(report.same_list, Some(1.0 / 3.0));
        assert_eq!(
            (report.current_ms, report.candidate_ms),
            (Some(2.0), Some(4.0))
        );
        assert_eq!(report.examples[0].session, ["y"]);
        for _ in 0..EXAMPLES {
            comparison.add(&request(&["w"]), &list("ab"), list("cd"), times);
        }
        let report = comparison.report("one".into(), "two".into());
        assert_eq!(report.examples.len(), EXAMPLES);
        assert!(
            report
                .examples
                .iter()
                .all(|example| example.session == ["w"])
        );
    }

    #[test]
    fn share_of_answers_is_compared_evenly() {
        let candidate = Candidate::new(CandidateOptions {
            run: PathBuf::new(),
            shadow: 0.25,
        });
        let compared: Vec<bool> = (0..12).map(|_| candidate.is_compared()).collect();
        assert_eq!(compared.iter().filter(|&&is| is).count(), 3);
        assert!(compared[3] && compared[7] && compared[11]);
    }
}
