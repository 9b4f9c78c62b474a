//! Tables of the HTML page: one row per system, all facts about a column in one cell.

use maud::{Markup, html};
use prl_dataset::{Kind, Split};
use prl_eval::Metric;
use prl_experiments::outcome::{KINDS, METRICS, kind_name, split_title};
use prl_experiments::result_table::{Cell, ResultTable};
use prl_experiments::significance::TestResult;
use prl_experiments::table_row::TableRow;

use crate::html::table as scrolling_table;

/// Results on one split, ours and the paper's: one table per kind of events.
pub fn results<'a>(table: &ResultTable<'a>, split: Split) -> Markup {
    html! {
        @for kind in KINDS {
            (kind_table(table, split, kind, |row: &TableRow<'a>, metric| {
                let is_best = is_best(table, row, split, (kind, metric));
                result_cell(&table.cell(row, split, (kind, metric)), metric, is_best)
            }))
        }
    }
}

/// Significance tests on the test split: one table per kind of events.
pub fn tests<'a>(table: &ResultTable<'a>) -> Markup {
    html! {
        @for kind in KINDS {
            (kind_table(table, Split::Test, kind, |row: &TableRow<'a>, metric| {
                test_cell(table.cell(row, Split::Test, (kind, metric)).test)
            }))
        }
    }
}

fn kind_table<'a>(
    table: &ResultTable<'a>,
    split: Split,
    kind: Kind,
    cell: impl Fn(&TableRow<'a>, Metric) -> Markup,
) -> Markup {
    let kind = kind_name(kind);
    let title = format!("{}, {kind}s", split_title(split));
    let plural = format!("{kind}s");
    let mut header = vec![plural.as_str()];
    header.extend(METRICS.iter().map(|metric| metric.name()));
    let mut rows = Vec::new();
    let mut group = None;
    for row in &table.rows {
        let encoder = row.system.encoder_title().unwrap_or("No encoder");
        if group.replace(encoder) != Some(encoder) {
            rows.push(group_row(encoder));
        }
        rows.push(system_rows(row, &cell));
    }
    let rows = html! { @for row in &rows { (row) } };
    html! {
        h3 { (title) }
        "\n"
        (scrolling_table(&format!("{}: {title}", table.title()), &header, rows))
    }
}

fn group_row(encoder: &str) -> Markup {
    html! {
        tr class="group" {
            th scope="colgroup" { (encoder) }
            td colspan=(METRICS.len()) {}
        }
        "\n"
    }
}

/// Rows of a system: its results, and one row for each run without results.
fn system_rows<'a>(row: &TableRow<'a>, cell: &impl Fn(&TableRow<'a>, Metric) -> Markup) -> Markup {
    let mut lines = Vec::new();
    if !row.done.is_empty() {
        lines.push(html! { @for metric in METRICS { (cell(row, metric)) } });
    }
    let width = METRICS.len();
    for (seed, failure) in &row.failed {
        lines.push(html! {
            td colspan=(width) class="failed" { "seed " (seed) " FAILED: " (failure.message) }
        });
    }
    if !row.pending.is_empty() {
        let seeds: Vec<String> = row.pending.iter().map(u64::to_string).collect();
        lines.push(html! {
            td colspan=(width) class="none" { "seed " (seeds.join(", ")) ": not run yet" }
        });
    }
    let class = row.system.is_paper_prl().then_some("prl");
    html! {
        @for (i, cells) in lines.iter().enumerate() {
            tr class=[class] {
                @if i == 0 {
                    th scope="row" {
                        (row.system.method_title())
                        small { @if !row.done.is_empty() { (row.seeds()) } }
                    }
                } @else {
                    th {}
                }
                (cells)
            }
            "\n"
        }
    }
}

/// Cell with our result, its interval, the paper's result, and the difference.
fn result_cell(cell: &Cell<'_>, metric: Metric, is_best: bool) -> Markup {
    let Some(ours) = cell.ours else {
        return empty_cell();
    };
    let class = is_best.then_some("best");
    html! {
        td class=[class] {
            (format!("{:.4}", ours.mean))
            (star(cell.test))
            @if ours.max > ours.min {
                small title="least and largest over the seeds" {
                    (format!("{:.4}\u{2013}{:.4}", ours.min, ours.max))
                }
            }
            @if let Some(interval) = cell.interval {
                small title="95% interval of the first seed" {
                    (format!("[{:.3}, {:.3}]", interval.lo, interval.hi))
                }
            }
            @if let Some((paper, is_starred)) = cell.paper {
                small class="paper" {
                    (format!("paper {paper:.4}"))
                    @if is_starred { "*" }
                }
            }
            @if let Some((difference, is_within)) = cell.difference {
                (difference_mark(difference, metric.is_share().then_some(is_within)))
            }
        }
    }
}

/// Difference from the paper, with a mark if there is a tolerance to be within.
fn difference_mark(difference: f64, is_within: Option<bool>) -> Markup {
    let (class, mark) = match is_within {
        Some(true) => ("good", " \u{2713}"),
        Some(false) => ("bad", " \u{2717}"),
        None => ("", ""),
    };
    html! { small class=(class) { (signed(difference)) (mark) } }
}

fn star(test: Option<&TestResult>) -> Markup {
    match test {
        Some(test) if test.is_starred() && test.comparison.difference > 0.0 => {
            html! { abbr title="significantly better" { "*" } }
        }
        Some(test) if test.is_starred() => {
            html! { abbr title="significantly worse" { "*\u{25be}" } }
        }
        _ => html! {},
    }
}

fn test_cell(test: Option<&TestResult>) -> Markup {
    let Some(test) = test else {
        return empty_cell();
    };
    html! {
        td {
            (signed(test.comparison.difference))
            @if let Some(interval) = test.comparison.interval {
                small { (signed(interval.lo)) " to " (signed(interval.hi)) }
            }
            small {
                (format!("p {:.3} against {}", test.p, test.baseline.method_title()))
            }
        }
    }
}

fn empty_cell() -> Markup {
    html! { td class="none" { "\u{2013}" } }
}

fn signed(x: f64) -> String {
    format!("{x:+.4}").replace('-', "\u{2212}")
}

/// Whether a mean is the highest of its encoder in a column, among several.
fn is_best<'a>(
    table: &ResultTable<'a>,
    row: &TableRow<'a>,
    split: Split,
    column: (Kind, Metric),
) -> bool {
    let Some(own) = table.cell(row, split, column).ours else {
        return false;
    };
    let mut means = 0;
    for other in &table.rows {
        if other.system.encoder != row.system.encoder {
            continue;
        }
        if let Some(ours) = table.cell(other, split, column).ours {
            means += 1;
            if ours.mean > own.mean {
                return false;
            }
        }
    }
    means > 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use prl_experiments::run_spec::Filter;
    use prl_experiments::significance::TestCache;
    use prl_experiments::{fixture, paper};

    fn with_panel(synthetic: bool, check: impl Fn(&ResultTable<'_>)) {
        let dir = tempfile::tempdir().unwrap();
        let filter = Filter {
            methods: ["normal", "sqn", "prl"].map(str::to_owned).into(),
            encoders: vec!["gru".into()],
        };
        let experiment = fixture::experiment(dir.path(), 2, synthetic, filter);
        let skill = |system: &prl_experiments::matrix::System| match system.method {
            "normal" => Some(0.2),
            "prl" => Some(0.5),
            _ => None,
        };
        let outcomes = fixture::outcomes(&experiment, skill);
        let paper = paper::load().unwrap();
        check(&ResultTable::all(&experiment, &outcomes, &paper, &TestCache::default())[0]);
    }

    #[test]
    fn cell_contains_mean_star_paper_and_difference() {
        with_panel(false, |panel| {
            let html = results(panel, Split::Test).into_string();
            assert!(
                html.contains(
                    "<td class=\"best\">0.5000<abbr title=\"significantly better\">*</abbr>"
                ),
                "{html}"
            );
            assert!(
                html.contains(
                    "<small class=\"paper\">paper 0.4514*</small><small class=\"bad\">+0.0486 \u{2717}</small>"
                )
            );
            assert!(html.contains("<td>0.2000<small") && html.contains("\u{2212}0.1994 \u{2717}"));
        });
    }

    #[test]
    fn synthetic_data_has_no_difference_and_validation_no_paper() {
        with_panel(true, |panel| {
            assert!(
                !results(panel, Split::Test)
                    .into_string()
                    .contains("\u{2717}")
            );
            assert!(!results(panel, Split::Val).into_string().contains("paper"));
        });
    }

    #[test]
    fn failure_message_is_escaped() {
        with_panel(true, |panel| {
            let html = results(panel, Split::Test).into_string();
            assert!(
                html.contains("seed 0 FAILED: error: the loss is NaN at step 7: &lt;diverged&gt; &amp; stopped</td>")
            );
            assert_eq!(
                html.matches("FAILED").count(),
                2 * 2,
                "two seeds, purchases and clicks"
            );
        });
    }

    #[test]
    fn tests_name_their_baseline() {
        with_panel(true, |panel| {
            let html = tests(panel).into_string();
            assert!(
                html.contains("<td>+0.3000<small>+0.") && html.contains("against normal</small>"),
                "{html}"
            );
        });
    }
}
