//! Prompts that do not chase length: with a discount of zero the return is the next event's reward.
//!
//! Half of the sessions are long, by luck: nothing before tells which. Long sessions browse (items
//! 0 to 19), short ones look at items that are bought (40 to 59). Every event adds to a return, so
//! a high return is above all a long session.

use std::path::{Path, PathBuf};

use prl_core::TargetReturn;
use prl_dataset::{Arrays, Discount, ItemMap, Kind, ManifestInput, Split, write};
use prl_runs::{Device, Event, Method, Run};
use rand::Rng;

use crate::common;

const ITEMS: u32 = 60;
const BROWSED: std::ops::Range<u32> = 0..20;
const BOUGHT: std::ops::Range<u32> = 40..60;

fn log(dir: &Path) -> PathBuf {
    let mut rng = prl_seed::stream(21, "luck", 0);
    let mut arrays = Arrays {
        offsets: vec![0],
        ..Arrays::default()
    };
    for session in 0..600_i64 {
        let split = match session % 10 {
            0 => Split::Val,
            1 => Split::Test,
            _ => Split::Train,
        };
        let is_long = rng.random_bool(0.5);
        for t in 0..if is_long { 12 } else { 4 } {
            let item = match rng.random_bool(if is_long { 0.7 } else { 0.3 }) {
                true => rng.random_range(BROWSED),
                false => rng.random_range(BROWSED.end..ITEMS),
            };
            let is_bought = BOUGHT.contains(&item) && rng.random_bool(0.5);
            arrays.items.push(item);
            arrays.kinds.push(match is_bought {
                true => Kind::Purchase,
                false => Kind::Click,
            });
            arrays.times.push(session * 100 + t);
            arrays.splits.push(split);
        }
        arrays.offsets.push(arrays.items.len() as u64);
    }
    let out = dir.join("luck");
    let items = ItemMap::new((0..ITEMS).map(|item| item.to_string())).unwrap();
    write(&out, &arrays, &items, ManifestInput::default()).unwrap();
    out
}

/// A run of PRL, without weights in the loss, with a discount.
fn run(dir: &Path, data: &Path, lambda: f64) -> Run {
    let mut config = common::quick(data.to_owned());
    // The last weights: luck cannot be predicted, so that the best validation comes early.
    (config.method, config.max_steps, config.no_validation) = (Method::PrlWo, Some(3_000), true);
    (config.lambda, config.discount) = (lambda, Discount::Relative);
    let out = dir.join(format!("lambda-{lambda}"));
    prl_train::Trainer::new(&config, &out)
        .device(&Device::Cpu)
        .run(&mut common::Quiet)
        .unwrap();
    Run::open(&out).unwrap()
}

/// Shares of browsed and of bought items among the 20 best of a new session.
fn shares(run: &Run, target: TargetReturn) -> [f64; 2] {
    let model = run.load(&Device::Cpu).unwrap();
    let session: [Event<&str>; 0] = [];
    let found = run.recommend(&model, &session, target.into(), 20).unwrap();
    let mut counts = [0.0; 2];
    for item in found.items {
        let item: u32 = item.item.parse().unwrap();
        for (count, group) in counts.iter_mut().zip([BROWSED, BOUGHT]) {
            *count += f64::from(u8::from(group.contains(&item))) / 20.0;
        }
    }
    counts
}

#[test]
fn next_event_prompt_does_not_chase_length_and_a_return_prompt_does() {
    let dir = tempfile::tempdir().unwrap();
    let data = log(dir.path());
    let returns = run(dir.path(), &data, 1.0);
    let low = shares(&returns, TargetReturn::Quantile(0.05));
    let high = shares(&returns, TargetReturn::Quantile(0.95));
    assert!(
        high[0] > low[0] + 0.15,
        "a high return browses: {low:?}, {high:?}"
    );
    let next = run(dir.path(), &data, 0.0);
    let low = shares(&next, TargetReturn::Absolute(0.2));
    let high = shares(&next, TargetReturn::Absolute(1.0));
    assert!(
        high[0] <= low[0],
        "a purchase does not browse: {low:?}, {high:?}"
    );
    assert!(
        high[1] > low[1] + 0.3,
        "it asks for bought items: {low:?}, {high:?}"
    );
}
