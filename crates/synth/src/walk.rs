//! Events of one session: a random walk over items, purchases and times.

use prl_seed::Rng;
use rand::Rng as _;
use rand_distr::StandardNormal;

use crate::options::Like;
use crate::plan::Plan;
use crate::world::World;

/// Probability that a planned item, if the session has one, is its first click.
const PLANNED_START: f64 = 0.5;
/// Probability of a click on an item seen earlier in the session.
const REVISIT: f64 = 0.15;
/// Probability of a random item of the same category.
const JUMP: f64 = 0.10;
/// Limit of the probability of a purchase-heavy successor in a session with purchase intent.
const DRIFT: f64 = 0.9;
/// Relative weight of a purchase-heavy item when the purchased item is chosen.
const HEAVY_WEIGHT: f64 = 10.0;
/// Probability that a purchase directly follows the click on its item.
const AT_ONCE: f64 = 0.75;
/// Maximum number of clicks between the click on an item and its purchase otherwise.
const MAX_LAG: usize = 3;
/// Median gap between events in milliseconds.
const MEDIAN_GAP: f64 = 60_000.0;
/// Standard deviation of the logarithm of a gap.
const GAP_SIGMA: f64 = 1.2;
/// Minimum and maximum gap in milliseconds.
const GAPS: (f64, f64) = (1_000.0, 3_600_000.0);

/// Event of a session, before formatting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) time: i64,
    pub(crate) item: u32,
    pub(crate) purchase: bool,
}

/// Generator of sessions; reuses its buffers.
#[derive(Debug)]
pub(crate) struct Walker<'a> {
    world: &'a World,
    rng: Rng,
    /// Clicked items of the session, including planned items outside the walk.
    clicks: Vec<u32>,
    /// Indices in `clicks` of the items of the walk.
    path: Vec<usize>,
    /// Purchases as (index of the preceding click, item).
    purchases: Vec<(usize, u32)>,
    events: Vec<Event>,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(world: &'a World, seed: u64) -> Self {
        let rng = prl_seed::stream(seed, "synth walk", 0);
        Self {
            world,
            rng,
            clicks: Vec::new(),
            path: Vec::new(),
            purchases: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Generates a session that passes the filters. `planned` items that the filters drop are added
    /// to the number of clicks in `plan`.
    pub(crate) fn session(
        &mut self,
        plan: Plan,
        planned: &[u32],
        drops_rare: bool,
        start: i64,
    ) -> &[Event] {
        let extra = if drops_rare {
            planned.iter().filter(|&&i| self.world.is_rare(i)).count()
        } else {
            0
        };
        self.walk(plan.clicks + extra, planned, plan.buying);
        self.buy(plan.purchases);
        self.time(start)
    }

    /// Generates a session that is too short for the filters: one or two clicks, sometimes on rare
    /// items, sometimes with a purchase.
    pub(crate) fn short(&mut self, like: Like, start: i64) -> &[Event] {
        let mut item = if self.rng.random_bool(0.3) {
            None
        } else {
            Some(self.world.draw(&mut self.rng))
        };
        let clicks = self.rng.random_range(1..=2);
        self.clicks.clear();
        for _ in 0..clicks {
            match item {
                Some(i) => {
                    self.clicks.push(i);
                    item = Some(self.world.successor(i, &mut self.rng));
                }
                None => self.clicks.push(self.world.draw_rare(&mut self.rng)),
            }
        }
        self.purchases.clear();
        // RetailRocket's filter counts every event of a visitor, RC15's only the clicks of a
        // session.
        let room = like == Like::Rc15 || clicks == 1;
        if room && self.rng.random_bool(0.1) {
            self.purchases.push((0, self.clicks[0]));
        }
        self.time(start)
    }

    /// Random number of milliseconds below `bound`.
    pub(crate) fn below(&mut self, bound: i64) -> i64 {
        self.rng.random_range(0..bound.max(1))
    }

    fn walk(&mut self, clicks: usize, planned: &[u32], buying: bool) {
        let mut first = planned.iter().position(|&i| !self.world.is_rare(i));
        if first.is_some() && !self.rng.random_bool(PLANNED_START) {
            first = None;
        }
        let (start, before, after) = match first {
            Some(at) => (planned[at], &planned[..at], &planned[at + 1..]),
            None => (self.world.draw(&mut self.rng), planned, &[][..]),
        };
        let mut others = before.iter().chain(after);
        let mut left = before.len() + after.len();
        self.clicks.clear();
        self.path.clear();
        self.clicks.push(start);
        self.path.push(0);
        let mut current = start;
        for t in 1..clicks {
            // Selection sampling places the other planned items on a uniform subset of the clicks.
            if left > 0 && self.rng.random_range(0..clicks - t) < left {
                left -= 1;
                self.clicks.extend(others.next());
                continue;
            }
            current = self.step(current, buying);
            self.path.push(self.clicks.len());
            self.clicks.push(current);
        }
    }

    fn step(&mut self, current: u32, buying: bool) -> u32 {
        let (world, rng, t) = (self.world, &mut self.rng, self.path.len());
        if t >= 2 && rng.random_bool(REVISIT) {
            return self.clicks[self.path[rng.random_range(0..t - 1)]];
        }
        if rng.random_bool(JUMP) {
            return world.draw_in(world.category(current), rng);
        }
        if buying && rng.random_bool(DRIFT * t as f64 / (t + 1) as f64) {
            return world.heavy_successor(current, rng);
        }
        world.successor(current, rng)
    }

    fn buy(&mut self, purchases: usize) {
        self.purchases.clear();
        for _ in 0..purchases {
            let u = self.rng.random::<f64>();
            let click = self.path[self.purchased_step(u)];
            let lag = if self.rng.random_bool(AT_ONCE) {
                0
            } else {
                self.rng.random_range(1..=MAX_LAG)
            };
            self.purchases
                .push(((click + lag).min(self.clicks.len() - 1), self.clicks[click]));
        }
        self.purchases.sort_by_key(|&(after, _)| after);
    }

    /// Step of the walk whose item is purchased, from a uniform number `u`: step t with probability
    /// proportional to its weight.
    fn purchased_step(&self, u: f64) -> usize {
        let mut total = 0.0;
        for t in 0..self.path.len() {
            total += self.purchase_weight(t);
        }
        let mut rest = u * total;
        for t in 0..self.path.len() {
            rest -= self.purchase_weight(t);
            if rest < 0.0 {
                return t;
            }
        }
        self.path.len() - 1
    }

    fn purchase_weight(&self, t: usize) -> f64 {
        let item = self.clicks[self.path[t]];
        let heavy = if self.world.is_heavy(item) {
            HEAVY_WEIGHT
        } else {
            1.0
        };
        (t + 1) as f64 * heavy
    }

    fn time(&mut self, start: i64) -> &[Event] {
        self.events.clear();
        let (mut time, mut purchases) = (start, self.purchases.iter().peekable());
        for (t, &item) in self.clicks.iter().enumerate() {
            self.events.push(Event {
                time,
                item,
                purchase: false,
            });
            time += gap(&mut self.rng);
            while let Some(&(_, item)) = purchases.next_if(|&&(after, _)| after == t) {
                self.events.push(Event {
                    time,
                    item,
                    purchase: true,
                });
                time += gap(&mut self.rng);
            }
        }
        &self.events
    }
}

/// Random gap between two events in milliseconds, log-normal and clamped.
fn gap(rng: &mut Rng) -> i64 {
    let z: f64 = rng.sample(StandardNormal);
    (MEDIAN_GAP * (GAP_SIGMA * z).exp()).clamp(GAPS.0, GAPS.1) as i64
}

#[cfg(test)]
mod tests {
    use super::{Event, Walker};
    use crate::options::{Like, Options};
    use crate::plan::Plan;
    use crate::shape::Shape;
    use crate::world::World;

    fn world() -> World {
        World::new(
            &Shape::new(&Options {
                like: Like::Tiny,
                sessions: None,
                seed: 5,
            })
            .unwrap(),
            5,
        )
    }

    fn walk(buying: bool, purchases: usize, mut look: impl FnMut(&World, &[Event])) {
        let world = world();
        let mut walker = Walker::new(&world, 5);
        for _ in 0..2000 {
            look(
                &world,
                walker.session(
                    Plan {
                        clicks: 8,
                        purchases,
                        buying,
                    },
                    &[],
                    true,
                    0,
                ),
            );
        }
    }

    #[test]
    fn walk_with_intent_drifts_towards_purchase_heavy_items() {
        let share = |buying, steps: std::ops::Range<usize>| {
            let mut heavy = 0;
            walk(buying, 0, |world, events| {
                heavy += events[steps.clone()]
                    .iter()
                    .filter(|e| world.is_heavy(e.item))
                    .count();
            });
            heavy as f64 / (2000 * steps.len()) as f64
        };
        let (start, browse) = (share(true, 0..1), share(false, 4..8));
        let (early, late) = (share(true, 1..2), share(true, 4..8));
        assert!((0.08..0.30).contains(&browse), "browsing: {browse}");
        assert!(
            (start - share(false, 0..1)).abs() < 0.04,
            "the first click must not tell the intent"
        );
        assert!(
            late > early + 0.1 && late > 2.5 * browse,
            "buying: {early} then {late}; browsing: {browse}"
        );
        assert!(late < 0.85, "buying: {late}: no longer uncertain");
    }

    #[test]
    fn purchase_follows_a_click_on_its_item_and_prefers_heavy_items() {
        let (mut heavy, mut last) = (0, 0);
        walk(true, 2, |world, events| {
            assert_eq!(events.len(), 10);
            for (n, e) in events.iter().enumerate().filter(|(_, e)| e.purchase) {
                assert!(events[..n].iter().any(|c| !c.purchase && c.item == e.item));
                heavy += usize::from(world.is_heavy(e.item));
                last += usize::from(events[n - 1].item == e.item);
            }
        });
        assert!(heavy > 3200, "{heavy} of 4000 purchases are of heavy items");
        assert!(
            (2800..3900).contains(&last),
            "{last} of 4000 purchases are of the item just seen"
        );
    }

    #[test]
    fn planned_items_all_appear_and_rare_ones_are_added() {
        let world = world();
        let rare = (0..).find(|&i| world.is_rare(i)).unwrap();
        let mut walker = Walker::new(&world, 1);
        for _ in 0..200 {
            let plan = Plan {
                clicks: 3,
                purchases: 1,
                buying: false,
            };
            let events = walker.session(plan, &[7, rare, 400], true, 0).to_vec();
            for item in [7, rare, 400] {
                assert!(events.iter().any(|e| e.item == item));
            }
            assert_eq!(
                events
                    .iter()
                    .filter(|e| !e.purchase && !world.is_rare(e.item))
                    .count(),
                3
            );
            assert!(
                events
                    .iter()
                    .all(|e| !(e.purchase && world.is_rare(e.item)))
            );
            assert!(
                events
                    .windows(2)
                    .all(|w| (1_000..=3_600_000).contains(&(w[1].time - w[0].time)))
            );
        }
    }
}
