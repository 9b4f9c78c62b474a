//! Runs the program in a child process while it reads Parquet, so that an abort of the reader
//! becomes an error.
//!
//! Polars trusts the run lengths inside a Parquet page; one beyond all memory aborts the process
//! that allocates for it, which no `catch_unwind` stops.

use std::path::Path;
use std::process::{Command, ExitStatus};

use crate::error::{Error, Result};
use crate::options::{Options, Source};

/// Environment variable that is set in the child process.
const IS_CHILD: &str = "PRL_APART";

/// Protects the program from Parquet files that abort their reader; does nothing for other sources.
///
/// Starts `again`, this program with the same arguments, waits for it and exits with its code.
/// Returns in the child, which then does the work. Call it from `main`, before anything that must
/// not happen twice:
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::process::Command;
///
/// use prl_data::{Options, Source, Table, prepare, reexec_guard};
///
/// let mut again = Command::new(std::env::current_exe()?);
/// again.args(std::env::args_os().skip(1));
/// let table = Table {
///     columns: Some("session=visitor,time=at,item=sku".parse()?),
///     ..Table::default()
/// };
/// let options = Options::new(Source::Parquet { input: "log.parquet".into(), table });
/// reexec_guard(&options, again)?;
/// prepare(&options, "prepared".as_ref())?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::File`] if the child was aborted; [`Error::Interrupted`] if it was ended from outside;
/// [`Error::Io`] if it could not be started.
pub fn reexec_guard(options: &Options, mut again: Command) -> Result<()> {
    let Source::Parquet { input, .. } = &options.source else {
        return Ok(());
    };
    if std::env::var_os(IS_CHILD).is_some() {
        return Ok(());
    }
    again.env(IS_CHILD, "1");
    let program = Path::new(again.get_program()).to_owned();
    let status = again.status().map_err(Error::io(&program))?;
    match status.code() {
        Some(code) => std::process::exit(code),
        None => {
            let paths = input.paths();
            Err(ended(paths.first().unwrap_or(&Path::new("")), status))
        }
    }
}

fn ended(input: &Path, status: ExitStatus) -> Error {
    if is_interrupt(status) {
        return Error::Interrupted {
            path: input.to_owned(),
            status,
        };
    }
    let what = format!("damaged Parquet (its reader was ended by {status}); fetch the file again");
    Error::file(input, what)
}

/// Returns true if the process received a termination signal or the system ran out of memory.
#[cfg(unix)]
fn is_interrupt(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    const HUP_INT_KILL_TERM: [i32; 4] = [1, 2, 9, 15];
    status
        .signal()
        .is_some_and(|signal| HUP_INT_KILL_TERM.contains(&signal))
}

/// Returns true if the process received a termination signal.
#[cfg(not(unix))]
fn is_interrupt(_: ExitStatus) -> bool {
    false
}
