//! Parsing of ISO 8601 and its relatives to nanoseconds since 1970, UTC.

/// Nanoseconds in a second.
pub(crate) const NANOS: i64 = 1_000_000_000;
/// Times that nanoseconds of 64 bits can hold.
pub(crate) const RANGE: &str = "a time between the years 1678 and 2261";
const ISO: &str = "a time such as 2014-04-07T10:51:09.277Z, or a date such as 2014-04-07";
/// Form of times in tables, whose form can be given.
pub(crate) const ISO_HINT: &str = "a time such as 2014-04-07T10:51:09.277Z, or a date such as 2014-04-07; give any \
                                   other form with --time-format";

/// Time as written: seconds since 1970 by its own clock, and that clock's offset from UTC in
/// seconds if it is written too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IsoTime {
    pub seconds: i64,
    pub nanos: i64,
    pub offset: Option<i64>,
}

/// Converts milliseconds; the error describes the expected value.
pub(crate) fn from_millis(millis: i64) -> Result<i64, &'static str> {
    millis.checked_mul(1_000_000).ok_or(RANGE)
}

/// Parses ISO 8601 as [`parse_iso`] does; without an offset the time is in UTC. The error describes
/// the expected value.
pub(crate) fn from_iso(text: &str) -> Result<i64, &'static str> {
    let time = parse_iso(text)?;
    nanos(time, time.offset.unwrap_or(0))
}

/// Nanoseconds since 1970, UTC, of a time on a clock with an offset of `offset` seconds.
pub(crate) fn nanos(time: IsoTime, offset: i64) -> Result<i64, &'static str> {
    let nanos = (time.seconds - offset).checked_mul(NANOS);
    nanos.and_then(|n| n.checked_add(time.nanos)).ok_or(RANGE)
}

/// Parses ISO 8601 as databases write it: a date, or a date and a time of day (`T` or a space
/// between) to the minute, second or a fraction, with an offset or without.
pub(crate) fn parse_iso(text: &str) -> Result<IsoTime, &'static str> {
    let (days, rest) = date(text.as_bytes()).ok_or(ISO)?;
    let (seconds, nanos, rest) = match rest {
        [] => (0, 0, rest),
        [b'T' | b't' | b' ', rest @ ..] => clock(rest).ok_or(ISO)?,
        _ => return Err(ISO),
    };
    let offset = match rest {
        [] => None,
        rest => Some(offset_of(rest).ok_or(ISO)?),
    };
    Ok(IsoTime {
        seconds: days * 86_400 + seconds,
        nanos,
        offset,
    })
}

/// Seconds and nanoseconds of a text that is a time of day, such as `14:05` or `9:05:06.25`.
pub(crate) fn parse_clock(text: &str) -> Option<(i64, i64)> {
    match clock(text.as_bytes())? {
        (seconds, nanos, []) => Some((seconds, nanos)),
        _ => None,
    }
}

/// True for a date written as three numbers of which the first is no year: whether day or month
/// comes first is unknown.
pub(crate) fn is_day_month_year(text: &str) -> bool {
    let date = text.split([' ', 'T']).next().unwrap_or_default();
    let Some(separator) = date.find(['/', '.', '-']) else {
        return false;
    };
    let parts: Vec<&str> = date.split(char::from(date.as_bytes()[separator])).collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    parts.len() == 3 && separator <= 2 && parts.iter().all(is_number)
}

/// Days since 1970 of `YYYY-MM-DD` or `YYYY/MM/DD`, and the rest of the text.
fn date(text: &[u8]) -> Option<(i64, &[u8])> {
    let ([y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, rest @ ..]
    | [y1, y2, y3, y4, b'/', m1, m2, b'/', d1, d2, rest @ ..]) = text
    else {
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

/// Seconds and nanoseconds of `HH:MM[:SS[.fraction]]`, and the rest of the text. The hour may have
/// one digit, as spreadsheets write it. Digits past the ninth are dropped.
fn clock(text: &[u8]) -> Option<(i64, i64, &[u8])> {
    let (hour, [b':', m1, m2, rest @ ..]) = text.split_at(text.iter().position(|&b| b == b':')?)
    else {
        return None;
    };
    if !matches!(hour.len(), 1 | 2) {
        return None;
    }
    let (hour, minute) = (digits(hour)?, digits(&[*m1, *m2])?);
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

/// Offset from UTC in seconds of `Z`, `UTC`, `GMT`, `+HH`, `+HHMM` or `+HH:MM`, after a blank or
/// not.
pub(crate) fn offset_of(text: &[u8]) -> Option<i64> {
    let (text, is_apart) = match text {
        [b' ', rest @ ..] => (rest, true),
        text => (text, false),
    };
    let (sign, hour, minute) = match text {
        [b'Z' | b'z'] => return Some(0),
        b"UTC" | b"GMT" | b"+0000 UTC" if is_apart => return Some(0),
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
    let mut number = 0;
    for byte in text {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number * 10 + i64::from(byte - b'0');
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_time_in_every_form_is_read() {
        // Python: int(datetime.fromisoformat("2014-04-07T10:51:09.277+00:00").timestamp() * 1000)
        // == 1396867869277
        let base = 1_396_867_869_277_000_000;
        for (text, expected) in [
            ("2014-04-07T10:51:09.277Z", base),
            ("2014-04-07 10:51:09.277", base),
            ("2014-04-07 10:51:09,277 UTC", base),
            ("2014-04-07t12:51:09.277+02:00", base),
            ("2014-04-07T12:51:09.277+0200", base),
            ("2014-04-07T08:51:09.277-02", base),
            ("2014-04-07T10:51:09.2770000009Z", base),
            ("2014-04-07 10:51:09.277 GMT", base),
            ("2014-04-07 12:51:09.277 +0200", base),
            ("2014-04-07 10:51:09.277 +0000 UTC", base),
            ("2014/04/07 10:51:09.277", base),
            ("2014-04-07 9:51:09.277-01", base),
            ("2019-10-01T00:00:00.123456+02", 1_569_880_800_123_456_000),
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
    fn text_that_is_no_time_is_refused() {
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
            "2014-04-07T10:51UTC",
            "2014-04-07T:51",
            "2014-04-07T010:51",
            "2014/04-07",
            "2014-04-07Z9",
            "1600-01-01",
            "2300-01-01",
            "２014-04-07",
        ] {
            assert!(from_iso(text).is_err(), "{text}");
        }
    }

    #[test]
    fn clock_alone_is_read_to_its_end() {
        assert_eq!(parse_clock("9:05"), Some((32_700, 0)));
        assert_eq!(parse_clock("23:59:59.25"), Some((86_399, 250_000_000)));
        for text in ["", ":05", "24:00", "10:05Z", "1005", "10"] {
            assert_eq!(parse_clock(text), None, "{text}");
        }
    }
}
