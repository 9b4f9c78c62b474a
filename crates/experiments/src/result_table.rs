//! A table of the paper on one log, filled with our results: the content that all report formats
//! present.

use prl_dataset::{Kind, Split};
use prl_eval::{Interval, Metric};

use crate::datasets::Dataset;
use crate::experiment::Experiment;
use crate::matrix::{PaperTable, SignificanceRule, System, TABLES};
use crate::outcome::{Outcome, columns, interval, value};
use crate::paper::{PaperRow, TOLERANCE};
use crate::significance::{LEVEL, TestCache, TestResult, TestResults};
use crate::table_row::{SeedSummary, TableRow, difference};

/// A table on one log.
pub struct ResultTable<'a> {
    /// Table of the paper.
    pub table: &'static PaperTable,
    /// Dataset.
    pub dataset: &'a Dataset,
    /// Rows.
    pub rows: Vec<TableRow<'a>>,
    /// Why the results cannot be compared with the paper's; `None` if they can.
    pub incomparable: Option<String>,
    /// Why no test could be made; `None` if the tests were made.
    pub untested: Option<String>,
    paper: &'a [PaperRow],
    tests: TestResults,
}

/// All facts about a row in one column.
pub struct Cell<'p> {
    /// Our result.
    pub ours: Option<SeedSummary>,
    /// 95% confidence interval over the cases of the first seed.
    pub interval: Option<Interval>,
    /// Result of the paper, and whether it is starred there.
    pub paper: Option<(f64, bool)>,
    /// Our result minus the paper's, and whether that is within the tolerance; `None` if they
    /// cannot be compared.
    pub difference: Option<(f64, bool)>,
    /// Test against the baseline.
    pub test: Option<&'p TestResult>,
}

/// Numbers of columns of a table that agree with the paper, and of significant ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// HRs that can be compared with the paper's.
    pub compared: usize,
    /// Numbers within the tolerance.
    pub within: usize,
    /// Tested columns of the paper's rows.
    pub tested: usize,
    /// Columns starred here in which the row is better than its baseline.
    pub better: usize,
    /// Columns starred here in which the row is worse.
    pub worse: usize,
    /// Columns starred in the paper, if the results can be compared.
    pub paper_starred: usize,
    /// Of these, those that are starred here with a difference in the same direction.
    pub agreed: usize,
}

impl<'a> ResultTable<'a> {
    /// Every table on every dataset of an experiment, without tables that have no trained row.
    pub fn all(
        experiment: &'a Experiment,
        outcomes: &'a [Outcome],
        paper: &'a [PaperRow],
        cache: &TestCache,
    ) -> Vec<ResultTable<'a>> {
        let mut tables = Vec::new();
        for table in &TABLES {
            for (i, dataset) in experiment.datasets.iter().enumerate() {
                if !table.logs.contains(&dataset.source.name) {
                    continue;
                }
                let mut rows = Vec::new();
                for system in table.systems() {
                    rows.extend(TableRow::collect(experiment, i, system, outcomes));
                }
                if !rows.iter().any(|row| row.system.has_encoder()) {
                    continue;
                }
                let (tests, untested) = match cache.test_table(table, &rows) {
                    Ok(tests) => (tests, None),
                    Err(error) => (TestResults::new(), Some(format!("{error:#}"))),
                };
                tables.push(ResultTable {
                    table,
                    dataset,
                    rows,
                    incomparable: experiment.incomparable(dataset),
                    untested,
                    paper,
                    tests,
                });
            }
        }
        tables
    }

    /// Title: `Table 2: RC15, the methods on every encoder`.
    pub fn title(&self) -> String {
        format!(
            "Table {}: {}, {}",
            self.table.number, self.dataset.source.title, self.table.title
        )
    }

    /// The paper's row of a system.
    pub fn paper_row(&self, system: &System) -> Option<&'a PaperRow> {
        self.paper.iter().find(|row| {
            row.table == self.table.number
                && row.log == self.dataset.source.name
                && row.matches(system)
        })
    }

    /// Facts about a row in a column of a split. The paper and the tests refer to the test split.
    pub fn cell(
        &self,
        row: &TableRow<'a>,
        split: Split,
        (kind, metric): (Kind, Metric),
    ) -> Cell<'_> {
        let mut cell = Cell {
            ours: row.over_seeds(|run| value(&run.report(split).scores, kind, metric)),
            interval: None,
            paper: None,
            difference: None,
            test: None,
        };
        if let Some((_, first)) = row.first() {
            cell.interval = interval(first.report(split), kind, metric);
        }
        if split != Split::Test {
            return cell;
        }
        if let Some(paper) = self.paper_row(&row.system)
            && let Some(value) = paper.value(kind, metric)
        {
            cell.paper = Some((value, paper.is_starred(kind, metric)));
            if let (None, Some(ours)) = (&self.incomparable, cell.ours) {
                cell.difference = Some(difference(ours.mean, value));
            }
        }
        cell.test = self.tests.get(&(row.system, kind, metric));
        cell
    }

    /// Agreement with the paper and significance, over all rows and columns.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for row in &self.rows {
            for column in columns() {
                self.add_to_tally(&mut tally, row, column);
            }
        }
        tally
    }

    fn add_to_tally(&self, tally: &mut Tally, row: &TableRow<'a>, column: (Kind, Metric)) {
        let (kind, metric) = column;
        let cell = self.cell(row, Split::Test, column);
        if let Some((_, is_within)) = cell.difference
            && metric.is_share()
        {
            tally.compared += 1;
            tally.within += usize::from(is_within);
        }
        let (Some(test), Some((paper, paper_starred))) = (cell.test, cell.paper) else {
            return;
        };
        let ours = test.comparison.difference;
        tally.tested += 1;
        tally.better += usize::from(test.is_starred() && ours > 0.0);
        tally.worse += usize::from(test.is_starred() && ours < 0.0);
        if !paper_starred || self.incomparable.is_some() {
            return;
        }
        let baseline = self
            .paper_row(&test.baseline)
            .and_then(|row| row.value(kind, metric));
        let is_same_direction = baseline.is_some_and(|value| (paper - value) * ours > 0.0);
        tally.paper_starred += 1;
        tally.agreed += usize::from(is_same_direction && test.is_starred());
    }

    /// Legend of the stars.
    pub fn star_legend(&self) -> String {
        let tested = match self.table.significance {
            SignificanceRule::AgainstBestOf(methods) => format!(
                "PRL against the best of {} on the same encoder, column by column",
                methods.join(", ")
            ),
            SignificanceRule::AgainstPrl => "every variant against PRL".into(),
        };
        let extra_rows = &self.table.extra_rows;
        let has_extra_rows = self.rows.iter().any(|row| extra_rows.contains(&row.system));
        let extra = if has_extra_rows {
            " The rows that the paper does not have are tested against PRL, as a family of their \
             own."
        } else {
            ""
        };
        format!(
            "Stars: {tested}; `*` is p < {LEVEL}, ours by a paired sign-flip test over the \
             sessions (runs of several seeds averaged case by case), Holm-corrected over all \
             columns and encoders of this table.{extra}"
        )
    }
}

impl Tally {
    /// Description in sentences; `None` if nothing was compared or tested.
    pub fn describe(&self) -> Option<String> {
        let mut sentences = Vec::new();
        if self.compared > 0 {
            sentences.push(format!(
                "{} of {} HRs lie within {TOLERANCE} of the paper's.",
                self.within, self.compared
            ));
        }
        if self.tested > 0 {
            sentences.push(format!(
                "Of {} tested columns {} are significantly better than their baseline, {} worse.",
                self.tested, self.better, self.worse
            ));
        }
        if self.paper_starred > 0 {
            sentences.push(format!(
                "The paper stars {} of them; {} of these are starred here, the same way.",
                self.paper_starred, self.agreed
            ));
        }
        (!sentences.is_empty()).then(|| sentences.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_spec::Filter;
    use crate::{fixture, paper};

    fn tally(synthetic: bool, prl: f64) -> Tally {
        let dir = tempfile::tempdir().unwrap();
        let filter = Filter {
            methods: ["normal", "prl"].map(str::to_owned).into(),
            encoders: vec!["gru".into()],
        };
        let experiment = fixture::experiment(dir.path(), 1, synthetic, filter);
        let outcomes = fixture::outcomes(&experiment, |system| {
            Some(if system.is_paper_prl() { prl } else { 0.4 })
        });
        let paper = paper::load().unwrap();
        ResultTable::all(&experiment, &outcomes, &paper, &TestCache::default())[0].tally()
    }

    #[test]
    fn tally_counts_agreement_only_if_comparable() {
        // The paper stars 4 of 12 columns of GRU-PRL on RC15. Normal is at 0.4 in all, the paper's
        // purchase HR@5 at 0.3994.
        let better = tally(false, 0.8);
        assert_eq!(
            (better.compared, better.tested, better.better, better.worse),
            (12, 12, 12, 0)
        );
        assert_eq!(
            (better.within, better.paper_starred, better.agreed),
            (1, 4, 4)
        );
        let worse = tally(false, 0.1);
        assert_eq!(
            (worse.better, worse.worse, worse.paper_starred, worse.agreed),
            (0, 12, 4, 0),
            "the other way"
        );
        let synthetic = tally(true, 0.8);
        assert_eq!(
            (
                synthetic.compared,
                synthetic.better,
                synthetic.paper_starred
            ),
            (0, 12, 0)
        );
        assert!(!synthetic.describe().unwrap().contains("paper"));
    }
}
