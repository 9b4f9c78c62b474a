//! Changes of items on disk, in a redb file.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `format`, `version` | version of the format, latest version of the changes |
//! | `changes` | item | version, document |
//! | `versions` | version, item | |

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use prl_fs::DirLock;
use prl_items::{ChangeStore, ChangeStoreError, Since};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::FORMAT;
use crate::error::{Error, Result};

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const CHANGES: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("changes");
const VERSIONS: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("versions");

const FORMAT_KEY: &str = "format";
const VERSION_KEY: &str = "version";
/// Name of the file in the directory of the store.
const FILE: &str = "items.redb";
/// Memory that redb may use for pages.
const CACHE_BYTES: usize = 16 << 20;

/// Changes of items in the file `items.redb` of a directory, which one process uses at a time.
pub struct DiskChangeStore {
    file: PathBuf,
    /// `None` after a failure: redb refuses a file after an error of the disk until it is reopened.
    database: Mutex<Option<Database>>,
    _lock: DirLock,
}

impl DiskChangeStore {
    /// Opens the store in `dir`, which is created if needed.
    ///
    /// # Errors
    /// If another process uses the directory, or the file has another format or is damaged.
    pub fn open(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).map_err(prl_fs::Error::io(dir))?;
        let lock = DirLock::acquire(dir)?;
        let file = dir.join(FILE);
        let database = open(&file)?;
        let synced = std::fs::File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(prl_fs::Error::io(dir))?;
        Ok(Self {
            file,
            database: Mutex::new(Some(database)),
            _lock: lock,
        })
    }

    /// Runs an operation on the open file.
    fn with<T>(
        &self,
        what: &str,
        operation: impl FnOnce(&Database) -> std::result::Result<T, redb::Error>,
    ) -> std::result::Result<T, ChangeStoreError> {
        let failed = |cause: Error| ChangeStoreError::caused_by(what, cause);
        let mut held = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let database = match held.take() {
            Some(database) => database,
            None => open(&self.file).map_err(failed)?,
        };
        match operation(&database) {
            Ok(result) => {
                *held = Some(database);
                Ok(result)
            }
            Err(error) => Err(failed(Error::of_redb(&self.file, error))),
        }
    }
}

impl ChangeStore for DiskChangeStore {
    fn put(&self, changes: &[(String, Vec<u8>)]) -> std::result::Result<u64, ChangeStoreError> {
        self.with("changes of items not stored", |database| {
            let transaction = database.begin_write()?;
            let version = {
                let mut meta = transaction.open_table(META)?;
                let latest = meta.get(VERSION_KEY)?.map_or(0, |latest| latest.value());
                meta.insert(VERSION_KEY, latest + 1)?;
                latest + 1
            };
            {
                let mut table = transaction.open_table(CHANGES)?;
                let mut versions = transaction.open_table(VERSIONS)?;
                for (item, document) in changes {
                    let new = (version, document.as_slice());
                    let old = table.insert(item.as_str(), new)?.map(|old| old.value().0);
                    if let Some(old) = old {
                        versions.remove((old, item.as_str()))?;
                    }
                    versions.insert((version, item.as_str()), ())?;
                }
            }
            transaction.commit()?;
            Ok(version)
        })
    }

    fn since(&self, version: u64) -> std::result::Result<Since, ChangeStoreError> {
        self.with("changes of items not read", |database| {
            let transaction = database.begin_read()?;
            let meta = transaction.open_table(META)?;
            let latest = meta.get(VERSION_KEY)?.map_or(0, |latest| latest.value());
            let mut changes = Vec::new();
            if version < latest {
                let table = transaction.open_table(CHANGES)?;
                let versions = transaction.open_table(VERSIONS)?;
                for row in versions.range((version + 1, "")..)? {
                    let (key, ()) = row.map(|(key, _)| (key, ()))?;
                    let (_, item) = key.value();
                    if let Some(found) = table.get(item)? {
                        changes.push((item.to_owned(), found.value().1.to_vec()));
                    }
                }
            }
            Ok((latest, changes))
        })
    }
}

/// Opens the file, or creates it with empty tables.
fn open(file: &Path) -> Result<Database> {
    let failed = |error: redb::Error| Error::of_redb(file, error);
    let opened = Database::builder().set_cache_size(CACHE_BYTES).create(file);
    let database = opened.map_err(|error| failed(error.into()))?;
    let found = create_tables(&database).map_err(failed)?;
    if found != FORMAT {
        return Err(Error::Format {
            store: file.display().to_string(),
            found: found.to_string(),
            supported: FORMAT,
        });
    }
    Ok(database)
}

/// Creates the tables that are missing; returns the version of the format.
fn create_tables(database: &Database) -> std::result::Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    let found = {
        let mut meta = transaction.open_table(META)?;
        let found = meta.get(FORMAT_KEY)?.map(|found| found.value());
        if found.is_none() {
            meta.insert(FORMAT_KEY, FORMAT)?;
        }
        found.unwrap_or(FORMAT)
    };
    if found == FORMAT {
        transaction.open_table(CHANGES)?;
        transaction.open_table(VERSIONS)?;
    }
    transaction.commit()?;
    Ok(found)
}
