//! The changes at one moment: immutable, shared with the moment before where nothing changed.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::changes::Overrides;
use crate::value::ColumnType;

/// Rows of a shard, which is copied when one of them changes.
const SHARD: u32 = 1_024;
/// Snapshots whose changed items are remembered, so that masks are brought up to date by them.
const RECENT: usize = 256;

/// Columns of the table and of the changes, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Schema(pub(crate) Vec<(String, ColumnType)>);

impl Schema {
    /// Number and type of a column.
    pub(crate) fn find(&self, name: &str) -> Option<(usize, ColumnType)> {
        let at = self.0.iter().position(|(own, _)| own == name)?;
        Some((at, self.0[at].1))
    }

    /// Names of the columns.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }
}

type Shard = HashMap<u32, Arc<Overrides>>;

/// The changes at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Version of the store that it has all changes of.
    pub(crate) version: u64,
    /// Number of the snapshot, counted from 0.
    pub(crate) number: u64,
    pub(crate) schema: Arc<Schema>,
    shards: Vec<Option<Arc<Shard>>>,
    /// Raw ids that are never recommended, known or not.
    pub(crate) denied: Arc<BTreeSet<String>>,
    /// Catalogue rows that each of the latest snapshots changed, the latest last.
    recent: VecDeque<Arc<[u32]>>,
}

impl Snapshot {
    /// The table without changes.
    pub(crate) fn new(schema: Schema, rows: usize) -> Self {
        Self {
            version: 0,
            number: 0,
            schema: Arc::new(schema),
            shards: vec![None; rows.div_ceil(SHARD as usize)],
            denied: Arc::default(),
            recent: VecDeque::new(),
        }
    }

    /// Version of the store that it has all changes of.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Raw ids that are never recommended, ascending; some may be in no catalogue.
    pub fn denied(&self) -> impl ExactSizeIterator<Item = &str> {
        self.denied.iter().map(String::as_str)
    }

    /// Number of rows with changes.
    pub fn changed(&self) -> usize {
        let mut rows = 0;
        for shard in self.shards.iter().flatten() {
            rows += shard.len();
        }
        rows
    }

    /// The changes of a row.
    pub(crate) fn overrides(&self, row: u32) -> Option<&Overrides> {
        let shard = self.shards.get((row / SHARD) as usize)?.as_ref()?;
        shard.get(&row).map(AsRef::as_ref)
    }

    /// Rows below `end` with changes.
    pub(crate) fn changed_rows(&self, end: u32) -> Vec<u32> {
        let mut rows = Vec::new();
        for shard in self.shards.iter().flatten() {
            rows.extend(shard.keys().filter(|&&row| row < end));
        }
        rows
    }

    /// Replaces the changes of a row, which must exist.
    pub(crate) fn set(&mut self, row: u32, overrides: Overrides) {
        let shard = &mut self.shards[(row / SHARD) as usize];
        let shard = Arc::make_mut(shard.get_or_insert_default());
        shard.insert(row, Arc::new(overrides));
    }

    /// Ends a snapshot that differs in these catalogue rows from the one before.
    pub(crate) fn advance(&mut self, rows: Vec<u32>) {
        self.number += 1;
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(rows.into());
    }

    /// Catalogue rows that changed after the snapshot of a number; `None` if that is too long ago.
    pub(crate) fn changed_after(&self, number: u64) -> Option<Vec<u32>> {
        let behind = usize::try_from(self.number.checked_sub(number)?).ok()?;
        let first = self.recent.len().checked_sub(behind)?;
        let mut rows = Vec::new();
        for changed in self.recent.range(first..) {
            rows.extend_from_slice(changed);
        }
        Some(rows)
    }
}
