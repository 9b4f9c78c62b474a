//! The file of a table: one safetensors file with a description of the columns.

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::error::FileError;
use crate::strings::Strings;
use crate::table::{Column, ColumnData, ItemTable, NO_BOOL, NO_CODE};
use crate::value::ColumnType;

/// Format name in every file.
const FORMAT: &str = "prl-items";
/// Version that is written, and the latest that is read.
const VERSION: u64 = 1;
/// Maximum size of a file in bytes.
pub const MAX_ITEMS_FILE: u64 = 64 << 30;

const SCHEMA: &str = "schema";
const OTHERS: &str = "others";

/// Description of a table, stored as JSON.
#[derive(Serialize, Deserialize)]
struct Schema {
    format: String,
    version: u64,
    catalogue: u32,
    columns: Vec<SchemaColumn>,
}

#[derive(Serialize, Deserialize)]
struct SchemaColumn {
    name: String,
    #[serde(rename = "type")]
    column_type: ColumnType,
}

type Tensors<'a> = Vec<(String, TensorView<'a>)>;

impl ItemTable {
    /// The content of the table's file. Equal tables give equal bytes.
    ///
    /// # Errors
    /// [`FileError`] if safetensors refuses the arrays.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FileError> {
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            columns.push(SchemaColumn {
                name: column.name.clone(),
                column_type: column.column_type(),
            });
        }
        let schema = Schema {
            format: FORMAT.into(),
            version: VERSION,
            catalogue: self.catalogue,
            columns,
        };
        let schema = serde_json::to_vec(&schema).map_err(damaged)?;
        let mut tensors = vec![(SCHEMA.to_owned(), bytes(&schema)?)];
        add_strings(&mut tensors, OTHERS, &self.others)?;
        for (at, column) in self.columns.iter().enumerate() {
            match &column.data {
                ColumnData::Text { values, codes } => {
                    add_strings(&mut tensors, &at.to_string(), values)?;
                    tensors.push((format!("{at}.codes"), view(Dtype::U32, codes)?));
                }
                ColumnData::List {
                    values,
                    offsets,
                    codes,
                } => {
                    add_strings(&mut tensors, &at.to_string(), values)?;
                    tensors.push((format!("{at}.rows"), view(Dtype::U32, offsets)?));
                    tensors.push((format!("{at}.codes"), view(Dtype::U32, codes)?));
                }
                ColumnData::Number(numbers) => {
                    tensors.push((format!("{at}.numbers"), view(Dtype::F64, numbers)?));
                }
                ColumnData::Bool(bools) => {
                    tensors.push((format!("{at}.bools"), bytes(bools)?));
                }
            }
        }
        safetensors::serialize(tensors, None).map_err(damaged)
    }

    /// Reads the content of a file; every value of the result is one that a reader can rely on.
    ///
    /// # Errors
    /// [`FileError`] if it is damaged, or of a later version.
    pub fn from_bytes(content: &[u8]) -> Result<Self, FileError> {
        let tensors = Stored(SafeTensors::deserialize(content).map_err(damaged)?);
        let schema: Schema = serde_json::from_slice(tensors.bytes(SCHEMA)?).map_err(damaged)?;
        if schema.format != FORMAT {
            return Err(damaged(format!("of format {:?}", schema.format)));
        }
        if schema.version != VERSION {
            return Err(FileError::Version {
                found: schema.version,
                supported: VERSION,
            });
        }
        let mut table = Self {
            catalogue: schema.catalogue,
            others: tensors.strings(OTHERS)?,
            columns: Vec::with_capacity(schema.columns.len()),
        };
        let rows = table.rows();
        if u32::try_from(rows).is_err() {
            return Err(damaged(format!("{rows} items")));
        }
        for (at, SchemaColumn { name, column_type }) in schema.columns.into_iter().enumerate() {
            let data = match column_type {
                ColumnType::Text => tensors.texts(at)?,
                ColumnType::List => tensors.lists(at)?,
                ColumnType::Number => {
                    ColumnData::Number(tensors.array(&format!("{at}.numbers"), Dtype::F64)?)
                }
                ColumnType::Bool => {
                    let bools = tensors.bytes(&format!("{at}.bools"))?.to_vec();
                    if bools.iter().any(|&value| value > NO_BOOL) {
                        return Err(damaged(format!("column {name:?} holds no truth values")));
                    }
                    ColumnData::Bool(bools)
                }
            };
            let found = match &data {
                ColumnData::Text { codes, .. } => codes.len(),
                ColumnData::List { offsets, .. } => offsets.len().saturating_sub(1),
                ColumnData::Number(numbers) => numbers.len(),
                ColumnData::Bool(bools) => bools.len(),
            };
            if found != rows {
                return Err(damaged(format!(
                    "column {name:?} has {found} values for {rows} items"
                )));
            }
            table.columns.push(Column { name, data });
        }
        Ok(table)
    }
}

/// Stored arrays.
struct Stored<'a>(SafeTensors<'a>);

impl Stored<'_> {
    fn bytes(&self, name: &str) -> Result<&[u8], FileError> {
        let view = self.0.tensor(name).map_err(damaged)?;
        if view.dtype() != Dtype::U8 {
            return Err(damaged(format!("{name} has type {:?}", view.dtype())));
        }
        Ok(view.data())
    }

    fn array<T: bytemuck::Pod>(&self, name: &str, dtype: Dtype) -> Result<Vec<T>, FileError> {
        let view = self.0.tensor(name).map_err(damaged)?;
        if view.dtype() != dtype {
            return Err(damaged(format!("{name} has type {:?}", view.dtype())));
        }
        Ok(bytemuck::pod_collect_to_vec(view.data()))
    }

    fn strings(&self, name: &str) -> Result<Strings, FileError> {
        let bytes = self.bytes(&format!("{name}.text"))?.to_vec();
        let offsets = self.array(&format!("{name}.offsets"), Dtype::U64)?;
        Strings::of_sorted_parts(bytes, offsets).ok_or_else(|| {
            damaged(format!(
                "the texts of {name} are not distinct texts in order"
            ))
        })
    }

    fn texts(&self, at: usize) -> Result<ColumnData, FileError> {
        let values = self.strings(&at.to_string())?;
        let codes: Vec<u32> = self.array(&format!("{at}.codes"), Dtype::U32)?;
        let is_known = |&code: &u32| code == NO_CODE || (code as usize) < values.len();
        if !codes.iter().all(is_known) {
            return Err(damaged(format!("column {at} names texts that it has not")));
        }
        Ok(ColumnData::Text { values, codes })
    }

    fn lists(&self, at: usize) -> Result<ColumnData, FileError> {
        let values = self.strings(&at.to_string())?;
        let codes: Vec<u32> = self.array(&format!("{at}.codes"), Dtype::U32)?;
        let offsets: Vec<u32> = self.array(&format!("{at}.rows"), Dtype::U32)?;
        let spans = offsets.first() == Some(&0)
            && offsets.last().copied() == u32::try_from(codes.len()).ok()
            && offsets.is_sorted();
        if !spans || codes.iter().any(|&code| code as usize >= values.len()) {
            return Err(damaged(format!("column {at} names texts that it has not")));
        }
        Ok(ColumnData::List {
            values,
            offsets,
            codes,
        })
    }
}

fn damaged(what: impl std::fmt::Display) -> FileError {
    FileError::Damaged(what.to_string())
}

fn view<T: bytemuck::NoUninit>(dtype: Dtype, values: &[T]) -> Result<TensorView<'_>, FileError> {
    TensorView::new(dtype, vec![values.len()], bytemuck::cast_slice(values)).map_err(damaged)
}

fn bytes(values: &[u8]) -> Result<TensorView<'_>, FileError> {
    view(Dtype::U8, values)
}

fn add_strings<'a>(
    tensors: &mut Tensors<'a>,
    name: &str,
    strings: &'a Strings,
) -> Result<(), FileError> {
    tensors.push((format!("{name}.text"), bytes(strings.bytes())?));
    tensors.push((
        format!("{name}.offsets"),
        view(Dtype::U64, strings.offsets())?,
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::{RawValue, TableBuilder};

    fn table() -> ItemTable {
        let mut rows = TableBuilder::new(["title", "tags", "price", "new"]).unwrap();
        let list: &[&str] = &["ü", "a"];
        for (id, price) in [("a", 1.5), ("x", 2.0), ("c", f64::NAN)] {
            let values = [
                RawValue::Text(id),
                RawValue::List(list),
                RawValue::Number(price),
                RawValue::Bool(id == "a"),
            ];
            rows.push(id, values).unwrap();
        }
        rows.finish(["a", "b", "c"]).unwrap().0
    }

    #[test]
    fn table_survives_write_and_read_with_equal_bytes() {
        let table = table();
        let bytes = table.to_bytes().unwrap();
        let back = ItemTable::from_bytes(&bytes).unwrap();
        assert_eq!(back.to_bytes().unwrap(), bytes);
        assert_eq!(back.value(2, "price"), None);
        assert_eq!(
            back.value(0, "tags").unwrap().to_string(),
            "a, ü".to_owned()
        );
        assert_eq!(back.row("x", None), Some(3));
        let empty = ItemTable::empty(7);
        let read = ItemTable::from_bytes(&empty.to_bytes().unwrap()).unwrap();
        assert_eq!(read, empty);
    }

    #[test]
    fn damaged_file_is_refused_at_every_byte_or_read_without_a_panic() {
        let bytes = table().to_bytes().unwrap();
        for len in 0..bytes.len() {
            assert!(ItemTable::from_bytes(&bytes[..len]).is_err(), "{len}");
        }
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 0xff;
            if let Ok(table) = ItemTable::from_bytes(&other) {
                for row in 0..table.rows() as u32 {
                    for name in ["title", "tags", "price", "new"] {
                        table.value(row, name);
                    }
                }
                table.summaries();
            }
        }
    }

    #[test]
    fn later_version_is_refused_by_its_number() {
        let bytes = table().to_bytes().unwrap();
        let (old, new) = (br#""version":1"#, br#""version":9"#);
        let at = bytes.windows(old.len()).position(|w| w == old).unwrap();
        let mut later = bytes;
        later[at..at + new.len()].copy_from_slice(new);
        let refused = ItemTable::from_bytes(&later).unwrap_err().to_string();
        assert_eq!(refused, "item properties of version 9, this build reads 1");
    }
}
