//! The charts of a study: its main numbers, Figures 4 and 5, and the learning curves.

use plotters::style::RGBColor;
use prl_dataset::{Kind, Split};
use prl_eval::Metric;

use crate::forest_plot::{self, Forest};
use crate::line_chart::{Chart, Line};
use prl_experiments::experiment::Study;
use prl_experiments::matrix::{ENCODERS, System};
use prl_experiments::outcome::{Finished, KINDS, Outcome, kind_name, value};
use prl_experiments::prompt_sweep::Figure;
use prl_experiments::result_table::Panel;
use prl_experiments::table_row::{OverSeeds, Row};

/// The colours of encoders and of methods; legible on white and on black.
const COLOURS: [(&str, RGBColor); 13] = [
    ("gru", RGBColor(47, 129, 247)),
    ("caser", RGBColor(214, 118, 26)),
    ("nextitnet", RGBColor(152, 94, 214)),
    ("sasrec", RGBColor(28, 150, 105)),
    ("normal", RGBColor(128, 134, 144)),
    ("sqn", RGBColor(214, 118, 26)),
    ("sac", RGBColor(152, 94, 214)),
    ("prl", RGBColor(47, 129, 247)),
    ("prl-control", RGBColor(28, 150, 105)),
    ("prl-mean", RGBColor(214, 118, 26)),
    ("prl-mlp", RGBColor(152, 94, 214)),
    ("prl-wo", RGBColor(28, 150, 105)),
    ("prl-cumu", RGBColor(196, 62, 96)),
];
/// Of what has none.
const OTHER: RGBColor = RGBColor(196, 62, 96);

/// A figure of the paper on one log: a chart, and what it comes to in words.
pub struct Answered {
    /// Position of the dataset.
    pub dataset: usize,
    /// The chart.
    pub chart: Chart,
    /// Where each line is highest, and how it ends.
    pub findings: Vec<String>,
}

/// A figure on every log that has a point of it.
pub fn answered(study: &Study, outcomes: &[Outcome], figure: &Figure) -> Vec<Answered> {
    let on = |(dataset, data): (usize, &prl_experiments::datasets::Dataset)| {
        let rows: Vec<Row<'_>> = ENCODERS
            .iter()
            .filter_map(|e| study.row(dataset, System::prl(e.name), outcomes))
            .collect();
        let lines: Vec<Line> = rows
            .iter()
            .filter_map(|row| answer_line(row, figure))
            .collect();
        let findings = lines
            .iter()
            .filter_map(|line| finding(line, figure.symbol))
            .collect();
        let chart = Chart {
            title: format!("{} ({})", data.source.title, data.kind()),
            x: format!("{} ({}), {}", figure.symbol, figure.what, figure.fixed),
            y: "reward@1".into(),
            is_logarithmic: false,
            lines,
        };
        (!chart.lines.is_empty()).then_some(Answered {
            dataset,
            chart,
            findings,
        })
    };
    study.datasets.iter().enumerate().filter_map(on).collect()
}

fn answer_line(row: &Row<'_>, figure: &Figure) -> Option<Line> {
    let (_, first) = row.first()?;
    let asks = first
        .answers
        .iter()
        .map(|answer| answer.ask)
        .filter(|ask| figure.has(ask));
    let point = |ask| {
        let reward = |run: &Finished| {
            run.answers
                .iter()
                .find(|a| a.ask == ask)
                .map(|a| a.reward_at_1)
        };
        Some(point((figure.of)(&ask), row.over_seeds(reward)?))
    };
    let mut points: Vec<[f64; 4]> = asks.filter_map(point).collect();
    points.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let colour = colour(row.system.encoder.unwrap_or_default());
    (!points.is_empty()).then_some(Line {
        name: row.system.title(),
        colour,
        points,
    })
}

/// Where a line is highest, and from where to where it goes.
fn finding(line: &Line, symbol: &str) -> Option<String> {
    let (first, last) = (line.points.first()?, line.points.last()?);
    let best = line.points.iter().max_by(|a, b| a[1].total_cmp(&b[1]))?;
    let change = if first[1] != 0.0 {
        format!(" ({:+.1}%)", 100.0 * (last[1] / first[1] - 1.0))
    } else {
        String::new()
    };
    Some(format!(
        "{}: highest at {symbol} = {} ({:.1}); from {:.1} to {:.1}{change} over the range",
        line.name, best[0], best[1], first[1], last[1]
    ))
}

/// HR@20 of every row of a panel on the test split, for both kinds of events.
pub fn main_numbers(panel: &Panel<'_>) -> Vec<Forest> {
    let metric = Metric::Hr20;
    let of_kind = |kind: Kind| {
        let mut rows = Vec::new();
        let mut group = None;
        for row in &panel.rows {
            let encoder = row.system.encoder_title().unwrap_or("No encoder");
            if group.replace(encoder) != Some(encoder) {
                rows.push(forest_plot::Row::Group(encoder));
            }
            let cell = panel.cell(row, Split::Test, kind, metric);
            rows.push(forest_plot::Row::Number {
                name: row.system.method_title(),
                colour: system_colour(&row.system),
                value: cell
                    .ours
                    .map(|ours| ours.mean)
                    .ok_or(if row.failed.is_empty() {
                        "not run yet"
                    } else {
                        "failed"
                    }),
                interval: cell.interval.map(Into::into),
                paper: cell
                    .paper
                    .map(|(paper, _)| paper)
                    .filter(|_| panel.incomparable.is_none()),
            });
        }
        let title = format!(
            "{} ({}), {}s",
            panel.dataset.source.title,
            panel.dataset.kind(),
            kind_name(kind)
        );
        Forest {
            title,
            x: format!("test {} {metric}", kind_name(kind)),
            rows,
        }
    };
    KINDS.into_iter().map(of_kind).collect()
}

/// The learning curves of a panel: for each encoder, both numbers that are validated by. With each its name as a file.
pub fn curves(panel: &Panel<'_>) -> Vec<(String, Chart)> {
    let mut charts = Vec::new();
    for encoder in &ENCODERS {
        let rows = || {
            panel
                .rows
                .iter()
                .filter(|row| row.system.encoder == Some(encoder.name))
        };
        for (kind, metric) in [(Kind::Purchase, Metric::Hr5), (Kind::Click, Metric::Hr20)] {
            let lines: Vec<Line> = rows()
                .filter_map(|row| curve_line(row, kind, metric))
                .collect();
            if lines.is_empty() {
                continue;
            }
            let (source, number) = (panel.dataset.source, panel.table.number);
            let name = format!(
                "table{number}-{}-{}-{}",
                source.name,
                encoder.name,
                kind_name(kind)
            );
            let title = format!(
                "{}, {} ({})",
                encoder.title,
                source.title,
                panel.dataset.kind()
            );
            let y = format!("val {} {metric}", kind_name(kind));
            charts.push((
                name,
                Chart {
                    title,
                    x: "steps".into(),
                    y,
                    is_logarithmic: false,
                    lines,
                },
            ));
        }
    }
    charts
}

fn curve_line(row: &Row<'_>, kind: Kind, metric: Metric) -> Option<Line> {
    let (_, first) = row.first()?;
    let at = |step: u64| {
        let of = |run: &Finished| {
            value(
                &run.curve.iter().find(|point| point.step == step)?.val,
                kind,
                metric,
            )
        };
        Some(point(step as f64, row.over_seeds(of)?))
    };
    let points: Vec<[f64; 4]> = first
        .curve
        .iter()
        .filter_map(|point| at(point.step))
        .collect();
    let colour = system_colour(&row.system);
    (!points.is_empty()).then_some(Line {
        name: row.system.method_title(),
        colour,
        points,
    })
}

fn point(x: f64, over: OverSeeds) -> [f64; 4] {
    [x, over.mean, over.min, over.max]
}

fn system_colour(system: &System) -> RGBColor {
    if system.released {
        OTHER
    } else {
        colour(system.method)
    }
}

fn colour(name: &str) -> RGBColor {
    COLOURS
        .iter()
        .find(|(known, _)| *known == name)
        .map_or(OTHER, |(_, colour)| *colour)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prl_experiments::prompt_sweep::FIGURES;
    use prl_experiments::run_spec::Filter;
    use prl_experiments::significance::Tests;
    use prl_experiments::{fixture, paper};

    #[test]
    fn figures_are_of_every_encoder_that_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let study = fixture::study(dir.path(), 2, true, Filter::default());
        let outcomes = fixture::outcomes(&study, |system| {
            (system.encoder != Some("caser")).then_some(0.5)
        });
        let found = answered(&study, &outcomes, &FIGURES[0]);
        let names: Vec<&str> = found[0]
            .chart
            .lines
            .iter()
            .map(|line| line.name.as_str())
            .collect();
        assert_eq!(names, ["GRU PRL", "NextItNet PRL", "SASRec PRL"]);
        // The fixture's reward is 100 - mu - eps.
        assert_eq!(found[0].chart.lines[0].points.len(), 10);
        assert_eq!(
            found[0].chart.lines[0].points[0],
            [0.25, 99.75, 99.75, 99.75]
        );
        assert!(
            found[0].findings[0].starts_with(
                "GRU PRL: highest at \u{3bc} = 0.25 (99.8); from 99.8 to 95.0 (-4.8%)"
            )
        );
        assert_eq!(
            answered(&study, &outcomes, &FIGURES[1])[1].chart.lines[0].points[6],
            [1.0, 97.0, 97.0, 97.0]
        );
    }

    #[test]
    fn curves_are_of_every_trained_row() {
        let dir = tempfile::tempdir().unwrap();
        let study = fixture::study(dir.path(), 1, true, Filter::default());
        let outcomes = fixture::outcomes(&study, |system| (system.method != "sac").then_some(0.5));
        let paper = paper::rows().unwrap();
        let panels = Panel::all(&study, &outcomes, &paper, &Tests::default());
        let charts = curves(&panels[0]);
        assert_eq!(charts.len(), 4 * 2);
        assert_eq!(charts[6].0, "table2-rc15-sasrec-purchase");
        let names: Vec<&str> = charts[6]
            .1
            .lines
            .iter()
            .map(|line| line.name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "normal",
                "SQN",
                "PRL",
                "PRL without its prompt",
                "PRL, as released"
            ]
        );
        assert_eq!(
            charts[6].1.lines[0].points,
            [[5.0, 0.5, 0.5, 0.5], [10.0, 0.5, 0.5, 0.5]]
        );
        // 3 baselines, 4 encoders with 5 methods, SASRec-PRL as released, and the names of the 5 groups.
        assert!(
            main_numbers(&panels[0])
                .iter()
                .all(|plot| plot.rows.len() == 3 + 4 * 5 + 1 + 5)
        );
    }
}
