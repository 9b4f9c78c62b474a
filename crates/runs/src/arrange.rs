//! Lists with pinned items, at most so many of one value, and diversity.

use std::collections::HashMap;

use prl_kernels::ops::top_k_serving::TopK;

/// What a request demands of its list beside the filter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arrangement {
    /// Items at the first places, by raw id. One that the filter leaves out, or that is in no
    /// catalogue, is left out.
    pub pinned: Vec<String>,
    /// Maximum number of items with the same value in a column. Pinned items count, and are not
    /// left out. Items without a value are not limited.
    pub max_per: Vec<(String, usize)>,
    /// Weight of an item's similarity to the items before it, from 0 to 1, against its score
    /// (maximal marginal relevance).
    pub diversity: f64,
}

impl Arrangement {
    /// Whether the list is the plain ranking.
    pub fn is_plain(&self) -> bool {
        self.pinned.is_empty() && self.max_per.is_empty() && self.diversity == 0.0
    }
}

/// An [`Arrangement`] in item indices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArrangedList {
    /// Pinned items in the catalogue.
    pub pinned: Vec<u32>,
    /// Maximum number of items of a value, by column.
    pub max_per: Vec<(String, usize)>,
    /// Weight of the similarity.
    pub diversity: f64,
}

/// What an arrangement knows of the items.
pub(crate) trait Arranging {
    /// The values of an item in a column.
    fn groups(&self, item: u32, column: &str) -> Vec<String>;

    /// The item's vector of length 1; empty if it has none.
    fn unit_vector(&self, item: u32) -> Vec<f32>;
}

/// Number of candidates among which `k` items are chosen at first.
pub(crate) fn pool(k: usize) -> usize {
    (5 * k).max(100)
}

/// At most `k` items: the `pinned` ones, then greedily from `candidates` (best first) those that
/// the limits allow, each the one with the best balance of score and similarity to the items before
/// it. Equal balances go by the order of the candidates.
///
/// The score of a candidate counts from 0 for the worst candidate to 1 for the best; the similarity
/// is the largest cosine with an item before it, and at least 0.
pub(crate) fn arrange(
    of: &ArrangedList,
    pinned: &[(u32, f32)],
    (candidates, k): (&[(u32, f32)], usize),
    items: &dyn Arranging,
) -> TopK<f32> {
    let mut list = PartialList {
        of,
        items,
        taken: HashMap::new(),
        list: TopK::new(),
    };
    for &pinned in pinned.iter().take(k) {
        list.take(pinned);
    }
    if of.diversity > 0.0 {
        list.add_diverse(candidates, k);
    } else {
        for &candidate in candidates {
            if list.list.len() == k {
                break;
            }
            if list.allows(candidate.0) {
                list.take(candidate);
            }
        }
    }
    list.list
}

/// A list that is being made.
struct PartialList<'a> {
    of: &'a ArrangedList,
    items: &'a dyn Arranging,
    /// Number of items by column and value.
    taken: HashMap<(usize, String), usize>,
    list: TopK<f32>,
}

/// A candidate that is not taken yet.
struct Candidate {
    item: u32,
    score: f32,
    /// Score from 0 to 1.
    relevance: f64,
    /// Largest cosine with an item of the list.
    similarity: f64,
    vector: Vec<f32>,
}

impl PartialList<'_> {
    fn allows(&self, item: u32) -> bool {
        for (column, (name, most)) in self.of.max_per.iter().enumerate() {
            for value in self.items.groups(item, name) {
                if self.taken.get(&(column, value)).is_some_and(|n| n >= most) {
                    return false;
                }
            }
        }
        true
    }

    fn take(&mut self, (item, score): (u32, f32)) {
        for (column, (name, _)) in self.of.max_per.iter().enumerate() {
            for value in self.items.groups(item, name) {
                *self.taken.entry((column, value)).or_default() += 1;
            }
        }
        self.list.push((item, score));
    }

    fn add_diverse(&mut self, candidates: &[(u32, f32)], k: usize) {
        let best = candidates.first().map_or(0.0, |c| f64::from(c.1));
        let worst = candidates.last().map_or(0.0, |c| f64::from(c.1));
        let mut left = Vec::with_capacity(candidates.len());
        for &(item, score) in candidates {
            left.push(Candidate {
                item,
                score,
                relevance: match best > worst {
                    true => (f64::from(score) - worst) / (best - worst),
                    false => 1.0,
                },
                similarity: 0.0,
                vector: self.items.unit_vector(item),
            });
        }
        for &(item, _) in &self.list {
            meet(&mut left, &self.items.unit_vector(item));
        }
        while self.list.len() < k {
            // An item that a limit leaves out now is left out for good.
            left.retain(|candidate| self.allows(candidate.item));
            let mut chosen = 0;
            for at in 1..left.len() {
                if self.balance(&left[at]) > self.balance(&left[chosen]) {
                    chosen = at;
                }
            }
            if left.is_empty() {
                break;
            }
            let chosen = left.remove(chosen);
            self.take((chosen.item, chosen.score));
            meet(&mut left, &chosen.vector);
        }
    }

    fn balance(&self, candidate: &Candidate) -> f64 {
        let weight = self.of.diversity;
        (1.0 - weight) * candidate.relevance - weight * candidate.similarity
    }
}

/// Updates the similarities by an item that was taken.
fn meet(left: &mut [Candidate], taken: &[f32]) {
    for candidate in left {
        let mut cosine = 0.0;
        for (a, b) in candidate.vector.iter().zip(taken) {
            cosine += f64::from(*a) * f64::from(*b);
        }
        candidate.similarity = candidate.similarity.max(cosine);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items on a circle, in groups of three and of five.
    struct Circle;

    impl Arranging for Circle {
        fn groups(&self, item: u32, column: &str) -> Vec<String> {
            match column {
                "three" if item == 7 => Vec::new(),
                "three" => vec![format!("g{}", item / 3)],
                _ => vec![format!("a{}", item % 5), format!("b{}", item % 2)],
            }
        }

        fn unit_vector(&self, item: u32) -> Vec<f32> {
            let angle = item as f32 * 0.9;
            vec![angle.cos(), angle.sin()]
        }
    }

    fn candidates(n: u32) -> TopK<f32> {
        (0..n)
            .map(|item| (item, 3.0 - (item as f32).sqrt()))
            .collect()
    }

    fn ids(list: &[(u32, f32)]) -> Vec<u32> {
        list.iter().map(|top| top.0).collect()
    }

    /// The documented rule, each step from the list so far alone.
    fn plain(
        of: &ArrangedList,
        pinned: &[(u32, f32)],
        candidates: &[(u32, f32)],
        k: usize,
    ) -> Vec<u32> {
        let mut list = ids(pinned);
        list.truncate(k);
        let (best, worst) = (candidates[0].1, candidates[candidates.len() - 1].1);
        let cosine = |a: u32, b: u32| {
            let (a, b) = (Circle.unit_vector(a), Circle.unit_vector(b));
            f64::from(a[0]) * f64::from(b[0]) + f64::from(a[1]) * f64::from(b[1])
        };
        while list.len() < k {
            let mut found: Option<(f64, u32)> = None;
            for &(item, score) in candidates {
                let mut allowed = !list.contains(&item);
                for (column, most) in &of.max_per {
                    for value in Circle.groups(item, column) {
                        let has = |&&i: &&u32| Circle.groups(i, column).contains(&value);
                        allowed &= list.iter().filter(has).count() < *most;
                    }
                }
                let relevance =
                    (f64::from(score) - f64::from(worst)) / (f64::from(best) - f64::from(worst));
                let similarity = list.iter().map(|&i| cosine(i, item)).fold(0.0, f64::max);
                let balance = (1.0 - of.diversity) * relevance - of.diversity * similarity;
                if allowed && found.is_none_or(|(most, _)| balance > most) {
                    found = Some((balance, item));
                }
            }
            let Some((_, item)) = found else {
                break;
            };
            list.push(item);
        }
        list
    }

    #[test]
    fn list_is_that_of_the_rule_applied_from_scratch() {
        let candidates = candidates(40);
        for diversity in [0.0, 0.2, 0.5, 0.9, 1.0] {
            for max_per in [
                vec![],
                vec![("three".to_owned(), 1)],
                vec![("three".to_owned(), 2), ("both".to_owned(), 3)],
            ] {
                for pinned in [&[][..], &[(50, 1.0), (31, 0.5)]] {
                    let of = ArrangedList {
                        pinned: ids(pinned),
                        max_per: max_per.clone(),
                        diversity,
                    };
                    let mut others = candidates.clone();
                    others.retain(|(item, _)| !of.pinned.contains(item));
                    for k in [1, 2, 7, 30] {
                        let list = arrange(&of, pinned, (&others, k), &Circle);
                        assert_eq!(ids(&list), plain(&of, pinned, &others, k), "{of:?} {k}");
                    }
                }
            }
        }
        let limited = ArrangedList {
            max_per: vec![("three".to_owned(), 1)],
            ..ArrangedList::default()
        };
        let list = arrange(&limited, &[], (&candidates, 4), &Circle);
        // Item 7 has no value, so it is not limited; its group's first is 6.
        assert_eq!(ids(&list), [0, 3, 6, 7]);
    }
}
