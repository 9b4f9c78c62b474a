//! `index.html`: the whole experiment on one self-contained page, without scripts and readable on a
//! narrow screen.

use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use prl_dataset::Split;
use prl_experiments::experiment::Experiment;
use prl_experiments::outcome::{Outcome, split_title};
use prl_experiments::paper::TOLERANCE;
use prl_experiments::prompt_sweep::{FIGURES, PromptFigure};
use prl_experiments::result_table::ResultTable;

use crate::figures::{self, PromptChart};
use crate::html::{details, list, prose, table as scrolling_table, thousands};
use crate::provenance::{self, FailureGroup, RunCounts};
use crate::{html_table, line_chart, table1};

/// Renders the page.
///
/// # Errors
/// If a chart cannot be drawn.
pub fn page(
    experiment: &Experiment,
    outcomes: &[Outcome],
    tables: &[ResultTable<'_>],
) -> Result<String> {
    let scale = experiment.request.scale.name();
    let is_synthetic = experiment.datasets.iter().any(|d| d.is_synthetic());
    let mut prompt_figures = Vec::new();
    for figure in &FIGURES {
        prompt_figures.push(prompt_figure(experiment, outcomes, figure)?);
    }
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                title {
                    @if is_synthetic { "SYNTHETIC: " }
                    "PRL, reproduced: " (scale) " scale"
                }
                style { "\n" (PreEscaped(prl_charts::STYLE)) }
            }
            "\n"
            body {
                "\n"
                (top(experiment, outcomes))
                (glance(tables)?)
                (failed(&provenance::failures(experiment, outcomes)))
                (data(experiment))
                @for table in tables {
                    (table_section(table))
                }
                @for figure in &prompt_figures {
                    (figure)
                }
                (learning_curves(tables)?)
                (provenance_section(experiment, outcomes))
            }
        }
        "\n"
    };
    Ok(page.into_string())
}

/// A drawing in its frame.
fn figure(svg: String) -> Markup {
    html! {
        figure { (PreEscaped(svg)) }
        "\n"
    }
}

fn top(experiment: &Experiment, outcomes: &[Outcome]) -> Markup {
    let counts = RunCounts::of(outcomes);
    html! {
        @for dataset in &experiment.datasets {
            @if dataset.is_synthetic() {
                p class="synthetic" role="alert" {
                    strong { "SYNTHETIC DATA" }
                    " made up by " code { "prl synth" } ", NOT " (dataset.source.title)
                    ". Nothing here is a result on " (dataset.source.title) "."
                }
                "\n"
            }
        }
        header {
            "\n"
            h1 { "PRL, reproduced" }
            "\n"
            p class="lead" {
                "The tables and figures of "
                cite {
                    "Rethinking Reinforcement Learning for Recommendation: A Prompt Perspective"
                }
                " (SIGIR \u{2019}22), run by this project: ours beside the paper\u{2019}s."
            }
            "\n"
            p class="chips" {
                span { (experiment.request.scale.name()) " scale" }
                span { (counts.done) " of " (counts.all) " runs done" }
                @if counts.failed > 0 {
                    span class="bad" { (counts.failed) " failed" }
                }
                span { (experiment.version) }
                span { "code " code { (experiment.code) } }
            }
            "\n"
        }
        "\n"
    }
}

fn failed(failures: &[FailureGroup<'_>]) -> Markup {
    let items: Vec<String> = failures.iter().map(FailureGroup::describe).collect();
    html! {
        @if !items.is_empty() {
            section class="failed" id="failed" {
                h2 { "Failed" }
                (list(items.iter().map(String::as_str)))
            }
            "\n"
        }
    }
}

/// One card per table with a link to it, and the main results as plots.
fn glance(tables: &[ResultTable<'_>]) -> Result<Markup> {
    let mut plots = Vec::new();
    for table in tables {
        if table.table.is_main() {
            for plot in figures::main_results(table) {
                plots.push(figure(plot.svg()?));
            }
        }
    }
    let links = [
        (
            "#figure4",
            "Figures 4 and 5",
            "What PRL answers when it is asked for more",
        ),
        (
            "#curves",
            "Learning curves",
            "Every validation of every run",
        ),
        (
            "#made",
            "How it was made",
            "Machines, commit, and what was not run",
        ),
    ];
    Ok(html! {
        section id="glance" {
            h2 { "At a glance" }
            "\n"
            div class="cards" {
                @for table in tables {
                    (card(table))
                }
                @for (href, title, text) in links {
                    a class="card" href=(href) {
                        h3 { (title) }
                        p { (text) }
                    }
                    "\n"
                }
            }
            "\n"
            div class="charts" { @for plot in &plots { (plot) } }
            "\n"
            p class="note" {
                "Dots are ours, bars the 95% intervals of the first seed\u{2019}s cases, and rings \
                 the paper\u{2019}s numbers, where they may be compared."
            }
        }
        "\n"
    })
}

fn card(table: &ResultTable<'_>) -> Markup {
    let tally = table.tally();
    html! {
        a class="card" href={ "#" (section_id(table)) } {
            h3 { "Table " (table.table.number) }
            p {
                (table.dataset.source.title) " (" (table.dataset.kind()) "): " (table.table.title)
            }
            ul {
                @if tally.compared > 0 {
                    li {
                        b { (tally.within) "/" (tally.compared) }
                        " HRs within " (TOLERANCE) " of the paper"
                    }
                }
                @if tally.tested > 0 {
                    li {
                        b { (tally.better) }
                        " of " (tally.tested) " columns significantly better than the baseline, "
                        b { (tally.worse) }
                        " worse"
                    }
                }
                @if tally.paper_starred > 0 {
                    li {
                        b { (tally.agreed) "/" (tally.paper_starred) }
                        " of the paper\u{2019}s stars found here too"
                    }
                }
            }
        }
        "\n"
    }
}

fn section_id(table: &ResultTable<'_>) -> String {
    format!("table{}-{}", table.table.number, table.dataset.source.name)
}

fn data(experiment: &Experiment) -> Markup {
    let rows = html! {
        @for row in table1::rows(experiment) {
            tr {
                th scope="row" {
                    (row.title)
                    @if !row.hash.is_empty() {
                        small { code { (row.hash) } }
                    }
                }
                @for number in row.numbers() {
                    td { (thousands(number)) }
                }
            }
            "\n"
        }
    };
    let header = ["", "sessions", "items", "clicks", "purchases"];
    html! {
        section id="table1" {
            h2 { "Table 1: the data" }
            "\n"
            (scrolling_table("The data", &header, rows))
        }
        "\n"
    }
}

fn table_section(table: &ResultTable<'_>) -> Markup {
    let comparison = match &table.incomparable {
        Some(why) => format!("The paper\u{2019}s numbers are for orientation only: {why}."),
        None => format!("An HR within {TOLERANCE} of the paper\u{2019}s counts as reproduced."),
    };
    let tests = html! {
        (html_table::tests(table))
        p { (prose(&table.star_legend())) }
        "\n"
    };
    html! {
        section id=(section_id(table)) {
            h2 {
                (table.title())
                @if table.dataset.is_synthetic() {
                    " " span class="tag" { "SYNTHETIC" }
                }
            }
            "\n"
            p {
                (prose(&comparison))
                @if let Some(tally) = table.tally().describe() {
                    " " (prose(&tally))
                }
            }
            "\n"
            @if let Some(why) = &table.untested {
                p class="failed" { "Nothing was tested: " (prose(why)) "." }
                "\n"
            }
            p class="note" {
                "In a cell, from above: the mean over the seeds; the least and the largest; [the \
                 95% interval over the first seed\u{2019}s cases: Wilson\u{2019}s for HR, a \
                 bootstrap over sessions for NDCG]; the paper\u{2019}s number; the difference. \
                 Bold is the best of its encoder."
            }
            "\n"
            (html_table::results(table, Split::Test))
            (details("Tests behind the stars", tests))
            (details(split_title(Split::Val), html_table::results(table, Split::Val)))
        }
        "\n"
    }
}

fn prompt_figure(
    experiment: &Experiment,
    outcomes: &[Outcome],
    figure: &PromptFigure,
) -> Result<Markup> {
    let mut charts = Vec::new();
    for chart in figures::prompt_charts(experiment, outcomes, figure) {
        charts.push(prompt_chart(chart, figure)?);
    }
    Ok(html! {
        section id=(figure.id) {
            h2 { (figure.heading) ": " (figure.title()) }
            "\n"
            @if charts.is_empty() {
                p { "No run of PRL is done that was asked for this." }
            } @else {
                p { "Lines are means over the seeds, bands their least and largest." }
                "\n"
                div class="charts" {
                    "\n"
                    @for chart in &charts {
                        (chart)
                    }
                }
            }
        }
        "\n"
    })
}

fn prompt_chart(chart: PromptChart<'_>, figure: &PromptFigure) -> Result<Markup> {
    let source = chart.dataset.source;
    let mut caption = Vec::new();
    if let Some(finding) = figure.finding(source.name) {
        caption.push(format!("{}, the paper: reward@1 {finding}.", source.title));
    }
    for finding in &chart.findings {
        caption.push(format!("Ours, {finding}."));
    }
    let svg = line_chart::svg(&[chart.chart])?;
    Ok(html! {
        figure {
            (PreEscaped(svg))
            figcaption { (list(caption.iter().map(String::as_str))) }
        }
        "\n"
    })
}

fn learning_curves(tables: &[ResultTable<'_>]) -> Result<Markup> {
    let mut groups = Vec::new();
    for table in tables {
        let mut curves = Vec::new();
        for curve in figures::learning_curves(table) {
            curves.push(figure(line_chart::svg(&[curve.chart])?));
        }
        if !curves.is_empty() {
            groups.push((table.title(), curves));
        }
    }
    Ok(html! {
        section id="curves" {
            h2 { "Learning curves" }
            "\n"
            p {
                "Scores on the validation split during training; bands are the least and largest \
                 over the seeds. The weights used are those of the best purchase HR@5."
            }
            "\n"
            @for (title, curves) in &groups {
                h3 { (title) }
                "\n"
                div class="charts" { @for curve in curves { (curve) } }
                "\n"
            }
        }
        "\n"
    })
}

fn provenance_section(experiment: &Experiment, outcomes: &[Outcome]) -> Markup {
    let mut machines = Vec::new();
    for (machine, share) in provenance::machines(outcomes) {
        let mut lines = machine.lines();
        lines.push(format!("made: {share}"));
        machines.push(lines);
    }
    let deviations = provenance::deviations(experiment);
    html! {
        section id="made" {
            h2 { "How it was made" }
            "\n"
            h3 { "On what" }
            "\n"
            @for lines in &machines {
                (list(lines.iter().map(String::as_str)))
            }
            h3 { "What it is not" }
            "\n"
            (list(deviations.iter().map(String::as_str)))
            h3 { "Again" }
            "\n"
            p {
                code { "cargo xtask reproduce" }
                " runs what is not done and writes this page again. Every number lies in "
                a href="runs.csv" { "runs.csv" } ", "
                a href="curves.csv" { "curves.csv" } ", "
                a href="answers.csv" { "answers.csv" }
                " and the table\u{2019}s own CSV beside it."
            }
            "\n"
        }
        "\n"
    }
}
