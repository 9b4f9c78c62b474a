//! JSON body of a recommendation request and its limits.

use std::collections::HashSet;

use prl_core::{PromptSpec, TargetReturn};
use prl_dataset::Kind;
use prl_engine::{Event, Filter, RecommendRequest};
use serde::Deserialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use crate::body::Id;
use crate::problem::Problem;

/// Maximum number of recommended items.
pub const MAX_K: usize = 1_000;
/// Default number of recommended items.
const DEFAULT_K: usize = 20;
/// Maximum number of items in a session.
pub const MAX_ITEMS: usize = 8_000;
/// Maximum number of excluded items.
pub const MAX_EXCLUDED: usize = 1_000;
/// Maximum number of allowed items.
pub const MAX_ALLOWED: usize = 10_000;
/// Maximum length of an id in bytes.
pub const MAX_ID_BYTES: usize = 256;
/// Maximum magnitude of a number in a prompt. Larger target returns are meaningless, and much
/// larger ones overflow in the scores.
pub const MAX_PROMPT: f64 = 1e6;

/// A recommendation request.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RecommendRequest)]
pub(crate) struct RequestBody {
    /// The session, oldest item first. Ids outside the catalogue are skipped and listed in the
    /// response.
    #[schema(value_type = Vec<Id>, required = true, max_items = 8000)]
    items: Option<Vec<Id>>,
    /// Items of the session that were purchased; used by sequence-wise prompts.
    #[schema(max_items = 8000)]
    #[serde(default)]
    purchased: Vec<Id>,
    /// Number of items to recommend.
    #[schema(minimum = 1, maximum = 1000, default = 20)]
    k: Option<usize>,
    /// Target return as a multiple of the mean return at the session's step. Default: the run's.
    #[schema(minimum = -1000000.0, maximum = 1000000.0)]
    mu: Option<f64>,
    /// Standard deviation of mu: exploration. Default: the run's.
    #[schema(minimum = 0, maximum = 1000000.0)]
    eps: Option<f64>,
    /// Target return in units of reward.
    #[schema(minimum = -1000000.0, maximum = 1000000.0)]
    target_return: Option<f64>,
    /// Target return as a quantile of the training sessions' returns at the session's step.
    #[schema(minimum = 0, maximum = 1)]
    quantile: Option<f64>,
    /// Target return is the largest return of a training session at the session's step.
    #[schema(default = false)]
    #[serde(default)]
    max_return: bool,
    /// Applies the target return to the whole session: the reward collected so far is subtracted.
    /// Default: false, and true for stored sessions.
    sequence_wise: Option<bool>,
    /// Seed of the random draw of eps; equal cases give equal draws.
    #[schema(minimum = 0, default = 0)]
    #[serde(default)]
    case: u64,
    /// Excludes the session's own items.
    #[schema(default = false)]
    #[serde(default)]
    exclude_seen: bool,
    /// Excludes these items.
    #[schema(max_items = 1000)]
    #[serde(default)]
    exclude: Vec<Id>,
    /// Allows these items only.
    #[schema(max_items = 10000)]
    allow: Option<Vec<Id>>,
}

/// Schema of a [`RequestBody`] about a stored session: without the session itself.
pub(crate) struct StoredSessionRequest;

impl PartialSchema for StoredSessionRequest {
    fn schema() -> RefOr<Schema> {
        let mut schema = RequestBody::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            for field in ["items", "purchased"] {
                object.properties.remove(field);
                object.required.retain(|name| name != field);
            }
            object.description = Some("A recommendation request for a stored session.".into());
        }
        schema
    }
}

impl ToSchema for StoredSessionRequest {}

impl RequestBody {
    /// The request about the session in the body. A missing prompt is the run's default.
    pub(crate) fn into_request(mut self, default: PromptSpec) -> Result<RecommendRequest, Problem> {
        let Some(items) = self.items.take() else {
            return Err(Problem::invalid("items is missing; [] is an empty session"));
        };
        check_ids("items", &items, MAX_ITEMS)?;
        check_ids("purchased", &self.purchased, MAX_ITEMS)?;
        let mut purchased = HashSet::new();
        for id in &self.purchased {
            purchased.insert(id.0.as_str());
        }
        let mut session = Vec::with_capacity(items.len());
        for Id(id) in items {
            let kind = if purchased.contains(id.as_str()) {
                Kind::Purchase
            } else {
                Kind::Click
            };
            let item = id.into();
            session.push(Event { item, kind });
        }
        self.with_session(session, default, false)
    }

    /// The request about a stored session; the body must not contain a session.
    pub(crate) fn into_stored_request(
        self,
        session: Vec<Event>,
        default: PromptSpec,
    ) -> Result<RecommendRequest, Problem> {
        if self.items.is_some() || !self.purchased.is_empty() {
            return Err(Problem::invalid(
                "items and purchased are the stored session's own; add events to it instead",
            ));
        }
        self.with_session(session, default, true)
    }

    fn with_session(
        self,
        session: Vec<Event>,
        default: PromptSpec,
        is_stored: bool,
    ) -> Result<RecommendRequest, Problem> {
        let prompt = PromptSpec {
            target: self.goal(default.target)?,
            sequence_wise: self.sequence_wise.unwrap_or(is_stored),
        };
        let k = self.k.unwrap_or(DEFAULT_K);
        if !(1..=MAX_K).contains(&k) {
            return Err(Problem::invalid(format!("k is {k}; expected 1..={MAX_K}")));
        }
        check_ids("exclude", &self.exclude, MAX_EXCLUDED)?;
        check_ids("allow", self.allow.iter().flatten(), MAX_ALLOWED)?;
        let filter = Filter {
            exclude_seen: self.exclude_seen,
            exclude: into_strings(self.exclude),
            allow: self.allow.map(into_strings),
        };
        Ok(RecommendRequest {
            session,
            prompt,
            case: self.case,
            k,
            filter,
        })
    }

    /// The target return of the prompt, which is given in at most one way.
    fn goal(&self, default: TargetReturn) -> Result<TargetReturn, Problem> {
        let given = [
            self.mu.is_some() || self.eps.is_some(),
            self.target_return.is_some(),
            self.quantile.is_some(),
            self.max_return,
        ];
        if given.iter().filter(|&&is_given| is_given).count() > 1 {
            return Err(Problem::invalid(
                "more than one kind of prompt; use one way: mu and eps, target_return, quantile, \
                 or max_return",
            ));
        }
        let numbers = [
            ("mu", self.mu),
            ("eps", self.eps),
            ("target_return", self.target_return),
        ];
        for (name, number) in numbers {
            if let Some(value) = number
                && !(-MAX_PROMPT..=MAX_PROMPT).contains(&value)
            {
                return Err(Problem::invalid(format!(
                    "{name} is {value:e}; expected -{MAX_PROMPT:e}..={MAX_PROMPT:e}"
                )));
            }
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
                "eps must not be negative, and quantile must be in 0..=1",
            ))
        }
    }
}

fn into_strings(ids: Vec<Id>) -> Vec<String> {
    ids.into_iter().map(|id| id.0).collect()
}

/// Rejects a list with more than `max` ids or with an id that is too long.
pub(crate) fn check_ids<'a>(
    name: &str,
    ids: impl IntoIterator<Item = &'a Id>,
    max: usize,
) -> Result<(), Problem> {
    let (mut n, mut too_long) = (0, None);
    for Id(id) in ids {
        if id.len() > MAX_ID_BYTES && too_long.is_none() {
            too_long = Some(n);
        }
        n += 1;
    }
    if n > max {
        return Err(Problem::invalid(format!(
            "{name} holds {n} ids; at most {max} are allowed"
        )));
    }
    match too_long {
        Some(at) => Err(Problem::invalid(format!(
            "{name}[{at}] is longer than {MAX_ID_BYTES} bytes"
        ))),
        None => Ok(()),
    }
}
