//! Mapping from a table's columns to session, time, item, event and split.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::error::{Error, Result};

const FORM: &str = "session=NAME,time=NAME,item=NAME[,event=NAME][,split=NAME][,value=NAME]";

/// Which column holds what. Parsed from
/// `session=NAME,time=NAME,item=NAME[,event=NAME][,split=NAME]`.
///
/// ```
/// let columns: prl_data::Columns = "session=visitor,time=at,item=sku".parse()?;
/// assert_eq!(columns.item, "sku");
/// assert!("session=visitor,time=at".parse::<prl_data::Columns>().is_err());
/// # Ok::<(), prl_data::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Columns {
    /// Column of the session (or user) ids.
    pub session: String,
    /// Column of the times. Only lists of items may lack it; their order then is the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Column of the item ids.
    pub item: String,
    /// Column of the event kinds; without it every event is a click.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Column of the splits, for [`SplitRule::Given`](crate::SplitRule::Given).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Column of values, such as prices: the rewards of events whose kind has no reward of its own.
    /// A missing value gives none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl Columns {
    /// Names of the mapped columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        [Some(&self.session), self.time.as_ref(), Some(&self.item)]
            .into_iter()
            .chain([self.event.as_ref(), self.split.as_ref()])
            .chain([self.value.as_ref()])
            .flatten()
            .map(String::as_str)
    }

    /// True if the column is mapped.
    pub(crate) fn has(&self, column: &str) -> bool {
        self.names().any(|name| name == column)
    }
}

impl FromStr for Columns {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (mut session, mut time, mut item) = (None, None, None);
        let (mut event, mut split, mut value) = (None, None, None);
        for part in text.split(',').map(str::trim) {
            let Some((role, name)) = part.split_once('=') else {
                return Err(mistake(&format!("{part:?} is not ROLE=NAME")));
            };
            let (role, name) = (role.trim(), name.trim());
            let slot = match role {
                "session" => &mut session,
                "time" => &mut time,
                "item" => &mut item,
                "event" => &mut event,
                "split" => &mut split,
                "value" => &mut value,
                _ => return Err(mistake(&format!("unknown role {role:?}"))),
            };
            if name.is_empty() {
                return Err(mistake(&format!("{role} names no column")));
            }
            if slot.replace(name.to_owned()).is_some() {
                return Err(mistake(&format!("{role} is named twice")));
            }
        }
        Ok(Self {
            session: needed(session, "session")?,
            time,
            item: needed(item, "item")?,
            event,
            split,
            value,
        })
    }
}

fn needed(slot: Option<String>, role: &str) -> Result<String> {
    match slot {
        Some(name) => Ok(name),
        None => Err(mistake(&format!("{role} is missing"))),
    }
}

fn mistake(what: &str) -> Error {
    Error::Options(format!("column mapping: {what}; expected {FORM}"))
}

/// Error of a mapping without a time for a log that has one event a row.
pub(crate) fn time_is_missing() -> Error {
    mistake("time is missing, which only lists of items can do without")
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session={}", self.session)?;
        if let Some(time) = &self.time {
            write!(f, ",time={time}")?;
        }
        write!(f, ",item={}", self.item)?;
        for (role, name) in [
            ("event", &self.event),
            ("split", &self.split),
            ("value", &self.value),
        ] {
            if let Some(name) = name {
                write!(f, ",{role}={name}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Columns;

    #[test]
    fn a_mapping_prints_as_it_is_written() {
        for text in [
            "session=a,time=b,item=c",
            "session=a b,time=x=y,item=c,event=kind",
            "session=a,item=c,split=part",
            "session=a,time=b,item=c,event=kind,value=price",
        ] {
            assert_eq!(text.parse::<Columns>().unwrap().to_string(), text);
        }
        let columns: Columns = " item = c , session=a,time=b".parse().unwrap();
        assert_eq!(columns.to_string(), "session=a,time=b,item=c");
    }

    #[test]
    fn each_mistake_is_named() {
        for (text, says) in [
            ("", "not ROLE=NAME"),
            ("session=a,time=b", "item is missing"),
            ("session=a,time=b,item=", "item names no column"),
            ("session=a,session=b", "session is named twice"),
            ("user=a", "unknown role \"user\""),
        ] {
            let message = text.parse::<Columns>().unwrap_err().to_string();
            assert!(message.contains(says), "{text}: {message}");
        }
    }
}
