//! The runs, some at a time: what is done is skipped, what was begun goes on, what fails does not stop the rest.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::outcome::{Finished, MACHINE, MANIFEST, Outcome, Report, read_json};
use super::prl::{Log, Prl};
use super::study::{Run, Split, Study};
use crate::files::write_whole;

/// Where and how fast runs are made; none of it shapes a result.
pub struct Compute {
    /// Runs at a time.
    pub jobs: usize,
    /// Threads of each.
    pub threads: usize,
    /// The device, as `prl` names it.
    pub device: String,
}

/// Makes every run that is not done, and calls `changed` with how all of them stand: at first and whenever that changes.
pub fn run(
    study: &Study,
    prl: &Prl,
    compute: &Compute,
    changed: impl Fn(&[Outcome]) -> Result<()> + Sync,
) -> Result<Vec<Outcome>> {
    let read = |run: &Run| Finished::read(&run.dir).map_or(Outcome::Pending, |done| Outcome::Done(Box::new(done)));
    let outcomes: Vec<Outcome> = study.runs.iter().map(read).collect();
    changed(&outcomes)?;
    let todo: Vec<usize> = (0..study.runs.len()).filter(|&i| matches!(outcomes[i], Outcome::Pending)).collect();
    let progress = Progress::new(study, &todo);
    let (next, board) = (AtomicUsize::new(0), Mutex::new(outcomes));
    let worker = || -> Result<()> {
        while let Some(&i) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
            let run = &study.runs[i];
            let started = progress.start(run);
            let outcome = match perform(run, &study.dataset(run).dir, study, prl, compute) {
                Ok(finished) => Outcome::Done(Box::new(finished)),
                Err(error) => Outcome::Failed(format!("{error:#}")),
            };
            progress.end(run, &outcome, started);
            let mut board = board.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            board[i] = outcome;
            changed(&board)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..compute.jobs).map(|_| scope.spawn(worker)).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, Result<()>>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().try_for_each(join)
    })?;
    Ok(board.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

/// Trains and evaluates a run, as far as that is not done.
fn perform(run: &Run, data: &Path, study: &Study, prl: &Prl, compute: &Compute) -> Result<Finished> {
    let mut log = Log::open(&run.dir.join("log.txt"))?;
    let (dir, data) = (run.dir.display().to_string(), data.display().to_string());
    let threads = compute.threads.to_string();
    let common = ["--data", &data, "--device", &compute.device, "--threads", &threads];
    if !run.dir.join(MANIFEST).exists() {
        write_whole(&run.dir.join(MACHINE), serde_json::to_vec_pretty(&study.machine)?)?;
        let mut args = vec!["train", "--resume", "--out", &dir];
        args.extend(common);
        args.extend(run.flags.iter().map(String::as_str));
        prl.call(&mut log, args)?;
    }
    for split in Split::ALL {
        let path = run.dir.join(split.name()).with_extension("json");
        if read_json::<Report>(&path).is_err() {
            let mut args = vec!["evaluate", "--json", "--run", &dir, "--split", split.name()];
            args.extend(common);
            write_whole(&path, prl.call(&mut log, args)?)?;
        }
    }
    Finished::read(&run.dir)
}

/// Says on stderr how far it is, and guesses how long it goes on.
struct Progress<'a> {
    study: &'a Study,
    total: usize,
    start: Instant,
    state: Mutex<State>,
}

struct State {
    started: usize,
    cost_done: u64,
    cost_left: u64,
}

impl<'a> Progress<'a> {
    fn new(study: &'a Study, todo: &[usize]) -> Self {
        let total = study.runs.len();
        let started = total - todo.len();
        if started > 0 {
            eprintln!("{started} of {total} runs are done already");
        }
        let cost_left = todo.iter().map(|&i| study.runs[i].cost).sum();
        let state = Mutex::new(State { started, cost_done: 0, cost_left });
        Self { study, total, start: Instant::now(), state }
    }

    fn start(&self, run: &Run) -> Instant {
        let mut state = self.state();
        state.started += 1;
        eprintln!("run {} of {}: {} ...", state.started, self.total, self.title(run));
        Instant::now()
    }

    fn end(&self, run: &Run, outcome: &Outcome, started: Instant) {
        let mut state = self.state();
        state.cost_done += run.cost;
        state.cost_left -= run.cost;
        let so_far = self.start.elapsed();
        let left = so_far.mul_f64(state.cost_left as f64 / state.cost_done.max(1) as f64);
        let how = match outcome {
            Outcome::Failed(why) => format!("FAILED ({why})"),
            _ => "done".into(),
        };
        eprintln!(
            "{}: {how} in {}; {} since the start, about {} to go",
            self.title(run),
            clock(started.elapsed()),
            clock(so_far),
            clock(left)
        );
    }

    fn title(&self, run: &Run) -> String {
        format!("{} {}", self.study.dataset(run).source.name, run.spec.title())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// `4:05`, `1:04:05`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}
