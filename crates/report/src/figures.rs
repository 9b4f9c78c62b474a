//! Charts of an experiment: main results, Figures 4 and 5, and learning curves.

use plotters::style::RGBColor;
use prl_dataset::{Kind, Split};
use prl_eval::Metric;
use prl_experiments::datasets::Dataset;
use prl_experiments::experiment::Experiment;
use prl_experiments::matrix::{ENCODERS, Encoder, System};
use prl_experiments::outcome::{KINDS, Outcome, RunResults, kind_name, value};
use prl_experiments::prompt_sweep::{PromptFigure, PromptSetting};
use prl_experiments::result_table::ResultTable;
use prl_experiments::table_row::{SeedSummary, TableRow};

use crate::forest_plot::{ForestNumber, ForestPlot, ForestRow};
use crate::line_chart::{Chart, Line};

/// Colours of encoders and methods by name, legible on white and on black.
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
/// Colour of any other name.
const OTHER: RGBColor = RGBColor(196, 62, 96);

/// A figure of the paper on one log.
pub struct PromptChart<'a> {
    /// Dataset.
    pub dataset: &'a Dataset,
    /// Chart.
    pub chart: Chart,
    /// Maximum and change of each line, in words.
    pub findings: Vec<String>,
}

/// Charts of a figure, for each dataset with results.
pub fn prompt_charts<'a>(
    experiment: &'a Experiment,
    outcomes: &[Outcome],
    figure: &PromptFigure,
) -> Vec<PromptChart<'a>> {
    let mut charts = Vec::new();
    for (i, dataset) in experiment.datasets.iter().enumerate() {
        let (mut lines, mut findings) = (Vec::new(), Vec::new());
        for encoder in &ENCODERS {
            let system = System::prl(encoder.name);
            if let Some(row) = TableRow::collect(experiment, i, system, outcomes)
                && let Some(line) = prompt_line(&row, figure)
            {
                findings.push(finding(&line, figure.symbol));
                lines.push(line);
            }
        }
        if lines.is_empty() {
            continue;
        }
        let chart = Chart {
            title: format!("{} ({})", dataset.source.title, dataset.kind()),
            x: format!(
                "{} ({}), {}",
                figure.symbol, figure.description, figure.fixed
            ),
            y: "reward@1".into(),
            is_logarithmic: false,
            lines,
        };
        charts.push(PromptChart {
            dataset,
            chart,
            findings,
        });
    }
    charts
}

/// Rewards of a system by the varied parameter; `None` if no run of it is done.
fn prompt_line(row: &TableRow<'_>, figure: &PromptFigure) -> Option<Line> {
    let (_, first) = row.first()?;
    let mut points = Vec::new();
    for result in &first.prompt_results {
        if let Some(x) = figure.value(&result.prompt)
            && let Some(summary) = row.over_seeds(|run| reward(run, result.prompt))
        {
            points.push(point(x, summary));
        }
    }
    points.sort_by(|a, b| a[0].total_cmp(&b[0]));
    (!points.is_empty()).then(|| Line {
        name: row.system.title(),
        colour: colour(row.system.encoder.unwrap_or_default()),
        points,
    })
}

fn reward(run: &RunResults, prompt: PromptSetting) -> Option<f64> {
    let mut results = run.prompt_results.iter();
    let result = results.find(|result| result.prompt == prompt)?;
    Some(result.reward_at_1)
}

/// Maximum of a line and its change from the first to the last point; the line is not empty.
fn finding(line: &Line, symbol: &str) -> String {
    let (first, last) = (&line.points[0], &line.points[line.points.len() - 1]);
    let mut best = first;
    for point in &line.points {
        if point[1] >= best[1] {
            best = point;
        }
    }
    let change = if first[1] == 0.0 {
        String::new()
    } else {
        format!(" ({:+.1}%)", 100.0 * (last[1] / first[1] - 1.0))
    };
    format!(
        "{}: highest at {symbol} = {} ({:.1}); from {:.1} to {:.1}{change} over the range",
        line.name, best[0], best[1], first[1], last[1]
    )
}

/// HR@20 of every row of a table on the test split: one plot per kind of events.
pub fn main_results(table: &ResultTable<'_>) -> Vec<ForestPlot> {
    KINDS.map(|kind| main_plot(table, kind)).into()
}

fn main_plot(table: &ResultTable<'_>, kind: Kind) -> ForestPlot {
    let metric = Metric::Hr20;
    let mut rows = Vec::new();
    let mut group = None;
    for row in &table.rows {
        let encoder = row.system.encoder_title().unwrap_or("No encoder");
        if group.replace(encoder) != Some(encoder) {
            rows.push(ForestRow::Group(encoder));
        }
        let cell = table.cell(row, Split::Test, (kind, metric));
        let value = match cell.ours {
            Some(ours) => Ok(ours.mean),
            None if row.failed.is_empty() => Err("not run yet"),
            None => Err("failed"),
        };
        let paper = match &table.incomparable {
            None => cell.paper.map(|(paper, _)| paper),
            Some(_) => None,
        };
        rows.push(ForestRow::Number(ForestNumber {
            name: row.system.method_title(),
            colour: system_colour(&row.system),
            value,
            interval: cell.interval.map(Into::into),
            paper,
        }));
    }
    let dataset = table.dataset;
    ForestPlot {
        title: format!(
            "{} ({}), {}s",
            dataset.source.title,
            dataset.kind(),
            kind_name(kind)
        ),
        x: format!("test {} {metric}", kind_name(kind)),
        rows,
    }
}

/// A chart with the name of its file.
pub struct NamedChart {
    /// File name without extension.
    pub name: String,
    /// Chart.
    pub chart: Chart,
}

/// Learning curves of a table: for each encoder, purchase HR@5 and click HR@20 on validation.
pub fn learning_curves(table: &ResultTable<'_>) -> Vec<NamedChart> {
    let mut charts = Vec::new();
    for encoder in &ENCODERS {
        for column in [(Kind::Purchase, Metric::Hr5), (Kind::Click, Metric::Hr20)] {
            charts.extend(learning_curve(table, encoder, column));
        }
    }
    charts
}

fn learning_curve(
    table: &ResultTable<'_>,
    encoder: &Encoder,
    (kind, metric): (Kind, Metric),
) -> Option<NamedChart> {
    let mut lines = Vec::new();
    for row in &table.rows {
        if row.system.encoder == Some(encoder.name) {
            lines.extend(curve_line(row, kind, metric));
        }
    }
    if lines.is_empty() {
        return None;
    }
    let source = table.dataset.source;
    let kind = kind_name(kind);
    let name = format!(
        "table{}-{}-{}-{kind}",
        table.table.number, source.name, encoder.name
    );
    let chart = Chart {
        title: format!(
            "{}, {} ({})",
            encoder.title,
            source.title,
            table.dataset.kind()
        ),
        x: "steps".into(),
        y: format!("val {kind} {metric}"),
        is_logarithmic: false,
        lines,
    };
    Some(NamedChart { name, chart })
}

fn curve_line(row: &TableRow<'_>, kind: Kind, metric: Metric) -> Option<Line> {
    let (_, first) = row.first()?;
    let mut points = Vec::new();
    for validation in &first.curve {
        let step = validation.step;
        if let Some(summary) = row.over_seeds(|run| score(run, step, kind, metric)) {
            points.push(point(step as f64, summary));
        }
    }
    (!points.is_empty()).then(|| Line {
        name: row.system.method_title(),
        colour: system_colour(&row.system),
        points,
    })
}

fn score(run: &RunResults, step: u64, kind: Kind, metric: Metric) -> Option<f64> {
    let validation = run.curve.iter().find(|point| point.step == step)?;
    value(&validation.val, kind, metric)
}

fn point(x: f64, summary: SeedSummary) -> [f64; 4] {
    [x, summary.mean, summary.min, summary.max]
}

fn system_colour(system: &System) -> RGBColor {
    if system.released {
        OTHER
    } else {
        colour(system.method)
    }
}

fn colour(name: &str) -> RGBColor {
    for (known, colour) in COLOURS {
        if known == name {
            return colour;
        }
    }
    OTHER
}

#[cfg(test)]
mod tests {
    use super::*;
    use prl_experiments::prompt_sweep::FIGURES;
    use prl_experiments::run_spec::Filter;
    use prl_experiments::significance::TestCache;
    use prl_experiments::{fixture, paper};

    #[test]
    fn prompt_charts_have_a_line_per_finished_encoder() {
        let dir = tempfile::tempdir().unwrap();
        let experiment = fixture::experiment(dir.path(), 2, true, Filter::default());
        let outcomes = fixture::outcomes(&experiment, |system| {
            (system.encoder != Some("caser")).then_some(0.5)
        });
        let found = prompt_charts(&experiment, &outcomes, &FIGURES[0]);
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
            prompt_charts(&experiment, &outcomes, &FIGURES[1])[1]
                .chart
                .lines[0]
                .points[6],
            [1.0, 97.0, 97.0, 97.0]
        );
    }

    #[test]
    fn learning_curves_have_a_line_per_trained_row() {
        let dir = tempfile::tempdir().unwrap();
        let experiment = fixture::experiment(dir.path(), 1, true, Filter::default());
        let outcomes = fixture::outcomes(&experiment, |system| {
            (system.method != "sac").then_some(0.5)
        });
        let paper = paper::load().unwrap();
        let panels = ResultTable::all(&experiment, &outcomes, &paper, &TestCache::default());
        let charts = learning_curves(&panels[0]);
        assert_eq!(charts.len(), 4 * 2);
        assert_eq!(charts[6].name, "table2-rc15-sasrec-purchase");
        let names: Vec<&str> = charts[6]
            .chart
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
            charts[6].chart.lines[0].points,
            [[5.0, 0.5, 0.5, 0.5], [10.0, 0.5, 0.5, 0.5]]
        );
        // 3 baselines, 4 encoders with 5 methods, SASRec-PRL as released, and the names of the 5
        // groups.
        assert!(
            main_results(&panels[0])
                .iter()
                .all(|plot| plot.rows.len() == 3 + 4 * 5 + 1 + 5)
        );
    }
}
