//! Items that are bought in the same sessions.

use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};

use crate::error::{Error, Result};
use crate::event::Kind;
use crate::examples::SplitExamples;

/// Maximum number of items that are kept for one item.
const MAX_PARTNERS: usize = 50;
/// Maximum number of items of one session that are paired: the first ones. A session of a robot
/// would have more pairs than the rest of a log.
const MAX_BOUGHT: usize = 100;
/// Number of pairs that are held uncounted.
const MAX_UNCOUNTED: usize = 1 << 22;

/// For each item the items that were bought in most of the sessions that bought it, with the number
/// of these sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoughtTogether {
    /// Start of each item's partners, then the number of all.
    offsets: Vec<u64>,
    partners: Vec<u32>,
    sessions: Vec<u32>,
}

impl BoughtTogether {
    /// Counts over the sessions of examples: each session counts once for each pair of items that
    /// it bought.
    pub fn of(examples: &SplitExamples<'_>) -> Self {
        let data = examples.dataset();
        let (items, kinds) = (data.item_indices(), data.kinds());
        let (mut pairs, mut bought) = (Pairs::default(), Vec::new());
        for (_, targets) in examples.targets() {
            bought.clear();
            for event in targets {
                if kinds[event] == Kind::Purchase
                    && bought.len() < MAX_BOUGHT
                    && !bought.contains(&items[event])
                {
                    bought.push(items[event]);
                }
            }
            pairs.add(&bought);
        }
        Self::of_pairs(pairs.finish(), data.items().len())
    }

    /// The most frequent partners of each of `items` items, from ascending pairs with their counts.
    fn of_pairs(pairs: Vec<(u64, u32)>, items: usize) -> Self {
        let mut all = Self {
            offsets: vec![0],
            partners: Vec::new(),
            sessions: Vec::new(),
        };
        let mut pairs = pairs.into_iter().peekable();
        let mut of_item = Vec::new();
        for item in 0..items as u64 {
            of_item.clear();
            while let Some((pair, sessions)) = pairs.next_if(|(pair, _)| pair >> 32 == item) {
                of_item.push((pair as u32, sessions));
            }
            of_item.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
            for &(partner, sessions) in of_item.iter().take(MAX_PARTNERS) {
                all.partners.push(partner);
                all.sessions.push(sessions);
            }
            all.offsets.push(all.partners.len() as u64);
        }
        all
    }

    /// Whether no two items were bought in one session.
    pub fn is_empty(&self) -> bool {
        self.partners.is_empty()
    }

    /// The items that were bought with an item, and in how many sessions; most sessions first,
    /// equal numbers by lower index. Empty for an index out of range.
    pub fn with(&self, item: u32) -> impl Iterator<Item = (u32, u32)> {
        let bounds = self.offsets.get(item as usize..item as usize + 2);
        let span = bounds.map_or(0..0, |bounds| bounds[0] as usize..bounds[1] as usize);
        let partners = self.partners[span.clone()].iter().copied();
        partners.zip(self.sessions[span].iter().copied())
    }

    /// Serialises the counts as a safetensors file. Equal counts give equal bytes.
    ///
    /// # Errors
    /// [`Error::Invalid`] if safetensors refuses the arrays.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let offsets = bytemuck::cast_slice(&self.offsets);
        let offsets = TensorView::new(Dtype::U64, vec![self.offsets.len()], offsets);
        let tensors = [
            (
                "offsets",
                offsets.map_err(|e| Error::Invalid(e.to_string()))?,
            ),
            ("partners", view(&self.partners)?),
            ("sessions", view(&self.sessions)?),
        ];
        safetensors::serialize(tensors, None).map_err(|e| Error::Invalid(e.to_string()))
    }

    /// Reads a file written from [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// [`Error::Damaged`] if the content is not of `items` items, [`Error::Fs`] if it cannot be
    /// read.
    pub fn load(path: &Path, items: usize) -> Result<Self> {
        let data = std::fs::read(path).map_err(prl_fs::Error::io(path))?;
        let damaged = |e: SafeTensorError| Error::damaged(path, e.to_string());
        let tensors = SafeTensors::deserialize(&data).map_err(damaged)?;
        let read = |name: &str, dtype: Dtype| {
            let tensor = tensors.tensor(name).map_err(damaged)?;
            if tensor.dtype() != dtype {
                let what = format!("{name} has type {:?}", tensor.dtype());
                return Err(Error::damaged(path, what));
            }
            Ok(tensor.data())
        };
        let read = Self {
            offsets: bytemuck::pod_collect_to_vec(read("offsets", Dtype::U64)?),
            partners: bytemuck::pod_collect_to_vec(read("partners", Dtype::U32)?),
            sessions: bytemuck::pod_collect_to_vec(read("sessions", Dtype::U32)?),
        };
        let (offsets, partners) = (&read.offsets, &read.partners);
        let is_sound = offsets.len() == items + 1
            && offsets.first() == Some(&0)
            && offsets.last() == Some(&(partners.len() as u64))
            && offsets.is_sorted()
            && read.sessions.len() == partners.len()
            && partners.iter().all(|&partner| (partner as usize) < items);
        match is_sound {
            true => Ok(read),
            false => Err(Error::damaged(path, format!("not of {items} items"))),
        }
    }
}

fn view(values: &[u32]) -> Result<TensorView<'_>> {
    let data = bytemuck::cast_slice(values);
    TensorView::new(Dtype::U32, vec![values.len()], data).map_err(|e| Error::Invalid(e.to_string()))
}

/// Ordered pairs of items: the first in the upper half of a number.
#[derive(Default)]
struct Pairs {
    uncounted: Vec<u64>,
    /// Ascending, with the number of sessions.
    counted: Vec<(u64, u32)>,
}

impl Pairs {
    /// Adds the pairs of the distinct items of a session.
    fn add(&mut self, bought: &[u32]) {
        for &a in bought {
            for &b in bought {
                if a != b {
                    self.uncounted.push(u64::from(a) << 32 | u64::from(b));
                }
            }
        }
        if self.uncounted.len() >= MAX_UNCOUNTED {
            self.count();
        }
    }

    fn count(&mut self) {
        self.uncounted.sort_unstable();
        let mut merged: Vec<(u64, u32)> = Vec::with_capacity(self.counted.len());
        let mut before = std::mem::take(&mut self.counted).into_iter().peekable();
        for &pair in &self.uncounted {
            while let Some(counted) = before.next_if(|(other, _)| *other <= pair) {
                merged.push(counted);
            }
            match merged.last_mut() {
                Some((last, sessions)) if *last == pair => *sessions = sessions.saturating_add(1),
                _ => merged.push((pair, 1)),
            }
        }
        merged.extend(before);
        self.uncounted.clear();
        self.counted = merged;
    }

    fn finish(mut self) -> Vec<(u64, u32)> {
        self.count();
        self.counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_sessions(sessions: &[&[u32]], counted_after: usize) -> BoughtTogether {
        let mut pairs = Pairs::default();
        for (n, session) in sessions.iter().enumerate() {
            pairs.add(session);
            if n % counted_after == 0 {
                pairs.count();
            }
        }
        BoughtTogether::of_pairs(pairs.finish(), 5)
    }

    #[test]
    fn partners_are_ordered_by_their_sessions() {
        let sessions: &[&[u32]] = &[&[0, 1], &[2, 1, 0], &[0, 3], &[4], &[2, 0]];
        let together = of_sessions(sessions, 1);
        assert_eq!(together, of_sessions(sessions, 100));
        let with = |item| together.with(item).collect::<Vec<_>>();
        assert_eq!(with(0), [(1, 2), (2, 2), (3, 1)]);
        assert_eq!(with(1), [(0, 2), (2, 1)]);
        assert_eq!(
            (with(4), with(5), with(u32::MAX - 2)),
            (vec![], vec![], vec![])
        );
        assert!(!together.is_empty() && of_sessions(&[&[1], &[2]], 1).is_empty());
    }

    #[test]
    fn counts_survive_write_and_load() {
        let together = of_sessions(&[&[0, 1], &[1, 4, 0]], 1);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bought_together.safetensors");
        std::fs::write(&path, together.to_bytes().unwrap()).unwrap();
        assert_eq!(BoughtTogether::load(&path, 5).unwrap(), together);
        let other = BoughtTogether::load(&path, 4).unwrap_err().to_string();
        assert!(other.contains("not of 4 items"), "{other}");
    }
}
