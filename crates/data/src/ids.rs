//! Raw ids as a column of polars.
//!
//! Ids that are all whole numbers of 64 bits sort as numbers; ids of any other kind sort as bytes.
//! A number written in another way than `u64` prints it (`007`, `+7`) makes its column text, so
//! that no two raw ids are ever confused. The exception is a whole number with a fraction of zeros,
//! as programs without whole numbers write it: in a column of whole numbers `1001.0` is `1001`.

use std::collections::HashMap;

use polars::prelude::*;

/// Column of raw ids during reading.
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
    /// True while every id is a whole number, with a fraction of zeros or not.
    all_whole: bool,
    /// True if an id has a fraction of zeros.
    has_fraction: bool,
}

impl IdColumn {
    /// Builds a column of whole numbers.
    pub(crate) fn from_numbers(numbers: Vec<u64>) -> Self {
        Self {
            numbers,
            texts: None,
        }
    }

    /// Appends a number.
    pub(crate) fn push_number(&mut self, id: u64) {
        match &mut self.texts {
            Some(texts) => texts.push(&id.to_string()),
            None => self.numbers.push(id),
        }
    }

    /// Appends an id in its text form; the error describes the expected value. Whether the column
    /// holds numbers is decided by [`IdColumn::finish`].
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

    /// Returns the column: `UInt32` or `UInt64`, or an `Enum` whose categories are the distinct
    /// ids, sorted.
    pub(crate) fn finish(self, name: &str) -> PolarsResult<Column> {
        let numbers = match self.texts {
            None => self.numbers,
            Some(texts) => match texts.into_numbers() {
                Ok(numbers) => numbers,
                Err(texts) => return texts.finish(name),
            },
        };
        let max = numbers.iter().copied().max().unwrap_or(0);
        if max > u64::from(u32::MAX) {
            return Ok(Column::new(name.into(), numbers));
        }
        // Half the memory, and every step over the column takes less time.
        let mut narrow = Vec::with_capacity(numbers.len());
        for number in numbers {
            narrow.push(number as u32);
        }
        Ok(Column::new(name.into(), narrow))
    }
}

impl Texts {
    fn from_numbers(numbers: Vec<u64>) -> Self {
        let codes = Vec::with_capacity(numbers.len());
        let mut texts = Self {
            codes,
            index: HashMap::new(),
            all_whole: true,
            has_fraction: false,
        };
        for number in numbers {
            texts.push(&number.to_string());
        }
        texts
    }

    fn push(&mut self, id: &str) {
        let code = match self.index.get(id) {
            Some(&code) => code,
            None => {
                let code = self.index.len() as u32;
                let whole = without_fraction(id);
                self.all_whole &= is_whole(whole);
                self.has_fraction |= whole.len() < id.len();
                self.index.insert(id.into(), code);
                code
            }
        };
        self.codes.push(code);
    }

    /// The ids as numbers, if they are all whole numbers of 64 bits; else as text, whole numbers of
    /// any size without a fraction of zeros.
    fn into_numbers(mut self) -> Result<Vec<u64>, Self> {
        if !(self.all_whole && self.has_fraction) {
            return Err(self);
        }
        let mut numbers = vec![None; self.index.len()];
        for (id, &code) in &self.index {
            numbers[code as usize] = canonical(without_fraction(id));
        }
        let Some(numbers) = numbers.into_iter().collect::<Option<Vec<u64>>>() else {
            self.drop_fractions();
            return Err(self);
        };
        let mut column = Vec::with_capacity(self.codes.len());
        for code in self.codes {
            column.push(numbers[code as usize]);
        }
        Ok(column)
    }

    /// Makes ids that differ in a fraction of zeros one.
    fn drop_fractions(&mut self) {
        let mut index = HashMap::new();
        let mut recoded = vec![0; self.index.len()];
        for (id, code) in std::mem::take(&mut self.index) {
            let next = index.len() as u32;
            recoded[code as usize] = *index.entry(without_fraction(&id).into()).or_insert(next);
        }
        for code in &mut self.codes {
            *code = recoded[*code as usize];
        }
        self.index = index;
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
        let mut sorted = Vec::with_capacity(ids.len());
        for (id, _) in &ids {
            sorted.push(&**id);
        }
        text_column(name, &sorted, codes)
    }
}

/// Column of text ids: positions among the distinct `ids`, whose order is that of the column.
pub(crate) fn text_column(
    name: &str,
    ids: &[impl AsRef<str>],
    codes: Vec<u32>,
) -> PolarsResult<Column> {
    let categories = FrozenCategories::new(ids.iter().map(AsRef::as_ref))?;
    let dtype = DataType::from_frozen_categories(categories);
    enum_column(&Column::new(name.into(), codes), &dtype)
}

/// Positions of categories as a column of their `Enum`.
fn enum_column(codes: &Column, dtype: &DataType) -> PolarsResult<Column> {
    let dtype = dtype.clone();
    let column = match dtype.cat_physical()? {
        CategoricalPhysical::U8 => {
            let codes = codes.cast(&DataType::UInt8)?.u8()?.clone();
            CategoricalChunked::<Categorical8Type>::from_cats_and_dtype(codes, dtype).into_column()
        }
        CategoricalPhysical::U16 => {
            let codes = codes.cast(&DataType::UInt16)?.u16()?.clone();
            CategoricalChunked::<Categorical16Type>::from_cats_and_dtype(codes, dtype).into_column()
        }
        CategoricalPhysical::U32 => {
            let codes = codes.cast(&DataType::UInt32)?.u32()?.clone();
            CategoricalChunked::<Categorical32Type>::from_cats_and_dtype(codes, dtype).into_column()
        }
    };
    Ok(column)
}

/// Number of rows that hold each row's id, `UInt32`.
pub(crate) fn counts_per_id(ids: &Column) -> PolarsResult<Column> {
    let (distinct, mut ranks) = rank(ids)?;
    let mut counts = vec![0_u32; distinct.len()];
    for &rank in &ranks {
        counts[rank as usize] += 1;
    }
    for rank in &mut ranks {
        *rank = counts[*rank as usize];
    }
    Ok(Column::new(ids.name().clone(), ranks))
}

/// Distinct ids, sorted, and the position of each row's id among them, `UInt32`.
pub(crate) fn ranks(ids: &Column) -> PolarsResult<(Column, Column)> {
    let (distinct, ranks) = rank(ids)?;
    let distinct = Column::new(ids.name().clone(), distinct);
    let distinct = match ids.dtype() {
        DataType::Enum(..) => enum_column(&distinct, ids.dtype())?,
        number => distinct.cast(number)?,
    };
    Ok((distinct, Column::new(ids.name().clone(), ranks)))
}

/// Row indices by session, then time, then row: a stable `sort([session, time])` by counting.
/// Polars' own sort encodes both columns into rows, which takes twice the memory of the log.
pub(crate) fn total_order(sessions: &Column, times: &Column) -> PolarsResult<IdxCa> {
    let (distinct, ranks) = rank(sessions)?;
    let times = times.i64()?.rechunk();
    let times = times.cont_slice()?;
    let mut ends = vec![0_u32; distinct.len()];
    for &rank in &ranks {
        ends[rank as usize] += 1;
    }
    let mut end = 0;
    for count in &mut ends {
        end += *count;
        *count = end;
    }
    let mut order = vec![0; ranks.len()];
    for (row, &rank) in ranks.iter().enumerate().rev() {
        ends[rank as usize] -= 1;
        order[ends[rank as usize] as usize] = row as IdxSize;
    }
    for session in order.chunk_by_mut(|&a, &b| ranks[a as usize] == ranks[b as usize]) {
        session.sort_by_key(|&row| times[row as usize]);
    }
    Ok(IdxCa::from_vec("order".into(), order))
}

/// Distinct ids as numbers, sorted, and the position of each row's id among them. Categories of an
/// `Enum` are sorted, so that their positions stand for them.
fn rank(ids: &Column) -> PolarsResult<(Vec<u64>, Vec<u32>)> {
    let ids = ids.to_physical_repr();
    if let Ok(numbers) = ids.u64() {
        return Ok(rank_numbers(numbers.rechunk().cont_slice()?));
    }
    let numbers = ids.cast(&DataType::UInt32)?;
    Ok(rank_numbers(numbers.u32()?.rechunk().cont_slice()?))
}

/// Distinct numbers, sorted, and the position of each number among them.
fn rank_numbers<T: Copy + Ord + Into<u64>>(numbers: &[T]) -> (Vec<u64>, Vec<u32>) {
    let max = numbers.iter().copied().max().map_or(0, T::into);
    let mut ranks = Vec::with_capacity(numbers.len());
    // Ids that lie close together, as counters do, are ranked by a table: some ten times faster
    // than by sorting.
    if max < (8 * numbers.len() as u64).max(1 << 16) {
        let mut table = vec![0_u32; max as usize + 1];
        for &number in numbers {
            table[number.into() as usize] = 1;
        }
        let mut distinct = Vec::new();
        for (number, rank) in table.iter_mut().enumerate() {
            if *rank == 1 {
                *rank = distinct.len() as u32;
                distinct.push(number as u64);
            }
        }
        for &number in numbers {
            ranks.push(table[number.into() as usize]);
        }
        return (distinct, ranks);
    }
    let mut distinct = numbers.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    for number in numbers {
        ranks.push(distinct.partition_point(|id| id < number) as u32);
    }
    (distinct.into_iter().map(T::into).collect(), ranks)
}

/// Returns true for a whole number of any size in the form that `u64` and `i64` print.
fn is_whole(id: &str) -> bool {
    let digits = id.strip_prefix('-').unwrap_or(id);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number && (id == "0" || !digits.starts_with('0'))
}

/// Whole number without a fraction of zeros, if it has one: `1001` of `1001.0`.
fn without_fraction(id: &str) -> &str {
    match id.split_once('.') {
        Some((whole, zeros)) if is_whole(whole) && is_zeros(zeros) => whole,
        _ => id,
    }
}

fn is_zeros(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b == b'0')
}

/// True for text that looks like a list of ids: in brackets, numbers between blanks, commas,
/// semicolons or bars, or three values and more between bars.
pub(crate) fn is_list_like(id: &str) -> bool {
    let id = id.trim();
    if id.starts_with('[') && id.ends_with(']') {
        return true;
    }
    let is_enclosed =
        (id.starts_with('(') && id.ends_with(')')) || (id.starts_with('{') && id.ends_with('}'));
    if is_enclosed {
        return id.contains(',');
    }
    let Some(at) = id.find([' ', ',', ';', '|', '\t']) else {
        return false;
    };
    let separator = char::from(id.as_bytes()[at]);
    let mut parts = 0;
    let mut all_numbers = true;
    for part in id.split(separator) {
        all_numbers &= is_whole(without_fraction(part.trim()));
        parts += 1;
    }
    all_numbers || (separator == '|' && parts > 2)
}

/// The number that prints as `id`, if it has 64 bits and no sign.
fn canonical(id: &str) -> Option<u64> {
    match is_whole(id) {
        true => id.parse().ok(),
        false => None,
    }
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
        let mut ids = Vec::new();
        for id in texts.str().unwrap().iter().flatten() {
            ids.push(id.to_owned());
        }
        ids
    }

    #[test]
    fn whole_ids_sort_as_numbers_and_others_as_bytes() {
        assert_eq!(sorted(&["10", "9", "10"]), ["9", "10", "10"]);
        assert_eq!(sorted(&["10", "9", "x"]), ["10", "9", "x"]);
        assert_eq!(sorted(&["7", "007"]), ["007", "7"]);
        assert_eq!(sorted(&["-7", "7", "-10"]), ["-10", "-7", "7"]);
        let max = u64::MAX.to_string();
        assert_eq!(sorted(&[&max, "0"]), ["0", max.as_str()]);
        let mut many = Vec::new();
        for i in 0..300 {
            many.push(format!("id {i:03}"));
        }
        let reversed: Vec<&str> = many.iter().rev().map(String::as_str).collect();
        assert_eq!(sorted(&reversed), many);
    }

    #[test]
    fn whole_number_with_a_fraction_of_zeros_is_the_whole_number() {
        assert_eq!(sorted(&["1001", "9.0", "1001.0"]), ["9", "1001", "1001"]);
        assert_eq!(sorted(&["1001.00", "9"]), ["9", "1001"]);
        // Above 64 bits and below zero ids are text, but two forms of a number are one id still.
        let large = "18446744073709551616";
        assert_eq!(
            sorted(&[&format!("{large}.0"), large, "9"]),
            [large, large, "9"]
        );
        assert_eq!(sorted(&["-1.0", "-1", "5.0"]), ["-1", "-1", "5"]);
        // Versions and other text keep their form.
        assert_eq!(sorted(&["1.0", "1.1", "1"]), ["1", "1.0", "1.1"]);
        assert_eq!(sorted(&["1.0", "x"]), ["1.0", "x"]);
        assert_eq!(sorted(&["01.0", "1.0"]), ["01.0", "1.0"]);
    }

    #[test]
    fn ids_above_64_bits_are_text() {
        let large = "18446744073709551616";
        assert_eq!(sorted(&["2", large, "10"]), ["10", large, "2"]);
    }

    #[test]
    fn lists_of_ids_are_told_from_ids() {
        for list in [
            "[1, 2, 3]",
            "[1]",
            "[]",
            "['a','b']",
            "(1, 2)",
            "{1,2}",
            "1 2 3",
            "1|2",
            "1,2",
            "1; 2",
            "1.0 2.0",
            "a|b|c",
            " 1 2 ",
            "1\t2",
        ] {
            assert!(is_list_like(list), "{list}");
        }
        for id in [
            "",
            "1",
            "-1",
            "iPhone 12",
            "a b c",
            "a,b",
            "(blue)",
            "{5e-8}",
            "a|b",
            "2014-04-07 10:51",
            "4387ee7b-7d42-646f-3e9b-768fae4001e3",
            "1 2 x",
            "[a",
            "12 inch",
        ] {
            assert!(!is_list_like(id), "{id}");
        }
    }

    #[test]
    fn ranks_of_close_and_of_distant_numbers_agree() {
        let near: Vec<u64> = (0..500).map(|i| (i * 7919) % 1009).collect();
        let far: Vec<u64> = near.iter().map(|n| n << 40).collect();
        assert_eq!(rank_numbers(&near).1, rank_numbers(&far).1);
    }

    #[test]
    fn counts_per_id_match_polars_window() {
        let ids: Vec<u64> = (0..500).map(|i| (i * 7919) % 37).collect();
        let column = Column::new("id".into(), ids);
        let counts = counts_per_id(&column).unwrap();
        let frame = DataFrame::new(500, vec![column]).unwrap().lazy();
        let window = frame.select([len().over([col("id")]).unwrap()]).collect();
        assert_eq!(
            window.unwrap().columns()[0]
                .as_materialized_series()
                .u32()
                .unwrap()
                .to_vec_null_aware(),
            counts.u32().unwrap().to_vec_null_aware()
        );
    }
}
