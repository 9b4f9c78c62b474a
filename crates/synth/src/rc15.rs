//! Writer of `yoochoose-clicks.dat` and `yoochoose-buys.dat`: rows grouped by session, sessions in
//! order of their start.

use std::io::Write as _;
use std::path::Path;

use crate::error::Result;
use crate::files::{Finished, RawFile};
use crate::walk::Event;
use crate::world::World;

const DAY: i64 = 86_400_000;
/// First item id: the ids of the real log have nine digits with this prefix.
const FIRST_ITEM: u32 = 214_500_000;

/// Writer of the two files.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    world: &'a World,
    clicks: RawFile,
    buys: RawFile,
    line: Vec<u8>,
    /// Day of the last written time, and its `YYYY-MM-DDT`.
    day: (i64, String),
}

impl<'a> Writer<'a> {
    pub(crate) fn new(dir: &Path, world: &'a World) -> Result<Self> {
        let clicks = RawFile::create(dir, "yoochoose-clicks.dat")?;
        let buys = RawFile::create(dir, "yoochoose-buys.dat")?;
        Ok(Self {
            world,
            clicks,
            buys,
            line: Vec::new(),
            day: (i64::MIN, String::new()),
        })
    }

    /// Raw id of an item.
    pub(crate) fn item_id(raw: u32) -> u32 {
        FIRST_ITEM + raw
    }

    /// Writes the session with this number.
    pub(crate) fn session(&mut self, number: u64, events: &[Event]) -> Result<()> {
        for event in events {
            let (id, raw) = (number + 1, self.world.raw(event.item));
            self.line.clear();
            // Writes to a vector are infallible.
            let _ = write!(self.line, "{id},");
            self.push_time(event.time);
            let _ = write!(self.line, ",{},", Self::item_id(raw));
            if event.purchase {
                let _ = writeln!(self.line, "{},{}", 99 + 100 * (raw % 200), 1 + raw % 3);
                self.buys.row(&self.line)?;
            } else {
                // The category column of the real file mixes numbers and the letter S.
                let _ = match self.world.category(event.item) % 14 {
                    13 => writeln!(self.line, "S"),
                    n => writeln!(self.line, "{n}"),
                };
                self.clicks.row(&self.line)?;
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Vec<Finished>> {
        Ok(vec![self.clicks.finish()?, self.buys.finish()?])
    }

    /// Appends `YYYY-MM-DDThh:mm:ss.mmmZ`. Digits are computed directly, because formatting the
    /// time dominates the cost of a row.
    fn push_time(&mut self, time: i64) {
        let (day, millis) = (time.div_euclid(DAY), time.rem_euclid(DAY) as u32);
        if self.day.0 != day {
            let (y, m, d) = civil(day);
            self.day = (day, format!("{y:04}-{m:02}-{d:02}T"));
        }
        self.line.extend_from_slice(self.day.1.as_bytes());
        let digit = |n: u32, unit: u32| b'0' + (n / unit % 10) as u8;
        let (h, m, s, ms) = (
            millis / 3_600_000,
            millis / 60_000 % 60,
            millis / 1000 % 60,
            millis % 1000,
        );
        let (h, m, s) = (
            [digit(h, 10), digit(h, 1)],
            [digit(m, 10), digit(m, 1)],
            [digit(s, 10), digit(s, 1)],
        );
        let ms = [digit(ms, 100), digit(ms, 10), digit(ms, 1)];
        self.line.extend_from_slice(&[
            h[0], h[1], b':', m[0], m[1], b':', s[0], s[1], b'.', ms[0], ms[1], ms[2], b'Z',
        ]);
    }
}

/// Gregorian date (year, month, day) of a day counted from 1970-01-01 (Hinnant, "chrono-compatible
/// low-level date algorithms", `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted_month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn civil_matches_the_gregorian_calendar() {
        // date -u -d @$((86400 * n)) +%F
        for (day, date) in [
            (0, (1970, 1, 1)),
            (11_016, (2000, 2, 29)),
            (16_161, (2014, 4, 1)),
            (16_801, (2016, 1, 1)),
        ] {
            assert_eq!(civil(day), date);
        }
    }
}
