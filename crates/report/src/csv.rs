//! The numbers of all pages as CSV: a file for each table, a line for each run, each validation and each answer.

use anyhow::Result;
use prl_dataset::{Kind, Split};
use prl_eval::Metric;

use prl_experiments::experiment::Study;
use prl_experiments::outcome::{Outcome, SPLITS, kind_name, value};
use prl_experiments::paper::column;
use prl_experiments::result_table::{Cell, Panel, columns};

/// The numbers of a table's panels, in the columns of the paper's tables.
pub fn table(panels: &[&Panel<'_>]) -> Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let header = [
        "table", "dataset", "data", "split", "encoder", "method", "what", "seeds",
    ]
    .map(str::to_owned);
    csv.write_record(
        header
            .into_iter()
            .chain(columns().map(|(kind, metric)| column(kind, metric))),
    )?;
    for panel in panels {
        for (split, row) in SPLITS
            .into_iter()
            .flat_map(|split| panel.rows.iter().map(move |row| (split, row)))
        {
            let (source, system) = (panel.dataset.source, row.system);
            let seeds: Vec<String> = row.done.iter().map(|(seed, _)| seed.to_string()).collect();
            let (number, method, seeds) = (
                panel.table.number.to_string(),
                method(&system),
                seeds.join(" "),
            );
            let encoder = system.encoder.unwrap_or_default();
            let head = [
                &number,
                source.name,
                panel.dataset.kind(),
                split.name(),
                encoder,
                &method,
            ];
            let mut write = |what: &str, cells: Vec<String>| {
                let line = head
                    .iter()
                    .copied()
                    .chain([what, &seeds])
                    .map(str::to_owned)
                    .chain(cells);
                csv.write_record(line.collect::<Vec<_>>())
            };
            let cells: Vec<Cell<'_>> = columns()
                .map(|(kind, metric)| panel.cell(row, split, kind, metric))
                .collect();
            for (what, of) in NUMBERS {
                let values: Vec<Option<String>> = cells.iter().map(of).collect();
                if values.iter().any(Option::is_some) {
                    write(
                        what,
                        values.into_iter().map(Option::unwrap_or_default).collect(),
                    )?;
                }
            }
            for (seed, failure) in &row.failed {
                write(
                    &format!("seed {seed} FAILED: {}", failure.message),
                    vec![String::new(); cells.len()],
                )?;
            }
        }
    }
    Ok(String::from_utf8(csv.into_inner()?)?)
}

type Number = fn(&Cell<'_>) -> Option<String>;

/// What is said of a cell.
const NUMBERS: [(&str, Number); 11] = [
    ("mean", |cell| Some(share(cell.ours?.mean))),
    ("seed_min", |cell| Some(share(cell.ours?.min))),
    ("seed_max", |cell| Some(share(cell.ours?.max))),
    ("interval_lo", |cell| Some(share(cell.interval?.lo))),
    ("interval_hi", |cell| Some(share(cell.interval?.hi))),
    ("paper", |cell| Some(share(cell.paper?.0))),
    ("paper_starred", |cell| {
        Some(u8::from(cell.paper?.1).to_string())
    }),
    ("difference", |cell| Some(share(cell.difference?.0))),
    ("rival", |cell| Some(method(&cell.verdict?.rival))),
    ("rival_difference", |cell| {
        Some(share(cell.verdict?.comparison.difference))
    }),
    ("rival_p_holm", |cell| Some(share(cell.verdict?.p))),
];

fn share(x: f64) -> String {
    format!("{x:.6}")
}

fn method(system: &prl_experiments::matrix::System) -> String {
    format!(
        "{}{}",
        system.method,
        if system.released { "-released" } else { "" }
    )
}

/// Table 1.
pub fn counts(study: &Study) -> Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record([
        "what",
        "dataset",
        "sessions",
        "items",
        "clicks",
        "purchases",
    ])?;
    for (what, hash, c) in crate::pages::counts(study) {
        let counts = [c.sessions, c.items, c.clicks, c.purchases].map(|n| n.to_string());
        csv.write_record([what, hash.to_owned()].into_iter().chain(counts))?;
    }
    Ok(String::from_utf8(csv.into_inner()?)?)
}

/// One line a validation: the learning curves.
pub fn curves(study: &Study, outcomes: &[Outcome]) -> Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record([
        "log",
        "encoder",
        "method",
        "seed",
        "step",
        "val purchase HR@5",
        "val click HR@20",
    ])?;
    for (run, outcome) in study.runs.iter().zip(outcomes) {
        let Outcome::Done(finished) = outcome else {
            continue;
        };
        let (log, seed) = (study.dataset(run).source.name, run.spec.seed.to_string());
        let (encoder, method) = (
            run.spec.system.encoder.unwrap_or_default(),
            method(&run.spec.system),
        );
        for point in &finished.curve {
            let of = |kind, metric| {
                value(&point.val, kind, metric)
                    .map(share)
                    .unwrap_or_default()
            };
            let (purchase, click) = (
                of(Kind::Purchase, Metric::Hr5),
                of(Kind::Click, Metric::Hr20),
            );
            csv.write_record([
                log,
                encoder,
                &method,
                &seed,
                &point.step.to_string(),
                &purchase,
                &click,
            ])?;
        }
    }
    Ok(String::from_utf8(csv.into_inner()?)?)
}

/// One line an answer: Figures 4 and 5.
pub fn answers(study: &Study, outcomes: &[Outcome]) -> Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record([
        "log",
        "data",
        "encoder",
        "method",
        "seed",
        "mu",
        "eps",
        "test reward@1",
    ])?;
    for (run, outcome) in study.runs.iter().zip(outcomes) {
        let Outcome::Done(finished) = outcome else {
            continue;
        };
        let (dataset, system) = (study.dataset(run), run.spec.system);
        for answer in &finished.answers {
            let what = [
                dataset.source.name,
                dataset.kind(),
                system.encoder.unwrap_or_default(),
                system.method,
            ];
            let numbers =
                [answer.ask.mu, answer.ask.eps, answer.reward_at_1].map(|x| x.to_string());
            let line = what
                .map(str::to_owned)
                .into_iter()
                .chain([run.spec.seed.to_string()])
                .chain(numbers);
            csv.write_record(line.collect::<Vec<_>>())?;
        }
    }
    Ok(String::from_utf8(csv.into_inner()?)?)
}

/// One line a run: what it was and everything it measured.
pub fn runs(study: &Study, outcomes: &[Outcome]) -> Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let metrics: Vec<(Split, Kind, Metric)> = SPLITS
        .into_iter()
        .flat_map(|split| columns().map(move |(kind, metric)| (split, kind, metric)))
        .collect();
    let head = [
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
    let names = metrics
        .iter()
        .map(|(split, kind, metric)| format!("{} {} {metric}", split.name(), kind_name(*kind)));
    let extra = [
        "test reward@1",
        "threads",
        "device",
        "processor",
        "gpu",
        "commit",
    ]
    .map(str::to_owned);
    csv.write_record(
        head.map(str::to_owned)
            .into_iter()
            .chain(names)
            .chain(extra),
    )?;
    for (run, outcome) in study.runs.iter().zip(outcomes) {
        let (dataset, system) = (study.dataset(run), run.spec.system);
        let encoder = system.encoder.unwrap_or_default();
        let what = [
            dataset.source.name,
            dataset.kind(),
            &dataset.manifest.dataset,
            encoder,
            &method(&system),
        ];
        let mut line: Vec<String> = what.map(str::to_owned).into();
        line.push(run.spec.seed.to_string());
        match outcome {
            Outcome::Pending => line.push("not run".into()),
            Outcome::Failed(failure) => line.push(format!("FAILED: {}", failure.message)),
            Outcome::Done(f) => {
                let m = &f.manifest;
                line.extend([
                    "done".into(),
                    m.model.clone(),
                    m.best_step.to_string(),
                    m.steps.to_string(),
                ]);
                line.push(format!("{:.1}", m.seconds));
                let of = |&(split, kind, metric): &(Split, Kind, Metric)| {
                    value(&f.report(split).scores, kind, metric)
                };
                line.extend(
                    metrics
                        .iter()
                        .map(|column| of(column).map(share).unwrap_or_default()),
                );
                line.extend([
                    format!("{:.1}", f.test.scores.reward_at_1),
                    m.machine.threads.to_string(),
                ]);
                line.extend([m.machine.device.clone(), f.machine.processor.clone()]);
                line.extend([
                    f.machine.gpu.clone().unwrap_or_default(),
                    f.machine.commit.clone(),
                ]);
            }
        }
        line.resize(head.len() + metrics.len() + 6, String::new());
        csv.write_record(&line)?;
    }
    Ok(String::from_utf8(csv.into_inner()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prl_experiments::run_spec::Filter;
    use prl_experiments::significance::Tests;
    use prl_experiments::{fixture, paper};

    fn filter() -> Filter {
        Filter {
            methods: ["normal", "sac", "prl"].map(str::to_owned).into(),
            encoders: vec!["gru".into()],
        }
    }

    #[test]
    fn every_line_has_every_column() {
        let dir = tempfile::tempdir().unwrap();
        let study = fixture::study(dir.path(), 1, false, filter());
        let outcomes = fixture::outcomes(&study, |system| (system.method != "sac").then_some(0.5));
        let paper = paper::rows().unwrap();
        let panels = Panel::all(&study, &outcomes, &paper, &Tests::default());
        let table = table(&panels.iter().collect::<Vec<_>>()).unwrap();
        for text in [
            &table,
            &runs(&study, &outcomes).unwrap(),
            &curves(&study, &outcomes).unwrap(),
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
            counts(&study)
                .unwrap()
                .contains("\"RC15, the paper\",,200000,26702,1110965,43946")
        );
        assert_eq!(
            answers(&study, &outcomes).unwrap().lines().count(),
            1 + 2 * 16,
            "16 prompts on two logs"
        );
    }
}
