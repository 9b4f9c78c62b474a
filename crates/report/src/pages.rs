//! All pages of a study, each whole: the front page, one for each table, and the numbers as CSV.

use std::path::Path;

use anyhow::Result;
use prl_dataset::Kind;

use crate::line_chart::Chart;
use crate::markdown_table::markdown_table;
use crate::provenance::{self, Count};
use crate::{csv, figures, html_page, markdown};
use crate::{line_chart, svg};
use prl_experiments::datasets::Counts;
use prl_experiments::experiment::Study;
use prl_experiments::matrix::TABLES;
use prl_experiments::outcome::{KINDS, Outcome, kind_name};
use prl_experiments::paper::{self, PaperRow};
use prl_experiments::prompt_sweep::{FIGURES, Figure};
use prl_experiments::result_table::Panel;
use prl_experiments::significance::Tests;
use prl_experiments::write_file;

/// Writes all pages to `out`.
pub fn write(
    study: &Study,
    outcomes: &[Outcome],
    paper: &[PaperRow],
    tests: &Tests,
    out: &Path,
) -> Result<()> {
    let panels = Panel::all(study, outcomes, paper, tests);
    for table in &TABLES {
        let own: Vec<&Panel<'_>> = panels
            .iter()
            .filter(|panel| panel.table.number == table.number)
            .collect();
        if own.is_empty() {
            continue;
        }
        let name = format!("table{}", table.number);
        let sections: Vec<String> = own.iter().map(|panel| markdown::section(panel)).collect();
        write_file(&out.join(&name).with_extension("md"), sections.join("\n\n"))?;
        write_file(&out.join(&name).with_extension("csv"), csv::table(&own)?)?;
    }
    write_file(
        &out.join("table1.md"),
        format!("# Table 1: the data\n\n{}", table1(study)),
    )?;
    write_file(&out.join("table1.csv"), csv::counts(study)?)?;
    for panel in panels.iter().filter(|panel| panel.table.is_main()) {
        let plots = figures::main_numbers(panel);
        for (kind, plot) in KINDS.into_iter().zip(plots) {
            write_file(
                &out.join(main_plot(panel, kind)),
                svg::standalone(&plot.svg()?),
            )?;
        }
    }
    for figure in &FIGURES {
        let charts: Vec<Chart> = figures::answered(study, outcomes, figure)
            .into_iter()
            .map(|on| on.chart)
            .collect();
        if !charts.is_empty() {
            write_file(
                &out.join(format!("figure{}.svg", figure.number)),
                svg::standalone(&line_chart::svg(&charts)?),
            )?;
        }
    }
    for (name, chart) in panels.iter().flat_map(figures::curves) {
        write_file(
            &out.join("curves").join(name).with_extension("svg"),
            svg::standalone(&line_chart::svg(&[chart])?),
        )?;
    }
    write_file(&out.join("runs.csv"), csv::runs(study, outcomes)?)?;
    write_file(&out.join("curves.csv"), csv::curves(study, outcomes)?)?;
    write_file(&out.join("answers.csv"), csv::answers(study, outcomes)?)?;
    write_file(
        &out.join("index.html"),
        html_page::page(study, outcomes, &panels)?,
    )?;
    write_file(&out.join("README.md"), front(study, outcomes, &panels))
}

fn front(study: &Study, outcomes: &[Outcome], panels: &[Panel<'_>]) -> String {
    let mut text: String = study
        .datasets
        .iter()
        .filter_map(|dataset| dataset.stamp())
        .collect();
    text += &format!("# Results, {} scale\n\n", study.wish.scale.name());
    text += &format!(
        "{} {}, code `{}`.\n\n",
        Count::of(outcomes).describe(),
        study.version,
        study.code
    );
    text += "The same as one page to look at: [index.html](index.html).\n\n";
    text += "## What it ran on\n";
    for (machine, made) in provenance::machines(outcomes) {
        text += &format!("\n{}- made: {made}\n", machine.to_markdown());
    }
    text += "\n## What it is not\n\n";
    provenance::cuts(study)
        .iter()
        .for_each(|cut| text += &format!("- {cut}\n"));
    let failures = provenance::failures(study, outcomes);
    if !failures.is_empty() {
        text += "\n## What failed\n\n";
        failures
            .iter()
            .for_each(|(run, why)| text += &format!("- {run}: {why}\n"));
    }
    text += &format!(
        "\n## Table 1: the data\n\n{}\n[As CSV](table1.csv).\n",
        table1(study)
    );
    for panel in panels {
        text += &format!(
            "\n## {} ({}), test split\n\n",
            panel.title(),
            panel.dataset.kind()
        );
        if let Some(why) = &panel.incomparable {
            text += &format!("The paper's numbers are for orientation only: {why}. ");
        }
        text += &panel
            .tally()
            .describe()
            .map(|tally| format!("{tally} "))
            .unwrap_or_default();
        let name = format!("table{}", panel.table.number);
        text += &format!(
            "[Both splits, with intervals and tests]({name}.md), [as CSV]({name}.csv).\n\n"
        );
        for kind in KINDS.into_iter().filter(|_| panel.table.is_main()) {
            text += &format!(
                "![HR@20, {}s]({})\n",
                kind_name(kind),
                main_plot(panel, kind)
            );
        }
        text += &format!("\n{}", markdown::summary(panel));
    }
    for figure in &FIGURES {
        text += &figure_section(study, outcomes, figure);
    }
    text + "\n[Every run](runs.csv), [every validation](curves.csv) and [every answer to another prompt](answers.csv), with \
            seeds, models, datasets, steps and seconds.\n"
}

/// The file of a panel's main numbers.
fn main_plot(panel: &Panel<'_>, kind: Kind) -> String {
    format!("table{}-{}.svg", panel.table.number, kind_name(kind))
}

fn figure_section(study: &Study, outcomes: &[Outcome], figure: &Figure) -> String {
    let number = figure.number;
    let all = figures::answered(study, outcomes, figure);
    if all.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\n## Figure {number}: {}\n\n![Figure {number}](figure{number}.svg)\n\n",
        figure.title()
    );
    for on in all {
        let source = study.datasets[on.dataset].source;
        text += &format!(
            "- {}, the paper: reward@1 {}.\n",
            source.title,
            (figure.finding)(source.name)
        );
        on.findings
            .iter()
            .for_each(|finding| text += &format!("- {}, {finding}.\n", on.chart.title));
    }
    text
}

/// The rows of Table 1: what is counted, the dataset's hash, and the counts.
pub fn counts(study: &Study) -> Vec<(String, &str, Counts)> {
    let mut rows = Vec::new();
    for dataset in &study.datasets {
        let (title, hash) = (dataset.source.title, dataset.manifest.dataset.as_str());
        let counts = &dataset.manifest.counts;
        rows.push((
            format!("{title} ({})", dataset.kind()),
            hash,
            counts.before_length_filter,
        ));
        rows.push((
            format!("{title}, at most 50 events"),
            hash,
            counts.after_length_filter,
        ));
        rows.extend(
            paper::counts(dataset.source.name)
                .map(|paper| (format!("{title}, the paper"), "", paper)),
        );
    }
    rows
}

fn table1(study: &Study) -> String {
    let row = |(what, hash, c): (String, &str, Counts)| -> Vec<String> {
        let counts = [c.sessions, c.items, c.clicks, c.purchases].map(|n| n.to_string());
        [what, hash.to_owned()].into_iter().chain(counts).collect()
    };
    let rows: Vec<Vec<String>> = counts(study).into_iter().map(row).collect();
    markdown_table(
        &["", "dataset", "sessions", "items", "clicks", "purchases"],
        2,
        &rows,
    )
}
