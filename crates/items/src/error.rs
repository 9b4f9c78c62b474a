//! Errors of tables, filters and changes.

use crate::store::ChangeStoreError;

/// A filter that the items cannot be filtered by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The filter is no object of conditions.
    #[error("where: expected {expected}, found {found}")]
    Form {
        /// Expected form.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// A condition is of no known form.
    #[error("where.{column}: expected {expected}, found {found}")]
    Condition {
        /// Column of the condition.
        column: String,
        /// Expected value.
        expected: String,
        /// What was found.
        found: String,
    },
    /// The items have no such column.
    #[error("{place}: the items have no column {column:?}; {}", known(columns))]
    UnknownColumn {
        /// Field of the request.
        place: &'static str,
        /// The column.
        column: String,
        /// Columns of the items.
        columns: Vec<String>,
    },
}

/// A change of an item's properties that is refused.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The item is neither in the catalogue nor in the table.
    #[error("item {item:?} is neither in the catalogue nor in the table of items")]
    UnknownItem {
        /// Raw item id.
        item: String,
    },
    /// The items have no such column.
    #[error(
        "item {item:?}: the items have no column {column:?}; {}",
        known(columns)
    )]
    UnknownColumn {
        /// Raw item id.
        item: String,
        /// The column.
        column: String,
        /// Columns of the items.
        columns: Vec<String>,
    },
    /// A value is not of its column's type.
    #[error("item {item:?}: {column}: expected {expected} or null, found {found}")]
    Type {
        /// Raw item id.
        item: String,
        /// The column.
        column: String,
        /// Expected value.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// The change cannot be stored; nothing has changed.
    #[error(transparent)]
    Store(#[from] ChangeStoreError),
}

/// Rows that make no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A column cannot be one of a table.
    #[error("column {column:?} {what}")]
    Column {
        /// Name of the column.
        column: String,
        /// What is wrong with it.
        what: String,
    },
    /// There are too many items, values or bytes of text.
    #[error("too many {what} for a table of items; at most {most}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// Maximum number.
        most: u64,
    },
}

/// A file that is no table of items.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The content is damaged.
    #[error("no table of item properties: {0}")]
    Damaged(String),
    /// The version is not supported.
    #[error("item properties of version {found}, this build reads {supported}")]
    Version {
        /// Version of the file.
        found: u64,
        /// Version that this build reads.
        supported: u64,
    },
}

/// The columns of the items, in the words of a hint.
fn known(columns: &[String]) -> String {
    if columns.is_empty() {
        return "they have none; give --items FILE to `prl prepare`".into();
    }
    format!("they have {}", columns.join(", "))
}
