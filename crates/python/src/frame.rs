//! Frames between Python and polars, by the Arrow PyCapsule interface: no copy of the columns that
//! both sides lay out alike.

use std::ffi::CStr;

use polars::prelude::*;
use polars_arrow::array::StructArray;
use polars_arrow::datatypes::Field as ArrowField;
use polars_arrow::ffi::{self, ArrowArrayStream, ArrowArrayStreamReader};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict, PyList};

use crate::errors::bad_data;

/// Name of the capsules of Arrow streams.
const STREAM: &CStr = c"arrow_array_stream";

/// A frame of Arrow columns. Any library that reads Arrow streams takes it: `polars.DataFrame(f)`,
/// `pyarrow.table(f)`, `pandas.DataFrame.from_arrow(f)`.
#[pyclass(frozen, module = "prl._prl")]
pub struct Frame(pub DataFrame);

#[pymethods]
impl Frame {
    /// Reads an object that gives an Arrow stream of rows.
    #[new]
    fn new(source: &Bound<'_, PyAny>) -> PyResult<Self> {
        let capsule = source.call_method0("__arrow_c_stream__")?;
        let capsule = capsule.cast::<PyCapsule>()?;
        let read = read(capsule)?;
        let frame = read.map_err(|error| bad_data(source.py(), &format!("frame: {error}")))?;
        Ok(Self(frame))
    }

    /// The rows as an Arrow stream.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // The interface lets a producer ignore what is requested.
        _ = requested_schema;
        PyCapsule::new_with_value(py, write(&self.0), STREAM)
    }

    /// A frame of columns that are lists of integers, numbers or texts, or of lists of them; for a
    /// process without a library of frames.
    #[staticmethod]
    fn from_columns(columns: &Bound<'_, PyDict>) -> PyResult<Self> {
        let (mut made, mut rows) = (Vec::new(), 0);
        for (name, values) in columns {
            let column = column(&name.extract::<String>()?, &values)?;
            rows = column.len();
            made.push(column);
        }
        let frame = DataFrame::new(rows, made);
        let frame = frame.map_err(|error| bad_data(columns.py(), &format!("frame: {error}")))?;
        Ok(Self(frame))
    }

    /// The columns as lists, by name.
    fn to_columns<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let columns = PyDict::new(py);
        for column in self.0.columns() {
            let values = list(py, column);
            let values = values.map_err(|error| bad_data(py, &format!("frame: {error}")))?;
            columns.set_item(column.name().as_str(), values?)?;
        }
        Ok(columns)
    }

    fn __len__(&self) -> usize {
        self.0.height()
    }

    /// Names of the columns.
    #[getter]
    fn columns(&self) -> Vec<String> {
        let names = self.0.get_column_names();
        names.into_iter().map(|name| name.to_string()).collect()
    }
}

impl Frame {
    /// The frame for a query.
    pub fn lazy(&self) -> LazyFrame {
        self.0.clone().lazy()
    }
}

/// Reads the stream of a capsule, which is then empty. The producer may run Python code.
#[allow(unsafe_code)]
fn read(capsule: &Bound<'_, PyCapsule>) -> PyResult<PolarsResult<DataFrame>> {
    let stream = capsule
        .pointer_checked(Some(STREAM))?
        .cast::<ArrowArrayStream>();
    // SAFETY: a capsule of this name holds such a stream by the PyCapsule interface. Replaced by an
    // empty one, it is released once, by its new owner.
    let stream = unsafe { std::ptr::replace(stream.as_ptr(), ArrowArrayStream::empty()) };
    // SAFETY: the stream obeys the C stream interface, as its capsule's name says.
    let reader = unsafe { ArrowArrayStreamReader::try_new(Box::new(stream)) };
    Ok(reader.and_then(collect))
}

/// Collects the columns of a stream of structs.
#[allow(unsafe_code)]
fn collect(mut reader: ArrowArrayStreamReader<Box<ArrowArrayStream>>) -> PolarsResult<DataFrame> {
    let ArrowDataType::Struct(fields) = reader.field().dtype().clone() else {
        polars_bail!(InvalidOperation: "the Arrow stream has no columns; give a table");
    };
    let mut chunks: Vec<Vec<ArrayRef>> = vec![Vec::new(); fields.len()];
    let mut rows = 0;
    // SAFETY: the stream obeys the C stream interface; see `read`.
    while let Some(array) = unsafe { reader.next() } {
        let array = array?;
        let Some(batch) = array.as_any().downcast_ref::<StructArray>() else {
            polars_bail!(InvalidOperation: "the Arrow stream has a batch without columns");
        };
        rows += batch.len();
        for (chunks, values) in chunks.iter_mut().zip(batch.values()) {
            chunks.push(values.clone());
        }
    }
    let mut columns = Vec::with_capacity(fields.len());
    for (field, chunks) in fields.iter().zip(chunks) {
        let mut chunks = chunks;
        if chunks.is_empty() {
            chunks.push(polars_arrow::array::new_empty_array(field.dtype.clone()));
        }
        let series = Series::try_from((field, chunks))?;
        columns.push(series.into_column());
    }
    DataFrame::new(rows, columns)
}

/// The rows of a frame as a stream of one batch.
fn write(frame: &DataFrame) -> ArrowArrayStream {
    // Strings with offsets, which every consumer knows.
    let level = CompatLevel::oldest();
    let (mut fields, mut values) = (Vec::new(), Vec::new());
    for column in frame.columns() {
        let series = column.as_materialized_series().rechunk();
        let array = series.to_arrow(0, level);
        fields.push(ArrowField::new(
            column.name().clone(),
            array.dtype().clone(),
            true,
        ));
        values.push(array);
    }
    let dtype = ArrowDataType::Struct(fields);
    let batch = StructArray::new(dtype.clone(), frame.height(), values, None);
    let batches = std::iter::once(Ok(batch.boxed()));
    let field = ArrowField::new(PlSmallStr::EMPTY, dtype, false);
    ffi::export_iterator(Box::new(batches), field)
}

/// A column of a list's values.
fn column(name: &str, values: &Bound<'_, PyAny>) -> PyResult<Column> {
    let name = PlSmallStr::from_str(name);
    if let Ok(values) = values.extract::<Vec<Option<i64>>>() {
        return Ok(Column::new(name, values));
    }
    if let Ok(values) = values.extract::<Vec<Option<f64>>>() {
        return Ok(Column::new(name, values));
    }
    if let Ok(values) = values.extract::<Vec<Option<String>>>() {
        return Ok(Column::new(name, values));
    }
    if let Ok(lists) = values.extract::<Vec<Vec<i64>>>() {
        return Ok(lists_column(name, lists, Series::from_vec));
    }
    if let Ok(lists) = values.extract::<Vec<Vec<String>>>() {
        return Ok(lists_column(name, lists, Series::new));
    }
    let what =
        format!("column {name} holds other values than integers, numbers, texts or lists of them");
    Err(bad_data(values.py(), &what))
}

fn lists_column<T>(
    name: PlSmallStr,
    lists: Vec<Vec<T>>,
    series: fn(PlSmallStr, Vec<T>) -> Series,
) -> Column {
    let mut rows = Vec::with_capacity(lists.len());
    for list in lists {
        rows.push(series(PlSmallStr::EMPTY, list));
    }
    Column::new(name, rows)
}

/// The values of a column as a Python list.
fn list<'py>(py: Python<'py>, column: &Column) -> PolarsResult<PyResult<Bound<'py, PyList>>> {
    Ok(match column.dtype() {
        DataType::String => PyList::new(py, column.str()?.iter()),
        DataType::Boolean => PyList::new(py, column.bool()?.iter()),
        DataType::Float32 => PyList::new(py, column.f32()?.iter()),
        DataType::Float64 => PyList::new(py, column.f64()?.iter()),
        _ => PyList::new(py, column.cast(&DataType::Int64)?.i64()?.iter()),
    })
}
