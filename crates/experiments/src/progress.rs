//! What is left and when it should end, on stderr.
//!
//! A run's cost is guessed from what it scores; what the runs of this call really took for a unit of cost turns the guess
//! into time, those of the same system first.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::experiment::{Run, Study};
use crate::matrix::System;
use crate::outcome::Outcome;

/// Says on stderr how far a queue is.
pub struct Progress<'a> {
    study: &'a Study,
    jobs: usize,
    start: Instant,
    state: Mutex<State>,
}

struct State {
    begun: usize,
    total: usize,
    waiting: Vec<usize>,
    running: HashMap<usize, Instant>,
    rates: Rates,
}

/// Seconds that a unit of cost took, by system and over all.
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

    /// The seconds that so much cost should take; `None` while nothing was seen.
    fn seconds(&self, system: System, cost: f64) -> Option<f64> {
        let (seconds, seen) = self.by_system.get(&system).copied().unwrap_or(self.all);
        (seen > 0.0).then(|| cost * seconds / seen)
    }
}

impl<'a> Progress<'a> {
    /// Of a queue of runs, `jobs` of them at a time.
    pub fn new(study: &'a Study, todo: &[usize], jobs: usize) -> Self {
        let (total, there) = (study.runs.len(), study.runs.len() - todo.len());
        if there > 0 {
            eprintln!("{there} of {total} runs were made before");
        }
        let state = State {
            begun: there,
            total,
            waiting: todo.to_vec(),
            running: HashMap::new(),
            rates: Rates::default(),
        };
        Self {
            study,
            jobs,
            start: Instant::now(),
            state: Mutex::new(state),
        }
    }

    /// A run begins.
    pub fn start(&self, i: usize) {
        let mut state = self.state();
        state.begun += 1;
        state.waiting.retain(|&waiting| waiting != i);
        state.running.insert(i, Instant::now());
        eprintln!(
            "run {} of {}: {} ...",
            state.begun,
            state.total,
            self.title(&self.study.runs[i])
        );
    }

    /// A run ends.
    pub fn end(&self, i: usize, outcome: &Outcome) {
        let mut state = self.state();
        let run = &self.study.runs[i];
        let took = state
            .running
            .remove(&i)
            .map_or(Duration::ZERO, |start| start.elapsed());
        let how = match outcome {
            Outcome::Failed(failure) => format!("FAILED ({})", failure.message),
            _ => {
                state
                    .rates
                    .add(run.spec.system, took.as_secs_f64(), run.cost);
                "done".into()
            }
        };
        let left = match self.left(&state) {
            Some(left) => format!(
                "about {} to go, until {}",
                clock(left),
                utc(SystemTime::now() + left)
            ),
            None => "no telling yet how long the rest takes".into(),
        };
        let runs = state.waiting.len() + state.running.len();
        let (title, took, so_far) = (self.title(run), clock(took), clock(self.start.elapsed()));
        eprintln!("{title}: {how} in {took}; {so_far} since the start, {runs} runs left: {left}");
    }

    /// The time left: what the runs that wait and those at work should take, less what the latter had.
    fn left(&self, state: &State) -> Option<Duration> {
        let expected = |i: usize| {
            let run = &self.study.runs[i];
            state.rates.seconds(run.spec.system, run.cost)
        };
        let waiting = state
            .waiting
            .iter()
            .map(|&i| expected(i))
            .sum::<Option<f64>>()?;
        let rest = |(&i, start): (&usize, &Instant)| {
            Some((expected(i)? - start.elapsed().as_secs_f64()).max(0.0))
        };
        let running: Vec<f64> = state.running.iter().map(rest).collect::<Option<_>>()?;
        Some(Duration::from_secs_f64(spread(
            waiting, &running, self.jobs,
        )))
    }

    fn title(&self, run: &Run) -> String {
        format!(
            "{} {}",
            self.study.dataset(run).source.title,
            run.spec.title()
        )
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Seconds until all is done, the work spread evenly over the jobs, but no run over two.
fn spread(waiting: f64, running: &[f64], jobs: usize) -> f64 {
    let longest = running.iter().copied().fold(0.0, f64::max);
    ((waiting + running.iter().sum::<f64>()) / jobs.max(1) as f64).max(longest)
}

/// `4:05`, `1:04:05`.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// `2026-03-01 04:05 UTC`. The standard library knows no time zones, and no calendar.
pub fn utc(time: SystemTime) -> String {
    let minutes = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
        / 60;
    // Days since 0000-03-01, in eras of 400 years: a leap day ends a year that starts in March.
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
    fn a_system_is_guessed_from_its_own_runs_first() {
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
    fn the_longest_run_ends_it() {
        assert_eq!(spread(10.0, &[2.0, 4.0], 2), 8.0);
        assert_eq!(spread(0.0, &[1.0, 9.0], 2), 9.0);
        assert_eq!(spread(5.0, &[], 1), 5.0);
    }

    #[test]
    fn times_read_as_on_a_clock() {
        assert_eq!(clock(Duration::from_secs(245)), "4:05");
        assert_eq!(clock(Duration::from_millis(3_844_600)), "1:04:05");
    }

    /// `date -u -d @N +'%F %R UTC'`.
    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00 UTC");
        assert_eq!(at(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(at(1_709_251_200), "2024-03-01 00:00 UTC");
        assert_eq!(at(4_102_444_740), "2099-12-31 23:59 UTC");
    }
}
