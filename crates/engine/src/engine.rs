//! The engine: a loaded model, a request queue and an inference thread.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prl_runs::{Device, Forecast, PromptUsed, SessionState};
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::loaded_model::LoadedModel;
use crate::queue::{Job, Queue, Top};
use crate::request::{RecommendRequest, RecommendResponse};
use crate::stats::Stats;
use crate::worker;

/// Settings of the queue, the batches and the device.
#[derive(Clone, Debug)]
pub struct Options {
    /// Capacity of the queue; further requests fail with [`Error::QueueFull`].
    pub queue: usize,
    /// Maximum number of requests in one inference batch.
    pub batch: usize,
    /// Time limit of a request in the queue.
    pub timeout: Duration,
    /// Device of the model.
    pub device: Device,
    /// Column by which items are hidden by default: those whose value is false.
    pub available: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue: 1_024,
            batch: 64,
            timeout: Duration::from_secs(2),
            device: Device::Cpu,
            available: prl_runs::AVAILABLE.into(),
        }
    }
}

/// Serves recommendation requests of many threads from one model.
///
/// Dropping the engine answers the queued requests and stops the inference thread.
pub struct Engine {
    model: RwLock<Arc<LoadedModel>>,
    queue: Arc<Queue>,
    stats: Arc<Stats>,
    options: Options,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Loads the run in `dir`, warms up its model and starts the inference thread.
    ///
    /// # Errors
    /// If the run cannot be read, its scores are not finite, or the thread cannot be started.
    pub fn open(dir: &Path, options: Options) -> Result<Self> {
        let model = Arc::new(LoadedModel::open(dir, &options)?);
        let queue = Arc::new(Queue::new(options.queue));
        let stats = Arc::new(Stats::default());
        let worker = worker::Worker {
            queue: Arc::clone(&queue),
            stats: Arc::clone(&stats),
            max_batch: options.batch.max(1),
            timeout: options.timeout,
        };
        let thread = std::thread::Builder::new()
            .name("inference".into())
            .spawn(move || worker.run())
            .map_err(Error::Thread)?;
        Ok(Self {
            model: RwLock::new(model),
            queue,
            stats,
            options,
            thread: Some(thread),
        })
    }

    /// The current model.
    pub fn model(&self) -> Arc<LoadedModel> {
        Arc::clone(&self.model.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Loads the run in `dir`, warms it up and makes it the current model.
    ///
    /// Requests submitted before the swap are answered by the model that was current then.
    ///
    /// # Errors
    /// As [`open`](Self::open); the current model is then unchanged.
    pub fn reload(&self, dir: &Path) -> Result<Arc<LoadedModel>> {
        self.reload_if(dir, |_| Ok(()))
    }

    /// Replaces the model if `accept` finds no fault in the new one.
    ///
    /// # Errors
    /// As [`open`](Self::open), and the fault; the current model is then unchanged.
    pub fn reload_if(
        &self,
        dir: &Path,
        accept: impl FnOnce(&LoadedModel) -> Result<()>,
    ) -> Result<Arc<LoadedModel>> {
        let next = Arc::new(LoadedModel::open(dir, &self.options)?);
        accept(&next)?;
        *self.model.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&next);
        Ok(next)
    }

    /// Queues a request.
    ///
    /// # Errors
    /// [`Error::QueueFull`] immediately if the queue is full, [`Error::InvalidRequest`] if the
    /// model cannot answer the request's prompt, or the items have not the properties that it names.
    pub fn submit(&self, request: &RecommendRequest) -> Result<PendingResponse> {
        let model = self.model();
        model.check(request)?;
        let mut state = model.state(request);
        let forecast = model.forecast(request, &mut state)?;
        let SessionState {
            item_indices: known,
            kinds,
            unknown_items,
            prompt,
        } = state;
        let mut candidates = model.candidates(&request.filter, &known)?;
        let (reply, top) = oneshot::channel();
        let context = ResponseContext {
            model: Arc::clone(&model),
            properties: request.properties.clone(),
            unknown_items,
            unknown_exclude: std::mem::take(&mut candidates.unknown_exclude),
            unknown_allow: std::mem::take(&mut candidates.unknown_allow),
            prompt,
            forecast,
            cold: known.is_empty(),
        };
        let k = request.k.min(model.items().len());
        self.queue.push(Job {
            model,
            known,
            kinds,
            prompt,
            k,
            candidates,
            deadline: Instant::now() + self.options.timeout,
            reply,
        })?;
        Ok(PendingResponse { context, top })
    }

    /// Queues a request and blocks until its response; not for use in asynchronous code.
    ///
    /// # Errors
    /// As of [`submit`](Self::submit), if the time limit passes or the model fails.
    pub fn recommend(&self, request: &RecommendRequest) -> Result<RecommendResponse> {
        self.submit(request)?.wait()
    }

    /// Number of queued requests.
    pub fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// Histograms of batch sizes and inference times.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // The worker catches panics; an error here cannot be reported from a destructor.
            _ = thread.join();
        }
    }
}

/// The response to a queued request. Dropping it cancels the request.
pub struct PendingResponse {
    context: ResponseContext,
    top: oneshot::Receiver<Result<Top>>,
}

impl PendingResponse {
    /// Waits for the response asynchronously.
    ///
    /// # Errors
    /// If the time limit passed or the model failed.
    pub async fn response(self) -> Result<RecommendResponse> {
        let top = self.top.await.map_err(|_| Error::Stopped)??;
        Ok(self.context.into_response(&top))
    }

    /// Blocks until the response; not for use in asynchronous code.
    ///
    /// # Errors
    /// If the time limit passed or the model failed.
    pub fn wait(self) -> Result<RecommendResponse> {
        let top = self.top.blocking_recv().map_err(|_| Error::Stopped)??;
        Ok(self.context.into_response(&top))
    }
}

/// Parts of a response that are computed when the request is submitted.
struct ResponseContext {
    model: Arc<LoadedModel>,
    /// Columns of the properties in the response.
    properties: Vec<String>,
    unknown_items: Vec<String>,
    unknown_exclude: Vec<String>,
    unknown_allow: Vec<String>,
    prompt: PromptUsed,
    forecast: Option<Forecast>,
    cold: bool,
}

impl ResponseContext {
    fn into_response(self, top: &[(u32, f32)]) -> RecommendResponse {
        RecommendResponse {
            answer: prl_runs::Recommendations {
                items: self.model.recommendations(top, &self.properties),
                unknown_items: self.unknown_items,
                unknown_exclude: self.unknown_exclude,
                unknown_allow: self.unknown_allow,
                prompt: self.prompt.of_model(self.model.is_prompted()),
                forecast: self.forecast,
            },
            model: self.model.name().to_owned(),
            cold: self.cold,
        }
    }
}
