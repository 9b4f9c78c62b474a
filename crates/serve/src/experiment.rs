//! The experiment that a server runs, and its log.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use prl_arms::{Answer, Erased, Event, EventKind, Experiment, LogWriter, Record};
use prl_dataset::Kind;
use prl_engine::{LoadedModel, RecommendRequest, RecommendResponse, RequestFields};

use crate::metrics::Metrics;
use crate::problem::{Problem, ProblemKind};
use crate::sessions::NewEvent;

/// Arms and log of a server; either may be absent.
#[derive(Default)]
pub(crate) struct RunningExperiment {
    experiment: Option<Experiment>,
    /// Prompt of each arm.
    asks: Vec<RequestFields>,
    log: Option<LogWriter>,
}

/// A response with the arm of its session.
pub(crate) struct LoggedAnswer {
    pub(crate) response: RecommendResponse,
    /// Absent if the request named no session.
    assigned: Option<Assigned>,
    /// Events of the session in the request.
    events: usize,
}

/// The arm of a named session.
#[derive(Debug)]
pub(crate) struct Assigned {
    /// Name of the session.
    session: String,
    /// Name and probability of its arm; absent if the request set its own prompt, or without an
    /// experiment.
    arm: Option<(String, f64)>,
    /// Whether the candidate answers.
    is_candidates: bool,
}

/// Whether the candidate answers a session's requests.
pub(crate) fn is_candidates(assigned: Option<&Assigned>) -> bool {
    assigned.is_some_and(|assigned| assigned.is_candidates)
}

impl LoggedAnswer {
    pub(crate) fn new(
        assigned: Option<Assigned>,
        request: &RecommendRequest,
        response: RecommendResponse,
    ) -> Self {
        Self {
            response,
            assigned,
            events: request.session.len(),
        }
    }

    /// Name and probability of the arm, if the session has one.
    pub(crate) fn arm(&self) -> Option<(String, f64)> {
        self.assigned.as_ref()?.arm.clone()
    }
}

impl RunningExperiment {
    /// Checks the arms' prompts.
    ///
    /// # Errors
    /// [`prl_arms::Error::Definition`] for an arm whose ask is no valid prompt.
    pub(crate) fn new(
        experiment: Option<Experiment>,
        log: Option<LogWriter>,
    ) -> prl_arms::Result<Self> {
        let mut asks = Vec::new();
        if let Some(experiment) = &experiment {
            for arm in experiment.arms() {
                let ask = RequestFields::of_ask(&arm.ask);
                asks.push(ask.map_err(|error| experiment.invalid_ask(arm, error))?);
            }
        }
        Ok(Self {
            experiment,
            asks,
            log,
        })
    }

    /// Fails if a model cannot answer with an arm's prompt; warns if no arm can differ under it.
    ///
    /// # Errors
    /// [`prl_engine::Error::InvalidRequest`] with the arm and what the model lacks.
    pub(crate) fn check_model(
        &self,
        model: &LoadedModel,
        is_candidate: bool,
    ) -> prl_engine::Result<()> {
        let Some(experiment) = &self.experiment else {
            return Ok(());
        };
        for (arm, ask) in experiment.arms().iter().zip(&self.asks) {
            if arm.candidate != is_candidate {
                continue;
            }
            let request = ask.clone().resolve_stored(vec![], model.default_prompt());
            let checked = request.and_then(|request| model.check(&request));
            checked.map_err(|error| error.within(&format!("arm {:?}", arm.name)))?;
        }
        let mut asks_return = false;
        for ask in &self.asks {
            // A tilt needs no prompt of the model.
            let tilt_alone = RequestFields {
                tilt: ask.tilt,
                ..RequestFields::default()
            };
            asks_return |= *ask != tilt_alone;
        }
        if asks_return && !model.is_prompted() {
            tracing::warn!("the run takes no prompt: arms that ask for a return answer alike");
        }
        Ok(())
    }

    /// Fails if an arm is the candidate's and there is none.
    ///
    /// # Errors
    /// [`prl_arms::Error::Definition`] with the arm.
    pub(crate) fn check_candidate(&self, exists: bool) -> prl_arms::Result<()> {
        let Some(experiment) = &self.experiment else {
            return Ok(());
        };
        match experiment.arms().iter().find(|arm| arm.candidate) {
            Some(arm) if !exists => {
                let what = "model is candidate, and the server has none; start it with --candidate";
                Err(experiment.invalid_ask(arm, what))
            }
            _ => Ok(()),
        }
    }

    /// Gives a request about a named session the prompt of its arm, unless it sets its own. `None`
    /// without a session.
    pub(crate) fn assign(
        &self,
        session: Option<&str>,
        fields: &mut RequestFields,
    ) -> Option<Assigned> {
        let session = session?.to_owned();
        let (mut arm, mut is_candidates) = (None, false);
        if let Some(experiment) = &self.experiment {
            let assigned = experiment.assign(&session);
            if fields.ask_if_open(&self.asks[assigned.index]) {
                arm = Some((assigned.arm.name.clone(), assigned.p));
                is_candidates = assigned.arm.candidate;
            }
        }
        Some(Assigned {
            session,
            arm,
            is_candidates,
        })
    }

    /// Logs and counts answers; those without a named session are in neither.
    pub(crate) fn log_answers<'a>(
        &self,
        metrics: &Metrics,
        answers: impl IntoIterator<Item = &'a LoggedAnswer>,
    ) -> Result<(), Problem> {
        let (time, mut records) = (now(), Vec::new());
        for answer in answers {
            let Some(assigned) = &answer.assigned else {
                continue;
            };
            if let Some((arm, _)) = &assigned.arm {
                metrics.count_arm(arm);
            }
            if self.log.is_some() {
                records.push(Record::Answer(self.record(answer, assigned, time)));
            }
        }
        self.append(records)
    }

    fn record(&self, answer: &LoggedAnswer, assigned: &Assigned, time: u64) -> Answer {
        let response = &answer.response;
        let (mut items, mut scores) = (Vec::new(), Vec::new());
        for item in &response.answer.items {
            items.push(item.item.clone());
            scores.push(item.score);
        }
        let known = answer
            .events
            .saturating_sub(response.answer.unknown_items.len());
        let (arm, p) = assigned.arm.clone().unzip();
        let experiment = self.experiment.as_ref();
        Answer {
            time,
            // Outside the experiment if the request set its own prompt.
            experiment: arm.as_ref().and(experiment.map(|e| e.name().to_owned())),
            session: assigned.session.clone(),
            step: u32::try_from(known).unwrap_or(u32::MAX),
            arm,
            p,
            model: response.model.clone(),
            items,
            scores,
        }
    }

    /// Logs events of a session.
    pub(crate) fn log_events(&self, session: &str, events: &[NewEvent]) -> Result<(), Problem> {
        if self.log.is_none() {
            return Ok(());
        }
        let (time, mut records) = (now(), Vec::new());
        for event in events {
            records.push(Record::Event(Event {
                time,
                session: session.to_owned(),
                item: event.item.0.clone(),
                kind: match event.kind {
                    Kind::Click => EventKind::Click,
                    Kind::Purchase => EventKind::Purchase,
                },
                value: event.value,
            }));
        }
        self.append(records)
    }

    /// Erases sessions from the log, if there is one. Blocks.
    pub(crate) fn erase(&self, sessions: &BTreeSet<String>) -> Result<Erased, Problem> {
        let Some(log) = &self.log else {
            return Ok(Erased::default());
        };
        let failed =
            |error: prl_arms::Error| Problem::new(ProblemKind::LogFailed, error.to_string());
        log.erase(sessions).map_err(failed)
    }

    /// A problem unless events are logged.
    pub(crate) fn check_log(&self) -> Result<(), Problem> {
        if self.log.is_some() {
            return Ok(());
        }
        let detail = "the server logs no events; start it with --experiment-log";
        Err(Problem::new(ProblemKind::NoLog, detail))
    }

    /// Appends to the log on the calling thread: a write to the system's cache takes microseconds,
    /// less than handing it to another thread.
    fn append(&self, records: Vec<Record>) -> Result<(), Problem> {
        let Some(log) = &self.log else {
            return Ok(());
        };
        let failed =
            |error: prl_arms::Error| Problem::new(ProblemKind::LogFailed, error.to_string());
        log.append_all(records).map_err(failed)
    }
}

/// Milliseconds since the Unix epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
