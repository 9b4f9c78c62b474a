//! Mapping from a table's columns to session, time, item and event.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::error::Error;

const FORM: &str = "session=NAME,time=NAME,item=NAME[,event=NAME]";

/// Which column holds what. Parsed from `session=NAME,time=NAME,item=NAME[,event=NAME]`.
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
    /// Column of the times.
    pub time: String,
    /// Column of the item ids.
    pub item: String,
    /// Column of the event kinds; without it every event is a click.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
}

impl Columns {
    /// Names of the mapped columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        [&self.session, &self.time, &self.item]
            .into_iter()
            .chain(&self.event)
            .map(String::as_str)
    }
}

impl FromStr for Columns {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (mut session, mut time, mut item, mut event) = (None, None, None, None);
        for part in text.split(',').map(str::trim) {
            let Some((role, name)) = part.split_once('=').map(|(r, n)| (r.trim(), n.trim())) else {
                return Err(Error::Options(format!(
                    "column mapping: {part:?} is not ROLE=NAME; expected {FORM}"
                )));
            };
            let slot = match role {
                "session" => &mut session,
                "time" => &mut time,
                "item" => &mut item,
                "event" => &mut event,
                _ => {
                    return Err(Error::Options(format!(
                        "column mapping: unknown role {role:?}; expected {FORM}"
                    )));
                }
            };
            if name.is_empty() {
                return Err(Error::Options(format!(
                    "column mapping: {role} names no column; expected {FORM}"
                )));
            }
            if slot.replace(name.to_owned()).is_some() {
                return Err(Error::Options(format!(
                    "column mapping: {role} is named twice; expected {FORM}"
                )));
            }
        }
        let need = |slot: Option<String>, role: &str| {
            slot.ok_or_else(|| {
                Error::Options(format!(
                    "column mapping: {role} is missing; expected {FORM}"
                ))
            })
        };
        Ok(Self {
            session: need(session, "session")?,
            time: need(time, "time")?,
            item: need(item, "item")?,
            event,
        })
    }
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "session={},time={},item={}",
            self.session, self.time, self.item
        )?;
        self.event
            .iter()
            .try_for_each(|event| write!(f, ",event={event}"))
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
