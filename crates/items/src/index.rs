//! Indexes over the columns of a table: the catalogue items of each value.

use roaring::RoaringBitmap;

use crate::filter::Test;
use crate::table::{Column, ColumnData, NO_BOOL};

/// A column of at most so many distinct texts has a bitmap for each.
const MAX_BITMAPS: usize = 4_096;
/// A range of numbers is looked up if it holds at most one item in so many, and swept otherwise.
const NARROW: usize = 16;

/// The catalogue items by their value in one column.
#[derive(Debug)]
pub(crate) enum ColumnIndex {
    /// Items of each text by its code, or of false and true.
    Bitmaps(Vec<RoaringBitmap>),
    /// Items of each text by its code, one text after another.
    Lists { starts: Vec<u32>, items: Vec<u32> },
    /// Items with a number, ascending by it.
    Sorted(Vec<u32>),
}

impl ColumnIndex {
    /// The index of the first `catalogue` rows.
    pub(crate) fn new(column: &Column, catalogue: u32) -> Self {
        match &column.data {
            ColumnData::Number(numbers) => {
                let mut order = Vec::new();
                for row in 0..catalogue {
                    if !numbers[row as usize].is_nan() {
                        order.push(row);
                    }
                }
                order
                    .sort_unstable_by(|&a, &b| numbers[a as usize].total_cmp(&numbers[b as usize]));
                Self::Sorted(order)
            }
            ColumnData::Bool(bools) => {
                let mut bitmaps = vec![RoaringBitmap::new(); 2];
                for row in 0..catalogue {
                    let value = bools[row as usize];
                    if value != NO_BOOL {
                        bitmaps[value as usize].insert(row);
                    }
                }
                Self::Bitmaps(bitmaps)
            }
            ColumnData::Text { values, .. } | ColumnData::List { values, .. } => {
                let texts = values.len();
                if texts > MAX_BITMAPS {
                    return Self::lists(column, texts, catalogue);
                }
                let mut bitmaps = vec![RoaringBitmap::new(); texts];
                for row in 0..catalogue {
                    for &code in column.codes(row) {
                        bitmaps[code as usize].insert(row);
                    }
                }
                Self::Bitmaps(bitmaps)
            }
        }
    }

    /// The items of each text, sorted by counting.
    fn lists(column: &Column, texts: usize, catalogue: u32) -> Self {
        let mut starts = vec![0_u32; texts + 1];
        for row in 0..catalogue {
            for &code in column.codes(row) {
                starts[code as usize + 1] += 1;
            }
        }
        for at in 0..texts {
            starts[at + 1] += starts[at];
        }
        let (mut next, mut items) = (starts.clone(), vec![0; starts[texts] as usize]);
        for row in 0..catalogue {
            for &code in column.codes(row) {
                let at = &mut next[code as usize];
                items[*at as usize] = row;
                *at += 1;
            }
        }
        Self::Lists { starts, items }
    }

    /// The items whose value in the column meets a condition; `None` if a sweep over the column is
    /// faster.
    pub(crate) fn find(
        &self,
        column: &Column,
        test: &Test,
        catalogue: u32,
    ) -> Option<RoaringBitmap> {
        let mut found = RoaringBitmap::new();
        match (self, test) {
            (Self::Bitmaps(bitmaps), Test::Texts(texts)) => {
                for code in codes(column, texts) {
                    found |= &bitmaps[code as usize];
                }
            }
            (Self::Bitmaps(bitmaps), Test::Bools(bools)) => {
                for (bitmap, &is_wanted) in bitmaps.iter().zip(bools) {
                    if is_wanted {
                        found |= bitmap;
                    }
                }
            }
            (Self::Lists { starts, items }, Test::Texts(texts)) => {
                for code in codes(column, texts) {
                    let span = starts[code as usize] as usize..starts[code as usize + 1] as usize;
                    found.extend(&items[span]);
                }
            }
            (Self::Sorted(order), Test::Range(min, max)) => {
                let span = span(column, order, *min, *max);
                if span.len() > catalogue as usize / NARROW {
                    return None;
                }
                found.extend(&order[span]);
            }
            (Self::Sorted(order), Test::Numbers(numbers)) => {
                for &number in numbers {
                    found.extend(&order[span(column, order, number, number)]);
                }
            }
            // A condition is made for the type of its column: no other pair exists.
            _ => {}
        }
        Some(found)
    }

    /// The items with false in a column of truth values, or with 0 in one of numbers.
    pub(crate) fn find_false(&self, column: &Column) -> RoaringBitmap {
        match self {
            Self::Bitmaps(bitmaps) if matches!(column.data, ColumnData::Bool(_)) => {
                bitmaps[0].clone()
            }
            Self::Sorted(order) => {
                let mut found = RoaringBitmap::new();
                found.extend(&order[span(column, order, 0.0, 0.0)]);
                found
            }
            _ => RoaringBitmap::new(),
        }
    }
}

/// Codes of the texts that occur in a column.
fn codes<'a>(column: &'a Column, texts: &'a [String]) -> impl Iterator<Item = u32> + 'a {
    let known = column.texts();
    texts.iter().filter_map(move |text| known?.find(text))
}

/// The part of the sorted items whose numbers lie between `min` and `max`, which are included.
fn span(column: &Column, order: &[u32], min: f64, max: f64) -> std::ops::Range<usize> {
    let ColumnData::Number(numbers) = &column.data else {
        return 0..0;
    };
    let start = order.partition_point(|&row| numbers[row as usize] < min);
    let end = order.partition_point(|&row| numbers[row as usize] <= max);
    start..end.max(start)
}
