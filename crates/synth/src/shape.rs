//! How much of everything: Table 1 of the paper, scaled.

use crate::error::{Error, Result};
use crate::options::{Like, Options};

/// Below this no category has room for its successors.
pub(crate) const MIN_SESSIONS: u64 = 200;
/// Above this item and session ids outgrow the real ones.
pub(crate) const MAX_SESSIONS: u64 = 100_000_000;

/// How the number of items grows past the reference scale: sessions^0.2.
const ITEM_GROWTH: f64 = 0.2;

/// Appearances promised to each item of a category in a log of the reference size: what the item filter asks for.
const PROMISED: f64 = 3.0;

/// The scale of one log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    pub(crate) like: Like,
    /// Sessions that survive the filters.
    pub(crate) sessions: u64,
    /// Items in categories; each survives the filters.
    pub(crate) core: u32,
    /// Items outside them.
    pub(crate) rare: u32,
    /// Appearances promised to the items in categories, all together. They grow with the log past the reference scale, so that
    /// the process stays the same and a sample of the sessions still meets the items.
    pub(crate) appearances: u64,
    /// Mean clicks per session, rare items that are filtered not counted.
    pub(crate) clicks: f64,
    /// Mean purchases per session.
    pub(crate) purchases: f64,
}

impl Shape {
    pub(crate) fn new(options: &Options) -> Result<Self> {
        // Table 1: sessions, items, clicks, purchases; then the sessions written when nobody says. RC15's exceed its
        // reference so that the protocol has a sample to take.
        let (reference, items, clicks, purchases, default) = match options.like {
            Like::Tiny => (4_000.0, 1_000.0, 24_073.0, 1_172.0, 4_000),
            Like::RetailRocket => (195_523.0, 70_852.0, 1_176_680.0, 57_269.0, 195_523),
            Like::Rc15 => (200_000.0, 26_702.0, 1_110_965.0, 43_946.0, 204_000),
        };
        let sessions = options.sessions.unwrap_or(default);
        if !(MIN_SESSIONS..=MAX_SESSIONS).contains(&sessions) {
            return Err(Error::Sessions(sessions));
        }
        let scale = sessions as f64 / reference;
        let total = items
            * if scale <= 1.0 {
                scale
            } else {
                scale.powf(ITEM_GROWTH)
            };
        let (core, rare) = match options.like {
            Like::Tiny | Like::RetailRocket => (total, total / 10.0),
            Like::Rc15 => {
                let rare = rare_of_rc15(items, total, scale);
                (total - rare, rare)
            }
        };
        Ok(Self {
            like: options.like,
            sessions,
            core: core.round() as u32,
            appearances: (core.round() * PROMISED * scale.max(1.0)) as u64,
            rare: rare.round() as u32,
            clicks: clicks / reference,
            purchases: purchases / reference,
        })
    }

    /// Whether rare items fall to the item filter, and so come on top of the counts.
    pub(crate) fn drops_rare(&self) -> bool {
        self.like != Like::Rc15
    }

    /// The number of items that survive the filters.
    pub(crate) fn items(&self) -> u64 {
        u64::from(self.core)
            + if self.drops_rare() {
                0
            } else {
                u64::from(self.rare)
            }
    }
}

/// Items of one click, as many as it takes for a sample of the reference size to meet Table 1's number of items whatever the
/// size of the log: `rare / scale + (total - rare) = items`. Its limit at the reference scale serves below it.
fn rare_of_rc15(items: f64, total: f64, scale: f64) -> f64 {
    if scale > 1.0 {
        (total - items) / (1.0 - 1.0 / scale)
    } else {
        total * ITEM_GROWTH
    }
}

#[cfg(test)]
mod tests {
    use super::Shape;
    use crate::options::{Like, Options};

    fn shape(like: Like, sessions: Option<u64>) -> Shape {
        Shape::new(&Options {
            like,
            sessions,
            seed: 0,
        })
        .unwrap()
    }

    #[test]
    fn a_sample_of_the_reference_size_should_meet_the_items_of_table_1() {
        for sessions in [200_001, 204_000, 1_000_000, 6_000_000] {
            let s = shape(Like::Rc15, Some(sessions));
            let met = f64::from(s.core) + f64::from(s.rare) * 200_000.0 / sessions as f64;
            assert!((met - 26_702.0).abs() < 2.0, "{sessions}: {met}");
        }
        assert_eq!(shape(Like::Rc15, Some(6_000_000)).items(), 52_719);
        assert_eq!(shape(Like::Rc15, Some(100_000)).items(), 13_351);
    }

    #[test]
    fn sizes_without_sense_are_refused() {
        for sessions in [0, 199, 100_000_001] {
            let options = Options {
                like: Like::Tiny,
                sessions: Some(sessions),
                seed: 0,
            };
            assert!(
                Shape::new(&options)
                    .unwrap_err()
                    .to_string()
                    .contains("expected 200 to 100000000")
            );
        }
    }
}
