//! Sets of catalogue items, one bit an item.

/// A set of catalogue items, one bit an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemMask {
    /// Item `i` is bit `i % 64` of word `i / 64`; the bits beyond the last item are 0.
    words: Vec<u64>,
    items: usize,
    count: usize,
    /// The items, ascending, if there are few.
    few: Option<Vec<u32>>,
}

/// A set of at most one item in so many of the catalogue is few: its items are scored one by one.
const FEW: usize = 1_024;
/// A set of so many items is always few.
const ALWAYS_FEW: usize = 64;

impl ItemMask {
    /// The set of these bits among `items` items.
    ///
    /// # Panics
    /// If there is not one word for each 64 items.
    pub fn new(mut words: Vec<u64>, items: usize) -> Self {
        assert_eq!(words.len(), items.div_ceil(64), "a bit for each item");
        if !items.is_multiple_of(64)
            && let Some(last) = words.last_mut()
        {
            *last &= (1 << (items % 64)) - 1;
        }
        let mut count = 0;
        for word in &words {
            count += word.count_ones() as usize;
        }
        let few = (count <= ALWAYS_FEW.max(items / FEW)).then(|| bits(&words));
        Self {
            words,
            items,
            count,
            few,
        }
    }

    /// The bits: item `i` is bit `i % 64` of word `i / 64`.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Number of items in the set.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Number of items of the catalogue.
    pub fn items(&self) -> usize {
        self.items
    }

    /// Whether an item is in the set.
    pub fn contains(&self, item: u32) -> bool {
        let word = self.words.get(item as usize / 64);
        word.is_some_and(|word| word >> (item % 64) & 1 == 1)
    }

    /// The items, ascending, if there are so few that they are better scored one by one.
    pub fn few(&self) -> Option<&[u32]> {
        self.few.as_deref()
    }

    /// The items, ascending.
    pub fn to_items(&self) -> Vec<u32> {
        bits(&self.words)
    }
}

/// Numbers of the bits that are set, ascending.
fn bits(words: &[u64]) -> Vec<u32> {
    let mut items = Vec::new();
    for (at, &word) in words.iter().enumerate() {
        let mut left = word;
        while left != 0 {
            items.push(at as u32 * 64 + left.trailing_zeros());
            left &= left - 1;
        }
    }
    items
}

/// Sets or clears the bit of an item.
pub(crate) fn set_bit(words: &mut [u64], item: u32, is_set: bool) {
    let bit = 1 << (item % 64);
    if is_set {
        words[item as usize / 64] |= bit;
    } else {
        words[item as usize / 64] &= !bit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mask_counts_lists_and_tests_its_items() {
        let mut words = vec![0; 2];
        for item in [0, 5, 63, 64, 99] {
            set_bit(&mut words, item, true);
        }
        set_bit(&mut words, 5, false);
        words[1] |= 1 << 40; // beyond the last item
        let mask = ItemMask::new(words, 100);
        assert_eq!((mask.count(), mask.to_items()), (4, vec![0, 63, 64, 99]));
        assert_eq!(mask.few(), Some([0, 63, 64, 99].as_slice()));
        assert!(mask.contains(99) && !mask.contains(5) && !mask.contains(104));
        assert!(!mask.contains(4_000));
        assert!(ItemMask::new(vec![u64::MAX; 2], 100).few().is_none());
    }
}
