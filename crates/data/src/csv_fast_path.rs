//! One-pass reader for plain delimited text: no quotes, no blank lines, numbers of digits only.
//! Most logs are plain. It rejects any other text, which [`csv_general`](crate::csv_general) then
//! reads or reports as an error.

use crate::records::Dialect;
use crate::values::{Cell, Span, Values, Wanted};

/// Maximum number of digits that always fits a signed 64-bit number.
const MOST_DIGITS: usize = 18;

/// Reads the selected columns of records of `fields` fields each; returns `None` if the text is not
/// plain. Texts are spans of `text`.
pub(crate) fn read(
    text: &str,
    dialect: Dialect,
    fields: usize,
    wanted: &[Wanted],
) -> Option<Vec<Values>> {
    let bytes = text.as_bytes();
    if fields < 2 || dialect.quote.is_some_and(|quote| bytes.contains(&quote)) {
        return None;
    }
    let mut columns: Vec<Values> = wanted.iter().map(|w| Values::new(w.cell)).collect();
    let mut plan = plan(fields, wanted, &mut columns)?;
    let last = fields - 1;
    let mut at = 0;
    while at < bytes.len() {
        for (field, wanted) in plan.iter_mut().enumerate() {
            let end = match wanted {
                None => field_end(bytes, at, dialect.delimiter),
                Some((cell, values)) => read_cell(bytes, at, dialect.delimiter, *cell, values)?,
            };
            match bytes.get(end) {
                Some(b'\n') | None if field == last => {}
                Some(&byte) if byte == dialect.delimiter && field < last => {}
                _ => return None,
            }
            at = end + 1;
        }
    }
    Some(columns)
}

/// Type and target column of each selected field; `None` if two columns select the same field.
fn plan<'a>(
    fields: usize,
    wanted: &[Wanted],
    columns: &'a mut [Values],
) -> Option<Vec<Option<(Cell, &'a mut Values)>>> {
    let mut plan: Vec<_> = (0..fields).map(|_| None).collect();
    for (wanted, values) in wanted.iter().zip(columns) {
        if plan[wanted.field].replace((wanted.cell, values)).is_some() {
            return None;
        }
    }
    Some(plan)
}

/// Reads the value that begins at `at` and returns the offset of its end.
fn read_cell(
    bytes: &[u8],
    at: usize,
    delimiter: u8,
    cell: Cell,
    values: &mut Values,
) -> Option<usize> {
    match values {
        Values::Unsigned(numbers) => {
            let (number, end) = digits(bytes, at)?;
            numbers.push(number);
            Some(end)
        }
        Values::Integers(numbers) => {
            let (number, end) = digits(bytes, at)?;
            numbers.push(number as i64);
            Some(end)
        }
        Values::Texts(spans) => {
            let end = field_end(bytes, at, delimiter);
            spans.push(match (cell, end > at) {
                (_, true) => Span::new(at, end)?,
                (Cell::Optional, false) => Span::MISSING,
                _ => return None,
            });
            Some(end)
        }
    }
}

/// Parses the number whose digits begin at `at`; returns it and the offset of its end.
fn digits(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let (mut number, mut end) = (0, at);
    while let Some(digit) = bytes
        .get(end)
        .map(|b| b.wrapping_sub(b'0'))
        .filter(|&digit| digit < 10)
    {
        if end - at == MOST_DIGITS {
            return None;
        }
        number = 10 * number + u64::from(digit);
        end += 1;
    }
    (end > at).then_some((number, end))
}

/// Offset of the next delimiter or line end, or of the text's end. Compares eight bytes at a time,
/// since text columns dominate the reading time.
fn field_end(bytes: &[u8], mut at: usize, delimiter: u8) -> usize {
    while let Some(word) = bytes[at..].first_chunk() {
        let word = u64::from_le_bytes(*word);
        let marks = |byte: u8| zero_bytes(word ^ (EACH * u64::from(byte)));
        let hits = marks(delimiter) | marks(b'\n');
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + bytes[at..]
        .iter()
        .take_while(|&&b| b != delimiter && b != b'\n')
        .count()
}

/// Word with the value 1 in each byte.
const EACH: u64 = u64::MAX / 255;

/// Marks the high bit of bytes that are zero. Only the lowest mark is reliable.
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(EACH) & !word & (EACH << 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIALECT: Dialect = Dialect::CSV;

    fn wanted() -> Vec<Wanted> {
        let cells = [
            (0, Cell::Unsigned),
            (1, Cell::Text),
            (3, Cell::Integer),
            (4, Cell::Optional),
        ];
        cells
            .map(|(field, cell)| Wanted {
                field,
                name: field.to_string(),
                cell,
            })
            .to_vec()
    }

    #[test]
    fn plain_text_of_any_length_is_read() {
        for length in 0..20 {
            let (word, other) = ("é€x".repeat(length + 1), "y".repeat(length));
            let number = 10_u64.pow(length.min(17) as u32);
            let text =
                format!("{number},{word},{other},7,{other}\n007,a,,{number},\n1,z,{word},0,{word}");
            let columns = read(&text, DIALECT, 5, &wanted()).unwrap();
            let [
                Values::Unsigned(first),
                Values::Texts(words),
                Values::Integers(second),
                Values::Texts(optional),
            ] = columns.as_slice()
            else {
                panic!("other columns")
            };
            assert_eq!(
                (first.as_slice(), second.as_slice()),
                (&[number, 7, 1][..], &[7, number as i64, 0][..])
            );
            let texts = |spans: &[Span]| {
                spans
                    .iter()
                    .map(|s| s.of(&text).map(str::to_owned))
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                texts(words),
                [Some(word.clone()), Some("a".into()), Some("z".into())]
            );
            assert_eq!(
                texts(optional),
                [(length > 0).then_some(other), None, Some(word)]
            );
        }
    }

    #[test]
    fn text_that_is_not_plain_is_rejected() {
        for text in [
            "1,a,b,2",
            "1,a,b,2,c,d",
            "1,a,b,2,c\n\n",
            "\n1,a,b,2,c",
            "1,a,b,2,\"c\"",
            "1,,b,2,c",
            ",a,b,2,c",
            "1,a,b,-2,c",
            " 1,a,b,2,c",
            "1 ,a,b,2,c",
            "1.0,a,b,2,c",
            "1234567890123456789,a,b,2,c",
            "1,a,b,2,c\n1,a,b,2\n",
        ] {
            assert!(read(text, DIALECT, 5, &wanted()).is_none(), "{text}");
        }
        assert!(read("1,a,b,2,c", DIALECT, 5, &[wanted(), wanted()].concat()).is_none());
        assert!(read("1", DIALECT, 1, &wanted()[..1]).is_none());
    }
}
