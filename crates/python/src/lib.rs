//! The extension module `prl._prl` of the Python package `prl`.
//!
//! The package's Python files turn keywords into the flags of the command line, and frames into
//! Arrow streams; this module runs the commands with them, on threads of its own and without the
//! interpreter's lock. Results cross as JSON or Arrow streams.

mod commands;
mod dataset;
mod errors;
mod frame;
mod jobs;
mod logging;
mod model;
mod process;
mod scorer;
mod sessions;
mod tables;

/// The extension module.
#[pyo3::pymodule]
mod _prl {
    #[pymodule_export]
    use super::commands::{evaluate, flags, main, ope, prepare_frame, train, tune};
    #[pymodule_export]
    use super::dataset::Dataset;
    #[pymodule_export]
    use super::frame::Frame;
    #[pymodule_export]
    use super::model::Model;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
