//! Irregular values that only a reader sees: each reason with its number of rows and an example.
//!
//! A reader rejects what has no meaning. A finding is what has one, but probably not the one that
//! is meant; later steps report it.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::Error;

/// Irregularity of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FindingReason {
    /// Id that looks like a list of ids: `[1, 2, 3]`, `1 2 3` or `1|2|3`.
    ListLikeId,
    /// Number whose magnitude fits another unit than the one given for the whole column.
    OtherTimeUnit,
    /// Local time that a change of the clocks makes occur twice; the first is taken.
    AmbiguousLocalTime,
    /// Time earlier than that of an event that a list places before it.
    TimeAgainstList,
    /// Header whose names are the numbers of the columns, which a row of data could be.
    NumberedHeader,
}

impl FindingReason {
    /// Name in the manifest.
    pub(crate) fn name(self) -> &'static str {
        match self {
            FindingReason::ListLikeId => "list_like_id",
            FindingReason::OtherTimeUnit => "other_time_unit",
            FindingReason::AmbiguousLocalTime => "ambiguous_local_time",
            FindingReason::TimeAgainstList => "time_against_list",
            FindingReason::NumberedHeader => "numbered_header",
        }
    }

    /// Common property of the rows, as the end of a sentence that begins with their number.
    fn what(self) -> &'static str {
        match self {
            FindingReason::ListLikeId => "with an id that looks like a list of ids",
            FindingReason::OtherTimeUnit => {
                "with a time that looks like a number in another unit than the given one"
            }
            FindingReason::AmbiguousLocalTime => {
                "with a local time that occurs twice, when clocks go back; the first is taken"
            }
            FindingReason::TimeAgainstList => {
                "with a time before that of an earlier event of its list; the list's order is kept"
            }
            FindingReason::NumberedHeader => {
                "taken for a header of column numbers; if it is data, use --no-header"
            }
        }
    }
}

/// Rows that are irregular for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Number of rows.
    pub count: u64,
    /// Place of the first row: file and line, or file and row.
    pub place: String,
    /// Column of the value.
    pub column: String,
    /// First value.
    pub text: String,
}

/// Findings of a reader, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings(BTreeMap<FindingReason, Finding>);

impl Findings {
    /// Counts `count` more rows. `example` is used if the reason is new: the error of a value gives
    /// its place, column and text.
    pub(crate) fn add(
        &mut self,
        reason: FindingReason,
        count: u64,
        example: impl FnOnce() -> Error,
    ) {
        if count == 0 {
            return;
        }
        if let Some(finding) = self.0.get_mut(&reason) {
            finding.count += count;
            return;
        }
        let finding = match example() {
            Error::Cell {
                path,
                place,
                column,
                found,
                ..
            } => Finding {
                count,
                place: format!("{}{place}", path.display()),
                column,
                text: found,
            },
            other => Finding {
                count,
                place: other.to_string(),
                column: String::new(),
                text: String::new(),
            },
        };
        self.0.insert(reason, finding);
    }

    /// Findings, in a fixed order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (FindingReason, &Finding)> {
        self.0.iter().map(|(reason, finding)| (*reason, finding))
    }
}

/// Sentence about a finding: number of rows, what is irregular, and the example.
pub(crate) struct Sentence<'a>(pub FindingReason, pub &'a Finding);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sentence(reason, finding) = self;
        let rows = if finding.count == 1 { "row" } else { "rows" };
        let Finding {
            count,
            place,
            column,
            text,
        } = finding;
        write!(f, "{count} {rows} {}, such as {place}", reason.what())?;
        if !column.is_empty() {
            write!(f, ": column {column:?}: {text:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Place;

    fn cell(line: u64, found: &str) -> Error {
        Error::Cell {
            path: "log.csv".into(),
            place: Place::Line(line),
            column: "i".into(),
            found: found.into(),
            expected: String::new(),
        }
    }

    #[test]
    fn findings_of_a_reason_are_counted_and_the_first_is_the_example() {
        let mut findings = Findings::default();
        findings.add(FindingReason::ListLikeId, 0, || cell(2, "1 2"));
        assert_eq!(findings.iter().count(), 0);
        findings.add(FindingReason::ListLikeId, 2, || cell(3, "1 2 3"));
        findings.add(FindingReason::ListLikeId, 1, || cell(9, "4 5"));
        findings.add(FindingReason::NumberedHeader, 1, || cell(1, "1"));
        let mut sentences = Vec::new();
        for (reason, finding) in findings.iter() {
            sentences.push((
                reason.name(),
                finding.count,
                Sentence(reason, finding).to_string(),
            ));
        }
        let first = "3 rows with an id that looks like a list of ids, such as log.csv:3: column \"i\": \"1 2 3\"";
        assert_eq!(sentences.len(), 2);
        assert_eq!(sentences[0], ("list_like_id", 3, first.to_owned()));
        assert!(sentences[1].2.starts_with("1 row taken for a header"));
    }
}
