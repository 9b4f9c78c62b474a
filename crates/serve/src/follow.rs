//! Following the promoted run of a registry.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::admin;
use crate::app::App;

/// Time between two looks at the pointer.
const INTERVAL: Duration = Duration::from_secs(1);

/// Loads the run behind the symbolic link `link` whenever the link points to another one than
/// `loaded`; without a link it waits for ever. A run that cannot be loaded is reported once; the
/// current model stays.
pub(crate) async fn follow(app: &Arc<App>, link: Option<&Path>, mut loaded: Option<PathBuf>) {
    let Some(link) = link else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(INTERVAL).await;
        let target = target(link);
        if target.is_none() || target == loaded {
            continue;
        }
        loaded = target;
        if let Err(problem) = admin::swap_model(app, Some(link)).await {
            let detail = problem.detail;
            tracing::error!(detail, "promoted run not loaded; model unchanged");
        }
    }
}

/// Where the link points to; `None` if it cannot be read.
pub(crate) fn target(link: &Path) -> Option<PathBuf> {
    // A file system that fails for a moment is asked again.
    std::fs::read_link(link).ok()
}
