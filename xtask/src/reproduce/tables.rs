//! Tables 2 and 3: the metrics of every row on one dataset, beside the paper's, as Markdown and as CSV.

use anyhow::Result;

use super::data::Dataset;
use super::outcome::{Kind, METRICS, Outcome, Report};
use super::paper::{PaperRow, TOLERANCE, column};
use super::study::{OverSeeds, Row, Split, Study, difference};
use crate::files::markdown_table;

/// The table of one dataset.
pub struct Table<'a> {
    dataset: &'a Dataset,
    rows: Vec<Row<'a>>,
    paper: &'a [PaperRow],
    incomparable: Option<String>,
}

/// A line of the table: what it says, and how it says it of each metric.
struct Line {
    what: String,
    cells: Vec<Option<String>>,
}

impl<'a> Table<'a> {
    /// The table of the dataset at this position.
    pub fn new(study: &'a Study, dataset: usize, outcomes: &'a [Outcome], paper: &'a [PaperRow]) -> Self {
        let rows = study.rows(dataset, outcomes);
        let dataset = &study.datasets[dataset];
        Self { dataset, rows, paper, incomparable: study.incomparable(dataset) }
    }

    /// The page: both splits in full, then what the paper's table does not have.
    pub fn to_markdown(&self) -> String {
        let source = self.dataset.source;
        let mut text = self.dataset.stamp().unwrap_or_default();
        text += &format!("# Table {}: {}\n\n", source.table, source.title);
        text += &format!(
            "Data: {}, dataset `{}`. Ties of scores count against the target. The weights are those of the best \
             validation by purchase HR@5.\n\n",
            self.dataset.kind(),
            self.dataset.manifest.dataset
        );
        text += &match &self.incomparable {
            Some(why) => {
                format!("The paper's numbers stand here for orientation only, without a verdict: {why}. ")
            }
            None => {
                format!("An HR within {TOLERANCE} of the paper's counts as reproduced: \u{2713} within, \u{2717} not. ")
            }
        };
        text += "`*` is the paper's star, p < 0.1 against its best baseline. The 95% interval is that of the first \
                 seed's cases: Wilson's for HR, a bootstrap over sessions for NDCG.\n";
        for split in Split::ALL {
            text += &format!("\n## {}\n", title(split));
            for kind in Kind::ALL {
                text += &format!("\n### {}s\n\n", kind.name());
                text += &self.metrics(split, kind);
            }
        }
        text += "\n## Beside the paper's metrics\n\nMean over the seeds. reward@1 is the sum of the rewards of the events \
                 whose item is ranked first; coverage@20 the share of all items that are in some top 20.\n\n";
        text + &self.others()
    }

    /// The test split in one line for each row: what the front page shows.
    pub fn summary(&self) -> String {
        let header: Vec<String> = ["".to_owned(), "".to_owned()]
            .into_iter()
            .chain(Kind::ALL.iter().flat_map(|kind| METRICS.map(|metric| format!("{} {metric}", kind.name()))))
            .collect();
        let mut rows = Vec::new();
        for row in &self.rows {
            let both = |lines: fn(&Self, &Row<'a>, Split, Kind) -> Vec<Line>| {
                let mut lines: Vec<Vec<Line>> =
                    Kind::ALL.iter().map(|&kind| lines(self, row, Split::Test, kind)).collect();
                let clicks = lines.pop().unwrap_or_default();
                let joined = lines.remove(0).into_iter().zip(clicks).map(|(mut line, clicks)| {
                    line.cells.extend(clicks.cells);
                    line
                });
                joined.collect::<Vec<Line>>()
            };
            rows.extend(named(&row.title(), both(Self::brief)));
        }
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        markdown_table(&header, 2, &rows)
    }

    /// Mean, paper and failures.
    fn brief(&self, row: &Row<'a>, split: Split, kind: Kind) -> Vec<Line> {
        let wanted = |line: &Line| {
            ["mean", "seed", "paper"].iter().any(|start| line.what.starts_with(start)) && !line.what.contains("min")
        };
        self.lines(row, split, kind).into_iter().filter(wanted).collect()
    }

    fn metrics(&self, split: Split, kind: Kind) -> String {
        let header: Vec<&str> = ["", ""].into_iter().chain(METRICS).collect();
        let rows: Vec<Vec<String>> =
            self.rows.iter().flat_map(|row| named(&row.title(), self.lines(row, split, kind))).collect();
        markdown_table(&header, 2, &rows)
    }

    /// Everything that is said of a row.
    fn lines(&self, row: &Row<'a>, split: Split, kind: Kind) -> Vec<Line> {
        let over = |metric: &str| row.over_seeds(split, |report| report.value(kind, metric));
        let line = |what: String, cell: &dyn Fn(&str) -> Option<String>| Line { what, cells: METRICS.map(cell).into() };
        let mut lines = Vec::new();
        if let Some((seed, first)) = row.first() {
            lines.push(line(row.seeds(), &|metric| over(metric).map(|o| format!("{:.4}", o.mean))));
            if row.done.len() > 1 {
                lines[0].what.insert_str(0, "mean of ");
                let band = |o: OverSeeds| format!("{:.4} to {:.4}", o.min, o.max);
                lines.push(line("seeds, min to max".into(), &|metric| over(metric).map(band)));
            }
            let interval =
                |metric: &str| split.of(first).interval(kind, metric).map(|[lo, hi]| format!("{lo:.4} to {hi:.4}"));
            lines.push(line(format!("95% interval, seed {seed}"), &interval));
        }
        if let Some(paper) = self.paper_row(row).filter(|_| split == Split::Test) {
            let number = |metric: &str| {
                let star = if paper.is_starred(kind, metric) { "*" } else { "" };
                paper.value(kind, metric).map(|value| format!("{value:.4}{star}"))
            };
            lines.push(line(format!("paper, on real {}", self.dataset.source.title), &number));
            if self.incomparable.is_none() && row.first().is_some() {
                let verdict = |metric: &str| {
                    let (difference, is_within) = difference(over(metric)?.mean, paper.value(kind, metric)?);
                    let mark = if is_within { " \u{2713}" } else { " \u{2717}" };
                    Some(format!("{difference:+.4}{}", if metric.starts_with("HR") { mark } else { "" }))
                };
                lines.push(line("difference".into(), &verdict));
            }
        }
        lines.extend(row.failed.iter().map(|(seed, why)| failure(*seed, why)));
        lines
    }

    fn paper_row(&self, row: &Row<'_>) -> Option<&'a PaperRow> {
        let source = self.dataset.source;
        self.paper.iter().find(|paper| {
            paper.table == source.table
                && paper.log == source.name
                && Some(paper.encoder.as_str()) == row.encoder
                && paper.method == row.method
        })
    }

    fn others(&self) -> String {
        let header = ["", "", "reward@1", "coverage@20", "purchase MRR", "click MRR"];
        type Number = fn(&Report) -> Option<f64>;
        let numbers: [(Number, usize); 4] = [
            (|report| Some(report.reward_at_1), 1),
            (|report| report.coverage_at_20, 4),
            (|report| report.value(Kind::Purchase, "MRR"), 4),
            (|report| report.value(Kind::Click, "MRR"), 4),
        ];
        let mut rows = Vec::new();
        for row in &self.rows {
            let of_split = |split: Split| {
                let cell = |(number, digits): &(Number, usize)| {
                    row.over_seeds(split, number).map(|over| format!("{:.digits$}", over.mean))
                };
                Line { what: format!("{}, {}", split.name(), row.seeds()), cells: numbers.iter().map(cell).collect() }
            };
            let done = Split::ALL.into_iter().filter(|_| row.first().is_some()).map(of_split);
            let lines = done.chain(row.failed.iter().map(|(seed, why)| failure(*seed, why))).collect();
            rows.extend(named(&row.title(), lines).into_iter().map(|mut cells| {
                cells.resize(header.len(), String::new());
                cells
            }));
        }
        markdown_table(&header, 2, &rows)
    }

    /// The HRs that have a verdict: those within the tolerance, and all.
    pub fn verdicts(&self) -> Option<(usize, usize)> {
        if self.incomparable.is_some() {
            return None;
        }
        let (mut within, mut all) = (0, 0);
        for row in self.rows.iter() {
            let Some(paper) = self.paper_row(row) else { continue };
            for (kind, metric) in Kind::ALL.into_iter().flat_map(|kind| METRICS.map(|metric| (kind, metric))) {
                let ours = row.over_seeds(Split::Test, |report| report.value(kind, metric));
                if let (true, Some(ours), Some(paper)) = (metric.starts_with("HR"), ours, paper.value(kind, metric)) {
                    all += 1;
                    within += usize::from(difference(ours.mean, paper).1);
                }
            }
        }
        Some((within, all))
    }

    /// The numbers of the page, in the columns of the paper's tables.
    pub fn to_csv(&self) -> Result<String> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        let columns = Kind::ALL.iter().flat_map(|&kind| METRICS.map(|metric| column(kind, metric)));
        let header = ["table", "dataset", "data", "split", "encoder", "method", "what", "seeds"].map(str::to_owned);
        csv.write_record(header.into_iter().chain(columns))?;
        for (split, row) in Split::ALL.into_iter().flat_map(|split| self.rows.iter().map(move |row| (split, row))) {
            for (what, number) in self.numbers(row, split) {
                let source = self.dataset.source;
                let seeds: Vec<String> = row.done.iter().map(|(seed, _)| seed.to_string()).collect();
                let (table, seeds) = (source.table.to_string(), seeds.join(" "));
                let encoder = row.encoder.unwrap_or_default();
                let head = [&table, source.name, self.dataset.kind(), split.name(), encoder, row.method, &what, &seeds];
                let cells = Kind::ALL.iter().flat_map(|&kind| METRICS.map(|metric| number(kind, metric)));
                let cells = cells.map(|cell| cell.map(|cell| format!("{cell:.6}")).unwrap_or_default());
                csv.write_record(head.into_iter().map(str::to_owned).chain(cells))?;
            }
        }
        Ok(String::from_utf8(csv.into_inner()?)?)
    }

    /// Every number that is said of a row, by what it is.
    fn numbers<'s>(&'s self, row: &'s Row<'a>, split: Split) -> Vec<(String, Number<'s>)> {
        let over = move |kind: Kind, metric: &str| row.over_seeds(split, |report| report.value(kind, metric));
        let mut numbers: Vec<(String, Number<'s>)> = Vec::new();
        if let Some((_, first)) = row.first() {
            let interval = move |kind: Kind, metric: &str| split.of(first).interval(kind, metric);
            numbers.push(("mean".into(), Box::new(move |k, m| Some(over(k, m)?.mean))));
            numbers.push(("seed_min".into(), Box::new(move |k, m| Some(over(k, m)?.min))));
            numbers.push(("seed_max".into(), Box::new(move |k, m| Some(over(k, m)?.max))));
            numbers.push(("interval_lo".into(), Box::new(move |k, m| Some(interval(k, m)?[0]))));
            numbers.push(("interval_hi".into(), Box::new(move |k, m| Some(interval(k, m)?[1]))));
        }
        if let Some(paper) = self.paper_row(row).filter(|_| split == Split::Test) {
            numbers.push(("paper".into(), Box::new(move |k, m| paper.value(k, m))));
            if self.incomparable.is_none() && row.first().is_some() {
                let less = move |k: Kind, m: &str| Some(difference(over(k, m)?.mean, paper.value(k, m)?).0);
                numbers.push(("difference".into(), Box::new(less)));
            }
        }
        numbers.extend(row.failed.iter().map(|(seed, why)| {
            let nothing: Number<'s> = Box::new(|_, _| None);
            (format!("seed {seed} FAILED: {why}"), nothing)
        }));
        numbers
    }
}

type Number<'s> = Box<dyn Fn(Kind, &str) -> Option<f64> + 's>;

fn title(split: Split) -> &'static str {
    match split {
        Split::Test => "Test split",
        Split::Val => "Validation split",
    }
}

/// A failed run in its place: never a blank.
fn failure(seed: u64, why: &str) -> Line {
    let mut cells = vec![Some(String::new()); METRICS.len()];
    cells[0] = Some(format!("FAILED: {why}"));
    Line { what: format!("seed {seed}"), cells }
}

/// Lines as cells of a Markdown table, the row's name before the first.
fn named(name: &str, lines: Vec<Line>) -> Vec<Vec<String>> {
    let cells = |(i, line): (usize, Line)| {
        let name = if i == 0 { format!("**{name}**") } else { String::new() };
        let values = line.cells.into_iter().map(|cell| cell.unwrap_or_else(|| "-".into()));
        [name, line.what].into_iter().chain(values).collect()
    };
    lines.into_iter().enumerate().map(cells).collect()
}
