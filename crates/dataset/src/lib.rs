//! The prepared dataset, and the examples cut from it.
//!
//! A prepared dataset is a directory of flat arrays ([`Dataset`]) with an item map ([`ItemMap`])
//! and a [`Manifest`]. It is mapped into memory and never copied: a session is a slice of items, a
//! training example is a position in it. **No replay buffer exists**: the window of items before an
//! event, its return and its kind are cut from the log when a batch is drawn
//! ([`SplitExamples::batch`]), which costs microseconds a batch and a few bytes an event.
//!
//! ```
//! use prl_dataset::{
//!     Arrays, Dataset, ItemMap, Kind, ManifestInput, Split, SplitExamples, write,
//! };
//!
//! # fn main() -> prl_dataset::Result<()> {
//! # let tmp = tempfile::tempdir().unwrap();
//! let dir = tmp.path().join("prepared");
//! // One session: items "a", "b", "a".
//! let arrays = Arrays {
//!     offsets: vec![0, 3],
//!     items: vec![0, 1, 0],
//!     kinds: vec![Kind::Click, Kind::Click, Kind::Purchase],
//!     times: vec![0, 1_000, 2_000],
//!     splits: vec![Split::Train; 3],
//! };
//! write(&dir, &arrays, &ItemMap::new(["a", "b"])?, ManifestInput::default())?;
//!
//! let data = Dataset::open(&dir)?;
//! let train = SplitExamples::new(&data, Split::Train, false);
//! let batch = train.batch([2], 4, None); // the purchase, in a window of length 4
//! assert_eq!(batch.windows.items, [0, 1, 2, 2]); // 2 is the pad id
//! assert_eq!((batch.targets[0], batch.kinds[0]), (0, Kind::Purchase));
//! # Ok(())
//! # }
//! ```
//!
//! The crate defines the format: it writes ([`write()`]) and reads it. It depends on neither polars
//! nor candle.

mod audit;
mod dataset;
mod details;
mod enum_slice;
mod error;
mod event;
mod examples;
mod items;
mod manifest;
mod permutation;
mod plausibility;
mod purchase_counts;
mod return_table;
mod returns;
mod windows;
mod writer;

pub use audit::{Audit, Bin, DuplicateSessions, Leaks, Lengths, Overlap, Popularity, TopShare};
pub use dataset::{Arrays, Dataset};
pub use details::{EventDetails, EventKind, EventRewards};
pub use enum_slice::EnumSlice;
pub use error::{Error, Result};
pub use event::{Event, Kind, Split};
pub use examples::{
    HeldOut, NextStates, ReturnRule, Sequences, SessionBatches, SessionRows, SplitExamples,
    WindowBatch,
};
pub use items::ItemMap;
pub use manifest::{
    Counts, DatasetCounts, ItemProperties, KeptLog, Manifest, ManifestInput, PropertiesOrigin,
    Source, SourceFile,
};
pub use plausibility::{Plausibility, Repeats, Warning};
pub use prl_fs::FileEntry;
pub use purchase_counts::PurchaseCounts;
pub use return_table::{ReturnStatsSplit, ReturnTable, TABLE_STEPS};
pub use returns::{Discount, Rewards, discounted_returns, return_so_far, returns};
pub use windows::Windows;
pub use writer::{DatasetWriter, LOG_FILE, LogToKeep, PROPERTIES_FILE, PropertiesToKeep, write};
