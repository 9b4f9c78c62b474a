//! A table of the paper on one log, filled with ours: what every page shows, whatever its form.

use prl_dataset::{Kind, Split};
use prl_eval::{Interval, Metric};

use crate::datasets::Dataset;
use crate::experiment::Study;
use crate::matrix::{Star, System, TABLES, Table};
use crate::outcome::{KINDS, METRICS, Outcome, interval, value};
use crate::paper::PaperRow;
use crate::significance::{LEVEL, Tests, Verdict, Verdicts};
use crate::table_row::{OverSeeds, Row, difference};

/// A table on one log.
pub struct Panel<'a> {
    /// The table.
    pub table: &'static Table,
    /// The dataset.
    pub dataset: &'a Dataset,
    /// Its rows.
    pub rows: Vec<Row<'a>>,
    /// Why numbers here say nothing about the paper's; `None` if they do.
    pub incomparable: Option<String>,
    /// Why nothing could be tested, if that is so.
    pub untested: Option<String>,
    paper: &'a [PaperRow],
    verdicts: Verdicts,
}

/// Everything that is said of a row in one column.
pub struct Cell<'p> {
    /// Ours.
    pub ours: Option<OverSeeds>,
    /// The 95% interval over the cases of the first seed.
    pub interval: Option<Interval>,
    /// The paper's, and whether it is starred.
    pub paper: Option<(f64, bool)>,
    /// Ours less the paper's, and whether that is within the tolerance; if they may be compared.
    pub difference: Option<(f64, bool)>,
    /// Ours against a rival.
    pub verdict: Option<&'p Verdict>,
}

/// What a panel comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// HRs that may be compared with the paper's.
    pub compared: usize,
    /// Those within the tolerance.
    pub within: usize,
    /// Columns of the paper's rows that were tested.
    pub tested: usize,
    /// Those starred here, the row being better than its rival.
    pub better: usize,
    /// Those starred here, the row being worse.
    pub worse: usize,
    /// Those that the paper stars, if ours may be compared with it.
    pub paper_starred: usize,
    /// Of these, those starred here too, the difference going the same way.
    pub agreed: usize,
}

/// The metrics of all columns.
pub fn columns() -> impl Iterator<Item = (Kind, Metric)> {
    KINDS
        .into_iter()
        .flat_map(|kind| METRICS.map(|metric| (kind, metric)))
}

impl<'a> Panel<'a> {
    /// Every table on every dataset of a study, rows that nobody asked for left out.
    pub fn all(
        study: &'a Study,
        outcomes: &'a [Outcome],
        paper: &'a [PaperRow],
        tests: &Tests,
    ) -> Vec<Panel<'a>> {
        let pairs = TABLES
            .iter()
            .flat_map(|table| study.datasets.iter().enumerate().map(move |d| (table, d)));
        let panels =
            pairs.filter(|(table, (_, dataset))| table.logs.contains(&dataset.source.name));
        let panel = |(table, (i, dataset)): (&'static Table, (usize, &'a Dataset))| {
            let rows: Vec<Row<'a>> = table
                .systems()
                .into_iter()
                .filter_map(|system| study.row(i, system, outcomes))
                .collect();
            let (verdicts, untested) = match tests.of_table(table, &rows) {
                Ok(verdicts) => (verdicts, None),
                Err(error) => (Verdicts::new(), Some(format!("{error:#}"))),
            };
            let incomparable = study.incomparable(dataset);
            Panel {
                table,
                dataset,
                rows,
                incomparable,
                untested,
                paper,
                verdicts,
            }
        };
        panels
            .map(panel)
            .filter(|panel| panel.rows.iter().any(|row| !row.system.is_baseline()))
            .collect()
    }

    /// `Table 2: RC15, the methods on every encoder`.
    pub fn title(&self) -> String {
        format!(
            "Table {}: {}, {}",
            self.table.number, self.dataset.source.title, self.table.title
        )
    }

    /// The paper's row of a system.
    pub fn paper_row(&self, system: &System) -> Option<&'a PaperRow> {
        let is_here =
            |row: &&PaperRow| row.table == self.table.number && row.log == self.dataset.source.name;
        self.paper
            .iter()
            .filter(is_here)
            .find(|row| row.is_of(system))
    }

    /// What is said of a row in a column of a split. Paper and tests are of the test split.
    pub fn cell(&self, row: &Row<'a>, split: Split, kind: Kind, metric: Metric) -> Cell<'_> {
        let ours = row.over_seeds(|run| value(&run.report(split).scores, kind, metric));
        let interval = row
            .first()
            .and_then(|(_, run)| interval(run.report(split), kind, metric));
        if split != Split::Test {
            return Cell {
                ours,
                interval,
                paper: None,
                difference: None,
                verdict: None,
            };
        }
        let paper = self.paper_row(&row.system);
        let paper = paper
            .and_then(|paper| Some((paper.value(kind, metric)?, paper.is_starred(kind, metric))));
        let difference = match (&self.incomparable, ours, paper) {
            (None, Some(ours), Some((paper, _))) => Some(difference(ours.mean, paper)),
            _ => None,
        };
        Cell {
            ours,
            interval,
            paper,
            difference,
            verdict: self.verdicts.get(&(row.system, kind, metric)),
        }
    }

    /// How often it agrees with the paper.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for (row, (kind, metric)) in self
            .rows
            .iter()
            .flat_map(|row| columns().map(move |column| (row, column)))
        {
            let cell = self.cell(row, Split::Test, kind, metric);
            if let Some((_, is_within)) = cell.difference.filter(|_| metric.is_share()) {
                tally.compared += 1;
                tally.within += usize::from(is_within);
            }
            let (Some(verdict), Some((paper, paper_starred))) = (cell.verdict, cell.paper) else {
                continue;
            };
            let ours = verdict.comparison.difference;
            tally.tested += 1;
            tally.better += usize::from(verdict.is_starred() && ours > 0.0);
            tally.worse += usize::from(verdict.is_starred() && ours < 0.0);
            if paper_starred && self.incomparable.is_none() {
                let rival = self
                    .paper_row(&verdict.rival)
                    .and_then(|rival| rival.value(kind, metric));
                let is_same_way = rival.is_some_and(|rival| (paper - rival) * ours > 0.0);
                tally.paper_starred += 1;
                tally.agreed += usize::from(is_same_way && verdict.is_starred());
            }
        }
        tally
    }

    /// What its stars stand for.
    pub fn star_legend(&self) -> String {
        let tested = match self.table.star {
            Star::AgainstBestOf(methods) => {
                format!(
                    "PRL against the best of {} on the same encoder, column by column",
                    methods.join(", ")
                )
            }
            Star::AgainstPrl => "every variant against PRL".into(),
        };
        let extras = if self
            .rows
            .iter()
            .any(|row| self.table.extras.contains(&row.system))
        {
            " The rows that the paper does not have are tested against PRL, as a family of their own."
        } else {
            ""
        };
        format!(
            "Stars: {tested}; `*` is p < {LEVEL}, ours by a paired sign-flip test over the sessions (runs of several seeds \
             averaged case by case), Holm-corrected over all columns and encoders of this table.{extras}"
        )
    }
}

impl Tally {
    /// In words; `None` if there is nothing to say.
    pub fn describe(&self) -> Option<String> {
        let Self {
            compared,
            within,
            tested,
            better,
            worse,
            paper_starred,
            agreed,
        } = *self;
        let tolerance = crate::paper::TOLERANCE;
        let hr = (compared > 0)
            .then(|| format!("{within} of {compared} HRs lie within {tolerance} of the paper's."));
        let stars = (tested > 0).then(|| {
            format!("Of {tested} tested columns {better} are significantly better than their rival, {worse} worse.")
        });
        let agreed = (paper_starred > 0).then(|| {
            format!("The paper stars {paper_starred} of them; {agreed} of these are starred here, the same way.")
        });
        let said: Vec<String> = [hr, stars, agreed].into_iter().flatten().collect();
        (!said.is_empty()).then(|| said.join(" "))
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
        let study = fixture::study(dir.path(), 1, synthetic, filter);
        let outcomes = fixture::outcomes(&study, |system| {
            Some(if system.is_asked() { prl } else { 0.4 })
        });
        let paper = paper::rows().unwrap();
        Panel::all(&study, &outcomes, &paper, &Tests::default())[0].tally()
    }

    #[test]
    fn agreement_is_counted_where_it_means_something() {
        // The paper stars 4 of 12 columns of GRU-PRL on RC15. Normal is at 0.4 in all, the paper's purchase HR@5 at 0.3994.
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
