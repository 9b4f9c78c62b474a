//! Trainings that start from a finished run on a new dataset.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use candle_core::Tensor;
use prl_core::PromptSpec;
use prl_dataset::{Arrays, DatasetCounts, ItemMap, Kind, ManifestInput, Source, Split, write};
use prl_encoders::EncoderKind;
use prl_model::NegativeSampling;
use prl_runs::{
    Config, Device, Error, Event, Method, NewItems, OptimizerStart, ParentRun, Recipe, Run,
};
use prl_train::{Outcome, Trainer};

use crate::common::{Quiet, StopAt, quick, ring, same_end};
use crate::training::{finish, with_negatives};

/// Items of the shop on each of two days: the second day drops the first five, adds five that begin
/// with `new` and orders all of them anew.
fn day_items(day: usize) -> Vec<String> {
    match day {
        0 => (0..20).map(|i| format!("item-{i}")).collect(),
        _ => {
            let mut items: Vec<String> = (5..20).map(|i| format!("item-{i}")).collect();
            items.extend((0..5).map(|i| format!("new-{i}")));
            items.reverse();
            items
        }
    }
}

/// A log of one day: item i is followed by i + 1 in [`day_items`]' order before it is reversed.
fn day(dir: &Path, day: usize) -> PathBuf {
    let items = day_items(day);
    let n = items.len();
    let mut arrays = Arrays {
        offsets: vec![0],
        ..Arrays::default()
    };
    for s in 0..100 {
        let split = if s % 10 == 0 {
            Split::Val
        } else {
            Split::Train
        };
        for t in 0..5 {
            let i = (s + t) % n;
            let index = if day == 0 { i } else { n - 1 - i };
            arrays.items.push(index as u32);
            arrays.kinds.push(match i % 5 {
                0 => Kind::Purchase,
                _ => Kind::Click,
            });
            arrays.times.push((day * 100_000 + s * 10 + t) as i64);
            arrays.splits.push(split);
        }
        arrays.offsets.push(arrays.items.len() as u64);
    }
    let out = dir.join(format!("day-{day}"));
    let draft = ManifestInput {
        source: Source {
            kind: "test".into(),
            synthetic: true,
            files: Vec::new(),
        },
        options: Default::default(),
        seed: 0,
        counts: DatasetCounts::default(),
    };
    write(&out, &arrays, &ItemMap::new(items).unwrap(), draft).unwrap();
    out
}

fn settings(data: PathBuf, recipe: Recipe) -> Config {
    let mut config = Config {
        data,
        batch_size: 16,
        max_steps: Some(8),
        epochs: 30,
        eval_every: 4,
        patience: None,
        ..Config::of_recipe(recipe)
    };
    config.model.dim = 8;
    config.model.window = 5;
    config
}

/// The settings of a training from `run` on `data`.
fn grown(run: &Run, data: &Path) -> Config {
    let parent = ParentRun {
        run: run.dir().to_owned(),
        model: run.model_name().unwrap(),
        ..ParentRun::default()
    };
    Config {
        data: data.to_owned(),
        max_steps: Some(8),
        ..run.config().grown(parent, run.passes().unwrap())
    }
}

fn with_parent(mut config: Config, change: impl FnOnce(&mut ParentRun)) -> Config {
    change(config.parent.as_mut().unwrap());
    config
}

/// Trains until step `at`.
fn interrupt(config: &Config, dir: &Path, at: u64) {
    let stop = AtomicBool::new(false);
    let outcome = Trainer::new(config, dir)
        .resume(true)
        .stop_flag(&stop)
        .run(&mut StopAt(at, &stop))
        .unwrap();
    assert!(matches!(outcome, Outcome::Interrupted(step) if step == at));
}

fn tensors(path: PathBuf) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

fn rows(tensor: &Tensor) -> Vec<Vec<f32>> {
    let rows = tensor.dim(0).unwrap();
    let matrix = tensor.reshape((rows, ())).unwrap();
    matrix.to_vec2().unwrap()
}

const TABLES: [&str; 5] = [
    "item_emb.weight",
    "head.weight",
    "head.bias",
    "q_head.weight",
    "q_head.bias",
];

/// Asserts that `new` has the values of `old`: the rows of the tables by raw id, all else as it is.
fn assert_carried(old: &HashMap<String, Tensor>, new: &HashMap<String, Tensor>) -> usize {
    let (before, after) = (day_items(0), day_items(1));
    let mut tables = 0;
    assert_eq!(old.len(), new.len());
    for (name, old) in old {
        let (old, new) = (rows(old), rows(&new[name]));
        if !TABLES.iter().any(|table| name.ends_with(table)) {
            assert_eq!(old, new, "{name}");
            continue;
        }
        tables += 1;
        for (i, item) in after.iter().enumerate() {
            if let Some(origin) = before.iter().position(|other| other == item) {
                assert_eq!(new[i], old[origin], "{name} of {item}");
            }
        }
        // The pad's row.
        if old.len() > before.len() {
            assert_eq!(new[after.len()], old[before.len()], "{name} of the pad");
        }
    }
    tables
}

#[test]
fn grown_run_starts_with_the_parents_rows_by_raw_id() {
    let dir = tempfile::tempdir().unwrap();
    let days = [day(dir.path(), 0), day(dir.path(), 1)];
    let mut cases = Vec::new();
    for &encoder in EncoderKind::ALL {
        for recipe in Recipe::ALL {
            cases.push((encoder, recipe, Method::Prl));
        }
    }
    cases.push((EncoderKind::ALL[0], Recipe::Paper, Method::Sac));
    cases.push((EncoderKind::ALL[0], Recipe::Paper, Method::Normal));
    for (number, (encoder, recipe, method)) in cases.into_iter().enumerate() {
        let mut config = settings(days[0].clone(), recipe);
        config.model.encoder = encoder;
        config.method = method;
        let old = finish(&config, &dir.path().join(format!("old-{number}")));
        let out = dir.path().join(format!("new-{number}"));
        let carrying = with_parent(grown(&old, &days[1]), |parent| {
            parent.optimizer = OptimizerStart::Carry;
            parent.new_items = NewItems::CoOccurrence;
        });
        interrupt(&carrying, &out, 1);
        let best = tensors(old.dir().join("best/weights.safetensors"));
        let initial = tensors(out.join("initial/weights.safetensors"));
        let tables = assert_carried(&best, &initial);
        let networks = if method == Method::Sac { 2 } else { 1 };
        let expected = match (recipe, method) {
            (Recipe::Modern, _) => 2,
            (_, Method::Sac) => 5,
            _ => 3,
        };
        assert_eq!(tables, expected * networks, "{number}");
        let last = tensors(old.dir().join("checkpoint/moments.safetensors"));
        let moments = tensors(out.join("initial/moments.safetensors"));
        assert_carried(&last, &moments);
        let new = day_items(1)
            .iter()
            .position(|item| item == "new-0")
            .unwrap();
        assert!(rows(&moments["first.item_emb.weight"])[new] == [0.0; 8]);
        // It is finished, and no longer needs what it started from.
        let run = finish(&carrying, &out);
        assert!(!out.join("initial").exists());
        let lineage = run.manifest().unwrap().unwrap().parent.unwrap();
        assert_eq!(lineage.parent.model, old.model_name().unwrap());
        let counts = [lineage.carried, lineage.added, lineage.dropped];
        assert_eq!(counts, [15, 5, 5]);
        assert_eq!(lineage.added_by_neighbours, 5);
        assert_eq!(lineage.optimizer_steps.iter().sum::<u64>(), 8);
        // Last event of the last training session.
        assert_eq!(lineage.trained_until, Some(994));
    }
}

#[test]
fn grown_training_resumes_with_the_same_bits_without_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    let days = [day(dir.path(), 0), day(dir.path(), 1)];
    let modern = settings(days[0].clone(), Recipe::Modern);
    let mut sac = settings(days[0].clone(), Recipe::Paper);
    sac.method = Method::Sac;
    let mut sampled = with_negatives(modern.clone(), 4, NegativeSampling::Popularity);
    sampled.weight_decay = 0.1;
    for (number, config) in [modern, sac, sampled].into_iter().enumerate() {
        for optimizer in OptimizerStart::ALL {
            let path = |name: &str| {
                dir.path()
                    .join(format!("{name}-{number}-{}", optimizer.name()))
            };
            let old = finish(&config, &path("old"));
            let config = with_parent(grown(&old, &days[1]), |parent| parent.optimizer = optimizer);
            finish(&config, &path("whole"));
            interrupt(&config, &path("parts"), 1);
            std::fs::remove_dir_all(old.dir()).unwrap();
            for at in [3, 4, 7] {
                interrupt(&config, &path("parts"), at);
            }
            finish(&config, &path("parts"));
            same_end(&path("whole"), &path("parts"));
        }
    }
}

/// A killed training that has no checkpoint yet starts again from its own copy.
#[test]
fn grown_training_without_a_checkpoint_starts_from_its_own_copy() {
    let dir = tempfile::tempdir().unwrap();
    let days = [day(dir.path(), 0), day(dir.path(), 1)];
    let old = finish(
        &settings(days[0].clone(), Recipe::Modern),
        &dir.path().join("old"),
    );
    let config = grown(&old, &days[1]);
    let [whole, parts] = ["whole", "parts"].map(|name| dir.path().join(name));
    finish(&config, &whole);
    interrupt(&config, &parts, 1);
    std::fs::remove_dir_all(parts.join("checkpoint")).unwrap();
    std::fs::remove_dir_all(old.dir()).unwrap();
    finish(&config, &parts);
    same_end(&whole, &parts);
}

#[test]
fn item_seen_for_the_first_time_today_is_recommended_today() {
    let dir = tempfile::tempdir().unwrap();
    let days = [day(dir.path(), 0), day(dir.path(), 1)];
    let yesterday = Config {
        max_steps: Some(150),
        eval_every: 50,
        ..settings(days[0].clone(), Recipe::Modern)
    };
    let old = finish(&yesterday, &dir.path().join("old"));
    for new_items in NewItems::ALL {
        let config = with_parent(grown(&old, &days[1]), |parent| parent.new_items = new_items);
        let config = Config {
            max_steps: Some(30),
            ..config
        };
        let out = dir.path().join(new_items.name());
        let run = finish(&config, &out);
        let model = run.load(&Device::Cpu).unwrap();
        // `item-19` is followed by `new-0`.
        let session = [Event::click("item-18"), Event::click("item-19")];
        let list = run
            .recommend(&model, &session, PromptSpec::default(), 3)
            .unwrap();
        let items: Vec<&str> = list.items.iter().map(|r| r.item.as_str()).collect();
        assert!(items.contains(&"new-0"), "{}: {items:?}", new_items.name());
        assert!(run.items().index("item-0").is_none());
    }
}

#[test]
fn settings_that_change_the_weights_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let data = ring(dir.path(), 40);
    let config = Config {
        max_steps: Some(2),
        ..quick(data.clone())
    };
    let old = finish(&config, &dir.path().join("old"));
    let out = dir.path().join("new");
    let refused = |change: &dyn Fn(&mut Config)| {
        let mut config = grown(&old, &data);
        change(&mut config);
        match Trainer::new(&config, &out).run(&mut Quiet) {
            Err(Error::Config(what)) => what,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        refused(&|c| c.model.dim = 32),
        "parent: dim is 32, but the run to start from was trained with 16; leave --dim out, or train \
         from nothing without --from"
    );
    assert!(refused(&|c| c.model.window = 6).contains("window is 6"));
    assert!(refused(&|c| c.model.tied = true).contains("tied is true"));
    assert!(refused(&|c| c.model.temperature = Some(0.5)).contains("leave --temperature out"));
    assert!(refused(&|c| c.method = Method::Normal).contains("method is \"normal\""));
    assert!(refused(&|c| c.method = Method::Popularity).contains("popularity has no weights"));
    let passes = refused(&|c| c.parent.as_mut().unwrap().passes = Some(0.0));
    assert!(passes.contains("passes must be above 0"), "{passes}");
    // Another model has taken the parent's place.
    let replaced = with_parent(grown(&old, &data), |parent| parent.model = "0123".into());
    let error = Trainer::new(&replaced, &out).run(&mut Quiet).unwrap_err();
    assert!(
        error.to_string().contains("was to start from 0123"),
        "{error}"
    );
    // Nothing was left behind.
    assert!(!out.exists());
}
