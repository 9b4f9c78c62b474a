//! A server in a process of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::root;
use crate::timed::{Memory, memory_mb};

/// Long enough to read a million items.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that is ready; dropping it ends it.
pub(super) struct Server {
    process: Child,
    address: String,
}

impl Server {
    /// Starts it on a free port and waits until its model is warm. Its log, a line for each request, goes to a file.
    pub(super) fn start(prl: &Path, run: &Path) -> Result<Self> {
        let log = root().join("target/serving/log");
        let mut serve = Command::new(prl);
        serve
            .arg("serve")
            .arg("--run")
            .arg(run)
            .args(["--addr", "127.0.0.1:0"])
            .stdin(Stdio::null());
        let process = serve
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
                start.elapsed() < PATIENCE,
                "the server is not ready; see {}",
                log.display()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    fn is_ready(&mut self, log: &Path) -> bool {
        let log = std::fs::read_to_string(log).unwrap_or_default();
        let told = log
            .lines()
            .find_map(|line| line.strip_prefix("listening on http://"));
        self.address = told.unwrap_or_default().to_owned();
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&self.address)?;
            stream.write_all(
                b"GET /health/ready HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n",
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        told.is_some() && ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Resident memory now and at its peak, in MB, where the system tells.
    pub(super) fn memory(&self) -> Value {
        let mb = |memory| memory_mb(&self.process, memory);
        json!({ "now_mb": mb(Memory::Now), "peak_mb": mb(Memory::Peak) })
    }

    /// Ends it as an operator would, and sees that it ends well.
    pub(super) fn stop(mut self) -> Result<()> {
        let asked = Command::new("kill")
            .arg(self.process.id().to_string())
            .status()
            .context("failed to run kill")?;
        ensure!(asked.success(), "kill failed");
        let status = self.process.wait()?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After a failure there is nobody left to tell; a process that has ended cannot be killed again.
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
