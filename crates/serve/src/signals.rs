//! What the system asks of the process: to read its run again, or to end.

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The hang-up signals from now on. Whoever holds this is not ended by one.
pub(crate) struct HangUps {
    #[cfg(unix)]
    signals: Signal,
}

impl HangUps {
    /// Listens, inside a runtime.
    pub(crate) fn listen() -> std::io::Result<Self> {
        #[cfg(unix)]
        return Ok(Self {
            signals: signal(SignalKind::hangup())?,
        });
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Waits for the next one; for ever where there are none.
    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        if self.signals.recv().await.is_some() {
            return;
        }
        std::future::pending().await
    }
}

/// Ctrl-C, or the signal that asks a process to end.
pub(crate) async fn end() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut end = signal(SignalKind::terminate())?;
        tokio::select! {
            done = tokio::signal::ctrl_c() => done,
            _ = end.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
