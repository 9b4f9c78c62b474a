//! CSV files with the numbers of all pages: one per table, and one line per run, validation and
//! prompt.

use anyhow::Result;
use csv::Writer;
use prl_dataset::{Kind, Split};
use prl_eval::Metric;
use prl_experiments::experiment::{Experiment, PlannedRun};
use prl_experiments::outcome::{Outcome, RunResults, SPLITS, columns, kind_name, value};
use prl_experiments::paper::column_name;
use prl_experiments::result_table::{Cell, ResultTable};
use prl_experiments::table_row::TableRow;

use crate::table1;

type Buffer = Writer<Vec<u8>>;

fn start(header: &[&str]) -> Result<Buffer> {
    let mut csv = Writer::from_writer(Vec::new());
    csv.write_record(header)?;
    Ok(csv)
}

fn finish(csv: Buffer) -> Result<String> {
    Ok(String::from_utf8(csv.into_inner()?)?)
}

/// Numbers of a table on all its logs, in the columns of the paper's tables.
///
/// # Errors
/// If a record cannot be written.
pub fn table(tables: &[&ResultTable<'_>]) -> Result<String> {
    let names = columns().map(|(kind, metric)| column_name(kind, metric));
    let mut header = vec![
        "table", "dataset", "data", "split", "encoder", "method", "what", "seeds",
    ];
    header.extend(names.iter().map(String::as_str));
    let mut csv = start(&header)?;
    for table in tables {
        for split in SPLITS {
            for row in &table.rows {
                write_row(&mut csv, table, split, row)?;
            }
        }
    }
    finish(csv)
}

/// Writes the lines of a row: one per quantity, and one per failure.
fn write_row<'a>(
    csv: &mut Buffer,
    table: &ResultTable<'a>,
    split: Split,
    row: &TableRow<'a>,
) -> Result<()> {
    let cells = columns().map(|column| table.cell(row, split, column));
    let mut lines = Vec::new();
    for (quantity, of) in QUANTITIES {
        let values = cells.each_ref().map(of);
        if values.iter().any(Option::is_some) {
            let values = values.map(Option::unwrap_or_default);
            lines.push((quantity.to_owned(), values));
        }
    }
    for (seed, failure) in &row.failed {
        let quantity = format!("seed {seed} FAILED: {}", failure.message);
        lines.push((quantity, Default::default()));
    }
    for (quantity, values) in lines {
        let mut record = vec![
            table.table.number.to_string(),
            table.dataset.source.name.to_owned(),
            table.dataset.kind().to_owned(),
            split.name().to_owned(),
            row.system.encoder.unwrap_or_default().to_owned(),
            row.system.method_name(),
            quantity,
            row.seed_list(" "),
        ];
        record.extend(values);
        csv.write_record(record)?;
    }
    Ok(())
}

type Quantity = fn(&Cell<'_>) -> Option<String>;

/// Quantities of a cell, with their names in the column `what`. The baseline of a test is called
/// `rival` there, so that scripts for older files keep working.
const QUANTITIES: [(&str, Quantity); 11] = [
    ("mean", |cell| Some(share(cell.ours?.mean))),
    ("seed_min", |cell| Some(share(cell.ours?.min))),
    ("seed_max", |cell| Some(share(cell.ours?.max))),
    ("interval_lo", |cell| Some(share(cell.interval?.lo))),
    ("interval_hi", |cell| Some(share(cell.interval?.hi))),
    ("paper", |cell| Some(share(cell.paper?.0))),
    ("paper_starred", |cell| Some(flag(cell.paper?.1))),
    ("difference", |cell| Some(share(cell.difference?.0))),
    ("rival", |cell| Some(cell.test?.baseline.method_name())),
    ("rival_difference", |cell| {
        Some(share(cell.test?.comparison.difference))
    }),
    ("rival_p_holm", |cell| Some(share(cell.test?.p))),
];

fn share(x: f64) -> String {
    format!("{x:.6}")
}

fn flag(is_set: bool) -> String {
    u8::from(is_set).to_string()
}

/// Table 1.
///
/// # Errors
/// If a record cannot be written.
pub fn table1(experiment: &Experiment) -> Result<String> {
    let mut csv = start(&[
        "what",
        "dataset",
        "sessions",
        "items",
        "clicks",
        "purchases",
    ])?;
    for row in table1::rows(experiment) {
        let mut record = vec![row.title.clone(), row.hash.to_owned()];
        record.extend(row.numbers().map(|n| n.to_string()));
        csv.write_record(record)?;
    }
    finish(csv)
}

/// The finished runs of an experiment.
fn finished<'a>(
    experiment: &'a Experiment,
    outcomes: &'a [Outcome],
) -> Vec<(&'a PlannedRun, &'a RunResults)> {
    let mut finished = Vec::new();
    for (run, outcome) in experiment.runs.iter().zip(outcomes) {
        if let Outcome::Done(results) = outcome {
            finished.push((run, results.as_ref()));
        }
    }
    finished
}

/// Learning curves: one line per validation.
///
/// # Errors
/// If a record cannot be written.
pub fn curves(experiment: &Experiment, outcomes: &[Outcome]) -> Result<String> {
    let mut csv = start(&[
        "log",
        "encoder",
        "method",
        "seed",
        "step",
        "val purchase HR@5",
        "val click HR@20",
    ])?;
    for (run, results) in finished(experiment, outcomes) {
        let system = &run.spec.system;
        for point in &results.curve {
            let purchase = value(&point.val, Kind::Purchase, Metric::Hr5);
            let click = value(&point.val, Kind::Click, Metric::Hr20);
            csv.write_record([
                experiment.dataset(run).source.name,
                system.encoder.unwrap_or_default(),
                &system.method_name(),
                &run.spec.seed.to_string(),
                &point.step.to_string(),
                &purchase.map(share).unwrap_or_default(),
                &click.map(share).unwrap_or_default(),
            ])?;
        }
    }
    finish(csv)
}

/// Figures 4 and 5: one line per run and prompt.
///
/// # Errors
/// If a record cannot be written.
pub fn prompts(experiment: &Experiment, outcomes: &[Outcome]) -> Result<String> {
    let mut csv = start(&[
        "log",
        "data",
        "encoder",
        "method",
        "seed",
        "mu",
        "eps",
        "tilt",
        "test reward@1",
    ])?;
    for (run, results) in finished(experiment, outcomes) {
        let dataset = experiment.dataset(run);
        for result in &results.prompt_results {
            csv.write_record([
                dataset.source.name,
                dataset.kind(),
                run.spec.system.encoder.unwrap_or_default(),
                run.spec.system.method,
                &run.spec.seed.to_string(),
                &result.prompt.mu.to_string(),
                &result.prompt.eps.to_string(),
                &result.prompt.tilt.to_string(),
                &result.reward_at_1.to_string(),
            ])?;
        }
    }
    finish(csv)
}

/// Columns of a run before its metrics.
const RUN_COLUMNS: [&str; 11] = [
    "log",
    "data",
    "dataset",
    "encoder",
    "method",
    "seed",
    "status",
    "model",
    "best_step",
    "steps",
    "seconds",
];
/// Columns of a run after its metrics.
const HARDWARE_COLUMNS: [&str; 6] = [
    "test reward@1",
    "threads",
    "device",
    "processor",
    "gpu",
    "commit",
];

/// All runs: one line each, with identity, training, every metric and hardware.
///
/// # Errors
/// If a record cannot be written.
pub fn runs(experiment: &Experiment, outcomes: &[Outcome]) -> Result<String> {
    let mut metrics = Vec::new();
    for split in SPLITS {
        for (kind, metric) in columns() {
            metrics.push(format!("{} {} {metric}", split.name(), kind_name(kind)));
        }
    }
    let mut header = RUN_COLUMNS.to_vec();
    header.extend(metrics.iter().map(String::as_str));
    header.extend(HARDWARE_COLUMNS);
    let mut csv = start(&header)?;
    for (run, outcome) in experiment.runs.iter().zip(outcomes) {
        let dataset = experiment.dataset(run);
        let system = &run.spec.system;
        let mut record = vec![
            dataset.source.name.to_owned(),
            dataset.kind().to_owned(),
            dataset.manifest.dataset.clone(),
            system.encoder.unwrap_or_default().to_owned(),
            system.method_name(),
            run.spec.seed.to_string(),
        ];
        match outcome {
            Outcome::Pending => record.push("not run".into()),
            Outcome::Failed(failure) => record.push(format!("FAILED: {}", failure.message)),
            Outcome::Done(results) => record.extend(result_fields(results)),
        }
        record.resize(header.len(), String::new());
        csv.write_record(&record)?;
    }
    finish(csv)
}

/// Fields of a finished run from `status` on.
fn result_fields(results: &RunResults) -> Vec<String> {
    let manifest = &results.manifest;
    let mut fields = vec![
        "done".to_owned(),
        manifest.model.clone(),
        manifest.best_step.to_string(),
        manifest.steps.to_string(),
        format!("{:.1}", manifest.seconds),
    ];
    for split in SPLITS {
        let scores = &results.report(split).scores;
        for (kind, metric) in columns() {
            fields.push(value(scores, kind, metric).map(share).unwrap_or_default());
        }
    }
    let machine = &results.machine;
    fields.extend([
        format!("{:.1}", results.test.scores.reward_at_1),
        manifest.machine.threads.to_string(),
        manifest.machine.device.clone(),
        machine.processor.clone(),
        machine.gpu.clone().unwrap_or_default(),
        machine.commit.clone(),
    ]);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use prl_experiments::run_spec::Filter;
    use prl_experiments::significance::TestCache;
    use prl_experiments::{fixture, paper};

    fn filter() -> Filter {
        Filter {
            methods: ["normal", "sac", "prl"].map(str::to_owned).into(),
            encoders: vec!["gru".into()],
        }
    }

    #[test]
    fn csv_files_have_equal_columns_and_all_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let experiment = fixture::experiment(dir.path(), 1, false, filter());
        let outcomes = fixture::outcomes(&experiment, |system| {
            (system.method != "sac").then_some(0.5)
        });
        let paper = paper::load().unwrap();
        let panels = ResultTable::all(&experiment, &outcomes, &paper, &TestCache::default());
        let table = table(&panels.iter().collect::<Vec<_>>()).unwrap();
        for text in [
            &table,
            &runs(&experiment, &outcomes).unwrap(),
            &curves(&experiment, &outcomes).unwrap(),
        ] {
            // A record of another length would be an error.
            assert!(
                csv::Reader::from_reader(text.as_bytes())
                    .records()
                    .all(|record| record.is_ok()),
                "{text}"
            );
        }
        assert!(
            table.contains("2,rc15,real,test,gru,prl,paper,0,0.451400,"),
            "{table}"
        );
        assert!(table.contains("gru,prl,paper_starred,0,1,0,1,"), "{table}");
        assert!(
            table.contains("2,rc15,real,test,gru,prl,rival,0,normal,"),
            "{table}"
        );
        assert!(
            table.contains("gru,sac,seed 0 FAILED: error: the loss is NaN at step 7"),
            "{table}"
        );
        assert!(
            table1(&experiment)
                .unwrap()
                .contains("\"RC15, the paper\",,200000,26702,1110965,43946")
        );
        assert_eq!(
            prompts(&experiment, &outcomes).unwrap().lines().count(),
            1 + 2 * 20,
            "20 prompts on two logs"
        );
    }
}
