//! Times as text in a form and a zone of the user's: ISO 8601 in UTC without them.

use chrono::format::{Item, Parsed, StrftimeItems};
use chrono::{DateTime, FixedOffset, MappedLocalTime, NaiveDateTime, NaiveTime, Offset, TimeZone};
use chrono_tz::Tz;

use crate::error::{Error, Result};
use crate::options::{TimeUnit, ValueRules};
use crate::times::{
    ISO_HINT, IsoTime, NANOS, is_day_month_year, nanos, offset_of, parse_clock, parse_iso,
};

const DAY_MONTH: &str = "a date whose day and month cannot be confused; give its form with --time-format, such as \
                         '%m/%d/%Y %H:%M' or '%d/%m/%Y %H:%M'";
const SUM: &str = "a date such as 2014-04-07, and a time of day such as 10:51:09 or a number";
const SUM_UNIT: &str = "a time of day such as 10:51:09; give the unit of numbers with --time-unit";
const FORMAT: &str = "a time in the form of --time-format";
const GAP: &str =
    "a local time that exists; clocks went forward over this one in the zone of --time-zone";

/// Result of parsing a text; the error describes the expected value.
type Parse<T> = std::result::Result<T, &'static str>;

/// Time of a text in nanoseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instant {
    pub nanos: i64,
    /// True for a local time that occurs twice; this is the first of the two.
    pub is_ambiguous: bool,
}

/// Parser of times as text.
#[derive(Clone, Debug, Default)]
pub(crate) struct TimeParser {
    format: Option<Vec<Item<'static>>>,
    zone: Option<Zone>,
    sum: Option<Sum>,
}

/// Times that are a date and what is added to it, with a blank between.
#[derive(Clone, Copy, Debug)]
struct Sum {
    /// Nanoseconds of the unit in which a number counts.
    nanos: Option<i64>,
}

#[derive(Clone, Debug)]
enum Zone {
    Named(Tz),
    Fixed(FixedOffset),
}

impl TimeParser {
    /// Builds the parser of the form and zone that `rules` give.
    pub(crate) fn new(rules: &ValueRules) -> Result<Self> {
        Ok(Self {
            format: rules.time_format.as_deref().map(format_items).transpose()?,
            zone: rules.time_zone.as_deref().map(zone).transpose()?,
            sum: None,
        })
    }

    /// Parser of times that are the values of two columns, joined by a blank: a date, and a time of
    /// day or a number of `unit`.
    pub(crate) fn of_sum(self, unit: TimeUnit) -> Self {
        let nanos = unit.given_nanos();
        Self {
            sum: Some(Sum { nanos }),
            ..self
        }
    }

    /// True if the form of all times is given, so that numbers are in it too.
    pub(crate) fn has_format(&self) -> bool {
        self.format.is_some()
    }

    /// True if a zone is given, which numbers have no use for.
    pub(crate) fn has_zone(&self) -> bool {
        self.zone.is_some()
    }

    /// True for a text that is a time, or a part of a sum that is one.
    pub(crate) fn may_be_time(&self, text: &str) -> bool {
        self.parse(text).is_ok() || parse_iso(text).is_ok()
    }

    /// Parses a text; the error describes the expected value.
    pub(crate) fn parse(&self, text: &str) -> Parse<Instant> {
        let time = match (&self.format, self.sum) {
            (Some(items), _) => parse_format(text, items)?,
            (None, _) if is_day_month_year(text) => return Err(DAY_MONTH),
            (None, Some(sum)) => sum.parse(text)?,
            (None, None) => parse_iso(text).map_err(|_| ISO_HINT)?,
        };
        self.instant(time)
    }

    /// Instant of a time as written; without an offset it is local to the zone.
    pub(crate) fn instant(&self, time: IsoTime) -> Parse<Instant> {
        match (time.offset, &self.zone) {
            (Some(offset), _) => utc(time, offset),
            (None, None) => utc(time, 0),
            (None, Some(Zone::Fixed(zone))) => utc(time, zone.local_minus_utc().into()),
            (None, Some(Zone::Named(zone))) => in_zone(time, *zone),
        }
    }
}

impl Sum {
    fn parse(self, text: &str) -> Parse<IsoTime> {
        let Some((date, added)) = text.split_once(' ') else {
            return Err(SUM);
        };
        let date = parse_iso(date).map_err(|_| SUM)?;
        if let Some((seconds, nanos)) = parse_clock(added) {
            return Ok(IsoTime {
                seconds: date.seconds + seconds,
                nanos,
                ..date
            });
        }
        let number: f64 = added.parse().map_err(|_| SUM)?;
        let unit = self.nanos.ok_or(SUM_UNIT)?;
        // A day has 86.4 * 10^12 nanoseconds, so that a double is exact to the nanosecond for
        // years.
        let added = number * unit as f64;
        if added.abs() >= i64::MAX as f64 {
            return Err(SUM);
        }
        let added = added.round() as i64;
        Ok(IsoTime {
            seconds: date.seconds + added.div_euclid(NANOS),
            nanos: added.rem_euclid(NANOS),
            ..date
        })
    }
}

fn utc(time: IsoTime, offset: i64) -> Parse<Instant> {
    Ok(Instant {
        nanos: nanos(time, offset)?,
        is_ambiguous: false,
    })
}

/// Instant of a local time.
fn in_zone(time: IsoTime, zone: Tz) -> Parse<Instant> {
    let local = DateTime::from_timestamp(time.seconds, 0).ok_or(FORMAT)?;
    let (offset, is_ambiguous) = match zone.offset_from_local_datetime(&local.naive_utc()) {
        MappedLocalTime::Single(offset) => (offset, false),
        MappedLocalTime::Ambiguous(first, _) => (first, true),
        MappedLocalTime::None => return Err(GAP),
    };
    Ok(Instant {
        nanos: nanos(time, offset.fix().local_minus_utc().into())?,
        is_ambiguous,
    })
}

fn parse_format(text: &str, items: &[Item<'_>]) -> Parse<IsoTime> {
    let mut parsed = Parsed::new();
    chrono::format::parse(&mut parsed, text, items.iter()).map_err(|_| FORMAT)?;
    if parsed.timestamp().is_some() && parsed.offset().is_none() {
        let utc = parsed
            .to_naive_datetime_with_offset(0)
            .map_err(|_| FORMAT)?;
        return Ok(iso_time(utc, Some(0)));
    }
    let offset = parsed.offset().map(i64::from);
    let date = parsed.to_naive_date().map_err(|_| FORMAT)?;
    let has_clock = parsed.hour_div_12().is_some() || parsed.hour_mod_12().is_some();
    let clock = match has_clock {
        true => parsed.to_naive_time().map_err(|_| FORMAT)?,
        false => NaiveTime::MIN,
    };
    Ok(iso_time(date.and_time(clock), offset))
}

fn iso_time(time: NaiveDateTime, offset: Option<i64>) -> IsoTime {
    let time = time.and_utc();
    IsoTime {
        seconds: time.timestamp(),
        nanos: time.timestamp_subsec_nanos().into(),
        offset,
    }
}

/// Items of a format, if it is one and gives a day.
fn format_items(format: &str) -> Result<Vec<Item<'static>>> {
    let refuse = |why: &str| {
        Error::Options(format!(
            "time format {format:?} {why}; it is written as for strftime, such as '%d/%m/%Y %H:%M:%S'"
        ))
    };
    if format.contains("%Z") {
        return Err(refuse(
            "reads the name of a zone, which stands for no certain offset: write the name itself, and \
             give the zone with --time-zone",
        ));
    }
    let Ok(items) = StrftimeItems::new(format).parse_to_owned() else {
        return Err(refuse("is not valid"));
    };
    // A format that reads its own output gives a whole day.
    let sample = DateTime::UNIX_EPOCH.fixed_offset();
    let shown = sample.format_with_items(items.iter()).to_string();
    if parse_format(&shown, &items).is_err() {
        return Err(refuse("does not give year, month and day"));
    }
    Ok(items)
}

fn zone(name: &str) -> Result<Zone> {
    if let Ok(zone) = name.parse::<Tz>() {
        return Ok(Zone::Named(zone));
    }
    let offset = offset_of(name.as_bytes()).and_then(|seconds| i32::try_from(seconds).ok());
    match offset.and_then(FixedOffset::east_opt) {
        Some(offset) => Ok(Zone::Fixed(offset)),
        None => Err(Error::Options(format!(
            "time zone {name:?} is unknown; expected a name such as Europe/Amsterdam, or an offset such as +02:00"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parser(format: Option<&str>, zone: Option<&str>) -> Result<TimeParser> {
        TimeParser::new(&ValueRules {
            time_format: format.map(str::to_owned),
            time_zone: zone.map(str::to_owned),
            ..ValueRules::default()
        })
    }

    #[track_caller]
    fn seconds(format: Option<&str>, zone: Option<&str>, text: &str) -> f64 {
        let parsed = parser(format, zone).unwrap().parse(text).unwrap();
        (parsed.nanos / 1_000_000) as f64 / 1000.0
    }

    #[test]
    fn given_format_reads_every_part_of_a_time() {
        // Python: datetime(2019, 10, 1, 14, 5, 6, tzinfo=timezone.utc).timestamp() == 1569938706
        for (format, text, expected) in [
            ("%d/%m/%Y %H:%M:%S", "01/10/2019 14:05:06", 1_569_938_706.0),
            ("%m/%d/%Y %H:%M", "10/1/2019 14:05", 1_569_938_700.0),
            ("%m/%d/%Y %I:%M %p", "10/01/2019 02:05 PM", 1_569_938_700.0),
            ("%d.%m.%Y", "01.10.2019", 1_569_888_000.0),
            ("%Y%m%d", "20191001", 1_569_888_000.0),
            ("%b %d, %Y", "Oct 1, 2019", 1_569_888_000.0),
            ("%Y%m%d%H%M%S%.f", "20191001140506.25", 1_569_938_706.25),
            (
                "%d/%b/%Y:%H:%M:%S %z",
                "01/Oct/2019:16:05:06 +0200",
                1_569_938_706.0,
            ),
            ("%s", "1569938706", 1_569_938_706.0),
        ] {
            assert_eq!(seconds(Some(format), None, text), expected, "{format}");
        }
        let strict = parser(Some("%d/%m/%Y"), None).unwrap();
        for text in ["31/02/2019", "10/13/2019", "2019-10-01", "", "01/10/2019 x"] {
            assert_eq!(strict.parse(text), Err(FORMAT), "{text}");
        }
    }

    #[test]
    fn format_without_a_day_is_refused() {
        for format in ["%H:%M", "%Y", "%d/%m", "%Q", "", "%d/%m/%Y %Z"] {
            assert!(parser(Some(format), None).is_err(), "{format}");
        }
    }

    #[test]
    fn zone_applies_to_times_without_an_offset() {
        // Python: datetime(2019, 7, 1, 12, tzinfo=ZoneInfo("Europe/Amsterdam")).timestamp() ==
        // 1561975200
        let zone = Some("Europe/Amsterdam");
        assert_eq!(seconds(None, zone, "2019-07-01 12:00:00"), 1_561_975_200.0);
        assert_eq!(seconds(None, zone, "2019-01-01"), 1_546_297_200.0);
        assert_eq!(seconds(None, zone, "2019-07-01T12:00:00Z"), 1_561_982_400.0);
        assert_eq!(
            seconds(Some("%d/%m/%Y"), zone, "01/01/2019"),
            1_546_297_200.0
        );
        assert_eq!(seconds(None, Some("+02:00"), "1970-01-01T02:00"), 0.0);
        assert_eq!(seconds(None, Some("UTC"), "1970-01-01"), 0.0);
        assert!(parser(None, Some("Europe/Nowhere")).is_err());
    }

    #[test]
    fn local_time_at_a_change_of_the_clocks_is_the_first_or_refused() {
        let parser = parser(None, Some("Europe/Amsterdam")).unwrap();
        // 2019-10-27 02:30 is 00:30 UTC in summer time, and 01:30 UTC an hour later.
        let twice = parser.parse("2019-10-27 02:30").unwrap();
        assert_eq!(
            (twice.nanos, twice.is_ambiguous),
            (1_572_136_200_000_000_000, true)
        );
        assert_eq!(parser.parse("2019-03-31 02:30"), Err(GAP));
    }

    #[test]
    fn date_and_what_is_added_to_it_give_a_time() {
        let sum = |unit, text: &str| {
            let parser = TimeParser::default().of_sum(unit);
            parser
                .parse(text)
                .map(|time| (time.nanos / 1_000_000) as f64 / 1000.0)
        };
        let day = 1_396_828_800.0;
        assert_eq!(
            sum(TimeUnit::Auto, "2014-04-07 10:51:09"),
            Ok(day + 39_069.0)
        );
        assert_eq!(
            sum(TimeUnit::Milliseconds, "2014-04-07 39069277"),
            Ok(day + 39_069.277)
        );
        assert_eq!(
            sum(TimeUnit::Seconds, "2014-04-07 90000.5"),
            Ok(day + 90_000.5)
        );
        assert_eq!(sum(TimeUnit::Auto, "2014-04-07 39069277"), Err(SUM_UNIT));
        for text in [
            "2014-04-07",
            "2014-04-07 soon",
            "39069277 2014-04-07",
            "2014-04-07 1e300",
        ] {
            assert_eq!(sum(TimeUnit::Seconds, text), Err(SUM), "{text}");
        }
    }

    #[test]
    fn day_and_month_in_unknown_order_name_the_flag() {
        let parser = TimeParser::default();
        for text in [
            "10/1/2019 0:00",
            "01/10/2019",
            "1.10.2019",
            "01-10-2019 10:00",
            "10/1/19",
        ] {
            assert_eq!(parser.parse(text), Err(DAY_MONTH), "{text}");
        }
        assert_eq!(parser.parse("soon"), Err(ISO_HINT));
    }
}
