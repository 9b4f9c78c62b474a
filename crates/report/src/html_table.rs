//! The tables of `index.html`: a row a system, in a cell everything that is said of it in that column.

use prl_dataset::{Kind, Split};
use prl_eval::Metric;

use crate::html::{escape, table};
use prl_experiments::outcome::{KINDS, METRICS, kind_name};
use prl_experiments::result_table::{Cell, Panel};
use prl_experiments::table_row::{Row, split_title};

/// Ours and the paper's on one split, a table for each kind of event.
pub fn results(panel: &Panel<'_>, split: Split) -> String {
    let of_kind = |kind: Kind| {
        let cell = |row: &Row<'_>, metric: Metric| {
            result(
                &panel.cell(row, split, kind, metric),
                metric,
                is_best(panel, row, split, kind, metric),
            )
        };
        kind_table(panel, split, kind, &cell)
    };
    KINDS.into_iter().map(of_kind).collect()
}

/// What was tested against what, and what came of it.
pub fn tests(panel: &Panel<'_>) -> String {
    let cell = |kind: Kind| {
        move |row: &Row<'_>, metric: Metric| {
            let cell = panel.cell(row, Split::Test, kind, metric);
            let Some(verdict) = cell.verdict else {
                return "<td class=\"none\">\u{2013}</td>".into();
            };
            let interval = verdict.comparison.interval;
            let interval =
                interval.map(|i| format!("<small>{} to {}</small>", signed(i.lo), signed(i.hi)));
            format!(
                "<td>{}{}<small>p {:.3} against {}</small></td>",
                signed(verdict.comparison.difference),
                interval.unwrap_or_default(),
                verdict.p,
                escape(&verdict.rival.method_title())
            )
        }
    };
    KINDS
        .into_iter()
        .map(|kind| kind_table(panel, Split::Test, kind, &cell(kind)))
        .collect()
}

fn kind_table(
    panel: &Panel<'_>,
    split: Split,
    kind: Kind,
    cell: &dyn Fn(&Row<'_>, Metric) -> String,
) -> String {
    let title = format!("{}, {}s", split_title(split), kind_name(kind));
    let header: Vec<String> = std::iter::once(format!("{}s", kind_name(kind)))
        .chain(METRICS.map(|metric| metric.name().to_owned()))
        .collect();
    let mut rows = String::new();
    let mut group = None;
    for row in &panel.rows {
        let encoder = row.system.encoder_title().unwrap_or("No encoder");
        if group.replace(encoder) != Some(encoder) {
            let width = METRICS.len();
            rows += &format!(
                "<tr class=\"group\"><th scope=\"colgroup\">{encoder}</th><td colspan=\"{width}\"></td></tr>\n"
            );
        }
        rows += &body_row(row, cell);
    }
    format!(
        "<h3>{}</h3>\n{}",
        escape(&title),
        table(&format!("{}: {title}", panel.title()), &header, &rows)
    )
}

/// A row, with a line for each of its runs that failed or is still to come.
fn body_row(row: &Row<'_>, cell: &dyn Fn(&Row<'_>, Metric) -> String) -> String {
    let name = escape(&row.system.method_title());
    let class = if row.system.is_asked() {
        " class=\"prl\""
    } else {
        ""
    };
    let mut missing: Vec<String> = row
        .failed
        .iter()
        .map(|(seed, why)| {
            format!(
                "<td colspan=\"6\" class=\"failed\">seed {seed} FAILED: {}</td>",
                escape(&why.message)
            )
        })
        .collect();
    if !row.pending.is_empty() {
        let seeds: Vec<String> = row.pending.iter().map(u64::to_string).collect();
        missing.push(format!(
            "<td colspan=\"6\" class=\"none\">seed {}: not run yet</td>",
            seeds.join(", ")
        ));
    }
    let mut lines = Vec::new();
    if !row.done.is_empty() {
        lines.push(METRICS.map(|metric| cell(row, metric)).concat());
    }
    lines.extend(missing);
    let first = format!(
        "<th scope=\"row\">{name}<small>{}</small></th>",
        if row.done.is_empty() {
            String::new()
        } else {
            row.seeds()
        }
    );
    let line = |(i, cells): (usize, &String)| {
        let head = if i == 0 { first.as_str() } else { "<th></th>" };
        format!("<tr{class}>{head}{cells}</tr>\n")
    };
    lines.iter().enumerate().map(line).collect()
}

/// Ours above all, then its interval, the paper's, and the difference.
fn result(cell: &Cell<'_>, metric: Metric, is_best: bool) -> String {
    let Some(ours) = cell.ours else {
        return "<td class=\"none\">\u{2013}</td>".into();
    };
    let star = cell
        .verdict
        .filter(|verdict| verdict.is_starred())
        .map_or("", |verdict| {
            if verdict.comparison.difference > 0.0 {
                "<abbr title=\"significantly better\">*</abbr>"
            } else {
                "<abbr title=\"significantly worse\">*\u{25be}</abbr>"
            }
        });
    let mut text = format!(
        "<td{}>{:.4}{star}",
        if is_best { " class=\"best\"" } else { "" },
        ours.mean
    );
    if ours.max > ours.min {
        text += &format!(
            "<small title=\"least and largest over the seeds\">{:.4}\u{2013}{:.4}</small>",
            ours.min, ours.max
        );
    }
    if let Some(interval) = cell.interval {
        text += &format!(
            "<small title=\"95% interval of the first seed\">[{:.3}, {:.3}]</small>",
            interval.lo, interval.hi
        );
    }
    if let Some((paper, starred)) = cell.paper {
        text += &format!(
            "<small class=\"paper\">paper {paper:.4}{}</small>",
            if starred { "*" } else { "" }
        );
    }
    if let Some((difference, is_within)) = cell.difference {
        let (class, mark) = match (metric.is_share(), is_within) {
            (true, true) => ("good", " \u{2713}"),
            (true, false) => ("bad", " \u{2717}"),
            (false, _) => ("", ""),
        };
        text += &format!(
            "<small class=\"{class}\">{}{mark}</small>",
            signed(difference)
        );
    }
    text + "</td>"
}

fn signed(x: f64) -> String {
    format!("{x:+.4}").replace('-', "\u{2212}")
}

/// Whether a mean is the best of its encoder in a column, among several.
fn is_best(panel: &Panel<'_>, row: &Row<'_>, split: Split, kind: Kind, metric: Metric) -> bool {
    let same = panel
        .rows
        .iter()
        .filter(|other| other.system.encoder == row.system.encoder);
    let mean = |row: &Row<'_>| {
        panel
            .cell(row, split, kind, metric)
            .ours
            .map(|ours| ours.mean)
    };
    let means: Vec<f64> = same.filter_map(mean).collect();
    means.len() > 1 && mean(row).is_some_and(|own| means.iter().all(|other| own >= *other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prl_experiments::run_spec::Filter;
    use prl_experiments::significance::Tests;
    use prl_experiments::{fixture, paper};

    fn with_panel(synthetic: bool, check: impl Fn(&Panel<'_>)) {
        let dir = tempfile::tempdir().unwrap();
        let filter = Filter {
            methods: ["normal", "sqn", "prl"].map(str::to_owned).into(),
            encoders: vec!["gru".into()],
        };
        let study = fixture::study(dir.path(), 2, synthetic, filter);
        let skill = |system: &prl_experiments::matrix::System| match system.method {
            "normal" => Some(0.2),
            "prl" => Some(0.5),
            _ => None,
        };
        let outcomes = fixture::outcomes(&study, skill);
        let paper = paper::rows().unwrap();
        check(&Panel::all(&study, &outcomes, &paper, &Tests::default())[0]);
    }

    #[test]
    fn a_cell_says_everything() {
        with_panel(false, |panel| {
            let html = results(panel, Split::Test);
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
    fn made_up_data_has_no_difference_and_no_paper_on_validation() {
        with_panel(true, |panel| {
            assert!(!results(panel, Split::Test).contains("\u{2717}"));
            assert!(!results(panel, Split::Val).contains("paper"));
        });
    }

    #[test]
    fn a_failed_run_is_seen_and_cannot_break_the_page() {
        with_panel(true, |panel| {
            let html = results(panel, Split::Test);
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
    fn tests_name_their_rival() {
        with_panel(true, |panel| {
            let html = tests(panel);
            assert!(
                html.contains("<td>+0.3000<small>+0.") && html.contains("against normal</small>"),
                "{html}"
            );
        });
    }
}
