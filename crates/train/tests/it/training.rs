//! Training through the public API: repeatability, resumption, evaluation and refused settings.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::common::{ITEMS, Quiet, StopAt, metrics, quick, ring, same_end};
use prl_core::{PromptSpec, ReturnScale, RewardCode, TargetReturn};
use prl_dataset::{Arrays, Dataset, Kind, Split, write};
use prl_model::{NegativeSampling, OwnItems};
use prl_runs::{Config, Device, Event, Method, Run, evaluate};
use prl_train::{Outcome, Trainer};

/// The settings with sampled negatives, and the output layer that trains with them.
pub(crate) fn with_negatives(
    config: Config,
    negatives: usize,
    sampling: NegativeSampling,
) -> Config {
    let mut config = Config {
        negatives,
        negative_sampling: sampling,
        ..config
    };
    config.model.tied = true;
    config.model.temperature = Some(0.2);
    config.model.own_items = OwnItems::Learned;
    config
}

pub(crate) fn finish(config: &Config, dir: &Path) -> Run {
    let stop = AtomicBool::new(false);
    let outcome = Trainer::new(config, dir)
        .device(&Device::Cpu)
        .resume(true)
        .stop_flag(&stop)
        .run(&mut Quiet)
        .unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    Run::open(dir).unwrap()
}

fn weights(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join("checkpoint/weights.safetensors")).unwrap()
}

#[test]
fn training_same_seed_same_bits_other_seed_other_bits() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        max_steps: Some(60),
        eval_every: 20,
        ..quick(ring(dir.path(), 200))
    };
    let run = |name: &str, seed: u64| {
        let out = dir.path().join(name);
        finish(
            &Config {
                seed,
                ..config.clone()
            },
            &out,
        );
        (metrics(&out), weights(&out))
    };
    let first = run("a", 5);
    assert!(first == run("b", 5));
    assert!(first != run("c", 6));
}

#[test]
fn training_resumed_ends_with_the_same_bits() {
    for (bf16_head, sampling) in [
        (false, None),
        (true, None),
        (false, Some(NegativeSampling::Popularity)),
        (true, Some(NegativeSampling::InBatch)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config {
            max_steps: Some(60),
            eval_every: 20,
            bf16_head,
            ..quick(ring(dir.path(), 200))
        };
        if let Some(sampling) = sampling {
            // Few negatives, so that rows rest between their touches.
            config = with_negatives(config, 4, sampling);
            config.batch_size = 8;
            config.weight_decay = 0.1;
        }
        let whole = dir.path().join("whole");
        finish(&config, &whole);
        let parts = dir.path().join("parts");
        for at in [7, 20, 33, 60] {
            let stop = AtomicBool::new(false);
            let outcome = Trainer::new(&config, &parts)
                .device(&Device::Cpu)
                .resume(true)
                .stop_flag(&stop)
                .run(&mut StopAt(at, &stop))
                .unwrap();
            assert!(matches!(outcome, Outcome::Interrupted(step) if step == at));
        }
        finish(&config, &parts);
        same_end(&whole, &parts);
    }
}

/// Checkpoint replacement is atomic: the old or the new checkpoint exists at any time.
#[test]
fn run_in_training_is_readable_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        max_steps: Some(150),
        eval_every: 1,
        ..quick(ring(dir.path(), 100))
    };
    let out = dir.path().join("run");
    std::thread::scope(|scope| {
        let training = scope.spawn(|| finish(&config, &out));
        while !out.join("best/manifest.json").exists() {
            assert!(!training.is_finished());
        }
        let mut reads = 0;
        while !training.is_finished() {
            Run::open(&out).unwrap().load(&Device::Cpu).unwrap();
            reads += 1;
        }
        assert!(reads > 3, "{reads}");
    });
}

#[test]
fn metrics_do_not_depend_on_batch_size_or_threads() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        max_steps: Some(40),
        ..quick(ring(dir.path(), 300))
    };
    let run = finish(&config, &dir.path().join("run"));
    let data = run.data(None).unwrap();
    let report = |batch: usize, threads: usize, sequence_wise: bool| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let model = run.load(&Device::Cpu).unwrap();
            let ask = PromptSpec {
                target: TargetReturn::Relative { mu: 2.0, eps: 0.5 },
                sequence_wise,
                tilt: 0.0,
            };
            let (mut report, _) = evaluate(&run, &model, &data, Split::Test, ask, batch).unwrap();
            report.events_per_second = None;
            serde_json::to_value(report).unwrap()
        })
    };
    for sequence_wise in [false, true] {
        let whole = report(256, 2, sequence_wise);
        for (batch, threads) in [(1, 1), (7, 3), (64, 1), (100_000, 2)] {
            assert_eq!(
                whole,
                report(batch, threads, sequence_wise),
                "batch {batch}, {threads} threads"
            );
        }
    }
}

/// A copy of the log with its sessions in reverse order.
fn turned(data: &Dataset, out: &Path) -> Dataset {
    let mut arrays = Arrays {
        offsets: vec![0],
        ..Arrays::default()
    };
    for session in data.sessions().collect::<Vec<_>>().into_iter().rev() {
        arrays
            .items
            .extend_from_slice(&data.item_indices()[session.clone()]);
        arrays
            .kinds
            .extend_from_slice(&data.kinds()[session.clone()]);
        arrays
            .times
            .extend_from_slice(&data.times()[session.clone()]);
        arrays.splits.extend_from_slice(&data.splits()[session]);
        arrays.offsets.push(arrays.items.len() as u64);
    }
    write(out, &arrays, data.items(), data.manifest().input.clone()).unwrap();
    Dataset::open(out).unwrap()
}

#[test]
fn metrics_do_not_depend_on_the_order_of_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let run = finish(
        &Config {
            max_steps: Some(40),
            ..quick(ring(dir.path(), 300))
        },
        &dir.path().join("run"),
    );
    let model = run.load(&Device::Cpu).unwrap();
    let data = run.data(None).unwrap();
    let scores = |data: &Dataset| {
        evaluate(&run, &model, data, Split::Test, run.ask(), 50)
            .unwrap()
            .0
            .scores
    };
    assert_eq!(
        scores(&data),
        scores(&turned(&data, &dir.path().join("turned")))
    );
}

#[test]
fn recommend_any_session_returns_k_items() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        max_steps: Some(200),
        ..quick(ring(dir.path(), 600))
    };
    let run = finish(&config, &dir.path().join("run"));
    let model = run.load(&Device::Cpu).unwrap();
    let clicks = |session: &[&'static str]| {
        session
            .iter()
            .map(|item| Event::click(*item))
            .collect::<Vec<_>>()
    };
    let ask = |session: &[&'static str]| {
        run.recommend(&model, &clicks(session), PromptSpec::default(), 5)
            .unwrap()
    };
    let answer = ask(&["item-7", "item-8"]);
    assert!(
        answer.items.iter().any(|i| i.item == "item-9"),
        "{answer:?}"
    );
    let answer = ask(&["item-7", "no such", "item-8"]);
    assert_eq!(answer.unknown_items, ["no such"]);
    assert_eq!(answer.items.len(), 5);
    assert_eq!(ask(&[]).items.len(), 5);
    let all = run
        .recommend(
            &model,
            &clicks(&["item-1"]),
            TargetReturn::Max.into(),
            10_000,
        )
        .unwrap();
    assert_eq!(all.items.len(), ITEMS as usize);
}

/// Return statistics with rewards 0.2 and 1: the mean return of step 0 is that of a session of six
/// events.
#[test]
fn sequence_wise_prompt_decreases_by_the_collected_reward() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config {
        max_steps: Some(50),
        ..quick(ring(dir.path(), 100))
    };
    config.model.prompt_scale = ReturnScale::Raw;
    let run = finish(&config, &dir.path().join("run"));
    let model = run.load(&Device::Cpu).unwrap();
    let ask = PromptSpec {
        target: TargetReturn::Absolute(3.0),
        sequence_wise: true,
        tilt: 0.0,
    };
    let fed = |session: &[Event<&str>]| {
        run.recommend(&model, session, ask, 1)
            .unwrap()
            .prompt
            .unwrap()
            .value
    };
    let click = Event::click("item-1");
    let purchase = Event {
        kind: Kind::Purchase,
        ..click
    };
    for (session, left) in [
        (vec![], 3.0),
        (vec![click], 2.8),
        (vec![click, purchase], 1.8),
        (vec![purchase; 4], 0.0),
    ] {
        assert!((fed(&session) - left).abs() < 1e-12, "{session:?}");
    }
    let quantile = run
        .prompts(
            TargetReturn::Quantile(1.0).into(),
            &[prl_core::PromptPosition::at(2, 0)],
        )
        .returns;
    assert_eq!(
        quantile,
        run.prompts(
            TargetReturn::Max.into(),
            &[prl_core::PromptPosition::at(2, 0)]
        )
        .returns
    );
}

/// Effect of each model setting on the metrics or the trained weights.
#[test]
fn every_setting_changes_the_weights() {
    let dir = tempfile::tempdir().unwrap();
    let base = Config {
        max_steps: Some(10),
        eval_every: 10,
        ..quick(ring(dir.path(), 100))
    };
    let trained = |name: &str, change: &dyn Fn(&mut Config)| {
        let mut config = base.clone();
        change(&mut config);
        let out = dir.path().join(name);
        finish(&config, &out);
        weights(&out)
    };
    let plain = trained("plain", &|_| ());
    let sac = trained("sac", &|c| (c.method, c.warm_up) = (Method::Sac, Some(0)));
    // As a ratio to the step's mean, a return is the same under both conventions of the discount.
    let raw = trained("raw", &|c| {
        (c.model.prompt_scale, c.lambda) = (ReturnScale::Raw, 0.5)
    });
    type Change<'a> = &'a dyn Fn(&mut Config);
    let switches: [(&str, &[u8], Change<'_>); 13] = [
        ("prompt_scale", &plain, &|c| {
            c.model.prompt_scale = ReturnScale::Raw
        }),
        ("residual", &plain, &|c| {
            c.model.residual = prl_core::ResidualInput::Raw
        }),
        ("reward_code", &plain, &|c| {
            c.model.reward_code = RewardCode::Binned
        }),
        ("update_bias", &plain, &|c| c.model.update_bias = -1.0),
        ("dropout", &plain, &|c| c.model.dropout = 0.0),
        ("lambda", &plain, &|c| c.lambda = 0.5),
        ("discount", &raw, &|c| {
            (c.model.prompt_scale, c.lambda) = (ReturnScale::Raw, 0.5);
            c.discount = prl_dataset::Discount::Relative;
        }),
        ("mean_over", &plain, &|c| {
            c.mean_over = prl_dataset::ReturnStatsSplit::All
        }),
        ("skip_first", &plain, &|c| c.skip_first = true),
        ("bf16_head", &plain, &|c| c.bf16_head = true),
        ("rewards", &plain, &|c| c.rewards.click = 0.5),
        ("gamma", &sac, &|c| {
            (c.method, c.warm_up, c.gamma) = (Method::Sac, Some(0), 0.9)
        }),
        ("warm_up", &sac, &|c| {
            (c.method, c.warm_up) = (Method::Sac, Some(5))
        }),
    ];
    let here = |name: &str| name != "update_bias" || base.model.encoder.name() == "gru";
    for (name, before, change) in switches.into_iter().filter(|(name, ..)| here(name)) {
        assert!(trained(name, change) != before, "{name} changes nothing");
    }
}

#[cfg(feature = "sasrec")]
#[test]
fn released_attention_ignores_the_prompt() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config {
        max_steps: Some(20),
        eval_every: 20,
        ..quick(ring(dir.path(), 100))
    };
    config.model.attention = prl_core::AttentionKeys::Outputs;
    assert!(config.check().unwrap_err().to_string().contains("sasrec"));
    config.model.encoder = prl_encoders::EncoderKind::SasRec;
    let run = finish(&config, &dir.path().join("released"));
    let model = run.load(&Device::Cpu).unwrap();
    let data = run.data(None).unwrap();
    let ranks = |ask: TargetReturn| {
        evaluate(&run, &model, &data, Split::Test, ask.into(), 64)
            .unwrap()
            .1
            .cases
    };
    assert!(!model.is_prompted());
    assert_eq!(
        ranks(TargetReturn::Absolute(0.1)),
        ranks(TargetReturn::Absolute(9.0))
    );
}

#[test]
fn negatives_are_refused_where_they_do_not_train() {
    let sampled = with_negatives(quick("ring".into()), 8, NegativeSampling::InBatch);
    sampled.check().unwrap();
    let refused = |config: Config| config.check().unwrap_err().to_string();
    let mut plain = sampled.clone();
    plain.model = quick("ring".into()).model;
    assert!(refused(plain).contains("negatives train the output layer of the modern recipe"));
    let power = Config {
        negative_power: 1.5,
        ..sampled.clone()
    };
    assert!(refused(power).contains("negative_power must lie in 0..=1"));
    let single = Config {
        batch_size: 1,
        ..sampled
    };
    assert!(refused(single).contains("batch_size of at least 2"));
}

#[test]
fn unfit_settings_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        max_steps: Some(20),
        eval_every: 20,
        ..quick(ring(dir.path(), 100))
    };
    let out = dir.path().join("run");
    #[cfg(feature = "caser")]
    {
        let model = prl_model::ModelConfig {
            encoder: prl_encoders::EncoderKind::Caser,
            window: 3,
            ..config.model.clone()
        };
        let short = Config {
            model,
            ..config.clone()
        };
        let error = Trainer::new(&short, &out)
            .device(&Device::Cpu)
            .stop_flag(&AtomicBool::new(false))
            .run(&mut Quiet)
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("window must be at least 4 for caser"),
            "{error}"
        );
        assert!(!out.exists(), "nothing is left of it");
    }
    finish(&config, &out);
    let again = |config: &Config, resume| {
        Trainer::new(config, &out)
            .device(&Device::Cpu)
            .resume(resume)
            .stop_flag(&AtomicBool::new(false))
            .run(&mut Quiet)
            .unwrap_err()
            .to_string()
    };
    assert!(again(&config, false).contains("--resume"));
    assert!(
        again(
            &Config {
                seed: 9,
                ..config.clone()
            },
            true
        )
        .contains("other settings")
    );
    std::fs::write(out.join("best/weights.safetensors"), b"junk").unwrap();
    let error = Run::open(&out)
        .unwrap()
        .load(&Device::Cpu)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("weights.safetensors") && error.contains("checksum"),
        "{error}"
    );
}
