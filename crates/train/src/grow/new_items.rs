//! Initial rows of the items that a parent does not know.

use std::collections::BTreeMap;

use prl_dataset::SplitExamples;
use prl_runs::NewItems;

use super::Origins;

/// Examples that are read at once.
const CHUNK: usize = 4096;

/// Share of the mean of other items in a new item's vector; the rest is random, orthogonal to it
/// on average. An item with one neighbour would otherwise have that item's vector and score, and
/// take the place beside it in every list.
const SHARED: f64 = 0.8;
/// Smallest norm that a vector is divided by.
const MIN_NORM: f64 = 1e-12;

/// Initial rows of new items: of the norm of the carried ones, between the mean of other items and
/// a random direction; as biases the mean of all.
pub(crate) struct Mixtures {
    choice: NewItems,
    /// Of each new item with a neighbour, the old indices of its neighbours with their weights,
    /// which sum to 1.
    neighbours: BTreeMap<usize, Vec<(u32, f64)>>,
}

impl Mixtures {
    /// The mixtures by the examples of a dataset, whose events see `window` events before them.
    pub(crate) fn new(
        choice: NewItems,
        origins: &Origins,
        examples: &SplitExamples<'_>,
        window: usize,
    ) -> Self {
        let neighbours = match choice {
            NewItems::CoOccurrence => neighbours(origins, examples, window),
            NewItems::Random | NewItems::Mean => BTreeMap::new(),
        };
        Self { choice, neighbours }
    }

    /// Number of items with a mixture of neighbours.
    pub(crate) fn len(&self) -> usize {
        self.neighbours.len()
    }

    /// Sets the row of a new item, which holds a random one, from the old `table`.
    pub(crate) fn fill(&self, item: usize, table: &OldTable<'_>, row: &mut [f32]) {
        if self.choice == NewItems::Random {
            return;
        }
        let mut towards = table.mean.clone();
        if let (Some(neighbours), false) = (self.neighbours.get(&item), table.width == 1) {
            towards.fill(0.0);
            for &(old, weight) in neighbours {
                for (sum, &x) in towards.iter_mut().zip(table.row(old)) {
                    *sum += weight * f64::from(x);
                }
            }
        }
        // A bias: neighbours are popular, a new item is not.
        if table.width == 1 {
            row[0] = towards[0] as f32;
            return;
        }
        let random: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
        let shared = SHARED * table.norm / norm(&towards).max(MIN_NORM);
        let own = (1.0 - SHARED * SHARED).sqrt() * table.norm / norm(&random).max(MIN_NORM);
        for ((x, towards), random) in row.iter_mut().zip(towards).zip(random) {
            *x = (shared * towards + own * random) as f32;
        }
    }
}

/// A table of the parent.
pub(crate) struct OldTable<'a> {
    values: &'a [f32],
    width: usize,
    /// Mean of the carried rows.
    mean: Vec<f64>,
    /// Mean of their norms.
    norm: f64,
}

impl<'a> OldTable<'a> {
    pub(crate) fn new(values: &'a [f32], width: usize, origins: &Origins) -> Self {
        let mut table = Self {
            values,
            width,
            mean: vec![0.0; width],
            norm: 0.0,
        };
        let carried = origins.carried.max(1) as f64;
        for &old in origins.old.iter().flatten() {
            let mut squares = 0.0;
            for (sum, &x) in table.mean.iter_mut().zip(&values[old as usize * width..]) {
                *sum += f64::from(x) / carried;
                squares += f64::from(x * x);
            }
            table.norm += squares.sqrt() / carried;
        }
        table
    }

    pub(crate) fn row(&self, item: u32) -> &'a [f32] {
        &self.values[item as usize * self.width..][..self.width]
    }
}

fn norm(x: &[f64]) -> f64 {
    let mut squares = 0.0;
    for x in x {
        squares += x * x;
    }
    squares.sqrt()
}

/// The carried items beside which each new item occurs: a pair of an event and an earlier one in
/// its window counts once.
fn neighbours(
    origins: &Origins,
    examples: &SplitExamples<'_>,
    window: usize,
) -> BTreeMap<usize, Vec<(u32, f64)>> {
    let mut counts: BTreeMap<(usize, u32), u64> = BTreeMap::new();
    let mut add = |one: u32, other: u32| {
        let (one, other) = (one as usize, other as usize);
        if let (None, Some(old)) = (origins.old[one], origins.old[other]) {
            *counts.entry((one, old)).or_default() += 1;
        }
    };
    let mut start = 0;
    while start < examples.len() {
        let end = examples.len().min(start + CHUNK);
        let batch = examples.batch(start..end, window, None);
        for (b, &target) in batch.targets.iter().enumerate() {
            let past = &batch.windows.items[b * window..(b + 1) * window];
            for &item in past {
                // A pad.
                if item as usize >= origins.old.len() {
                    continue;
                }
                add(target, item);
                add(item, target);
            }
        }
        start = end;
    }
    let mut neighbours: BTreeMap<usize, Vec<(u32, f64)>> = BTreeMap::new();
    for ((item, old), count) in counts {
        neighbours
            .entry(item)
            .or_default()
            .push((old, count as f64));
    }
    for weights in neighbours.values_mut() {
        let mut total = 0.0;
        for (_, weight) in weights.iter() {
            total += weight;
        }
        for (_, weight) in weights {
            *weight /= total;
        }
    }
    neighbours
}
