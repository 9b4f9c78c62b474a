//! Faults for tests: the n-th operation on the disk fails, or every one from it on, as after a kill.
//!
//! Everything that datasets and runs write goes through `files.rs`, which asks here before each operation.
//! Without the feature `faults` nothing is counted and nothing fails.

use std::io;

/// What an operation does to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Making a directory.
    Make,
    /// Writing a file.
    Write,
    /// Forcing a file or a directory to the disk.
    Sync,
    /// Renaming or exchanging.
    Rename,
    /// Removing.
    Remove,
}

/// What happens at the chosen operation.
#[cfg(any(test, feature = "faults"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It alone fails, with this error of the system.
    Once(i32),
    /// It and every later one fail: the process is dead, as far as the disk can tell.
    Dead,
}

#[cfg(any(test, feature = "faults"))]
mod plan {
    use std::cell::{Cell, RefCell};

    use super::{Fault, Operation};

    thread_local! {
        pub(super) static PLAN: Cell<Option<(usize, Fault)>> = const { Cell::new(None) };
        pub(super) static SEEN: RefCell<Vec<Operation>> = const { RefCell::new(Vec::new()) };
    }
}

/// Runs `f` in which operation `n` of this thread, from 0, meets `fault`. Returns what `f` returns and the operations that
/// were begun.
#[cfg(any(test, feature = "faults"))]
pub fn with<R>(n: usize, fault: Fault, f: impl FnOnce() -> R) -> (R, Vec<Operation>) {
    plan::SEEN.take();
    plan::PLAN.set(Some((n, fault)));
    let result = f();
    plan::PLAN.set(None);
    (result, plan::SEEN.take())
}

/// Whether the operation may begin.
#[cfg(any(test, feature = "faults"))]
pub(crate) fn check(operation: Operation) -> io::Result<()> {
    let Some((n, fault)) = plan::PLAN.get() else {
        return Ok(());
    };
    let at = plan::SEEN.with_borrow_mut(|seen| {
        seen.push(operation);
        seen.len() - 1
    });
    match fault {
        Fault::Once(error) if at == n => Err(io::Error::from_raw_os_error(error)),
        Fault::Dead if at >= n => Err(io::Error::other("killed")),
        _ => Ok(()),
    }
}

/// Whether the operation may begin.
#[cfg(not(any(test, feature = "faults")))]
pub(crate) fn check(_: Operation) -> io::Result<()> {
    Ok(())
}
