//! Tables as Markdown: all numbers of a row, one line each, and a short form for the front page.

use prl_dataset::{Kind, Split};
use prl_eval::Metric;
use prl_experiments::outcome::{
    KINDS, METRICS, RunResults, SPLITS, columns, kind_name, split_title, value,
};
use prl_experiments::paper::TOLERANCE;
use prl_experiments::result_table::{Cell, ResultTable};
use prl_experiments::significance::TestResult;
use prl_experiments::table_row::TableRow;

use crate::markdown_table::markdown_table;

/// A line of a table: its description and its cells.
struct Line {
    description: String,
    cells: Vec<String>,
}

/// Amount of detail of a table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// Means, the paper, and failures.
    Brief,
    /// Everything.
    Full,
}

/// Section of one table: both splits in full, then quantities that the paper's table does not have.
pub fn section(table: &ResultTable<'_>) -> String {
    let mut text = table.dataset.stamp().unwrap_or_default();
    text += &format!("# {}\n\n", table.title());
    text += &format!(
        "Data: {}, dataset `{}`. Ties of scores count against the target. The weights are those of \
         the best validation by purchase HR@5.\n\n",
        table.dataset.kind(),
        table.dataset.manifest.dataset
    );
    text += &match &table.incomparable {
        Some(why) => format!(
            "The paper's numbers stand here for orientation only, without a verdict: {why}. "
        ),
        None => format!(
            "An HR within {TOLERANCE} of the paper's counts as reproduced: \u{2713} within, \
             \u{2717} not. "
        ),
    };
    text += "The 95% interval is that of the first seed's cases: Wilson's for HR, a bootstrap over \
             sessions for NDCG. ";
    text += &table.star_legend();
    if let Some(why) = &table.untested {
        text += &format!(" Nothing was tested: {why}.");
    }
    if let Some(tally) = table.tally().describe() {
        text += &format!("\n\n{tally}");
    }
    for split in SPLITS {
        text += &format!("\n\n## {}", split_title(split));
        for kind in KINDS {
            let mut header = vec!["", ""];
            header.extend(METRICS.iter().map(|metric| metric.name()));
            let columns = METRICS.map(|metric| (kind, metric));
            let rows = table_rows(table, split, &columns, Detail::Full);
            let numbers = markdown_table(&header, 2, &rows);
            text += &format!("\n\n### {}s\n\n{numbers}", kind_name(kind));
        }
    }
    text += "\n\n## Beside the paper's metrics\n\nMean over the seeds. reward@1 is the sum of the \
             rewards of the events whose item is ranked first; coverage@20 the share of all items \
             that are in some top 20.\n\n";
    text + &other_metrics(table)
}

/// Results on the test split in short, for the front page.
pub fn summary(table: &ResultTable<'_>) -> String {
    let names = columns().map(|(kind, metric)| format!("{} {metric}", kind_name(kind)));
    let mut header = vec!["", ""];
    header.extend(names.iter().map(String::as_str));
    let rows = table_rows(table, Split::Test, &columns(), Detail::Brief);
    markdown_table(&header, 2, &rows)
}

fn table_rows(
    table: &ResultTable<'_>,
    split: Split,
    columns: &[(Kind, Metric)],
    detail: Detail,
) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for row in &table.rows {
        let cells = columns.iter().map(|&column| table.cell(row, split, column));
        let cells: Vec<Cell<'_>> = cells.collect();
        let mut lines = own_lines(row, &cells, detail);
        if split == Split::Test && table.paper_row(&row.system).is_some() {
            lines.extend(paper_lines(table, &cells, columns, detail));
        }
        lines.extend(missing_lines(row, columns.len()));
        rows.extend(named(row, lines));
    }
    rows
}

fn line(
    description: impl Into<String>,
    cells: &[Cell<'_>],
    text: impl Fn(&Cell<'_>) -> Option<String>,
) -> Line {
    let mut texts = Vec::new();
    for cell in cells {
        texts.push(text(cell).unwrap_or_else(|| "-".into()));
    }
    Line {
        description: description.into(),
        cells: texts,
    }
}

/// Lines with our results of a row.
fn own_lines(row: &TableRow<'_>, cells: &[Cell<'_>], detail: Detail) -> Vec<Line> {
    let Some((seed, _)) = row.first() else {
        return Vec::new();
    };
    let has_several_seeds = row.done.len() > 1;
    let mean = if has_several_seeds { "mean of " } else { "" };
    let mut lines = vec![line(format!("{mean}{}", row.seeds()), cells, starred_mean)];
    if detail == Detail::Brief {
        return lines;
    }
    if has_several_seeds {
        lines.push(line("seeds, min to max", cells, seed_range));
    }
    lines.push(line(format!("95% interval, seed {seed}"), cells, interval));
    if cells.iter().any(|cell| cell.test.is_some()) {
        let description = "against its baseline";
        lines.push(line(description, cells, |cell| cell.test.map(test_text)));
    }
    lines
}

fn starred_mean(cell: &Cell<'_>) -> Option<String> {
    let is_starred = cell.test.is_some_and(TestResult::is_starred);
    Some(format!("{:.4}{}", cell.ours?.mean, star(is_starred)))
}

fn seed_range(cell: &Cell<'_>) -> Option<String> {
    let ours = cell.ours?;
    Some(format!("{:.4} to {:.4}", ours.min, ours.max))
}

fn interval(cell: &Cell<'_>) -> Option<String> {
    let interval = cell.interval?;
    Some(format!("{:.4} to {:.4}", interval.lo, interval.hi))
}

/// Test in one cell: `+0.0123, p 0.042 (SQN)`.
fn test_text(test: &TestResult) -> String {
    format!(
        "{:+.4}, p {:.3} ({})",
        test.comparison.difference,
        test.p,
        test.baseline.method_title()
    )
}

/// Lines with the paper's results of a row.
fn paper_lines(
    table: &ResultTable<'_>,
    cells: &[Cell<'_>],
    columns: &[(Kind, Metric)],
    detail: Detail,
) -> Vec<Line> {
    let description = format!("paper, on real {}", table.dataset.source.title);
    let mut lines = vec![line(description, cells, |cell| {
        let (paper, is_starred) = cell.paper?;
        Some(format!("{paper:.4}{}", star(is_starred)))
    })];
    if detail == Detail::Full && cells.iter().any(|cell| cell.difference.is_some()) {
        let mut texts = Vec::new();
        for (cell, (_, metric)) in cells.iter().zip(columns) {
            texts.push(match cell.difference {
                None => "-".into(),
                Some((difference, _)) if !metric.is_share() => format!("{difference:+.4}"),
                Some((difference, true)) => format!("{difference:+.4} \u{2713}"),
                Some((difference, false)) => format!("{difference:+.4} \u{2717}"),
            });
        }
        lines.push(Line {
            description: "difference".into(),
            cells: texts,
        });
    }
    lines
}

fn star(is_starred: bool) -> &'static str {
    if is_starred { "\\*" } else { "" }
}

/// Lines that stand for the runs without results: one per failure, and one for those not made yet.
fn missing_lines(row: &TableRow<'_>, columns: usize) -> Vec<Line> {
    let mut texts = Vec::new();
    for (seed, failure) in &row.failed {
        texts.push((seed.to_string(), format!("FAILED: {}", failure.message)));
    }
    if !row.pending.is_empty() {
        let seeds: Vec<String> = row.pending.iter().map(u64::to_string).collect();
        texts.push((seeds.join(", "), "not run yet".to_owned()));
    }
    let mut lines = Vec::new();
    for (seeds, text) in texts {
        let mut cells = vec![text];
        cells.resize(columns, String::new());
        lines.push(Line {
            description: format!("seed {seeds}"),
            cells,
        });
    }
    lines
}

/// Columns of [`other_metrics`], after the name and the description.
const OTHER_METRICS: [&str; 4] = ["reward@1", "coverage@20", "purchase MRR", "click MRR"];

fn other_metrics(table: &ResultTable<'_>) -> String {
    let mut rows = Vec::new();
    for row in &table.rows {
        let mut lines = Vec::new();
        if row.first().is_some() {
            for split in SPLITS {
                lines.push(Line {
                    description: format!("{}, {}", split.name(), row.seeds()),
                    cells: other_cells(row, split),
                });
            }
        }
        lines.extend(missing_lines(row, OTHER_METRICS.len()));
        rows.extend(named(row, lines));
    }
    let mut header = vec!["", ""];
    header.extend(OTHER_METRICS);
    markdown_table(&header, 2, &rows)
}

fn other_cells(row: &TableRow<'_>, split: Split) -> Vec<String> {
    let mean =
        |digits: usize, value: &dyn Fn(&RunResults) -> Option<f64>| match row.over_seeds(value) {
            Some(summary) => format!("{:.digits$}", summary.mean),
            None => "-".into(),
        };
    let mrr = |run: &RunResults, kind| value(&run.report(split).scores, kind, Metric::Mrr);
    vec![
        mean(1, &|run| Some(run.report(split).scores.reward_at_1)),
        mean(4, &|run| run.report(split).coverage_at_20),
        mean(4, &|run| mrr(run, Kind::Purchase)),
        mean(4, &|run| mrr(run, Kind::Click)),
    ]
}

/// Lines as rows of a Markdown table; the first one starts with the name of the system.
fn named(row: &TableRow<'_>, lines: Vec<Line>) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (i, line) in lines.into_iter().enumerate() {
        let name = if i == 0 {
            format!("**{}**", row.system.title())
        } else {
            String::new()
        };
        let mut cells = vec![name, line.description];
        cells.extend(line.cells);
        rows.push(cells);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use prl_experiments::fixture;
    use prl_experiments::paper;
    use prl_experiments::run_spec::Filter;
    use prl_experiments::significance::TestCache;

    fn section_of(synthetic: bool) -> String {
        let dir = tempfile::tempdir().unwrap();
        let filter = Filter {
            methods: ["normal", "prl"].map(str::to_owned).into(),
            encoders: vec!["gru".into()],
        };
        let experiment = fixture::experiment(dir.path(), 2, synthetic, filter);
        let outcomes = fixture::outcomes(&experiment, |system| {
            (system.method != "normal").then_some(0.5)
        });
        let paper = paper::load().unwrap();
        section(&ResultTable::all(&experiment, &outcomes, &paper, &TestCache::default())[0])
    }

    #[test]
    fn real_data_is_compared_with_the_paper() {
        let text = section_of(false);
        assert!(text.starts_with("# Table 2: RC15, "), "{text}");
        // The paper's purchase HR@5 is 0.4514, ours 0.5.
        assert!(
            text.contains("| mean of seeds 0, 1 | 0.5000 |")
                && text.contains("| +0.0486 \u{2717} |"),
            "{text}"
        );
        assert!(text.contains("| paper, on real RC15 | 0.4514\\* |"));
        assert!(text.contains("0 of 6 HRs lie within 0.02"));
    }

    #[test]
    fn synthetic_data_is_stamped_and_not_compared() {
        let text = section_of(true);
        assert!(text.starts_with("# SYNTHETIC DATA"), "{text}");
        assert!(
            text.contains("| paper, on real RC15 | 0.4514\\* |")
                && !text.contains("| difference |")
        );
    }

    #[test]
    fn failed_row_contains_the_message() {
        assert!(
            section_of(true)
                .contains("| **GRU normal** | seed 0 | FAILED: error: the loss is NaN at step 7")
        );
    }
}
