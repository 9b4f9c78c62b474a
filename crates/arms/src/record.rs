//! Records of the log, and their lines.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Version of the lines.
const VERSION: u32 = 1;

/// A line of the log.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A list was recommended.
    Answer(Answer),
    /// Something happened in a session.
    Event(Event),
}

/// A list that was recommended to a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Milliseconds since the Unix epoch.
    pub time: u64,
    /// Name of the experiment; absent for an answer outside one.
    pub experiment: Option<String>,
    /// Name of the session.
    pub session: String,
    /// Time step: events of the session before the answer.
    pub step: u32,
    /// Name of the arm; absent if the request set its own prompt.
    pub arm: Option<String>,
    /// Probability with which the session was assigned to the arm; present if the arm is.
    pub p: Option<f64>,
    /// Name of the model.
    pub model: String,
    /// Recommended items, best first.
    pub items: Vec<String>,
    /// Score of each item.
    pub scores: Vec<f32>,
}

/// An event of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Milliseconds since the Unix epoch.
    pub time: u64,
    /// Name of the session.
    pub session: String,
    /// Item of the event.
    pub item: String,
    /// Kind of the event.
    pub kind: EventKind,
    /// Value in the shop's unit, such as price times quantity, if known.
    pub value: Option<f64>,
}

/// Kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// The item was looked at.
    Click,
    /// The item was bought.
    Purchase,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LineKind {
    Answer,
    Event,
}

/// A line as JSON: the fields of either kind.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    v: u32,
    kind: LineKind,
    time: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    experiment: Option<String>,
    session: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arm: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    items: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scores: Option<Vec<f32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    item: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<EventKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
}

/// The version alone, which is read first: a newer line may have any other field.
#[derive(Deserialize)]
struct Version {
    v: u32,
}

impl Record {
    /// The line of the record, with its line break.
    ///
    /// # Errors
    /// [`Error::Record`] for a record that [`parse`](Self::parse) would reject.
    pub fn into_line(self) -> Result<Vec<u8>> {
        self.check().map_err(|what| Error::Record { what })?;
        let line = match self {
            Record::Answer(answer) => Line {
                v: VERSION,
                kind: LineKind::Answer,
                time: answer.time,
                experiment: answer.experiment,
                session: answer.session,
                step: Some(answer.step),
                arm: answer.arm,
                p: answer.p,
                model: Some(answer.model),
                items: Some(answer.items),
                scores: Some(answer.scores),
                item: None,
                event: None,
                value: None,
            },
            Record::Event(event) => Line {
                v: VERSION,
                kind: LineKind::Event,
                time: event.time,
                experiment: None,
                session: event.session,
                step: None,
                arm: None,
                p: None,
                model: None,
                items: None,
                scores: None,
                item: Some(event.item),
                event: Some(event.kind),
                value: event.value,
            },
        };
        let mut bytes = serde_json::to_vec(&line).map_err(|error| Error::Record {
            what: error.to_string(),
        })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The record of a line.
    ///
    /// # Errors
    /// The cause, without its place.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Self, String> {
        let line: Line = match serde_json::from_slice(bytes) {
            Ok(line) => line,
            Err(error) => {
                return Err(match serde_json::from_slice(bytes) {
                    Ok(Version { v }) if v != VERSION => version_fault(v),
                    _ => format!("not a record: {error}"),
                });
            }
        };
        if line.v != VERSION {
            return Err(version_fault(line.v));
        }
        let record = match line.kind {
            LineKind::Answer => {
                refuse("item", line.item.is_some())?;
                refuse("event", line.event.is_some())?;
                refuse("value", line.value.is_some())?;
                Record::Answer(Answer {
                    time: line.time,
                    experiment: line.experiment,
                    session: line.session,
                    step: line.step.ok_or("step is missing")?,
                    arm: line.arm,
                    p: line.p,
                    model: line.model.ok_or("model is missing")?,
                    items: line.items.ok_or("items is missing")?,
                    scores: line.scores.ok_or("scores is missing")?,
                })
            }
            LineKind::Event => {
                refuse("experiment", line.experiment.is_some())?;
                refuse("step", line.step.is_some())?;
                refuse("arm", line.arm.is_some() || line.p.is_some())?;
                refuse("model", line.model.is_some())?;
                refuse("items", line.items.is_some() || line.scores.is_some())?;
                Record::Event(Event {
                    time: line.time,
                    session: line.session,
                    item: line.item.ok_or("item is missing")?,
                    kind: line.event.ok_or("event is missing")?,
                    value: line.value,
                })
            }
        };
        record.check()?;
        Ok(record)
    }

    /// Whether the values are possible ones.
    fn check(&self) -> std::result::Result<(), String> {
        match self {
            Record::Answer(answer) => {
                let (items, scores) = (answer.items.len(), answer.scores.len());
                if items != scores {
                    return Err(format!("{items} items with {scores} scores"));
                }
                if answer.scores.iter().any(|score| !score.is_finite()) {
                    return Err("a score is not a finite number".into());
                }
                match (&answer.arm, answer.p) {
                    (Some(_), Some(p)) if !(p > 0.0 && p <= 1.0) => {
                        Err(format!("p is {p}; expected above 0, at most 1"))
                    }
                    (Some(_), Some(_)) if answer.experiment.is_none() => {
                        Err("arm without its experiment".into())
                    }
                    (None, Some(_)) => Err("p without its arm".into()),
                    _ => Ok(()),
                }
            }
            Record::Event(event) if event.value.is_some_and(|value| !value.is_finite()) => {
                Err("value is not a finite number".into())
            }
            Record::Event(_) => Ok(()),
        }
    }
}

fn version_fault(v: u32) -> String {
    format!("version {v} of the log, and this program reads {VERSION}: use the one that wrote it")
}

/// An error if a field of the other kind of line is there.
fn refuse(field: &str, is_there: bool) -> std::result::Result<(), String> {
    if is_there {
        return Err(format!("{field} does not belong to this kind of line"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        Answer {
            time: 5,
            experiment: Some("e".into()),
            session: "s \"1\"".into(),
            step: 2,
            arm: Some("a".into()),
            p: Some(1.0 / 3.0),
            model: "m".into(),
            items: vec!["7".into(), "8".into()],
            scores: vec![0.1, -2.0],
        }
    }

    fn event() -> Event {
        Event {
            time: 6,
            session: "s".into(),
            item: "7".into(),
            kind: EventKind::Purchase,
            value: Some(19.99),
        }
    }

    #[test]
    fn record_lines_are_those_of_the_format_and_read_back() {
        let own = Answer {
            experiment: None,
            arm: None,
            p: None,
            items: vec![],
            scores: vec![],
            ..answer()
        };
        let plain = Event {
            kind: EventKind::Click,
            value: None,
            ..event()
        };
        for (record, expected) in [
            (
                Record::Answer(answer()),
                r#"{"v":1,"kind":"answer","time":5,"experiment":"e","session":"s \"1\"","step":2,"arm":"a","p":0.3333333333333333,"model":"m","items":["7","8"],"scores":[0.1,-2.0]}"#,
            ),
            (
                Record::Answer(own),
                r#"{"v":1,"kind":"answer","time":5,"session":"s \"1\"","step":2,"model":"m","items":[],"scores":[]}"#,
            ),
            (
                Record::Event(event()),
                r#"{"v":1,"kind":"event","time":6,"session":"s","item":"7","event":"purchase","value":19.99}"#,
            ),
            (
                Record::Event(plain),
                r#"{"v":1,"kind":"event","time":6,"session":"s","item":"7","event":"click"}"#,
            ),
        ] {
            let line = record.clone().into_line().unwrap();
            assert_eq!(std::str::from_utf8(&line).unwrap(), format!("{expected}\n"));
            assert_eq!(Record::parse(&line).unwrap(), record);
        }
    }

    #[test]
    fn impossible_records_are_not_written() {
        let fault = |record: Record| record.into_line().unwrap_err().to_string();
        let wrong = |change: fn(&mut Answer)| {
            let mut answer = answer();
            change(&mut answer);
            fault(Record::Answer(answer))
        };
        assert!(wrong(|a| a.p = Some(0.0)).contains("p is 0"));
        assert!(wrong(|a| a.p = Some(1.1)).contains("p is 1.1"));
        assert!(wrong(|a| a.arm = None).contains("p without its arm"));
        assert!(wrong(|a| a.experiment = None).contains("arm without its experiment"));
        assert!(wrong(|a| a.scores[0] = f32::NAN).contains("score is not"));
        assert!(wrong(|a| a.scores.clear()).contains("2 items with 0 scores"));
        let value = Some(f64::INFINITY);
        assert!(fault(Record::Event(Event { value, ..event() })).contains("value is not"));
    }

    #[test]
    fn foreign_lines_are_refused_with_the_cause() {
        for (line, expected) in [
            ("{}", "not a record: missing field"),
            ("{\"v\":2,\"kind\":\"reward\"}", "version 2 of the log"),
            ("timestamp,visitorid,event", "not a record"),
            (
                r#"{"v":1,"kind":"event","time":1,"session":"s","item":"7"}"#,
                "event is missing",
            ),
            (
                r#"{"v":1,"kind":"event","time":1,"session":"s","item":"7","event":"cart"}"#,
                "unknown variant `cart`",
            ),
            (
                r#"{"v":1,"kind":"event","time":1,"session":"s","item":"7","event":"click","arm":"a"}"#,
                "arm does not belong",
            ),
            (
                r#"{"v":1,"kind":"answer","time":1,"session":"s","step":0,"model":"m","items":["1"],"scores":[]}"#,
                "1 items with 0 scores",
            ),
        ] {
            let found = Record::parse(line.as_bytes()).unwrap_err();
            assert!(found.contains(expected), "{found}");
        }
    }
}
