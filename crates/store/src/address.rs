//! Where sessions are stored, as a flag names it.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use prl_items::{ChangeStore, MemoryChangeStore};

use crate::disk::DiskStore;
use crate::error::{Error, Result};
use crate::item_changes::{DiskChangeStore, RedisChangeStore};
use crate::limits::SessionLimits;
use crate::memory::MemoryStore;
use crate::redis::RedisStore;
use crate::session_store::SessionStore;

/// Where sessions are stored: `memory`, a directory, or `redis://..`.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreAddress {
    /// In the memory of the process.
    Memory,
    /// In a directory.
    Disk(PathBuf),
    /// In the Redis at a URL, which may hold a password.
    Redis(String),
}

impl StoreAddress {
    /// The sessions in a server's directory of state.
    pub fn in_state(dir: &Path) -> Self {
        Self::Disk(dir.join("sessions"))
    }

    /// Opens the store. Redis is connected to when it is first used.
    ///
    /// # Errors
    /// If the directory cannot be used or the URL is invalid.
    pub fn open(&self, limits: SessionLimits) -> Result<Arc<dyn SessionStore>> {
        Ok(match self {
            Self::Memory => Arc::new(MemoryStore::new(limits)),
            Self::Disk(dir) => Arc::new(DiskStore::open(dir, limits)?),
            Self::Redis(url) => Arc::new(RedisStore::new(url, limits)?),
        })
    }
}

impl StoreAddress {
    /// Opens the store of changes of items beside the sessions.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_changes(&self) -> Result<Arc<dyn ChangeStore>> {
        Ok(match self {
            Self::Memory => Arc::new(MemoryChangeStore::default()),
            Self::Disk(dir) => Arc::new(DiskChangeStore::open(dir)?),
            Self::Redis(url) => Arc::new(RedisChangeStore::new(url)?),
        })
    }
}

impl FromStr for StoreAddress {
    type Err = Error;

    /// # Errors
    /// [`Error::Address`] for a URL of another scheme than `redis`.
    fn from_str(text: &str) -> Result<Self> {
        if text == "memory" {
            return Ok(Self::Memory);
        }
        if text.contains("://") {
            // Also checks the URL.
            RedisStore::new(text, SessionLimits::default())?;
            return Ok(Self::Redis(text.to_owned()));
        }
        Ok(Self::Disk(PathBuf::from(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::StoreAddress;

    #[test]
    fn address_names_memory_a_directory_or_redis() {
        let parse = |text: &str| text.parse::<StoreAddress>();
        assert!(parse("memory").unwrap() == StoreAddress::Memory);
        assert!(parse("./state").unwrap() == StoreAddress::Disk("./state".into()));
        let url = "redis://h:7000/1";
        assert!(parse(url).unwrap() == StoreAddress::Redis(url.into()));
        let refused = parse("rediss://:geheim@h").err().unwrap().to_string();
        assert!(
            refused.starts_with("redis://..@h: not an address"),
            "{refused}"
        );
    }
}
