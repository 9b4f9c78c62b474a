//! Delivery of records to a tracker, on a thread of its own.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::numbers::Record;
use crate::tracked_run::{RunEnd, Tracker};

/// Shortest time between an attempt that failed and the next one.
const RETRY: Duration = Duration::from_secs(10);

enum Message {
    Records(Vec<Record>),
    End(RunEnd),
}

/// The sending side of a tracker's thread.
pub(crate) struct Delivery {
    name: String,
    queue: Sender<Message>,
    /// Receives the number of undelivered records when the thread ends.
    done: Receiver<usize>,
}

impl Delivery {
    /// Starts the thread of a tracker, which is opened there.
    ///
    /// # Errors
    /// If the operating system has no thread.
    pub fn start(name: String, tracker: Box<dyn Tracker>) -> std::io::Result<Self> {
        let (queue, received) = channel();
        let (finished, done) = channel();
        let mut thread = DeliveryThread {
            name: name.clone(),
            tracker,
            pending: Vec::new(),
            is_open: false,
            last: None,
            has_warned: false,
            failed_at: None,
        };
        thread::Builder::new()
            .name("tracking".into())
            .spawn(move || {
                thread.run(&received);
                // The receiver may have stopped waiting.
                _ = finished.send(thread.pending.len());
            })?;
        Ok(Self { name, queue, done })
    }

    /// Queues records; never waits.
    pub fn send(&self, records: Vec<Record>) {
        // The thread ends after the end of the run alone.
        _ = self.queue.send(Message::Records(records));
    }

    /// Queues the end of the run.
    pub fn end(&self, end: RunEnd) {
        _ = self.queue.send(Message::End(end));
    }

    /// Waits until everything is delivered, at most until `deadline`, and warns if it is not.
    pub fn wait(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.done.recv_timeout(left) {
            Ok(0) => {}
            Err(RecvTimeoutError::Disconnected) => tracing::warn!(
                "{}: its thread has failed, records are missing; `prl train` with --resume and \
                 --track sends them",
                self.name
            ),
            Ok(missing) => tracing::warn!(
                "{}: {missing} records are missing; `prl train` with --resume and --track sends them",
                self.name
            ),
            Err(RecvTimeoutError::Timeout) => tracing::warn!(
                "{}: too slow, some records may be missing; `prl train` with --resume and --track \
                 sends them",
                self.name
            ),
        }
    }
}

struct DeliveryThread {
    name: String,
    tracker: Box<dyn Tracker>,
    pending: Vec<Record>,
    is_open: bool,
    /// Last step that the tracker has, once it is open.
    last: Option<u64>,
    has_warned: bool,
    failed_at: Option<Instant>,
}

impl DeliveryThread {
    fn run(&mut self, received: &Receiver<Message>) {
        while let Ok(message) = received.recv() {
            let mut end = self.take(message);
            for message in received.try_iter() {
                end = end.or(self.take(message));
            }
            let is_due = self.failed_at.is_none_or(|at| at.elapsed() >= RETRY);
            if is_due || end.is_some() {
                self.attempt(end);
            }
            if end.is_some() {
                return;
            }
        }
    }

    fn take(&mut self, message: Message) -> Option<RunEnd> {
        match message {
            Message::Records(records) => {
                self.pending.extend(records);
                None
            }
            Message::End(end) => Some(end),
        }
    }

    /// Delivers what is pending, and warns of the first failure.
    fn attempt(&mut self, end: Option<RunEnd>) {
        let Err(error) = self.deliver(end) else {
            self.failed_at = None;
            return;
        };
        self.failed_at = Some(Instant::now());
        // What the tracker has of the records is asked when it is opened again.
        self.is_open = false;
        if !std::mem::replace(&mut self.has_warned, true) {
            warn(&self.name, &error);
        }
    }

    fn deliver(&mut self, end: Option<RunEnd>) -> Result<()> {
        if !self.is_open {
            self.last = self.tracker.open()?;
            self.is_open = true;
        }
        self.pending.retain(|record| Some(record.step) > self.last);
        if let Some(record) = self.pending.last() {
            self.tracker.log(&self.pending)?;
            self.last = Some(record.step);
            self.pending.clear();
        }
        match end {
            Some(end) => self.tracker.end(end),
            None => Ok(()),
        }
    }
}

fn warn(name: &str, error: &Error) {
    tracing::warn!("{name} is not reached, the training goes on: {error}");
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A tracker that fails some calls and keeps the steps it got.
    struct Flaky {
        failures: usize,
        got: Arc<Mutex<Vec<u64>>>,
        ended: Arc<Mutex<Option<RunEnd>>>,
    }

    impl Tracker for Flaky {
        fn open(&mut self) -> Result<Option<u64>> {
            Ok(self.got.lock().unwrap().last().copied())
        }

        fn log(&mut self, records: &[Record]) -> Result<()> {
            for record in records {
                if self.failures > 0 {
                    self.failures -= 1;
                    return Err(Error::Name("down".into()));
                }
                self.got.lock().unwrap().push(record.step);
            }
            Ok(())
        }

        fn end(&mut self, end: RunEnd) -> Result<()> {
            *self.ended.lock().unwrap() = Some(end);
            Ok(())
        }
    }

    fn record(step: u64) -> Record {
        Record {
            step,
            time: 0.0,
            numbers: Vec::new(),
        }
    }

    /// Steps that a tracker got which had `before` and fails the first `failures` calls.
    fn delivered(before: &[u64], failures: usize, steps: &[u64]) -> (Vec<u64>, Option<RunEnd>) {
        let got = Arc::new(Mutex::new(before.to_vec()));
        let ended = Arc::new(Mutex::new(None));
        let tracker = Flaky {
            failures,
            got: Arc::clone(&got),
            ended: Arc::clone(&ended),
        };
        let delivery = Delivery::start("flaky".into(), Box::new(tracker)).unwrap();
        for &step in steps {
            delivery.send(vec![record(step)]);
            thread::sleep(Duration::from_millis(20));
        }
        delivery.end(RunEnd::Finished);
        delivery.wait(Instant::now() + Duration::from_secs(5));
        let got = got.lock().unwrap().clone();
        (got, *ended.lock().unwrap())
    }

    #[test]
    fn records_arrive_once_and_in_order() {
        let finished = Some(RunEnd::Finished);
        assert_eq!(delivered(&[], 0, &[0, 5, 9]), (vec![0, 5, 9], finished));
    }

    #[test]
    fn records_that_the_tracker_has_are_not_sent_again() {
        let (got, _) = delivered(&[5], 0, &[0, 5, 9, 9]);
        assert_eq!(got, [5, 9]);
    }

    #[test]
    fn records_of_a_failed_call_are_sent_at_the_end() {
        let (got, ended) = delivered(&[], 1, &[1, 2, 3]);
        assert_eq!((got, ended), (vec![1, 2, 3], Some(RunEnd::Finished)));
    }

    #[test]
    fn dead_tracker_delays_nothing() {
        let start = Instant::now();
        let (got, ended) = delivered(&[], usize::MAX, &[1, 2]);
        assert_eq!((got, ended), (vec![], None));
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}
