//! Column of times during reading: numbers in one unit, or text in one form.

use crate::options::TimeUnit;
use crate::time_parser::TimeParser;
use crate::times::{ISO_HINT, IsoTime, NANOS, RANGE};

/// Days from 1899-12-30, day 0 of spreadsheets, to 1970-01-01.
const EXCEL_EPOCH: f64 = 25_569.0;
const MILLIS_OF_DAY: f64 = 86_400_000.0;

/// Times during reading. The first value decides between numbers and text; the unit of numbers is
/// decided after the last value.
#[derive(Clone, Debug, Default)]
pub(crate) struct TimeColumn {
    parser: TimeParser,
    times: Times,
    /// Numbers that are times since 1973 in each of [`SCALES`].
    scales: [Mark; SCALES.len()],
    ambiguous: Mark,
}

#[derive(Clone, Debug, Default)]
enum Times {
    #[default]
    None,
    /// Whole numbers of undecided unit.
    Whole(Vec<i64>),
    /// Numbers of undecided unit.
    Real(Vec<f64>),
    /// Nanoseconds.
    Nanos(Vec<i64>),
}

/// Number of values of a kind, and the position of the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub count: u64,
    pub first: usize,
}

impl Mark {
    fn add(&mut self, position: usize) {
        if self.count == 0 {
            self.first = position;
        }
        self.count += 1;
    }
}

/// Units that a number of our time can be in, distinguished by its magnitude.
pub(crate) const SCALES: [TimeUnit; 4] = [
    TimeUnit::Seconds,
    TimeUnit::Milliseconds,
    TimeUnit::Microseconds,
    TimeUnit::Nanoseconds,
];

/// Position in [`SCALES`] of the unit in which the number is a time from 1973 to 2286.
fn scale(magnitude: f64) -> Option<usize> {
    let mut least = 1e8;
    for i in 0..SCALES.len() {
        if magnitude < least {
            return None;
        }
        if magnitude < least * 100.0 {
            return Some(i);
        }
        least *= 1000.0;
    }
    None
}

impl TimeColumn {
    /// Creates an empty column of times that `parser` reads.
    pub(crate) fn new(parser: TimeParser) -> Self {
        Self {
            parser,
            ..Self::default()
        }
    }

    /// Number of times so far.
    pub(crate) fn len(&self) -> usize {
        match &self.times {
            Times::None => 0,
            Times::Whole(times) | Times::Nanos(times) => times.len(),
            Times::Real(times) => times.len(),
        }
    }

    /// Numbers that are times of our age in each of [`SCALES`].
    pub(crate) fn scales(&self) -> &[Mark; SCALES.len()] {
        &self.scales
    }

    /// Local times that occur twice.
    pub(crate) fn ambiguous(&self) -> Mark {
        self.ambiguous
    }

    /// Appends a time in its text form; the error describes the expected value.
    pub(crate) fn push(&mut self, text: &str) -> Result<(), &'static str> {
        let text = text.trim();
        if self.parser.has_format() {
            return self.push_text(text);
        }
        match &self.times {
            Times::Nanos(_) => self.push_text(text),
            Times::None if self.parser.parse(text).is_ok() => self.push_text(text),
            _ => match (text.parse(), text.parse()) {
                (Ok(whole), _) => self.push_whole(whole),
                (_, Ok(real)) => self.push_real(real),
                _ if self.len() == 0 => self.push_text(text),
                _ => Err("a number, as the times before it"),
            },
        }
    }

    /// Appends a time as text in the form of the column.
    fn push_text(&mut self, text: &str) -> Result<(), &'static str> {
        let time = self.parser.parse(text)?;
        if time.is_ambiguous {
            self.ambiguous.add(self.len());
        }
        self.push_nanos(time.nanos)
    }

    /// Appends a whole number.
    pub(crate) fn push_whole(&mut self, time: i64) -> Result<(), &'static str> {
        if self.parser.has_format() {
            return self.push_text(&time.to_string());
        }
        if let Some(scale) = scale(time.unsigned_abs() as f64) {
            self.scales[scale].add(self.len());
        }
        match &mut self.times {
            Times::None => self.times = Times::Whole(vec![time]),
            Times::Whole(times) => times.push(time),
            Times::Real(times) => times.push(time as f64),
            Times::Nanos(_) => return Err(ISO_HINT),
        }
        Ok(())
    }

    /// Appends a number.
    pub(crate) fn push_real(&mut self, time: f64) -> Result<(), &'static str> {
        if !time.is_finite() {
            return Err("a finite number");
        }
        if self.parser.has_format() {
            return self.push_text(&time.to_string());
        }
        if let Some(scale) = scale(time.abs()) {
            self.scales[scale].add(self.len());
        }
        match &mut self.times {
            Times::None => self.times = Times::Real(vec![time]),
            Times::Real(times) => times.push(time),
            Times::Whole(whole) => {
                let mut times = Vec::with_capacity(whole.len() + 1);
                for &whole in whole.iter() {
                    times.push(whole as f64);
                }
                times.push(time);
                self.times = Times::Real(times);
            }
            Times::Nanos(_) => return Err(ISO_HINT),
        }
        Ok(())
    }

    /// Appends nanoseconds.
    pub(crate) fn push_nanos(&mut self, time: i64) -> Result<(), &'static str> {
        match &mut self.times {
            Times::None => self.times = Times::Nanos(vec![time]),
            Times::Nanos(times) => times.push(time),
            Times::Whole(_) | Times::Real(_) => return Err("a number, as the times before it"),
        }
        Ok(())
    }

    /// Unit of the numbers: `unit`, or the one that follows from the largest; `None` if the times
    /// are no numbers.
    pub(crate) fn unit(&self, unit: TimeUnit) -> Option<TimeUnit> {
        let mut most = 0.0;
        match &self.times {
            Times::None | Times::Nanos(_) => return None,
            Times::Whole(times) => {
                for time in times {
                    most = f64::max(most, time.unsigned_abs() as f64);
                }
            }
            Times::Real(times) => {
                for time in times {
                    most = f64::max(most, time.abs());
                }
            }
        }
        Some(match unit {
            TimeUnit::Auto if most < 1e11 => TimeUnit::Seconds,
            TimeUnit::Auto if most < 1e14 => TimeUnit::Milliseconds,
            TimeUnit::Auto if most < 1e17 => TimeUnit::Microseconds,
            TimeUnit::Auto => TimeUnit::Nanoseconds,
            unit => unit,
        })
    }

    /// Converts all times to nanoseconds. Fractional numbers are rounded to the microsecond, the
    /// precision of a double.
    pub(crate) fn finish(self, asked: TimeUnit) -> Result<Vec<i64>, String> {
        let unit = self.unit(asked);
        let has_clock = matches!(unit, None | Some(TimeUnit::Excel));
        if self.parser.has_zone() && !has_clock {
            return Err(
                "the times are numbers, which count from 1970 in UTC; leave out --time-zone".into(),
            );
        }
        match (self.times, unit) {
            (Times::Nanos(times), _) => Ok(times),
            (Times::Whole(times), Some(TimeUnit::Excel)) => {
                let mut days = Vec::with_capacity(times.len());
                for time in times {
                    days.push(time as f64);
                }
                spreadsheet_days(&days, &self.parser)
            }
            (Times::Real(times), Some(TimeUnit::Excel)) => spreadsheet_days(&times, &self.parser),
            (Times::Whole(times), Some(unit)) => {
                refuse_compact_dates(&times, asked)?;
                whole_times(times, unit)
            }
            (Times::Real(times), Some(unit)) => real_times(&times, unit),
            _ => Ok(Vec::new()),
        }
    }
}

fn whole_times(mut times: Vec<i64>, unit: TimeUnit) -> Result<Vec<i64>, String> {
    let nanos = unit.nanos();
    for time in &mut times {
        let Some(converted) = time.checked_mul(nanos) else {
            return Err(out_of_range(time, unit));
        };
        *time = converted;
    }
    Ok(times)
}

fn real_times(times: &[f64], unit: TimeUnit) -> Result<Vec<i64>, String> {
    let micros_per_unit = unit.nanos() as f64 / 1000.0;
    let mut converted = Vec::with_capacity(times.len());
    for time in times {
        let micros = (time * micros_per_unit).round();
        if micros.abs() >= i64::MAX as f64 / 1000.0 {
            return Err(out_of_range(time, unit));
        }
        converted.push(micros as i64 * 1000);
    }
    Ok(converted)
}

/// Times of days as spreadsheets count them, to the millisecond, on the clock of the zone.
fn spreadsheet_days(times: &[f64], parser: &TimeParser) -> Result<Vec<i64>, String> {
    let mut converted = Vec::with_capacity(times.len());
    for time in times {
        // The last day of the year 9999, the last that spreadsheets know, is out of range too.
        if !(1.0..110_000.0).contains(time) {
            return Err(format!(
                "time {time} is no day of a spreadsheet, which counts from 1899-12-30; name another time unit"
            ));
        }
        let millis = ((time - EXCEL_EPOCH) * MILLIS_OF_DAY).round() as i64;
        let local = IsoTime {
            seconds: millis.div_euclid(1000),
            nanos: millis.rem_euclid(1000) * 1_000_000,
            offset: None,
        };
        match parser.instant(local) {
            Ok(time) => converted.push(time.nanos),
            Err(expected) => return Err(format!("time {time} is not {expected}")),
        }
    }
    Ok(converted)
}

/// Rejects dates written as `20140407`, which would otherwise be read as seconds of August 1970.
fn refuse_compact_dates(times: &[i64], unit: TimeUnit) -> Result<(), String> {
    if unit == TimeUnit::Auto && !times.is_empty() && times.iter().all(is_compact_date) {
        return Err(format!(
            "times such as {} look like dates; write them as YYYY-MM-DD, give their form with --time-format \
             '%Y%m%d', or name the time unit",
            times[0]
        ));
    }
    Ok(())
}

fn is_compact_date(time: &i64) -> bool {
    (1900..2100).contains(&(time / 10_000))
        && (1..=12).contains(&(time / 100 % 100))
        && (1..=31).contains(&(time % 100))
}

fn out_of_range(time: &dyn std::fmt::Display, unit: TimeUnit) -> String {
    format!(
        "time {time} in {} is not {RANGE}; name the time unit",
        unit.plural()
    )
}

impl TimeUnit {
    /// Nanoseconds of a unit that is one of [`SCALES`].
    fn nanos(self) -> i64 {
        match self {
            TimeUnit::Milliseconds => 1_000_000,
            TimeUnit::Microseconds => 1000,
            TimeUnit::Nanoseconds => 1,
            TimeUnit::Seconds | TimeUnit::Auto | TimeUnit::Excel => NANOS,
        }
    }

    /// Nanoseconds of a unit that is given; `None` for one that is to be found.
    pub(crate) fn given_nanos(self) -> Option<i64> {
        match self {
            TimeUnit::Auto | TimeUnit::Excel => None,
            unit => Some(unit.nanos()),
        }
    }

    /// Name for messages.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            TimeUnit::Seconds | TimeUnit::Auto => "seconds",
            TimeUnit::Milliseconds => "milliseconds",
            TimeUnit::Microseconds => "microseconds",
            TimeUnit::Nanoseconds => "nanoseconds",
            TimeUnit::Excel => "days",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::ValueRules;

    fn column(times: &[&str]) -> TimeColumn {
        let mut column = TimeColumn::default();
        for time in times {
            column.push(time).unwrap();
        }
        column
    }

    fn auto(times: &[&str]) -> Vec<i64> {
        column(times).finish(TimeUnit::Auto).unwrap()
    }

    #[test]
    fn unit_follows_from_the_largest_number() {
        let (s, ms) = (1_439_665_586, 1_439_665_586_001);
        assert_eq!(auto(&["5", "1439665586"]), [5 * NANOS, s * NANOS]);
        assert_eq!(auto(&["5", "1439665586001"]), [5_000_000, ms * 1_000_000]);
        assert_eq!(auto(&["1439665586001002"]), [1_439_665_586_001_002_000]);
        assert_eq!(auto(&["1439665586001002003"]), [1_439_665_586_001_002_003]);
        assert_eq!(
            auto(&["1439665586", "1439665586.25", "1.4e9"]),
            [s * NANOS, 1_439_665_586_250_000_000, 1_400_000_000 * NANOS]
        );
        assert_eq!(auto(&["-1"]), [-NANOS]);
        assert!(auto(&[]).is_empty());
    }

    #[test]
    fn given_unit_is_used_or_refused() {
        let millis = column(&["20150101"]).finish(TimeUnit::Milliseconds);
        assert_eq!(millis.unwrap(), [20_150_101_000_000]);
        let refused = |times: &[&str], unit| column(times).finish(unit).unwrap_err();
        assert!(refused(&["20150101", "20151231"], TimeUnit::Auto).contains("YYYY-MM-DD"));
        assert!(refused(&["1439665586001"], TimeUnit::Seconds).contains("seconds"));
        assert!(refused(&["1e300"], TimeUnit::Auto).contains("name the time unit"));
        assert!(refused(&["1439665586"], TimeUnit::Excel).contains("spreadsheet"));
    }

    #[test]
    fn spreadsheet_days_are_dates_with_their_time_of_day() {
        // 2019-10-01 is day 43739; 0.000694444 of a day is a minute, cut by the spreadsheet.
        let read = column(&["43739", "43739.5", "43739.000694444"]).finish(TimeUnit::Excel);
        let day = 1_569_888_000;
        assert_eq!(
            read.unwrap(),
            [day * NANOS, (day + 43_200) * NANOS, (day + 60) * NANOS]
        );
    }

    #[test]
    fn numbers_of_other_magnitudes_are_marked_by_scale() {
        let column = column(&["5", "1439665586001", "1439665586", "1439665587"]);
        let mark = |count, first| Mark { count, first };
        let none = Mark::default();
        assert_eq!(column.scales(), &[mark(2, 2), mark(1, 1), none, none]);
        assert_eq!(column.unit(TimeUnit::Auto), Some(TimeUnit::Milliseconds));
        for (magnitude, expected) in [
            (9.9e7, None),
            (1e8, Some(0)),
            (1e10, None),
            (1e11, Some(1)),
            (1.5e15, Some(2)),
            (1.5e18, Some(3)),
            (1e20, None),
        ] {
            assert_eq!(scale(magnitude), expected, "{magnitude}");
        }
    }

    #[test]
    fn text_and_numbers_do_not_mix() {
        let mut iso = column(&["2014-04-07"]);
        assert!(iso.push("1439665586").is_err() && iso.push("").is_err());
        let mut number = column(&["1439665586"]);
        for text in ["2014-04-07", "nan", ""] {
            assert!(number.push(text).is_err(), "{text}");
        }
        assert!(TimeColumn::default().push("soon").is_err());
    }

    #[test]
    fn given_format_reads_numbers_too() {
        let rules = ValueRules {
            time_format: Some("%Y%m%d".into()),
            ..ValueRules::default()
        };
        let mut column = TimeColumn::new(TimeParser::new(&rules).unwrap());
        column.push("20191001").unwrap();
        column.push_whole(20_191_002).unwrap();
        let read = column.finish(TimeUnit::Auto).unwrap();
        assert_eq!(read, [1_569_888_000 * NANOS, 1_569_974_400 * NANOS]);
    }

    #[test]
    fn zone_without_use_is_refused() {
        let rules = ValueRules {
            time_zone: Some("Europe/Amsterdam".into()),
            ..ValueRules::default()
        };
        let mut column = TimeColumn::new(TimeParser::new(&rules).unwrap());
        column.push("1439665586").unwrap();
        let error = column.finish(TimeUnit::Auto).unwrap_err();
        assert!(error.contains("--time-zone"), "{error}");
    }
}
