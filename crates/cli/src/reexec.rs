//! Runs the Parquet reader in a child process, so that an abort in it becomes an error.
//!
//! Polars allocates by the run lengths inside a Parquet page; a damaged one exceeds all memory and
//! aborts the process.

use std::path::Path;
use std::process::{Command, ExitStatus};

/// Environment variable that marks the child process.
const INSIDE: &str = "PRL_APART";

/// Starts this program again with the same arguments and exits with its exit code. Returns `Ok` in
/// the child process.
///
/// # Errors
/// If the child was killed by a signal while it read `input`.
pub fn run_in_child(input: &Path) -> anyhow::Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    let mut again = Command::new(std::env::current_exe()?);
    let status = again
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .status()?;
    match status.code() {
        Some(code) => std::process::exit(code),
        None => Err(ended(input, status)),
    }
}

fn ended(input: &Path, status: ExitStatus) -> anyhow::Error {
    if is_interrupt(status) {
        return anyhow::anyhow!("{}: reading was interrupted by {status}", input.display());
    }
    let what = format!("damaged Parquet (its reader was killed by {status}); fetch the file again");
    prl_data::Error::File {
        path: input.to_owned(),
        what,
    }
    .into()
}

/// True for signals sent from outside (HUP, INT, KILL by the out-of-memory killer, TERM).
#[cfg(unix)]
fn is_interrupt(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    const EXTERNAL: [i32; 4] = [1, 2, 9, 15];
    status
        .signal()
        .is_some_and(|signal| EXTERNAL.contains(&signal))
}

/// False: there are no signals on this system.
#[cfg(not(unix))]
fn is_interrupt(_: ExitStatus) -> bool {
    false
}
