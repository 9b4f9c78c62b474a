//! Missing values in text: empty ones, and the words that databases write for them.

use crate::options::ValueRules;
use crate::table_reader::Value;

/// Values that mean a missing one.
#[derive(Clone, Debug)]
pub(crate) struct MissingValues {
    words: Vec<String>,
    /// Length of the longest word.
    longest: usize,
    /// True if a word is a number, so that numbers have to be compared too.
    has_numbers: bool,
    /// True if a word begins with a digit, as a UUID of zeros does.
    has_digits: bool,
}

impl MissingValues {
    /// The words that `rules` give, or else the usual ones.
    pub(crate) fn new(rules: &ValueRules) -> Self {
        let words = match &rules.missing {
            Some(words) => words.clone(),
            None => ValueRules::MISSING.map(str::to_owned).to_vec(),
        };
        let (mut longest, mut has_numbers, mut has_digits) = (0, false, false);
        for word in &words {
            longest = longest.max(word.len());
            has_numbers |= word.parse::<f64>().is_ok_and(f64::is_finite);
            has_digits |= word.starts_with(|c: char| c.is_ascii_digit());
        }
        Self {
            words,
            longest,
            has_numbers,
            has_digits,
        }
    }

    /// True if the value is missing.
    pub(crate) fn contains(&self, value: Value<'_>) -> bool {
        match value {
            Value::Missing => true,
            Value::Text(text) => self.has(text),
            Value::Real(number) if number.is_nan() => true,
            Value::Whole(number) if self.has_numbers => self.has(&number.to_string()),
            Value::Large(number) if self.has_numbers => self.has(&number.to_string()),
            Value::Real(number) if self.has_numbers => self.has(&number.to_string()),
            Value::Whole(_) | Value::Large(_) | Value::Real(_) | Value::Nanos(_) => false,
        }
    }

    /// True for an empty text or one of the words, with blanks around it or not.
    fn has(&self, text: &str) -> bool {
        let text = text.trim_matches([' ', '\t']);
        if text.is_empty() {
            return true;
        }
        // Most ids are numbers, most words are not.
        let may_be_word = self.has_digits || !text.as_bytes()[0].is_ascii_digit();
        may_be_word && text.len() <= self.longest && self.words.iter().any(|word| word == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(words: Option<&[&str]>) -> MissingValues {
        let mut rules = ValueRules::default();
        if let Some(words) = words {
            rules.missing = Some(words.iter().map(|&word| word.to_owned()).collect());
        }
        MissingValues::new(&rules)
    }

    #[test]
    fn usual_words_and_empty_text_are_missing() {
        let usual = missing(None);
        for text in [
            "", " ", "NULL", "null", "NaN", "nan", "None", "\\N", " NULL ", "<NA>",
        ] {
            assert!(usual.contains(Value::Text(text)), "{text:?}");
        }
        for text in ["0", "-1", "nano", "Nullam", "N", "\\n", "none of these"] {
            assert!(!usual.contains(Value::Text(text)), "{text:?}");
        }
        assert!(usual.contains(Value::Missing) && usual.contains(Value::Real(f64::NAN)));
        assert!(!usual.contains(Value::Whole(0)) && !usual.contains(Value::Nanos(0)));
    }

    #[test]
    fn given_words_replace_the_usual_ones() {
        let none = missing(Some(&[]));
        assert!(!none.contains(Value::Text("NULL")) && none.contains(Value::Text("")));
        let numbers = missing(Some(&["-1", "0"]));
        assert!(numbers.contains(Value::Whole(-1)) && numbers.contains(Value::Text("0")));
        let zeros = missing(Some(&["00000000-0000"]));
        assert!(zeros.contains(Value::Text("00000000-0000")));
        assert!(!numbers.contains(Value::Whole(1)) && !numbers.contains(Value::Large(u64::MAX)));
    }
}
