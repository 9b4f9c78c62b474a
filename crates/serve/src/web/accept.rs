//! Accept loops: connection limit, handshakes, idle timeout and graceful shutdown.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;

use crate::web::listen::Listener;
use crate::web::prefix::PathPrefix;
use crate::web::tls::Tls;

/// Delay after a failed `accept`. It fails at once and repeatedly when file descriptors are used
/// up.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Time for an idle connection to end properly before it is cut.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// Maximum size of a request's head in bytes.
const MAX_HEAD_BYTES: usize = 1 << 16;

/// Maximum number of concurrent requests on an HTTP/2 connection.
const MAX_STREAMS: u32 = 128;

/// Limits of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Maximum number of open connections on all listeners; further ones wait.
    pub(crate) connections: usize,
    /// Maximum time without a request that is being answered: from the start of the connection or
    /// the end of a request to the end of the next one's head.
    pub(crate) header_timeout: Duration,
}

/// What all connections share.
pub(crate) struct Connections {
    http: auto::Builder<TokioExecutor>,
    router: Router,
    prefix: Option<PathPrefix>,
    limits: Limits,
    permits: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

impl Connections {
    pub(crate) fn new(
        router: Router,
        prefix: Option<PathPrefix>,
        limits: Limits,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(MAX_HEAD_BYTES);
        http.http2()
            .timer(TokioTimer::new())
            .max_header_list_size(MAX_HEAD_BYTES as u32)
            .max_concurrent_streams(MAX_STREAMS);
        Self {
            http,
            router,
            prefix,
            limits,
            permits: Arc::new(Semaphore::new(limits.connections)),
            stopped,
        }
    }

    /// Serves the connections of all listeners until the server stops, then accepts no more and
    /// returns once the begun requests are answered.
    pub(crate) async fn serve(self, listeners: Vec<(Listener, Option<Arc<Tls>>)>) {
        let shared = Arc::new(self);
        // Every connection holds a sender: the receiver ends with the last one.
        let (open, mut ended) = mpsc::channel(1);
        for (listener, tls) in listeners {
            tokio::spawn(Arc::clone(&shared).accept_all(listener, tls, open.clone()));
        }
        drop(open);
        _ = ended.recv().await;
    }

    async fn accept_all(
        self: Arc<Self>,
        listener: Listener,
        tls: Option<Arc<Tls>>,
        open: mpsc::Sender<()>,
    ) {
        let mut stopped = self.stopped.clone();
        let stopped = stopped.wait_for(|&stopped| stopped);
        tokio::pin!(stopped);
        loop {
            let next = async {
                let accepted = accept(&listener).await;
                // Fails only for a closed semaphore; this one is never closed.
                let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
                (accepted, permit)
            };
            let (accepted, permit) = tokio::select! {
                _ = &mut stopped => return,
                next = next => next,
            };
            match accepted {
                Ok(stream) => {
                    let (shared, open) = (Arc::clone(&self), open.clone());
                    let tls = tls.clone();
                    tokio::spawn(async move {
                        shared.handle(stream, tls, permit).await;
                        drop(open);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
        }
    }

    /// Serves a connection, after the handshake if it is one with TLS.
    async fn handle(
        &self,
        stream: Stream,
        tls: Option<Arc<Tls>>,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let limit = self.limits.header_timeout;
        match (stream, tls) {
            (Stream::Tcp(stream), None) => self.answer(stream).await,
            (Stream::Tcp(stream), Some(tls)) => match tls.accept(stream, limit).await {
                Ok(stream) => self.answer(stream).await,
                Err(error) => tracing::debug!(%error, "TLS handshake failed"),
            },
            #[cfg(unix)]
            (Stream::Unix(stream), None) => self.answer(stream).await,
            #[cfg(unix)]
            (Stream::Unix(stream), Some(tls)) => match tls.accept(stream, limit).await {
                Ok(stream) => self.answer(stream).await,
                Err(error) => tracing::debug!(%error, "TLS handshake failed"),
            },
        }
        drop(permit);
    }

    /// Answers the requests of a connection until it ends, idles for too long, or the server stops.
    async fn answer<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Arc::new(Activity::new());
        let service = ConnectionService {
            router: self.router.clone(),
            prefix: self.prefix.clone(),
            activity: Arc::clone(&activity),
        };
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let mut stopped = self.stopped.clone();
        let stopped = stopped.wait_for(|&stopped| stopped);
        tokio::pin!(stopped);
        let mut is_stopping = false;
        let mut is_closing = false;
        let mut deadline = Instant::now() + self.limits.header_timeout;
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(error, "connection failed");
                    }
                    return;
                }
                _ = &mut stopped, if !is_stopping => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = tokio::time::sleep_until(deadline) => match activity.idle_since() {
                    Some(since) if since + self.limits.header_timeout <= Instant::now() => {
                        if is_closing {
                            return;
                        }
                        is_closing = true;
                        connection.as_mut().graceful_shutdown();
                        deadline = Instant::now() + CLOSE_TIME;
                    }
                    Some(since) => deadline = since + self.limits.header_timeout,
                    None => deadline = Instant::now() + self.limits.header_timeout,
                },
            }
        }
    }
}

/// An accepted connection.
enum Stream {
    Tcp(tokio::net::TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

async fn accept(listener: &Listener) -> io::Result<Stream> {
    match listener {
        Listener::Tcp(listener, _) => {
            let (stream, _) = listener.accept().await?;
            // Nagle's algorithm would delay small responses until earlier data is acknowledged.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "failed to set TCP_NODELAY");
            }
            Ok(Stream::Tcp(stream))
        }
        #[cfg(unix)]
        Listener::Unix(socket) => Ok(Stream::Unix(socket.listener().accept().await?.0)),
    }
}

/// Number of begun requests of a connection, and the time since when there are none.
struct Activity(Mutex<(usize, Instant)>);

impl Activity {
    fn new() -> Self {
        Self(Mutex::new((0, Instant::now())))
    }

    /// Counts a request until the guard is dropped.
    fn begin(self: &Arc<Self>) -> BegunRequest {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 += 1;
        BegunRequest(Arc::clone(self))
    }

    /// The end of the last request, or the start of the connection; `None` while one is begun.
    fn idle_since(&self) -> Option<Instant> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (state.0 == 0).then_some(state.1)
    }
}

struct BegunRequest(Arc<Activity>);

impl Drop for BegunRequest {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = (state.0 - 1, Instant::now());
    }
}

/// The router as the service of one connection.
struct ConnectionService {
    router: Router,
    prefix: Option<PathPrefix>,
    activity: Arc<Activity>,
}

impl Service<Request<Incoming>> for ConnectionService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let begun = self.activity.begin();
        if let Some(prefix) = &self.prefix
            && let Some(redirect) = prefix.strip(&mut request)
        {
            return Box::pin(std::future::ready(Ok(redirect)));
        }
        let answer = tower_service::Service::call(&mut self.router.clone(), request);
        Box::pin(async move {
            let response = answer.await;
            drop(begun);
            response
        })
    }
}
