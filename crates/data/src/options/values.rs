//! Reading of single values: what counts as missing, and the form and zone of times.

use serde::Serialize;

/// Rules for single values of a table: missing values, and times as text.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ValueRules {
    /// Texts that mean a missing value, beside an empty one; by default
    /// [`ValueRules::MISSING`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Vec<String>>,
    /// Drops and counts rows without a session, an item or a time, instead of rejecting them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drop_missing: bool,
    /// Form of times as text in the notation of `strftime`, such as `%d/%m/%Y %H:%M`; without it
    /// ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_format: Option<String>,
    /// Zone of times as text without an offset: a name such as `Europe/Amsterdam`, or an offset
    /// such as `+02:00`; without it UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

impl ValueRules {
    /// Texts that databases and programs write for a missing value.
    pub const MISSING: [&'static str; 11] = [
        "NULL", "Null", "null", "NaN", "nan", "None", "NA", "N/A", "<NA>", "NaT", "\\N",
    ];
}
