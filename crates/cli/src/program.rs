//! The program that runs these commands, to start it again.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::Context;

/// A program and the arguments that come before a command.
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// Its first arguments, such as `-m prl` of an interpreter.
    pub arguments: Vec<OsString>,
}

static PROGRAM: OnceLock<Program> = OnceLock::new();

/// Sets the program that runs these commands: by default, the current executable. The first call
/// counts.
pub fn set_program(program: Program) {
    _ = PROGRAM.set(program);
}

/// This program, to be started with a command of its own.
pub(crate) fn program() -> anyhow::Result<Command> {
    if let Some(program) = PROGRAM.get() {
        let mut command = Command::new(&program.path);
        command.args(&program.arguments);
        return Ok(command);
    }
    let path = std::env::current_exe().context("failed to find this program")?;
    Ok(Command::new(path))
}
