//! The shop: items, categories, successors.

use prl_seed::Rng;
use rand::Rng as _;
use rand::seq::{SliceRandom, index};

use crate::shape::Shape;

const CATEGORY_SIZE: u32 = 50;
const ITEM_EXPONENT: f64 = 1.0;
const CATEGORY_EXPONENT: f64 = 0.8;
/// Every how many-th item is purchase-heavy.
const HEAVY_EVERY: u32 = 6;
/// Raw ids are scattered over a range this many times the number of items.
const ID_SPREAD: usize = 4;

/// Chances of an item's favoured successors.
const FAVOURED: [f64; 4] = [0.5, 0.25, 0.15, 0.1];
/// Chances of its favoured purchase-heavy successors.
const FAVOURED_HEAVY: [f64; 2] = [0.7, 0.3];

/// Items `0..core` in categories, then the rare ones.
#[derive(Debug)]
pub(crate) struct World {
    core: u32,
    rare: u32,
    categories: u32,
    /// Cumulative weights of the ranks of a category.
    ranks: Vec<f64>,
    /// Cumulative weights of the categories.
    category_weights: Vec<f64>,
    successors: Vec<[u32; 4]>,
    heavy_successors: Vec<[u32; 2]>,
    /// Raw id by item.
    ids: Vec<u32>,
    /// The order in which the items of the categories make their promised appearances, round after round.
    round: Vec<u32>,
    /// Promised appearances, over all rounds.
    appearances: u64,
    /// The appearances of the rare items.
    rare_appearances: Vec<u32>,
}

impl World {
    pub(crate) fn new(shape: &Shape, seed: u64) -> Self {
        let mut rng = prl_seed::stream(seed, "synth world", 0);
        let categories = (shape.core / CATEGORY_SIZE).max(1);
        let items = (shape.core + shape.rare) as usize;
        let mut world = Self {
            core: shape.core,
            rare: shape.rare,
            categories,
            ranks: cumulative(shape.core.div_ceil(categories), ITEM_EXPONENT),
            category_weights: cumulative(categories, CATEGORY_EXPONENT),
            successors: Vec::new(),
            heavy_successors: Vec::new(),
            ids: index::sample(&mut rng, items * ID_SPREAD, items)
                .into_iter()
                .map(|i| i as u32)
                .collect(),
            round: shuffled(0..shape.core, &mut rng),
            appearances: shape.appearances,
            // In RetailRocket's format rare items alternate between one and two, too few for the item filter.
            rare_appearances: shuffled(
                (shape.core..shape.core + shape.rare).flat_map(|i| {
                    std::iter::repeat_n(
                        i,
                        if shape.drops_rare() {
                            1 + i as usize % 2
                        } else {
                            1
                        },
                    )
                }),
                &mut rng,
            ),
        };
        for item in 0..world.core {
            let successors = world.distinct(item, |_| true, &mut rng);
            let heavy = world.distinct(item, |i| world.is_heavy(i), &mut rng);
            world.successors.push(successors);
            world.heavy_successors.push(heavy);
        }
        world
    }

    /// The category of an item; a rare item has none, and counts as one of the first.
    pub(crate) fn category(&self, item: u32) -> u32 {
        item % self.categories
    }

    /// Whether an item is purchase-heavy. The pattern shifts from category to category, so popular and unpopular items are
    /// alike in this.
    pub(crate) fn is_heavy(&self, item: u32) -> bool {
        !self.is_rare(item) && (item / self.categories + self.category(item)) % HEAVY_EVERY == 2
    }

    /// Whether an item stands outside the categories.
    pub(crate) fn is_rare(&self, item: u32) -> bool {
        item >= self.core
    }

    /// The raw id of an item.
    pub(crate) fn raw(&self, item: u32) -> u32 {
        self.ids[item as usize]
    }

    /// The items promised to session `session` of `sessions`, an even share.
    pub(crate) fn promised_to(
        &self,
        session: u64,
        sessions: u64,
    ) -> impl Iterator<Item = u32> + '_ {
        let share = move |total: u64| {
            let at = |s: u64| (u128::from(s) * u128::from(total) / u128::from(sessions)) as u64;
            at(session)..at(session + 1)
        };
        let core =
            share(self.appearances).map(|n| self.round[(n % self.round.len() as u64) as usize]);
        core.chain(
            share(self.rare_appearances.len() as u64).map(|n| self.rare_appearances[n as usize]),
        )
    }

    /// An item of a category drawn at random.
    pub(crate) fn draw(&self, rng: &mut Rng) -> u32 {
        let category = pick(&self.category_weights, rng) as u32;
        self.draw_in(category, rng)
    }

    /// An item of the given category.
    pub(crate) fn draw_in(&self, category: u32, rng: &mut Rng) -> u32 {
        let size = (self.core - category).div_ceil(self.categories) as usize;
        category + self.categories * pick(&self.ranks[..size], rng) as u32
    }

    /// A rare item, all alike.
    pub(crate) fn draw_rare(&self, rng: &mut Rng) -> u32 {
        self.core + rng.random_range(0..self.rare)
    }

    /// A favoured successor.
    pub(crate) fn successor(&self, item: u32, rng: &mut Rng) -> u32 {
        self.successors[item as usize][choose(&FAVOURED, rng)]
    }

    /// A favoured purchase-heavy successor.
    pub(crate) fn heavy_successor(&self, item: u32, rng: &mut Rng) -> u32 {
        self.heavy_successors[item as usize][choose(&FAVOURED_HEAVY, rng)]
    }

    /// Raw ids of the purchase-heavy items.
    pub(crate) fn heavy_ids(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.core)
            .filter(|&i| self.is_heavy(i))
            .map(|i| self.raw(i))
    }

    /// Distinct items like `item` in category, other than itself, that pass `allowed`.
    fn distinct<const N: usize>(
        &self,
        item: u32,
        allowed: impl Fn(u32) -> bool,
        rng: &mut Rng,
    ) -> [u32; N] {
        let mut out = [item; N];
        for n in 0..N {
            while out[n] == item || out[..n].contains(&out[n]) || !allowed(out[n]) {
                out[n] = self.draw_in(self.category(item), rng);
            }
        }
        out
    }
}

fn shuffled(items: impl Iterator<Item = u32>, rng: &mut Rng) -> Vec<u32> {
    let mut items: Vec<u32> = items.collect();
    items.shuffle(rng);
    items
}

fn cumulative(n: u32, exponent: f64) -> Vec<f64> {
    let weights = (1..=n).map(|rank| f64::from(rank).powf(-exponent));
    weights
        .scan(0.0, |sum, w| {
            Some({
                *sum += w;
                *sum
            })
        })
        .collect()
}

fn pick(cumulative: &[f64], rng: &mut Rng) -> usize {
    let Some(&total) = cumulative.last() else {
        return 0;
    };
    let u = rng.random::<f64>() * total;
    cumulative
        .partition_point(|&c| c <= u)
        .min(cumulative.len() - 1)
}

fn choose(chances: &[f64], rng: &mut Rng) -> usize {
    let mut u = rng.random::<f64>();
    let chosen = chances.iter().position(|&chance| {
        u -= chance;
        u < 0.0
    });
    chosen.unwrap_or(chances.len() - 1)
}
