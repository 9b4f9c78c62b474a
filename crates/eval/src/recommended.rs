//! Metrics of the recommended lists themselves: catalogue coverage and mean popularity.

use crate::error::Error;

/// Length of the lists of the paper's tables.
pub const TOP: usize = 20;

/// No list holds the item.
const NOWHERE: u32 = u32::MAX;

/// Statistics of the lists of all cases, list by list: a number for each item and for each place
/// of a list, whatever the number of cases.
#[derive(Clone, Debug)]
pub struct Recommended {
    /// Best place of each item in a list, from 0.
    best: Vec<u32>,
    /// Number of training events of each item; `None` without the training log.
    popularity: Option<Vec<u32>>,
    /// For each place, the number of lists that fill it and the training events of their items.
    places: Vec<(u64, u64)>,
    cases: usize,
}

impl Recommended {
    /// No lists yet, over `items` items; `popularity` `[items]` is the number of training events of
    /// each item, if the training log is at hand.
    ///
    /// # Errors
    /// [`Error::Length`] if `popularity` has another length.
    pub fn new(items: usize, popularity: Option<Vec<u32>>) -> Result<Self, Error> {
        if let Some(counts) = &popularity
            && counts.len() != items
        {
            let (what, found) = ("popularity of the items", counts.len());
            return Err(Error::Length {
                what,
                found,
                expected: items,
                cases: 0,
            });
        }
        Ok(Self {
            best: vec![NOWHERE; items],
            popularity,
            places: Vec::new(),
            cases: 0,
        })
    }

    /// Adds the list of a case, best item first. Lists may differ in length.
    ///
    /// # Errors
    /// [`Error::UnknownItem`] if an item is out of range.
    pub fn add(&mut self, list: impl IntoIterator<Item = u32>) -> Result<(), Error> {
        for (place, item) in list.into_iter().enumerate() {
            let items = self.best.len();
            let Some(best) = self.best.get_mut(item as usize) else {
                return Err(Error::UnknownItem {
                    case: self.cases,
                    item,
                    items,
                });
            };
            *best = (*best).min(place as u32);
            if place == self.places.len() {
                self.places.push((0, 0));
            }
            let (lists, events) = &mut self.places[place];
            *lists += 1;
            if let Some(popularity) = &self.popularity {
                *events += u64::from(popularity[item as usize]);
            }
        }
        self.cases += 1;
        Ok(())
    }

    /// Number of lists.
    pub fn len(&self) -> usize {
        self.cases
    }

    /// Whether there is no list.
    pub fn is_empty(&self) -> bool {
        self.cases == 0
    }

    /// Share of all items that occur in the first `k` places of some list; `None` without entries.
    pub fn coverage(&self, k: u32) -> Option<f64> {
        if self.places.is_empty() {
            return None;
        }
        let mut distinct = 0_u32;
        for &best in &self.best {
            distinct += u32::from(best < k);
        }
        Some(f64::from(distinct) / self.best.len() as f64)
    }

    /// Mean number of training events over the first `k` places of all lists; `None` without
    /// entries, or without these numbers.
    pub fn mean_popularity(&self, k: u32) -> Option<f64> {
        self.popularity.as_ref()?;
        let (mut entries, mut events) = (0, 0);
        for (lists, counts) in self.places.iter().take(k as usize) {
            entries += lists;
            events += counts;
        }
        (entries > 0).then(|| events as f64 / entries as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lists(popularity: Vec<u32>, lists: &[&[u32]]) -> Recommended {
        let mut all = Recommended::new(popularity.len(), Some(popularity)).unwrap();
        for list in lists {
            all.add(list.iter().copied()).unwrap();
        }
        all
    }

    #[test]
    fn coverage_and_popularity_match_hand_computation() {
        let (one, other): (Vec<u32>, Vec<u32>) = ((0..20).collect(), (10..30).collect());
        let found = lists((0..40).collect(), &[&one, &other]);
        assert_eq!(found.coverage(20), Some(30.0 / 40.0));
        assert_eq!(found.mean_popularity(20), Some((9.5 + 19.5) / 2.0));
        assert_eq!(found.coverage(1), Some(2.0 / 40.0));
        assert_eq!(found.mean_popularity(1), Some(5.0));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn lists_of_unequal_length_count_by_their_entries() {
        let found = lists(vec![6, 0, 3], &[&[2, 0, 1], &[0]]);
        assert_eq!(found.coverage(20), Some(1.0));
        assert_eq!(found.mean_popularity(20), Some(15.0 / 4.0));
        assert_eq!(found.mean_popularity(1), Some(4.5));
    }

    #[test]
    fn lists_without_entries_are_undefined() {
        let none = lists(vec![1], &[]);
        assert_eq!((none.coverage(20), none.mean_popularity(20)), (None, None));
        assert!(none.is_empty());
        let mut unknown = Recommended::new(2, None).unwrap();
        unknown.add([1]).unwrap();
        let found = (unknown.coverage(20), unknown.mean_popularity(20));
        assert_eq!(found, (Some(0.5), None));
    }

    #[test]
    fn list_item_out_of_range_is_refused() {
        let mut found = lists(vec![1, 1], &[&[0, 1]]);
        let expected = Error::UnknownItem {
            case: 1,
            item: 2,
            items: 2,
        };
        assert_eq!(found.add([1, 2]), Err(expected));
        assert!(Recommended::new(3, Some(vec![1])).is_err());
    }

    proptest! {
        #[test]
        fn statistics_match_the_definitions(
            all in prop::collection::vec(prop::collection::vec(0_u32..9, 0..6), 0..12),
            k in 1_u32..8,
        ) {
            let popularity: Vec<u32> = (0..9).map(|item| item * item).collect();
            let slices: Vec<&[u32]> = all.iter().map(Vec::as_slice).collect();
            let found = lists(popularity.clone(), &slices);
            let cut: Vec<u32> = all.iter().flat_map(|list| list.iter().copied().take(k as usize)).collect();
            let distinct: std::collections::HashSet<u32> = cut.iter().copied().collect();
            if cut.is_empty() {
                prop_assert_eq!(found.coverage(k), None);
            } else {
                prop_assert_eq!(found.coverage(k), Some(distinct.len() as f64 / 9.0));
                let events: u32 = cut.iter().map(|&item| popularity[item as usize]).sum();
                prop_assert_eq!(found.mean_popularity(k), Some(f64::from(events) / cut.len() as f64));
            }
        }
    }
}
