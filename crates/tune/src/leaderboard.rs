//! The best trials as a table.

use crate::domain::plain;
use crate::space::Assignment;
use crate::trial::{Trial, ranking};

/// Text of a setting that a trial does not have, since its condition does not hold.
pub(crate) const ABSENT: &str = "-";

/// Names of the settings in which some of the trials differ, by name.
pub fn differing(trials: &[&Trial]) -> Vec<String> {
    let mut names: Vec<&String> = Vec::new();
    for trial in trials {
        names.extend(trial.settings.keys());
    }
    names.sort();
    names.dedup();
    let differs = |name: &&String| {
        let mut values = trials.iter().map(|trial| trial.settings.get(name.as_str()));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    names.into_iter().filter(differs).cloned().collect()
}

/// Settings that all of the trials have with one value, by name: `dim=64 encoder=core`.
pub fn common(trials: &[&Trial]) -> String {
    let differing = differing(trials);
    let mut common = Vec::new();
    if let Some(first) = trials.first() {
        for (name, value) in &first.settings {
            if !differing.contains(name) {
                common.push(format!("{name}={}", plain(value)));
            }
        }
    }
    common.join(" ")
}

/// A setting of a trial as text.
pub(crate) fn text_of(settings: &Assignment, name: &str) -> String {
    settings.get(name).map_or(ABSENT.into(), plain)
}

/// The best `top` finished trials: rank, trial, value, epoch, seconds, and the settings in which
/// they differ. A last line has those that they share.
pub fn leaderboard(trials: &[Trial], metric: &str, top: usize) -> String {
    let mut ranked = ranking(trials);
    ranked.truncate(top);
    let names = differing(&ranked);
    let mut header: Vec<String> = ["rank", "trial", metric, "epoch", "seconds"]
        .map(str::to_owned)
        .into();
    header.extend(names.iter().cloned());
    let mut rows = vec![header];
    for (i, trial) in ranked.iter().enumerate() {
        let Some(best) = trial.best() else { continue };
        let mut row = vec![
            (i + 1).to_string(),
            trial.number.to_string(),
            format!("{:.4}", best.value),
            epochs(best.epoch),
            format!("{:.1}", trial.seconds),
        ];
        for name in &names {
            row.push(text_of(&trial.settings, name));
        }
        rows.push(row);
    }
    let mut text = aligned(&rows);
    let common = common(&ranked);
    if !common.is_empty() {
        text.push_str(&format!("in all of these: {common}\n"));
    }
    text
}

/// Number of epochs, with two decimals if it is not whole.
pub(crate) fn epochs(epoch: f64) -> String {
    if epoch.fract().abs() < 1e-9 {
        format!("{epoch:.0}")
    } else {
        format!("{epoch:.2}")
    }
}

/// Rows with right-aligned columns, two spaces apart.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let mut text = String::new();
    let mut widths = vec![0; columns];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in rows {
        for (i, cell) in row.iter().enumerate() {
            let gap = if i == 0 { "" } else { "  " };
            text.push_str(&format!("{gap}{cell:>width$}", width = widths[i]));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{CurvePoint, Status};
    use toml::Value;

    fn finished(number: u64, value: f64, encoder: &str, lr: Option<f64>) -> Trial {
        let mut settings = Assignment::from([
            ("encoder".to_owned(), Value::from(encoder)),
            ("dim".to_owned(), Value::Integer(64)),
        ]);
        if let Some(lr) = lr {
            settings.insert("lr".into(), Value::Float(lr));
        }
        let curve = vec![CurvePoint { epoch: 2.0, value }];
        Trial {
            status: Status::Finished,
            curve,
            seconds: 12.34,
            ..Trial::new(number, settings)
        }
    }

    #[test]
    fn leaderboard_ranks_finished_trials_and_shows_settings_that_differ() {
        let mut trials = vec![
            finished(0, 0.25, "core", Some(0.005)),
            finished(1, 0.5, "gru", None),
            finished(2, 0.9, "gru", Some(0.1)),
            finished(3, 0.25, "gru", Some(0.1)),
        ];
        trials[2].status = Status::Stopped;
        assert_eq!(
            leaderboard(&trials, "ndcg@20", 10),
            "rank  trial  ndcg@20  epoch  seconds  encoder     lr\n   \
                1      1   0.5000      2     12.3      gru      -\n   \
                2      0   0.2500      2     12.3     core  0.005\n   \
                3      3   0.2500      2     12.3      gru    0.1\n\
             in all of these: dim=64\n"
        );
        assert_eq!(leaderboard(&trials, "ndcg@20", 1).lines().count(), 3);
        assert_eq!(
            leaderboard(&[], "m", 10),
            "rank  trial  m  epoch  seconds\n"
        );
    }
}
