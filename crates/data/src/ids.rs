//! Raw ids as a column of polars.
//!
//! Ids that are all whole numbers sort as numbers; ids of any other kind sort as bytes. A number
//! written in another way than `u64` prints it (`007`, `+7`) makes its column text, so that no two
//! raw ids are ever confused.

use std::collections::HashMap;

use polars::prelude::*;

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
    /// A column of nothing but whole numbers.
    pub(crate) fn from_numbers(numbers: Vec<u64>) -> Self {
        Self {
            numbers,
            texts: None,
        }
    }

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

    /// The ids taken: `UInt64`, or an `Enum` whose categories are the distinct ids, sorted.
    pub(crate) fn finish(self, name: &str) -> PolarsResult<Column> {
        match self.texts {
            None => Ok(Column::new(name.into(), self.numbers)),
            Some(texts) => texts.finish(name),
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

    fn finish(self, name: &str) -> PolarsResult<Column> {
        let mut ids: Vec<(Box<str>, u32)> = self.index.into_iter().collect();
        ids.sort_unstable();
        let mut rank = vec![0; ids.len()];
        for (r, (_, code)) in ids.iter().enumerate() {
            rank[*code as usize] = r as u32;
        }
        let mut codes = self.codes;
        for code in &mut codes {
            *code = rank[*code as usize];
        }
        let categories = FrozenCategories::new(ids.iter().map(|(id, _)| &**id))?;
        // Polars casts only from the integer type that the number of categories calls for.
        let physical = categories.physical().dtype();
        Column::new(name.into(), codes)
            .cast(&physical)?
            .cast(&DataType::from_frozen_categories(categories))
    }
}

/// A whole number in the one way that `u64` prints it, of any size.
fn is_whole(id: &str) -> bool {
    id.bytes().all(|b| b.is_ascii_digit()) && (id == "0" || !id.starts_with('0'))
}

fn canonical(id: &str) -> Option<u64> {
    is_whole(id).then(|| id.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(ids: &[&str]) -> Vec<String> {
        let mut column = IdColumn::default();
        for id in ids {
            column.push(id).unwrap();
        }
        let ids = column.finish("id").unwrap();
        let sorted = ids.sort_with(SortOptions::default()).unwrap();
        let texts = sorted.cast(&DataType::String).unwrap();
        let texts = texts.str().unwrap().iter();
        texts.map(|id| id.unwrap().to_owned()).collect()
    }

    #[test]
    fn ids_sort_as_numbers_where_all_are_whole_and_as_bytes_otherwise() {
        assert_eq!(sorted(&["10", "9", "10"]), ["9", "10", "10"]);
        assert_eq!(sorted(&["10", "9", "x"]), ["10", "9", "x"]);
        assert_eq!(sorted(&["7", "007"]), ["007", "7"]);
        let max = u64::MAX.to_string();
        assert_eq!(sorted(&[&max, "0"]), ["0", max.as_str()]);
        let many: Vec<String> = (0..300).map(|i| format!("id {i:03}")).collect();
        let reversed: Vec<&str> = many.iter().rev().map(String::as_str).collect();
        assert_eq!(sorted(&reversed), many);
    }

    #[test]
    fn overflow_of_64_bits_is_found_at_any_position() {
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
}
