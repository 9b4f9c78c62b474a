//! What a server stores: sessions and changes of items, in memory, on disk, or in Redis.
//!
//! [`SessionStore`] is the contract: events are appended to a session, read back in order, and
//! deleted; a session expires after a time without access, and the least recently used one is
//! evicted when there are too many. An event is acknowledged when [`SessionStore::add`] returns:
//!
//! - [`MemoryStore`]: lost with the process.
//! - [`DiskStore`]: on disk, in a redb file, whenever the process or the machine stops.
//! - [`RedisStore`]: in Redis, shared by the replicas of a server; as durable as that Redis.
//!
//! [`DiskChangeStore`] and [`RedisChangeStore`] do the same for changes of items.
//!
//! ```
//! use prl_dataset::Event;
//! use prl_store::{MemoryStore, SessionLimits, SessionStore};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(async {
//! let store = MemoryStore::new(SessionLimits::default());
//! let events = vec![Event::click("shoe".into()), Event::click("sock".into())];
//! assert_eq!(store.add("visitor", events.clone()).await?, 2);
//! assert_eq!(store.events("visitor").await?, Some(events));
//! # Ok::<(), prl_store::Error>(())
//! # }).unwrap();
//! ```

mod address;
mod backup;
mod disk;
mod encoding;
mod error;
mod item_changes;
mod limits;
mod lru_sessions;
mod memory;
mod redis;
mod session_store;

pub use self::redis::RedisStore;
pub use address::StoreAddress;
pub use backup::{erase_in_backup, read_backup, restore_backup, write_backup};
pub use disk::DiskStore;
pub use error::{Error, Result};
pub use item_changes::{DiskChangeStore, RedisChangeStore};
pub use limits::SessionLimits;
pub use memory::MemoryStore;
pub use session_store::{Event, SavedSession, SessionStore};

/// Version of the format on disk and in Redis. A store with another one is refused by name.
pub const FORMAT: u64 = 1;
