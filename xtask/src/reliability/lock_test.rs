//! Lock of the run directory: a second process fails with the holder's process id; killing the
//! holder releases the lock.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::promise::{Promise, Trial};
use super::runs::Runs;

const TIMES: u64 = 20;
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Tests the lock [`TIMES`] times.
pub fn run(runs: &Runs) -> Result<Vec<Trial>> {
    let out = runs.path("lock");
    let (mut refused, mut admitted) = (0, 0);
    for _ in 0..TIMES {
        let mut holder = runs.spawn(&mut endless_training(runs, &out))?;
        ensure!(
            wait_for_lock(&mut holder, &out)?,
            "a training ended before it took the lock"
        );
        let second = endless_training(runs, &out)
            .stderr(Stdio::piped())
            .output()?;
        let message = String::from_utf8_lossy(&second.stderr);
        let names_holder = message.contains(&format!("in use by process {} ", holder.id()));
        refused += u64::from(!second.status.success() && names_holder);
        holder.kill()?;
        holder.wait()?;
        let mut third = runs.spawn(&mut endless_training(runs, &out))?;
        admitted += u64::from(wait_for_lock(&mut third, &out)?);
        third.kill()?;
        third.wait()?;
    }
    let second = "a second training on a run directory: refused with the holder's process id";
    let third = "the holder killed and another training started: it gets the lock";
    Ok(vec![
        Trial::new(Promise::Locks, second, TIMES, TIMES - refused),
        Trial::new(Promise::Locks, third, TIMES, TIMES - admitted),
    ])
}

/// A training that does not finish by itself.
fn endless_training(runs: &Runs, out: &Path) -> Command {
    let mut command = runs.prl(&["train", "--resume", "--recipe", "paper", "--dim", "8"]);
    command.args(["--epochs", "1000000", "--eval-every", "1000000"]);
    command.arg("--data").arg(runs.data()).arg("--out").arg(out);
    command
}

/// Waits until a training holds the lock; `false` if it ends before.
fn wait_for_lock(child: &mut Child, out: &Path) -> Result<bool> {
    let start = Instant::now();
    let pid = format!("\"pid\":{},", child.id());
    while child.try_wait()?.is_none() {
        ensure!(
            start.elapsed() < START_TIMEOUT,
            "a training took no lock in {} s",
            START_TIMEOUT.as_secs()
        );
        let lock = fs::read_to_string(out.join(".lock")).unwrap_or_default();
        if lock.contains(&pid) {
            return Ok(true);
        }
        sleep(Duration::from_millis(2));
    }
    Ok(false)
}
