//! Life cycle of the server: bind, load the model, serve, drain.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prl_arms::{Experiment, LogWriter, WriterOptions};
use prl_engine::Engine;
use prl_items::{ChangeStore, MemoryChangeStore};
use prl_store::{SessionLimits, StoreAddress};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin;
use crate::app::{App, openapi_document, router};
use crate::candidate::{Candidate, CandidateOptions};
use crate::experiment::RunningExperiment;
use crate::follow;
use crate::items;
use crate::keys::{ApiKey, Keys, KeysError};
use crate::web::accept::{Connections, Limits};
use crate::web::listen::{self, ListenAddr, Listener};
use crate::web::options::WebOptions;
use crate::web::signals::{self, HangUps};
use crate::web::tls::{Tls, TlsError};

/// Settings of the server.
#[derive(Clone)]
pub struct Options {
    /// The run directory.
    pub run: PathBuf,
    /// Address to listen on, unless the web options name others.
    pub addr: SocketAddr,
    /// API key with all roles, if any; the web options can name more.
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
    /// Where sessions are stored.
    pub session_store: StoreAddress,
    /// A second run to compare with or to answer the sessions of an arm, if any.
    pub candidate: Option<CandidateOptions>,
    /// Whether `run` is a symbolic link whose target is loaded whenever it changes.
    pub follow: bool,
    /// Directory that back-ups of the sessions are written to, if any.
    pub backups: Option<PathBuf>,
    /// Experiment whose arms the sessions are assigned to, if any.
    pub experiment: Option<Experiment>,
    /// Directory of the log of answers and events, if they are logged.
    pub experiment_log: Option<PathBuf>,
    /// Listeners, TLS, API keys, access from browsers.
    pub web: WebOptions,
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
            session_store: StoreAddress::Memory,
            candidate: None,
            follow: false,
            backups: None,
            experiment: None,
            experiment_log: None,
            web: WebOptions::default(),
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
        addr: ListenAddr,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The keys file cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
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
    /// The session store cannot be opened.
    #[error(transparent)]
    Store(#[from] prl_store::Error),
}

/// A listening server with its own asynchronous runtime.
pub struct Server {
    runtime: tokio::runtime::Runtime,
    addr: SocketAddr,
    urls: Vec<String>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<Result<(), Error>>,
    timeout: Duration,
}

impl Server {
    /// Starts to listen, and loads the model in the background; recommendation requests get status
    /// 503 until it is warmed up.
    ///
    /// # Errors
    /// If an address is not available, certificate or keys cannot be used, an arm of the experiment
    /// asks no valid prompt, its log cannot be written, or the session store cannot be opened.
    /// [`wait`](Self::wait) returns errors of the run.
    pub fn start(options: Options) -> Result<Self, Error> {
        let log = match &options.experiment_log {
            Some(dir) => Some(LogWriter::open(dir, WriterOptions::default())?),
            None => None,
        };
        let experiment = RunningExperiment::new(options.experiment, log)?;
        experiment.check_candidate(options.candidate.is_some())?;
        let sessions = options.session_store.open(options.sessions)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let keys = Keys::open(options.key, options.web.keys.clone())?;
        let (listeners, tls) = bind_all(options.addr, &options.web)?;
        let mut urls = Vec::with_capacity(listeners.len());
        let mut addr = None;
        for (listener, tls) in &listeners {
            urls.push(listener.url(tls.is_some()));
            addr = addr.or(listener.tcp_addr());
        }
        // Installed before the run is read: a SIGHUP in the meantime must not end the process.
        let hang_ups = HangUps::listen()?;
        let changes = options
            .changes
            .unwrap_or_else(|| Arc::new(MemoryChangeStore::default()));
        let mut app = App::new(
            options.requests,
            options.timeout,
            keys,
            (sessions, changes, experiment),
        );
        if let Some(dir) = &options.backups {
            std::fs::create_dir_all(dir).map_err(prl_store::Error::directory(dir))?;
        }
        app.backups = options.backups;
        app.candidate = options.candidate.map(Candidate::new);
        let prefix = options.web.path_prefix;
        app.openapi = openapi_document(prefix.as_ref())
            .to_json()
            .unwrap_or_default();
        let app = Arc::new(app);
        let (stop, stopped) = watch::channel(false);
        let limits = Limits {
            connections: options.connections,
            header_timeout: options.header_timeout,
        };
        let router = router(&app, &options.web.cors);
        let connections = Connections::new(router, prefix, limits, stopped.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            connections.serve(listeners).await;
            Ok(())
        });
        tasks.spawn(async move {
            let loaded = follow::target(&options.run);
            load(&app, &options.run, options.engine).await?;
            let link = options.follow.then_some(options.run.as_path());
            tokio::select! {
                () = reload_on_hang_up(&app, tls.as_deref(), hang_ups, stopped) => {}
                () = follow::follow(&app, link, loaded) => {}
                () = items::follow_changes(&app) => {}
            }
            Ok(())
        });
        drop(entered);
        Ok(Self {
            runtime,
            // Without a TCP socket there is no address to connect to.
            addr: addr.unwrap_or(options.addr),
            urls,
            stop,
            tasks,
            timeout: options.timeout,
        })
    }

    /// The first TCP address that the server listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// URLs of all addresses that the server listens on; that of a Unix socket is `unix:PATH`.
    pub fn urls(&self) -> &[String] {
        &self.urls
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

/// Listeners, each with its TLS settings, if it has any; and those settings.
type Listeners = (Vec<(Listener, Option<Arc<Tls>>)>, Option<Arc<Tls>>);

/// Binds all addresses: plain and TLS.
fn bind_all(default: SocketAddr, web: &WebOptions) -> Result<Listeners, Error> {
    let mut listeners = Vec::new();
    let mut bind = |addr: &ListenAddr, tls: Option<&Arc<Tls>>| {
        let bound = listen::bind(addr).map_err(|source| Error::Bind {
            addr: addr.clone(),
            source,
        })?;
        for listener in bound {
            listeners.push((listener, tls.cloned()));
        }
        Ok::<_, Error>(())
    };
    if web.listen.is_empty() && web.tls.is_none() {
        bind(&ListenAddr::Tcp(default), None)?;
    }
    for addr in &web.listen {
        bind(addr, None)?;
    }
    let mut shared = None;
    if let Some(options) = &web.tls {
        let tls = Arc::new(Tls::open(&options.certificate, &options.key)?);
        for addr in &options.listen {
            bind(addr, Some(&tls))?;
        }
        shared = Some(tls);
    }
    Ok((listeners, shared))
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

/// Loads the run and the candidate, and makes the server ready.
async fn load(app: &Arc<App>, run: &Path, options: prl_engine::Options) -> Result<(), Error> {
    if let Some(candidate) = &app.candidate {
        let engine = open(&candidate.options.run, options.clone()).await?;
        app.experiment.check_model(&engine.model(), true)?;
        sync_items(app, &engine).await?;
        candidate.set_ready(engine);
    }
    let engine = open(run, options).await?;
    app.experiment.check_model(&engine.model(), false)?;
    sync_items(app, &engine).await?;
    app.set_ready(engine);
    tracing::info!(run = %run.display(), "ready");
    Ok(())
}

/// Applies the stored changes of items to a model. While the store is not available the server is
/// not ready: it would recommend what is out of stock.
async fn sync_items(app: &Arc<App>, engine: &Engine) -> Result<(), Error> {
    let mut has_failed = false;
    loop {
        match items::sync(app, engine.model()).await {
            Err(Error::Changes(error)) => {
                if !has_failed {
                    tracing::error!(%error, "changes of items are not read; not ready until they are");
                }
                has_failed = true;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            result => return result,
        }
    }
}

/// Opens a run on a blocking thread.
async fn open(run: &Path, options: prl_engine::Options) -> Result<Engine, Error> {
    let path = run.to_owned();
    let opened = tokio::task::spawn_blocking(move || Engine::open(&path, options)).await;
    Ok(opened.map_err(std::io::Error::other)??)
}

/// Reloads keys, certificate and run at every SIGHUP.
async fn reload_on_hang_up(
    app: &Arc<App>,
    tls: Option<&Tls>,
    mut hang_ups: HangUps,
    stopped: watch::Receiver<bool>,
) {
    let stopped = until(stopped);
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => return,
            () = hang_ups.next() => {
                reload_files(&app.keys, tls);
                if let Err(problem) = admin::swap_model(app, None).await {
                    tracing::error!(detail = problem.detail, "reload failed; model unchanged");
                }
            }
        }
    }
}

/// Reads keys and certificate again; each stays as it is if its file is bad.
fn reload_files(keys: &Keys, tls: Option<&Tls>) {
    if let Some(file) = keys.file() {
        match keys.reload() {
            Ok(()) => tracing::info!(file = %file.display(), "keys reloaded"),
            Err(error) => tracing::error!("{error}; the current keys stay valid"),
        }
    }
    if let Some(tls) = tls {
        let file = tls.certificate().display();
        match tls.reload() {
            Ok(()) => tracing::info!(%file, "certificate reloaded"),
            Err(error) => tracing::error!("{error}; the current certificate stays in use"),
        }
    }
}
