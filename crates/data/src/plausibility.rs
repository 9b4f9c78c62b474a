//! Plausibility of a log: figures and warnings that show whether it was read as it was meant.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use polars::prelude::*;
use prl_dataset::{Plausibility, Repeats, Warning};

use crate::dropped::flags;
use crate::error::{Error, Result};
use crate::findings::Sentence;
use crate::ids::ranks;
use crate::log::{ITEM, Log, SESSION, TIME};
use crate::options::{Moment, Options, Source};
use crate::prepare::raw_ids;

const DAY: i64 = 86_400 * 1_000_000_000;
/// Longest period in days that is not remarkable: twenty years.
const LONG_PERIOD: i64 = 7305;
/// 1990: times before it are mostly in another unit than was taken.
const EARLIEST: i64 = 7305 * DAY;
/// A filter that drops this share of the rows is remarkable.
const LARGE_LOSS: f64 = 1.0 / 3.0;

/// Words for a missing id beyond those that the readers take for missing, in lower case.
const MISSING: [&str; 14] = [
    "null",
    "nan",
    "none",
    "na",
    "n/a",
    "<na>",
    "nat",
    "\\n",
    "nil",
    "undefined",
    "(null)",
    "-",
    "?",
    "#n/a",
];

/// Checks of a log in the course of its preparation.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    warnings: Vec<Warning>,
    /// Warnings that depend on the present time; they are not in the manifest.
    of_today: Vec<Warning>,
    figures: Plausibility,
}

impl Checks {
    /// Checks the events as they were read.
    pub(crate) fn of_raw(log: &Log) -> Result<Self> {
        let mut checks = Self::default();
        for (reason, finding) in log.findings.iter() {
            let message = Sentence(reason, finding).to_string();
            checks.warn(reason.name(), finding.count, message);
        }
        checks.check_ids("session", log.events.column(SESSION)?)?;
        checks.check_ids("item", log.events.column(ITEM)?)?;
        if !log.is_timeless {
            checks.check_times(log.events.column(TIME)?.i64()?);
        }
        Ok(checks)
    }

    fn warn(&mut self, name: &str, count: u64, message: String) {
        self.warnings.push(warning(name, count, message));
    }

    /// Checks the ids of a column, if they are not all numbers.
    fn check_ids(&mut self, role: &str, ids: &Column) -> Result<()> {
        if !matches!(ids.dtype(), DataType::Enum(..)) {
            return Ok(());
        }
        let (distinct, positions) = ranks(ids)?;
        let texts = raw_ids(&distinct)?;
        let mut rows = vec![0_u64; texts.len()];
        for position in positions.u32()?.into_no_null_iter() {
            rows[position as usize] += 1;
        }
        let mut missing = (0, None);
        for (id, rows) in texts.iter().zip(&rows) {
            if MISSING.contains(&id.trim().to_lowercase().as_str()) {
                missing.0 += rows;
                missing.1.get_or_insert(id);
            }
        }
        if let (rows, Some(id)) = missing {
            let message = format!(
                "{} with the {role} id {id:?}, which looks like a missing one; name it with --missing",
                rows_of(rows)
            );
            self.warn("missing_like_id", rows, message);
        }
        let mut twins = (0, None);
        let mut by_number: HashMap<String, &str> = HashMap::new();
        for id in &texts {
            let Some(number) = number_of(id) else {
                continue;
            };
            match by_number.get(&number) {
                Some(first) => {
                    twins.0 += 1;
                    twins.1.get_or_insert((*first, id.as_str()));
                }
                None => {
                    by_number.insert(number, id);
                }
            }
        }
        if let (count, Some((first, second))) = twins {
            let ids = if count == 1 { "id is" } else { "ids are" };
            let message = format!(
                "{count} {role} {ids} the same number as another, such as {first:?} and {second:?}, and are kept apart; \
                 write the ids alike"
            );
            self.warn("numeric_twin", count, message);
        }
        Ok(())
    }

    fn check_times(&mut self, times: &Int64Chunked) {
        let (Some(first), Some(last)) = (times.min(), times.max()) else {
            return;
        };
        let (from, to) = (Moment(first), Moment(last));
        if first == last && times.len() > 1 {
            let rows = times.len() as u64;
            let message = format!(
                "all {} have the time {from}, so that their order is that of the files; map the column of times",
                rows_of(rows)
            );
            self.warn("one_time", rows, message);
        }
        let early = count_in(times, i64::MIN..EARLIEST);
        if early > 0 {
            let message = format!(
                "{} before 1990, such as at {from}; name the unit with --time-unit, or drop them with --from",
                rows_of(early)
            );
            self.warn("early_time", early, message);
        }
        if last.saturating_sub(first) / DAY > LONG_PERIOD {
            let mut sorted: Vec<i64> = times.into_no_null_iter().collect();
            let middle = sorted.len() / 2;
            let (_, median, _) = sorted.select_nth_unstable(middle);
            let median = *median;
            let mut far = 0;
            for time in times.into_no_null_iter() {
                let distance = time.saturating_sub(median).saturating_abs();
                far += u64::from(distance / DAY > LONG_PERIOD / 2);
            }
            let message = format!(
                "the times are decades apart, from {from} to {to}: {} more than ten years from the median {}; drop \
                 them with --from or --until",
                rows_of(far),
                Moment(median)
            );
            self.warn("distant_time", far, message);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs() as i64;
        // A clock that is a day behind is no fault of the log.
        let tomorrow = now.saturating_mul(1_000_000_000).saturating_add(DAY);
        let future = count_in(times, tomorrow..i64::MAX);
        if now > 0 && future > 0 {
            let message = format!(
                "{} in the future, such as at {to}; drop them with --until",
                rows_of(future)
            );
            self.of_today.push(warning("future_time", future, message));
        }
    }

    /// Figures of ordered events whose items are indices; `items` is the number of items.
    pub(crate) fn figures(&mut self, log: &Log, items: usize) -> Result<()> {
        let has_times = !log.is_timeless;
        let events = &log.events;
        let times = events.column(TIME)?.i64()?.rechunk();
        let times = times.cont_slice()?;
        let indices = events.column(ITEM)?.u32()?.rechunk();
        let indices = indices.cont_slice()?;
        let figures = &mut self.figures;
        figures.events = times.len() as u64;
        // For each item, its last event so far.
        let mut last = vec![usize::MAX; items];
        let session_ids = events.column(SESSION)?.to_physical_repr();
        let session_ids = session_ids.cast(&DataType::UInt64)?.rechunk();
        let mut start = 0;
        let mut n_sessions = 0;
        // The events are in the total order, so that a session is a run of equal ids.
        for session in session_ids.u64()?.cont_slice()?.chunk_by(|a, b| a == b) {
            n_sessions += 1;
            let end = start + session.len();
            for event in start..end {
                if has_times && event > start && times[event] == times[event - 1] {
                    figures.tied_in_session += 1;
                }
                let before = &mut last[indices[event] as usize];
                if *before != usize::MAX && *before >= start {
                    count_repeat(&mut figures.repeats, event - *before);
                }
                *before = event;
            }
            start = end;
        }
        if !has_times {
            return Ok(());
        }
        // Sorted by polars, on all threads.
        let sorted = events.column(TIME)?.i64()?.sort(false);
        let sorted = sorted.rechunk();
        let sorted = sorted.cont_slice()?;
        for equal in sorted.chunk_by(|a, b| a == b) {
            if equal.len() > 1 {
                figures.tied_in_log += equal.len() as u64;
            }
        }
        if let (Some(first), Some(end)) = (sorted.first(), sorted.last()) {
            figures.first_time = Some(Moment(*first).to_string());
            figures.last_time = Some(Moment(*end).to_string());
        }
        let followers = figures.events - n_sessions;
        let (tied, is_one_time) = (figures.tied_in_session, sorted.first() == sorted.last());
        if tied * 2 >= followers && tied > 0 && !is_one_time {
            let message = format!(
                "{tied} of {followers} events have the time of the event before them in their session, so that their \
                 order is that of the files; map a finer column of times"
            );
            self.warn("tied_times", tied, message);
        }
        Ok(())
    }

    /// Checks the largest loss by a filter that a flag governs.
    pub(crate) fn check_loss(
        &mut self,
        options: &Options,
        dropped: &BTreeMap<String, u64>,
        rows: u64,
    ) {
        let mut largest = None;
        for (reason, &count) in dropped {
            let Some(flags) = governed(options, reason) else {
                continue;
            };
            if largest.is_none_or(|(_, most, _)| count > most) {
                largest = Some((reason, count, flags));
            }
        }
        if let Some((reason, count, flags)) = largest
            && count as f64 >= rows as f64 * LARGE_LOSS
        {
            let message = format!("{reason}: {count} of {rows} rows; see {flags}");
            self.warn("large_loss", count, message);
        }
    }

    /// Logs the warnings and returns the figures, or fails if a warning is an error.
    pub(crate) fn report(self, is_strict: bool) -> Result<Plausibility> {
        let Self {
            warnings,
            of_today,
            mut figures,
        } = self;
        if is_strict && !(warnings.is_empty() && of_today.is_empty()) {
            let mut messages = Vec::new();
            for warning in warnings.into_iter().chain(of_today) {
                messages.push(warning.message);
            }
            return Err(Error::Implausible { warnings: messages });
        }
        for warning in warnings.iter().chain(&of_today) {
            tracing::warn!(check = warning.name, "{}", warning.message);
        }
        figures.warnings = warnings;
        Ok(figures)
    }
}

/// Flags that govern a filter of this source; none for the filters that a protocol fixes.
fn governed(options: &Options, reason: &str) -> Option<&'static str> {
    let is_fixed = match options.source {
        Source::RetailRocket { .. } => ["short_session", "rare_item"].contains(&reason),
        Source::Rc15 { .. } => ["short_session", "session_not_sampled"].contains(&reason),
        _ => false,
    };
    if is_fixed { None } else { flags(reason) }
}

fn warning(name: &str, count: u64, message: String) -> Warning {
    Warning {
        name: name.into(),
        count,
        message,
    }
}

fn rows_of(rows: u64) -> String {
    match rows {
        1 => "1 row".into(),
        rows => format!("{rows} rows"),
    }
}

fn count_in(times: &Int64Chunked, period: Range<i64>) -> u64 {
    let mut count = 0;
    for time in times.into_no_null_iter() {
        count += u64::from(period.contains(&time));
    }
    count
}

fn count_repeat(repeats: &mut Repeats, lag: usize) {
    let counter = match lag {
        1 => &mut repeats.lag_1,
        2 => &mut repeats.lag_2,
        3 => &mut repeats.lag_3,
        _ => &mut repeats.lag_4_or_more,
    };
    *counter += 1;
    repeats.any += 1;
}

/// The number that an id writes, in one form: `7` for `007`, `+7` and `7.0`.
fn number_of(id: &str) -> Option<String> {
    let id = id.trim();
    let (sign, digits) = match id.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", id.strip_prefix('+').unwrap_or(id)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_whole = !whole.is_empty() && whole.bytes().all(|b| b.is_ascii_digit());
    if !is_whole || fraction.bytes().any(|b| b != b'0') {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    Some(match whole {
        "" => "0".into(),
        whole => format!("{sign}{whole}"),
    })
}

#[cfg(test)]
mod tests {
    use super::number_of;

    #[test]
    fn number_of_an_id_has_one_form() {
        for (id, number) in [
            ("7", Some("7")),
            ("007", Some("7")),
            ("+7", Some("7")),
            ("7.0", Some("7")),
            ("7.", Some("7")),
            ("-7.00", Some("-7")),
            ("000", Some("0")),
            ("-0", Some("0")),
            ("7.5", None),
            ("7a", None),
            (".0", None),
            ("", None),
        ] {
            assert_eq!(number_of(id).as_deref(), number, "{id}");
        }
    }
}
