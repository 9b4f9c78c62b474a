//! Every reader of what comes from outside, as a function of bytes. It may refuse them with an error; it may not panic, hang
//! or take memory without bound. The same functions run under libFuzzer and in the smoke of `cargo xtask reliability`.

pub mod attacks;
mod http;
mod raw;
mod saved;

use std::sync::{Mutex, Once, OnceLock, PoisonError};
use std::time::Duration;

pub use http::http;
pub use raw::{csv, inter, parquet, rc15, retailrocket};
pub use saved::{checkpoint, config, dataset, seeds};

/// A reader of bytes, which says why it refuses them.
pub type Target = fn(&[u8]) -> Result<(), String>;

/// Every reader, by name.
pub const TARGETS: [(&str, Target); 9] = [
    ("retailrocket", retailrocket),
    ("rc15", rc15),
    ("csv", csv),
    ("inter", inter),
    ("parquet", parquet),
    ("dataset", dataset),
    ("checkpoint", checkpoint),
    ("config", config),
    ("http", http),
];

/// Others are made from those inputs that take no longer.
pub const QUICK: Duration = Duration::from_millis(200);

/// What the last panic said, and where.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Lets panics that a reader catches itself (polars panics on some damaged Parquet) be silent; others end the target anyway.
pub fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
        }));
    });
}

/// What the last panic said, and where.
pub fn last_panic() -> String {
    LAST_PANIC
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// What libFuzzer calls: a panic that the target does not catch itself is said, and ends the process.
pub fn or_abort(target: Target, input: &[u8]) {
    quiet();
    if std::panic::catch_unwind(|| target(input)).is_err() {
        // libFuzzer repeats lines with this word of the processes that it runs.
        eprintln!("ERROR: {}", last_panic());
        std::process::abort();
    }
}

/// A directory of this process: in `TMPDIR` if that is set, or else in memory where the system has such a place.
fn scratch() -> std::path::PathBuf {
    static DIR: OnceLock<std::path::PathBuf> = OnceLock::new();
    let new = || {
        let memory = std::path::Path::new("/dev/shm");
        let is_chosen = std::env::var_os("TMPDIR").is_some();
        let parent = if memory.is_dir() && !is_chosen {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        tempfile::Builder::new()
            .prefix("prl-fuzz-")
            .tempdir_in(parent)
            .unwrap()
            .keep()
    };
    DIR.get_or_init(new).clone()
}

/// The message of an error.
fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Removes what the targets wrote.
pub fn clean() {
    _ = std::fs::remove_dir_all(scratch());
}
