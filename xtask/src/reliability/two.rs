//! Two processes on one run directory: the second is refused and told who holds it; once the first is killed, another is let in.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::row::{Promise, Row};
use super::runs::Runs;

const TIMES: u64 = 20;

/// Tries it some times.
pub fn run(runs: &Runs) -> Result<Vec<Row>> {
    let out = runs.path("two");
    let (mut refused, mut let_in) = (0, 0);
    for _ in 0..TIMES {
        let mut first = runs.begin(&mut endless(runs, &out))?;
        let is_held = holds(&mut first, &out)?;
        ensure!(is_held, "a training ended at once");
        let second = endless(runs, &out).stderr(Stdio::piped()).output()?;
        let said = String::from_utf8_lossy(&second.stderr);
        refused += u64::from(
            !second.status.success()
                && said.contains(&format!("in use by process {} ", first.id())),
        );
        first.kill()?;
        first.wait()?;
        let mut third = runs.begin(&mut endless(runs, &out))?;
        let_in += u64::from(holds(&mut third, &out)?);
        third.kill()?;
        third.wait()?;
    }
    let row = |tried: &str, good: u64| Row {
        promise: Promise::TwoAtOnce,
        tried: tried.into(),
        times: TIMES,
        lost: TIMES - good,
    };
    Ok(vec![
        row(
            "a second training on a run directory: refused, with the process that holds it",
            refused,
        ),
        row("the holder killed, and another one begun: let in", let_in),
    ])
}

/// A training that does not end by itself.
fn endless(runs: &Runs, out: &Path) -> Command {
    let mut command = runs.prl([
        "train",
        "--resume",
        "--epochs",
        "1000000",
        "--eval-every",
        "1000000",
        "--dim",
        "8",
    ]);
    command.arg("--data").arg(runs.data()).arg("--out").arg(out);
    command
}

/// Waits until a training holds its directory; whether it does before it ends.
fn holds(child: &mut Child, out: &Path) -> Result<bool> {
    let begun = Instant::now();
    let pid = format!("\"pid\":{},", child.id());
    while child.try_wait()?.is_none() {
        ensure!(
            begun.elapsed() < Duration::from_secs(60),
            "a training does not begin"
        );
        if fs::read_to_string(out.join(".lock")).is_ok_and(|held| held.contains(&pid)) {
            return Ok(true);
        }
        sleep(Duration::from_millis(2));
    }
    Ok(false)
}
