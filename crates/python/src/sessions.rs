//! Sessions of a frame: one event a row, or one session a row.

use polars::prelude::*;
use prl_dataset::Kind;
use prl_runs::{Id, RequestFields};
use rayon::prelude::*;

/// Why a frame holds no sessions.
type Problem = String;

/// The sessions of a frame, with the row of each one's name.
pub struct Sessions {
    /// A request for each session, in the order of their first rows.
    pub requests: Vec<RequestFields>,
    /// The names, in the type of the frame's column.
    pub names: Column,
    /// Whether the items are integers.
    pub has_integer_items: bool,
}

/// Reads the sessions of a frame. Columns: `session`, and `item` for one event a row (with
/// `kind`, and `time` or the order of the rows) or `items` for one session a row, as lists (with
/// `kinds`).
pub fn read(frame: &DataFrame) -> Result<Sessions, Problem> {
    let names = column(frame, "session")?;
    let keys = ids(names, "session")?;
    match (frame.column("item"), frame.column("items")) {
        (Ok(item), Err(_)) => of_events(frame, names, &keys, item),
        (Err(_), Ok(items)) => of_lists(frame, names, items),
        (Ok(_), Ok(_)) => Err("the frame has the columns item and items; give one of them".into()),
        (Err(_), Err(_)) => Err(missing(frame, "item (one event a row) or items (lists)")),
    }
}

fn column<'a>(frame: &'a DataFrame, name: &str) -> Result<&'a Column, Problem> {
    frame.column(name).map_err(|_| missing(frame, name))
}

fn missing(frame: &DataFrame, what: &str) -> Problem {
    let names: Vec<&str> = frame
        .get_column_names()
        .into_iter()
        .map(|n| n.as_str())
        .collect();
    let names = names.join(", ");
    format!("the frame has no column {what} but {names}; rename one, or name it in columns=")
}

/// The values of a column of ids as text.
fn ids(column: &Column, name: &str) -> Result<StringChunked, Problem> {
    let dtype = column.dtype();
    if dtype.is_float() {
        return Err(format!(
            "column {name} holds {dtype}; ids are integers or text: convert it, such as by \
             .astype(\"int64\")"
        ));
    }
    if !(dtype.is_integer() || dtype.is_string() || dtype.is_categorical() || dtype.is_enum()) {
        return Err(format!(
            "column {name} holds {dtype}; ids are integers or text"
        ));
    }
    let text = column
        .cast(&DataType::String)
        .map_err(|e| format!("column {name}: {e}"))?;
    let text = text
        .str()
        .map_err(|e| format!("column {name}: {e}"))?
        .clone();
    if let Some(row) = text.iter().position(|value| value.is_none()) {
        return Err(format!(
            "column {name} has no value in row {row}; drop the row"
        ));
    }
    Ok(text)
}

/// The sessions of a frame with one event a row.
fn of_events(
    frame: &DataFrame,
    names: &Column,
    keys: &StringChunked,
    item: &Column,
) -> Result<Sessions, Problem> {
    let items = ids(item, "item")?;
    let kinds = match frame.column("kind") {
        Ok(column) => Some(kinds_of(column, "kind")?),
        Err(_) => None,
    };
    let order = order(frame)?;
    let (keys, items): (Vec<_>, Vec<_>) = (
        keys.iter().flatten().collect(),
        items.iter().flatten().collect(),
    );
    let mut numbers: PlHashMap<&str, usize> = PlHashMap::new();
    let (mut first_rows, mut requests) = (Vec::new(), Vec::new());
    // The order of the sessions is that of the rows, whatever their times.
    for (row, &key) in keys.iter().enumerate() {
        numbers.entry(key).or_insert_with(|| {
            first_rows.push(row as IdxSize);
            requests.push(RequestFields::default());
            requests.len() - 1
        });
    }
    for row in order {
        let request = &mut requests[numbers[keys[row]]];
        let id = Id(items[row].to_owned());
        request.items.get_or_insert_with(Vec::new).push(id);
        if let Some(kinds) = &kinds {
            request.kinds.get_or_insert_with(Vec::new).push(kinds[row]);
        }
    }
    let rows = IdxCa::from_vec("row".into(), first_rows);
    Ok(Sessions {
        requests,
        names: names.take(&rows).map_err(|e| e.to_string())?,
        has_integer_items: item.dtype().is_integer(),
    })
}

/// The rows by time; in their own order without a column `time`.
fn order(frame: &DataFrame) -> Result<Vec<usize>, Problem> {
    let mut rows: Vec<usize> = (0..frame.height()).collect();
    let Ok(time) = frame.column("time") else {
        return Ok(rows);
    };
    if time.null_count() > 0 {
        return Err("column time has rows without a value; drop them".into());
    }
    let dtype = time.dtype();
    let failed = |error: PolarsError| format!("column time: {error}");
    if dtype.is_float() {
        let times = time.cast(&DataType::Float64).map_err(failed)?;
        let times: Vec<f64> = times.f64().map_err(failed)?.iter().flatten().collect();
        rows.par_sort_by(|&a, &b| times[a].total_cmp(&times[b]));
    } else if dtype.is_integer() || dtype.is_temporal() {
        let physical = time.to_physical_repr();
        let times = physical.strict_cast(&DataType::Int64).map_err(failed)?;
        let times: Vec<i64> = times.i64().map_err(failed)?.iter().flatten().collect();
        rows.par_sort_by_key(|&row| times[row]);
    } else {
        return Err(format!(
            "column time holds {dtype}; expected numbers or times"
        ));
    }
    Ok(rows)
}

/// The sessions of a frame with one session a row.
fn of_lists(frame: &DataFrame, names: &Column, items: &Column) -> Result<Sessions, Problem> {
    let lists = items
        .list()
        .map_err(|_| format!("column items holds {}; expected lists", items.dtype()))?;
    let kinds = match frame.column("kinds") {
        Ok(column) => Some(
            column
                .list()
                .map_err(|_| format!("column kinds holds {}; expected lists", column.dtype()))?,
        ),
        Err(_) => None,
    };
    let mut requests = Vec::with_capacity(frame.height());
    for row in 0..frame.height() {
        let mut request = RequestFields::default();
        let Some(list) = lists.get_as_series(row) else {
            return Err(format!("column items has no list in row {row}"));
        };
        let mut own = Vec::with_capacity(list.len());
        if !list.is_empty() {
            let place = |problem| format!("row {row}: {problem}");
            for id in ids(&list.into_column(), "items")
                .map_err(place)?
                .iter()
                .flatten()
            {
                own.push(Id(id.to_owned()));
            }
        }
        request.items = Some(own);
        if let Some(list) = kinds.and_then(|kinds| kinds.get_as_series(row)) {
            let place = |problem| format!("row {row}: {problem}");
            request.kinds = Some(kinds_of(&list.into_column(), "kinds").map_err(place)?);
        }
        requests.push(request);
    }
    Ok(Sessions {
        requests,
        names: names.clone(),
        has_integer_items: lists.inner_dtype().is_integer(),
    })
}

/// The values of a column of event kinds.
fn kinds_of(column: &Column, name: &str) -> Result<Vec<Kind>, Problem> {
    let mut kinds = Vec::with_capacity(column.len());
    for (row, value) in ids(column, name)?.iter().flatten().enumerate() {
        kinds.push(match value {
            "click" => Kind::Click,
            "purchase" => Kind::Purchase,
            other => {
                return Err(format!(
                    "column {name} holds {other:?} in row {row}; expected click or purchase"
                ));
            }
        });
    }
    Ok(kinds)
}
