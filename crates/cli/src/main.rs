//! The binary `prl`.

use std::process::ExitCode;

fn main() -> ExitCode {
    prl_cli::main()
}
