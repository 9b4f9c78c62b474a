//! Experiments of a recommender: arms, their assignment to sessions, and the log of answers and
//! events.
//!
//! - [`Experiment`] is a definition in TOML: named arms with shares, each with the prompt that it
//!   asks. The arm of a session is a function of the experiment's name, its seed and the session's
//!   name, with a known probability.
//! - [`LogWriter`] appends answers and events as JSON lines. A record is in the file when
//!   [`append`](LogWriter::append) returns, so it survives the end of the process.
//! - [`Log`] reads the lines back; [`Log::sessions`] joins them to one [`SessionRecord`] a session,
//!   the unit that an estimate of an arm's value is made of.
//!
//! ```
//! use prl_arms::{Answer, Event, EventKind, Experiment, Log, LogWriter, Reward, SessionOptions};
//!
//! # fn main() -> prl_arms::Result<()> {
//! # let tmp = tempfile::tempdir().unwrap();
//! # let dir = tmp.path();
//! let text = "name = 'dial'\narm = [{ name = 'low' }, { name = 'high', ask = { mu = 2.0 } }]";
//! let experiment = Experiment::from_toml("dial.toml", text)?;
//! let assigned = experiment.assign("s1");
//! let log = LogWriter::open(dir, Default::default())?;
//! log.append_answer(Answer {
//!     time: 1_000,
//!     experiment: Some(experiment.name().into()),
//!     session: "s1".into(),
//!     step: 0,
//!     arm: Some(assigned.arm.name.clone()),
//!     p: Some(assigned.p),
//!     model: "1234567890ab".into(),
//!     items: vec!["7".into()],
//!     scores: vec![0.5],
//! })?;
//! log.append_event(Event {
//!     time: 2_000,
//!     session: "s1".into(),
//!     item: "7".into(),
//!     kind: EventKind::Purchase,
//!     value: Some(19.9),
//! })?;
//!
//! let sessions = Log::open(dir)?.sessions(&SessionOptions::default())?;
//! assert_eq!(sessions.records[0].p, 0.5);
//! assert_eq!(Reward::default().of(&sessions.records[0]), 1.0);
//! assert_eq!(Reward::Value.of(&sessions.records[0]), 19.9);
//! # Ok(())
//! # }
//! ```

mod erase;
mod error;
mod experiment;
mod reader;
mod record;
mod sessions;
mod writer;

pub use erase::{Erased, erase_sessions};
pub use error::{Error, Result};
pub use experiment::{Arm, Assignment, Experiment};
pub use reader::{Log, Place, Records};
pub use record::{Answer, Event, EventKind, Record};
pub use sessions::{Reward, SessionLog, SessionOptions, SessionRecord};
pub use writer::{LogWriter, WriterOptions};
