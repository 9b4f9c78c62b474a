//! What the engine answers is what the run answers, in any company; filters are exact; nothing waits for ever.

#[path = "../../train/tests/common/mod.rs"]
mod common;

use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use prl_core::{PromptSpec, TargetReturn};
use prl_dataset::Kind;
use prl_engine::{Device, Engine, Error, Event, Filter, Options, RecommendRequest};
use prl_runs::{Method, Recommender, Run};
use prl_train::{Evaluation, Observer};

struct Quiet;

impl Observer for Quiet {
    fn step(&mut self, _: u64, _: u64, _: f64) {}
    fn evaluated(&mut self, _: &Evaluation, _: bool) {}
}

fn trained(method: Method) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut config = common::quick(common::ring(dir.path(), 200));
    (config.method, config.max_steps) = (method, Some(60));
    let out = dir.path().join("run");
    prl_train::Trainer::new(&config, &out)
        .device(&Device::Cpu)
        .stop_flag(&AtomicBool::new(false))
        .run(&mut Quiet)
        .unwrap();
    dir
}

/// One small PRL run for all tests.
fn shared() -> &'static (tempfile::TempDir, Run, Recommender) {
    static RUN: OnceLock<(tempfile::TempDir, Run, Recommender)> = OnceLock::new();
    RUN.get_or_init(|| {
        let dir = trained(Method::Prl);
        let run = Run::open(&dir.path().join("run")).unwrap();
        let model = run.load(&Device::Cpu).unwrap();
        (dir, run, model)
    })
}

fn engine(options: Options) -> Engine {
    Engine::open(&shared().0.path().join("run"), options).unwrap()
}

fn question(items: &[u32], mu: f64, k: usize) -> RecommendRequest {
    let event = |i: &u32| Event {
        item: format!("item-{i}").into(),
        kind: kind(*i),
    };
    let ask = PromptSpec {
        target: TargetReturn::Relative { mu, eps: 0.3 },
        sequence_wise: mu > 2.0,
    };
    RecommendRequest {
        session: items.iter().map(event).collect(),
        ask,
        case: 0,
        k,
        filter: Filter::default(),
    }
}

fn kind(item: u32) -> Kind {
    if item.is_multiple_of(5) {
        Kind::Purchase
    } else {
        Kind::Click
    }
}

/// What the run itself answers.
fn offline(q: &RecommendRequest) -> prl_runs::Recommendations {
    let (_, run, model) = shared();
    let session: Vec<_> = q
        .session
        .iter()
        .map(|e| prl_runs::Event {
            item: &e.item,
            kind: e.kind,
        })
        .collect();
    run.recommend(model, &session, q.ask, q.k).unwrap()
}

/// Sessions of several lengths, unknown items among them.
fn many() -> Vec<RecommendRequest> {
    let session = |n: u32| {
        (0..n % 9)
            .map(|t| (n * 7 + t * t) % 63)
            .collect::<Vec<u32>>()
    };
    (0..40)
        .map(|n| question(&session(n), f64::from(n % 7) * 0.5, 1 + n as usize % 12))
        .collect()
}

#[test]
fn an_answer_is_the_runs_own_alone_and_in_any_batch() {
    for batch in [1, 3, 64] {
        let engine = engine(Options {
            batch,
            ..Options::default()
        });
        let pending: Vec<_> = many()
            .into_iter()
            .map(|q| (engine.submit(&q).unwrap(), q))
            .collect();
        for (pending, q) in pending {
            assert_eq!(
                pending.wait().unwrap().answer,
                offline(&q),
                "batch {batch}: {q:?}"
            );
            assert_eq!(
                engine.recommend(&q).unwrap().answer,
                offline(&q),
                "alone: {q:?}"
            );
        }
    }
}

#[test]
fn filters_are_exact() {
    let engine = engine(Options::default());
    for q in many() {
        let all = offline(&RecommendRequest {
            k: common::ITEMS as usize,
            ..q.clone()
        })
        .items;
        let ids = |every: usize| {
            all.iter()
                .step_by(every)
                .map(|r| r.item.clone())
                .collect::<Vec<_>>()
        };
        let (exclude, allow) = (ids(2), ids(3));
        let seen = |item: &str| q.session.iter().any(|e| *e.item == *item);
        for (exclude_seen, has_exclude, has_allow) in
            (0..8).map(|n| (n & 1 > 0, n & 2 > 0, n & 4 > 0))
        {
            let filter = Filter {
                exclude_seen,
                exclude: if has_exclude {
                    exclude.clone()
                } else {
                    Vec::new()
                },
                allow: has_allow.then(|| allow.clone()),
            };
            let expected: Vec<_> = all
                .iter()
                .filter(|r| !(exclude_seen && seen(&r.item)))
                .filter(|r| !(has_exclude && exclude.contains(&r.item)))
                .filter(|r| !has_allow || allow.contains(&r.item))
                .take(q.k)
                .cloned()
                .collect();
            assert_eq!(
                engine
                    .recommend(&RecommendRequest {
                        filter,
                        ..q.clone()
                    })
                    .unwrap()
                    .answer
                    .items,
                expected
            );
        }
    }
}

#[test]
fn an_empty_or_unknown_session_is_cold() {
    let engine = engine(Options::default());
    let empty = engine.recommend(&question(&[], 2.0, 5)).unwrap();
    let unknown = engine
        .recommend(&question(&[1_000, 2_000], 2.0, 5))
        .unwrap();
    assert!(empty.cold && unknown.cold);
    assert_eq!(empty.answer.items, unknown.answer.items);
    assert_eq!(unknown.answer.unknown_items, ["item-1000", "item-2000"]);
    assert!(!engine.recommend(&question(&[1], 2.0, 5)).unwrap().cold);
}

#[test]
fn a_full_queue_refuses_and_a_late_question_is_told() {
    let full = engine(Options {
        queue: 0,
        ..Options::default()
    });
    assert!(matches!(
        full.recommend(&question(&[1], 2.0, 5)),
        Err(Error::Full { waiting: 0 })
    ));
    let late = engine(Options {
        timeout: Duration::ZERO,
        ..Options::default()
    });
    assert!(matches!(
        late.recommend(&question(&[1], 2.0, 5)),
        Err(Error::Late { .. })
    ));
}

#[test]
fn a_reload_swaps_whole_runs_and_keeps_the_old_one_on_failure() {
    let other = trained(Method::Popularity);
    let engine = engine(Options::default());
    let before = engine.live().name().to_owned();
    let nothing = tempfile::tempdir().unwrap();
    assert!(engine.reload(nothing.path()).is_err());
    assert_eq!(engine.live().name(), before);
    let pending = engine.submit(&question(&[1, 2], 2.0, 5)).unwrap();
    engine.reload(&other.path().join("run")).unwrap();
    assert_eq!(
        pending.wait().unwrap().model,
        before,
        "a question ends on the model it began with"
    );
    let after = engine.recommend(&question(&[1, 2], 2.0, 5)).unwrap();
    assert_ne!(after.model, before);
    assert_eq!(after.answer.prompt, None, "a baseline is fed no prompt");
    let only = Filter {
        allow: Some(vec!["item-7".into(), "item-9".into()]),
        ..Filter::default()
    };
    let all = engine
        .recommend(&question(&[1], 2.0, 60))
        .unwrap()
        .answer
        .items;
    let few = engine
        .recommend(&RecommendRequest {
            filter: only,
            ..question(&[1], 2.0, 60)
        })
        .unwrap()
        .answer
        .items;
    let expected: Vec<_> = all
        .into_iter()
        .filter(|r| r.item == "item-7" || r.item == "item-9")
        .collect();
    assert_eq!(few, expected);
}

#[test]
fn dropping_the_engine_answers_what_waits() {
    let engine = engine(Options::default());
    let pending: Vec<_> = many().iter().map(|q| engine.submit(q).unwrap()).collect();
    drop(engine);
    assert!(pending.into_iter().all(|pending| pending.wait().is_ok()));
}
