//! Options of the steps that a log may take beside the protocol's.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::error::{Error, Result};
use crate::options::{Source, TimeUnit};
use crate::time_column::TimeColumn;

/// Steps beside the protocol's, in the order in which they are applied. The default has none.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Steps {
    /// Drops events before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Moment>,
    /// Drops events at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Moment>,
    /// Drops all but the first of events that agree in everything.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drop_duplicates: bool,
    /// Divides the events of a session (or user) where more than this time passes between two. The
    /// id of a part is the id before, `_` and the milliseconds of its first event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_gap: Option<Gap>,
    /// Drops an event whose item and kind are those of the event before it in its session.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drop_repeats: bool,
    /// Repeats the filters of short sessions and rare items until neither drops an event, instead
    /// of once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub filter_until_stable: bool,
    /// Treatment of sessions longer than [`max_length`](crate::Options::max_length).
    #[serde(skip_serializing_if = "LongSessions::is_drop")]
    pub long_sessions: LongSessions,
    /// Dates of [`SplitRule::Date`](crate::SplitRule::Date): a session that ends at the last date
    /// or later is test; with two dates, one that ends at the first or later is validation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub split_at: Vec<Moment>,
}

impl Steps {
    /// Rejects steps that exclude each other, or that the source does not take.
    pub(crate) fn check(&self, source: &Source, max_length: Option<usize>) -> Result<()> {
        if let (Some(from), Some(until)) = (self.from, self.until)
            && from >= until
        {
            return Err(Error::Options(format!(
                "no time is from {from} and before {until}; name an earlier --from or a later --until"
            )));
        }
        if self.long_sessions != LongSessions::Drop && max_length.is_none() {
            return Err(Error::Options(
                "long sessions are to be cut, but no length is too long; name a maximum length"
                    .into(),
            ));
        }
        let in_order = self.split_at.is_sorted_by(|a, b| a < b);
        if self.split_at.len() > 2 || !in_order {
            return Err(Error::Options(
                "the split takes one date, or two in ascending order: DATE[,DATE]".into(),
            ));
        }
        let after_reading = Steps {
            long_sessions: self.long_sessions,
            split_at: self.split_at.clone(),
            ..Steps::default()
        };
        if matches!(source, Source::Rc15 { .. }) && *self != after_reading {
            return Err(Error::Options(
                "rc15 samples its sessions while it is read: it takes no session gap, period, duplicates, repeats or \
                 repeated filters; read its files with --source csv"
                    .into(),
            ));
        }
        Ok(())
    }
}

/// Treatment of sessions that are longer than the maximum length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LongSessions {
    /// Drops them, as the protocol does.
    #[default]
    Drop,
    /// Cuts them into pieces of the maximum length, of which the last may be shorter. Piece n from
    /// the second on has the id of the session, `/` and n.
    Split,
    /// Keeps their last events.
    Last,
}

impl LongSessions {
    fn is_drop(&self) -> bool {
        *self == LongSessions::Drop
    }
}

/// Point in time: nanoseconds since 1970, UTC.
///
/// ```
/// let moment: prl_data::Moment = "2014-04-07".parse()?;
/// assert_eq!(moment.to_string(), "2014-04-07T00:00:00Z");
/// assert_eq!(moment, "1396828800".parse()?);
/// # Ok::<(), prl_data::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl FromStr for Moment {
    type Err = Error;

    /// Parses a date, ISO 8601 or a number as in a log; without a zone the time is UTC.
    fn from_str(text: &str) -> Result<Self> {
        let mut column = TimeColumn::default();
        if let Err(expected) = column.push(text) {
            return Err(Error::Options(format!("{text:?}: expected {expected}")));
        }
        match column.finish(TimeUnit::Auto) {
            Ok(times) => Ok(Self(times[0])),
            Err(why) => Err(Error::Options(why)),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.div_euclid(1_000_000_000);
        let nanos = self.0.rem_euclid(1_000_000_000);
        let (year, month, day) = civil(seconds.div_euclid(86_400));
        let of_day = seconds.rem_euclid(86_400);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        if nanos > 0 {
            let digits = format!("{nanos:09}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

/// Year, month and day of the days since 1970 (Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March, so that the leap day is the last of the year.
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Length of time between two sessions of a user: a whole number of seconds.
///
/// ```
/// let gap: prl_data::Gap = "30m".parse()?;
/// assert_eq!(gap, "1800s".parse()?);
/// assert!("30".parse::<prl_data::Gap>().is_err());
/// # Ok::<(), prl_data::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    seconds: i64,
}

/// Units of a gap, with their seconds, largest first.
const UNITS: [(&str, i64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

impl Gap {
    /// The gap in nanoseconds.
    pub(crate) fn nanos(self) -> i64 {
        self.seconds * 1_000_000_000
    }
}

impl FromStr for Gap {
    type Err = Error;

    /// Parses a whole number above 0 with a unit: `s`, `m` (or `min`), `h` or `d`.
    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = match unit.trim() {
            "min" => "m",
            unit => unit,
        };
        for (name, seconds) in UNITS {
            // A century, so that nanoseconds fit their type.
            let most = 36_525 * 86_400 / seconds;
            if unit == name
                && let Ok(number) = number.parse::<i64>()
                && (1..=most).contains(&number)
            {
                return Ok(Self {
                    seconds: number * seconds,
                });
            }
        }
        Err(Error::Options(format!(
            "{text:?}: expected a whole number and its unit (s, m, h or d), such as 30m"
        )))
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, seconds) in UNITS {
            if self.seconds % seconds == 0 {
                return write!(f, "{}{name}", self.seconds / seconds);
            }
        }
        Ok(())
    }
}

impl Serialize for Gap {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Treatment of the event kinds of a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct KindOptions {
    /// Keeps the names of the kinds in the dataset.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep_kinds: bool,
    /// Rewards of kinds, by name. A kind that is named here alone counts as a click.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rewards: BTreeMap<String, f64>,
}

impl KindOptions {
    /// True if the dataset has the names of the kinds.
    pub(crate) fn are_kept(&self) -> bool {
        self.keep_kinds || !self.rewards.is_empty()
    }

    /// Rejects rewards that training could not use.
    pub(crate) fn check(&self) -> Result<()> {
        for (kind, reward) in &self.rewards {
            if !(reward.is_finite() && *reward >= 0.0) {
                return Err(Error::Options(format!(
                    "the reward of {kind:?} is {reward}; expected a number of at least 0"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moment_prints_as_it_is_read() {
        for text in [
            "1969-12-31T23:59:59.5Z",
            "1970-01-01T00:00:00Z",
            "2000-02-29T12:00:00Z",
            "2014-04-07T10:51:09.277Z",
            "2100-03-01T00:00:01.000000001Z",
        ] {
            assert_eq!(text.parse::<Moment>().unwrap().to_string(), text);
        }
        for text in ["", "yesterday", "20140407", "2014-13-01"] {
            let error = text.parse::<Moment>().unwrap_err();
            assert!(matches!(error, Error::Options(_)), "{text}: {error}");
        }
    }

    #[test]
    fn gap_of_any_unit_is_its_seconds() {
        for (text, seconds, shown) in [
            ("30m", 1800, "30m"),
            ("30min", 1800, "30m"),
            ("90 s", 90, "90s"),
            ("3600s", 3600, "1h"),
            ("2d", 172_800, "2d"),
        ] {
            let gap: Gap = text.parse().unwrap();
            assert_eq!((gap.seconds, gap.to_string().as_str()), (seconds, shown));
        }
        for text in ["", "30", "m", "0m", "-1h", "1.5h", "1w", "99999999999d"] {
            assert!(text.parse::<Gap>().is_err(), "{text}");
        }
    }
}
