//! Directory that the runs of a reload by request are confined to.

use std::path::{Component, Path, PathBuf};

use crate::problem::{Problem, ProblemKind};

/// The run directory that a request names, if it lies below the root; relative paths are relative
/// to the root. Without a root any directory is allowed.
///
/// # Errors
/// [`ProblemKind::OutsideRoot`] for a directory elsewhere, whether it exists or not, and for a link
/// to one; [`ProblemKind::BadRun`] for one below the root that does not exist.
pub(crate) fn resolve(root: Option<&Path>, run: &Path) -> Result<PathBuf, Problem> {
    let Some(root) = root else {
        return Ok(run.to_owned());
    };
    let outside = || {
        let detail = "the run is not below the directory of --runs-root";
        Problem::new(ProblemKind::OutsideRoot, detail)
    };
    let joined = root.join(run);
    let climbs = joined.components().any(|part| part == Component::ParentDir);
    if climbs || !joined.starts_with(root) {
        return Err(outside());
    }
    let failed = |error: std::io::Error| {
        let detail = format!("{}: {error}", run.display());
        Problem::new(ProblemKind::BadRun, detail)
    };
    let resolved = joined.canonicalize().map_err(failed)?;
    if !resolved.starts_with(root.canonicalize().map_err(failed)?) {
        return Err(outside());
    }
    // As named, so that a link below the root is followed again at the next reload.
    Ok(joined)
}
