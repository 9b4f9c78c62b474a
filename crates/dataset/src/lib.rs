//! The prepared dataset, and the examples cut from it.
//!
//! A prepared dataset is a directory of flat arrays ([`Dataset`]) with an item map ([`ItemMap`])
//! and a [`Manifest`]. It is mapped into memory and never copied: a session is a slice of items, a
//! training example is a position in it. **No replay buffer exists**: the window of items before an
//! event, its return and its kind are cut from the log when a batch is drawn
//! ([`SplitExamples::batch`]), which costs microseconds a batch and a few bytes an event.
//!
//! The crate defines the format: it writes ([`write()`]) and reads it. It depends on neither polars
//! nor candle.

mod audit;
mod dataset;
mod error;
mod event;
mod examples;
mod items;
mod manifest;
mod return_table;
mod returns;
mod windows;

pub use audit::{Audit, Bin, DuplicateSessions, Leaks, Lengths, Overlap, Popularity, TopShare};
pub use dataset::{Arrays, Dataset, write};
pub use error::{Error, Result};
pub use event::{Kind, Split};
pub use examples::{NextStates, ReturnRule, SplitExamples, WindowBatch};
pub use items::ItemMap;
pub use manifest::{Counts, DatasetCounts, Manifest, ManifestInput, Source, SourceFile};
pub use return_table::{ReturnStatsSplit, ReturnTable, TABLE_STEPS};
pub use returns::{Discount, Rewards, return_so_far, returns};
pub use windows::Windows;
