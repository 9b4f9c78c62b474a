//! RetailRocket's `events.csv`, by the steps of the SQN code: purchases are what was added to the cart.

use prl_dataset::{Kind, SourceFile};

use crate::dropped::{Dropped, Reason};
use crate::error::Result;
use crate::ids::IdColumn;
use crate::input::Input;
use crate::log::Log;
use crate::records::Dialect;
use crate::text::{self, Batch, Header};
use crate::times::from_millis;
use crate::values::{Cell, Wanted};

const DIALECT: Dialect = Dialect {
    delimiter: b',',
    quote: Some(b'"'),
};
const COLUMNS: [(&str, Cell); 5] = [
    ("timestamp", Cell::Integer),
    ("visitorid", Cell::Unsigned),
    ("event", Cell::Text),
    ("itemid", Cell::Unsigned),
    ("transactionid", Cell::Optional),
];
const KINDS: &str = "view, addtocart or, with a transactionid, transaction";

/// The log after the steps, in file order.
pub(crate) fn read(inputs: &[Input], dropped: &mut Dropped) -> Result<(Log, Vec<SourceFile>)> {
    let mut events = Events::default();
    let mut files = Vec::with_capacity(inputs.len());
    for input in inputs {
        let choose = |names: &[String]| {
            let mend = "RetailRocket's header is timestamp,visitorid,event,itemid,transactionid";
            let wanted = COLUMNS.map(|(name, cell)| {
                Ok(Wanted {
                    field: text::find(input, names, name, mend)?,
                    name: name.into(),
                    cell,
                })
            });
            wanted.into_iter().collect()
        };
        files.push(text::read(
            input,
            DIALECT,
            Header::FirstLine,
            choose,
            Ok,
            |batch| events.take(&batch),
        )?);
    }
    dropped.add(Reason::Transaction, events.transactions);
    let mut log = Log::new(events.sessions, events.items, events.kinds, events.times);
    dropped.add(Reason::ShortSession, log.drop_short_sessions(3));
    dropped.add(Reason::RareItem, log.drop_rare_items(3));
    Ok((log, files))
}

#[derive(Default)]
struct Events {
    sessions: IdColumn,
    items: IdColumn,
    kinds: Vec<Kind>,
    times: Vec<i64>,
    transactions: u64,
}

impl Events {
    fn take(&mut self, batch: &Batch) -> Result<()> {
        let ids = batch.unsigned(1)?.zip(batch.unsigned(3)?);
        let texts = batch.texts(2)?.zip(batch.texts(4)?);
        for (row, ((time, (visitor, item)), (event, transaction))) in
            batch.integers(0)?.zip(ids).zip(texts).enumerate()
        {
            if transaction.is_some_and(|t| !t.is_empty()) {
                self.transactions += 1;
                continue;
            }
            let kind = match event {
                Some("view") => Kind::Click,
                Some("addtocart") => Kind::Purchase,
                _ => return Err(batch.fault(row, 2, KINDS)),
            };
            let time = from_millis(time).map_err(|expected| batch.fault(row, 0, expected))?;
            self.sessions.push_number(visitor);
            self.items.push_number(item);
            self.kinds.push(kind);
            self.times.push(time);
        }
        Ok(())
    }
}
