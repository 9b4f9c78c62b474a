//! A table as Markdown: every number that is said of a row, a line each, and the short form for the front page.

use prl_dataset::{Kind, Split};
use prl_eval::{Metric, Scores};

use crate::markdown_table::markdown_table;
use prl_experiments::outcome::{Finished, KINDS, METRICS, SPLITS, kind_name, value};
use prl_experiments::paper::TOLERANCE;
use prl_experiments::result_table::{Cell, Panel, columns};
use prl_experiments::table_row::{OverSeeds, Row, split_title};

/// A line of the table: what it says, and how it says it in each column.
struct Line {
    what: String,
    cells: Vec<String>,
}

/// How much is said of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// Mean, paper, and what failed.
    Brief,
    /// Everything.
    Full,
}

/// The section of one panel: both splits in full, then what the paper's table does not have.
pub fn section(panel: &Panel<'_>) -> String {
    let mut text = panel.dataset.stamp().unwrap_or_default();
    text += &format!("# {}\n\n", panel.title());
    text += &format!(
        "Data: {}, dataset `{}`. Ties of scores count against the target. The weights are those of the best validation by \
         purchase HR@5.\n\n",
        panel.dataset.kind(),
        panel.dataset.manifest.dataset
    );
    text += &match &panel.incomparable {
        Some(why) => format!(
            "The paper's numbers stand here for orientation only, without a verdict: {why}. "
        ),
        None => {
            format!(
                "An HR within {TOLERANCE} of the paper's counts as reproduced: \u{2713} within, \u{2717} not. "
            )
        }
    };
    text += "The 95% interval is that of the first seed's cases: Wilson's for HR, a bootstrap over sessions for NDCG. ";
    text += &panel.star_legend();
    if let Some(why) = &panel.untested {
        text += &format!(" Nothing was tested: {why}.");
    }
    if let Some(tally) = panel.tally().describe() {
        text += &format!("\n\n{tally}");
    }
    for split in SPLITS {
        text += &format!("\n\n## {}", split_title(split));
        for kind in KINDS {
            let header: Vec<&str> = ["", ""]
                .into_iter()
                .chain(METRICS.iter().map(|metric| metric.name()))
                .collect();
            let of_kind: Vec<(Kind, Metric)> = METRICS.map(|metric| (kind, metric)).into();
            let table = rows(panel, split, &of_kind, Detail::Full);
            text += &format!(
                "\n\n### {}s\n\n{}",
                kind_name(kind),
                markdown_table(&header, 2, &table)
            );
        }
    }
    text += "\n\n## Beside the paper's metrics\n\nMean over the seeds. reward@1 is the sum of the rewards of the events \
             whose item is ranked first; coverage@20 the share of all items that are in some top 20.\n\n";
    text + &others(panel)
}

/// The test split in short: what the front page shows.
pub fn summary(panel: &Panel<'_>) -> String {
    let all: Vec<(Kind, Metric)> = columns().collect();
    let names: Vec<String> = all
        .iter()
        .map(|(kind, metric)| format!("{} {metric}", kind_name(*kind)))
        .collect();
    let header: Vec<&str> = ["", ""]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    markdown_table(&header, 2, &rows(panel, Split::Test, &all, Detail::Brief))
}

fn rows(
    panel: &Panel<'_>,
    split: Split,
    columns: &[(Kind, Metric)],
    detail: Detail,
) -> Vec<Vec<String>> {
    panel
        .rows
        .iter()
        .flat_map(|row| named(row, lines(panel, row, split, columns, detail)))
        .collect()
}

fn lines(
    panel: &Panel<'_>,
    row: &Row<'_>,
    split: Split,
    columns: &[(Kind, Metric)],
    detail: Detail,
) -> Vec<Line> {
    let cells: Vec<Cell<'_>> = columns
        .iter()
        .map(|&(kind, metric)| panel.cell(row, split, kind, metric))
        .collect();
    let line = |what: String, cell: &dyn Fn(&Cell<'_>) -> Option<String>| {
        let cells = cells
            .iter()
            .map(|c| cell(c).unwrap_or_else(|| "-".into()))
            .collect();
        Line { what, cells }
    };
    let mut lines = Vec::new();
    if let Some((seed, _)) = row.first() {
        let mean = if row.done.len() > 1 { "mean of " } else { "" };
        lines.push(line(format!("{mean}{}", row.seeds()), &|cell| {
            cell.ours.map(|ours| {
                format!(
                    "{:.4}{}",
                    ours.mean,
                    star(cell.verdict.is_some_and(|v| v.is_starred()))
                )
            })
        }));
        if detail == Detail::Full {
            if row.done.len() > 1 {
                let band = |o: OverSeeds| format!("{:.4} to {:.4}", o.min, o.max);
                lines.push(line("seeds, min to max".into(), &|cell| {
                    cell.ours.map(band)
                }));
            }
            lines.push(line(format!("95% interval, seed {seed}"), &|cell| {
                cell.interval
                    .map(|interval| format!("{:.4} to {:.4}", interval.lo, interval.hi))
            }));
            if cells.iter().any(|cell| cell.verdict.is_some()) {
                lines.push(line("against its rival".into(), &|cell| {
                    cell.verdict.map(against)
                }));
            }
        }
    }
    if split == Split::Test && panel.paper_row(&row.system).is_some() {
        lines.push(line(
            format!("paper, on real {}", panel.dataset.source.title),
            &|cell| {
                cell.paper
                    .map(|(paper, starred)| format!("{paper:.4}{}", star(starred)))
            },
        ));
        if detail == Detail::Full && cells.iter().any(|cell| cell.difference.is_some()) {
            let marks: Vec<bool> = columns
                .iter()
                .map(|(_, metric)| metric.is_share())
                .collect();
            let verdict = |(cell, has_mark): (&Cell<'_>, &bool)| {
                let (difference, is_within) = cell.difference?;
                let mark = if is_within { " \u{2713}" } else { " \u{2717}" };
                Some(format!(
                    "{difference:+.4}{}",
                    if *has_mark { mark } else { "" }
                ))
            };
            let cells = cells
                .iter()
                .zip(&marks)
                .map(|cell| verdict(cell).unwrap_or_else(|| "-".into()))
                .collect();
            lines.push(Line {
                what: "difference".into(),
                cells,
            });
        }
    }
    lines.extend(missing(row, columns.len()));
    lines
}

/// `+0.0123, p 0.042 (SQN)`.
fn against(verdict: &prl_experiments::significance::Verdict) -> String {
    format!(
        "{:+.4}, p {:.3} ({})",
        verdict.comparison.difference,
        verdict.p,
        verdict.rival.method_title()
    )
}

fn star(is_starred: bool) -> &'static str {
    if is_starred { "\\*" } else { "" }
}

/// What failed or is still to come, in its place: never a blank.
fn missing(row: &Row<'_>, columns: usize) -> Vec<Line> {
    let line = |what: String, said: String| {
        let mut cells = vec![String::new(); columns];
        cells[0] = said;
        Line { what, cells }
    };
    let failed = row
        .failed
        .iter()
        .map(|(seed, why)| line(format!("seed {seed}"), format!("FAILED: {}", why.message)));
    let pending: Vec<String> = row.pending.iter().map(u64::to_string).collect();
    let pending = (!pending.is_empty())
        .then(|| line(format!("seed {}", pending.join(", ")), "not run yet".into()));
    failed.chain(pending).collect()
}

fn others(panel: &Panel<'_>) -> String {
    let header = [
        "",
        "",
        "reward@1",
        "coverage@20",
        "purchase MRR",
        "click MRR",
    ];
    type Number = fn(&Finished, Split) -> Option<f64>;
    fn scores(run: &Finished, split: Split) -> &Scores {
        &run.report(split).scores
    }
    let numbers: [(Number, usize); 4] = [
        (|run, split| Some(scores(run, split).reward_at_1), 1),
        (|run, split| run.report(split).coverage_at_20, 4),
        (
            |run, split| value(scores(run, split), Kind::Purchase, Metric::Mrr),
            4,
        ),
        (
            |run, split| value(scores(run, split), Kind::Click, Metric::Mrr),
            4,
        ),
    ];
    let mut rows = Vec::new();
    for row in &panel.rows {
        let of_split = |split: Split| {
            let cell = |(number, digits): &(Number, usize)| {
                let over = row.over_seeds(|run| number(run, split));
                over.map_or("-".into(), |over| format!("{:.digits$}", over.mean))
            };
            Line {
                what: format!("{}, {}", split.name(), row.seeds()),
                cells: numbers.iter().map(cell).collect(),
            }
        };
        let done = SPLITS
            .into_iter()
            .filter(|_| row.first().is_some())
            .map(of_split);
        rows.extend(named(
            row,
            done.chain(missing(row, numbers.len())).collect(),
        ));
    }
    markdown_table(&header, 2, &rows)
}

/// Lines as cells of a Markdown table, the row's name before the first.
fn named(row: &Row<'_>, lines: Vec<Line>) -> Vec<Vec<String>> {
    let cells = |(i, line): (usize, Line)| {
        let name = if i == 0 {
            format!("**{}**", row.system.title())
        } else {
            String::new()
        };
        [name, line.what].into_iter().chain(line.cells).collect()
    };
    lines.into_iter().enumerate().map(cells).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prl_experiments::fixture;
    use prl_experiments::paper;
    use prl_experiments::run_spec::Filter;
    use prl_experiments::significance::Tests;

    fn section_of(synthetic: bool) -> String {
        let dir = tempfile::tempdir().unwrap();
        let filter = Filter {
            methods: ["normal", "prl"].map(str::to_owned).into(),
            encoders: vec!["gru".into()],
        };
        let study = fixture::study(dir.path(), 2, synthetic, filter);
        let outcomes =
            fixture::outcomes(&study, |system| (system.method != "normal").then_some(0.5));
        let paper = paper::rows().unwrap();
        section(&Panel::all(&study, &outcomes, &paper, &Tests::default())[0])
    }

    #[test]
    fn real_data_is_held_against_the_paper() {
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
    fn synthetic_data_is_stamped_and_not_held_against_it() {
        let text = section_of(true);
        assert!(text.starts_with("# SYNTHETIC DATA"), "{text}");
        assert!(
            text.contains("| paper, on real RC15 | 0.4514\\* |")
                && !text.contains("| difference |")
        );
    }

    #[test]
    fn a_failed_row_says_why() {
        assert!(
            section_of(true)
                .contains("| **GRU normal** | seed 0 | FAILED: error: the loss is NaN at step 7")
        );
    }
}
