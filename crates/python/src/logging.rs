//! Logs of the crates as records of Python's `logging`, under the logger `prl`.

use std::fmt::{self, Write};

use pyo3::prelude::*;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Sends the logs of this process to Python; without effect if another subscriber has them.
pub fn start() {
    let subscriber = tracing_subscriber::registry().with(PythonLogging);
    _ = subscriber.try_init();
}

/// A layer that passes each event of the crates on.
struct PythonLogging;

impl<S: Subscriber> Layer<S> for PythonLogging {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if !metadata.target().starts_with("prl") || *metadata.level() > Level::DEBUG {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        // The numbers of Python's levels.
        let level = match *metadata.level() {
            Level::ERROR => 40,
            Level::WARN => 30,
            Level::INFO => 20,
            _ => 10,
        };
        // None at the interpreter's end; an error in a handler is not the command's.
        _ = Python::try_attach(|py| log(py, level, &text.0));
    }
}

fn log(py: Python<'_>, level: i32, message: &str) -> PyResult<()> {
    let logger = py.import("logging")?.call_method1("getLogger", ("prl",))?;
    logger.call_method1("log", (level, "%s", message))?;
    Ok(())
}

/// The message of an event, with its fields behind it.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.insert_str(0, &format!("{value:?}"));
        } else {
            _ = write!(self.0, " {}={value:?}", field.name());
        }
    }
}
