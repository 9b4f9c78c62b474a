//! Types of Parquet columns: which of them can be a session, a time, an item, a kind or a split.
//!
//! Polars is built without most of its types, since each adds to its build. A type outside of these
//! is read as the numbers or bytes that the file stores, with a [`Meaning`] for them.

use polars_parquet::parquet::schema::types::{
    GroupConvertedType, GroupLogicalType, PhysicalType, PrimitiveConvertedType,
    PrimitiveLogicalType, PrimitiveType,
};
use polars_parquet::read::ParquetType;

/// Meaning of a column's values beyond their type in the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Values as typed.
    #[default]
    Plain,
    /// Decimals: whole numbers, or bytes of one in two's complement, most significant first. The
    /// value is the number divided by 10 to the power of this scale.
    Decimal(usize),
    /// Sixteen bytes that stand for a UUID.
    Uuid,
    /// Times of 96 bits, of which polars makes nanoseconds of 64 bits, and the largest of these if
    /// they do not fit.
    Int96,
}

/// Returns the column as polars is to read it, and the meaning of its values, or of its lists'
/// elements. The error is the name of a type that can be in no role.
pub(crate) fn readable(column: &ParquetType) -> Result<(ParquetType, Meaning), String> {
    let mut column = column.clone();
    let Some(leaf) = leaf(&mut column) else {
        return Err(name(&column));
    };
    let scale = match (leaf.logical_type, leaf.converted_type) {
        (Some(PrimitiveLogicalType::Decimal(_, scale)), _) => Some(scale),
        (None, Some(PrimitiveConvertedType::Decimal(_, scale))) => Some(scale),
        _ => None,
    };
    if let Some(scale) = scale {
        (leaf.logical_type, leaf.converted_type) = (None, None);
        return Ok((column, Meaning::Decimal(scale)));
    }
    if let Some(name) = unreadable(leaf) {
        return Err(name.into());
    }
    let meaning = match leaf.physical_type {
        PhysicalType::FixedLenByteArray(16) => Meaning::Uuid,
        PhysicalType::Int96 => Meaning::Int96,
        _ => Meaning::Plain,
    };
    Ok((column, meaning))
}

/// Name of a type of values that can be in no role.
fn unreadable(leaf: &PrimitiveType) -> Option<&'static str> {
    use PrimitiveConvertedType as Converted;
    use PrimitiveLogicalType as Logical;
    match (leaf.logical_type, leaf.converted_type) {
        (Some(Logical::Time { .. }), _)
        | (_, Some(Converted::TimeMillis | Converted::TimeMicros)) => Some("time of day"),
        (Some(Logical::Float16), _) => Some("float16"),
        (Some(Logical::Json), _) | (_, Some(Converted::Json)) => Some("JSON"),
        (Some(Logical::Bson), _) | (_, Some(Converted::Bson)) => Some("BSON"),
        (_, Some(Converted::Interval)) => Some("interval"),
        _ => None,
    }
}

/// The primitive type of a column of values, or of lists of values.
fn leaf(column: &mut ParquetType) -> Option<&mut PrimitiveType> {
    match column {
        ParquetType::PrimitiveType(leaf) => Some(leaf),
        ParquetType::GroupType {
            logical_type,
            converted_type,
            fields,
            ..
        } => {
            let is_list = *logical_type == Some(GroupLogicalType::List)
                || *converted_type == Some(GroupConvertedType::List);
            let [repeated] = fields.as_mut_slice() else {
                return None;
            };
            match repeated {
                _ if !is_list => None,
                // Lists of two levels, as old writers made them.
                ParquetType::PrimitiveType(leaf) => Some(leaf),
                ParquetType::GroupType { fields, .. } => match fields.as_mut_slice() {
                    [ParquetType::PrimitiveType(leaf)] => Some(leaf),
                    _ => None,
                },
            }
        }
    }
}

/// Name of a type that is neither of values nor of lists of values.
fn name(column: &ParquetType) -> String {
    let ParquetType::GroupType {
        logical_type,
        converted_type,
        fields,
        ..
    } = column
    else {
        return "value".into();
    };
    match (logical_type, converted_type) {
        (Some(GroupLogicalType::Map), _) | (None, Some(GroupConvertedType::Map)) => "map".into(),
        (Some(GroupLogicalType::List), _) | (None, Some(GroupConvertedType::List)) => {
            "list of lists or structs".into()
        }
        _ => {
            let names: Vec<&str> = fields.iter().map(ParquetType::name).collect();
            format!("struct ({})", names.join(", "))
        }
    }
}
