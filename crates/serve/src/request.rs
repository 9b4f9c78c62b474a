//! A question as it comes over the wire, checked against the limits.

use prl_core::{PromptSpec, TargetReturn};
use prl_dataset::Kind;
use prl_engine::{Event, Filter, RecommendRequest};
use serde::Deserialize;

use crate::body::Id;
use crate::problem::Problem;

/// Items that may be asked for.
pub const MAX_K: usize = 1_000;
/// Items of a session.
pub const MAX_ITEMS: usize = 8_000;
/// Items to exclude.
pub const MAX_EXCLUDED: usize = 1_000;
/// Items to allow.
pub const MAX_ALLOWED: usize = 10_000;
/// Bytes of an id.
pub const MAX_BYTES: usize = 256;
/// Largest number in a prompt, either side of zero: beyond it a return means nothing, and far beyond it scores overflow.
pub const MAX_PROMPT: f64 = 1e6;

/// The body of a question.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RequestBody {
    items: Option<Vec<Id>>,
    purchased: Vec<Id>,
    k: Option<usize>,
    mu: Option<f64>,
    eps: Option<f64>,
    target_return: Option<f64>,
    quantile: Option<f64>,
    max_return: bool,
    sequence_wise: Option<bool>,
    case: u64,
    exclude_seen: bool,
    exclude: Vec<Id>,
    allow: Option<Vec<Id>>,
}

impl RequestBody {
    /// The question about the session in the body; what is not said of the prompt is the run's own.
    pub(crate) fn question(mut self, default: PromptSpec) -> Result<RecommendRequest, Problem> {
        let items = self
            .items
            .take()
            .ok_or_else(|| Problem::invalid("items is missing; [] is an empty session"))?;
        let purchased = std::mem::take(&mut self.purchased);
        check("items", &items, MAX_ITEMS)?;
        check("purchased", &purchased, MAX_ITEMS)?;
        let purchased: std::collections::HashSet<&str> =
            purchased.iter().map(|id| id.0.as_str()).collect();
        let kind = |id: &str| {
            if purchased.contains(id) {
                Kind::Purchase
            } else {
                Kind::Click
            }
        };
        let session = items
            .iter()
            .map(|id| Event {
                item: id.0.as_str().into(),
                kind: kind(&id.0),
            })
            .collect();
        self.about(session, default, false)
    }

    /// The question about a session that the server keeps, of which the body must not speak.
    pub(crate) fn about_kept(
        self,
        session: Vec<Event>,
        default: PromptSpec,
    ) -> Result<RecommendRequest, Problem> {
        if self.items.is_some() || !self.purchased.is_empty() {
            return Err(Problem::invalid(
                "items and purchased are the session's own; send them as its events",
            ));
        }
        self.about(session, default, true)
    }

    fn about(
        self,
        session: Vec<Event>,
        default: PromptSpec,
        is_kept: bool,
    ) -> Result<RecommendRequest, Problem> {
        let ask = PromptSpec {
            target: self.goal(default.target)?,
            sequence_wise: self.sequence_wise.unwrap_or(is_kept),
        };
        let k = self.k.unwrap_or(20);
        if !(1..=MAX_K).contains(&k) {
            return Err(Problem::invalid(format!(
                "k is {k}; it must lie in 1..={MAX_K}"
            )));
        }
        check("exclude", &self.exclude, MAX_EXCLUDED)?;
        check("allow", self.allow.as_deref().unwrap_or(&[]), MAX_ALLOWED)?;
        let texts = |ids: Vec<Id>| ids.into_iter().map(|id| id.0).collect::<Vec<_>>();
        let filter = Filter {
            exclude_seen: self.exclude_seen,
            exclude: texts(self.exclude),
            allow: self.allow.map(texts),
        };
        Ok(RecommendRequest {
            session,
            ask,
            case: self.case,
            k,
            filter,
        })
    }

    fn goal(&self, default: TargetReturn) -> Result<TargetReturn, Problem> {
        let relative = self.mu.is_some() || self.eps.is_some();
        let ways = [
            relative,
            self.target_return.is_some(),
            self.quantile.is_some(),
            self.max_return,
        ];
        if ways.into_iter().filter(|&way| way).count() > 1 {
            let detail = "ask in one way: mu and eps, or target_return, or quantile, or max_return";
            return Err(Problem::invalid(detail));
        }
        let numbers = [
            ("mu", self.mu),
            ("eps", self.eps),
            ("target_return", self.target_return),
        ];
        if let Some((name, value)) = numbers
            .iter()
            .find_map(|&(n, v)| Some((n, v.filter(|v| !is_small(*v))?)))
        {
            return Err(Problem::invalid(format!(
                "{name} is {value:e}; at most {MAX_PROMPT:e} either side of zero"
            )));
        }
        let goal = match (self.target_return, self.quantile) {
            (Some(value), _) => TargetReturn::Absolute(value),
            (None, Some(q)) => TargetReturn::Quantile(q),
            (None, None) if self.max_return => TargetReturn::Max,
            (None, None) => default.adjusted(self.mu, self.eps),
        };
        if goal.is_valid() {
            Ok(goal)
        } else {
            Err(Problem::invalid(
                "eps must not be negative, a quantile lies in 0..=1",
            ))
        }
    }
}

fn is_small(value: f64) -> bool {
    value.abs() <= MAX_PROMPT
}

/// Refuses a list of ids that is too long, or holds an id that is.
pub(crate) fn check(name: &str, ids: &[Id], most: usize) -> Result<(), Problem> {
    if ids.len() > most {
        return Err(Problem::invalid(format!(
            "{name} holds {} ids, {most} are the most",
            ids.len()
        )));
    }
    match ids.iter().position(|id| id.0.len() > MAX_BYTES) {
        Some(at) => Err(Problem::invalid(format!(
            "{name}[{at}] is longer than {MAX_BYTES} bytes"
        ))),
        None => Ok(()),
    }
}
