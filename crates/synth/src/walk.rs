//! One session: the random walk over items, its purchases and its times.

use prl_seed::Rng;
use rand::Rng as _;
use rand_distr::StandardNormal;

use crate::options::Like;
use crate::plan::Plan;
use crate::world::World;

/// How often a promised item, if there is one, starts the session.
const PROMISED_START: f64 = 0.5;
const REVISIT: f64 = 0.15;
const JUMP: f64 = 0.10;
const DRIFT: f64 = 0.9;
/// How much likelier a click on a purchase-heavy item is to be the one that leads to a purchase.
const HEAVY_WEIGHT: f64 = 10.0;
/// A purchase comes right after its click with this probability,
const AT_ONCE: f64 = 0.75;
/// and up to so many clicks later otherwise.
const LATEST: usize = 3;
/// Gaps between events, in milliseconds: the median, the spread of the logarithm, the shortest and the longest.
const MEDIAN_GAP: f64 = 60_000.0;
const GAP_SIGMA: f64 = 1.2;
const GAPS: (f64, f64) = (1_000.0, 3_600_000.0);

/// One row to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) time: i64,
    pub(crate) item: u32,
    pub(crate) purchase: bool,
}

/// Makes sessions, one after the other, into the same buffers.
#[derive(Debug)]
pub(crate) struct Walker<'a> {
    world: &'a World,
    rng: Rng,
    /// The clicked items of the session, passing looks included.
    clicks: Vec<u32>,
    /// Positions in `clicks` that are the walk's own.
    path: Vec<usize>,
    /// The purchases: after which click, and of which item.
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

    /// A session that the filters keep. Promised items that are filtered come on top of the planned clicks.
    pub(crate) fn session(
        &mut self,
        plan: Plan,
        promised: &[u32],
        drops_rare: bool,
        start: i64,
    ) -> &[Event] {
        let extra = if drops_rare {
            promised.iter().filter(|&&i| self.world.is_rare(i)).count()
        } else {
            0
        };
        self.walk(plan.clicks + extra, promised, plan.buying);
        self.buy(plan.purchases);
        self.time(start)
    }

    /// A session too short for the filters: one or two clicks, now and then of a rare item, now and then with a purchase.
    pub(crate) fn short(&mut self, like: Like, start: i64) -> &[Event] {
        let mut item = if self.rng.random_bool(0.3) {
            None
        } else {
            Some(self.world.draw(&mut self.rng))
        };
        let clicks = self.rng.random_range(1..=2);
        self.clicks.clear();
        for _ in 0..clicks {
            self.clicks
                .push(item.unwrap_or_else(|| self.world.draw_rare(&mut self.rng)));
            item = item.map(|i| self.world.successor(i, &mut self.rng));
        }
        self.purchases.clear();
        // RetailRocket's filter counts every event of a visitor, RC15's only the clicks of a session.
        let room = like == Like::Rc15 || clicks == 1;
        if room && self.rng.random_bool(0.1) {
            self.purchases.push((0, self.clicks[0]));
        }
        self.time(start)
    }

    /// A number of milliseconds below `bound`.
    pub(crate) fn below(&mut self, bound: i64) -> i64 {
        self.rng.random_range(0..bound.max(1))
    }

    fn walk(&mut self, clicks: usize, promised: &[u32], buying: bool) {
        let first = promised.iter().position(|&i| !self.world.is_rare(i));
        let first = first.filter(|_| self.rng.random_bool(PROMISED_START));
        let start = first.map_or_else(|| self.world.draw(&mut self.rng), |at| promised[at]);
        let mut passing = promised
            .iter()
            .enumerate()
            .filter(|&(at, _)| Some(at) != first)
            .map(|(_, &i)| i);
        let mut left = promised.len() - usize::from(first.is_some());
        self.clicks.clear();
        self.path.clear();
        self.clicks.push(start);
        self.path.push(0);
        let mut current = start;
        for t in 1..clicks {
            // Selection sampling: the passing looks fall on a uniform choice of the remaining steps.
            if left > 0 && self.rng.random_range(0..clicks - t) < left {
                left -= 1;
                self.clicks.extend(passing.next());
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
            let weight = |t: usize| {
                let item = self.clicks[self.path[t]];
                (t + 1) as f64
                    * if self.world.is_heavy(item) {
                        HEAVY_WEIGHT
                    } else {
                        1.0
                    }
            };
            let mut u = self.rng.random::<f64>() * (0..self.path.len()).map(weight).sum::<f64>();
            let chosen = (0..self.path.len()).position(|t| {
                u -= weight(t);
                u < 0.0
            });
            let click = self.path[chosen.unwrap_or(self.path.len() - 1)];
            let lag = if self.rng.random_bool(AT_ONCE) {
                0
            } else {
                self.rng.random_range(1..=LATEST)
            };
            self.purchases
                .push(((click + lag).min(self.clicks.len() - 1), self.clicks[click]));
        }
        self.purchases.sort_by_key(|&(after, _)| after);
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

/// Log-normal, in milliseconds.
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
    fn the_intent_to_buy_drifts_towards_purchase_heavy_items() {
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
    fn a_purchase_is_of_an_item_clicked_before_and_most_often_of_a_heavy_one() {
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
    fn promised_items_all_appear_and_rare_ones_come_on_top() {
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
