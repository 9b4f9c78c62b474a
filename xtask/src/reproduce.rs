//! Forwards `reproduce`, `status` and `perform` to the `prl-reproduce` program of `prl-report`.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{programs, workspace};

/// Flags that are passed on unread, `--help` included.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<String>,
}

/// Runs a subcommand of `prl-reproduce` in place of this process.
pub fn run(subcommand: &str, args: &Args) -> Result<()> {
    let mut command = if let Some(bundle) = workspace().bundle() {
        let [program] = bundle.programs(["prl-reproduce"])?;
        Command::new(program)
    } else {
        let mut cargo = programs::cargo();
        cargo.args(["run", "--quiet", "--package", "prl-report"]);
        cargo
            .arg("--manifest-path")
            .arg(workspace().root.join("Cargo.toml"));
        cargo.arg("--");
        // Relative paths in the flags refer to the caller's directory.
        cargo.current_dir(std::env::current_dir()?);
        cargo
    };
    command.arg(subcommand).args(&args.flags);
    #[cfg(unix)]
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    #[cfg(not(unix))]
    let error = match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    };
    bail!("failed to start prl-reproduce: {error}")
}
