//! Tables in Parquet, read in slices of rows, so that memory does not grow with the file.

use std::fs::File;
use std::io::{Seek, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use polars::prelude::*;
use polars_io::SerReader;
use polars_io::parquet::metadata::FileMetadataRef;
use polars_io::parquet::read::{FileMetadata, ParquetReader};
use polars_parquet::parquet::metadata::SchemaDescriptor;
use polars_parquet::parquet::read::deserialize_metadata;
use polars_parquet::read::read_metadata;
use polars_parquet::read::schema::read_schema_from_metadata;
use prl_dataset::SourceFile;

use crate::columns::Columns;
use crate::error::{Error, Result};
use crate::footer::{self, Footer, TypeNames};
use crate::frame::FrameReader;
use crate::input::Input;
use crate::log::Log;
use crate::options::Table;
use crate::parquet_types::{Meaning, readable};
use crate::representation::due;
use crate::roles::{Role, Roles};
use crate::table_reader::Events;

/// Number of rows in a slice.
pub(crate) const SLICE: usize = 1 << 20;
const MAGIC: &[u8] = b"PAR1";
const ENCRYPTED: &[u8] = b"PARE";
const READ: usize = 1 << 20;

/// Reads the log of Parquet files with one mapping.
pub(crate) fn read(inputs: &[Input], table: &Table) -> Result<(Log, Vec<SourceFile>)> {
    let columns = table.mapping()?;
    let mut events = Events::new(table)?;
    let mut files = Vec::with_capacity(inputs.len());
    for input in inputs {
        let file = read_file(input, table, columns, &mut events)?;
        // Engines that partition by a hash leave some files empty; a single empty file is an error.
        if file.rows == 0 && inputs.len() == 1 {
            return Err(Error::file(&input.path, "the file holds no row"));
        }
        files.push(file);
    }
    let source = match inputs.first() {
        Some(input) => &input.path,
        None => Path::new(""),
    };
    let log = events.finish(source, table, columns)?;
    Ok((log, files))
}

fn read_file(
    input: &Input,
    table: &Table,
    columns: &Columns,
    events: &mut Events,
) -> Result<SourceFile> {
    let (mut file, mut described) = unpack(input)?;
    let mapped: Vec<&str> = columns.names().collect();
    let footer = match footer::read(&mut file, &mapped).map_err(Error::io(&input.path))? {
        Ok(Some(footer)) => footer,
        // The reader reports the fault at the end of the file.
        Ok(None) => {
            whole_metadata(input, &mut file)?;
            return Err(damaged(input, "its footer cannot be found"));
        }
        Err(what) => return Err(damaged(input, &what)),
    };
    let roles = match Roles::new(&input.path, &input.shared, &footer.names, columns) {
        Err(missing @ Error::MissingColumn { .. }) => {
            return Err(match whole_metadata(input, &mut file) {
                Ok(metadata) => with_types(missing, &metadata),
                Err(_) => missing,
            });
        }
        roles => roles?,
    };
    let (metadata, meanings) = mapped_columns(input, footer, &roles)?;
    let (rows, metadata) = (metadata.num_rows, Arc::new(metadata));
    let frames = FrameReader {
        source: &input.path,
        roles: &roles,
        meanings: &meanings,
        table,
    };
    for start in (0..rows).step_by(SLICE) {
        let slice = guarded(input, || read_slice(&file, &metadata, start))?;
        if slice.height() != SLICE.min(rows - start) {
            return Err(Error::file(
                &input.path,
                "holds fewer rows than it says; fetch the file again",
            ));
        }
        frames.take(&slice, start, events)?;
    }
    described.rows = rows as u64;
    Ok(described)
}

/// Metadata of all columns.
fn whole_metadata(input: &Input, file: &mut File) -> Result<FileMetadata> {
    guarded(input, || read_metadata(file))
}

/// Metadata of the mapped columns alone, with types that polars reads, and the meanings of the
/// columns.
fn mapped_columns(
    input: &Input,
    footer: Footer,
    roles: &Roles,
) -> Result<(FileMetadata, Vec<Meaning>)> {
    let of_arrow = types_of_arrow(footer.arrow);
    let reduced = footer.reduced;
    let mut metadata = guarded(input, || Ok(deserialize_metadata(reduced.into())?))?;
    let mut fields = metadata.schema().fields().to_vec();
    let mut meanings = Vec::new();
    for (position, (name, _)) in roles.columns().iter().enumerate() {
        let Some(field) = fields.iter_mut().find(|field| field.name() == name) else {
            return Err(damaged(input, "its footer contradicts itself"));
        };
        let mut special = footer.unknown.iter().chain(&of_arrow);
        let read = match special.find(|(column, _)| column == name) {
            Some((_, of_type)) => Err((*of_type).to_owned()),
            None => readable(field),
        };
        match read {
            Ok((read, meaning)) => {
                *field = read;
                meanings.push(meaning);
            }
            Err(of_type) => {
                let due = due(roles.role(position).unwrap_or(Role::Item));
                let why = format!("column {name:?} is of type {of_type}; expected {due}");
                return Err(Error::file(&input.path, why));
            }
        }
    }
    let name = metadata.schema().name().into();
    metadata.schema_descr = SchemaDescriptor::new(name, fields);
    Ok((metadata, meanings))
}

/// Columns whose types look like whole numbers or bytes without the schema of Arrow.
pub(crate) fn types_of_arrow(encoded: Option<String>) -> TypeNames {
    let mut types = Vec::new();
    let Some(encoded) = encoded else {
        return types;
    };
    let mut pairs = [("ARROW:schema".into(), encoded.into())]
        .into_iter()
        .collect();
    // A schema that cannot be read describes no mapped column.
    let read = catch_unwind(AssertUnwindSafe(|| read_schema_from_metadata(&mut pairs)));
    let Ok(Ok(Some(schema))) = read else {
        return types;
    };
    for (name, field) in schema.iter() {
        match field.dtype() {
            ArrowDataType::Duration(_) => types.push((name.to_string(), "duration")),
            ArrowDataType::Int128 | ArrowDataType::UInt128 => {
                types.push((name.to_string(), "128-bit integer"));
            }
            _ => {}
        }
    }
    types
}

/// The error of a missing column with the fields of the file's structs.
fn with_types(error: Error, metadata: &FileMetadata) -> Error {
    let Error::MissingColumn {
        path, column, mend, ..
    } = error
    else {
        return error;
    };
    let mut found = Vec::new();
    for field in metadata.schema().fields() {
        let name = field.name();
        match readable(field) {
            Err(of_type) if of_type.starts_with("struct") => {
                found.push(format!("{name}: {of_type}, to be flattened first"));
            }
            _ => found.push(name.to_owned()),
        }
    }
    Error::MissingColumn {
        path,
        column,
        found,
        mend,
    }
}

pub(crate) fn read_slice(
    file: &File,
    metadata: &FileMetadataRef,
    start: usize,
) -> PolarsResult<DataFrame> {
    let mut reader = ParquetReader::new(file.try_clone()?);
    reader.set_metadata(metadata.clone());
    reader.with_slice(Some((start, SLICE))).finish()
}

/// Opens the file as plain Parquet; returns it and its manifest entry as stored. Parquet needs
/// seeking, so a file that is compressed as a whole is decompressed to a temporary file, which the
/// system removes when it is closed.
pub(crate) fn unpack(input: &Input) -> Result<(File, SourceFile)> {
    let mut stream = input.open()?;
    let mut unpacked = match stream.is_seekable() {
        true => None,
        false => Some(tempfile::tempfile().map_err(Error::io(&input.path))?),
    };
    let (mut buffer, mut head, mut size) = (Vec::new(), Vec::new(), 0);
    while stream.read_into(&mut buffer, READ)? > 0 {
        if size == 0 {
            head = buffer[..buffer.len().min(MAGIC.len())].to_vec();
        }
        size += buffer.len();
        if let Some(file) = &mut unpacked {
            file.write_all(&buffer).map_err(Error::io(&input.path))?;
        }
        buffer.clear();
    }
    match size {
        0 => return Err(Error::file(&input.path, "the file is empty")),
        _ if head == ENCRYPTED => {
            return Err(Error::file(
                &input.path,
                "this Parquet file is encrypted; decrypt it first",
            ));
        }
        _ if head != MAGIC => {
            return Err(Error::file(
                &input.path,
                "this is no Parquet file; for delimited text use --source csv",
            ));
        }
        _ => {}
    }
    let file = match unpacked {
        Some(mut file) => {
            file.rewind().map_err(Error::io(&input.path))?;
            file
        }
        None => File::open(&input.path).map_err(Error::io(&input.path))?,
    };
    Ok((file, stream.finish(0)))
}

/// Runs a reader that panics on some damaged files, and turns the panic into an error.
pub(crate) fn guarded<T>(input: &Input, read: impl FnOnce() -> PolarsResult<T>) -> Result<T> {
    let error = match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(read)) => return Ok(read),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "its pages contradict its metadata".into(),
    };
    // Texts of the reader for what it lacks.
    const LACKS: [&str; 3] = ["Not yet supported", "not implemented", "needs to be active"];
    for lacks in LACKS {
        if error.contains(lacks) {
            let why = format!(
                "Parquet of a kind that is not read ({error}); write the file in another way"
            );
            return Err(Error::file(&input.path, why));
        }
    }
    Err(damaged(input, &error))
}

pub(crate) fn damaged(input: &Input, why: &str) -> Error {
    Error::file(
        &input.path,
        format!("damaged Parquet ({why}); fetch the file again"),
    )
}
