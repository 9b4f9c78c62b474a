//! Conventions of an evaluation: which events are cases, and which items are ranked.

use std::fmt;

use prl_dataset::Split;
use serde::{Deserialize, Serialize};

/// Which events are cases, and which items are ranked. The default is the paper's protocol: every
/// event is a case, and all items are ranked.
///
/// A target that is left out of the ranking is a miss: its rank is
/// [`NOT_RANKED`](crate::NOT_RANKED).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conventions {
    /// Leaves out the first event of each session, whose state is empty.
    pub skip_first: bool,
    /// Leaves the state's latest item out of the ranking.
    pub exclude_last: bool,
    /// Leaves all items of the session so far out of the ranking.
    pub exclude_seen: bool,
}

impl fmt::Display for Conventions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cases = match self.skip_first {
            true => "all events but the first of a session",
            false => "all events, first events of sessions included",
        };
        let ranked = match (self.exclude_last, self.exclude_seen) {
            (_, true) => "all items but those of the session so far",
            (true, false) => "all items but the state's latest",
            (false, false) => "all items",
        };
        write!(f, "cases: {cases}; ranked: {ranked}")?;
        if self.exclude_last || self.exclude_seen {
            write!(f, "; a target left out is a miss")?;
        }
        Ok(())
    }
}

/// Split of the cases: one of a dataset's, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum CaseSplit {
    Train,
    Val,
    Test,
    All,
}

impl CaseSplit {
    /// Every value, in order.
    pub const ALL: [CaseSplit; 4] = [
        CaseSplit::Train,
        CaseSplit::Val,
        CaseSplit::Test,
        CaseSplit::All,
    ];

    /// Name in files and reports: that of the split, or `all`.
    pub fn name(self) -> &'static str {
        match self.split() {
            Some(split) => split.name(),
            None => "all",
        }
    }

    /// The split; `None` stands for all.
    pub fn split(self) -> Option<Split> {
        match self {
            CaseSplit::Train => Some(Split::Train),
            CaseSplit::Val => Some(Split::Val),
            CaseSplit::Test => Some(Split::Test),
            CaseSplit::All => None,
        }
    }
}

impl From<Split> for CaseSplit {
    fn from(split: Split) -> Self {
        match split {
            Split::Train => CaseSplit::Train,
            Split::Val => CaseSplit::Val,
            Split::Test => CaseSplit::Test,
        }
    }
}

/// Items of another log that are not in the run's catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherLog {
    /// Hash of the dataset that the run was trained on.
    pub trained_on: String,
    /// Number of items of the log that are not in the catalogue.
    pub unknown_items: u64,
    /// Number of events of such items in the histories of the cases: they are in no state.
    pub unknown_in_states: u64,
    /// Number of cases whose target is such an item: they are misses.
    pub unknown_targets: u64,
}

impl fmt::Display for OtherLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "other log than the run's (dataset {}): {} items unknown to the run; {} of their events \
             left out of the states, {} targets counted as misses",
            self.trained_on, self.unknown_items, self.unknown_in_states, self.unknown_targets
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conventions_are_named_in_text_and_json() {
        let all = Conventions::default();
        assert_eq!(
            all.to_string(),
            "cases: all events, first events of sessions included; ranked: all items"
        );
        let serenade = Conventions {
            skip_first: true,
            exclude_last: true,
            exclude_seen: false,
        };
        assert_eq!(
            serenade.to_string(),
            "cases: all events but the first of a session; ranked: all items but the state's \
             latest; a target left out is a miss"
        );
        let json = serde_json::to_string(&serenade).unwrap();
        assert_eq!(
            json,
            r#"{"skip_first":true,"exclude_last":true,"exclude_seen":false}"#
        );
        let seen = Conventions {
            exclude_seen: true,
            ..serenade
        };
        assert!(seen.to_string().contains("but those of the session so far"));
    }

    #[test]
    fn case_split_names_are_those_of_json() {
        for split in CaseSplit::ALL {
            let json = serde_json::to_value(split).unwrap();
            assert_eq!(json, split.name());
        }
        for split in Split::ALL {
            assert_eq!(CaseSplit::from(split).split(), Some(split));
        }
    }
}
