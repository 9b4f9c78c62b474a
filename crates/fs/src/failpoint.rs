//! Failpoints for tests: the n-th disk operation of a thread fails, alone or with all later ones.
//!
//! Every write of this crate calls `check` before each disk operation. Without the feature
//! `failpoints` nothing is counted and nothing fails.

use std::io;

/// Kind of a disk operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Creating a directory.
    Make,
    /// Writing a file.
    Write,
    /// Fsync of a file or a directory.
    Sync,
    /// Renaming a path or exchanging two.
    Rename,
    /// Removing a file or a directory.
    Remove,
}

/// Failure injected at the chosen operation.
#[cfg(any(test, feature = "failpoints"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Only this operation fails, with this `errno`.
    Once(i32),
    /// This operation and all later ones fail, as if the process had been killed.
    Dead,
}

#[cfg(any(test, feature = "failpoints"))]
mod plan {
    use std::cell::{Cell, RefCell};

    use super::{Fault, Operation};

    thread_local! {
        pub(super) static PLAN: Cell<Option<(usize, Fault)>> = const { Cell::new(None) };
        pub(super) static SEEN: RefCell<Vec<Operation>> = const { RefCell::new(Vec::new()) };
    }
}

/// Calls `f` with `fault` injected at operation `n` (from 0) of this thread. Returns the result of
/// `f` and the operations that were started.
#[cfg(any(test, feature = "failpoints"))]
pub fn with<R>(n: usize, fault: Fault, f: impl FnOnce() -> R) -> (R, Vec<Operation>) {
    plan::SEEN.take();
    plan::PLAN.set(Some((n, fault)));
    let result = f();
    plan::PLAN.set(None);
    (result, plan::SEEN.take())
}

/// Fails if a fault is injected at this operation.
#[cfg(any(test, feature = "failpoints"))]
pub(crate) fn check(operation: Operation) -> io::Result<()> {
    let Some((n, fault)) = plan::PLAN.get() else {
        return Ok(());
    };
    let index = plan::SEEN.with_borrow_mut(|seen| {
        seen.push(operation);
        seen.len() - 1
    });
    match fault {
        Fault::Once(error) if index == n => Err(io::Error::from_raw_os_error(error)),
        Fault::Dead if index >= n => Err(io::Error::other("killed")),
        _ => Ok(()),
    }
}

/// Does nothing: failpoints are compiled out.
#[cfg(not(any(test, feature = "failpoints")))]
pub(crate) fn check(_: Operation) -> io::Result<()> {
    Ok(())
}
