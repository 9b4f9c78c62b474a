//! Parsing of times to nanoseconds since 1970, UTC: numbers in one of four units, ISO 8601, dates.

use crate::options::TimeUnit;

const NANOS: i64 = 1_000_000_000;
/// Times that nanoseconds of 64 bits can hold.
pub(crate) const RANGE: &str = "a time between the years 1678 and 2261";
const ISO: &str = "a time such as 2014-04-07T10:51:09.277Z, or a date such as 2014-04-07";

/// Converts milliseconds; the error describes the expected value.
pub(crate) fn from_millis(millis: i64) -> Result<i64, &'static str> {
    millis.checked_mul(1_000_000).ok_or(RANGE)
}

/// Parses ISO 8601: a date, or a date and a time of day (`T` or a space between) to the minute,
/// second or a fraction, with `Z`, an offset, or no zone, which means UTC. The error describes the
/// expected value.
pub(crate) fn from_iso(text: &str) -> Result<i64, &'static str> {
    let (days, rest) = date(text.as_bytes()).ok_or(ISO)?;
    let (seconds, nanos, rest) = match rest {
        [] => (0, 0, rest),
        [b'T' | b't' | b' ', rest @ ..] => clock(rest).ok_or(ISO)?,
        _ => return Err(ISO),
    };
    let offset = zone(rest).ok_or(ISO)?;
    let seconds = days * 86_400 + seconds - offset;
    seconds
        .checked_mul(NANOS)
        .and_then(|n| n.checked_add(nanos))
        .ok_or(RANGE)
}

/// Days since 1970 of `YYYY-MM-DD`, and the rest of the text.
fn date(text: &[u8]) -> Option<(i64, &[u8])> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, rest @ ..] = text else {
        return None;
    };
    let year = digits(&[*y1, *y2, *y3, *y4])?;
    let (month, day) = (digits(&[*m1, *m2])?, digits(&[*d1, *d2])?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=last).contains(&day) {
        return None;
    }
    // Years start in March here, so that the leap day is the last (Hinnant's days_from_civil).
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some((era * 146_097 + day_of_era - 719_468, rest))
}

/// Seconds and nanoseconds of `HH:MM[:SS[.fraction]]`, and the rest of the text. Digits past the
/// ninth are dropped.
fn clock(text: &[u8]) -> Option<(i64, i64, &[u8])> {
    let [h1, h2, b':', m1, m2, rest @ ..] = text else {
        return None;
    };
    let (hour, minute) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
    let (second, rest) = match rest {
        [b':', s1, s2, rest @ ..] => (digits(&[*s1, *s2])?, rest),
        _ => (0, rest),
    };
    // 60 is a leap second: the first of the next minute, as in Unix time.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (nanos, rest) = match rest {
        [b'.' | b',', rest @ ..] => {
            let n = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            let kept = n.min(9);
            let scale = 10_i64.pow(9 - kept as u32);
            (
                (n > 0).then(|| digits(&rest[..kept])).flatten()? * scale,
                &rest[n..],
            )
        }
        _ => (0, rest),
    };
    Some((hour * 3600 + minute * 60 + second, nanos, rest))
}

/// Offset from UTC in seconds of an empty text, `Z`, ` UTC`, `+HH`, `+HHMM` or `+HH:MM`.
fn zone(text: &[u8]) -> Option<i64> {
    let (sign, hour, minute) = match text {
        [] | [b'Z' | b'z'] | b" UTC" => return Some(0),
        [sign @ (b'+' | b'-'), h1, h2] => (sign, [*h1, *h2], [b'0', b'0']),
        [sign @ (b'+' | b'-'), h1, h2, m1, m2] | [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            (sign, [*h1, *h2], [*m1, *m2])
        }
        _ => return None,
    };
    let (hour, minute) = (digits(&hour)?, digits(&minute)?);
    let seconds = hour * 3600 + minute * 60;
    (hour < 24 && minute < 60).then_some(if *sign == b'-' { -seconds } else { seconds })
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |n, b| {
        b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0'))
    })
}

/// Column of times during reading. The first value decides between numbers and ISO times; the unit
/// of numbers is decided after the last value.
#[derive(Clone, Debug, Default)]
pub(crate) enum TimeColumn {
    #[default]
    Empty,
    /// Whole numbers of undecided unit.
    Whole(Vec<i64>),
    /// Numbers of undecided unit.
    Real(Vec<f64>),
    /// Nanoseconds.
    Nanos(Vec<i64>),
}

impl TimeColumn {
    /// Appends a time in its text form; the error describes the expected value.
    pub(crate) fn push(&mut self, text: &str) -> Result<(), &'static str> {
        let text = text.trim();
        match self {
            TimeColumn::Nanos(times) => times.push(from_iso(text)?),
            TimeColumn::Empty if from_iso(text).is_ok() => {
                *self = TimeColumn::Nanos(vec![from_iso(text)?])
            }
            _ => match (text.parse(), text.parse()) {
                (Ok(whole), _) => self.push_whole(whole)?,
                (_, Ok(real)) => self.push_real(real)?,
                _ if matches!(self, TimeColumn::Empty) => return Err(ISO),
                _ => return Err("a number, as the times before it"),
            },
        }
        Ok(())
    }

    /// Appends a whole number.
    pub(crate) fn push_whole(&mut self, time: i64) -> Result<(), &'static str> {
        match self {
            TimeColumn::Empty => *self = TimeColumn::Whole(vec![time]),
            TimeColumn::Whole(times) => times.push(time),
            TimeColumn::Real(times) => times.push(time as f64),
            TimeColumn::Nanos(_) => return Err(ISO),
        }
        Ok(())
    }

    /// Appends a number.
    pub(crate) fn push_real(&mut self, time: f64) -> Result<(), &'static str> {
        if !time.is_finite() {
            return Err("a finite number");
        }
        match self {
            TimeColumn::Empty => *self = TimeColumn::Real(vec![time]),
            TimeColumn::Real(times) => times.push(time),
            TimeColumn::Whole(whole) => {
                *self = TimeColumn::Real(whole.iter().map(|&t| t as f64).chain([time]).collect());
            }
            TimeColumn::Nanos(_) => return Err(ISO),
        }
        Ok(())
    }

    /// Appends nanoseconds.
    pub(crate) fn push_nanos(&mut self, time: i64) -> Result<(), &'static str> {
        match self {
            TimeColumn::Empty => *self = TimeColumn::Nanos(vec![time]),
            TimeColumn::Nanos(times) => times.push(time),
            TimeColumn::Whole(_) | TimeColumn::Real(_) => {
                return Err("a number, as the times before it");
            }
        }
        Ok(())
    }

    /// Converts all times to nanoseconds. Fractional numbers are rounded to the microsecond, the
    /// precision of a double.
    pub(crate) fn finish(self, unit: TimeUnit) -> Result<Vec<i64>, String> {
        match self {
            TimeColumn::Empty => Ok(Vec::new()),
            TimeColumn::Nanos(times) => Ok(times),
            TimeColumn::Whole(times) => {
                refuse_compact_dates(&times, unit)?;
                let most = times.iter().map(|t| t.unsigned_abs()).max().unwrap_or(0);
                let nanos = nanos_in(unit, most as f64);
                times
                    .iter()
                    .map(|&t| t.checked_mul(nanos).ok_or_else(|| out_of_range(&t, nanos)))
                    .collect()
            }
            TimeColumn::Real(times) => {
                let most = times.iter().fold(0.0, |m, t| f64::max(m, t.abs()));
                let nanos = nanos_in(unit, most);
                let micros = |t: f64| (t * (nanos as f64 / 1000.0)).round();
                let in_range = |t: f64| micros(t).abs() < i64::MAX as f64 / 1000.0;
                times
                    .iter()
                    .map(|&t| {
                        if in_range(t) {
                            Ok(micros(t) as i64 * 1000)
                        } else {
                            Err(out_of_range(&t, nanos))
                        }
                    })
                    .collect()
            }
        }
    }
}

/// Nanoseconds per unit; `Auto` depends on the largest magnitude.
fn nanos_in(unit: TimeUnit, most: f64) -> i64 {
    match unit {
        TimeUnit::Seconds => NANOS,
        TimeUnit::Milliseconds => 1_000_000,
        TimeUnit::Microseconds => 1000,
        TimeUnit::Nanoseconds => 1,
        TimeUnit::Auto if most < 1e11 => NANOS,
        TimeUnit::Auto if most < 1e14 => 1_000_000,
        TimeUnit::Auto if most < 1e17 => 1000,
        TimeUnit::Auto => 1,
    }
}

/// Rejects dates written as `20140407`, which would otherwise be read as seconds of August 1970.
fn refuse_compact_dates(times: &[i64], unit: TimeUnit) -> Result<(), String> {
    let is_date = |t: &i64| {
        (1900..2100).contains(&(t / 10_000))
            && (1..=12).contains(&(t / 100 % 100))
            && (1..=31).contains(&(t % 100))
    };
    if unit == TimeUnit::Auto && !times.is_empty() && times.iter().all(is_date) {
        return Err(format!(
            "times such as {} look like dates; write them as YYYY-MM-DD, or name the time unit",
            times[0]
        ));
    }
    Ok(())
}

fn out_of_range(time: &dyn std::fmt::Display, nanos: i64) -> String {
    let unit = match nanos {
        NANOS => "seconds",
        1_000_000 => "milliseconds",
        1000 => "microseconds",
        _ => "nanoseconds",
    };
    format!("time {time} in {unit} is not {RANGE}; name the time unit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_times_in_every_form() {
        // Python: int(datetime.fromisoformat("2014-04-07T10:51:09.277+00:00").timestamp() * 1000) == 1396867869277
        let base = 1_396_867_869_277_000_000;
        for (text, expected) in [
            ("2014-04-07T10:51:09.277Z", base),
            ("2014-04-07 10:51:09.277", base),
            ("2014-04-07 10:51:09,277 UTC", base),
            ("2014-04-07t12:51:09.277+02:00", base),
            ("2014-04-07T12:51:09.277+0200", base),
            ("2014-04-07T08:51:09.277-02", base),
            ("2014-04-07T10:51:09.2770000009Z", base),
            ("2014-04-07T10:51:09", base - 277_000_000),
            ("2014-04-07T10:51", base - 9_277_000_000),
            ("2014-04-07", 1_396_828_800 * NANOS),
            ("1969-12-31T23:59:59.999", -1_000_000),
            ("2000-02-29", 951_782_400 * NANOS),
            ("1700-03-01", -8_515_238_400 * NANOS),
            ("2016-12-31T23:59:60Z", 1_483_228_800 * NANOS),
        ] {
            assert_eq!(from_iso(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "x",
            "2014",
            "2014-13-01",
            "2014-02-29",
            "1900-02-29",
            "2014-04-31",
            "2014-04-00",
            "2014-4-7",
            "2014-04-07T",
            "2014-04-07T24:00",
            "2014-04-07T10:60",
            "2014-04-07T10:51:61",
            "2014-04-07T10:51:09.",
            "2014-04-07T10:51:09.Z",
            "2014-04-07T10:51+25",
            "2014-04-07T10:51 CET",
            "2014-04-07Z9",
            "1600-01-01",
            "2300-01-01",
            "２014-04-07",
        ] {
            assert!(from_iso(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_unit_follows_from_the_largest_number() {
        let read = |times: &[&str], unit| {
            let mut column = TimeColumn::default();
            times.iter().for_each(|t| column.push(t).unwrap());
            column.finish(unit)
        };
        let auto = |times: &[&str]| read(times, TimeUnit::Auto).unwrap();
        assert_eq!(
            auto(&["5", "1439665586"]),
            [5 * NANOS, 1_439_665_586 * NANOS]
        );
        assert_eq!(
            auto(&["5", "1439665586001"]),
            [5_000_000, 1_439_665_586_001_000_000]
        );
        assert_eq!(auto(&["1439665586001002"]), [1_439_665_586_001_002_000]);
        assert_eq!(auto(&["1439665586001002003"]), [1_439_665_586_001_002_003]);
        assert_eq!(
            auto(&["1439665586", "1439665586.25", "1.4e9"]),
            [
                1_439_665_586 * NANOS,
                1_439_665_586_250_000_000,
                1_400_000_000 * NANOS
            ]
        );
        assert_eq!(auto(&["-1"]), [-NANOS]);
        assert_eq!(
            read(&["20150101"], TimeUnit::Milliseconds).unwrap(),
            [20_150_101_000_000]
        );
        assert!(
            read(&["20150101", "20151231"], TimeUnit::Auto)
                .unwrap_err()
                .contains("YYYY-MM-DD")
        );
        assert!(
            read(&["1439665586001"], TimeUnit::Seconds)
                .unwrap_err()
                .contains("seconds")
        );
        assert!(read(&["1e300"], TimeUnit::Auto).is_err());
    }

    #[test]
    fn forms_do_not_mix() {
        let mut iso = TimeColumn::default();
        iso.push("2014-04-07").unwrap();
        assert!(iso.push("1439665586").is_err() && iso.push("").is_err());
        let mut number = TimeColumn::default();
        number.push("1439665586").unwrap();
        assert!(
            number.push("2014-04-07").is_err()
                && number.push("nan").is_err()
                && number.push("").is_err()
        );
        assert!(TimeColumn::default().push("soon").is_err());
    }
}
