//! Progress messages on standard error: remaining runs and the expected end.
//!
//! A run has an estimated cost; the measured time per unit of cost of the runs made so far, of the
//! same system if there is one, turns it into time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::experiment::Experiment;
use crate::matrix::System;
use crate::outcome::Outcome;

/// Progress of a queue of runs.
pub struct Progress<'a> {
    experiment: &'a Experiment,
    jobs: usize,
    start: Instant,
    state: Mutex<State>,
}

struct State {
    /// Runs made before or started now.
    started: usize,
    total: usize,
    waiting: Vec<usize>,
    running: HashMap<usize, Instant>,
    rates: Rates,
}

/// Sums of (seconds, cost) of the runs made so far.
#[derive(Default)]
struct Rates {
    by_system: HashMap<System, (f64, f64)>,
    all: (f64, f64),
}

impl Rates {
    fn add(&mut self, system: System, seconds: f64, cost: f64) {
        for (s, c) in [self.by_system.entry(system).or_default(), &mut self.all] {
            *s += seconds;
            *c += cost;
        }
    }

    /// Expected seconds for a cost; `None` before the first run has ended.
    fn seconds(&self, system: System, cost: f64) -> Option<f64> {
        let (seconds, seen) = self.by_system.get(&system).copied().unwrap_or(self.all);
        (seen > 0.0).then(|| cost * seconds / seen)
    }
}

impl<'a> Progress<'a> {
    /// Progress of a queue, with `jobs` runs at a time.
    pub fn new(experiment: &'a Experiment, pending: &[usize], jobs: usize) -> Self {
        let total = experiment.runs.len();
        let started = total - pending.len();
        if started > 0 {
            eprintln!("{started} of {total} runs were made before");
        }
        Self {
            experiment,
            jobs,
            start: Instant::now(),
            state: Mutex::new(State {
                started,
                total,
                waiting: pending.to_vec(),
                running: HashMap::new(),
                rates: Rates::default(),
            }),
        }
    }

    /// Records the start of a run.
    pub fn start(&self, i: usize) {
        let mut state = self.state();
        state.started += 1;
        state.waiting.retain(|&waiting| waiting != i);
        state.running.insert(i, Instant::now());
        let title = self.experiment.run_title(&self.experiment.runs[i]);
        eprintln!("run {} of {}: {title} ...", state.started, state.total);
    }

    /// Records the end of a run.
    pub fn end(&self, i: usize, outcome: &Outcome) {
        let mut state = self.state();
        let run = &self.experiment.runs[i];
        let started = state.running.remove(&i);
        let took = started.map_or(Duration::ZERO, |start| start.elapsed());
        let result = match outcome {
            Outcome::Failed(failure) => format!("FAILED ({})", failure.message),
            _ => {
                let seconds = took.as_secs_f64();
                state.rates.add(run.spec.system, seconds, run.cost);
                "done".into()
            }
        };
        let remaining = match self.remaining(&state) {
            Some(time) => format!(
                "about {} to go, until {}",
                clock(time),
                utc(SystemTime::now() + time)
            ),
            None => "remaining time not known yet".into(),
        };
        eprintln!(
            "{}: {result} in {}; {} since the start, {} runs left: {remaining}",
            self.experiment.run_title(run),
            clock(took),
            clock(self.start.elapsed()),
            state.waiting.len() + state.running.len()
        );
    }

    /// Expected time until all waiting and running runs have ended.
    fn remaining(&self, state: &State) -> Option<Duration> {
        let mut waiting = 0.0;
        for &i in &state.waiting {
            waiting += self.expected_seconds(state, i)?;
        }
        let mut running = Vec::new();
        for (&i, start) in &state.running {
            let left = self.expected_seconds(state, i)? - start.elapsed().as_secs_f64();
            running.push(left.max(0.0));
        }
        let seconds = makespan(waiting, &running, self.jobs);
        Some(Duration::from_secs_f64(seconds))
    }

    fn expected_seconds(&self, state: &State, i: usize) -> Option<f64> {
        let run = &self.experiment.runs[i];
        state.rates.seconds(run.spec.system, run.cost)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds until all runs have ended if the work is spread evenly over the jobs; at least those of
/// the longest running one, as a run cannot be split.
fn makespan(waiting: f64, running: &[f64], jobs: usize) -> f64 {
    let longest = running.iter().copied().fold(0.0, f64::max);
    let work = waiting + running.iter().sum::<f64>();
    (work / jobs.max(1) as f64).max(longest)
}

/// Duration as `4:05` or `1:04:05`.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// Time as `2026-03-01 04:05 UTC`; the standard library has no calendar.
pub fn utc(time: SystemTime) -> String {
    let minutes = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
        / 60;
    // Days since 0000-03-01, in eras of 400 years: with years that start in March, a leap day is
    // the last day of its year.
    let days = minutes / 1440 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let (day, month) = (
        day - (153 * march + 2) / 5 + 1,
        if march < 10 { march + 3 } else { march - 9 },
    );
    let year = year + era * 400 + u64::from(month <= 2);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02} UTC",
        minutes / 60 % 24,
        minutes % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::system;

    #[test]
    fn estimate_prefers_runs_of_same_system() {
        let [prl, sqn, sac] = ["gru-prl", "gru-sqn", "gru-sac"].map(system);
        let mut rates = Rates::default();
        assert_eq!(rates.seconds(prl, 1.0), None);
        rates.add(prl, 10.0, 5.0);
        assert_eq!(rates.seconds(sqn, 2.0), Some(4.0));
        rates.add(sqn, 30.0, 5.0);
        assert_eq!(rates.seconds(prl, 2.0), Some(4.0));
        assert_eq!(rates.seconds(sqn, 2.0), Some(12.0));
        assert_eq!(rates.seconds(sac, 2.0), Some(8.0), "40 seconds for 10");
    }

    #[test]
    fn remaining_time_is_at_least_longest_run() {
        assert_eq!(makespan(10.0, &[2.0, 4.0], 2), 8.0);
        assert_eq!(makespan(0.0, &[1.0, 9.0], 2), 9.0);
        assert_eq!(makespan(5.0, &[], 1), 5.0);
    }

    #[test]
    fn durations_are_formatted_as_clock() {
        assert_eq!(clock(Duration::from_secs(245)), "4:05");
        assert_eq!(clock(Duration::from_millis(3_844_600)), "1:04:05");
    }

    /// Expected values from `date -u -d @N +'%F %R UTC'`.
    #[test]
    fn dates_match_the_calendar() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00 UTC");
        assert_eq!(at(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(at(1_709_251_200), "2024-03-01 00:00 UTC");
        assert_eq!(at(4_102_444_740), "2099-12-31 23:59 UTC");
    }
}
