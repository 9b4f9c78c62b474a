//! Flags of `prl prepare` for text: delimiter, header, encoding, missing values and times.

use clap::ValueEnum;
use prl_data::{Delimiter, Encoding, TextFormat, TimeUnit, ValueRules};

/// Form of a text log, and of its values.
#[derive(clap::Args)]
pub struct TextArgs {
    /// Field delimiter of a csv or inter log: characters of ASCII such as ';' or '::', or the words
    /// tab and space [default: a comma for csv, a tab for inter]
    #[arg(long, value_name = "CHARS", allow_hyphen_values = true)]
    delimiter: Option<Delimiter>,
    /// The first line of a csv or inter log is data; --columns maps columns by number:
    /// session=1,time=3,item=2
    #[arg(long)]
    no_header: bool,
    /// Encoding of a csv, inter or jsonl log
    #[arg(long, default_value = "utf8")]
    encoding: EncodingName,
    /// Unit of numeric times
    #[arg(long, default_value = "auto")]
    time_unit: Unit,
    /// Form of times as text, as for strftime: '%d/%m/%Y %H:%M' [default: ISO 8601]
    #[arg(long, value_name = "FORMAT", allow_hyphen_values = true)]
    time_format: Option<String>,
    /// Zone of times as text without an offset, such as Europe/Amsterdam or +02:00 [default: UTC]
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true)]
    time_zone: Option<String>,
    /// Words that mean a missing value, beside an empty one [default: NULL, NaN, None, \N and their
    /// like]; an empty list, '', has none
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "WORD,..",
        allow_hyphen_values = true
    )]
    missing: Option<Vec<String>>,
    /// Drop and count rows without a session, a time or an item
    #[arg(long)]
    drop_missing: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum EncodingName {
    Utf8,
    /// ISO 8859-1
    Latin1,
}

#[derive(Clone, Copy, ValueEnum)]
enum Unit {
    /// Derived from the magnitude
    Auto,
    S,
    Ms,
    Us,
    Ns,
    /// Days of a spreadsheet, such as 43739.5
    Excel,
}

impl TextArgs {
    /// The delimiter, or the usual one of the source.
    pub fn delimiter(&self, usual: Delimiter) -> Delimiter {
        self.delimiter.unwrap_or(usual)
    }

    /// True if a delimiter is given.
    pub fn has_delimiter(&self) -> bool {
        self.delimiter.is_some()
    }

    /// Header and encoding.
    pub fn format(&self) -> TextFormat {
        TextFormat {
            no_header: self.no_header,
            encoding: match self.encoding {
                EncodingName::Utf8 => Encoding::Utf8,
                EncodingName::Latin1 => Encoding::Latin1,
            },
        }
    }

    /// Unit of numeric times.
    pub fn time_unit(&self) -> TimeUnit {
        match self.time_unit {
            Unit::Auto => TimeUnit::Auto,
            Unit::S => TimeUnit::Seconds,
            Unit::Ms => TimeUnit::Milliseconds,
            Unit::Us => TimeUnit::Microseconds,
            Unit::Ns => TimeUnit::Nanoseconds,
            Unit::Excel => TimeUnit::Excel,
        }
    }

    /// Missing values, and times as text.
    pub fn rules(&self) -> ValueRules {
        let mut missing = self.missing.clone();
        if let Some(words) = &mut missing {
            words.retain(|word| !word.is_empty());
        }
        ValueRules {
            missing,
            drop_missing: self.drop_missing,
            time_format: self.time_format.clone(),
            time_zone: self.time_zone.clone(),
        }
    }
}
