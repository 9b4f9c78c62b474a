//! Work on a thread of its own, while the calling one handles signals.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;

use crate::errors::exception;
use crate::process;

/// Time between two looks at signals and progress.
const POLL: Duration = Duration::from_millis(50);
/// Stack of the thread in bytes: that of a main thread.
const STACK: usize = 8 << 20;

/// Runs `work` without the interpreter's lock. On the calling thread, which handles Ctrl-C, `poll`
/// is called about twenty times a second, and once more at the end. An exception of either sets the
/// flag that `work` has, and is returned when `work` has ended.
pub fn run<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&AtomicBool) -> T + Send,
    poll: &mut dyn FnMut(Python<'_>) -> PyResult<()>,
) -> PyResult<(T, Option<PyErr>)> {
    process::enter(py)?;
    let stop = &AtomicBool::new(false);
    thread::scope(|scope| {
        let (ended, end) = sync_channel::<()>(1);
        let worker = thread::Builder::new().stack_size(STACK);
        let worker = worker.spawn_scoped(scope, move || {
            let result = work(stop);
            // The other side waits for this or for the channel's end.
            _ = ended.send(());
            result
        });
        let worker = worker.map_err(|error| {
            exception(py, "Error", &format!("failed to start a thread: {error}"))
        })?;
        let end = std::sync::Mutex::new(end);
        let mut raised = None;
        loop {
            let waited = py.detach(|| match end.lock() {
                Ok(end) => end.recv_timeout(POLL),
                Err(_) => Err(RecvTimeoutError::Disconnected),
            });
            let checked = py.check_signals().and_then(|()| poll(py));
            if let (Err(error), None) = (checked, &raised) {
                stop.store(true, Ordering::Relaxed);
                raised = Some(error);
            }
            if !matches!(waited, Err(RecvTimeoutError::Timeout)) {
                break;
            }
        }
        match py.detach(|| worker.join()) {
            Ok(result) => Ok((result, raised)),
            Err(panic) => resume_unwind(panic),
        }
    })
}

/// Runs work that has no progress; Ctrl-C is raised when it has ended.
pub fn simple<T: Send>(py: Python<'_>, work: impl FnOnce(&AtomicBool) -> T + Send) -> PyResult<T> {
    let (result, raised) = run(py, work, &mut |_| Ok(()))?;
    match raised {
        Some(error) => Err(error),
        None => Ok(result),
    }
}
