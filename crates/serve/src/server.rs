//! Life cycle of the server: bind, load the model, serve, drain.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prl_arms::{Experiment, LogWriter, WriterOptions};
use prl_engine::{Engine, SessionLimits, SessionStore};
use prl_items::ChangeStore;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::accept::{self, Limits};
use crate::admin;
use crate::app::{App, router};
use crate::experiment::RunningExperiment;
use crate::guard::ApiKey;
use crate::items;
use crate::signals::{self, HangUps};

/// Settings of the server.
#[derive(Clone)]
pub struct Options {
    /// The run directory.
    pub run: PathBuf,
    /// Address to listen on.
    pub addr: SocketAddr,
    /// API key required from clients, if any.
    pub key: Option<ApiKey>,
    /// Maximum number of concurrent requests; further ones get status 503.
    pub requests: usize,
    /// Maximum number of open connections; further ones wait.
    pub connections: usize,
    /// Maximum time to receive the head of a request; an idle connection is closed after it.
    pub header_timeout: Duration,
    /// Time limit of a request, and of the last requests when the server stops.
    pub timeout: Duration,
    /// Settings of the engine.
    pub engine: prl_engine::Options,
    /// Limits of the session store.
    pub sessions: SessionLimits,
    /// Experiment whose arms the sessions are assigned to, if any.
    pub experiment: Option<Experiment>,
    /// Directory of the log of answers and events, if they are logged.
    pub experiment_log: Option<PathBuf>,
    /// Store of the changes of the items' properties; `None` keeps them in memory.
    pub changes: Option<Arc<dyn ChangeStore>>,
}

impl Options {
    /// Default settings for the run in `dir`: loopback address, port 8080, no API key.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            run: dir.into(),
            addr: SocketAddr::from(([127, 0, 0, 1], 8080)),
            key: None,
            requests: 1_024,
            connections: 4_096,
            header_timeout: Duration::from_secs(30),
            timeout: Duration::from_secs(2),
            engine: prl_engine::Options::default(),
            sessions: SessionLimits::default(),
            experiment: None,
            experiment_log: None,
            changes: None,
        }
    }
}

/// Failure to start or to continue serving.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not available.
    #[error("failed to listen on {addr}: {source}; choose another address with --addr")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// Another failure of the operating system.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The run cannot be served.
    #[error(transparent)]
    Engine(#[from] prl_engine::Error),
    /// The changes of the items' properties cannot be read.
    #[error("changes of the items: {0}")]
    Changes(#[from] prl_items::ChangeStoreError),
    /// The experiment is invalid, or its log cannot be written.
    #[error(transparent)]
    Experiment(#[from] prl_arms::Error),
}

/// A listening server with its own asynchronous runtime.
pub struct Server {
    runtime: tokio::runtime::Runtime,
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: JoinSet<Result<(), Error>>,
    timeout: Duration,
}

impl Server {
    /// Starts to listen, and loads the model in the background; recommendation requests get status
    /// 503 until it is warmed up.
    ///
    /// # Errors
    /// If the address is not available, an arm of the experiment asks no valid prompt, or its log
    /// cannot be written. [`wait`](Self::wait) returns errors of the run.
    pub fn start(options: Options) -> Result<Self, Error> {
        let log = match &options.experiment_log {
            Some(dir) => Some(LogWriter::open(dir, WriterOptions::default())?),
            None => None,
        };
        let experiment = RunningExperiment::new(options.experiment, log)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let listener = match runtime.block_on(TcpListener::bind(options.addr)) {
            Ok(listener) => listener,
            Err(source) => {
                let addr = options.addr;
                return Err(Error::Bind { addr, source });
            }
        };
        let addr = listener.local_addr()?;
        // Installed before the run is read: a SIGHUP in the meantime must not end the process.
        let hang_ups = HangUps::listen()?;
        let app = App::new(
            options.requests,
            options.timeout,
            options.key,
            (SessionStore::new(options.sessions), experiment),
        );
        let app = Arc::new(app.with_changes(options.changes));
        let (stop, stopped) = watch::channel(false);
        let limits = Limits {
            connections: options.connections,
            header_timeout: options.header_timeout,
        };
        let service = accept::serve(listener, router(&app), limits, until(stopped.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            service.await;
            Ok(())
        });
        tasks.spawn(async move {
            load(&app, &options.run, options.engine).await?;
            tokio::select! {
                () = reload_on_hang_up(&app, hang_ups, stopped) => {}
                () = items::follow_changes(&app) => {}
            }
            Ok(())
        });
        drop(entered);
        Ok(Self {
            runtime,
            addr,
            stop,
            tasks,
            timeout: options.timeout,
        })
    }

    /// The address that the server listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until the [`stopper`](Self::stopper) is called or a shutdown signal arrives, then
    /// accepts no more connections and answers the begun requests.
    ///
    /// # Errors
    /// If the run cannot be served, or on failures of the operating system.
    pub fn wait(mut self) -> Result<(), Error> {
        let result = self.runtime.block_on(async {
            tokio::select! {
                result = join_all(&mut self.tasks) => return result,
                result = signals::shutdown() => result?,
                () = until(self.stop.subscribe()) => {}
            }
            tracing::info!("draining");
            self.stop.send_replace(true);
            // A connection whose request never ends must not keep the process alive.
            match tokio::time::timeout(self.timeout, join_all(&mut self.tasks)).await {
                Ok(result) => result,
                Err(_) => Ok(()),
            }
        });
        self.runtime.shutdown_timeout(self.timeout);
        result
    }

    /// A function that stops the server from another thread: it drains as on a shutdown signal.
    pub fn stopper(&self) -> impl FnOnce() + Send + use<> {
        let stop = self.stop.clone();
        move || _ = stop.send_replace(true)
    }
}

/// Waits for all tasks, or for the first failure.
async fn join_all(tasks: &mut JoinSet<Result<(), Error>>) -> Result<(), Error> {
    while let Some(joined) = tasks.join_next().await {
        joined.map_err(std::io::Error::other)??;
    }
    Ok(())
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender, and so the server, is gone.
    _ = stopped.wait_for(|&stopped| stopped).await;
}

/// Loads the run on a blocking thread and makes the server ready.
async fn load(app: &Arc<App>, run: &Path, options: prl_engine::Options) -> Result<(), Error> {
    let path = run.to_owned();
    let opened = tokio::task::spawn_blocking(move || Engine::open(&path, options)).await;
    let engine = opened.map_err(std::io::Error::other)??;
    app.experiment.check_model(&engine.model())?;
    items::sync(app, engine.model()).await?;
    app.set_ready(engine);
    tracing::info!(run = %run.display(), "ready");
    Ok(())
}

/// Reloads the run at every SIGHUP.
async fn reload_on_hang_up(app: &Arc<App>, mut hang_ups: HangUps, stopped: watch::Receiver<bool>) {
    let stopped = until(stopped);
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => return,
            () = hang_ups.next() => {
                if let Err(problem) = admin::swap_model(app, None).await {
                    tracing::error!(detail = problem.detail, "reload failed; model unchanged");
                }
            }
        }
    }
}
