//! Catalogue of the synthetic shop: items, categories, successors.

use std::ops::Range;

use prl_seed::Rng;
use rand::Rng as _;
use rand::seq::{SliceRandom, index};

use crate::shape::Shape;

/// Approximate number of items in a category.
const CATEGORY_SIZE: u32 = 50;
/// Zipf exponent of the items within a category.
const ITEM_EXPONENT: f64 = 1.0;
/// Zipf exponent of the categories.
const CATEGORY_EXPONENT: f64 = 0.8;
/// One item in six is purchase-heavy.
const HEAVY_EVERY: u32 = 6;
/// Size of the range of raw ids, in multiples of the number of items.
const ID_SPREAD: usize = 4;

/// Probabilities of an item's favoured successors.
const FAVOURED: [f64; 4] = [0.5, 0.25, 0.15, 0.1];
/// Probabilities of an item's favoured purchase-heavy successors.
const FAVOURED_HEAVY: [f64; 2] = [0.7, 0.3];

/// Catalogue: items `0..core` in categories, then the rare items.
#[derive(Debug)]
pub(crate) struct World {
    core: u32,
    rare: u32,
    categories: u32,
    /// Cumulative weights of the ranks within a category.
    ranks: Vec<f64>,
    /// Cumulative weights of the categories.
    category_weights: Vec<f64>,
    successors: Vec<[u32; 4]>,
    heavy_successors: Vec<[u32; 2]>,
    /// Raw id of each item.
    ids: Vec<u32>,
    /// Order in which the items of the categories get their planned appearances, repeated every
    /// round.
    round: Vec<u32>,
    /// Planned appearances over all rounds.
    appearances: u64,
    /// Rare items, once for each appearance.
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
            ids: sample_ids(items, &mut rng),
            round: shuffled((0..shape.core).collect(), &mut rng),
            appearances: shape.appearances,
            rare_appearances: shuffled(rare_appearances(shape), &mut rng),
        };
        for item in 0..world.core {
            let successors = world.distinct(item, |_| true, &mut rng);
            let heavy = world.distinct(item, |i| world.is_heavy(i), &mut rng);
            world.successors.push(successors);
            world.heavy_successors.push(heavy);
        }
        world
    }

    /// Category of an item. Rare items have none; the number is then arbitrary.
    pub(crate) fn category(&self, item: u32) -> u32 {
        item % self.categories
    }

    /// Rank of an item in its category, by popularity.
    pub(crate) fn rank(&self, item: u32) -> u32 {
        item / self.categories
    }

    /// Whether an item is purchase-heavy. The pattern shifts by category, so this is independent of
    /// popularity.
    pub(crate) fn is_heavy(&self, item: u32) -> bool {
        !self.is_rare(item) && (item / self.categories + self.category(item)) % HEAVY_EVERY == 2
    }

    /// Whether an item is outside the categories.
    pub(crate) fn is_rare(&self, item: u32) -> bool {
        item >= self.core
    }

    /// Raw id of an item.
    pub(crate) fn raw(&self, item: u32) -> u32 {
        self.ids[item as usize]
    }

    /// Items planned for session `session` of `sessions`: an even share of all appearances.
    pub(crate) fn planned_items(
        &self,
        session: u64,
        sessions: u64,
    ) -> impl Iterator<Item = u32> + '_ {
        let round = self.round.len() as u64;
        let core = even_share(self.appearances, session, sessions);
        let rare = even_share(self.rare_appearances.len() as u64, session, sessions);
        let rare = &self.rare_appearances[rare.start as usize..rare.end as usize];
        core.map(move |n| self.round[(n % round) as usize])
            .chain(rare.iter().copied())
    }

    /// Random item of a random category.
    pub(crate) fn draw(&self, rng: &mut Rng) -> u32 {
        let category = pick(&self.category_weights, rng) as u32;
        self.draw_in(category, rng)
    }

    /// Random item of a category.
    pub(crate) fn draw_in(&self, category: u32, rng: &mut Rng) -> u32 {
        let size = (self.core - category).div_ceil(self.categories) as usize;
        category + self.categories * pick(&self.ranks[..size], rng) as u32
    }

    /// Random rare item, uniformly distributed.
    pub(crate) fn draw_rare(&self, rng: &mut Rng) -> u32 {
        self.core + rng.random_range(0..self.rare)
    }

    /// Random favoured successor of an item.
    pub(crate) fn successor(&self, item: u32, rng: &mut Rng) -> u32 {
        self.successors[item as usize][choose(&FAVOURED, rng)]
    }

    /// Random favoured purchase-heavy successor of an item.
    pub(crate) fn heavy_successor(&self, item: u32, rng: &mut Rng) -> u32 {
        self.heavy_successors[item as usize][choose(&FAVOURED_HEAVY, rng)]
    }

    /// Raw ids of the purchase-heavy items.
    pub(crate) fn heavy_ids(&self) -> impl Iterator<Item = u32> + '_ {
        let heavy = (0..self.core).filter(|&i| self.is_heavy(i));
        heavy.map(|i| self.raw(i))
    }

    /// Distinct random items of the category of `item`, other than itself, that pass `allowed`.
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

/// Distinct raw ids of `items` items, in random order.
fn sample_ids(items: usize, rng: &mut Rng) -> Vec<u32> {
    let ids = index::sample(rng, items * ID_SPREAD, items);
    ids.into_iter().map(|id| id as u32).collect()
}

/// Each rare item, repeated for each of its appearances.
fn rare_appearances(shape: &Shape) -> Vec<u32> {
    let mut appearances = Vec::new();
    for item in shape.core..shape.core + shape.rare {
        appearances.push(item);
        // In RetailRocket's format rare items alternate between one and two appearances, too few
        // for the item filter.
        if shape.drops_rare() && item % 2 == 1 {
            appearances.push(item);
        }
    }
    appearances
}

fn shuffled(mut items: Vec<u32>, rng: &mut Rng) -> Vec<u32> {
    items.shuffle(rng);
    items
}

/// Part `part` of `0..total` divided into `parts` equal parts.
fn even_share(total: u64, part: u64, parts: u64) -> Range<u64> {
    let bound = |i: u64| (u128::from(i) * u128::from(total) / u128::from(parts)) as u64;
    bound(part)..bound(part + 1)
}

/// Cumulative weights `rank^-exponent` of ranks 1 to `n`.
fn cumulative(n: u32, exponent: f64) -> Vec<f64> {
    let mut sums = Vec::with_capacity(n as usize);
    let mut sum = 0.0;
    for rank in 1..=n {
        sum += f64::from(rank).powf(-exponent);
        sums.push(sum);
    }
    sums
}

/// Random index with probability proportional to its weight.
fn pick(cumulative: &[f64], rng: &mut Rng) -> usize {
    let Some(&total) = cumulative.last() else {
        return 0;
    };
    let u = rng.random::<f64>() * total;
    let index = cumulative.partition_point(|&c| c <= u);
    index.min(cumulative.len() - 1)
}

/// Random index with these probabilities.
fn choose(probabilities: &[f64], rng: &mut Rng) -> usize {
    let mut u = rng.random::<f64>();
    for (i, probability) in probabilities.iter().enumerate() {
        u -= probability;
        if u < 0.0 {
            return i;
        }
    }
    probabilities.len() - 1
}
