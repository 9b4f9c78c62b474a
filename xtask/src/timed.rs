//! A program run once: how long it took, and the most memory it held.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// How often a program's memory is looked at. What is read is the most it ever held, so only growth in its very last moment
/// can be missed.
const LOOK: Duration = Duration::from_millis(2);

/// What became of a program.
pub struct Timed {
    /// Seconds from its start to its end.
    pub seconds: f64,
    /// The most memory it held, in MB; `None` where the system does not say.
    pub peak_mb: Option<f64>,
    /// What it printed.
    pub output: String,
}

/// Runs a program to its end.
///
/// # Errors
/// If it cannot be run or fails.
pub fn run(command: &mut Command) -> Result<Timed> {
    let name = command.get_program().display().to_string();
    let start = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to run {name}"))?;
    let mut pipe = child.stdout.take();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        pipe.as_mut()
            .map_or(Ok(0), |pipe| pipe.read_to_string(&mut text))
            .map(|_| text)
    });
    let (mut peak_mb, mut status) = (None, None);
    while status.is_none() {
        peak_mb = memory_mb(&child, Memory::Peak).or(peak_mb);
        thread::sleep(LOOK);
        status = child.try_wait()?;
    }
    let seconds = start.elapsed().as_secs_f64();
    ensure!(
        status.is_some_and(|status| status.success()),
        "{name} failed"
    );
    let output = reader
        .join()
        .ok()
        .with_context(|| format!("{name} says nothing"))??;
    Ok(Timed {
        seconds,
        peak_mb,
        output,
    })
}

/// What is asked of a process's resident memory.
#[derive(Clone, Copy)]
pub enum Memory {
    /// What it holds now.
    Now,
    /// The most it ever held.
    Peak,
}

/// Resident memory of a process, in MB; `None` where the system does not say.
pub fn memory_mb(child: &Child, memory: Memory) -> Option<f64> {
    let name = match memory {
        Memory::Now => "VmRSS:",
        Memory::Peak => "VmHWM:",
    };
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1024.0)
}

/// The middle of some values, the upper one of two; NaN of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_timed_and_weighed() {
        let timed = run(Command::new("sh").args(["-c", "sleep 0.05; echo said"])).unwrap();
        assert_eq!(timed.output, "said\n");
        assert!(timed.seconds >= 0.05 && timed.peak_mb.is_some_and(|mb| mb > 0.1));
        assert!(run(Command::new("sh").args(["-c", "exit 3"])).is_err());
        assert!(run(&mut Command::new("no-such-program-anywhere")).is_err());
    }

    #[test]
    fn the_middle_is_no_mean() {
        assert_eq!(median(&[9.0, 1.0, 100.0]), 9.0);
        assert!(median(&[]).is_nan());
    }
}
