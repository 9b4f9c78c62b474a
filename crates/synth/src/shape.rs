//! Scale of a log: the paper's Table 1 in proportion to the number of sessions.

use crate::error::{Error, MAX_SESSIONS, MIN_SESSIONS, Result};
use crate::options::{Like, Options};

/// Growth exponent of the number of items above the reference scale: sessions^0.2.
const ITEM_GROWTH: f64 = 0.2;

/// Planned appearances of each item of a category in a log of the reference size: the minimum that
/// passes the item filter.
const PROMISED: f64 = 3.0;

/// Scale of one log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    pub(crate) like: Like,
    /// Number of sessions that pass the filters.
    pub(crate) sessions: u64,
    /// Number of items in categories; each passes the filters.
    pub(crate) core: u32,
    /// Number of rare items, outside the categories.
    pub(crate) rare: u32,
    /// Planned appearances of all items in categories together. They grow with the log above the
    /// reference scale, so that a sample of the sessions still contains the items.
    pub(crate) appearances: u64,
    /// Mean number of clicks per session, without rare items that are filtered.
    pub(crate) clicks: f64,
    /// Mean number of purchases per session.
    pub(crate) purchases: f64,
}

impl Shape {
    pub(crate) fn new(options: &Options) -> Result<Self> {
        // Table 1: sessions, items, clicks, purchases; then the default number of sessions. For
        // RC15 it exceeds the reference because the protocol samples the sessions.
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

    /// Whether the item filter drops rare items, which are then generated in addition to the
    /// counts.
    pub(crate) fn drops_rare(&self) -> bool {
        self.like != Like::Rc15
    }

    /// Number of items that pass the filters.
    pub(crate) fn items(&self) -> u64 {
        u64::from(self.core)
            + if self.drops_rare() {
                0
            } else {
                u64::from(self.rare)
            }
    }
}

/// Number of items with one click, such that a sample of the reference size contains Table 1's
/// number of items for any size of the log: `rare / scale + (total - rare) = items`. At or below
/// the reference scale, the limit of this solution at scale 1.
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
    fn rc15_sample_of_the_reference_size_contains_the_items_of_table_1() {
        for sessions in [200_001, 204_000, 1_000_000, 6_000_000] {
            let s = shape(Like::Rc15, Some(sessions));
            let met = f64::from(s.core) + f64::from(s.rare) * 200_000.0 / sessions as f64;
            assert!((met - 26_702.0).abs() < 2.0, "{sessions}: {met}");
        }
        assert_eq!(shape(Like::Rc15, Some(6_000_000)).items(), 52_719);
        assert_eq!(shape(Like::Rc15, Some(100_000)).items(), 13_351);
    }

    #[test]
    fn sessions_out_of_range_are_refused() {
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
