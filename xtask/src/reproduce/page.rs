//! The pages: one that shows it all, one for each table, and a CSV line for each run.

use std::path::Path;

use anyhow::Result;

use super::outcome::{Kind, METRICS, Outcome};
use super::paper::{self, PaperRow};
use super::study::{Split, Study};
use super::tables::Table;
use crate::files::{markdown_table, write_whole};

/// Writes all pages to `out`, each whole.
pub fn write(study: &Study, outcomes: &[Outcome], paper: &[PaperRow], out: &Path) -> Result<()> {
    let tables: Vec<Table<'_>> =
        (0..study.datasets.len()).map(|dataset| Table::new(study, dataset, outcomes, paper)).collect();
    for (dataset, table) in study.datasets.iter().zip(&tables) {
        let name = format!("table{}", dataset.source.table);
        write_whole(&out.join(&name).with_extension("md"), table.to_markdown())?;
        write_whole(&out.join(&name).with_extension("csv"), table.to_csv()?)?;
    }
    write_whole(&out.join("runs.csv"), runs(study, outcomes)?)?;
    write_whole(&out.join("curves.csv"), curves(study, outcomes)?)?;
    write_whole(&out.join("README.md"), front(study, outcomes, &tables))
}

fn front(study: &Study, outcomes: &[Outcome], tables: &[Table<'_>]) -> String {
    let mut text: String = study.datasets.iter().filter_map(|dataset| dataset.stamp()).collect();
    let count = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| wanted(outcome)).count();
    let (done, failed) = (count(|o| matches!(o, Outcome::Done(_))), count(|o| matches!(o, Outcome::Failed(_))));
    text += &format!("# Results, {} scale\n\n", study.scale.name());
    text += &format!("{done} of {} runs are done, {failed} failed. {}.\n\n", outcomes.len(), study.version);
    text += &format!("## What it ran on\n\n{}", study.machine.to_markdown());
    text += &format!("\n## Table 1: the data\n\n{}", table1(study));
    for (dataset, table) in study.datasets.iter().zip(tables) {
        let source = dataset.source;
        text += &format!("\n## Table {}: {} ({}), test split\n\n", source.table, source.title, dataset.kind());
        text += &format!("Each run: {}.", study.schedule(dataset).describe());
        if let Some(why) = study.incomparable(dataset) {
            text += &format!(" The paper's numbers are for orientation only: {why}.");
        }
        if let Some((within, all)) = table.verdicts() {
            text += &format!(" {within} of {all} HRs lie within {} of the paper's.", paper::TOLERANCE);
        }
        let name = format!("table{}", source.table);
        text += &format!(" [Both splits, with intervals]({name}.md), [as CSV]({name}.csv).\n\n{}", table.summary());
    }
    text += "\nNot run: the paper's other encoders (Caser, NextItNet, SASRec), SQN and SAC, Tables 4 and 5, Figures 4 and \
             5. [Every run](runs.csv) and [every validation](curves.csv), with its seed, model, dataset, steps and seconds.\n";
    text
}

fn table1(study: &Study) -> String {
    let header = ["", "dataset", "sessions", "items", "clicks", "purchases"];
    let mut rows = Vec::new();
    for dataset in &study.datasets {
        let source = dataset.source;
        let mut row = |what: String, hash: &str, c: super::data::Counts| {
            let counts = [c.sessions, c.items, c.clicks, c.purchases].map(|n| n.to_string());
            rows.push([what, hash.to_owned()].into_iter().chain(counts).collect());
        };
        let counts = &dataset.manifest.counts;
        let hash = &dataset.manifest.dataset;
        row(format!("{} ({})", source.title, dataset.kind()), hash, counts.before_length_filter);
        row(format!("{}, at most 50 events", source.title), hash, counts.after_length_filter);
        if let Some(paper) = paper::counts(source.name) {
            row(format!("{}, the paper", source.title), "", paper);
        }
    }
    markdown_table(&header, 2, &rows)
}

/// One line a validation: the learning curves.
fn curves(study: &Study, outcomes: &[Outcome]) -> Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["log", "encoder", "method", "seed", "step", "val purchase HR@5", "val click HR@20"])?;
    for (run, outcome) in study.runs.iter().zip(outcomes) {
        let Outcome::Done(finished) = outcome else { continue };
        for point in &finished.curve {
            let (log, seed) = (study.dataset(run).source.name, run.spec.seed.to_string());
            let share = |x: Option<f64>| x.map(|x| format!("{x:.6}")).unwrap_or_default();
            let (purchase, click) = (share(point.purchase_hr5), share(point.click_hr20));
            let encoder = run.spec.encoder.unwrap_or_default();
            csv.write_record([log, encoder, run.spec.method, &seed, &point.step.to_string(), &purchase, &click])?;
        }
    }
    Ok(String::from_utf8(csv.into_inner()?)?)
}

/// One line a run: what it was and everything it measured.
fn runs(study: &Study, outcomes: &[Outcome]) -> Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let metrics: Vec<(Split, Kind, &str)> = Split::ALL
        .into_iter()
        .flat_map(|split| Kind::ALL.into_iter().flat_map(move |kind| METRICS.map(move |metric| (split, kind, metric))))
        .collect();
    let head =
        ["log", "data", "dataset", "encoder", "method", "seed", "status", "model", "best_step", "steps", "seconds"];
    let columns = metrics.iter().map(|(split, kind, metric)| format!("{} {} {metric}", split.name(), kind.name()));
    let extra = ["test reward@1", "threads", "device", "processor", "commit"].map(str::to_owned);
    csv.write_record(head.map(str::to_owned).into_iter().chain(columns).chain(extra))?;
    for (run, outcome) in study.runs.iter().zip(outcomes) {
        let dataset = study.dataset(run);
        let encoder = run.spec.encoder.unwrap_or_default();
        let what = [dataset.source.name, dataset.kind(), &dataset.manifest.dataset, encoder, run.spec.method];
        let mut line: Vec<String> = what.map(str::to_owned).into();
        line.push(run.spec.seed.to_string());
        match outcome {
            Outcome::Pending => line.push("not run".into()),
            Outcome::Failed(why) => line.push(format!("FAILED: {why}")),
            Outcome::Done(f) => {
                let m = &f.manifest;
                line.extend(["done".into(), m.model.clone(), m.best_step.to_string(), m.steps.to_string()]);
                line.push(format!("{:.1}", m.seconds));
                let value = |&(split, kind, metric): &(Split, Kind, &str)| split.of(f).value(kind, metric);
                line.extend(metrics.iter().map(|m| value(m).map(|v| format!("{v:.6}")).unwrap_or_default()));
                line.extend([format!("{:.1}", f.test.reward_at_1), m.machine.threads.to_string()]);
                line.extend([m.machine.device.clone(), f.machine.processor.clone(), f.machine.commit.clone()]);
            }
        }
        line.resize(head.len() + metrics.len() + 5, String::new());
        csv.write_record(&line)?;
    }
    Ok(String::from_utf8(csv.into_inner()?)?)
}
