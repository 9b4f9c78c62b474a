//! Signals of the operating system: reload (SIGHUP) and shutdown (SIGINT, SIGTERM).

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Receiver of SIGHUP. While it exists, SIGHUP does not terminate the process.
pub(crate) struct HangUps {
    #[cfg(unix)]
    signals: Signal,
}

impl HangUps {
    /// Installs the handler; must be called inside a runtime.
    pub(crate) fn listen() -> std::io::Result<Self> {
        #[cfg(unix)]
        return Ok(Self {
            signals: signal(SignalKind::hangup())?,
        });
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Waits for the next signal; pends forever on systems without SIGHUP.
    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        if self.signals.recv().await.is_some() {
            return;
        }
        std::future::pending().await
    }
}

/// Waits for Ctrl-C or SIGTERM.
pub(crate) async fn shutdown() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
