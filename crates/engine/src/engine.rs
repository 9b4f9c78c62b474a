//! The engine: one model in service, one queue, one thread that infers.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prl_runs::{Device, PromptUsed, SessionState};
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::loaded_model::LoadedModel;
use crate::queue::{Job, Queue, Top};
use crate::request::{RecommendRequest, RecommendResponse};
use crate::stats::Stats;
use crate::worker;

/// How the engine batches and when it refuses.
#[derive(Clone, Debug)]
pub struct Options {
    /// Requests that may wait; one more is refused at once.
    pub queue: usize,
    /// Requests that are answered in one inference at most.
    pub batch: usize,
    /// How long a question may wait for its turn.
    pub timeout: Duration,
    /// Where the model lives.
    pub device: Device,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue: 1_024,
            batch: 64,
            timeout: Duration::from_secs(2),
            device: Device::Cpu,
        }
    }
}

/// Answers questions from many threads at once. Dropping it answers what waits and stops.
pub struct Engine {
    live: RwLock<Arc<LoadedModel>>,
    queue: Arc<Queue>,
    stats: Arc<Stats>,
    options: Options,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Opens the run in `dir`, warms its model up and starts the thread that infers.
    ///
    /// # Errors
    /// If the run cannot be read, or its model gives no finite scores.
    pub fn open(dir: &Path, options: Options) -> Result<Self> {
        let live = Arc::new(LoadedModel::open(dir, &options.device)?);
        let (queue, stats) = (
            Arc::new(Queue::new(options.queue)),
            Arc::new(Stats::default()),
        );
        let thread = {
            let (queue, stats, options) = (Arc::clone(&queue), Arc::clone(&stats), options.clone());
            let run = move || worker::run(&queue, options.batch.max(1), options.timeout, &stats);
            std::thread::Builder::new()
                .name("inference".into())
                .spawn(run)
                .map_err(Error::Thread)?
        };
        Ok(Self {
            live: RwLock::new(live),
            queue,
            stats,
            options,
            thread: Some(thread),
        })
    }

    /// The model in service.
    pub fn live(&self) -> Arc<LoadedModel> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts the run in `dir` in service once it is loaded and has been seen to answer. Requests that are under way end on
    /// the model they began with, so none is lost.
    ///
    /// # Errors
    /// As [`open`](Self::open); the old model then stays.
    pub fn reload(&self, dir: &Path) -> Result<Arc<LoadedModel>> {
        let next = Arc::new(LoadedModel::open(dir, &self.options.device)?);
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&next);
        Ok(next)
    }

    /// Puts a question into the queue.
    ///
    /// # Errors
    /// [`Error::Full`] at once if too many wait.
    pub fn submit(&self, question: &RecommendRequest) -> Result<PendingResponse> {
        let live = self.live();
        let SessionState {
            item_indices: known,
            unknown_items,
            prompt,
        } = live.state(question);
        let candidates = live.candidates(&question.filter, &known);
        let (reply, top) = oneshot::channel();
        let asked = ResponseContext {
            live: Arc::clone(&live),
            unknown_items,
            prompt,
            cold: known.is_empty(),
        };
        let k = question.k.min(live.items().len());
        let due = Instant::now() + self.options.timeout;
        self.queue.push(Job {
            live,
            known,
            prompt,
            k,
            candidates,
            due,
            reply,
        })?;
        Ok(PendingResponse { asked, top })
    }

    /// Asks, and waits for the answer on this thread, which must run no asynchronous code.
    ///
    /// # Errors
    /// If too many wait, the time runs out or the model fails.
    pub fn recommend(&self, question: &RecommendRequest) -> Result<RecommendResponse> {
        self.submit(question)?.wait()
    }

    /// How many questions wait.
    pub fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// What it counts of itself.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // The thread catches panics; were it lost all the same, there is nobody left to tell.
            _ = thread.join();
        }
    }
}

/// A question that waits for its answer. Dropping it withdraws the question.
pub struct PendingResponse {
    asked: ResponseContext,
    top: oneshot::Receiver<Result<Top>>,
}

/// What the answer will say besides its items.
struct ResponseContext {
    live: Arc<LoadedModel>,
    unknown_items: Vec<String>,
    prompt: PromptUsed,
    cold: bool,
}

impl PendingResponse {
    /// The answer.
    ///
    /// # Errors
    /// If the time ran out or the model failed.
    pub async fn answer(self) -> Result<RecommendResponse> {
        let top = self.top.await.map_err(|_| Error::Stopped)??;
        Ok(self.asked.answer(&top))
    }

    /// The answer, waited for on this thread, which must run no asynchronous code.
    ///
    /// # Errors
    /// If the time ran out or the model failed.
    pub fn wait(self) -> Result<RecommendResponse> {
        let top = self.top.blocking_recv().map_err(|_| Error::Stopped)??;
        Ok(self.asked.answer(&top))
    }
}

impl ResponseContext {
    fn answer(self, top: &[(u32, f32)]) -> RecommendResponse {
        let Self {
            live,
            unknown_items,
            prompt,
            cold,
        } = self;
        let prompt = live.is_prompted().then_some(prompt);
        let answer = prl_runs::Recommendations {
            items: live.named(top),
            unknown_items,
            prompt,
        };
        RecommendResponse {
            answer,
            model: live.name().to_owned(),
            cold,
        }
    }
}
