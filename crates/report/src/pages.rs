//! All report files of an experiment, each written atomically: the front page, one page per table,
//! drawings, and CSV files with the numbers.

use std::path::Path;

use anyhow::Result;
use prl_dataset::Kind;
use prl_experiments::experiment::Experiment;
use prl_experiments::matrix::TABLES;
use prl_experiments::outcome::{KINDS, Outcome, kind_name};
use prl_experiments::paper::PaperRow;
use prl_experiments::prompt_sweep::{FIGURES, PromptFigure};
use prl_experiments::result_table::ResultTable;
use prl_experiments::significance::TestCache;
use prl_experiments::write_file;

use crate::markdown_table::markdown_table;
use crate::provenance::{self, RunCounts};
use crate::{csv, figures, html_page, line_chart, markdown, svg, table1};

/// Writer of the report of one experiment.
pub struct ReportWriter<'a> {
    /// Experiment.
    pub experiment: &'a Experiment,
    /// Rows of the paper's tables.
    pub paper: &'a [PaperRow],
    /// Cache of significance tests, kept from one report to the next.
    pub cache: TestCache,
    /// Directory of the files.
    pub out: &'a Path,
}

impl ReportWriter<'_> {
    /// Writes all files for the current outcomes.
    ///
    /// # Errors
    /// If a chart cannot be drawn or a file cannot be written.
    pub fn write(&self, outcomes: &[Outcome]) -> Result<()> {
        let tables = ResultTable::all(self.experiment, outcomes, self.paper, &self.cache);
        self.write_tables(&tables)?;
        self.write_drawings(outcomes, &tables)?;
        let experiment = self.experiment;
        self.file("runs.csv", csv::runs(experiment, outcomes)?)?;
        self.file("curves.csv", csv::curves(experiment, outcomes)?)?;
        self.file("answers.csv", csv::prompts(experiment, outcomes)?)?;
        let page = html_page::page(experiment, outcomes, &tables)?;
        self.file("index.html", page)?;
        // Last: tests and scripts wait for this file.
        self.file("README.md", front_page(experiment, outcomes, &tables))
    }

    fn file(&self, name: &str, text: String) -> Result<()> {
        write_file(&self.out.join(name), text)
    }

    fn write_tables(&self, tables: &[ResultTable<'_>]) -> Result<()> {
        for table in &TABLES {
            let number = table.number;
            let own = tables.iter().filter(|table| table.table.number == number);
            let own: Vec<&ResultTable<'_>> = own.collect();
            if own.is_empty() {
                continue;
            }
            let mut sections = Vec::new();
            for table in &own {
                sections.push(markdown::section(table));
            }
            self.file(&format!("table{number}.md"), sections.join("\n\n"))?;
            self.file(&format!("table{number}.csv"), csv::table(&own)?)?;
        }
        let counts = table1_markdown(self.experiment);
        self.file("table1.md", format!("# Table 1: the data\n\n{counts}"))?;
        self.file("table1.csv", csv::table1(self.experiment)?)
    }

    fn write_drawings(&self, outcomes: &[Outcome], tables: &[ResultTable<'_>]) -> Result<()> {
        for table in tables {
            if table.table.is_main() {
                for (kind, plot) in KINDS.into_iter().zip(figures::main_results(table)) {
                    let drawing = svg::standalone(&plot.svg()?);
                    self.file(&main_plot_file(table, kind), drawing)?;
                }
            }
            for curve in figures::learning_curves(table) {
                let drawing = svg::standalone(&line_chart::svg(&[curve.chart])?);
                self.file(&format!("curves/{}.svg", curve.name), drawing)?;
            }
        }
        for figure in &FIGURES {
            let mut charts = Vec::new();
            for chart in figures::prompt_charts(self.experiment, outcomes, figure) {
                charts.push(chart.chart);
            }
            if !charts.is_empty() {
                let drawing = svg::standalone(&line_chart::svg(&charts)?);
                self.file(&format!("{}.svg", figure.id), drawing)?;
            }
        }
        Ok(())
    }
}

/// File name of a table's main plot.
fn main_plot_file(table: &ResultTable<'_>, kind: Kind) -> String {
    format!("table{}-{}.svg", table.table.number, kind_name(kind))
}

/// `README.md`: the report in short, with links to the other files.
fn front_page(experiment: &Experiment, outcomes: &[Outcome], tables: &[ResultTable<'_>]) -> String {
    let mut text = String::new();
    for dataset in &experiment.datasets {
        text += &dataset.stamp().unwrap_or_default();
    }
    text += &format!(
        "# Results, {} scale\n\n{} {}, code `{}`.\n\n\
         The same as one page to look at: [index.html](index.html).\n\n",
        experiment.request.scale.name(),
        RunCounts::of(outcomes).describe(),
        experiment.version,
        experiment.code
    );
    text += &provenance_sections(experiment, outcomes);
    text += &format!(
        "\n## Table 1: the data\n\n{}\n[As CSV](table1.csv).\n",
        table1_markdown(experiment)
    );
    for table in tables {
        text += &table_section(table);
    }
    for figure in &FIGURES {
        text += &figure_section(experiment, outcomes, figure);
    }
    text + "\n[Every run](runs.csv), [every validation](curves.csv) and [every answer to another \
            prompt](answers.csv), with seeds, models, datasets, steps and seconds.\n"
}

fn provenance_sections(experiment: &Experiment, outcomes: &[Outcome]) -> String {
    let mut text = "## What it ran on\n".to_owned();
    for (machine, share) in provenance::machines(outcomes) {
        text += &format!("\n{}- made: {share}\n", machine.to_markdown());
    }
    text += "\n## What it is not\n\n";
    for sentence in provenance::deviations(experiment) {
        text += &format!("- {sentence}\n");
    }
    let failures = provenance::failures(experiment, outcomes);
    if !failures.is_empty() {
        text += "\n## What failed\n\n";
        for failure in failures {
            text += &format!("- {}\n", failure.describe());
        }
    }
    text
}

fn table_section(table: &ResultTable<'_>) -> String {
    let mut text = format!(
        "\n## {} ({}), test split\n\n",
        table.title(),
        table.dataset.kind()
    );
    if let Some(why) = &table.incomparable {
        text += &format!("The paper's numbers are for orientation only: {why}. ");
    }
    if let Some(tally) = table.tally().describe() {
        text += &format!("{tally} ");
    }
    let name = format!("table{}", table.table.number);
    text +=
        &format!("[Both splits, with intervals and tests]({name}.md), [as CSV]({name}.csv).\n\n");
    if table.table.is_main() {
        for kind in KINDS {
            let file = main_plot_file(table, kind);
            text += &format!("![HR@20, {}s]({file})\n", kind_name(kind));
        }
    }
    text + &format!("\n{}", markdown::summary(table))
}

fn figure_section(experiment: &Experiment, outcomes: &[Outcome], figure: &PromptFigure) -> String {
    let PromptFigure { id, heading, .. } = figure;
    let charts = figures::prompt_charts(experiment, outcomes, figure);
    if charts.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\n## {heading}: {}\n\n![{heading}]({id}.svg)\n\n",
        figure.title()
    );
    for chart in charts {
        let source = chart.dataset.source;
        if let Some(finding) = figure.finding(source.name) {
            text += &format!("- {}, the paper: reward@1 {finding}.\n", source.title);
        }
        for finding in &chart.findings {
            text += &format!("- {}, {finding}.\n", chart.chart.title);
        }
    }
    text
}

fn table1_markdown(experiment: &Experiment) -> String {
    let mut rows = Vec::new();
    for row in table1::rows(experiment) {
        let mut cells = vec![row.title.clone(), row.hash.to_owned()];
        cells.extend(row.numbers().map(|n| n.to_string()));
        rows.push(cells);
    }
    let header = ["", "dataset", "sessions", "items", "clicks", "purchases"];
    markdown_table(&header, 2, &rows)
}
