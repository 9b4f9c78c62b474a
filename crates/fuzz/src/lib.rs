//! Fuzz targets: every parser of external input as a function of bytes.
//!
//! A target may reject its input with an error; it may not panic, hang or allocate without bound.
//! The same functions run under libFuzzer and in the smoke test of `cargo xtask reliability`.
//!
//! ```
//! assert!(prl_fuzz::config(b"batch_size = 32").is_ok());
//! assert!(prl_fuzz::config(b"batch_size = ").is_err());
//! ```

mod arms;
pub mod attacks;
mod exchange;
mod http;
mod raw;
mod saved;
mod space;

use std::sync::{Mutex, Once, OnceLock, PoisonError};
use std::time::Duration;

pub use arms::{arms_log, experiment};
pub use exchange::import;
pub use http::http;
pub use raw::{csv, inter, jsonl, parquet, rc15, retailrocket, text};
pub use saved::{checkpoint, config, dataset, seeds};
pub use space::space;

/// Fuzz target: parses the bytes, or returns the error message of the rejection.
pub type Target = fn(&[u8]) -> Result<(), String>;

/// All targets, by name.
pub const TARGETS: [(&str, Target); 15] = [
    ("retailrocket", retailrocket),
    ("rc15", rc15),
    ("csv", csv),
    ("inter", inter),
    ("text", text),
    ("jsonl", jsonl),
    ("experiment", experiment),
    ("arms_log", arms_log),
    ("parquet", parquet),
    ("dataset", dataset),
    ("checkpoint", checkpoint),
    ("config", config),
    ("space", space),
    ("http", http),
    ("import", import),
];

/// Maximum run time of an input that mutations start from.
pub const QUICK: Duration = Duration::from_millis(200);

/// Message and location of the last panic.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Installs a silent panic hook: panics that a parser catches itself (polars panics on some corrupt
/// Parquet files) are not printed; all others end the target anyway.
pub fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
        }));
    });
}

/// Message and location of the last panic.
pub fn last_panic() -> String {
    LAST_PANIC
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// Entry point for libFuzzer: prints an uncaught panic and aborts the process.
pub fn or_abort(target: Target, input: &[u8]) {
    quiet();
    if std::panic::catch_unwind(|| target(input)).is_err() {
        // With -fork, libFuzzer forwards only lines of its child processes that contain this word.
        eprintln!("ERROR: {}", last_panic());
        std::process::abort();
    }
}

/// Temporary directory of this process: in `TMPDIR` if set, else in `/dev/shm` if it exists.
fn scratch() -> std::path::PathBuf {
    static DIR: OnceLock<std::path::PathBuf> = OnceLock::new();
    DIR.get_or_init(create_scratch).clone()
}

fn create_scratch() -> std::path::PathBuf {
    let memory = std::path::Path::new("/dev/shm");
    let is_chosen = std::env::var_os("TMPDIR").is_some();
    let parent = if memory.is_dir() && !is_chosen {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix("prl-fuzz-");
    builder.tempdir_in(parent).unwrap().keep()
}

/// Message of an error.
fn message(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Removes the temporary directory of the targets.
pub fn clean() {
    _ = std::fs::remove_dir_all(scratch());
}
