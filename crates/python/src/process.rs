//! State of this process: threads that a fork does not copy, and the subscriber of logs.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use prl_cli::api;
use pyo3::prelude::*;

use crate::errors::exception;
use crate::logging;

/// Process that has started threads; 0 before.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// Prepares this process for a command. Call it before anything that starts threads.
///
/// # Errors
/// `ForkError` in a child of a process that had started threads: the fork has not copied them, and
/// work would wait for them without end.
pub fn enter(py: Python<'_>) -> PyResult<()> {
    let own = process::id();
    let started = STARTED.load(Ordering::Relaxed);
    if started != 0 && started != own {
        let message = "this process was forked from one in which prl had started its threads; they \
                       do not exist here: use multiprocessing.get_context(\"spawn\"), or call prl \
                       in the children alone";
        return Err(exception(py, "ForkError", message));
    }
    if started == 0 {
        api::prepare_process();
        // As on the command line, which sets it while it has one thread.
        let environment = py.import("os")?.getattr("environ")?;
        environment.call_method1("setdefault", ("CANDLE_NUM_THREADS", "1"))?;
        logging::start();
        STARTED.store(own, Ordering::Relaxed);
    }
    Ok(())
}
