//! Properties of items: a typed table beside the catalogue, filters over it, and live changes.
//!
//! [`ItemTable`] holds a value or none of each item in each column: text, lists of texts, numbers
//! and truth values. [`Where`] is a filter by those values. [`LiveItems`] answers it for the whole
//! catalogue as an [`ItemMask`], exactly, from indexes over the columns (bitmaps of the values,
//! sorted numbers), and under the changes that arrived since the table was made. A
//! [`ChangeStore`] makes those changes durable and shares them between servers.
//!
//! ```
//! use prl_items::{LiveItems, RawValue, TableBuilder, Where};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut rows = TableBuilder::new(["category", "price"])?;
//! rows.push("a", [RawValue::Text("shoes"), RawValue::Number(20.0)])?;
//! rows.push("b", [RawValue::Text("hats"), RawValue::Number(35.0)])?;
//! rows.push("c", [RawValue::Text("shoes"), RawValue::None])?;
//! let (table, _) = rows.finish(["a", "b", "c"])?;
//!
//! let items = LiveItems::new(table, "available");
//! let filter = Where::from_json(&serde_json::json!({"category": ["shoes"], "price": {"max": 50}}))?;
//! let mask = items.mask(&filter)?.unwrap();
//! assert_eq!((mask.count(), mask.contains(0)), (1, true));
//! # Ok(())
//! # }
//! ```

mod builder;
mod cache;
mod changes;
mod error;
mod file;
mod filter;
mod index;
mod live;
mod mask;
mod snapshot;
mod store;
mod strings;
mod table;
mod value;

pub use builder::{BuildReport, RawValue, TableBuilder};
pub use changes::ItemChanges;
pub use error::{BuildError, ChangeError, FileError, FilterError};
pub use file::MAX_ITEMS_FILE;
pub use filter::{Condition, Scalar, Where};
pub use live::LiveItems;
pub use mask::ItemMask;
pub use snapshot::Snapshot;
pub use store::{ChangeStore, ChangeStoreError, MemoryChangeStore, Since};
pub use table::{ColumnSummary, ItemTable};
pub use value::{ColumnType, Value};
