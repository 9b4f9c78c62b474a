//! `cargo xtask docs-check`: runs the shell commands of the README and of the book's first pages,
//! each page in an empty directory, and keeps the results in `docs/book/checked.md`.
//!
//! A block of commands is a fence with the language `sh` or `console`. Comments before it steer the
//! check and are not shown: `<!-- not run: REASON -->` leaves it out, `<!-- setup: COMMAND -->`
//! runs a command before it, `<!-- until: TEXT -->` ends it once its output has a text, as of a
//! server.

use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::{programs, root};

/// Pages whose commands are run, the first one first.
const PAGES: [&str; 10] = [
    "docs/book/start.md",
    "docs/book/tutorial-log.md",
    "docs/book/tutorial-value.md",
    "docs/book/tutorial-serve.md",
    "docs/book/tutorial-export.md",
    "docs/logs.md",
    "docs/training.md",
    "docs/serving.md",
    "docs/experiments.md",
    "README.md",
];
/// File of the results.
const CHECKED: &str = "docs/book/checked.md";
/// Longest time of a block.
const LIMIT: Duration = Duration::from_secs(600);

/// Flags of `docs-check`.
#[derive(clap::Args)]
pub struct Args {
    /// Run the first page alone, and keep no results
    #[arg(long)]
    quick: bool,
    /// The program `prl` [default: that of a release build]
    #[arg(long, value_name = "FILE")]
    prl: Option<PathBuf>,
    /// Run these pages alone, and keep no results
    #[arg(value_name = "PAGE")]
    pages: Vec<String>,
}

/// A fenced block of commands.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    /// Line of the fence, from 1.
    line: usize,
    commands: String,
    /// The first line that a reader sees.
    first: String,
    /// Why it is not run.
    not_run: Option<String>,
    /// Output at which it is ended.
    until: Option<String>,
}

/// Result of a block.
struct Outcome {
    page: String,
    block: Block,
    seconds: f64,
    /// The end of its output, if it failed.
    failure: Option<String>,
}

/// Runs the pages and writes the results.
///
/// # Errors
/// If a block fails.
pub fn run(args: &Args) -> Result<()> {
    let prl = match &args.prl {
        Some(prl) => std::path::absolute(prl)?,
        None => programs::prl()?,
    };
    let pages: Vec<&str> = match (args.quick, args.pages.is_empty()) {
        (_, false) => args.pages.iter().map(String::as_str).collect(),
        (true, _) => PAGES[..1].to_vec(),
        (false, _) => PAGES.to_vec(),
    };
    let mut outcomes = Vec::new();
    for page in &pages {
        outcomes.extend(check(page, &prl)?);
    }
    for outcome in &outcomes {
        println!("{}", outcome.line());
    }
    let failed = outcomes
        .iter()
        .filter(|outcome| outcome.failure.is_some())
        .count();
    ensure!(failed == 0, "{failed} blocks failed");
    if pages.len() == PAGES.len() {
        fs::write(root().join(CHECKED), results(&outcomes, &prl)?)?;
    }
    Ok(())
}

impl Outcome {
    /// A line for the terminal.
    fn line(&self) -> String {
        let Self {
            page,
            block,
            seconds,
            failure,
        } = self;
        let place = format!("{page}:{}", block.line);
        match (failure, &block.not_run) {
            (Some(failure), _) => format!("{place}: FAILED after {seconds:.1} s\n{failure}"),
            (None, Some(reason)) => format!("{place}: not run ({reason})"),
            (None, None) => format!("{place}: ok, {seconds:.1} s"),
        }
    }
}

/// The page of the results.
fn results(outcomes: &[Outcome], prl: &Path) -> Result<String> {
    let version = Command::new(prl).arg("--version").output()?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let commit = Command::new("git")
        .args(["-c", "safe.directory=*", "rev-parse", "--short", "HEAD"])
        .current_dir(root())
        .output()?;
    let commit = String::from_utf8_lossy(&commit.stdout).trim().to_owned();
    let mut page = String::from(
        "# Commands of the documentation\n\n<!-- Written by `cargo xtask docs-check`. -->\n\n",
    );
    writeln!(
        page,
        "Every block of shell commands of the first pages, run in an empty directory by `cargo xtask docs-check` with `{version}` at \
         commit {commit}.\n"
    )?;
    page += "| page | line | first command | result | seconds |\n|---|---:|---|---|---:|\n";
    for Outcome {
        page: name,
        block,
        seconds,
        ..
    } in outcomes
    {
        let first = block
            .first
            .split("  #")
            .next()
            .unwrap_or_default()
            .trim()
            .replace('|', "\\|");
        let (result, time) = match &block.not_run {
            Some(reason) => (format!("not run: {reason}"), String::new()),
            None => ("ok".into(), format!("{seconds:.1}")),
        };
        writeln!(
            page,
            "| {name} | {} | `{first}` | {result} | {time} |",
            block.line
        )?;
    }
    Ok(page)
}

/// Runs the blocks of a page in an empty directory.
fn check(page: &str, prl: &Path) -> Result<Vec<Outcome>> {
    let path = root().join(page);
    let text =
        fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let name = page.replace(['/', '.'], "-");
    let dir = std::env::temp_dir().join(format!("prl-docs-{}-{name}", std::process::id()));
    fs::create_dir_all(dir.join("page"))?;
    let shell = Shell {
        prl,
        dir: &dir,
        groups: Vec::new(),
    };
    let outcomes = run_blocks(page, blocks(&text), shell);
    fs::remove_dir_all(&dir)?;
    outcomes
}

fn run_blocks(page: &str, blocks: Vec<Block>, mut shell: Shell<'_>) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for block in blocks {
        let start = Instant::now();
        let failure = match block.not_run {
            Some(_) => None,
            None => shell.run(&block.commands, block.until.as_deref())?,
        };
        let seconds = start.elapsed().as_secs_f64();
        let has_failed = failure.is_some();
        outcomes.push(Outcome {
            page: page.into(),
            block,
            seconds,
            failure,
        });
        // What follows builds on it.
        if has_failed {
            break;
        }
    }
    Ok(outcomes)
}

/// Runs blocks in a directory. Programs that a block leaves in the background end with the value.
struct Shell<'a> {
    prl: &'a Path,
    dir: &'a Path,
    /// Process groups of the blocks so far.
    groups: Vec<u32>,
}

impl Shell<'_> {
    /// The end of the output if the commands fail, or end without the text `until`.
    fn run(&mut self, commands: &str, until: Option<&str>) -> Result<Option<String>> {
        // A pipe would stay open as long as a program in the background.
        let log = self.dir.join("output");
        let output = File::create(&log)?;
        let mut path = self
            .prl
            .parent()
            .context("prl has no folder")?
            .as_os_str()
            .to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", commands]);
        command.current_dir(self.dir.join("page")).env("PATH", path);
        // What a command leaves among the temporary files is removed with the page.
        command.env("TMPDIR", self.dir);
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut shell = command.spawn().context("failed to run bash")?;
        self.groups.push(shell.id());
        let start = Instant::now();
        let status = loop {
            if let Some(status) = shell.try_wait()? {
                break status;
            }
            if let Some(text) = until
                && String::from_utf8_lossy(&fs::read(&log)?).contains(text)
            {
                self.end(shell.id());
                shell.wait()?;
                return Ok(None);
            }
            if start.elapsed() > LIMIT {
                shell.kill()?;
            }
            thread::sleep(Duration::from_millis(20));
        };
        if status.success() && until.is_none() {
            return Ok(None);
        }
        let said = fs::read(&log)?;
        let said = String::from_utf8_lossy(&said).into_owned();
        let lines: Vec<&str> = said.lines().collect();
        let end = lines[lines.len().saturating_sub(12)..].join("\n");
        Ok(Some(format!("{status}\n{end}")))
    }
}

impl Shell<'_> {
    /// Ends the programs of a process group.
    fn end(&self, group: u32) {
        let mut kill = Command::new("kill");
        kill.args(["-KILL", "--", &format!("-{group}")]);
        // A group without a process is as good.
        _ = kill.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

impl Drop for Shell<'_> {
    fn drop(&mut self) {
        for &group in &self.groups {
            self.end(group);
        }
    }
}

/// The blocks of commands of a Markdown text.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let (mut setup, mut not_run, mut until) = (String::new(), None, None);
    // Line and language of the open fence, and its text.
    let mut open: Option<(usize, &str, String)> = None;
    for (i, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        match (&mut open, trimmed.strip_prefix("```")) {
            (None, Some(language)) => open = Some((i + 1, language, String::new())),
            (None, None) => {
                if let Some(reason) = comment(trimmed, "<!-- not run:") {
                    not_run = Some(reason.to_owned());
                } else if let Some(output) = comment(trimmed, "<!-- until:") {
                    until = Some(output.to_owned());
                } else if let Some(command) = comment(trimmed, "<!-- setup:") {
                    setup += command;
                    setup.push('\n');
                } else if !trimmed.is_empty() {
                    // The comments are of the block that follows them alone.
                    (setup, not_run, until) = (String::new(), None, None);
                }
            }
            (Some((_, language, commands)), None) => match *language {
                "console" => {
                    if let Some(command) = line.strip_prefix("$ ") {
                        commands.push_str(command);
                        commands.push('\n');
                    }
                }
                _ => {
                    commands.push_str(line);
                    commands.push('\n');
                }
            },
            (Some(_), Some(_)) => {
                let Some((line, language, commands)) = open.take() else {
                    continue;
                };
                let (setup, not_run) = (std::mem::take(&mut setup), not_run.take());
                let until = until.take();
                if ["sh", "console"].contains(&language) {
                    blocks.push(Block {
                        line,
                        first: commands.lines().next().unwrap_or_default().to_owned(),
                        commands: setup + &commands,
                        not_run,
                        until,
                    });
                }
            }
        }
    }
    blocks
}

/// The text of a comment that starts so.
fn comment<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    let text = line.strip_prefix(start)?;
    Some(text.strip_suffix("-->")?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_with_their_comments() {
        let text = "a\n```sh\none\n```\n<!-- not run: needs a GPU -->\n\n```sh\nthree\n```\n\
                    <!-- setup: mkdir x -->\n```console\n$ four\noutput\n```\n```rust\nfive\n```\n\
                    <!-- not run: stale -->\ntext\n```sh\nsix\n```\n";
        let found = blocks(text);
        let block = |line, commands: &str, not_run: Option<&str>| Block {
            line,
            commands: commands.into(),
            first: commands.lines().next_back().unwrap_or_default().into(),
            not_run: not_run.map(str::to_owned),
            until: None,
        };
        let expected = [
            block(2, "one\n", None),
            block(7, "three\n", Some("needs a GPU")),
            block(11, "mkdir x\nfour\n", None),
            block(20, "six\n", None),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn failed_block_is_reported_and_ends_its_page() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("page")).unwrap();
        let text = "```sh\ntrue\n```\n```sh\necho cause; false; true\n```\n```sh\ntrue\n```\n";
        let prl = Path::new("bin/prl");
        let shell = Shell {
            prl,
            dir: dir.path(),
            groups: Vec::new(),
        };
        let outcomes = run_blocks("page.md", blocks(text), shell).unwrap();
        assert_eq!(outcomes.len(), 2);
        assert!(outcomes[0].failure.is_none());
        assert!(
            outcomes[1].line().contains("cause"),
            "{}",
            outcomes[1].line()
        );
    }

    #[test]
    fn block_with_an_end_succeeds_at_its_output_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("page")).unwrap();
        let text = "<!-- until: ready -->\n```sh\necho is ready; sleep 600\n```\n\
                    <!-- until: ready -->\n```sh\necho not yet\n```\n";
        let shell = Shell {
            prl: Path::new("bin/prl"),
            dir: dir.path(),
            groups: Vec::new(),
        };
        let outcomes = run_blocks("page.md", blocks(text), shell).unwrap();
        assert!(outcomes[0].failure.is_none(), "{}", outcomes[0].line());
        assert!(
            outcomes[1].line().contains("not yet"),
            "{}",
            outcomes[1].line()
        );
    }

    #[test]
    fn commands_of_the_first_page_run() {
        let Some(prl) = programs::prl_of_tests() else {
            return;
        };
        let outcomes = check(PAGES[0], &prl).unwrap();
        assert!(outcomes.len() >= 4, "{} blocks", outcomes.len());
        for outcome in outcomes {
            assert!(outcome.failure.is_none(), "{}", outcome.line());
        }
    }
}
