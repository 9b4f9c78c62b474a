//! Python exceptions: classes of `prl._errors`, by the kind of a failure.

use prl_cli::api::{Error, Kind};
use pyo3::prelude::*;

/// Makes the exception class `name` of `prl._errors` with a message.
pub fn exception(py: Python<'_>, name: &str, message: &str) -> PyErr {
    let made = py
        .import("prl._errors")
        .and_then(|module| module.getattr(name))
        .and_then(|class| class.call1((message,)));
    match made {
        Ok(value) => PyErr::from_value(value),
        Err(error) => error,
    }
}

/// The exception of a command's failure.
pub fn of_command(py: Python<'_>, error: &Error) -> PyErr {
    let name = match error.kind {
        Kind::Usage => "UsageError",
        Kind::BadInput => "DataError",
        Kind::Interrupted => "Interrupted",
        Kind::Failed => "Error",
    };
    exception(py, name, &error.message)
}

/// The exception of invalid arguments.
pub fn usage(py: Python<'_>, message: &str) -> PyErr {
    exception(py, "UsageError", message)
}

/// The exception of bad data.
pub fn bad_data(py: Python<'_>, message: &str) -> PyErr {
    exception(py, "DataError", message)
}
