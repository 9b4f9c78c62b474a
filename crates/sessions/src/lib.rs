//! The prepared dataset, and the windows cut from it.
//!
//! A prepared dataset is a directory of flat arrays ([`Dataset`]) with an item map ([`ItemMap`]) and a [`Manifest`]. It is
//! mapped into memory and never copied: a session is a slice of items, a training example is a position in it. The one
//! design decision here is that **no replay buffer exists**: the ten items before an event, its return and its kind are cut
//! from the log when a batch is drawn ([`Rows::batch`]), which costs microseconds and a few bytes an event.
//!
//! This crate defines the format, so it both writes ([`write()`]) and reads it; it knows nothing of polars or candle.

mod audit;
mod dataset;
mod error;
mod event;
pub mod fault;
mod files;
mod items;
mod lock;
mod manifest;
mod map;
mod returns;
mod rows;
mod staged;
mod windows;

pub use audit::{Audit, Bin, Leaks, Lengths, Overlap, Popularity, TopShare, Twins};
pub use dataset::{Arrays, Dataset, write};
pub use error::{Error, Result};
pub use event::{Kind, Split};
pub use files::{append_synced, read_at_most, sha256_hex, sweep, write_whole};
pub use items::ItemMap;
pub use lock::DirLock;
pub use manifest::{Counts, DatasetCounts, Draft, FileEntry, Manifest, Source, SourceFile};
pub use returns::{Discount, ReturnTable, Rewards, TABLE_STEPS, TableOver, given, returns};
pub use rows::{Batch, Next, ReturnRule, Rows};
pub use staged::{Staged, recover};
pub use windows::Windows;
