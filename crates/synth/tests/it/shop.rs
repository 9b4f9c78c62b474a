//! The simulated shop: its moments, the effect of lists, and reproducibility.

use prl_synth::shop::{
    Lists, MOMENTS, Moments, NoLists, Shop, ShopWorld, Visit, roll_out, target, worlds,
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
