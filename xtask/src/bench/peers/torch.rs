//! PyTorch's side: `xtask/parity/step.py`, a call a case on a CPU; on a GPU one process for all, which compiles a case once.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};

use super::Args;
use crate::bench::steps::Case;
use crate::root;
use crate::timed;

/// What times PyTorch's steps.
pub enum Torch<'a> {
    /// A call a case.
    Called { python: PathBuf, args: &'a Args },
    /// A process that is asked.
    Asked {
        child: Child,
        lines: Lines<BufReader<ChildStdout>>,
    },
}

impl<'a> Torch<'a> {
    /// Gets ready to time some cases.
    ///
    /// # Errors
    /// If there is no Python with PyTorch, or it cannot compile them.
    pub fn start(args: &'a Args, cases: &[Case<'_>]) -> Result<Self> {
        let python = args
            .python
            .clone()
            .map_or_else(|| environment(&["torch", "numpy"]), Ok)?;
        if !args.is_cuda() {
            return Ok(Self::Called { python, args });
        }
        warm(args, &python, cases)?;
        let mut step = step(args, &python);
        let child = step
            .arg("--ask")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.with_context(|| format!("failed to run {}", python.display()))?;
        let stdout = child
            .stdout
            .take()
            .context("step.py has no standard output")?;
        Ok(Self::Asked {
            child,
            lines: BufReader::new(stdout).lines(),
        })
    }

    /// A line for each mode of a case.
    ///
    /// # Errors
    /// If a case fails.
    pub fn time(&mut self, case: &Case<'_>) -> Result<String> {
        let (child, lines) = match self {
            Self::Called { python, args } => {
                return Ok(timed::run(of_case(&mut step(args, python), case))?.output);
            }
            Self::Asked { child, lines } => (child, lines),
        };
        let stdin = child
            .stdin
            .as_mut()
            .context("step.py has no standard input")?;
        writeln!(stdin, "{} {} {}", case.encoder, case.method, case.items)
            .context("step.py has ended")?;
        let mut answer = String::new();
        loop {
            let line = lines.next().context("step.py has ended")??;
            if line.is_empty() {
                return Ok(answer);
            }
            answer += &line;
            answer.push('\n');
        }
    }
}

impl Drop for Torch<'_> {
    /// The process would wait for questions.
    fn drop(&mut self) {
        if let Self::Asked { child, .. } = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn step(args: &Args, python: &Path) -> Command {
    let mut step = crate::workspace().foreign_command(python);
    step.current_dir(root().join("xtask/parity")).arg("step.py");
    step.args([
        "--threads",
        &args.threads.to_string(),
        "--steps",
        &args.steps.to_string(),
    ]);
    step.args(["--device", if args.is_cuda() { "cuda" } else { "cpu" }]);
    step.arg("--modes").args(&args.modes);
    step
}

fn of_case<'a>(step: &'a mut Command, case: &Case<'_>) -> &'a mut Command {
    step.args([
        "--encoders",
        case.encoder,
        "--methods",
        case.method,
        "--items",
        &case.items.to_string(),
    ])
}

/// Fills PyTorch's cache of compiled code, some cases at once, so that the process that times them finds it full.
fn warm(args: &Args, python: &Path, cases: &[Case<'_>]) -> Result<()> {
    let cores = thread::available_parallelism().map_or(1, Into::into);
    let at_once = args.precompile.unwrap_or(cores).min(cases.len());
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            eprintln!(
                "compiling {} {}, {} items",
                case.encoder, case.method, case.items
            );
            let mut step = step(args, python);
            // Else each would start a compiler for every core.
            step.arg("--warm-only")
                .env("TORCHINDUCTOR_COMPILE_THREADS", "4");
            timed::run(of_case(&mut step, case))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .ok()
                .context("a thread that waits for step.py failed")?
        })
    })
}

/// A Python with some packages, the first of which is asked for: made once, under target/.
///
/// # Errors
/// If Python or pip fails.
pub fn environment(packages: &[&str]) -> Result<PathBuf> {
    let dir = root().join("target/peers");
    let python = dir.join("bin/python");
    let import = format!("import {}", packages.join(", "));
    let has_all = || {
        Command::new(&python)
            .args(["-c", &import])
            .stderr(Stdio::null())
            .status()
    };
    if has_all().is_ok_and(|status| status.success()) {
        return Ok(python);
    }
    let made = Command::new("python3")
        .args(["-m", "venv"])
        .arg(&dir)
        .status()
        .context("failed to run python3")?;
    ensure!(made.success(), "python3 -m venv failed");
    let installed = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet"])
        .args(packages)
        .status()?;
    ensure!(
        installed.success(),
        "pip could not install {packages:?}; name a Python that has them with --python"
    );
    Ok(python)
}
