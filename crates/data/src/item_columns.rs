//! Columns of a file of item properties: that of the ids, and those of the values.

use std::path::Path;

use prl_items::{BuildError, RawValue, TableBuilder};

use crate::error::{Error, Place, Result};

/// Names of the column of item ids, the likeliest first, without case, blanks and underscores.
const ID_NAMES: [&str; 9] = [
    "itemid",
    "productid",
    "articleid",
    "item",
    "sku",
    "id",
    "parentasin",
    "asin",
    "product",
];
/// Hint for a file without such a column.
const HINT: &str = "name the column of the item ids with --items-id";

/// Position of the column of item ids.
pub(crate) fn id_column(path: &Path, names: &[String], wanted: Option<&str>) -> Result<usize> {
    let found = match wanted {
        Some(wanted) => names.iter().position(|name| name == wanted),
        None => ID_NAMES.iter().find_map(|id| {
            let mut names = names.iter();
            names.position(|name| plain(name) == *id)
        }),
    };
    found.ok_or_else(|| Error::MissingColumn {
        path: path.to_owned(),
        column: wanted.unwrap_or("item_id").to_owned(),
        found: names.to_vec(),
        mend: HINT,
    })
}

/// A name in lower case without what divides words.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
    letters.collect::<String>().to_lowercase()
}

/// Rows of item properties from files whose columns may differ.
pub(crate) struct ItemRows {
    builder: TableBuilder,
    columns: usize,
}

impl ItemRows {
    pub(crate) fn new() -> Result<Self> {
        let none: [&str; 0] = [];
        let builder = TableBuilder::new(none).map_err(|e| Error::Options(e.to_string()))?;
        let columns = 0;
        Ok(Self { builder, columns })
    }

    /// The number of a column in the rows.
    pub(crate) fn column(&mut self, path: &Path, name: &str) -> Result<usize> {
        let at = self.builder.column(name).map_err(|e| unfit(path, &e))?;
        self.columns = self.columns.max(at + 1);
        Ok(at)
    }

    /// Adds the row at a place of a file: its values with the numbers of their columns.
    pub(crate) fn push(
        &mut self,
        (path, place, column): (&Path, Place, &str),
        id: Option<&str>,
        values: &[(usize, RawValue<'_>)],
    ) -> Result<()> {
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return Err(Error::Cell {
                path: path.to_owned(),
                place,
                column: column.to_owned(),
                found: String::new(),
                expected: "an item id".into(),
            });
        };
        let mut row = vec![RawValue::None; self.columns];
        for (at, value) in values {
            row[*at] = *value;
        }
        self.builder.push(id, row).map_err(|e| unfit(path, &e))
    }

    pub(crate) fn into_builder(self) -> TableBuilder {
        self.builder
    }
}

pub(crate) fn unfit(path: &Path, error: &BuildError) -> Error {
    Error::file(path, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_column_is_found_by_its_usual_names() {
        let find = |names: &[&str], wanted| {
            let mut owned = Vec::new();
            for name in names {
                owned.push((*name).to_owned());
            }
            id_column(Path::new("f"), &owned, wanted)
        };
        assert_eq!(find(&["id", "Item ID"], None).unwrap(), 1);
        assert_eq!(find(&["name", "ID"], None).unwrap(), 1);
        assert_eq!(find(&["name", "id"], Some("name")).unwrap(), 0);
        let missing = find(&["a", "b"], None).unwrap_err().to_string();
        assert!(missing.contains("--items-id"), "{missing}");
        assert!(find(&["a", "b"], Some("c")).is_err());
    }
}
