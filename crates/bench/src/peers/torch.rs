//! PyTorch's side: `xtask/parity/step.py`, one call per case on a CPU; on a GPU one process for all
//! cases, which compiles each once.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result};
use prl_bench::measure;
use prl_experiments::Workspace;

use super::Args;
use crate::programs::python_with;
use crate::steps::Case;

/// PyTorch's side of the comparison.
pub struct Torch<'a> {
    script: Script<'a>,
    /// The process for all cases, on a GPU.
    server: Option<Server>,
}

struct Server {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// The script with the flags that all cases share.
struct Script<'a> {
    workspace: &'a Workspace,
    python: PathBuf,
    args: &'a Args,
}

impl<'a> Torch<'a> {
    /// Prepares to time some cases; on a GPU all of them are compiled first.
    ///
    /// # Errors
    /// If there is no Python with PyTorch, or a case does not compile.
    pub fn start(workspace: &'a Workspace, args: &'a Args, cases: &[Case<'_>]) -> Result<Self> {
        let python = match &args.python {
            Some(python) => python.clone(),
            None => python_with(workspace, &["torch", "numpy"])?,
        };
        let script = Script {
            workspace,
            python,
            args,
        };
        let server = if args.is_cuda() {
            script.fill_compile_cache(cases)?;
            Some(script.serve()?)
        } else {
            None
        };
        Ok(Self { script, server })
    }

    /// One line for each mode of a case.
    ///
    /// # Errors
    /// If the script fails.
    pub fn measure(&mut self, case: &Case<'_>) -> Result<String> {
        match &mut self.server {
            Some(server) => server.measure(case),
            None => Ok(measure::run(&mut self.script.command_for(case))?.output),
        }
    }
}

impl Script<'_> {
    fn command(&self) -> Command {
        let mut command = self.workspace.foreign_command(&self.python);
        command.current_dir(self.workspace.root.join("xtask/parity"));
        command.args(["step.py", "--threads", &self.args.threads.to_string()]);
        command.args(["--steps", &self.args.steps.to_string()]);
        let device = if self.args.is_cuda() { "cuda" } else { "cpu" };
        command.args(["--device", device, "--modes"]);
        command.args(&self.args.modes);
        command
    }

    fn command_for(&self, case: &Case<'_>) -> Command {
        let mut command = self.command();
        command.args(["--encoders", case.encoder, "--methods", method(case)]);
        command.args(["--items", &case.items.to_string()]);
        command
    }

    /// Starts the process that reads cases from its standard input.
    fn serve(&self) -> Result<Server> {
        let mut command = self.command();
        let mut process = command
            .arg("--ask")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to run {}", self.python.display()))?;
        let stdout = process.stdout.take().context("step.py has no output")?;
        Ok(Server {
            process,
            lines: BufReader::new(stdout).lines(),
        })
    }

    /// Compiles the cases in parallel processes, so that the timed process finds their code in
    /// PyTorch's cache.
    fn fill_compile_cache(&self, cases: &[Case<'_>]) -> Result<()> {
        let cores = thread::available_parallelism().map_or(1, Into::into);
        let workers = self.args.precompile.unwrap_or(cores).min(cases.len());
        let next = AtomicUsize::new(0);
        let compile_rest = || -> Result<()> {
            while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                eprintln!(
                    "compiling {} {}, {} items",
                    case.encoder,
                    method(case),
                    case.items
                );
                let mut command = self.command_for(case);
                // By default each process starts a compiler for every core.
                command
                    .arg("--warm-only")
                    .env("TORCHINDUCTOR_COMPILE_THREADS", "4");
                measure::run(&mut command)?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for _ in 0..workers {
                threads.push(scope.spawn(compile_rest));
            }
            for thread in threads {
                thread
                    .join()
                    .ok()
                    .context("a compiling thread panicked")??;
            }
            Ok(())
        })
    }
}

/// Name of a case's method in PyTorch's scripts, where the recipe modern is one.
pub fn method<'a>(case: &Case<'a>) -> &'a str {
    match case.recipe {
        "modern" => "modern",
        _ => case.method,
    }
}

impl Server {
    /// Sends a case; its lines end with an empty one.
    fn measure(&mut self, case: &Case<'_>) -> Result<String> {
        let stdin = self
            .process
            .stdin
            .as_mut()
            .context("step.py has no input")?;
        writeln!(stdin, "{} {} {}", case.encoder, method(case), case.items)
            .context("step.py has ended")?;
        let mut output = String::new();
        loop {
            let line = self.lines.next().context("step.py has ended")??;
            if line.is_empty() {
                return Ok(output);
            }
            output += &format!("{line}\n");
        }
    }
}

impl Drop for Server {
    /// Ends the process, which would wait for more cases.
    fn drop(&mut self) {
        let killed = self.process.kill();
        let ended = self.process.wait();
        if let Err(error) = killed.and(ended) {
            eprintln!("failed to end step.py: {error}");
        }
    }
}
