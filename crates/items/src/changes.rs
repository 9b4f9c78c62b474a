//! Changes of one item, as they are stored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::value::Value;

/// All that differs from the table for one item: the document that a
/// [`ChangeStore`](crate::ChangeStore) keeps for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ItemChanges {
    /// Values that were set, by column; null for those that were removed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, Json>,
    /// Whether the item is never recommended.
    #[serde(default, skip_serializing_if = "is_false")]
    pub denied: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

impl ItemChanges {
    /// The document.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Strings, numbers and truth values always serialize.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Changes of one item in columns of the table.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Overrides {
    /// Values by number of the column; none for those that were removed.
    pub(crate) values: Vec<(usize, Option<Value>)>,
    pub(crate) changes: ItemChanges,
}

impl Overrides {
    /// The changed value of a column; `None` if it is not changed.
    pub(crate) fn value(&self, column: usize) -> Option<Option<&Value>> {
        let mut values = self.values.iter();
        let (_, value) = values.find(|(of, _)| *of == column)?;
        Some(value.as_ref())
    }
}
