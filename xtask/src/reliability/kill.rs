//! Trainings killed at moments all over their course, and begun again until they end: as one that was never stopped.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::row::{Promise, Row};
use super::runs::{Runs, is_unfinished, same_end};
use prl_experiments::matrix::{ENCODERS, METHODS};

/// The fractional parts of its multiples lie evenly wherever one stops: moments of a run's course, never the same ones.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

#[derive(Default)]
struct Tally {
    kills: u64,
    /// Kills while something was being written.
    writing: u64,
    compared: u64,
    lost: u64,
}

/// Kills each encoder under each method so often.
pub fn run(runs: &Runs, kills: u64) -> Result<Vec<Row>> {
    let mut all = Tally::default();
    let methods: Vec<&str> = METHODS
        .iter()
        .filter(|method| method.trains())
        .map(|method| method.name)
        .collect();
    for (encoder, &method) in ENCODERS
        .iter()
        .flat_map(|e| methods.iter().map(move |m| (e.name, m)))
    {
        let mut one = Tally {
            kills: all.kills,
            ..Tally::default()
        };
        kill(runs, encoder, method, all.kills + kills, &mut one)?;
        eprintln!(
            "{encoder} {method}: {} compared, {} lost",
            one.compared, one.lost
        );
        all = Tally {
            kills: one.kills,
            writing: all.writing + one.writing,
            compared: all.compared + one.compared,
            lost: all.lost + one.lost,
        };
    }
    let tried = format!(
        "SIGKILL while training, {} encoders x {} methods: {} kills ({} while a file was being written) in {} runs, each \
         compared with one never stopped: weights, moments, metrics",
        ENCODERS.len(),
        methods.len(),
        all.kills,
        all.writing,
        all.compared
    );
    Ok(vec![Row {
        promise: Promise::Resume,
        tried,
        times: all.kills,
        lost: all.lost,
    }])
}

fn kill(runs: &Runs, encoder: &str, method: &str, until: u64, tally: &mut Tally) -> Result<()> {
    let (whole, killed) = (runs.path("whole"), runs.path("killed"));
    _ = fs::remove_dir_all(&whole);
    let begun = Instant::now();
    runs.done(&mut runs.train(encoder, method, &whole))?;
    let course = begun.elapsed().as_secs_f64();
    while tally.kills < until {
        _ = fs::remove_dir_all(&killed);
        for attempt in 0_u32.. {
            ensure!(attempt < 1000, "{encoder} {method} never ends");
            let mut child = runs.begin(&mut runs.train(encoder, method, &killed))?;
            // A machine that became slower meanwhile must get to its end all the same.
            let patience = 1.1 + 0.1 * f64::from(attempt);
            sleep(Duration::from_secs_f64(
                patience * course * (tally.kills as f64 * GOLDEN).fract(),
            ));
            let ended = child.try_wait()?;
            if let Some(status) = ended {
                ensure!(
                    status.success(),
                    "{encoder} {method} was killed and does not go on: {status}"
                );
                break;
            }
            child.kill()?;
            child.wait()?;
            tally.kills += 1;
            tally.writing += u64::from(is_unfinished(&killed));
        }
        tally.compared += 1;
        tally.lost += u64::from(!same_end(&whole, &killed)?);
    }
    Ok(())
}
