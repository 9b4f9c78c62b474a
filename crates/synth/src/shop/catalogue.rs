//! Items of a shop: categories, latent vectors, popularity, price and propensity to be bought.

use prl_seed::Rng;
use rand::Rng as _;
use rand_distr::{Distribution as _, StandardNormal};

use super::world::ShopWorld;

/// Length of an item's latent vector.
pub const DIM: usize = 8;
/// Items of a category.
const CATEGORY: usize = 64;
/// Seed of the catalogue: all worlds with equal numbers of categories have the same items.
const SEED: u64 = 0;
/// Median price.
const PRICE: f64 = 20.0;
/// Standard deviation of the categories' mean log price.
const CATEGORY_PRICE: f64 = 0.6;
/// Standard deviation of the log price within a category.
const ITEM_PRICE: f64 = 0.5;
/// Standard deviation of the categories' log popularity.
const CATEGORY_POPULARITY: f64 = 1.0;

/// Latent vector of an item or a visitor.
pub(crate) type Vector = [f64; DIM];

/// One item.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) vector: Vector,
    /// Log popularity.
    pub(crate) popularity: f64,
    /// Log-odds that are added to those of a purchase.
    pub(crate) conversion: f64,
    pub(crate) log_price: f64,
}

/// A shop with its catalogue.
#[derive(Clone, Debug)]
pub struct Shop {
    world: ShopWorld,
    /// Items, category by category.
    items: Vec<Item>,
    /// Mean log price of each category.
    category_prices: Vec<f64>,
    /// Cumulative popularity of the categories, ending at 1.
    category_shares: Vec<f64>,
}

impl Shop {
    /// Makes the catalogue of a world.
    pub fn new(world: ShopWorld) -> Self {
        let fitted = world.fitted;
        let mut rng = prl_seed::stream(SEED, "shop catalogue", 0);
        let (mut items, mut prices, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        let mut total = 0.0;
        for _ in 0..fitted.categories {
            let price = PRICE.ln() + CATEGORY_PRICE * normal(&mut rng);
            let popularity = CATEGORY_POPULARITY * normal(&mut rng);
            let mut sum = 0.0;
            for _ in 0..CATEGORY {
                let item = Item {
                    vector: vector(&mut rng),
                    popularity: fitted.popularity * normal(&mut rng),
                    conversion: fitted.conversion * normal(&mut rng),
                    log_price: price + ITEM_PRICE * normal(&mut rng),
                };
                sum += item.popularity.exp();
                items.push(item);
            }
            total += popularity.exp() * sum;
            prices.push(price);
            shares.push(total);
        }
        for share in &mut shares {
            *share /= total;
        }
        Self {
            world,
            items,
            category_prices: prices,
            category_shares: shares,
        }
    }

    /// The world.
    pub fn world(&self) -> &ShopWorld {
        &self.world
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are no items.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Raw id of an item in a log.
    pub fn raw(item: u32) -> u32 {
        item + 1
    }

    /// Item of a raw id; `None` if the shop has none of that id.
    pub fn item(&self, raw: &str) -> Option<u32> {
        let item = raw.parse::<u32>().ok()?.checked_sub(1)?;
        ((item as usize) < self.len()).then_some(item)
    }

    /// Price of an item, in whole cents.
    pub fn price(&self, item: u32) -> f64 {
        (self.get(item).log_price.exp() * 100.0).round() / 100.0
    }

    /// Number of categories.
    pub fn categories(&self) -> u32 {
        self.category_prices.len() as u32
    }

    /// Category of an item.
    pub fn category(&self, item: u32) -> u32 {
        category_of(item)
    }

    pub(crate) fn get(&self, item: u32) -> &Item {
        &self.items[item as usize]
    }

    pub(crate) fn category_price(&self, category: u32) -> f64 {
        self.category_prices[category as usize]
    }

    /// The category at this quantile of popularity.
    pub(crate) fn category_at(&self, quantile: f64) -> u32 {
        let at = self
            .category_shares
            .partition_point(|&share| share <= quantile);
        at.min(self.category_shares.len() - 1) as u32
    }
}

/// Category of an item.
pub(crate) fn category_of(item: u32) -> u32 {
    item / CATEGORY as u32
}

/// Items of a category.
pub(crate) fn category_items(category: u32) -> std::ops::Range<u32> {
    let first = category * CATEGORY as u32;
    first..first + CATEGORY as u32
}

pub(crate) fn normal(rng: &mut Rng) -> f64 {
    StandardNormal.sample(rng)
}

pub(crate) fn vector(rng: &mut Rng) -> Vector {
    let mut vector = [0.0; DIM];
    for value in &mut vector {
        *value = normal(rng);
    }
    vector
}

/// Uniform number in 0..1.
pub(crate) fn uniform(rng: &mut Rng) -> f64 {
    rng.random()
}

/// Fit of two vectors: their dot product over the square root of the length; of standard normal
/// vectors, it has a standard deviation of 1.
pub(crate) fn fit(a: &Vector, b: &Vector) -> f64 {
    let mut sum = 0.0;
    for (x, y) in a.iter().zip(b) {
        sum += x * y;
    }
    sum / (DIM as f64).sqrt()
}
