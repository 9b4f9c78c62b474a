//! What an event is, and which split it is predicted in.

use serde::{Deserialize, Serialize};

/// What the user did: the two kinds of the paper's reward.
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
    /// `click` or `purchase`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Click => "click",
            Kind::Purchase => "purchase",
        }
    }
}

/// The split in which an event is a prediction target. Along a session splits never go back: train, then val, then test.
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
    /// Learned from.
    Train = 0,
    /// Used to choose the checkpoint.
    Val = 1,
    /// Looked at once.
    Test = 2,
}

impl Split {
    /// The three splits, in order.
    pub const ALL: [Split; 3] = [Split::Train, Split::Val, Split::Test];

    /// `train`, `val` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
            Split::Test => "test",
        }
    }
}
