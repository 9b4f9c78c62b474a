//! Responses against the run's own ranking: batches, filters, limits, reload and shutdown.

use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::common;
use prl_core::{PromptSpec, Prompts, TargetReturn};
use prl_dataset::{Kind, Windows};
use prl_engine::{Device, Engine, Error, Event, Filter, Options, RecommendRequest};
use prl_runs::{BlendBuilder, LiveItems, Method, Recommender, Run, SessionState};
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

fn request(items: &[u32], mu: f64, k: usize) -> RecommendRequest {
    let event = |i: &u32| Event {
        item: format!("item-{i}").into(),
        kind: kind(*i),
    };
    let prompt = PromptSpec {
        target: TargetReturn::Relative { mu, eps: 0.3 },
        sequence_wise: mu > 2.0,
        // Batches hold several tilts.
        tilt: [0.0, 0.75, -0.5][k % 5 % 3],
    };
    RecommendRequest {
        session: items.iter().map(event).collect(),
        prompt,
        case: 0,
        forecast: false,
        k,
        filter: Filter::default(),
        properties: Vec::new(),
    }
}

fn kind(item: u32) -> Kind {
    if item.is_multiple_of(5) {
        Kind::Purchase
    } else {
        Kind::Click
    }
}

/// The run's own answer, without the engine.
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
    run.recommend(model, &session, q.prompt, q.k).unwrap()
}

/// Requests for sessions of several lengths, some with unknown items.
fn many() -> Vec<RecommendRequest> {
    let session = |n: u32| {
        (0..n % 9)
            .map(|t| (n * 7 + t * t) % 63)
            .collect::<Vec<u32>>()
    };
    (0..40)
        .map(|n| request(&session(n), f64::from(n % 7) * 0.5, 1 + n as usize % 12))
        .collect()
}

#[test]
fn response_in_any_batch_matches_run_recommend() {
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
fn filters_select_exactly_the_allowed_items() {
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
                ..Filter::default()
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
fn session_without_catalogue_items_is_cold() {
    let engine = engine(Options::default());
    let empty = engine.recommend(&request(&[], 2.0, 5)).unwrap();
    let unknown = engine.recommend(&request(&[1_000, 2_000], 2.0, 5)).unwrap();
    assert!(empty.cold && unknown.cold);
    assert_eq!(empty.answer.items, unknown.answer.items);
    assert_eq!(unknown.answer.unknown_items, ["item-1000", "item-2000"]);
    assert!(!engine.recommend(&request(&[1], 2.0, 5)).unwrap().cold);
}

#[test]
fn full_queue_and_expired_request_fail_with_typed_errors() {
    let full = engine(Options {
        queue: 0,
        ..Options::default()
    });
    assert!(matches!(
        full.recommend(&request(&[1], 2.0, 5)),
        Err(Error::QueueFull { waiting: 0 })
    ));
    let late = engine(Options {
        timeout: Duration::ZERO,
        ..Options::default()
    });
    assert!(matches!(
        late.recommend(&request(&[1], 2.0, 5)),
        Err(Error::Timeout { .. })
    ));
}

#[test]
fn reload_swaps_model_and_failed_reload_keeps_it() {
    let other = trained(Method::Popularity);
    let engine = engine(Options::default());
    let before = engine.model().name().to_owned();
    let nothing = tempfile::tempdir().unwrap();
    assert!(engine.reload(nothing.path()).is_err());
    assert_eq!(engine.model().name(), before);
    let pending = engine.submit(&request(&[1, 2], 2.0, 5)).unwrap();
    engine.reload(&other.path().join("run")).unwrap();
    assert_eq!(
        pending.wait().unwrap().model,
        before,
        "a request is answered by the model current at its submission"
    );
    let after = engine.recommend(&request(&[1, 2], 2.0, 5)).unwrap();
    assert_ne!(after.model, before);
    assert_eq!(after.answer.prompt, None, "a baseline has no prompt");
    let tilted = engine.recommend(&request(&[1, 2], 2.0, 6)).unwrap_err();
    assert!(
        matches!(&tilted, Error::InvalidRequest(e) if e.to_string().starts_with("tilt: the scores of a baseline")),
        "{tilted}"
    );
    let only = Filter {
        allow: Some(vec!["item-7".into(), "item-9".into()]),
        ..Filter::default()
    };
    let all = engine
        .recommend(&request(&[1], 2.0, 60))
        .unwrap()
        .answer
        .items;
    let few = engine
        .recommend(&RecommendRequest {
            filter: only,
            ..request(&[1], 2.0, 60)
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
fn blend_is_served_as_it_recommends() {
    let knn = trained(Method::SessionKnnTuned);
    let runs = [&shared().0, &knn].map(|dir| dir.path().join("run"));
    let out = knn.path().join("blend");
    let manifest = BlendBuilder::new(&runs)
        .weights(vec![0.7, 0.3], Some(vec![0.5, 0.5]))
        .build(&out)
        .unwrap();
    let engine = engine(Options::default());
    engine.reload(&out).unwrap();
    let run = Run::open(&out).unwrap();
    let model = run.load(&Device::Cpu).unwrap();
    let mut requests = many();
    for (i, request) in requests.iter_mut().enumerate() {
        request.filter.exclude_seen = i % 3 == 0;
        let allow = ["item-3", "item-7", "item-9"].map(String::from);
        request.filter.allow = (i % 4 == 0).then(|| allow.to_vec());
    }
    let pending: Vec<_> = requests.iter().map(|q| engine.submit(q).unwrap()).collect();
    for (request, pending) in requests.iter().zip(pending) {
        let response = pending.wait().unwrap();
        assert_eq!(response.model, manifest.model);
        let SessionState {
            item_indices,
            prompt,
            ..
        } = run.state(&request.session, request.prompt, request.case);
        let mut windows = Windows::new(run.config().model.window);
        windows.push(&item_indices, run.items().len() as u32);
        let prompts = Prompts {
            returns: vec![prompt.value],
            steps: vec![prompt.step],
            tilt: prompt.ask.tilt,
        };
        let all = model.rank(&windows, &prompts, None, 60).unwrap().top;
        let properties = LiveItems::new(run.item_table().unwrap(), "available");
        let candidates = run.candidates(&properties, &request.filter, &item_indices);
        let candidates = candidates.unwrap();
        let mut expected = all[0].clone();
        expected.retain(|&(item, _)| candidates.filter().allows(item));
        expected.truncate(request.k);
        assert_eq!(response.answer.items, run.name(&expected));
        assert_eq!(response.answer.prompt, Some(prompt));
    }
}

#[test]
fn dropped_engine_answers_queued_requests() {
    let engine = engine(Options::default());
    let pending: Vec<_> = many().iter().map(|q| engine.submit(q).unwrap()).collect();
    drop(engine);
    assert!(pending.into_iter().all(|pending| pending.wait().is_ok()));
}
