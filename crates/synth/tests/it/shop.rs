//! The simulated shop: its moments, the effect of lists, and reproducibility.

use prl_synth::Error;
use prl_synth::shop::{
    Best, BestBy, Lists, MOMENTS, Moments, NoLists, Popular, Random, Shop, ShopWorld, Visit,
    roll_out, synth_shop, target, worlds,
};

/// Seed of the sessions, which no fit has used.
const SEED: u64 = 1;
/// Sessions of the log that the worlds are fitted to.
const WEEK: u64 = 13_023;
/// Largest error of a moment in its units.
const UNITS: f64 = 2.5;

fn visits<'a, L: Lists<Error = std::convert::Infallible>>(
    shop: &'a Shop,
    numbers: std::ops::Range<u64>,
    mut lists: L,
    batch: usize,
) -> Vec<Visit<'a>> {
    let Ok(visits) = roll_out(shop, SEED, numbers, &mut lists, batch);
    visits
}

#[test]
fn logs_of_all_worlds_have_the_moments_of_the_week() {
    let target = target().unwrap();
    let mut done: Vec<ShopWorld> = Vec::new();
    for world in worlds().unwrap() {
        // Worlds that differ in the effect of lists alone have equal logs.
        let assumed = world.assumed;
        let is_known = done.iter().any(|other| {
            let other = (other.fitted, other.assumed);
            other.0 == world.fitted
                && (other.1.price, other.1.fit, other.1.follow)
                    == (assumed.price, assumed.fit, assumed.follow)
        });
        if is_known {
            continue;
        }
        let shop = Shop::new(world.clone());
        let moments = Moments::of_visits(&visits(&shop, 0..WEEK, NoLists, 1_024));
        for (error, moment) in moments.errors(&target).iter().zip(&MOMENTS) {
            assert!(
                error.abs() <= UNITS * moment.unit,
                "{}: {} is off by {error:.3} of {UNITS} * {}",
                world.name,
                moment.name,
                moment.unit
            );
        }
        done.push(world);
    }
    assert_eq!(done.len(), 5);
}

/// Mean and standard error of the differences of two columns.
fn difference(a: &[f64], b: &[f64]) -> (f64, f64) {
    let n = a.len() as f64;
    let (mut sum, mut squares) = (0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        sum += x - y;
        squares += (x - y).powi(2);
    }
    let mean = sum / n;
    (mean, ((squares / n - mean * mean) / (n - 1.0)).sqrt())
}

/// The paper's return of each visit: 0.2 for a view, 1 for a purchase.
fn returns(visits: &[Visit<'_>]) -> Vec<f64> {
    let mut returns = Vec::new();
    for visit in visits {
        let mut sum = 0.0;
        for event in visit.events() {
            sum += if event.purchase { 1.0 } else { 0.2 };
        }
        returns.push(sum);
    }
    returns
}

fn best(by: BestBy) -> Best {
    Best { by, k: 20 }
}

#[test]
fn better_lists_earn_more_in_every_world() {
    for world in worlds().unwrap() {
        let shop = Shop::new(world);
        let best = returns(&visits(&shop, 0..2_000, best(BestBy::Relevance), 500));
        let popular = returns(&visits(&shop, 0..2_000, Popular::new(&shop, 20), 500));
        let random = returns(&visits(&shop, 0..2_000, Random::new(&shop, 20, 3), 500));
        let name = &shop.world().name;
        for (better, worse) in [(&best, &popular), (&popular, &random)] {
            let (mean, error) = difference(better, worse);
            assert!(mean > 3.0 * error, "{name}: {mean:.4} of {error:.4}");
        }
    }
}

#[test]
fn lists_that_know_purchases_sell_more() {
    let shop = Shop::new(ShopWorld::named("base").unwrap());
    let purchases = |by| {
        let mut counts = Vec::new();
        for visit in visits(&shop, 0..2_000, best(by), 500) {
            let bought = visit.events().iter().filter(|event| event.purchase);
            counts.push(bought.count() as f64);
        }
        counts
    };
    let (mean, error) = difference(&purchases(BestBy::Purchase), &purchases(BestBy::Relevance));
    assert!(mean > 3.0 * error, "{mean:.4} of {error:.4}");
}

#[test]
fn common_random_numbers_make_differences_precise() {
    let shop = Shop::new(ShopWorld::named("patient").unwrap());
    let none = returns(&visits(&shop, 0..3_000, NoLists, 500));
    let popular = returns(&visits(&shop, 0..3_000, Popular::new(&shop, 20), 500));
    let others = returns(&visits(&shop, 3_000..6_000, NoLists, 500));
    let (_, paired) = difference(&popular, &none);
    let (_, unpaired) = difference(&popular, &others);
    assert!(paired < 0.6 * unpaired, "{paired} of {unpaired}");
}

#[test]
fn visits_depend_on_neither_batch_nor_other_visits() {
    let shop = Shop::new(ShopWorld::named("base").unwrap());
    let all = visits(&shop, 0..300, Random::new(&shop, 20, 3), 300);
    for (numbers, batch) in [(0..300, 1), (0..300, 7), (120..300, 64)] {
        let first = numbers.start as usize;
        let some = visits(&shop, numbers, Random::new(&shop, 20, 3), batch);
        for (one, other) in some.iter().zip(&all[first..]) {
            assert_eq!(one.number(), other.number());
            assert_eq!(one.events(), other.events());
        }
    }
}

#[test]
fn clicked_item_is_at_its_position_in_the_list() {
    let shop = Shop::new(ShopWorld::named("clicks-many").unwrap());
    let (mut clicks, mut lists) = (0, Popular::new(&shop, 20));
    for number in 0..200 {
        let mut visit = Visit::arrive(&shop, SEED, number);
        loop {
            let Ok(mut shown) = lists.lists(&[&visit]);
            let list = shown.remove(0);
            let Some(event) = visit.act(&list) else { break };
            if let Some(at) = event.shown_at {
                assert_eq!(list[usize::from(at)], event.item);
                clicks += 1;
            }
        }
        assert!(visit.has_left() && visit.act(&[1, 2]).is_none());
    }
    assert!(clicks > 20, "{clicks}");
}

#[test]
fn equal_seeds_give_equal_files_and_others_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, seed| {
        let out = dir.path().join(name);
        let world = ShopWorld::named("base").unwrap();
        let log = synth_shop(world, Some(300), seed, &out).unwrap();
        assert_eq!(log.files[0].rows, log.views + log.purchases);
        std::fs::read(out.join("events.csv")).unwrap()
    };
    let first = write("a", 5);
    assert!(first.starts_with(b"session,time,item,event,value\n1,1441843200000,"));
    assert_eq!(first, write("b", 5));
    assert_ne!(first, write("c", 6));
}

#[test]
fn unknown_world_and_empty_log_are_errors() {
    let error = ShopWorld::named("moon").unwrap_err().to_string();
    assert!(error.starts_with("--world moon: unknown world; expected one of attention-narrow, "));
    let dir = tempfile::tempdir().unwrap();
    let world = ShopWorld::named("base").unwrap();
    let error = synth_shop(world, Some(0), 1, dir.path()).unwrap_err();
    assert!(matches!(error, Error::ShopSessions(0)));
    let real = dir.path().join("events.csv");
    std::fs::write(&real, "real").unwrap();
    let world = ShopWorld::named("base").unwrap();
    let error = synth_shop(world, Some(10), 1, dir.path()).unwrap_err();
    assert!(matches!(error, Error::Occupied { .. }));
    assert_eq!(std::fs::read(&real).unwrap(), b"real");
}
