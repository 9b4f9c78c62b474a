//! Evaluation conventions against a slow plain version, and against values computed by hand.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use prl_core::{PromptSpec, Prompts, TargetReturn};
use prl_dataset::{Arrays, Dataset, ItemMap, Kind, ManifestInput, Split, Windows, write};
use prl_eval::{CaseSplit, Conventions, NOT_RANKED, Report};
use prl_model::OwnItems;
use prl_runs::{
    CaseLog, CaseSink, Config, Device, Evaluation, Event, Method, RankedCase, Recipe, Recommender,
    Run,
};
use rand::Rng;

use crate::common::{metrics, quick};
use crate::training::finish;

/// Events of a session: raw item id, kind and split.
type Session = Vec<(String, Kind, Split)>;

/// Writes sessions as a prepared dataset whose items are `ids`, in this order.
fn dataset(dir: &Path, ids: &[String], sessions: &[Session]) -> PathBuf {
    let items = ItemMap::new(ids).unwrap();
    let mut arrays = Arrays {
        offsets: vec![0],
        ..Arrays::default()
    };
    for session in sessions {
        for (item, kind, split) in session {
            arrays.items.push(items.index(item).unwrap());
            arrays.kinds.push(*kind);
            arrays.times.push(arrays.times.len() as i64);
            arrays.splits.push(*split);
        }
        arrays.offsets.push(arrays.items.len() as u64);
    }
    write(dir, &arrays, &items, ManifestInput::default()).unwrap();
    dir.to_owned()
}

fn ids(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|i| format!("i{i}")).collect()
}

/// Random sessions with repeats, some of which span all three splits.
fn random(name: &str, ids: &[String], n: usize) -> Vec<Session> {
    let mut rng = prl_seed::stream(3, name, 0);
    let mut sessions = Vec::new();
    for s in 0..n {
        let mut session = Vec::new();
        let mut item = rng.random_range(0..ids.len());
        let length = rng.random_range(1..12_usize);
        for t in 0..length {
            let split = match s % 4 {
                0 => Split::ALL[(3 * t / length).min(2)],
                1 => Split::Test,
                2 => Split::Val,
                _ => Split::Train,
            };
            let kind = if rng.random_bool(0.2) {
                Kind::Purchase
            } else {
                Kind::Click
            };
            session.push((ids[item].clone(), kind, split));
            if rng.random_bool(0.7) {
                item = (item + rng.random_range(0..3)) % ids.len();
            } else {
                item = rng.random_range(0..ids.len());
            }
        }
        sessions.push(session);
    }
    sessions
}

/// Rank and lists of a case in an evaluation.
#[derive(Debug, PartialEq)]
struct Said {
    session: u32,
    kind: Kind,
    rank: u32,
    item: String,
    top: Vec<(u32, f32)>,
    step: u32,
    target_return: Option<f64>,
}

#[derive(Default)]
struct All(Vec<Said>);

impl CaseSink for All {
    fn push(
        &mut self,
        case: &RankedCase<'_>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.0.push(Said {
            session: case.session,
            kind: case.kind,
            rank: case.rank,
            item: case.item.to_owned(),
            top: case.top.to_vec(),
            step: case.step,
            target_return: case.target_return,
        });
        Ok(())
    }
}

/// The plain version: every case by itself, from the scores of all items.
fn plain(
    run: &Run,
    model: &Recommender,
    data: &Dataset,
    split: CaseSplit,
    conventions: Conventions,
    ask: PromptSpec,
    k: usize,
) -> Vec<Said> {
    let all: Vec<u32> = (0..run.items().len() as u32).collect();
    let (mut said, mut sessions) = (Vec::new(), 0);
    for session in data.sessions() {
        let before = said.len();
        for event in session.clone() {
            let is_case = split
                .split()
                .is_none_or(|split| data.splits()[event] == split);
            if !is_case || (conventions.skip_first && event == session.start) {
                continue;
            }
            let raw = |event: usize| data.items().raw(data.item_indices()[event]).unwrap();
            let mut history = Vec::new();
            for earlier in session.start..event {
                let (item, kind) = (raw(earlier), data.kinds()[earlier]);
                if run.items().index(item).is_some() {
                    history.push(Event { item, kind });
                }
            }
            let number = if ask.sequence_wise {
                sessions
            } else {
                said.len() as u64
            };
            let state = run.state(&history, ask, number);
            let mut windows = Windows::new(run.config().model.window);
            windows.push_events(&state.item_indices, &state.kinds, run.items().len() as u32);
            let prompts = Prompts {
                returns: vec![state.prompt.value],
                steps: vec![state.prompt.step],
                tilt: 0.0,
            };
            let scores = model.scores(&windows, &prompts, &all).unwrap();
            let seen = &state.item_indices;
            let is_ranked = |item: u32| {
                !(conventions.exclude_seen && seen.contains(&item)
                    || conventions.exclude_last && seen.last() == Some(&item))
            };
            let target = run
                .items()
                .index(raw(event))
                .filter(|&item| is_ranked(item));
            let mut rank = NOT_RANKED;
            if let Some(target) = target {
                let score = scores[target as usize];
                let at_least = |&&item: &&u32| is_ranked(item) && scores[item as usize] >= score;
                rank = all.iter().filter(at_least).count() as u32;
            }
            let mut top: Vec<(u32, f32)> = Vec::new();
            for &item in all.iter().filter(|&&item| is_ranked(item)) {
                top.push((item, scores[item as usize].unwrap()));
            }
            top.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            top.truncate(k);
            said.push(Said {
                session: sessions as u32,
                kind: data.kinds()[event],
                rank,
                item: raw(event).to_owned(),
                top,
                step: state.prompt.step,
                target_return: model.is_prompted().then_some(state.prompt.value),
            });
        }
        sessions += u64::from(said.len() > before);
    }
    said
}

/// The metrics of a report at its cutoffs, by their definitions.
fn assert_metrics(report: &Report, said: &[Said], items: usize) {
    let at_k = report.at_k.as_ref().unwrap();
    for &k in &at_k.k {
        let (mut hits, mut dcg, mut reciprocal) = (0.0, 0.0, 0.0);
        let mut covered = BTreeSet::new();
        for case in said {
            if case.rank <= k {
                hits += 1.0;
                dcg += 1.0 / f64::from(case.rank + 1).log2();
                reciprocal += 1.0 / f64::from(case.rank);
            }
            covered.extend(case.top.iter().take(k as usize).map(|entry| entry.0));
        }
        let n = said.len() as f64;
        for (name, expected) in [
            (format!("HR@{k}"), hits / n),
            (format!("NDCG@{k}"), dcg / n),
            (format!("MRR@{k}"), reciprocal / n),
            (format!("precision@{k}"), hits / n / f64::from(k)),
        ] {
            let found = at_k.all[&name].unwrap();
            assert!(
                (found - expected).abs() < 1e-12,
                "{name}: {found} and {expected}"
            );
        }
        let coverage = at_k.lists[&format!("coverage@{k}")].unwrap();
        assert_eq!(coverage, covered.len() as f64 / items as f64);
    }
    let mean = |sum: f64| sum / said.len() as f64;
    let reciprocal = said.iter().filter(|case| case.rank != NOT_RANKED);
    let expected = mean(reciprocal.map(|case| 1.0 / f64::from(case.rank)).sum());
    assert!((report.scores.all.mrr.unwrap() - expected).abs() < 1e-12);
}

fn every_convention() -> Vec<Conventions> {
    let mut all = Vec::new();
    for bits in 0..8 {
        all.push(Conventions {
            skip_first: bits & 1 > 0,
            exclude_last: bits & 2 > 0,
            exclude_seen: bits & 4 > 0,
        });
    }
    all
}

#[test]
fn every_convention_matches_the_plain_version() {
    let dir = tempfile::tempdir().unwrap();
    let own = ids(0..30);
    let data = dataset(&dir.path().join("own"), &own, &random("own", &own, 120));
    // Of these items the run knows i20 to i29.
    let later = ids(20..45);
    let sessions = random("later", &later, 60);
    let later = Dataset::open(&dataset(&dir.path().join("later"), &later, &sessions)).unwrap();
    let mut configs = Vec::new();
    for method in [Method::Prl, Method::SessionKnn, Method::LastItems] {
        configs.push(Config {
            method,
            max_steps: Some(40),
            ..quick(data.clone())
        });
    }
    // States with the kinds of their events.
    let mut modern = Config {
        data: data.clone(),
        ..Config::of_recipe(Recipe::Modern)
    };
    modern.model.dim = 8;
    modern.model.own_items = OwnItems::Learned;
    configs.push(modern);
    for config in configs {
        let method = config.method;
        let run = finish(
            &config,
            &dir.path()
                .join(config.recipe.name().to_owned() + method.name()),
        );
        let model = run.load(&Device::Cpu).unwrap();
        let own = run.data(None).unwrap();
        let asks = [
            run.ask(),
            PromptSpec {
                sequence_wise: true,
                ..TargetReturn::Relative { mu: 1.5, eps: 0.5 }.into()
            },
        ];
        for (i, conventions) in every_convention().into_iter().enumerate() {
            let ask = asks[i % 2];
            // The last has longer lists and a larger batch than are ranked at once.
            let (longest, batch) = if i == 7 { (1_000, 500) } else { (25, 7 + i) };
            let cutoffs = [1, 7, longest];
            for (log, split) in [
                (
                    CaseLog::own(&run, &own, CaseSplit::Test, conventions),
                    CaseSplit::Test,
                ),
                (
                    CaseLog::other(&run, &later, CaseSplit::All, conventions),
                    CaseSplit::All,
                ),
            ] {
                let log = log.unwrap();
                let mut said = All::default();
                let report = Evaluation::new(&run, &model)
                    .prompt(ask)
                    .batch_size(batch)
                    .cutoffs(&cutoffs)
                    .run(&log, &mut [&mut said])
                    .unwrap();
                let expected = plain(
                    &run,
                    &model,
                    log.data(),
                    split,
                    conventions,
                    ask,
                    longest as usize,
                );
                assert_eq!(said.0, expected, "{method:?}, {conventions:?}, {split:?}");
                assert_metrics(&report, &expected, run.items().len());
                assert_eq!(report.setting.conventions, conventions);
                assert_eq!(report.setting.split, split);
            }
        }
    }
}

fn session(items: &str, split: Split) -> Session {
    let click = |item: char| (item.to_string(), Kind::Click, split);
    items.chars().map(click).collect()
}

fn popularity_run(dir: &Path) -> Run {
    let ids: Vec<String> = "abcd".chars().map(String::from).collect();
    // Training events: a 4, b 3, c 2, d 1.
    let sessions = [
        session("aaaabbbccd", Split::Train),
        session("ab", Split::Val),
        session("abbd", Split::Test),
    ];
    let config = Config {
        method: Method::Popularity,
        ..quick(dataset(&dir.join("data"), &ids, &sessions))
    };
    finish(&config, &dir.join("run"))
}

/// Ranks and MRR@3 of a log under conventions, `None` for a target that is not ranked.
fn ranks(run: &Run, log: &CaseLog<'_>) -> (Vec<Option<u32>>, Report) {
    let mut said = All::default();
    let model = run.load(&Device::Cpu).unwrap();
    let report = Evaluation::new(run, &model)
        .cutoffs(&[3, 1])
        .run(log, &mut [&mut said])
        .unwrap();
    let ranks = said
        .0
        .iter()
        .map(|case| Some(case.rank).filter(|&rank| rank != NOT_RANKED));
    (ranks.collect(), report)
}

/// Popularity ranks a, b, c, d. The test session is a, b, b, d:
/// - all events, all items: ranks 1, 2, 2, 4;
/// - without the first event and the latest item: after a, of b, c, d: b is 1; after b, b is left
///   out; after b, of a, c, d: d is 3;
/// - without the items seen: after a: b is 1; b is left out; of c, d: d is 2.
#[test]
fn conventions_match_hand_computation() {
    let dir = tempfile::tempdir().unwrap();
    let run = popularity_run(dir.path());
    let data = run.data(None).unwrap();
    let of = |skip_first, exclude_last, exclude_seen| {
        let conventions = Conventions {
            skip_first,
            exclude_last,
            exclude_seen,
        };
        let log = CaseLog::own(&run, &data, CaseSplit::Test, conventions).unwrap();
        let (ranks, report) = ranks(&run, &log);
        let at_k = report.at_k.unwrap();
        let value = |name: &str| at_k.all[name].unwrap();
        let coverage = at_k.lists["coverage@1"].unwrap();
        (
            ranks,
            value("MRR@3"),
            value("HR@1"),
            value("precision@3"),
            coverage,
        )
    };
    let third = 1.0 / 3.0;
    assert_eq!(
        of(false, false, false),
        (
            vec![Some(1), Some(2), Some(2), Some(4)],
            (1.0 + 0.5 + 0.5) / 4.0,
            0.25,
            3.0 / 3.0 / 4.0,
            0.25
        )
    );
    assert_eq!(
        of(true, true, false),
        (
            vec![Some(1), None, Some(3)],
            (1.0 + third) / 3.0,
            third,
            2.0 / 3.0 / 3.0,
            0.5
        )
    );
    assert_eq!(
        of(true, false, true),
        (
            vec![Some(1), None, Some(2)],
            1.5 / 3.0,
            third,
            2.0 / 3.0 / 3.0,
            0.5
        )
    );
    assert_eq!(of(false, false, true).0, [Some(1), Some(1), None, Some(2)]);
}

/// The later log is a, z, b, z: z is unknown, and the state before b is a alone.
#[test]
fn unknown_items_of_another_log_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let run = popularity_run(dir.path());
    let ids: Vec<String> = "yzab".chars().map(String::from).collect();
    let sessions = [session("azbz", Split::Train), session("zy", Split::Test)];
    let later = Dataset::open(&dataset(&dir.path().join("later"), &ids, &sessions)).unwrap();
    let of = |split, exclude_last| {
        let conventions = Conventions {
            exclude_last,
            ..Conventions::default()
        };
        ranks(
            &run,
            &CaseLog::other(&run, &later, split, conventions).unwrap(),
        )
    };
    let (ranks, report) = of(CaseSplit::All, false);
    assert_eq!(ranks, [Some(1), None, Some(2), None, None, None]);
    let other = report.setting.other_log.unwrap();
    assert_eq!(other.trained_on, run.dataset());
    assert_eq!(
        (
            other.unknown_items,
            other.unknown_in_states,
            other.unknown_targets
        ),
        (2, 2, 4)
    );
    assert_eq!(report.setting.dataset, later.manifest().dataset);
    assert_eq!(
        (report.mean_popularity_at_20, report.coverage_at_20),
        (None, Some(1.0))
    );
    assert_eq!(report.scores.events.click, 6);
    // After a, and an unknown item, the latest item of the state is a.
    assert_eq!(of(CaseSplit::Train, true).0, [Some(1), None, Some(1), None]);
    let (ranks, report) = of(CaseSplit::Test, false);
    assert_eq!(ranks, [None, None]);
    assert_eq!(report.scores.all.mrr, Some(0.0));
}

#[test]
fn moved_dataset_error_names_the_flag() {
    let dir = tempfile::tempdir().unwrap();
    let run = popularity_run(dir.path());
    let (old, new) = (dir.path().join("data"), dir.path().join("elsewhere"));
    std::fs::rename(&old, &new).unwrap();
    let message = run.data(None).unwrap_err().to_string();
    for part in [old.to_str().unwrap(), run.dataset(), "--data"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(run.data(Some(&new)).is_ok());
}

#[test]
fn held_out_sessions_are_the_validation_split() {
    let dir = tempfile::tempdir().unwrap();
    let ids = ids(0..20);
    let mut sessions = random("held", &ids, 80);
    for session in &mut sessions {
        for event in session {
            event.2 = Split::Train;
        }
    }
    let config = Config {
        max_steps: Some(20),
        eval_every: 20,
        hold_out: Some(0.25),
        ..quick(dataset(&dir.path().join("data"), &ids, &sessions))
    };
    let run = finish(&config, &dir.path().join("run"));
    let data = run.data(None).unwrap();
    let own = |split| CaseLog::own(&run, &data, split, Conventions::default()).unwrap();
    let model = run.load(&Device::Cpu).unwrap();
    let evaluate = |split| {
        Evaluation::new(&run, &model)
            .run(&own(split), &mut [])
            .unwrap()
    };
    let (held, rest) = (evaluate(CaseSplit::Val), evaluate(CaseSplit::Train));
    let last = serde_json::to_value(held.scores).unwrap();
    assert_eq!(metrics(run.dir()).last().unwrap()["val"], last);
    let events = |report: &Report| report.scores.events.click + report.scores.events.purchase;
    assert_eq!(
        events(&held) + events(&rest),
        data.item_indices().len() as u64
    );
}
