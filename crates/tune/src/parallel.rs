//! Parallel coordinates of the trials: a row for each setting and one for the value, and for each
//! trial a line through all rows.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;
use prl_charts::svg::{Area, DrawError, INK, bold, label, render};

use crate::domain::{Axis, Domain, Range, number, plain};
use crate::leaderboard::ABSENT;
use crate::space::{Space, Variable};
use crate::trial::{Trial, ranking};

/// Drawn sizes.
const WIDTH: u32 = 2000;
const ROW: i32 = 116;
const TOP: i32 = 70;
const LEFT: i32 = 400;
const RIGHT: i32 = 90;
/// Shares of an axis: the place of an absent setting, and the start of the values beside it.
const ABSENT_AT: f64 = 0.03;
const VALUES_FROM: f64 = 0.1;
/// Share of a category's room over which its lines are spread by value.
const SPREAD: f64 = 0.5;
/// Colours of the worst, a middle and the best value, legible on white and on black.
const RAMP: [RGBColor; 3] = [
    RGBColor(132, 144, 160),
    RGBColor(20, 140, 160),
    RGBColor(232, 120, 20),
];
const BEST: RGBColor = RGBColor(214, 40, 110);

/// Draws the trials that have a value; the best finished one is emphasised.
///
/// # Errors
/// If plotters fails.
pub(crate) fn svg(space: &Space, trials: &[Trial], metric: &str) -> Result<String> {
    let mut valued: Vec<(&Trial, f64)> = Vec::new();
    for trial in trials {
        if let Some(value) = trial.value() {
            valued.push((trial, value));
        }
    }
    valued.sort_by(|a, b| a.1.total_cmp(&b.1));
    let best = ranking(trials).first().copied();
    let mut rows: Vec<Row<'_>> = space.variables().iter().map(Row::Setting).collect();
    rows.push(Row::value(metric, &valued));
    let height = TOP + ROW * rows.len() as i32;
    let name = format!("Settings and {metric} of {} trials", valued.len());
    render((WIDTH, height as u32), &name, |area| {
        legend(area)?;
        for (i, row) in rows.iter().enumerate() {
            row.draw_axis(area, y_of(i))?;
        }
        // The worst first, so that the best lie on top.
        for (rank, (trial, _)) in valued.iter().enumerate() {
            let share = rank as f64 / (valued.len() - 1).max(1) as f64;
            let stroke = ramp(share).mix(0.25 + 0.6 * share).stroke_width(3);
            if best != Some(*trial) {
                area.draw(&PathElement::new(line_of(&rows, trial, share), stroke))?;
            }
        }
        if let Some(best) = best {
            let points = line_of(&rows, best, 1.0);
            area.draw(&PathElement::new(points.clone(), BEST.stroke_width(8)))?;
            for at in points {
                area.draw(&Circle::new(at, 11, BEST.filled()))?;
            }
        }
        for (i, row) in rows.iter().enumerate() {
            row.draw_labels(area, y_of(i))?;
        }
        Ok(())
    })
}

/// Points of a trial's line. `spread` is the share of trials with a lower value.
fn line_of(rows: &[Row<'_>], trial: &Trial, spread: f64) -> Vec<(i32, i32)> {
    let mut points = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        points.push((x_of(row.position(trial, spread)), y_of(i)));
    }
    points
}

/// One axis.
enum Row<'a> {
    Setting(&'a Variable),
    Value {
        metric: &'a str,
        range: Range,
        /// Whether there are values below the range.
        has_lower: bool,
    },
}

impl<'a> Row<'a> {
    /// Row of the values, given from the worst to the best. It starts where most values are: at the
    /// worst one, or at three times the distance of the median below the best.
    fn value(metric: &'a str, valued: &[(&Trial, f64)]) -> Self {
        let values: Vec<f64> = valued.iter().map(|(_, value)| *value).collect();
        let (min, max, has_lower) = match values.as_slice() {
            [] => (0.0, 1.0, false),
            [worst, .., best] => {
                let median = values[values.len() / 2];
                let from = best - 3.0 * (best - median).max(1e-4);
                (from.max(*worst), *best, from > *worst)
            }
            [only] => (*only, *only, false),
        };
        let range = Range {
            min,
            max: if max > min { max } else { min + 1e-4 },
            is_log: false,
            step: None,
            is_integer: false,
        };
        Row::Value {
            metric,
            range,
            has_lower,
        }
    }

    /// Share of the axis at which the line of a trial crosses it.
    fn position(&self, trial: &Trial, spread: f64) -> f64 {
        match self {
            Row::Value { range, .. } => {
                let value = trial.value().unwrap_or(range.min);
                ((value - range.min) / (range.max - range.min)).max(0.0)
            }
            Row::Setting(variable) => {
                let Some(value) = trial.settings.get(&variable.name) else {
                    return ABSENT_AT;
                };
                let x = variable.domain.coordinate(value).unwrap_or(0.0);
                on_axis(variable, x, (spread - 0.5) * SPREAD)
            }
        }
    }

    fn draw_axis(&self, area: &Area<'_>, y: i32) -> std::result::Result<(), DrawError> {
        let axis = vec![(x_of(0.0), y), (x_of(1.0), y)];
        area.draw(&PathElement::new(axis, INK.mix(0.35).stroke_width(2)))?;
        for (share, _) in self.ticks() {
            let tick = vec![(x_of(share), y - 9), (x_of(share), y + 9)];
            area.draw(&PathElement::new(tick, INK.mix(0.6).stroke_width(2)))?;
        }
        Ok(())
    }

    /// Draws the name and the values, on top of the lines.
    fn draw_labels(&self, area: &Area<'_>, y: i32) -> std::result::Result<(), DrawError> {
        let name = match self {
            Row::Setting(variable) => variable.name.as_str(),
            Row::Value { metric, .. } => metric,
        };
        area.draw_text(name, &bold(HPos::Right), (LEFT - 36, y))?;
        for (share, text) in self.ticks() {
            area.draw_text(&text, &label(HPos::Center), (x_of(share), y + 30))?;
        }
        Ok(())
    }

    /// Labels of the axis and their shares of it.
    fn ticks(&self) -> Vec<(f64, String)> {
        match self {
            Row::Setting(variable) => setting_ticks(variable),
            Row::Value {
                range, has_lower, ..
            } => value_ticks(range, *has_lower),
        }
    }
}

/// Share of an axis at a coordinate; `spread` moves it within the room of a category.
fn on_axis(variable: &Variable, x: f64, spread: f64) -> f64 {
    let from = if variable.is_conditional() {
        VALUES_FROM
    } else {
        0.0
    };
    let share = match variable.domain.axis() {
        Axis::Categories(count) => (x + 0.5 + spread) / count as f64,
        Axis::Interval(a, b) => (x - a) / (b - a),
    };
    from + (1.0 - from) * share
}

/// Labels of a setting's axis and their shares of it.
fn setting_ticks(variable: &Variable) -> Vec<(f64, String)> {
    let mut ticks = Vec::new();
    if variable.is_conditional() {
        ticks.push((ABSENT_AT, ABSENT.to_owned()));
    }
    match &variable.domain {
        Domain::Choices(values) => {
            for (i, value) in values.iter().enumerate() {
                ticks.push((on_axis(variable, i as f64, 0.0), plain(value)));
            }
        }
        Domain::Range(range) => {
            for x in round_numbers(range) {
                let coordinate = if range.is_log { x.ln() } else { x };
                let text = number(&variable.domain.value_at(coordinate)).unwrap_or(x);
                ticks.push((on_axis(variable, coordinate, 0.0), text.to_string()));
            }
        }
    }
    ticks
}

fn value_ticks(range: &Range, has_lower: bool) -> Vec<(f64, String)> {
    let mut ticks = Vec::new();
    if has_lower {
        ticks.push((0.0, "lower".to_owned()));
    }
    for x in round_numbers(range) {
        let share = (x - range.min) / (range.max - range.min);
        if !has_lower || share > VALUES_FROM {
            ticks.push((share, format!("{x:.4}")));
        }
    }
    ticks
}

/// Round numbers within a range: 1, 2 and 5 times the powers of ten, or at most seven multiples of
/// one of them.
fn round_numbers(range: &Range) -> Vec<f64> {
    let mut numbers = Vec::new();
    if range.is_log {
        for power in range.min.log10().floor() as i32..=range.max.log10().ceil() as i32 {
            for digit in [1.0, 2.0, 5.0] {
                numbers.push(rounded(digit * 10f64.powi(power)));
            }
        }
    } else {
        let width = range.max - range.min;
        let power = 10f64.powf((width / 6.0).log10().floor());
        let mut step = 10.0 * power;
        for digit in [5.0, 2.0, 1.0] {
            if width / (digit * power) <= 6.0 {
                step = digit * power;
            }
        }
        let first = (range.min / step).ceil() as i64;
        for i in first..first + 8 {
            numbers.push(rounded(i as f64 * step));
        }
    }
    numbers.retain(|x| (range.min..=range.max).contains(x));
    numbers
}

/// A number without the noise of a product.
fn rounded(x: f64) -> f64 {
    format!("{x:.9e}").parse().unwrap_or(x)
}

fn legend(area: &Area<'_>) -> std::result::Result<(), DrawError> {
    const STEPS: i32 = 24;
    area.draw_text("worst", &label(HPos::Right), (LEFT - 12, 30))?;
    for i in 0..STEPS {
        let share = f64::from(i) / f64::from(STEPS - 1);
        let x = LEFT + i * 12;
        let part = vec![(x, 30), (x + 12, 30)];
        area.draw(&PathElement::new(part, ramp(share).stroke_width(12)))?;
    }
    let end = LEFT + STEPS * 12;
    area.draw_text(
        "best, by rank of the value",
        &label(HPos::Left),
        (end + 12, 30),
    )?;
    let x = end + 400;
    let line = vec![(x, 30), (x + 60, 30)];
    area.draw(&PathElement::new(line, BEST.stroke_width(8)))?;
    area.draw_text("the best finished trial", &label(HPos::Left), (x + 74, 30))
}

/// Colour at a share of the ramp.
fn ramp(share: f64) -> RGBColor {
    let at = share.clamp(0.0, 1.0) * (RAMP.len() - 1) as f64;
    let i = (at as usize).min(RAMP.len() - 2);
    let (a, b, t) = (RAMP[i], RAMP[i + 1], at - i as f64);
    let mixed = |a: u8, b: u8| (f64::from(a) * (1.0 - t) + f64::from(b) * t).round() as u8;
    RGBColor(mixed(a.0, b.0), mixed(a.1, b.1), mixed(a.2, b.2))
}

fn x_of(share: f64) -> i32 {
    LEFT + (share * f64::from(WIDTH as i32 - LEFT - RIGHT)).round() as i32
}

fn y_of(row: usize) -> i32 {
    TOP + ROW * row as i32 + ROW / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(min: f64, max: f64, is_log: bool) -> Range {
        Range {
            min,
            max,
            is_log,
            step: None,
            is_integer: false,
        }
    }

    #[test]
    fn round_numbers_lie_within_the_range() {
        let linear = |min, max| round_numbers(&range(min, max, false));
        assert_eq!(linear(0.0, 0.5), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]);
        assert_eq!(linear(3.0, 17.0), [5.0, 10.0, 15.0]);
        assert_eq!(
            round_numbers(&range(0.003, 0.06, true)),
            [0.005, 0.01, 0.02, 0.05]
        );
    }

    #[test]
    fn row_of_values_starts_where_most_values_are() {
        let trial = Trial::new(0, crate::space::Assignment::new());
        let ends = |values: &[f64]| {
            let valued: Vec<(&Trial, f64)> = values.iter().map(|&value| (&trial, value)).collect();
            match Row::value("m", &valued) {
                Row::Value {
                    range, has_lower, ..
                } => (range.min, range.max, has_lower),
                Row::Setting(_) => panic!("no row of values"),
            }
        };
        assert_eq!(ends(&[0.0, 4.0, 7.0, 7.5, 8.0]), (5.0, 8.0, true));
        assert_eq!(ends(&[6.0, 7.0, 8.0]), (6.0, 8.0, false));
        assert_eq!(ends(&[]), (0.0, 1.0, false));
        assert_eq!(ends(&[2.0]), (2.0, 2.0001, false));
    }

    #[test]
    fn ramp_ends_are_its_colours() {
        assert_eq!(ramp(0.0), RAMP[0]);
        assert_eq!(ramp(0.5), RAMP[1]);
        assert_eq!(ramp(1.0), RAMP[2]);
    }
}
