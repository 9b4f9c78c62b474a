//! Events of a session: their kinds, and the split of each.

use serde::{Deserialize, Serialize};

/// Kind of an event: the two that the paper's reward distinguishes.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    bytemuck::NoUninit,
    bytemuck::CheckedBitPattern,
)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Kind {
    /// A click or a view.
    Click = 0,
    /// A purchase; in RetailRocket, adding to the cart.
    Purchase = 1,
}

impl Kind {
    /// Name in files and reports: `click` or `purchase`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Click => "click",
            Kind::Purchase => "purchase",
        }
    }
}

/// An event of a session, by raw item id; `Id` is an owned or borrowed string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<Id> {
    /// Its raw item id.
    pub item: Id,
    /// Its kind, whose reward counts with a sequence-wise prompt.
    pub kind: Kind,
}

impl<Id> Event<Id> {
    /// A click on an item.
    pub fn click(item: Id) -> Self {
        Self {
            item,
            kind: Kind::Click,
        }
    }
}

/// Split in which an event is a prediction target. Along a session the splits never go back: train,
/// then val, then test.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    bytemuck::NoUninit,
    bytemuck::CheckedBitPattern,
)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Split {
    /// Training split.
    Train = 0,
    /// Validation split: selects the checkpoint.
    Val = 1,
    /// Test split.
    Test = 2,
}

impl Split {
    /// The three splits, in order.
    pub const ALL: [Split; 3] = [Split::Train, Split::Val, Split::Test];

    /// Name in files and reports: `train`, `val` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
            Split::Test => "test",
        }
    }
}
