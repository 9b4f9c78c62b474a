//! Wall time and peak memory of a child process.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Interval at which the memory of a process is read. The system reports the peak, so only growth
/// in the last interval can be missed.
const INTERVAL: Duration = Duration::from_millis(2);

/// Measurements of a finished process.
pub struct Measured {
    /// Wall time in seconds.
    pub seconds: f64,
    /// Peak resident memory in MB; `None` where the system does not report it.
    pub peak_mb: Option<f64>,
    /// Processor time of all its threads in seconds, which other programs hardly change; `None`
    /// where the system does not report it.
    pub cpu_seconds: Option<f64>,
    /// Its standard output.
    pub output: String,
}

/// Runs a program to its end.
///
/// # Errors
/// If it cannot be started or fails.
pub fn run(command: &mut Command) -> Result<Measured> {
    let name = command.get_program().display().to_string();
    let start = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to run {name}"))?;
    let mut stdout = child.stdout.take().context("no standard output")?;
    // A full pipe would block the program, so it is drained while the program runs.
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let (mut peak_mb, mut cpu_seconds) = (None, None);
    let status = loop {
        peak_mb = memory_mb(&child, Memory::Peak).or(peak_mb);
        cpu_seconds = cpu_time(&child).or(cpu_seconds);
        thread::sleep(INTERVAL);
        if let Some(status) = child.try_wait()? {
            break status;
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    ensure!(status.success(), "{name} failed: {status}");
    let output = reader.join().ok().context("the reader panicked")?;
    Ok(Measured {
        seconds,
        peak_mb,
        cpu_seconds,
        output: output.with_context(|| format!("failed to read the output of {name}"))?,
    })
}

/// Kind of a memory reading.
#[derive(Clone, Copy)]
pub enum Memory {
    /// Current resident memory.
    Now,
    /// Peak resident memory.
    Peak,
    /// Current resident memory without mapped files.
    Anonymous,
}

/// Resident memory of a process in MB; `None` where the system does not report it.
pub fn memory_mb(child: &Child, memory: Memory) -> Option<f64> {
    let name = match memory {
        Memory::Now => "VmRSS:",
        Memory::Peak => "VmHWM:",
        Memory::Anonymous => "RssAnon:",
    };
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    for line in status.lines() {
        if let Some(value) = line.strip_prefix(name) {
            let kb: f64 = value.trim().trim_end_matches(" kB").parse().ok()?;
            return Some(kb / 1024.0);
        }
    }
    None
}

/// Processor time of a process so far in seconds, its own and the system's for it.
fn cpu_time(child: &Child) -> Option<f64> {
    /// Ticks a second of `/proc` on Linux, whatever the kernel's own clock.
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).ok()?;
    // The name in parentheses may hold spaces; utime and stime are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11);
    let user: f64 = ticks.next()?.parse().ok()?;
    let system: f64 = ticks.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

/// Median of some values, the upper one of two; NaN without any.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn program_has_time_memory_and_output() {
        let measured = run(Command::new("sh").args(["-c", "sleep 0.05; echo said"])).unwrap();
        assert_eq!(measured.output, "said\n");
        assert!(measured.seconds >= 0.05 && measured.peak_mb.is_some_and(|mb| mb > 0.1));
        assert!(
            measured
                .cpu_seconds
                .is_some_and(|cpu| cpu < measured.seconds)
        );
        let busy =
            run(Command::new("sh")
                .args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]));
        assert!(busy.unwrap().cpu_seconds.is_some_and(|cpu| cpu > 0.02));
    }

    #[test]
    fn failing_or_missing_program_is_an_error() {
        assert!(run(Command::new("sh").args(["-c", "exit 3"])).is_err());
        assert!(run(&mut Command::new("no-such-program-anywhere")).is_err());
    }

    #[test]
    fn median_ignores_outliers() {
        assert_eq!(median(&[9.0, 1.0, 100.0]), 9.0);
        assert!(median(&[]).is_nan());
    }
}
