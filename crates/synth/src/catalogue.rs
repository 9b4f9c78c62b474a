//! The items of a synthetic log: what the generator knows and the log does not say.

use crate::error::Result;
use crate::options::{Like, Options};
use crate::rc15;
use crate::shape::Shape;
use crate::world::World;

/// An item of a category.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatalogueItem {
    /// Id in the log.
    pub id: u64,
    /// Category, from 0; lower ones are visited more.
    pub category: u32,
    /// Rank by popularity in the category, from 0.
    pub rank: u32,
    /// Whether sessions with the intent to buy are drawn to it.
    pub is_purchase_heavy: bool,
}

/// The items in the categories of a log with these options, without the rare ones.
///
/// # Errors
/// [`Error::Sessions`](crate::Error::Sessions) for a number of sessions out of range.
pub fn catalogue(options: &Options) -> Result<Vec<CatalogueItem>> {
    let shape = Shape::new(options)?;
    let world = World::new(&shape, options.seed);
    let mut items = Vec::with_capacity(shape.core as usize);
    for item in 0..shape.core {
        let raw = world.raw(item);
        items.push(CatalogueItem {
            id: match options.like {
                Like::Tiny | Like::RetailRocket => raw.into(),
                Like::Rc15 => rc15::Writer::item_id(raw).into(),
            },
            category: world.category(item),
            rank: world.rank(item),
            is_purchase_heavy: world.is_heavy(item),
        });
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalogue_has_the_purchase_heavy_items_of_the_log() {
        let options = Options {
            like: Like::Tiny,
            sessions: Some(400),
            seed: 3,
        };
        let dir = tempfile::tempdir().unwrap();
        let summary = crate::synth(&options, dir.path()).unwrap();
        let items = catalogue(&options).unwrap();
        assert_eq!(items.len() as u64, summary.expected.items);
        let mut heavy = Vec::new();
        for item in items {
            if item.is_purchase_heavy {
                heavy.push(item.id.to_string());
            }
        }
        assert_eq!(heavy, summary.heavy_items);
    }
}
