//! RetailRocket's `events.csv`: the steps of the protocol (section 1), and the reader.

use polars::prelude::*;
use prl_dataset::SourceFile;

use crate::delimited_reader::{self, Batch, Header};
use crate::dropped::Reason;
use crate::error::Result;
use crate::ids::IdColumn;
use crate::input::Input;
use crate::log::{CLICK, EventColumns, Log, PURCHASE};
use crate::options::Steps;
use crate::records::Dialect;
use crate::steps;
use crate::times::from_millis;
use crate::values::{Cell, Wanted};

/// Column that is true if the row has a `transactionid`, `Boolean`.
const HAS_TRANSACTION: &str = "has_transaction";

/// Reads the log and applies the first of its own steps.
pub(crate) fn read(inputs: &[Input]) -> Result<(Log, Vec<SourceFile>)> {
    let (rows, files) = read_rows(inputs)?;
    let mut log = rows.into_log()?;
    // 1. "drop rows that have a transactionid (views and addtocarts stay)"
    log.keep(col(HAS_TRANSACTION).not(), Reason::Transaction)?;
    log.events = log.events.drop(HAS_TRANSACTION)?;
    Ok((log, files))
}

/// "in this order, each filter one pass, not iterated" (protocol, section 1, RetailRocket), in file
/// order. Re-indexing and order (step 4) are common to all logs.
pub(crate) fn steps(log: &mut Log, options: &Steps) -> Result<()> {
    steps::before_filters(log, options)?;
    // 2. "session = visitorid (no time gap); drop visitors with <= 2 events"
    // 3. "then drop items with <= 2 events (so sessions of 1-2 events can remain)"
    log.keep_frequent((3, 3), options.filter_until_stable)
    // 4. "purchase = addtocart, click = view": the reader's codes. "re-index items by sorted raw
    //    id; sort by (session, timestamp), stable": `Log::reindex_items`, `Log::order`.
}

const COLUMNS: [(&str, Cell); 5] = [
    ("timestamp", Cell::Integer),
    ("visitorid", Cell::Unsigned),
    ("event", Cell::Text),
    ("itemid", Cell::Unsigned),
    ("transactionid", Cell::Optional),
];
const KINDS: &str = "view, addtocart or, with a transactionid, transaction";
const HINT: &str = "RetailRocket's header is timestamp,visitorid,event,itemid,transactionid";

/// Rows of files, or of a part of one.
#[derive(Default)]
struct Rows {
    visitors: Vec<u64>,
    items: Vec<u64>,
    kinds: Vec<u8>,
    times: Vec<i64>,
    transactions: Vec<bool>,
}

fn read_rows(inputs: &[Input]) -> Result<(Rows, Vec<SourceFile>)> {
    let mut rows = Rows::default();
    let mut files = Vec::with_capacity(inputs.len());
    for input in inputs {
        let choose = |names: &[String]| wanted(input, names);
        let append = |part| {
            rows.append(part);
            Ok(())
        };
        files.push(delimited_reader::read(
            input,
            Dialect::CSV,
            Header::FirstLine,
            choose,
            Rows::from_batch,
            append,
        )?);
    }
    Ok((rows, files))
}

fn wanted(input: &Input, names: &[String]) -> Result<Vec<Wanted>> {
    let mut wanted = Vec::with_capacity(COLUMNS.len());
    for (name, cell) in COLUMNS {
        wanted.push(Wanted {
            field: delimited_reader::find(&input.path, names, name, HINT)?,
            name: name.into(),
            cell,
        });
    }
    Ok(wanted)
}

impl Rows {
    fn from_batch(batch: Batch) -> Result<Self> {
        let mut kinds = Vec::with_capacity(batch.rows());
        let mut times = Vec::with_capacity(batch.rows());
        let mut transactions = Vec::with_capacity(batch.rows());
        let texts = batch.texts(2)?.zip(batch.texts(4)?);
        for (row, (millis, (event, transaction))) in batch.integers(0)?.zip(texts).enumerate() {
            let has_transaction = transaction.is_some_and(|id| !id.is_empty());
            kinds.push(match event {
                Some("view") => CLICK,
                Some("addtocart") => PURCHASE,
                // The first step drops these rows, so that their kind is unused.
                _ if has_transaction => CLICK,
                _ => return Err(batch.fault(row, 2, KINDS)),
            });
            times.push(match from_millis(millis) {
                Ok(nanos) => nanos,
                Err(_) if has_transaction => 0,
                Err(expected) => return Err(batch.fault(row, 0, expected)),
            });
            transactions.push(has_transaction);
        }
        Ok(Self {
            visitors: batch.unsigned(1)?.collect(),
            items: batch.unsigned(3)?.collect(),
            kinds,
            times,
            transactions,
        })
    }

    fn append(&mut self, part: Rows) {
        self.visitors.extend(part.visitors);
        self.items.extend(part.items);
        self.kinds.extend(part.kinds);
        self.times.extend(part.times);
        self.transactions.extend(part.transactions);
    }

    fn into_log(self) -> Result<Log> {
        let columns = EventColumns {
            sessions: IdColumn::from_numbers(self.visitors),
            items: IdColumn::from_numbers(self.items),
            kinds: self.kinds,
            times: self.times,
        };
        let transactions = Column::new(HAS_TRANSACTION.into(), self.transactions);
        Log::new(columns, vec![transactions])
    }
}
