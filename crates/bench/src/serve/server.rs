//! A `prl serve` process.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use prl_bench::measure::{Memory, memory_mb};
use prl_experiments::Workspace;
use serde_json::{Value, json};

/// Bound on the start-up time; a million items take some seconds to load.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// A server that is ready; killed when dropped.
pub(super) struct Server {
    process: Child,
    /// Host and port.
    address: String,
}

impl Server {
    /// Starts a server on a free port and waits until its model is warm. Its log, a line per
    /// request, goes to a file.
    pub(super) fn start(
        workspace: &Workspace,
        prl: &Path,
        run: &Path,
        flags: &[String],
        first_pass: &str,
    ) -> Result<Self> {
        let log = workspace.root.join("target/serving/log");
        let mut serve = Command::new(prl);
        serve
            .args(["serve", "--addr", "127.0.0.1:0", "--run"])
            .arg(run)
            .args(flags)
            .env("PRL_FIRST_PASS", first_pass);
        let process = serve
            .stdin(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("failed to run prl")?;
        let mut server = Self {
            process,
            address: String::new(),
        };
        let start = Instant::now();
        while !server.is_ready(&log) {
            if let Some(status) = server.process.try_wait()? {
                bail!("the server ended with {status}; see {}", log.display());
            }
            ensure!(
                start.elapsed() < START_TIMEOUT,
                "the server is not ready after {} s; see {}",
                START_TIMEOUT.as_secs(),
                log.display()
            );
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Whether the readiness probe succeeds; reads the address from the log first.
    fn is_ready(&mut self, log: &Path) -> bool {
        for line in fs::read_to_string(log).unwrap_or_default().lines() {
            if let Some(address) = line.strip_prefix("listening on http://") {
                self.address = address.to_owned();
            }
        }
        let response = self.get("/health/ready").unwrap_or_default();
        response.starts_with("HTTP/1.1 200 ")
    }

    fn get(&self, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n"
        )?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        Ok(response)
    }

    /// Host and port.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Current and peak resident memory in MB, where the system reports them.
    pub(super) fn memory(&self) -> Value {
        let now = memory_mb(&self.process, Memory::Now);
        let peak = memory_mb(&self.process, Memory::Peak);
        json!({ "now_mb": now, "peak_mb": peak })
    }

    /// Ends the server by SIGTERM, as an operator does; fails if its exit code is not 0.
    pub(super) fn stop(mut self) -> Result<()> {
        let kill = Command::new("kill")
            .arg(self.process.id().to_string())
            .status()
            .context("failed to run kill")?;
        ensure!(kill.success(), "kill failed: {kill}");
        let status = self.process.wait()?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Errors are ignored: a process that has ended cannot be killed again.
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
