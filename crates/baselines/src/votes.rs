//! Scores of a neighbour search without a pass over all items: few items have votes, and all others
//! one order, that of their popularity, whatever the history.

use std::cell::RefCell;
use std::cmp::Ordering;

/// Scores of the items without votes, all below 0, and their order.
#[derive(Clone, Debug)]
pub(crate) struct Floor {
    scores: Vec<f32>,
    /// Items by descending score, equal ones by lower index.
    order: Vec<u32>,
    /// Number of items whose score is at least that of each item.
    ranks: Vec<u32>,
}

impl Floor {
    pub(crate) fn new(scores: Vec<f32>) -> Self {
        let mut order: Vec<u32> = (0..scores.len() as u32).collect();
        order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
        let mut ranks = vec![0; scores.len()];
        for (at, &item) in order.iter().enumerate().rev() {
            // The last of its equals has the rank of all of them.
            let equal = order
                .get(at + 1)
                .filter(|&&next| scores[next as usize] == scores[item as usize]);
            ranks[item as usize] = match equal {
                Some(&next) => ranks[next as usize],
                None => at as u32 + 1,
            };
        }
        Self {
            scores,
            order,
            ranks,
        }
    }

    /// Size in bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.scores[..]) + size_of_val(&self.order[..]) + size_of_val(&self.ranks[..])
    }
}

/// Scores of all items for a history: votes above 0, the floor below, and items that are left out
/// below that.
#[derive(Clone)]
pub struct Votes<'a> {
    /// Items with votes, ascending, and their scores.
    above: Vec<(u32, f32)>,
    /// Items that are left out, ascending; they have no votes.
    left_out: Vec<u32>,
    /// Score of an item that is left out, below all others.
    lowest: f32,
    floor: &'a Floor,
}

impl<'a> Votes<'a> {
    pub(crate) fn new(above: Vec<(u32, f32)>, floor: &'a Floor) -> Self {
        Self {
            above,
            left_out: Vec::new(),
            lowest: f32::MIN,
            floor,
        }
    }

    /// Gives these items the score `lowest`.
    pub(crate) fn leave_out(mut self, items: &[u32], lowest: f32) -> Self {
        self.left_out = items.to_vec();
        self.left_out.sort_unstable();
        self.left_out.dedup();
        self.lowest = lowest;
        let left_out = &self.left_out;
        self.above
            .retain(|(item, _)| left_out.binary_search(item).is_err());
        self
    }

    /// Puts these items above all others, the later ones higher; the others' votes are divided by
    /// the highest, so that they are at most 1. Nothing is left out any more.
    pub(crate) fn put_first(mut self, items: &[u32]) -> Self {
        let mut most = 0.0_f32;
        for &(_, score) in &self.above {
            most = most.max(score);
        }
        for (_, score) in &mut self.above {
            *score /= most;
        }
        for (i, &item) in items.iter().enumerate() {
            let score = (i + 2) as f32;
            match self.above.binary_search_by_key(&item, |(item, _)| *item) {
                Ok(at) => self.above[at].1 = score,
                Err(at) if (item as usize) < self.floor.scores.len() => {
                    self.above.insert(at, (item, score));
                }
                // An item that the catalogue lacks.
                Err(_) => {}
            }
        }
        self.left_out.clear();
        self
    }

    /// Scores of all items `[items]`.
    pub fn dense(&self) -> Vec<f32> {
        let mut scores = self.floor.scores.clone();
        for &(item, score) in &self.above {
            scores[item as usize] = score;
        }
        for &item in &self.left_out {
            scores[item as usize] = self.lowest;
        }
        scores
    }

    /// The `k` best items with their scores, equal ones by lower index.
    pub fn top(&self, k: usize) -> Vec<(u32, f32)> {
        let order = |a: &(u32, f32), b: &(u32, f32)| by_score(a, b);
        let mut top = self.above.clone();
        if 0 < k && k < top.len() {
            top.select_nth_unstable_by(k - 1, order);
        }
        top.truncate(k);
        top.sort_unstable_by(order);
        for &item in &self.floor.order {
            if top.len() == k {
                return top;
            }
            if !self.has_votes(item) && !self.is_left_out(item) {
                top.push((item, self.floor.scores[item as usize]));
            }
        }
        for &item in &self.left_out {
            if top.len() == k {
                break;
            }
            top.push((item, self.lowest));
        }
        top
    }

    /// Rank of an item: 1 + the number of other items with an equal or higher score.
    pub fn rank(&self, item: u32) -> u32 {
        if self.is_left_out(item) {
            return self.floor.scores.len() as u32;
        }
        if let Ok(at) = self.above.binary_search_by_key(&item, |(item, _)| *item) {
            let own = self.above[at].1;
            let mut rank = 0;
            for &(_, score) in &self.above {
                rank += u32::from(score >= own);
            }
            return rank;
        }
        let own = self.floor.scores[item as usize];
        let mut rank = self.above.len() as u32 + self.floor.ranks[item as usize];
        // Those that have left the floor are counted above it, or not at all.
        for &(other, _) in &self.above {
            rank -= u32::from(self.floor.scores[other as usize] >= own);
        }
        for &other in &self.left_out {
            rank -= u32::from(self.floor.scores[other as usize] >= own);
        }
        rank
    }

    fn has_votes(&self, item: u32) -> bool {
        let found = self.above.binary_search_by_key(&item, |(item, _)| *item);
        found.is_ok()
    }

    fn is_left_out(&self, item: u32) -> bool {
        self.left_out.binary_search(&item).is_ok()
    }
}

fn by_score(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

thread_local! {
    /// Sums of the items, all 0 between two searches of a thread.
    static SUMS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Sums of votes by item.
pub(crate) struct Sums {
    values: Vec<f32>,
    touched: Vec<u32>,
}

impl Sums {
    /// No votes for any of `items` items.
    pub(crate) fn new(items: usize) -> Self {
        let mut values = SUMS.with_borrow_mut(std::mem::take);
        if values.len() < items {
            values.resize(items, 0.0);
        }
        Self {
            values,
            touched: Vec::new(),
        }
    }

    /// Adds a vote above 0.
    pub(crate) fn add(&mut self, item: u32, vote: f32) {
        let sum = &mut self.values[item as usize];
        if *sum == 0.0 {
            self.touched.push(item);
        }
        *sum += vote;
    }

    /// The items with votes, ascending, and their sums.
    pub(crate) fn finish(mut self) -> Vec<(u32, f32)> {
        self.touched.sort_unstable();
        let mut above = Vec::with_capacity(self.touched.len());
        for &item in &self.touched {
            let sum = &mut self.values[item as usize];
            above.push((item, std::mem::take(sum)));
        }
        SUMS.set(self.values);
        above
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Rank and top by a pass over all items.
    fn plain(scores: &[f32], item: u32, k: usize) -> (u32, Vec<(u32, f32)>) {
        let own = scores[item as usize];
        let rank = scores.iter().filter(|&&score| score >= own).count();
        let mut top: Vec<(u32, f32)> = (0..).zip(scores.iter().copied()).collect();
        top.sort_by(by_score);
        top.truncate(k);
        (rank as u32, top)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn votes_rank_as_a_pass_over_all_items(
            popularity in proptest::collection::vec(0_u8..4, 1..12),
            votes in proptest::collection::vec((0_u32..12, 1_u8..4), 0..20),
            left_out in proptest::collection::vec(0_u32..12, 0..4),
            k in 0_usize..15,
        ) {
            let items = popularity.len() as u32;
            let mut scores = Vec::new();
            for &n in &popularity {
                scores.push(-1.0 / (1.0 + f32::from(n)));
            }
            let floor = Floor::new(scores);
            let mut sums = Sums::new(popularity.len());
            for &(item, vote) in &votes {
                sums.add(item % items, f32::from(vote) / 2.0);
            }
            let left_out: Vec<u32> = left_out.iter().map(|item| item % items).collect();
            let found = Votes::new(sums.finish(), &floor).leave_out(&left_out, -2.0);
            let dense = found.dense();
            let mut first = dense.clone();
            let most = first.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
            for score in &mut first {
                if *score > 0.0 {
                    *score /= most;
                }
            }
            for (i, &item) in left_out.iter().enumerate() {
                first[item as usize] = (i + 2) as f32;
            }
            for (found, dense) in [(found.clone(), dense), (found.put_first(&left_out), first)] {
                prop_assert_eq!(found.dense(), dense.clone());
                for item in 0..items {
                    let (rank, top) = plain(&dense, item, k);
                    prop_assert_eq!(found.rank(item), rank);
                    prop_assert_eq!(found.top(k), top);
                }
            }
            // The thread's sums are 0 again.
            prop_assert_eq!(Sums::new(popularity.len()).finish(), vec![]);
        }
    }

    #[test]
    fn order_of_the_floor_is_by_score_then_index() {
        let floor = Floor::new(vec![-0.5, -0.25, -0.5, -1.0, -0.25]);
        assert_eq!(floor.order, [1, 4, 0, 2, 3]);
        assert_eq!(floor.ranks, [4, 2, 4, 5, 2]);
    }
}
