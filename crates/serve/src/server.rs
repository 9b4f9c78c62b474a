//! The server's life: bind, load, answer, drain.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prl_engine::{Engine, SessionLimits, SessionStore};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::accept::{self, Limits};
use crate::admin;
use crate::app::{App, router};
use crate::guard::ApiKey;
use crate::signals::{self, HangUps};

/// How to serve.
#[derive(Clone)]
pub struct Options {
    /// The run directory.
    pub run: PathBuf,
    /// Where to listen.
    pub addr: SocketAddr,
    /// What clients must know.
    pub key: Option<ApiKey>,
    /// Requests that are answered at once; one more is refused.
    pub requests: usize,
    /// Connections at once; further ones wait.
    pub connections: usize,
    /// How long the head of a request may take; a connection on which nothing comes for so long is closed.
    pub head: Duration,
    /// How long a request may take, and how long the last ones may when the server stops.
    pub timeout: Duration,
    /// The engine's own.
    pub engine: prl_engine::Options,
    /// How much of kept sessions is kept.
    pub sessions: SessionLimits,
}

impl Options {
    /// The run in `dir` on the loopback address, port 8080.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            run: dir.into(),
            addr: SocketAddr::from(([127, 0, 0, 1], 8080)),
            key: None,
            requests: 1_024,
            connections: 4_096,
            head: Duration::from_secs(30),
            timeout: Duration::from_secs(2),
            engine: prl_engine::Options::default(),
            sessions: SessionLimits::default(),
        }
    }
}

/// Why the server could not begin, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address could not be had.
    #[error("{addr}: {source}; name another with --addr")]
    Bind {
        /// Which.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system refused something else.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The run cannot be served.
    #[error(transparent)]
    Engine(#[from] prl_engine::Error),
}

/// A server that listens, on a runtime of its own.
pub struct Server {
    runtime: tokio::runtime::Runtime,
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: JoinSet<Result<(), Error>>,
    timeout: Duration,
}

impl Server {
    /// Listens at once, and answers questions as soon as the run is loaded and has answered one itself.
    ///
    /// # Errors
    /// If the address cannot be had. What is wrong with the run is told by [`wait`](Self::wait).
    pub fn start(options: Options) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let _inside = runtime.enter();
        let bound = runtime.block_on(TcpListener::bind(options.addr));
        let listener = bound.map_err(|source| Error::Bind {
            addr: options.addr,
            source,
        })?;
        let addr = listener.local_addr()?;
        // Before anything that takes time: a hang-up while the run is being read must not end the process.
        let hang_ups = HangUps::listen()?;
        let Options {
            run,
            key,
            requests,
            connections,
            head,
            timeout,
            engine,
            sessions,
            ..
        } = options;
        let app = Arc::new(App::new(
            requests,
            timeout,
            key,
            SessionStore::new(sessions),
        ));
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let service = accept::serve(
            listener,
            router(&app),
            Limits { connections, head },
            until(stopped.clone()),
        );
        tasks.spawn(async move {
            service.await;
            Ok(())
        });
        tasks.spawn(async move {
            let (opened, path) = (Arc::clone(&app), run.clone());
            let open = move || Engine::open(&path, engine).map(|engine| opened.ready(engine));
            tokio::task::spawn_blocking(open)
                .await
                .map_err(std::io::Error::other)??;
            tracing::info!(run = %run.display(), "ready");
            reload_on_signal(&app, hang_ups, stopped).await;
            Ok(())
        });
        drop(_inside);
        Ok(Self {
            runtime,
            addr,
            stop,
            tasks,
            timeout,
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until the [`stopper`](Self::stopper) is called or a signal asks to end; then takes no more, and answers what
    /// has begun.
    ///
    /// # Errors
    /// If the run cannot be served, or the system fails.
    pub fn wait(mut self) -> Result<(), Error> {
        let done = self.runtime.block_on(async {
            tokio::select! {
                done = all(&mut self.tasks) => return done,
                done = signals::end() => done?,
                () = until(self.stop.subscribe()) => {}
            }
            tracing::info!("draining");
            self.stop.send_replace(true);
            // A connection that never ends its request must not keep the process.
            tokio::time::timeout(self.timeout, all(&mut self.tasks))
                .await
                .unwrap_or(Ok(()))
        });
        self.runtime.shutdown_timeout(self.timeout);
        done
    }

    /// What stops it from another thread: taking no more, and answering what it has begun.
    pub fn stopper(&self) -> impl FnOnce() + Send + use<> {
        let stop = self.stop.clone();
        move || _ = stop.send_replace(true)
    }
}

/// The first failure, or that all have ended.
async fn all(tasks: &mut JoinSet<Result<(), Error>>) -> Result<(), Error> {
    while let Some(done) = tasks.join_next().await {
        done.map_err(std::io::Error::other)??;
    }
    Ok(())
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that nobody is left who could say stop.
    _ = stopped.wait_for(|&stopped| stopped).await;
}

/// Reads the run again at every hang-up signal.
async fn reload_on_signal(app: &Arc<App>, mut hang_ups: HangUps, stopped: watch::Receiver<bool>) {
    let stopped = until(stopped);
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => return,
            () = hang_ups.next() => {
                if let Err(problem) = admin::swap(app, None).await {
                    tracing::error!(detail = problem.detail, "not reloaded, the old model stays");
                }
            }
        }
    }
}
