//! Starts the programs that ship in a bundle: `reproduce`, `status` and `perform` are subcommands
//! of `prl-reproduce` in `prl-report`, `bench` is `prl-bench`, and
//! `benchmarks` its subcommand.

use std::process::Command;

use anyhow::{Result, bail};

use crate::programs;

/// Flags that are passed on unread, `--help` included.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<String>,
}

/// Builds and runs a subcommand of `prl-reproduce` in place of this process.
pub fn reproduce(subcommand: &str, args: &Args) -> Result<()> {
    let mut command = cargo_run("prl-report")?;
    command.arg(subcommand).args(&args.flags);
    replace_process(command)
}

/// Builds and runs `prl-bench` in place of this process.
pub fn bench(args: &Args) -> Result<()> {
    let mut command = cargo_run("prl-bench")?;
    command.args(&args.flags);
    replace_process(command)
}

/// As [`bench()`], of the public benchmarks.
pub fn benchmarks(args: &Args) -> Result<()> {
    let mut command = cargo_run("prl-bench")?;
    command.arg("benchmarks").args(&args.flags);
    replace_process(command)
}

fn cargo_run(package: &str) -> Result<Command> {
    let mut cargo = programs::cargo();
    cargo.args(["run", "--quiet", "--package", package, "--"]);
    // Relative paths in the flags refer to the caller's directory.
    cargo.current_dir(std::env::current_dir()?);
    Ok(cargo)
}

fn replace_process(mut command: Command) -> Result<()> {
    #[cfg(unix)]
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    #[cfg(not(unix))]
    let error = match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    };
    bail!("failed to run {:?}: {error}", command.get_program())
}
