//! Blends: ranks against a plain computation over the members' own scores, the choice of weights,
//! and refused members.

use std::path::{Path, PathBuf};

use crate::common::{Quiet, quick, ring, ring_in_splits};
use prl_core::{PromptPosition, PromptSpec};
use prl_dataset::{Dataset, Kind, Split, Windows};
use prl_eval::{CaseSplit, Conventions};
use prl_model::OwnItems;
use prl_runs::{
    BlendBuilder, CaseLog, CaseSink, Config, Device, Error, Evaluation, Method, RankedCase, Recipe,
    Recommender, Run, RunManifest, Selection,
};
use prl_train::{Outcome, Trainer};

/// A finished run in `dir/name`.
fn train(dir: &Path, name: &str, config: Config) -> PathBuf {
    let out = dir.join(name);
    let outcome = Trainer::new(&config, &out).run(&mut Quiet).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    out
}

/// Settings of a short training with this method, window and length.
fn short(data: &Path, method: Method, window: usize) -> Config {
    let mut config = Config {
        method,
        max_steps: Some(60),
        ..quick(data.to_owned())
    };
    config.model.window = window;
    config
}

/// A modern run that excludes own items, a prompted paper's run and a kNN, of different windows.
fn members(dir: &Path, data: &Path) -> Vec<PathBuf> {
    let mut modern = short(data, Method::Normal, 3);
    let defaults = Config::of_recipe(Recipe::Modern).model;
    (modern.model.encoder, modern.model.tied) = (defaults.encoder, true);
    modern.model.event_kinds = true;
    (modern.model.temperature, modern.model.own_items) = (Some(0.1), OwnItems::Exclude);
    vec![
        train(dir, "modern", modern),
        train(dir, "prl", short(data, Method::Prl, 5)),
        train(dir, "knn", short(data, Method::SessionKnnTuned, 4)),
    ]
}

fn blend(runs: &[PathBuf], weights: &[f64], first: &[f64], out: &Path) -> RunManifest {
    BlendBuilder::new(runs)
        .weights(weights.to_vec(), Some(first.to_vec()))
        .build(out)
        .unwrap()
}

/// Ranks and lists of the cases.
#[derive(Default, PartialEq, Debug)]
struct All {
    ranks: Vec<u32>,
    top: Vec<Vec<u32>>,
}

impl CaseSink for All {
    fn push(
        &mut self,
        case: &RankedCase<'_>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.ranks.push(case.rank);
        self.top.push(case.top.iter().map(|t| t.0).collect());
        Ok(())
    }
}

fn evaluate(run: &Run, split: CaseSplit, conventions: Conventions, batch: usize) -> (All, f64) {
    let (model, data) = (run.load(&Device::Cpu).unwrap(), run.data(None).unwrap());
    let log = CaseLog::own(run, &data, split, conventions).unwrap();
    let mut all = All::default();
    let evaluation = Evaluation::new(run, &model).batch_size(batch);
    let report = evaluation.run(&log, &mut [&mut all]).unwrap();
    (all, report.scores.all.ndcg20.unwrap())
}

/// Probabilities of a run after a session, from its public scores.
fn probabilities(
    run: &Run,
    model: &Recommender,
    (history, kinds): (&[u32], &[Kind]),
    ask: PromptSpec,
) -> Vec<f64> {
    let items = run.items().len() as u32;
    let mut window = Windows::new(run.config().model.window);
    window.push_events(history, kinds, items);
    let position = PromptPosition::at(history.len() as u32, 0);
    let prompts = run.prompts(ask, &[position]);
    let every: Vec<u32> = (0..items).collect();
    let scores = model.scores(&window, &prompts, &every).unwrap();
    let mut weights = Vec::new();
    let (mut events, mut least) = (0.0, f64::INFINITY);
    for score in &scores {
        let score = score.map_or(f64::NEG_INFINITY, f64::from);
        if matches!(model, Recommender::Baseline(_)) {
            // Of a kNN: negative scores are -1 / (events + 1), or own items that are left out.
            weights.push(score);
            if score > 0.0 {
                least = score.min(least);
            } else if score >= -1.0 {
                events -= 1.0 / score;
            }
        } else {
            weights.push(score.exp());
        }
    }
    let floor = if least.is_finite() { 0.5 * least } else { 1.0 };
    for weight in &mut weights {
        if *weight < -1.0 {
            *weight = 0.0;
        } else if *weight < 0.0 {
            *weight = -floor / *weight / events;
        }
    }
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

#[test]
fn blend_ranks_match_the_plain_sum_under_every_convention() {
    let dir = tempfile::tempdir().unwrap();
    let data = ring(dir.path(), 60);
    let runs = members(dir.path(), &data);
    let (weights, first) = ([0.5, 0.3, 0.2], [0.0, 0.25, 0.75]);
    let out = dir.path().join("blend");
    let manifest = blend(&runs, &[5.0, 3.0, 2.0], &[0.0, 1.0, 3.0], &out);
    assert_eq!(manifest.method, Method::Blend);
    // A blend is complete without its members' directories.
    let opened: Vec<Run> = runs.iter().map(|dir| Run::open(dir).unwrap()).collect();
    let models: Vec<Recommender> = opened
        .iter()
        .map(|r| r.load(&Device::Cpu).unwrap())
        .collect();
    for dir in &runs {
        std::fs::remove_dir_all(dir).unwrap();
    }
    let run = Run::open(&out).unwrap();
    assert_eq!(run.config().model.window, 5);
    assert_eq!(run.model_name().unwrap(), manifest.model);
    let data = Dataset::open(&data).unwrap();
    for bits in 0..4 {
        let conventions = Conventions {
            skip_first: bits & 1 > 0,
            exclude_last: bits & 2 > 0,
            exclude_seen: false,
        };
        let (found, _) = evaluate(&run, CaseSplit::Test, conventions, 7);
        assert_eq!(found, evaluate(&run, CaseSplit::Test, conventions, 64).0);
        let mut expected = All::default();
        let examples = run.config().examples(&data, Split::Test);
        for (session, targets) in examples.targets() {
            let skipped = targets
                .start
                .max(session + usize::from(conventions.skip_first));
            for event in skipped..targets.end {
                let history = &data.item_indices()[session..event];
                let of = if history.is_empty() { first } else { weights };
                let mut sums = vec![0.0; run.items().len()];
                for ((member, model), weight) in opened.iter().zip(&models).zip(of) {
                    let events = (history, data.kinds().range(session..event));
                    let own = probabilities(member, model, events, run.ask());
                    for (sum, p) in sums.iter_mut().zip(own) {
                        *sum += weight * p;
                    }
                }
                let target = data.item_indices()[event] as usize;
                let left_out = match conventions.exclude_last {
                    true => history.last().map(|&item| item as usize),
                    false => None,
                };
                let mut order: Vec<usize> = (0..sums.len()).collect();
                order.retain(|&item| Some(item) != left_out);
                order.sort_by(|&a, &b| sums[b].total_cmp(&sums[a]));
                let rank = order
                    .iter()
                    .filter(|&&item| sums[item] >= sums[target])
                    .count();
                expected.ranks.push(match Some(target) == left_out {
                    true => prl_eval::NOT_RANKED,
                    false => rank as u32,
                });
                order.retain(|&item| sums[item] > 0.0);
                expected
                    .top
                    .push(order.iter().take(20).map(|&item| item as u32).collect());
            }
        }
        assert_eq!(found.ranks.len(), expected.ranks.len());
        // Equal but for two items whose sums differ in the last bit.
        let mut differences = 0;
        for (found, expected) in found.ranks.iter().zip(&expected.ranks) {
            differences += usize::from(found != expected);
        }
        for (found, expected) in found.top.iter().zip(&expected.top) {
            differences += usize::from(found != expected);
        }
        assert!(
            differences <= 1,
            "{differences} differences under {conventions:?}"
        );
    }
}

#[test]
fn blend_of_one_ranks_as_its_member() {
    let dir = tempfile::tempdir().unwrap();
    let data = ring(dir.path(), 60);
    let mut runs = members(dir.path(), &data);
    for method in [
        Method::Popularity,
        Method::PopularityRecent,
        Method::LastItems,
        Method::LastItemsKnn,
        Method::SessionKnn,
    ] {
        runs.push(train(dir.path(), method.name(), short(&data, method, 5)));
    }
    let conventions = Conventions::default();
    for (i, member) in runs.iter().enumerate() {
        let out = dir.path().join(format!("blend {i}"));
        blend(std::slice::from_ref(member), &[2.0], &[1.0], &out);
        let [one, alone] = [&out, member].map(|dir| Run::open(dir).unwrap());
        let (one, _) = evaluate(&one, CaseSplit::Test, conventions, 50);
        let (alone, _) = evaluate(&alone, CaseSplit::Test, conventions, 50);
        assert_eq!(one.ranks, alone.ranks, "{}", member.display());
    }
}

#[test]
fn chosen_weights_are_at_least_as_good_as_the_best_member() {
    let dir = tempfile::tempdir().unwrap();
    let data = ring(dir.path(), 120);
    let runs = members(dir.path(), &data);
    let out = dir.path().join("blend");
    let manifest = BlendBuilder::new(&runs).build(&out).unwrap();
    let blend = manifest.blend.unwrap();
    assert_eq!((blend.chosen, blend.cases), (true, 72));
    let val = |dir: &Path| {
        let run = Run::open(dir).unwrap();
        evaluate(&run, CaseSplit::Val, Conventions::default(), 64).1
    };
    let score = blend.score.unwrap();
    assert!((score - val(&out)).abs() < 1e-12, "{score}");
    for (member, dir) in blend.members.iter().zip(&runs) {
        let single = member.score.unwrap();
        assert!((single - val(dir)).abs() < 1e-12 && score >= single);
    }
    for sum in [
        blend.members.iter().map(|m| m.weight).sum::<f64>(),
        blend.members.iter().map(|m| m.first_weight).sum::<f64>(),
    ] {
        assert!((sum - 1.0).abs() < 1e-12);
    }
    // Every choice is repeatable.
    let again = BlendBuilder::new(&runs)
        .build(&dir.path().join("again"))
        .unwrap();
    assert_eq!(again.model, manifest.model);
}

#[test]
fn refused_blends_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = ring(dir.path(), 60);
    let knn = train(dir.path(), "knn", short(&data, Method::SessionKnn, 5));
    let popular = train(dir.path(), "popular", short(&data, Method::Popularity, 5));
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let other = ring(&other, 70);
    let other = train(
        dir.path(),
        "other run",
        short(&other, Method::Popularity, 5),
    );
    let unfinished = train(dir.path(), "unfinished", short(&data, Method::LastItems, 5));
    std::fs::remove_file(unfinished.join("manifest.json")).unwrap();
    let nested = dir.path().join("nested");
    blend(std::slice::from_ref(&knn), &[1.0], &[1.0], &nested);
    let out = dir.path().join("out");
    let refused = |builder: BlendBuilder<'_>| match builder.build(&out) {
        Err(Error::Blend(what)) => {
            assert!(!out.exists() && !dir.path().join(".staged.out").exists());
            what
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("not refused"),
    };
    for (second, expected) in [
        (&other, "a blend needs runs of one dataset"),
        (&unfinished, "is not finished"),
        (&nested, "is itself a blend"),
    ] {
        let runs = [knn.clone(), second.clone()];
        let what = refused(BlendBuilder::new(&runs));
        assert!(what.contains(expected), "{what}");
    }
    let runs = [knn.clone(), popular.clone()];
    for (weights, expected) in [
        (vec![1.0], "1 weights for 2 runs"),
        (vec![1.0, -1.0], "negative"),
        (vec![0.0, 0.0], "all weights are 0"),
        (vec![f64::NAN, 1.0], "not finite"),
    ] {
        let what = refused(BlendBuilder::new(&runs).weights(weights, None));
        assert!(what.contains(expected), "{what}");
    }
    let full = dir.path().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("notes"), "mine").unwrap();
    let error = BlendBuilder::new(&runs).build(&full).unwrap_err();
    assert!(
        error.to_string().contains("not an empty directory"),
        "{error}"
    );
    assert!(full.join("notes").exists());
    let config = short(&data, Method::Blend, 5);
    let error = Trainer::new(&config, &out).run(&mut Quiet).err().unwrap();
    assert!(error.to_string().contains("prl blend"), "{error}");
    // A member that was replaced after the blend was made.
    let weights = popular.join("best");
    for file in ["weights.safetensors", "manifest.json"] {
        std::fs::copy(weights.join(file), nested.join("member-0/best").join(file)).unwrap();
    }
    let error = Run::open(&nested)
        .unwrap()
        .load(&Device::Cpu)
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("member 0 is not the run"),
        "{error}"
    );
}

#[test]
fn blend_without_validation_takes_given_weights_only() {
    let dir = tempfile::tempdir().unwrap();
    let data = ring_in_splits(dir.path(), 60, &[Split::Test]);
    let popular = train(dir.path(), "popular", short(&data, Method::Popularity, 5));
    let held = |seed| Config {
        hold_out: Some(0.2),
        seed,
        ..short(&data, Method::Normal, 5)
    };
    let (a, b) = (
        train(dir.path(), "a", held(1)),
        train(dir.path(), "b", held(2)),
    );
    let build =
        |runs: &[PathBuf], name: &str| BlendBuilder::new(runs).build(&dir.path().join(name));
    let error = build(std::slice::from_ref(&popular), "1")
        .unwrap_err()
        .to_string();
    assert!(error.contains("no validation split"), "{error}");
    for other in [&popular, &b] {
        let error = build(&[a.clone(), other.clone()], "2")
            .unwrap_err()
            .to_string();
        assert!(error.contains("has seen the sessions"), "{error}");
    }
    let alone = build(std::slice::from_ref(&a), "3").unwrap().blend.unwrap();
    assert!(alone.cases > 0 && alone.score == alone.members[0].score);
    // A baseline that was fitted without the sessions that the network held out.
    let fitted = Config {
        method: Method::Popularity,
        ..held(1)
    };
    let fitted = train(dir.path(), "fitted", fitted);
    let chosen = build(&[a.clone(), fitted], "5").unwrap().blend.unwrap();
    assert!(chosen.chosen && chosen.score >= chosen.members[0].score);
    let runs = [a, popular];
    let mixed = BlendBuilder::new(&runs)
        .weights(vec![3.0, 1.0], None)
        .select(Selection::Hr20)
        .build(&dir.path().join("4"))
        .unwrap();
    let blend = mixed.blend.unwrap();
    assert_eq!((blend.chosen, blend.score, blend.cases), (false, None, 0));
    assert_eq!(
        [blend.members[0].weight, blend.members[1].first_weight],
        [0.75, 0.25]
    );
}
