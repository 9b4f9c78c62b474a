//! `prl completions` and `prl man`: files generated from the command line's definition.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::Cli;

/// Print a shell completion script
#[derive(clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Print or write the manual pages
#[derive(clap::Args)]
pub struct ManArgs {
    /// Write a page for each command to this directory, instead of printing the page of prl
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn completions(args: CompletionsArgs) -> anyhow::Result<()> {
    // In memory first: the generator panics if it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "prl", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(())
}

pub fn man(args: ManArgs) -> anyhow::Result<()> {
    let Some(dir) = args.out else {
        clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?;
        return Ok(());
    };
    std::fs::create_dir_all(&dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &dir))
        .with_context(|| format!("failed to write manual pages to {}", dir.display()))
}
