//! Options of the generator, and the summary of a generated log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Log to imitate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Like {
    /// RetailRocket's format with 4,000 sessions and 1,000 items, for tests and first steps.
    Tiny,
    /// RetailRocket: 195,523 sessions, 70,852 items.
    RetailRocket,
    /// RecSys Challenge 2015: 204,000 sessions, of which the protocol samples 200,000; 26,702
    /// items.
    Rc15,
}

impl Like {
    /// Name on the command line: `tiny`, `retailrocket` or `rc15`.
    pub fn name(self) -> &'static str {
        match self {
            Like::Tiny => "tiny",
            Like::RetailRocket => "retailrocket",
            Like::Rc15 => "rc15",
        }
    }
}

impl fmt::Display for Like {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Like {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        for like in [Like::Tiny, Like::RetailRocket, Like::Rc15] {
            if like.name() == name {
                return Ok(like);
            }
        }
        Err(Error::Like(name.to_owned()))
    }
}

/// Options of the generator. Equal options give equal bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Log to imitate.
    pub like: Like,
    /// Number of sessions that pass the protocol's filters; `None` for the number of the real log.
    /// Clicks and purchases scale in proportion. Items do so below the number of the real log;
    /// above it they grow by the fifth root, from RC15's 26,702 at 200,000 sessions to 52,719 at
    /// six million (the full file has 52,739).
    pub sessions: Option<u64>,
    /// Seed of all random numbers.
    pub seed: u64,
}

/// Content of `SYNTHETIC.json`, which marks the raw files of a directory as synthetic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Imitated log.
    pub like: Like,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Counts after the protocol's filters.
    pub expected: Expected,
    /// Raw files in the same directory.
    pub files: Vec<SyntheticFile>,
    /// Ground truth: raw ids of the purchase-heavy items, most popular first within each category.
    pub heavy_items: Vec<String>,
}

/// Counts after the protocol's filters, before RC15's sample of the sessions and before any length
/// filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// Number of sessions.
    pub sessions: u64,
    /// Number of distinct items.
    pub items: u64,
    /// Number of clicks or views.
    pub clicks: u64,
    /// Number of purchases; in RetailRocket's format, `addtocart` rows.
    pub purchases: u64,
}

/// Raw file of a synthetic log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyntheticFile {
    /// File name.
    pub name: String,
    /// Number of data rows, without the header.
    pub rows: u64,
}
