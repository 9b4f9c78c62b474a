//! The reference of the command line: the help text of every command.

use std::path::Path;

use anyhow::{Context, Result};

use super::output;

const HEAD: &str = "# Commands

<!-- Written by `cargo xtask book`. -->

The help text of every command, as `prl COMMAND --help` prints it. `prl man --out DIR` writes manual pages,
`prl completions SHELL` completions.
";

/// The page.
pub(super) fn page(prl: &Path) -> Result<String> {
    let here = Path::new(".");
    let help = output(prl, &["--help"], here)?;
    let mut page = HEAD.to_owned();
    page += &section("prl", &help);
    for name in names(&help)? {
        page += &section(
            &format!("prl {name}"),
            &output(prl, &[name, "--help"], here)?,
        );
        let own = output(prl, &[name, "--help"], here)?;
        // Commands such as `models` have commands of their own.
        for part in names(&own).unwrap_or_default() {
            let help = output(prl, &[name, part, "--help"], here)?;
            page += &section(&format!("prl {name} {part}"), &help);
        }
    }
    Ok(page)
}

fn section(name: &str, help: &str) -> String {
    let mut lines = String::new();
    for line in help.lines() {
        lines += line.trim_end();
        lines.push('\n');
    }
    format!("\n## {name}\n\n```text\n{lines}```\n")
}

/// The commands that a help text lists.
fn names(help: &str) -> Result<Vec<&str>> {
    let (_, list) = help
        .split_once("\nCommands:\n")
        .context("no list of commands")?;
    let mut names = Vec::new();
    for line in list.lines().take_while(|line| !line.is_empty()) {
        // A name is indented by two spaces; its description continues with more.
        let Some(name) = line
            .strip_prefix("  ")
            .filter(|rest| !rest.starts_with(' '))
        else {
            continue;
        };
        let name = name.split(' ').next().unwrap_or_default();
        if name != "help" {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_commands_are_read_without_their_descriptions() {
        let help = "x\n\nCommands:\n  prepare  Convert\n           and more\n  help     Print\n\nOptions:\n  -h\n";
        assert_eq!(names(help).unwrap(), ["prepare"]);
        assert!(names("Usage: x\n").is_err());
    }
}
