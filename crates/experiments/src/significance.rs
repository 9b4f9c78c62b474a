//! The star of a table: paired tests on the test cases, Holm-corrected over all that a table tests.
//!
//! The paper stars PRL in Tables 2 and 3 where p < 0.1 against the best baseline of its encoder, and in Tables 4 and 5 every
//! variant with p < 0.1 against PRL. So the same pairs are tested here. Ties and runs of several seeds are `prl-eval`'s
//! business; a pair once tested is remembered, as pages are written often and runs that are done do not change.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use prl_dataset::{Kind, Split};
use prl_eval::{Case, Comparison, Metric, compare};

use crate::cases::Cases;
use crate::matrix::{Star, System, Table};
use crate::outcome::{KINDS, METRICS, value};
use crate::table_row::Row;

/// A star stands for a corrected p below this, as in the paper.
pub const LEVEL: f64 = 0.1;
/// The seed of the tests' random signs and draws.
const SEED: u64 = 0;

/// A row's test in one column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// What it was compared with.
    pub rival: System,
    /// The row less its rival.
    pub comparison: Comparison,
    /// The p-value, corrected.
    pub p: f64,
}

impl Verdict {
    /// Whether the difference is significant.
    pub fn is_starred(&self) -> bool {
        self.p < LEVEL
    }
}

/// The tests of a table, by what they are of.
pub type Verdicts = HashMap<(System, Kind, Metric), Verdict>;

/// Makes tests, and remembers them.
#[derive(Default)]
pub struct Tests {
    made: Mutex<HashMap<Pair, Option<Comparison>>>,
}

/// The cases of both sides, and what is measured on them.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Pair {
    a: Vec<PathBuf>,
    b: Vec<PathBuf>,
    kind: Kind,
    metric: Metric,
}

/// A test to be made.
struct Contrast {
    system: System,
    rival: System,
    kind: Kind,
    metric: Metric,
}

impl Tests {
    /// The tests of a table on one log: those of the paper's star, corrected together, and those of the rows that the paper
    /// does not have, against PRL, corrected together.
    ///
    /// # Errors
    /// If ranks cannot be read or are not of the same cases.
    pub fn of_table(&self, table: &Table, rows: &[Row<'_>]) -> Result<Verdicts> {
        let extras: Vec<&Row<'_>> = rows
            .iter()
            .filter(|row| table.extras.contains(&row.system))
            .collect();
        let own: Vec<&Row<'_>> = rows
            .iter()
            .filter(|row| !table.extras.contains(&row.system))
            .collect();
        let mut loaded = HashMap::new();
        let mut verdicts = self.family(contrasts(table.star, &own, rows), rows, &mut loaded)?;
        verdicts.extend(self.family(
            contrasts(Star::AgainstPrl, &extras, rows),
            rows,
            &mut loaded,
        )?);
        Ok(verdicts)
    }

    /// Tests that are corrected together.
    fn family(
        &self,
        contrasts: Vec<Contrast>,
        rows: &[Row<'_>],
        loaded: &mut Loaded,
    ) -> Result<Verdicts> {
        let mut made = Vec::new();
        for contrast in contrasts {
            if let Some(comparison) = self.test(&contrast, rows, loaded)? {
                made.push((contrast, comparison));
            }
        }
        let ps = holm(
            &made
                .iter()
                .map(|(_, comparison)| comparison.p_value)
                .collect::<Vec<_>>(),
        );
        let verdict = |((contrast, comparison), p): ((Contrast, Comparison), f64)| {
            let Contrast {
                system,
                rival,
                kind,
                metric,
            } = contrast;
            (
                (system, kind, metric),
                Verdict {
                    rival,
                    comparison,
                    p,
                },
            )
        };
        Ok(made.into_iter().zip(ps).map(verdict).collect())
    }

    fn test(
        &self,
        contrast: &Contrast,
        rows: &[Row<'_>],
        loaded: &mut Loaded,
    ) -> Result<Option<Comparison>> {
        let paths = |system: System| -> Vec<PathBuf> {
            let row = rows.iter().find(|row| row.system == system);
            row.map(|row| row.done.iter().map(|(_, run)| run.cases.clone()).collect())
                .unwrap_or_default()
        };
        let Contrast { kind, metric, .. } = *contrast;
        let pair = Pair {
            a: paths(contrast.system),
            b: paths(contrast.rival),
            kind,
            metric,
        };
        if let Some(known) = self.lock().get(&pair) {
            return Ok(*known);
        }
        let (a, b) = (load(&pair.a, loaded)?, load(&pair.b, loaded)?);
        let Some(sessions) = a.first().map(|cases| &cases.sessions) else {
            return Ok(None);
        };
        for (cases, path) in a.iter().chain(&b).zip(pair.a.iter().chain(&pair.b)) {
            ensure!(
                cases.sessions == *sessions,
                "{} is not of the same cases as {}",
                path.display(),
                pair.a[0].display()
            );
        }
        let found = compare(&slices(&a), &slices(&b), sessions, Some(kind), metric, SEED)?;
        self.lock().insert(pair, found);
        Ok(found)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Pair, Option<Comparison>>> {
        self.made
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

type Loaded = HashMap<PathBuf, Arc<Cases>>;

fn load(paths: &[PathBuf], loaded: &mut Loaded) -> Result<Vec<Arc<Cases>>> {
    let mut read = |path: &Path| -> Result<Arc<Cases>> {
        if let Some(cases) = loaded.get(path) {
            return Ok(cases.clone());
        }
        let cases = Arc::new(Cases::read(path)?);
        loaded.insert(path.to_owned(), cases.clone());
        Ok(cases)
    };
    paths.iter().map(|path| read(path)).collect()
}

fn slices(runs: &[Arc<Cases>]) -> Vec<&[Case]> {
    runs.iter().map(|run| run.cases.as_slice()).collect()
}

/// Which rows are tested against which, column by column.
fn contrasts(star: Star, tested: &[&Row<'_>], all: &[Row<'_>]) -> Vec<Contrast> {
    let mut contrasts = Vec::new();
    for row in tested
        .iter()
        .filter(|row| !row.done.is_empty() && !row.system.is_baseline())
    {
        let system = row.system;
        for (kind, metric) in KINDS
            .into_iter()
            .flat_map(|kind| METRICS.map(|metric| (kind, metric)))
        {
            let rivals = all
                .iter()
                .filter(|rival| rival.system.encoder == system.encoder && rival.system != system);
            let rival = match star {
                Star::AgainstPrl if system.is_asked() => None,
                Star::AgainstPrl => rivals
                    .into_iter()
                    .find(|rival| rival.system.is_asked() && !rival.done.is_empty()),
                Star::AgainstBestOf(_) if !system.is_asked() => None,
                Star::AgainstBestOf(methods) => best(
                    rivals.filter(|rival| methods.contains(&rival.system.method)),
                    kind,
                    metric,
                ),
            };
            contrasts.extend(rival.map(|rival| Contrast {
                system,
                rival: rival.system,
                kind,
                metric,
            }));
        }
    }
    contrasts
}

/// The row that is best in a column of the test split, the first of equals.
fn best<'a, 'r: 'a>(
    rows: impl Iterator<Item = &'a Row<'r>>,
    kind: Kind,
    metric: Metric,
) -> Option<&'a Row<'r>> {
    let mean = |row: &Row<'_>| {
        row.over_seeds(|run| value(&run.report(Split::Test).scores, kind, metric))
            .map(|o| o.mean)
    };
    let with_means = rows.filter_map(|row| Some((mean(row)?, row)));
    with_means
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, row)| row)
}

/// Holm's step-down correction: the chance that any true null hypothesis of the family is rejected at a level is at most
/// that level, however the tests depend on each other. In the order given.
///
/// Source: S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979).
fn holm(ps: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..ps.len()).collect();
    order.sort_by(|&a, &b| ps[a].total_cmp(&ps[b]));
    let mut corrected = vec![0.0; ps.len()];
    let mut most = 0.0_f64;
    for (rank, &i) in order.iter().enumerate() {
        most = most.max(ps[i] * (ps.len() - rank) as f64).min(1.0);
        corrected[i] = most;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Study;
    use crate::fixture;
    use crate::matrix::TABLES;
    use crate::outcome::Outcome;
    use crate::run_spec::Filter;

    /// R's `p.adjust(c(.01, .04, .03, .005), "holm")` is .03 .06 .06 .02.
    #[test]
    fn holm_as_in_r() {
        let found = holm(&[0.01, 0.04, 0.03, 0.005]);
        let expected = [0.03, 0.06, 0.06, 0.02];
        assert!(
            found
                .iter()
                .zip(expected)
                .all(|(found, expected)| (found - expected).abs() < 1e-12),
            "{found:?}"
        );
        assert_eq!(holm(&[0.6, 0.7]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }

    fn rows<'a>(study: &'a Study, table: &Table, outcomes: &'a [Outcome]) -> Vec<Row<'a>> {
        table
            .systems()
            .into_iter()
            .filter_map(|system| study.row(0, system, outcomes))
            .collect()
    }

    /// PRL wins 12 of 40 sessions more than the best baseline: p is at most 2 x 2^-12, and 1 of the 48 columns is least.
    #[test]
    fn prl_is_tested_against_its_encoders_best() {
        let dir = tempfile::tempdir().unwrap();
        let study = fixture::study(dir.path(), 2, true, Filter::default());
        let outcomes = fixture::outcomes(&study, |system| {
            Some(match (system.encoder, system.method) {
                (_, "sqn") => 0.5,
                (Some("gru"), "prl") => 0.8,
                (Some("caser"), "prl") => 0.2,
                (_, "prl") => 0.5,
                _ => 0.3,
            })
        });
        let verdicts = Tests::default()
            .of_table(&TABLES[0], &rows(&study, &TABLES[0], &outcomes))
            .unwrap();
        let of = |name: &str| verdicts[&(fixture::system(name), Kind::Purchase, Metric::Hr5)];
        let gru = of("gru-prl");
        assert_eq!(gru.rival, fixture::system("gru-sqn"));
        assert!(
            (gru.comparison.difference - 0.3).abs() < 1e-12 && gru.is_starred(),
            "{gru:?}"
        );
        assert!((of("caser-prl").comparison.difference + 0.3).abs() < 1e-12);
        assert_eq!(of("sasrec-prl").p, 1.0, "no difference at all");
        assert_eq!(of("caser-prl-control").rival, fixture::system("caser-prl"));
        assert_eq!(
            of("sasrec-prl-released").rival,
            fixture::system("sasrec-prl")
        );
        // PRL on 4 encoders, the control on 4, and SASRec-PRL as released, in 12 columns.
        assert_eq!(verdicts.len(), 9 * 12);
        // The least p of the 48 columns of PRL.
        assert!(
            (gru.p - 48.0 * gru.comparison.p_value).abs() < 1e-12,
            "{gru:?}"
        );
    }

    #[test]
    fn variants_are_tested_against_prl() {
        let dir = tempfile::tempdir().unwrap();
        let study = fixture::study(dir.path(), 1, true, Filter::default());
        let outcomes =
            fixture::outcomes(&study, |system| (system.method != "prl-mlp").then_some(0.5));
        let verdicts = Tests::default()
            .of_table(&TABLES[2], &rows(&study, &TABLES[2], &outcomes))
            .unwrap();
        assert_eq!(
            verdicts.len(),
            12,
            "of PRL-mean: PRL is no rival to itself, and PRL-MLP failed"
        );
        assert!(
            verdicts
                .values()
                .all(|verdict| verdict.rival == fixture::system("gru-prl"))
        );
    }

    #[test]
    fn other_cases_are_no_pair() {
        let dir = tempfile::tempdir().unwrap();
        let study = fixture::study(dir.path(), 1, true, Filter::default());
        let outcomes = fixture::outcomes(&study, |_| Some(0.5));
        let prl = study
            .runs
            .iter()
            .find(|run| run.spec.system == fixture::system("gru-prl"))
            .unwrap();
        std::fs::write(
            prl.dir.join("test-cases.csv"),
            "session,kind,rank\n1,click,1\n",
        )
        .unwrap();
        let error = Tests::default()
            .of_table(&TABLES[2], &rows(&study, &TABLES[2], &outcomes))
            .unwrap_err();
        assert!(
            error.to_string().contains("is not of the same cases as"),
            "{error}"
        );
    }
}
