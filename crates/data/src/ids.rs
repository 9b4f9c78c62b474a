//! Raw ids as ranks: the position of an id among all distinct ids of its column, sorted.
//!
//! Ids that are all whole numbers sort as numbers; ids of any other kind sort as bytes. A number written in another way
//! than `u64` prints it (`007`, `+7`) makes its column text, so that no two raw ids are ever confused.

use std::collections::HashMap;

/// The distinct ids of a column, sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ids {
    /// Whole numbers.
    Numbers(Vec<u64>),
    /// Anything else.
    Texts(Vec<Box<str>>),
}

impl Ids {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Ids::Numbers(n) => n.len(),
            Ids::Texts(t) => t.len(),
        }
    }

    /// The id of a rank, as it is written.
    pub(crate) fn raw(&self, rank: u32) -> String {
        match self {
            Ids::Numbers(n) => n[rank as usize].to_string(),
            Ids::Texts(t) => t[rank as usize].to_string(),
        }
    }

    /// The rank of a number, if it is an id of a column of numbers.
    pub(crate) fn rank_of(&self, id: u64) -> Option<u32> {
        match self {
            Ids::Numbers(n) => n.binary_search(&id).ok().map(|rank| rank as u32),
            Ids::Texts(_) => None,
        }
    }

    /// Keeps the ids whose rank is wanted.
    pub(crate) fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        let mut ranks = 0..self.len();
        let mut next = || ranks.next().is_some_and(&keep);
        match self {
            Ids::Numbers(n) => n.retain(|_| next()),
            Ids::Texts(t) => t.retain(|_| next()),
        }
    }
}

/// A column of raw ids being read.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdColumn {
    numbers: Vec<u64>,
    texts: Option<Texts>,
}

/// Ids as text, each stored once.
#[derive(Clone, Debug)]
struct Texts {
    codes: Vec<u32>,
    index: HashMap<Box<str>, u32>,
    /// Every id so far is a whole number.
    all_whole: bool,
    /// How many ids were taken before the first whole number above 64 bits.
    overflow: Option<usize>,
}

impl IdColumn {
    /// The ids taken so far.
    pub(crate) fn len(&self) -> usize {
        self.texts
            .as_ref()
            .map_or(self.numbers.len(), |t| t.codes.len())
    }

    /// Takes a number.
    pub(crate) fn push_number(&mut self, id: u64) {
        match &mut self.texts {
            Some(texts) => texts.push(&id.to_string()),
            None => self.numbers.push(id),
        }
    }

    /// Takes an id as it is written; the error is what was expected. Whether the column holds numbers is known when all
    /// are taken.
    pub(crate) fn push(&mut self, id: &str) -> Result<(), &'static str> {
        if id.is_empty() {
            return Err("an id");
        }
        match (canonical(id), &mut self.texts) {
            (_, Some(texts)) => texts.push(id),
            (Some(number), None) => self.numbers.push(number),
            (None, None) => self
                .texts
                .insert(Texts::from_numbers(std::mem::take(&mut self.numbers)))
                .push(id),
        }
        Ok(())
    }

    /// In a column of nothing but whole numbers, one of them above `u64`: how many ids were taken before it.
    pub(crate) fn overflow(&self) -> Option<usize> {
        self.texts
            .as_ref()
            .filter(|t| t.all_whole)
            .and_then(|t| t.overflow)
    }

    /// The distinct ids, sorted, and the rank of each id taken.
    pub(crate) fn finish(self) -> (Ids, Vec<u32>) {
        match self.texts {
            None => rank_numbers(self.numbers),
            Some(texts) => texts.rank(),
        }
    }
}

impl Texts {
    fn from_numbers(numbers: Vec<u64>) -> Self {
        let codes = Vec::with_capacity(numbers.len());
        let mut texts = Self {
            codes,
            index: HashMap::new(),
            all_whole: true,
            overflow: None,
        };
        numbers.iter().for_each(|n| texts.push(&n.to_string()));
        texts
    }

    fn push(&mut self, id: &str) {
        let code = match self.index.get(id) {
            Some(&code) => code,
            None => {
                let code = self.index.len() as u32;
                self.all_whole &= is_whole(id);
                if self.all_whole && self.overflow.is_none() && canonical(id).is_none() {
                    self.overflow = Some(self.codes.len());
                }
                self.index.insert(id.into(), code);
                code
            }
        };
        self.codes.push(code);
    }

    fn rank(self) -> (Ids, Vec<u32>) {
        let mut ids: Vec<(Box<str>, u32)> = self.index.into_iter().collect();
        ids.sort_unstable();
        let mut rank = vec![0; ids.len()];
        for (r, (_, code)) in ids.iter().enumerate() {
            rank[*code as usize] = r as u32;
        }
        let ranks = self.codes.iter().map(|&c| rank[c as usize]).collect();
        (
            Ids::Texts(ids.into_iter().map(|(id, _)| id).collect()),
            ranks,
        )
    }
}

/// A whole number in the one way that `u64` prints it, of any size.
fn is_whole(id: &str) -> bool {
    id.bytes().all(|b| b.is_ascii_digit()) && (id == "0" || !id.starts_with('0'))
}

fn canonical(id: &str) -> Option<u64> {
    is_whole(id).then(|| id.parse().ok()).flatten()
}

fn rank_numbers(numbers: Vec<u64>) -> (Ids, Vec<u32>) {
    let max = numbers.iter().copied().max().unwrap_or(0);
    // Ids that lie close together, as counters do, are ranked by a table: some ten times faster than by sorting.
    if max < (8 * numbers.len() as u64).max(1 << 16) {
        let mut rank = vec![0_u32; max as usize + 1];
        numbers.iter().for_each(|&n| rank[n as usize] = 1);
        let ids: Vec<u64> = (0..=max).filter(|&n| rank[n as usize] == 1).collect();
        ids.iter()
            .enumerate()
            .for_each(|(r, &n)| rank[n as usize] = r as u32);
        let ranks = numbers.iter().map(|&n| rank[n as usize]).collect();
        return (Ids::Numbers(ids), ranks);
    }
    let mut ids = numbers.clone();
    ids.sort_unstable();
    ids.dedup();
    let ranks = numbers
        .iter()
        .map(|n| ids.partition_point(|id| id < n) as u32)
        .collect();
    (Ids::Numbers(ids), ranks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(ids: &[&str]) -> (Vec<String>, Vec<u32>) {
        let mut column = IdColumn::default();
        ids.iter().for_each(|id| column.push(id).unwrap());
        let (ids, ranks) = column.finish();
        ((0..ids.len() as u32).map(|r| ids.raw(r)).collect(), ranks)
    }

    #[test]
    fn numbers_sort_as_numbers_and_everything_else_as_bytes() {
        assert_eq!(
            ranked(&["10", "9", "10"]),
            (vec!["9".into(), "10".into()], vec![1, 0, 1])
        );
        assert_eq!(ranked(&["10", "9", "x"]).0, ["10", "9", "x"]);
        assert_eq!(ranked(&["7", "007"]).0, ["007", "7"]);
        let max = u64::MAX.to_string();
        assert_eq!(
            ranked(&[&max, "0"]),
            (vec!["0".into(), max.clone()], vec![1, 0])
        );
    }

    #[test]
    fn a_whole_number_above_64_bits_is_noticed_wherever_it_stands() {
        let overflows = |ids: &[&str]| {
            let mut column = IdColumn::default();
            ids.iter().for_each(|id| column.push(id).unwrap());
            column.overflow()
        };
        assert_eq!(overflows(&["1", "18446744073709551616", "2"]), Some(1));
        assert_eq!(overflows(&["1", "18446744073709551616", "x"]), None);
        assert_eq!(overflows(&["x", "18446744073709551616"]), None);
        assert_eq!(overflows(&["18446744073709551615"]), None);
    }

    #[test]
    fn both_ways_to_rank_numbers_agree() {
        let near: Vec<u64> = (0..500).map(|i| (i * 7919) % 1009).collect();
        let far: Vec<u64> = near.iter().map(|n| n << 40).collect();
        assert_eq!(rank_numbers(near).1, rank_numbers(far).1);
    }
}
