//! The most frequent items of training, for sessions of which nothing is known.

use prl_dataset::PurchaseCounts;
use prl_kernels::ops::top_k_serving::{ItemFilter, TopK};

/// Items by their number of events in training.
#[derive(Debug)]
pub(crate) struct Popularity {
    events: Vec<u32>,
    /// All items, the most frequent first, equal numbers by lower index.
    order: Vec<u32>,
}

impl Popularity {
    pub(crate) fn new(counts: PurchaseCounts) -> Self {
        let events = counts.events;
        let mut order: Vec<u32> = (0..events.len() as u32).collect();
        order.sort_by_key(|&item| std::cmp::Reverse(events[item as usize]));
        Self { events, order }
    }

    /// The most frequent items that a filter allows, with their numbers of events.
    pub(crate) fn top(&self, filter: ItemFilter<'_>, k: usize) -> TopK<f32> {
        let mut top = TopK::new();
        if let ItemFilter::Allow(items) = filter {
            for &item in items {
                top.push((item, self.events[item as usize] as f32));
            }
            top.sort_by(|a, b| b.1.total_cmp(&a.1));
            top.truncate(k);
            return top;
        }
        for &item in &self.order {
            if top.len() == k {
                break;
            }
            if filter.allows(item) {
                top.push((item, self.events[item as usize] as f32));
            }
        }
        top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn popular_items_are_those_of_most_events_that_a_filter_allows() {
        let mut counts = PurchaseCounts::new(5);
        counts.events = vec![3, 9, 0, 9, 4];
        let popularity = Popularity::new(counts);
        let top = |filter, k| popularity.top(filter, k);
        assert_eq!(
            top(ItemFilter::Exclude(&[]), 3),
            [(1, 9.0), (3, 9.0), (4, 4.0)]
        );
        assert_eq!(top(ItemFilter::Exclude(&[1, 4]), 2), [(3, 9.0), (0, 3.0)]);
        assert_eq!(top(ItemFilter::Allow(&[0, 2, 4]), 2), [(4, 4.0), (0, 3.0)]);
        let mask = ItemFilter::Mask {
            words: &[0b01101],
            except: &[3],
        };
        assert_eq!(top(mask, 9), [(0, 3.0), (2, 0.0)]);
    }
}
