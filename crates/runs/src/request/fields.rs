//! Fields of a recommendation request, and their limits.

use std::collections::HashSet;

use prl_core::{MAX_KAPPA, PromptSpec, TargetReturn};
use prl_dataset::Kind;
use prl_items::Where;
use serde::Serialize;

use super::{
    DEFAULT_K, Filter, FromJson, Id, InvalidRequest, Json, JsonFields, MAX_ALLOWED, MAX_EXCLUDED,
    MAX_ITEMS, MAX_K, MAX_PROMPT, MAX_PROPERTIES, MAX_TILT, RecommendRequest, check_ids,
};
use prl_dataset::Event;

/// A recommendation request.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = RecommendRequest))]
#[serde(deny_unknown_fields)]
pub struct RequestFields {
    /// Name of the session, repeated in the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Id>,
    /// The session, oldest item first. Ids outside the catalogue are skipped and listed in the
    /// response.
    #[cfg_attr(
        feature = "openapi",
        schema(value_type = Vec<Id>, required = true, max_items = 8000)
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<Id>>,
    /// Items of the session that were purchased; used by sequence-wise prompts.
    #[cfg_attr(feature = "openapi", schema(max_items = 8000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purchased: Option<Vec<Id>>,
    /// Type of each event of the session, in the order of items; instead of purchased.
    #[cfg_attr(feature = "openapi", schema(schema_with = super::schema::kinds))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<Kind>>,
    /// Number of items to recommend.
    #[cfg_attr(
        feature = "openapi",
        schema(value_type = Option<usize>, minimum = 1, maximum = 1000, default = 20)
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k: Option<u64>,
    /// Target return as a multiple of the mean return at the session's step. Default: the run's.
    #[cfg_attr(feature = "openapi", schema(minimum = -1000000.0, maximum = 1000000.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mu: Option<f64>,
    /// Standard deviation of mu: exploration. Default: the run's.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 1000000.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eps: Option<f64>,
    /// Target return in units of reward.
    #[cfg_attr(feature = "openapi", schema(minimum = -1000000.0, maximum = 1000000.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_return: Option<f64>,
    /// Target return as a quantile of the training sessions' returns at the session's step.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantile: Option<f64>,
    /// Target return is the largest return of a training session at the session's step.
    #[cfg_attr(feature = "openapi", schema(default = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_return: Option<bool>,
    /// Target return as a quantile of the forecast of this session's own return; needs a run with a
    /// forecast.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_quantile: Option<f64>,
    /// Target return as the mean of that forecast, tilted towards high returns by this strength.
    #[cfg_attr(feature = "openapi", schema(minimum = -100.0, maximum = 100.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kappa: Option<f64>,
    /// Adds a forecast of the return of the rest of the session to the response.
    #[cfg_attr(feature = "openapi", schema(default = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<bool>,
    /// Applies the target return to the whole session: the reward collected so far is subtracted.
    /// Default: false, and true for stored sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence_wise: Option<bool>,
    /// Tilt towards bought items: this factor times the logarithm of the item's purchase rate over
    /// the mean rate is added to each score. Goes with any target return. Default: 0.
    #[cfg_attr(feature = "openapi", schema(minimum = -100.0, maximum = 100.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tilt: Option<f64>,
    /// Seed of the random draw of eps; equal cases give equal draws.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, default = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case: Option<u64>,
    /// Excludes the session's own items.
    #[cfg_attr(feature = "openapi", schema(default = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_seen: Option<bool>,
    /// Excludes these items. Ids outside the catalogue are listed in the response.
    #[cfg_attr(feature = "openapi", schema(max_items = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Vec<Id>>,
    /// Allows these items only. Ids outside the catalogue are listed in the response.
    #[cfg_attr(feature = "openapi", schema(max_items = 10000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<Id>>,
    /// Allows the items with these properties only: conditions by column, all of which must hold. A
    /// condition is a value, a list of values, or a range of numbers. An item without a value meets
    /// no condition.
    #[cfg_attr(feature = "openapi", schema(schema_with = super::schema::conditions))]
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Where>,
    /// Properties of each recommended item in the response, by column.
    #[cfg_attr(feature = "openapi", schema(max_items = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties: Option<Vec<String>>,
}

impl FromJson for RequestFields {
    fn from_json(json: Json) -> Result<Self, InvalidRequest> {
        let mut fields = JsonFields::new(json, Self::NAMES)?;
        Ok(Self {
            session: fields.take("session")?,
            items: fields.take_list("items", "ids")?,
            purchased: fields.take_list("purchased", "ids")?,
            kinds: fields.take_list("kinds", "click or purchase")?,
            k: fields.take::<K>("k")?.map(|K(k)| k),
            mu: fields.take("mu")?,
            eps: fields.take("eps")?,
            target_return: fields.take("target_return")?,
            quantile: fields.take("quantile")?,
            max_return: fields.take("max_return")?,
            state_quantile: fields.take("state_quantile")?,
            kappa: fields.take("kappa")?,
            forecast: fields.take("forecast")?,
            sequence_wise: fields.take("sequence_wise")?,
            tilt: fields.take("tilt")?,
            case: fields.take("case")?,
            exclude_seen: fields.take("exclude_seen")?,
            exclude: fields.take_list("exclude", "ids")?,
            allow: fields.take_list("allow", "ids")?,
            conditions: fields.take("where")?,
            properties: fields.take_list("properties", "column names")?,
        })
    }
}

/// A number of items, as yet unchecked by [`RequestFields::resolve`] if it is not JSON.
struct K(u64);

impl FromJson for K {
    fn from_json(json: Json) -> Result<Self, InvalidRequest> {
        if let Json::Number(number) = &json
            && let Some(k) = number.as_u64()
        {
            return Ok(Self(k));
        }
        Err(InvalidRequest::value(RequestFields::K, json))
    }
}

impl RequestFields {
    /// Names of the fields.
    pub const NAMES: &[&str] = &[
        "session",
        "items",
        "purchased",
        "kinds",
        "k",
        "mu",
        "eps",
        "target_return",
        "quantile",
        "max_return",
        "state_quantile",
        "kappa",
        "forecast",
        "sequence_wise",
        "tilt",
        "case",
        "exclude_seen",
        "exclude",
        "allow",
        "where",
        "properties",
    ];

    /// Values of the field `k`, as named in errors.
    pub const K: &str = "a whole number from 1 to 1000";

    /// Parses a request in JSON.
    ///
    /// # Errors
    /// [`InvalidRequest`] for text that is not JSON, with the column of the error, and for fields
    /// of other names or types.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidRequest> {
        match serde_json::from_slice(text) {
            Ok(json) => Self::from_json(json),
            Err(error) => {
                let message = error.to_string();
                let (cause, _) = message.rsplit_once(" at line ").unwrap_or((&message, ""));
                Err(InvalidRequest::new(format!(
                    "not valid JSON at column {}: {cause}",
                    error.column()
                )))
            }
        }
    }

    /// Takes number of items, draw and filters from `defaults` where they are absent here. The
    /// prompt's default is an argument of [`resolve`](Self::resolve).
    pub fn fill(&mut self, defaults: &Self) {
        self.k = self.k.or(defaults.k);
        self.case = self.case.or(defaults.case);
        self.exclude_seen = self.exclude_seen.or(defaults.exclude_seen);
        self.forecast = self.forecast.or(defaults.forecast);
        if self.exclude.is_none() {
            self.exclude.clone_from(&defaults.exclude);
        }
        if self.allow.is_none() {
            self.allow.clone_from(&defaults.allow);
        }
        if self.conditions.is_none() {
            self.conditions.clone_from(&defaults.conditions);
        }
        if self.properties.is_none() {
            self.properties.clone_from(&defaults.properties);
        }
    }

    /// The request about the session in the fields. A missing prompt is `default`.
    ///
    /// # Errors
    /// [`InvalidRequest`] if `items` is missing, or a value is out of its limits.
    pub fn resolve(mut self, default: PromptSpec) -> Result<RecommendRequest, InvalidRequest> {
        let Some(items) = self.items.take() else {
            let message = "items is missing; [] is an empty session";
            return Err(InvalidRequest::new(message));
        };
        check_ids("session", &self.session, 1)?;
        check_ids("items", &items, MAX_ITEMS)?;
        let session = self.events(items)?;
        self.with_session(session, default)
    }

    /// The request about a stored session, by default with a sequence-wise prompt; the fields must
    /// not contain a session.
    ///
    /// # Errors
    /// [`InvalidRequest`] if they do, or a value is out of its limits.
    pub fn resolve_stored(
        self,
        session: Vec<Event<Box<str>>>,
        default: PromptSpec,
    ) -> Result<RecommendRequest, InvalidRequest> {
        let is_given = self.items.is_some() || self.kinds.is_some() || self.session.is_some();
        // An empty list of purchases has always been accepted.
        if is_given || self.purchased.as_ref().is_some_and(|ids| !ids.is_empty()) {
            return Err(InvalidRequest::new(
                "session, items, purchased and kinds are the stored session's own; add events to \
                 it instead",
            ));
        }
        let default = PromptSpec {
            sequence_wise: true,
            ..default
        };
        self.with_session(session, default)
    }

    /// The prompt; what the fields leave open is `default`.
    ///
    /// # Errors
    /// [`InvalidRequest`] for more than one target return, or a value out of its limits.
    pub fn prompt(&self, default: PromptSpec) -> Result<PromptSpec, InvalidRequest> {
        Ok(PromptSpec {
            target: self.target(default.target)?,
            sequence_wise: self.sequence_wise.unwrap_or(default.sequence_wise),
            tilt: self.tilt.unwrap_or(default.tilt),
        })
    }

    /// The events of the session: each item with its kind.
    fn events(&mut self, items: Vec<Id>) -> Result<Vec<Event<Box<str>>>, InvalidRequest> {
        let purchased = self.purchased.take().unwrap_or_default();
        check_ids("purchased", &purchased, MAX_ITEMS)?;
        if let Some(kinds) = &self.kinds {
            if kinds.len() != items.len() {
                return Err(InvalidRequest::new(format!(
                    "kinds holds {} values for {} items; give one for each item",
                    kinds.len(),
                    items.len()
                )));
            }
            if !purchased.is_empty() {
                let message = "both purchased and kinds are given; use one of them";
                return Err(InvalidRequest::new(message));
            }
        }
        let mut bought = HashSet::new();
        for id in &purchased {
            bought.insert(id.0.as_str());
        }
        let mut session = Vec::with_capacity(items.len());
        for (i, Id(id)) in items.into_iter().enumerate() {
            let kind = match &self.kinds {
                Some(kinds) => kinds[i],
                None if bought.contains(id.as_str()) => Kind::Purchase,
                None => Kind::Click,
            };
            let item = id.into();
            session.push(Event { item, kind });
        }
        Ok(session)
    }

    fn with_session(
        self,
        session: Vec<Event<Box<str>>>,
        default: PromptSpec,
    ) -> Result<RecommendRequest, InvalidRequest> {
        let prompt = self.prompt(default)?;
        let k = self.k.unwrap_or(DEFAULT_K as u64);
        if !(1..=MAX_K as u64).contains(&k) {
            return Err(InvalidRequest::field("k", Self::K, k));
        }
        check_ids("exclude", self.exclude.iter().flatten(), MAX_EXCLUDED)?;
        check_ids("allow", self.allow.iter().flatten(), MAX_ALLOWED)?;
        let properties = self.properties.unwrap_or_default();
        if properties.len() > MAX_PROPERTIES {
            return Err(InvalidRequest::new(format!(
                "properties holds {} names; at most {MAX_PROPERTIES} are allowed",
                properties.len()
            )));
        }
        let filter = Filter {
            exclude_seen: self.exclude_seen.unwrap_or(false),
            exclude: into_strings(self.exclude.unwrap_or_default()),
            allow: self.allow.map(into_strings),
            conditions: self.conditions.unwrap_or_default(),
        };
        Ok(RecommendRequest {
            session,
            prompt,
            case: self.case.unwrap_or(0),
            k: k as usize,
            forecast: self.forecast.unwrap_or(false),
            filter,
            properties,
        })
    }

    /// The target return of the prompt, which is given in at most one way.
    fn target(&self, default: TargetReturn) -> Result<TargetReturn, InvalidRequest> {
        let is_max = self.max_return == Some(true);
        let given = [
            self.mu.is_some() || self.eps.is_some(),
            self.target_return.is_some(),
            self.quantile.is_some(),
            self.state_quantile.is_some(),
            self.kappa.is_some(),
            is_max,
        ];
        if given.iter().filter(|&&is_given| is_given).count() > 1 {
            return Err(InvalidRequest::new(
                "more than one kind of prompt; use one way: mu and eps, target_return, quantile, \
                 state_quantile, kappa, or max_return",
            ));
        }
        let numbers = [
            ("mu", self.mu, -MAX_PROMPT, MAX_PROMPT),
            ("eps", self.eps, 0.0, MAX_PROMPT),
            ("target_return", self.target_return, -MAX_PROMPT, MAX_PROMPT),
            ("quantile", self.quantile, 0.0, 1.0),
            ("state_quantile", self.state_quantile, 0.0, 1.0),
            ("kappa", self.kappa, -MAX_KAPPA, MAX_KAPPA),
            ("tilt", self.tilt, -MAX_TILT, MAX_TILT),
        ];
        for (name, number, least, largest) in numbers {
            if let Some(value) = number
                && !(least..=largest).contains(&value)
            {
                let expected = format!("a number from {least} to {largest}");
                // A number of hundreds of digits is not readable in plain notation.
                let found = if value.abs() < 1e16 {
                    value.to_string()
                } else {
                    format!("{value:e}")
                };
                return Err(InvalidRequest::field(name, expected, found));
            }
        }
        if let Some(q) = self.state_quantile {
            return Ok(TargetReturn::StateQuantile(q));
        }
        if let Some(kappa) = self.kappa {
            return Ok(TargetReturn::Adaptive { kappa });
        }
        Ok(match (self.target_return, self.quantile) {
            (Some(value), _) => TargetReturn::Absolute(value),
            (None, Some(q)) => TargetReturn::Quantile(q),
            (None, None) if is_max => TargetReturn::Max,
            (None, None) => default.adjusted(self.mu, self.eps),
        })
    }
}

fn into_strings(ids: Vec<Id>) -> Vec<String> {
    let mut strings = Vec::with_capacity(ids.len());
    for Id(id) in ids {
        strings.push(id);
    }
    strings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<RecommendRequest, String> {
        let fields = RequestFields::parse(text.as_bytes());
        let request = fields.and_then(|fields| fields.resolve(PromptSpec::default()));
        request.map_err(|error| error.to_string())
    }

    #[test]
    fn hostile_values_are_rejected_in_the_words_of_the_sender() {
        let k = "k: expected a whole number from 1 to 1000, found ";
        let cases = [
            (r#""k": -1"#, format!("{k}-1")),
            (r#""k": 0"#, format!("{k}0")),
            (r#""k": 1001"#, format!("{k}1001")),
            (r#""k": 1.5"#, format!("{k}1.5")),
            (r#""k": "5""#, format!("{k}the text \"5\"")),
            (r#""k": 1e99"#, format!("{k}1e+99")),
            (
                r#""k": 18446744073709551616"#,
                format!("{k}1.8446744073709552e+19"),
            ),
            (r#""k": [5]"#, format!("{k}a list")),
            (r#""k": true"#, format!("{k}true")),
            (
                r#""mu": "x""#,
                "mu: expected a number, found the text \"x\"".into(),
            ),
            (
                r#""mu": 1e300"#,
                "mu: expected a number from -1000000 to 1000000, found 1e300".into(),
            ),
            (
                r#""eps": -0.5"#,
                "eps: expected a number from 0 to 1000000, found -0.5".into(),
            ),
            (
                r#""quantile": 2"#,
                "quantile: expected a number from 0 to 1, found 2".into(),
            ),
            (
                r#""tilt": 101"#,
                "tilt: expected a number from -100 to 100, found 101".into(),
            ),
            (
                r#""items": "a""#,
                "items: expected a list of ids, found the text \"a\"".into(),
            ),
            (
                r#""items": ["a", {}]"#,
                "items[1]: expected an item id: a string, or a non-negative whole number, found \
                 an object"
                    .into(),
            ),
            (
                r#""kinds": ["view"]"#,
                "kinds[0]: expected click or purchase, found the text \"view\"".into(),
            ),
            (
                r#""items": ["a"], "kinds": []"#,
                "kinds holds 0 values for 1 items; give one for each item".into(),
            ),
            (
                r#""exclude_seen": 1"#,
                "exclude_seen: expected true or false, found 1".into(),
            ),
            (r#""k": 1, "k": 2"#, "k is given twice; give it once".into()),
        ];
        for (fields, expected) in cases {
            let text = if fields.contains("items") {
                format!("{{{fields}}}")
            } else {
                format!("{{\"items\": [], {fields}}}")
            };
            assert_eq!(resolve(&text), Err(expected), "{text}");
        }
        let unknown = resolve(r#"{"items": [], "top": 3}"#).unwrap_err();
        assert!(
            unknown.starts_with("unknown field `top`; expected one of session, items"),
            "{unknown}"
        );
        let nan = resolve(r#"{"items": [], "mu": NaN}"#).unwrap_err();
        assert_eq!(nan, "not valid JSON at column 21: expected value");
        assert!(
            resolve("[]")
                .unwrap_err()
                .starts_with("expected a JSON object")
        );
    }

    #[test]
    fn number_that_is_not_finite_is_rejected_without_json() {
        for mu in [f64::NAN, f64::INFINITY, -2e6] {
            let fields = RequestFields {
                items: Some(Vec::new()),
                mu: Some(mu),
                ..RequestFields::default()
            };
            assert!(fields.resolve(PromptSpec::default()).is_err(), "{mu}");
        }
    }

    #[test]
    fn kinds_and_purchased_give_the_same_events() {
        let by_kind = resolve(r#"{"items": [1, "b"], "kinds": ["click", "purchase"]}"#).unwrap();
        let by_item = resolve(r#"{"items": ["1", "b"], "purchased": ["b"]}"#).unwrap();
        assert_eq!(by_kind, by_item);
        assert_eq!(by_kind.session[1].kind, Kind::Purchase);
        assert_eq!((by_kind.k, by_kind.case), (20, 0));
    }

    #[test]
    fn own_fields_win_over_defaults() {
        let defaults = RequestFields {
            k: Some(3),
            exclude_seen: Some(true),
            exclude: Some(vec![Id("a".into())]),
            ..RequestFields::default()
        };
        let mut own = RequestFields::parse(br#"{"items": [], "exclude_seen": false}"#).unwrap();
        own.fill(&defaults);
        let request = own.resolve(PromptSpec::default()).unwrap();
        assert_eq!((request.k, request.filter.exclude_seen), (3, false));
        assert_eq!(request.filter.exclude, ["a"]);
    }

    #[test]
    fn long_text_is_shortened_in_an_error() {
        let text = format!("{{\"items\": \"{}\"}}", "é".repeat(5_000));
        assert!(resolve(&text).unwrap_err().len() < 200);
    }
}
