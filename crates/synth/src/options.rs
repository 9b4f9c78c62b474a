//! What to make, and the account of what was made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The log to imitate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Like {
    /// RetailRocket's format with 4,000 sessions and 1,000 items: for tests and first steps.
    Tiny,
    /// RetailRocket: 195,523 sessions, 70,852 items.
    RetailRocket,
    /// RecSys Challenge 2015: 204,000 sessions, of which the protocol samples 200,000, with 26,702 items.
    Rc15,
}

impl Like {
    /// `tiny`, `retailrocket` or `rc15`.
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
        let all = [Like::Tiny, Like::RetailRocket, Like::Rc15];
        all.into_iter()
            .find(|l| l.name() == name)
            .ok_or_else(|| Error::Like(name.to_owned()))
    }
}

/// What to make. Equal options give equal bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The log to imitate.
    pub like: Like,
    /// Sessions that the protocol's filters keep; the log's own number when `None`. Clicks and purchases scale in proportion.
    /// Items do so below the log's own number of sessions; above it, by the fifth root, which takes RC15's 26,702 items at
    /// 200,000 sessions to 52,719 at six million (the full file has 52,739).
    pub sessions: Option<u64>,
    /// The seed of everything random.
    pub seed: u64,
}

/// The content of `SYNTHETIC.json`, which marks a directory of raw files as made up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The log imitated.
    pub like: Like,
    /// The seed.
    pub seed: u64,
    /// What the protocol's filters leave.
    pub expected: Expected,
    /// The raw files beside the marker.
    pub files: Vec<SyntheticFile>,
    /// The truth: raw ids of the purchase-heavy items, most popular first within each category.
    pub heavy_items: Vec<String>,
}

/// Counts after the protocol's filters, before RC15's sample of the sessions and before any length filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// Sessions.
    pub sessions: u64,
    /// Distinct items.
    pub items: u64,
    /// Clicks or views.
    pub clicks: u64,
    /// Purchases; in RetailRocket's format, `addtocart` rows.
    pub purchases: u64,
}

/// One raw file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyntheticFile {
    /// File name.
    pub name: String,
    /// Rows of data, the header not counted.
    pub rows: u64,
}
