//! Requests of a top-k and their filters on items.

use super::PANEL;

/// A top-k request for one hidden vector.
#[derive(Clone, Copy, Debug)]
pub struct TopKRequest<'a> {
    /// Number of items.
    pub k: usize,
    /// Items allowed in the result.
    pub filter: ItemFilter<'a>,
}

/// Filter on the items of a result.
#[derive(Clone, Copy, Debug)]
pub enum ItemFilter<'a> {
    /// All items except these (ascending).
    Exclude(&'a [u32]),
    /// Only these items (ascending, valid indices).
    Allow(&'a [u32]),
    /// Only the items whose bit is set, except these.
    Mask {
        /// Item `i` is bit `i % 64` of word `i / 64`; one word for each 64 items.
        words: &'a [u64],
        /// Items that are left out (ascending).
        except: &'a [u32],
    },
}

impl ItemFilter<'_> {
    /// Whether an item may be in the result.
    pub fn allows(&self, item: u32) -> bool {
        match self {
            Self::Exclude(items) => items.binary_search(&item).is_err(),
            Self::Allow(items) => items.binary_search(&item).is_ok(),
            Self::Mask { words, except } => {
                let word = words.get(item as usize / PANEL).copied().unwrap_or(0);
                has_bit(word, item) && except.binary_search(&item).is_err()
            }
        }
    }
}

/// Whether the bit of an item is set in its panel's word.
#[inline(always)]
pub(super) fn has_bit(word: u64, item: u32) -> bool {
    word >> (item as usize % PANEL) & 1 == 1
}
