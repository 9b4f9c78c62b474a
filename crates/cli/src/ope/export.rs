//! Sessions of an experiment as a Parquet table.

use std::path::Path;

use prl_arms::{Reward, SessionLog, SessionRecord};
use prl_tables::{Result, TableWriter, Type, Values};

/// Sessions that are converted at once.
const ROWS: usize = 1 << 14;

/// Columns of whole numbers with their values.
type Count = (&'static str, fn(&SessionRecord) -> u32);

const COUNTS: [Count; 6] = [
    ("step", |session| session.step),
    ("answers", |session| session.answers),
    ("clicks_before", |session| session.clicks_before),
    ("purchases_before", |session| session.purchases_before),
    ("clicks", |session| session.clicks),
    ("purchases", |session| session.purchases),
];

/// Writes a row for each session: what it was assigned, what was known of it, and what followed.
/// `time` is seconds since the Unix epoch.
pub fn write(path: &Path, log: &SessionLog, reward: Reward) -> Result<()> {
    let mut columns = vec![
        ("session", Type::Text),
        ("arm", Type::Text),
        ("p", Type::F64),
        ("time", Type::F64),
    ];
    columns.extend(COUNTS.iter().map(|(name, _)| (*name, Type::U32)));
    columns.extend([("value", Type::F64), ("return", Type::F64)]);
    let mut table = TableWriter::create(path, &columns)?;
    for sessions in log.records.chunks(ROWS) {
        let (mut names, mut arms) = (Vec::new(), Vec::new());
        let (mut p, mut times) = (Vec::new(), Vec::new());
        let (mut values, mut returns) = (Vec::new(), Vec::new());
        for session in sessions {
            names.push(Some(session.session.as_str()));
            arms.push(log.arms.get(session.arm as usize).map(String::as_str));
            p.push(Some(session.p));
            times.push(Some(session.time as f64 / 1_000.0));
            values.push(Some(session.value));
            returns.push(Some(reward.of(session)));
        }
        let mut counts = Vec::with_capacity(COUNTS.len());
        for (_, count) in COUNTS {
            let column: Vec<_> = sessions
                .iter()
                .map(|session| Some(count(session)))
                .collect();
            counts.push(column);
        }
        let mut row_group = vec![
            Values::Text(&names),
            Values::Text(&arms),
            Values::F64(&p),
            Values::F64(&times),
        ];
        row_group.extend(counts.iter().map(|column| Values::U32(column)));
        row_group.extend([Values::F64(&values), Values::F64(&returns)]);
        table.write(&row_group)?;
    }
    table.finish()
}
