//! Work in a process of its own: what a reader of a foreign format does not survive ends that process, and is an error here.
//!
//! Polars believes the run lengths inside a Parquet page; one beyond all memory ends the process that asks for it.

use std::path::Path;
use std::process::{Command, ExitStatus};

/// Set for the process that does the work.
const INSIDE: &str = "PRL_APART";

/// Calls this program again, with the same arguments, and ends as it ended. Returns in the process that is to do the work, and
/// where the other one did not come to an end of its own.
///
/// # Errors
/// If that process was ended while it read `input`.
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
        return anyhow::anyhow!("{}: reading was ended by {status}", input.display());
    }
    let what = format!("damaged Parquet (its reader was ended by {status}); fetch the file again");
    prl_data::Error::File {
        path: input.to_owned(),
        what,
    }
    .into()
}

/// Whether somebody asked it to end, or the system had no memory left.
#[cfg(unix)]
fn is_interrupt(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    const ASKED: [i32; 4] = [1, 2, 9, 15];
    status
        .signal()
        .is_some_and(|signal| ASKED.contains(&signal))
}

/// Whether somebody asked it to end.
#[cfg(not(unix))]
fn is_interrupt(_: ExitStatus) -> bool {
    false
}
