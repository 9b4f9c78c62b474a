//! Significance stars of a table: paired tests on the test cases, Holm-corrected over the table.
//!
//! The paper stars PRL in Tables 2 and 3 where p < 0.1 against the best baseline of its encoder,
//! and in Tables 4 and 5 every variant with p < 0.1 against PRL. The same pairs are tested here.
//! The paired test itself, with its rule for ties and for several seeds, is [`prl_eval::compare`].
//! Pages are written often and finished runs do not change, so comparisons are cached.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use prl_dataset::{Kind, Split};
use prl_eval::{Case, Comparison, Metric, compare};

use crate::cases::Cases;
use crate::matrix::{PaperTable, SignificanceRule, System};
use crate::outcome::{columns, value};
use crate::table_row::TableRow;

/// Level of a star: a corrected p-value below it, as in the paper.
pub const LEVEL: f64 = 0.1;
/// Seed of the random signs and resamples of all tests.
const SEED: u64 = 0;

/// Test of a row in one column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TestResult {
    /// Row that it was compared with.
    pub baseline: System,
    /// Comparison of the row with the baseline.
    pub comparison: Comparison,
    /// Corrected p-value.
    pub p: f64,
}

impl TestResult {
    /// Whether the difference is significant.
    pub fn is_starred(&self) -> bool {
        self.p < LEVEL
    }
}

/// Tests of a table, by row and column.
pub type TestResults = HashMap<(System, Kind, Metric), TestResult>;

/// Paired tests with a cache of their comparisons.
#[derive(Default)]
pub struct TestCache {
    comparisons: Mutex<HashMap<ComparisonKey, Option<Comparison>>>,
}

/// Inputs of a comparison: case files of both sides, kind and metric.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ComparisonKey {
    a: Vec<PathBuf>,
    b: Vec<PathBuf>,
    kind: Kind,
    metric: Metric,
}

/// A pair of rows to test in one column.
struct Contrast {
    system: System,
    baseline: System,
    kind: Kind,
    metric: Metric,
}

/// Case files read so far while a table is tested.
type LoadedCases = HashMap<PathBuf, Arc<Cases>>;

impl TestCache {
    /// Tests of a table on one log. There are two families, each corrected by itself: the pairs of
    /// the paper's rule, and the additional rows against PRL.
    ///
    /// # Errors
    /// If cases cannot be read, or two runs have different cases.
    pub fn test_table(&self, table: &PaperTable, rows: &[TableRow<'_>]) -> Result<TestResults> {
        let (mut own, mut extra) = (Vec::new(), Vec::new());
        for row in rows {
            if table.extra_rows.contains(&row.system) {
                extra.push(row);
            } else {
                own.push(row);
            }
        }
        let mut loaded = LoadedCases::new();
        let families = [
            contrasts(table.significance, &own, rows),
            contrasts(SignificanceRule::AgainstPrl, &extra, rows),
        ];
        let mut results = TestResults::new();
        for contrasts in families {
            results.extend(self.test_family(contrasts, rows, &mut loaded)?);
        }
        Ok(results)
    }

    /// Tests some contrasts, corrected together.
    fn test_family(
        &self,
        contrasts: Vec<Contrast>,
        rows: &[TableRow<'_>],
        loaded: &mut LoadedCases,
    ) -> Result<TestResults> {
        let (mut tested, mut p_values) = (Vec::new(), Vec::new());
        for contrast in contrasts {
            if let Some(comparison) = self.compare(&contrast, rows, loaded)? {
                p_values.push(comparison.p_value);
                tested.push((contrast, comparison));
            }
        }
        let mut results = TestResults::new();
        for ((contrast, comparison), p) in tested.into_iter().zip(holm(&p_values)) {
            results.insert(
                (contrast.system, contrast.kind, contrast.metric),
                TestResult {
                    baseline: contrast.baseline,
                    comparison,
                    p,
                },
            );
        }
        Ok(results)
    }

    fn compare(
        &self,
        contrast: &Contrast,
        rows: &[TableRow<'_>],
        loaded: &mut LoadedCases,
    ) -> Result<Option<Comparison>> {
        let Contrast { kind, metric, .. } = *contrast;
        let key = ComparisonKey {
            a: case_files(rows, contrast.system),
            b: case_files(rows, contrast.baseline),
            kind,
            metric,
        };
        if let Some(cached) = self.lock().get(&key) {
            return Ok(*cached);
        }
        let (a, b) = (load(&key.a, loaded)?, load(&key.b, loaded)?);
        let Some(first) = a.first() else {
            return Ok(None);
        };
        let sessions = &first.sessions;
        for (cases, path) in a.iter().chain(&b).zip(key.a.iter().chain(&key.b)) {
            ensure!(
                cases.sessions == *sessions,
                "{} is not of the same cases as {}",
                path.display(),
                key.a[0].display()
            );
        }
        let comparison = compare(&slices(&a), &slices(&b), sessions, Some(kind), metric, SEED)?;
        self.lock().insert(key, comparison);
        Ok(comparison)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ComparisonKey, Option<Comparison>>> {
        self.comparisons
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Case files of a system's finished runs.
fn case_files(rows: &[TableRow<'_>], system: System) -> Vec<PathBuf> {
    match rows.iter().find(|row| row.system == system) {
        Some(row) => row.done.iter().map(|(_, run)| run.cases.clone()).collect(),
        None => Vec::new(),
    }
}

fn load(paths: &[PathBuf], loaded: &mut LoadedCases) -> Result<Vec<Arc<Cases>>> {
    let mut all = Vec::new();
    for path in paths {
        all.push(load_one(path, loaded)?);
    }
    Ok(all)
}

fn load_one(path: &Path, loaded: &mut LoadedCases) -> Result<Arc<Cases>> {
    if let Some(cases) = loaded.get(path) {
        return Ok(cases.clone());
    }
    let cases = Arc::new(Cases::read(path)?);
    loaded.insert(path.to_owned(), cases.clone());
    Ok(cases)
}

fn slices(runs: &[Arc<Cases>]) -> Vec<&[Case]> {
    runs.iter().map(|run| run.cases.as_slice()).collect()
}

/// Pairs to test: for each row of `tested` and each column, the baseline that the rule selects
/// among `all` rows of the same encoder.
fn contrasts(
    rule: SignificanceRule,
    tested: &[&TableRow<'_>],
    all: &[TableRow<'_>],
) -> Vec<Contrast> {
    let mut contrasts = Vec::new();
    for row in tested {
        if row.done.is_empty() || !row.system.has_encoder() {
            continue;
        }
        for (kind, metric) in columns() {
            if let Some(baseline) = baseline(rule, row.system, all, kind, metric) {
                contrasts.push(Contrast {
                    system: row.system,
                    baseline,
                    kind,
                    metric,
                });
            }
        }
    }
    contrasts
}

/// Baseline of a system in a column; `None` if the rule does not test the system.
fn baseline(
    rule: SignificanceRule,
    system: System,
    rows: &[TableRow<'_>],
    kind: Kind,
    metric: Metric,
) -> Option<System> {
    let mut candidates: Vec<&TableRow<'_>> = Vec::new();
    for row in rows {
        if row.system.encoder == system.encoder && row.system != system {
            candidates.push(row);
        }
    }
    match rule {
        SignificanceRule::AgainstPrl if system.is_paper_prl() => None,
        SignificanceRule::AgainstPrl => {
            candidates.retain(|row| row.system.is_paper_prl() && !row.done.is_empty());
            candidates.first().map(|row| row.system)
        }
        SignificanceRule::AgainstBestOf(_) if !system.is_paper_prl() => None,
        SignificanceRule::AgainstBestOf(methods) => {
            candidates.retain(|row| methods.contains(&row.system.method));
            best(&candidates, kind, metric)
        }
    }
}

/// Row with the highest mean in a column of the test split; the first of equals.
fn best(rows: &[&TableRow<'_>], kind: Kind, metric: Metric) -> Option<System> {
    let mut best: Option<(f64, System)> = None;
    for row in rows {
        let summary = row.over_seeds(|run| value(&run.report(Split::Test).scores, kind, metric));
        let Some(summary) = summary else { continue };
        if best.is_none_or(|(mean, _)| summary.mean > mean) {
            best = Some((summary.mean, row.system));
        }
    }
    best.map(|(_, system)| system)
}

/// Holm's step-down correction of p-values, in the given order: the probability that any true null
/// hypothesis of the family is rejected at a level is at most that level, however the tests depend
/// on each other.
///
/// Source: S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal
/// of Statistics 6 (1979).
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut corrected = vec![0.0; p_values.len()];
    let mut max = 0.0_f64;
    for (k, &i) in order.iter().enumerate() {
        max = max.max(p_values[i] * (p_values.len() - k) as f64).min(1.0);
        corrected[i] = max;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Experiment;
    use crate::fixture;
    use crate::matrix::{PaperTable, TABLES};
    use crate::outcome::Outcome;
    use crate::run_spec::Filter;
    use crate::table_row::TableRow;

    /// R's `p.adjust(c(.01, .04, .03, .005), "holm")` is .03 .06 .06 .02.
    #[test]
    fn holm_matches_r() {
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

    fn rows<'a>(
        experiment: &'a Experiment,
        table: &PaperTable,
        outcomes: &'a [Outcome],
    ) -> Vec<TableRow<'a>> {
        let mut rows = Vec::new();
        for system in table.systems() {
            rows.extend(TableRow::collect(experiment, 0, system, outcomes));
        }
        rows
    }

    /// PRL wins 12 of 40 sessions more than the best baseline: p is at most 2 x 2^-12, and 1 of the
    /// 48 columns is least.
    #[test]
    fn prl_is_tested_against_best_baseline_of_its_encoder() {
        let dir = tempfile::tempdir().unwrap();
        let experiment = fixture::experiment(dir.path(), 2, true, Filter::default());
        let outcomes = fixture::outcomes(&experiment, |system| {
            Some(match (system.encoder, system.method) {
                (_, "sqn") => 0.5,
                (Some("gru"), "prl") => 0.8,
                (Some("caser"), "prl") => 0.2,
                (_, "prl") => 0.5,
                _ => 0.3,
            })
        });
        let results = TestCache::default()
            .test_table(&TABLES[0], &rows(&experiment, &TABLES[0], &outcomes))
            .unwrap();
        let of = |name: &str| results[&(fixture::system(name), Kind::Purchase, Metric::Hr5)];
        let gru = of("gru-prl");
        assert_eq!(gru.baseline, fixture::system("gru-sqn"));
        assert!(
            (gru.comparison.difference - 0.3).abs() < 1e-12 && gru.is_starred(),
            "{gru:?}"
        );
        assert!((of("caser-prl").comparison.difference + 0.3).abs() < 1e-12);
        assert_eq!(of("sasrec-prl").p, 1.0, "no difference at all");
        assert_eq!(
            of("caser-prl-control").baseline,
            fixture::system("caser-prl")
        );
        assert_eq!(
            of("sasrec-prl-released").baseline,
            fixture::system("sasrec-prl")
        );
        // PRL on 4 encoders, the control on 4, and SASRec-PRL as released, in 12 columns.
        assert_eq!(results.len(), 9 * 12);
        // The least p of the 48 columns of PRL.
        assert!(
            (gru.p - 48.0 * gru.comparison.p_value).abs() < 1e-12,
            "{gru:?}"
        );
    }

    #[test]
    fn variants_are_tested_against_prl() {
        let dir = tempfile::tempdir().unwrap();
        let experiment = fixture::experiment(dir.path(), 1, true, Filter::default());
        let outcomes = fixture::outcomes(&experiment, |system| {
            (system.method != "prl-mlp").then_some(0.5)
        });
        let results = TestCache::default()
            .test_table(&TABLES[2], &rows(&experiment, &TABLES[2], &outcomes))
            .unwrap();
        assert_eq!(
            results.len(),
            12,
            "of PRL-mean: PRL is not tested against itself, and PRL-MLP failed"
        );
        assert!(
            results
                .values()
                .all(|test| test.baseline == fixture::system("gru-prl"))
        );
    }

    #[test]
    fn different_cases_cannot_be_paired() {
        let dir = tempfile::tempdir().unwrap();
        let experiment = fixture::experiment(dir.path(), 1, true, Filter::default());
        let outcomes = fixture::outcomes(&experiment, |_| Some(0.5));
        let prl = experiment
            .runs
            .iter()
            .find(|run| run.spec.system == fixture::system("gru-prl"))
            .unwrap();
        std::fs::write(
            prl.dir.join("test-cases.csv"),
            "session,kind,rank\n1,click,1\n",
        )
        .unwrap();
        let error = TestCache::default()
            .test_table(&TABLES[2], &rows(&experiment, &TABLES[2], &outcomes))
            .unwrap_err();
        assert!(
            error.to_string().contains("is not of the same cases as"),
            "{error}"
        );
    }
}
