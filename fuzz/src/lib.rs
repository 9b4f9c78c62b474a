//! Every reader of what comes from outside, as a function of bytes. It may refuse them with an error; it may not panic, hang
//! or take memory without bound. The same functions run under libFuzzer and in the smoke of `cargo xtask reliability`.

pub mod attacks;
mod http;
mod raw;
mod saved;

use std::sync::{Mutex, Once, OnceLock, PoisonError};

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
    LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A directory of this process, in memory where the system has such a place.
fn scratch() -> std::path::PathBuf {
    static DIR: OnceLock<std::path::PathBuf> = OnceLock::new();
    let new = || {
        let memory = std::path::Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        tempfile::Builder::new().prefix("prl-fuzz-").tempdir_in(parent).unwrap().keep()
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
