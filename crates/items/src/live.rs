//! The table under the changes that arrived since it was made.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use roaring::RoaringBitmap;
use serde_json::{Map, Value as Json};

use crate::cache::MaskCache;
use crate::changes::{ItemChanges, Overrides};
use crate::error::{ChangeError, FilterError};
use crate::filter::{ColumnTest, Test, Where};
use crate::index::ColumnIndex;
use crate::mask::{ItemMask, set_bit};
use crate::snapshot::{Schema, Snapshot};
use crate::store::{ChangeStore, ChangeStoreError};
use crate::table::{ColumnData, ItemTable};
use crate::value::{ColumnType, Value, shown};

/// Maximum number of columns that changes add to a table without columns.
const MAX_ADDED: usize = 256;

/// Index of a raw id in the catalogue.
pub type IndexOf<'a> = &'a dyn Fn(&str) -> Option<u32>;

/// Properties of items: a table, and the changes since it was made. Readers never wait for a
/// change: each sees the changes of one moment.
#[derive(Debug)]
pub struct LiveItems {
    table: ItemTable,
    indexes: Vec<OnceLock<ColumnIndex>>,
    /// Column by which items are hidden: those with false, or 0.
    available: String,
    snapshot: RwLock<Arc<Snapshot>>,
    /// Held while a change is made.
    writer: Mutex<()>,
    masks: MaskCache,
}

impl LiveItems {
    /// A table without changes. Items whose value in the column `available` is false, or 0, are
    /// hidden: they are in no mask of a filter without a condition on that column. If the table has
    /// no such column, changes can set it.
    pub fn new(table: ItemTable, available: impl Into<String>) -> Self {
        let (available, mut columns) = (available.into(), Vec::new());
        for column in &table.columns {
            columns.push((column.name.clone(), column.column_type()));
        }
        if table.column_names().all(|name| name != available) {
            columns.push((available.clone(), ColumnType::Bool));
        }
        let mut indexes = Vec::new();
        indexes.resize_with(table.columns.len(), OnceLock::new);
        Self {
            snapshot: RwLock::new(Arc::new(Snapshot::new(Schema(columns), table.rows()))),
            masks: MaskCache::new(table.catalogue()),
            writer: Mutex::default(),
            table,
            indexes,
            available,
        }
    }

    /// The table, without changes.
    pub fn table(&self) -> &ItemTable {
        &self.table
    }

    /// Name of the column by which items are hidden.
    pub fn available_column(&self) -> &str {
        &self.available
    }

    /// The changes of this moment.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        let snapshot = self.snapshot.read();
        Arc::clone(&snapshot.unwrap_or_else(PoisonError::into_inner))
    }

    /// Names and types of the columns: those of the table, that of availability, and those that
    /// changes have added.
    pub fn columns(&self) -> Vec<(String, ColumnType)> {
        self.snapshot().schema.0.clone()
    }

    /// Makes the indexes of all columns, so that the first filter by one is as fast as later ones.
    pub fn warm_up(&self) {
        for column in 0..self.table.columns.len() {
            self.index(column);
        }
    }

    fn index(&self, column: usize) -> &ColumnIndex {
        let make = || ColumnIndex::new(&self.table.columns[column], self.table.catalogue);
        self.indexes[column].get_or_init(make)
    }

    /// Fails for names that no column has.
    ///
    /// # Errors
    /// [`FilterError::UnknownColumn`] with the columns of the items.
    pub fn check_columns(&self, place: &'static str, names: &[String]) -> Result<(), FilterError> {
        let snapshot = self.snapshot();
        for name in names {
            if snapshot.schema.find(name).is_none() {
                return Err(FilterError::UnknownColumn {
                    place,
                    column: name.clone(),
                    columns: snapshot.schema.names(),
                });
            }
        }
        Ok(())
    }

    /// Fails for a filter that the items cannot be filtered by.
    ///
    /// # Errors
    /// As of [`mask`](Self::mask).
    pub fn check(&self, filter: &Where) -> Result<(), FilterError> {
        filter.resolve(&self.snapshot().schema).map(drop)
    }

    /// The row of an item, given its index in the catalogue if it has one; `None` for one that is
    /// in neither.
    pub fn row(&self, id: &str, index: Option<u32>) -> Option<u32> {
        self.table.row(id, index)
    }

    /// The value of a row in a column, under the changes.
    pub fn value(&self, row: u32, column: &str) -> Option<Value> {
        let snapshot = self.snapshot();
        let (column, _) = snapshot.schema.find(column)?;
        self.value_at(&snapshot, row, column)
    }

    fn value_at(&self, snapshot: &Snapshot, row: u32, column: usize) -> Option<Value> {
        if let Some(changed) = snapshot.overrides(row).and_then(|o| o.value(column)) {
            return changed.cloned();
        }
        self.table.columns.get(column)?.value(row)
    }

    /// The values of a row by column, under the changes: of these columns, or of all. Columns
    /// without a value are left out.
    pub fn properties(&self, row: u32, columns: Option<&[String]>) -> Map<String, Json> {
        let (snapshot, mut properties) = (self.snapshot(), Map::new());
        for (at, (name, _)) in snapshot.schema.0.iter().enumerate() {
            if columns.is_some_and(|columns| !columns.contains(name)) {
                continue;
            }
            if let Some(value) = self.value_at(&snapshot, row, at) {
                properties.insert(name.clone(), value.to_json());
            }
        }
        properties
    }

    /// Whether a row may be recommended without a filter: neither denied nor hidden.
    pub fn is_shown(&self, row: u32) -> bool {
        let snapshot = self.snapshot();
        let hides = snapshot.schema.find(&self.available);
        self.passes(&snapshot, row, &[], hides.map(|(at, _)| at))
    }

    /// Whether an item is never recommended.
    pub fn is_denied(&self, id: &str) -> bool {
        self.snapshot().denied.contains(id)
    }

    /// The items that a filter allows: those that meet its conditions and are neither denied nor
    /// hidden. `None` allows the whole catalogue. The first answer to a filter costs a sweep over
    /// its columns at most, later ones a look-up and the items that have changed since.
    ///
    /// # Errors
    /// [`FilterError`] for an unknown column, and for a condition that is not of its type.
    pub fn mask(&self, filter: &Where) -> Result<Option<Arc<ItemMask>>, FilterError> {
        let snapshot = self.snapshot();
        let is_plain = snapshot.number == 0 && filter.is_empty();
        if is_plain && self.table.column_names().all(|name| name != self.available) {
            return Ok(None);
        }
        let key = filter.key();
        let cached = self.masks.get(&key);
        if let Some(cached) = &cached
            && cached.number >= snapshot.number
        {
            return Ok(restricting(&cached.mask));
        }
        let tests = filter.resolve(&snapshot.schema)?;
        let hides = match filter.conditions().contains_key(&self.available) {
            true => None,
            false => snapshot.schema.find(&self.available).map(|(at, _)| at),
        };
        let known = cached.and_then(|cached| {
            let changed = snapshot.changed_after(cached.number)?;
            Some((cached.mask.words().to_vec(), changed))
        });
        let (mut words, changed) = match known {
            Some(known) => known,
            None => {
                let words = self.sweep(&tests, hides);
                (words, snapshot.changed_rows(self.table.catalogue))
            }
        };
        for row in changed {
            set_bit(&mut words, row, self.passes(&snapshot, row, &tests, hides));
        }
        let mask = Arc::new(ItemMask::new(words, self.table.catalogue()));
        self.masks.put(key, snapshot.number, &mask);
        Ok(restricting(&mask))
    }

    /// Whether a row meets conditions, is not denied, and is not hidden by a column.
    fn passes(
        &self,
        snapshot: &Snapshot,
        row: u32,
        tests: &[ColumnTest],
        hides: Option<usize>,
    ) -> bool {
        let overrides = snapshot.overrides(row);
        if overrides.is_some_and(|overrides| overrides.changes.denied) {
            return false;
        }
        if let Some(column) = hides
            && let Some(value) = self.value_at(snapshot, row, column)
            && matches!(value, Value::Bool(false) | Value::Number(0.0))
        {
            return false;
        }
        let mut tests = tests.iter();
        tests.all(|ColumnTest { column, test }| {
            test.accepts(self.value_at(snapshot, row, *column).as_ref())
        })
    }

    /// The catalogue rows of the table that meet conditions and are not hidden by a column, as bits.
    fn sweep(&self, tests: &[ColumnTest], hides: Option<usize>) -> Vec<u64> {
        let items = self.table.catalogue;
        let mut words = vec![u64::MAX; (items as usize).div_ceil(64)];
        let mut found: Option<RoaringBitmap> = None;
        for ColumnTest { column, test } in tests {
            let Some(values) = self.table.columns.get(*column) else {
                // No row of the table has a value in a column of the changes alone.
                return vec![0; words.len()];
            };
            match self.index(*column).find(values, test, items) {
                Some(items) => found = Some(found.map_or(items.clone(), |found| found & items)),
                None => keep_numbers(&mut words, &values.data, test, items),
            }
        }
        if let Some(found) = found {
            let mut both = vec![0; words.len()];
            for item in found {
                both[item as usize / 64] |= words[item as usize / 64] & 1 << (item % 64);
            }
            words = both;
        }
        if let Some(column) = hides
            && let Some(values) = self.table.columns.get(column)
        {
            for item in self.index(column).find_false(values) {
                set_bit(&mut words, item, false);
            }
        }
        words
    }

    fn lock_writer(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies the changes that a store has and these items have not. Returns what could not be
    /// applied, such as a value of a column that this table has not.
    ///
    /// # Errors
    /// [`ChangeStoreError`] if the store fails; nothing is applied then.
    pub fn sync(
        &self,
        store: &dyn ChangeStore,
        index: IndexOf<'_>,
    ) -> Result<Vec<String>, ChangeStoreError> {
        let _writer = self.lock_writer();
        self.sync_locked(store, index)
    }

    fn sync_locked(
        &self,
        store: &dyn ChangeStore,
        index: IndexOf<'_>,
    ) -> Result<Vec<String>, ChangeStoreError> {
        let snapshot = self.snapshot();
        let (version, documents) = store.since(snapshot.version)?;
        let mut ignored = Vec::new();
        if documents.is_empty() && version == snapshot.version {
            return Ok(ignored);
        }
        let (mut next, mut rows) = (Snapshot::clone(&snapshot), Vec::new());
        next.version = version;
        for (id, document) in documents {
            let changes: ItemChanges = match serde_json::from_slice(&document) {
                Ok(changes) => changes,
                Err(error) => {
                    ignored.push(format!("item {id:?}: not a document of changes: {error}"));
                    continue;
                }
            };
            if next.denied.contains(&id) != changes.denied {
                let denied: &mut BTreeSet<String> = Arc::make_mut(&mut next.denied);
                match changes.denied {
                    true => _ = denied.insert(id.clone()),
                    false => _ = denied.remove(&id),
                }
            }
            let Some(row) = self.table.row(&id, index(&id)) else {
                continue;
            };
            let mut overrides = Overrides::default();
            for (name, json) in &changes.set {
                match self.change(&mut next, name, json) {
                    Ok(Some(changed)) => overrides.values.push(changed),
                    Ok(None) => {}
                    Err(what) => ignored.push(format!("item {id:?}: {name}: {what}")),
                }
            }
            overrides.changes = changes;
            next.set(row, overrides);
            if row < self.table.catalogue {
                rows.push(row);
            }
        }
        next.advance(rows);
        *self
            .snapshot
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(ignored)
    }

    /// Number of a column, and its value in JSON. A table without columns gets those that its
    /// changes name; `None` if null is the first value of such a column.
    fn change(
        &self,
        next: &mut Snapshot,
        name: &str,
        json: &Json,
    ) -> Result<Option<(usize, Option<Value>)>, String> {
        let (column, of) = match next.schema.find(name) {
            Some(found) => found,
            None if !self.takes_columns(&next.schema) => return Err("no such column".into()),
            None if json.is_null() => return Ok(None),
            None => {
                let of = Value::type_of(json).ok_or_else(|| format!("found {}", shown(json)))?;
                let schema = Arc::make_mut(&mut next.schema);
                schema.0.push((name.to_owned(), of));
                (schema.0.len() - 1, of)
            }
        };
        match Value::from_json(json, of) {
            Ok(value) => Ok(Some((column, value))),
            Err(found) => Err(format!("expected {}, found {found}", of.expected())),
        }
    }

    /// Whether changes add columns: the table has none, so that nothing says which there are.
    fn takes_columns(&self, schema: &Schema) -> bool {
        self.table.columns.is_empty() && schema.0.len() <= MAX_ADDED
    }

    /// Sets properties of items, all or none: they are stored, and every later mask has them. Null
    /// removes a value.
    ///
    /// # Errors
    /// [`ChangeError`] for an unknown item or column and for a value of another type, before
    /// anything is stored; and if the store fails.
    pub fn patch(
        &self,
        store: &dyn ChangeStore,
        patches: &[(String, Map<String, Json>)],
        index: IndexOf<'_>,
    ) -> Result<Vec<String>, ChangeError> {
        let _writer = self.lock_writer();
        // What other servers have stored in the meantime must not be lost.
        let mut ignored = self.sync_locked(store, index)?;
        let snapshot = self.snapshot();
        let mut draft = Snapshot::clone(&snapshot);
        let mut documents: Vec<(String, ItemChanges)> = Vec::with_capacity(patches.len());
        for (id, set) in patches {
            let Some(row) = self.table.row(id, index(id)) else {
                return Err(ChangeError::UnknownItem { item: id.clone() });
            };
            for (name, json) in set {
                self.check_change(&mut draft, id, (name, json))?;
            }
            let earlier = documents.iter().position(|(own, _)| own == id);
            let at = earlier.unwrap_or_else(|| {
                let changes = snapshot.overrides(row).map(|o| o.changes.clone());
                documents.push((id.clone(), changes.unwrap_or_default()));
                documents.len() - 1
            });
            for (name, json) in set {
                documents[at].1.set.insert(name.clone(), json.clone());
            }
        }
        self.put(store, documents)?;
        ignored.extend(self.sync_locked(store, index)?);
        Ok(ignored)
    }

    fn check_change(
        &self,
        draft: &mut Snapshot,
        id: &str,
        (name, json): (&str, &Json),
    ) -> Result<(), ChangeError> {
        if draft.schema.find(name).is_none() && !self.takes_columns(&draft.schema) {
            return Err(ChangeError::UnknownColumn {
                item: id.to_owned(),
                column: name.to_owned(),
                columns: draft.schema.names(),
            });
        }
        if self.change(draft, name, json).is_err() {
            let of = draft.schema.find(name).map(|(_, of)| of);
            return Err(ChangeError::Type {
                item: id.to_owned(),
                column: name.to_owned(),
                expected: of.map_or("a text, a list of texts, a number, true or false", |of| {
                    of.expected()
                }),
                found: shown(json),
            });
        }
        Ok(())
    }

    /// Adds an item to those that are never recommended, or removes it from them; it may be in no
    /// catalogue. Returns whether that changed anything.
    ///
    /// # Errors
    /// [`ChangeStoreError`] if the store fails.
    pub fn deny(
        &self,
        store: &dyn ChangeStore,
        (id, denied): (&str, bool),
        index: IndexOf<'_>,
    ) -> Result<bool, ChangeStoreError> {
        let _writer = self.lock_writer();
        self.sync_locked(store, index)?;
        let snapshot = self.snapshot();
        if snapshot.denied.contains(id) == denied {
            return Ok(false);
        }
        let row = self.table.row(id, index(id));
        let overrides = row.and_then(|row| snapshot.overrides(row));
        let mut changes = overrides.map(|o| o.changes.clone()).unwrap_or_default();
        changes.denied = denied;
        self.put(store, vec![(id.to_owned(), changes)])?;
        self.sync_locked(store, index)?;
        Ok(true)
    }

    fn put(
        &self,
        store: &dyn ChangeStore,
        documents: Vec<(String, ItemChanges)>,
    ) -> Result<(), ChangeStoreError> {
        let mut stored = Vec::with_capacity(documents.len());
        for (id, changes) in documents {
            stored.push((id, changes.to_bytes()));
        }
        if stored.is_empty() {
            return Ok(());
        }
        store.put(&stored).map(drop)
    }
}

/// A mask that leaves items out; `None` for one that does not.
fn restricting(mask: &Arc<ItemMask>) -> Option<Arc<ItemMask>> {
    (mask.count() < mask.items()).then(|| Arc::clone(mask))
}

/// Clears the bits of the rows whose numbers do not meet a condition.
fn keep_numbers(words: &mut [u64], data: &ColumnData, test: &Test, items: u32) {
    let ColumnData::Number(numbers) = data else {
        return;
    };
    let numbers = &numbers[..items as usize];
    for (word, numbers) in words.iter_mut().zip(numbers.chunks(64)) {
        let mut kept = 0;
        for (bit, &number) in numbers.iter().enumerate() {
            kept |= u64::from(test.accepts_number(number)) << bit;
        }
        *word &= kept;
    }
}
