//! Makers of lists that need no model: bounds and baselines of a simulation.

use std::convert::Infallible;

use prl_seed::Rng;
use rand::Rng as _;

use super::catalogue::{Shop, category_items, category_of};
use super::visit::Visit;

/// Maker of the lists of visits.
pub trait Lists {
    /// Failure to make a list.
    type Error;

    /// The list of each visit for its next event, best first. A list may depend on its visit only,
    /// not on the others.
    ///
    /// # Errors
    /// If a list cannot be made.
    fn lists(&mut self, visits: &[&Visit<'_>]) -> Result<Vec<Vec<u32>>, Self::Error>;
}

/// No lists: visitors find items by themselves, as in the log that worlds are fitted to.
#[derive(Clone, Copy, Debug)]
pub struct NoLists;

impl Lists for NoLists {
    type Error = Infallible;

    fn lists(&mut self, visits: &[&Visit<'_>]) -> Result<Vec<Vec<u32>>, Infallible> {
        Ok(vec![Vec::new(); visits.len()])
    }
}

/// The most popular items of the last item's category that the visitor has not seen.
#[derive(Clone, Debug)]
pub struct Popular {
    /// Items of each category, most popular first.
    items: Vec<Vec<u32>>,
    k: usize,
}

impl Popular {
    /// Lists of at most `k` items.
    pub fn new(shop: &Shop, k: usize) -> Self {
        let mut items = Vec::new();
        for category in 0..shop.categories() {
            let mut ranked = Vec::new();
            for item in category_items(category) {
                ranked.push((shop.get(item).popularity, item));
            }
            items.push(best_first(ranked));
        }
        Self { items, k }
    }
}

impl Lists for Popular {
    type Error = Infallible;

    fn lists(&mut self, visits: &[&Visit<'_>]) -> Result<Vec<Vec<u32>>, Infallible> {
        let mut lists = Vec::with_capacity(visits.len());
        for visit in visits {
            let mut list = Vec::new();
            if let Some(last) = visit.events().last() {
                list.clone_from(&self.items[category_of(last.item) as usize]);
            }
            list.retain(|&item| !visit.has_seen(item));
            list.truncate(self.k);
            lists.push(list);
        }
        Ok(lists)
    }
}

/// Items in descending order of their values, equal ones in the order of their numbers.
fn best_first(mut ranked: Vec<(f64, u32)>) -> Vec<u32> {
    ranked.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    ranked.into_iter().map(|(_, item)| item).collect()
}

/// Items drawn uniformly from the catalogue.
#[derive(Clone, Debug)]
pub struct Random {
    seed: u64,
    items: u32,
    k: usize,
}

impl Random {
    /// Lists of `k` items under a seed.
    pub fn new(shop: &Shop, k: usize, seed: u64) -> Self {
        Self {
            seed,
            items: shop.len() as u32,
            k,
        }
    }
}

impl Lists for Random {
    type Error = Infallible;

    fn lists(&mut self, visits: &[&Visit<'_>]) -> Result<Vec<Vec<u32>>, Infallible> {
        let mut lists = Vec::with_capacity(visits.len());
        for visit in visits {
            let mut rng: Rng = prl_seed::stream(self.seed, "shop random", visit.number());
            rng.set_word_pos(visit.events().len() as u128 * 2 * self.k as u128);
            let mut list = Vec::with_capacity(self.k);
            for _ in 0..self.k {
                list.push(rng.random_range(0..self.items));
            }
            lists.push(list);
        }
        Ok(lists)
    }
}

/// The best items of the intent's category that the visitor has not seen: a bound that needs the
/// visitor's hidden taste.
#[derive(Clone, Copy, Debug)]
pub struct Best {
    /// What is best.
    pub by: BestBy,
    /// Items of a list.
    pub k: usize,
}

/// Order of the items of [`Best`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BestBy {
    /// Relevance to the present interest.
    Relevance,
    /// Relevance times the probability of a purchase.
    Purchase,
    /// That times the price.
    Money,
}

impl BestBy {
    fn value(self, visit: &Visit<'_>, item: u32) -> f64 {
        let relevance = visit.relevance(item);
        match self {
            BestBy::Relevance => relevance,
            BestBy::Purchase => relevance * visit.purchase_chance(item),
            BestBy::Money => relevance * visit.purchase_chance(item) * visit.shop().price(item),
        }
    }
}

impl Lists for Best {
    type Error = Infallible;

    fn lists(&mut self, visits: &[&Visit<'_>]) -> Result<Vec<Vec<u32>>, Infallible> {
        let mut lists = Vec::with_capacity(visits.len());
        for visit in visits {
            let mut ranked = Vec::new();
            for item in visit.intent_items() {
                if !visit.has_seen(item) {
                    ranked.push((self.by.value(visit, item), item));
                }
            }
            let mut list = best_first(ranked);
            list.truncate(self.k);
            lists.push(list);
        }
        Ok(lists)
    }
}
