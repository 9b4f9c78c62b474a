//! Trainings killed at times spread over their whole course and resumed until they finish, compared
//! with an uninterrupted one.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use prl_experiments::matrix::{ENCODERS, METHODS};

use super::promise::{Promise, Trial};
use super::runs::{Runs, has_unfinished_files, is_same_result};

/// Golden ratio: the fractional parts of its multiples are spread evenly however many are taken, so
/// that kills hit all phases of a run.
const GOLDEN: f64 = 0.618_033_988_749_894_9;
/// Kills after which a single run counts as never finishing.
const MAX_ATTEMPTS: u32 = 1000;

#[derive(Default)]
struct Tally {
    kills: u64,
    /// Kills while a file was being written.
    while_writing: u64,
    /// Runs compared with an uninterrupted one.
    compared: u64,
    /// Of these, runs that differ.
    lost: u64,
}

/// Kills each encoder under each method this often.
pub fn run(runs: &Runs, kills: u64) -> Result<Vec<Trial>> {
    let mut tally = Tally::default();
    let mut methods = 0;
    for method in METHODS.iter().filter(|method| method.trains()) {
        methods += 1;
        for encoder in &ENCODERS {
            let until = tally.kills + kills;
            kill(runs, encoder.name, method.name, until, &mut tally)?;
            eprintln!(
                "{} {}: {} compared and {} lost so far",
                encoder.name, method.name, tally.compared, tally.lost
            );
        }
    }
    let tried = format!(
        "SIGKILL while training, {} encoders x {methods} methods: {} kills ({} while a file was being \
         written) in {} runs, each compared with an uninterrupted one: weights, moments, metrics",
        ENCODERS.len(),
        tally.kills,
        tally.while_writing,
        tally.compared
    );
    Ok(vec![Trial::new(
        Promise::Resume,
        tried,
        tally.kills,
        tally.lost,
    )])
}

/// Runs one encoder and method with kills until the tally has `until` of them.
fn kill(runs: &Runs, encoder: &str, method: &str, until: u64, tally: &mut Tally) -> Result<()> {
    let (reference, killed) = (runs.path("whole"), runs.path("killed"));
    runs.remove(&reference)?;
    let start = Instant::now();
    runs.complete(&mut runs.train(encoder, method, &reference))?;
    let duration = start.elapsed().as_secs_f64();
    while tally.kills < until {
        runs.remove(&killed)?;
        for attempt in 0.. {
            ensure!(attempt < MAX_ATTEMPTS, "{encoder} {method} never finishes");
            let mut child = runs.spawn(&mut runs.train(encoder, method, &killed))?;
            // Longer with each attempt, so that a run finishes even if the machine became slower.
            let stretch = 1.1 + 0.1 * f64::from(attempt);
            let fraction = (tally.kills as f64 * GOLDEN).fract();
            sleep(Duration::from_secs_f64(stretch * duration * fraction));
            if let Some(status) = child.try_wait()? {
                ensure!(
                    status.success(),
                    "{encoder} {method} failed to resume after a kill: {status}"
                );
                break;
            }
            child.kill()?;
            child.wait()?;
            tally.kills += 1;
            tally.while_writing += u64::from(has_unfinished_files(&killed));
        }
        tally.compared += 1;
        tally.lost += u64::from(!is_same_result(&reference, &killed)?);
    }
    Ok(())
}
