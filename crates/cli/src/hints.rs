//! Hints for errors of the operating system, which say the cause but not the mend.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

/// Least similarity of a name that is suggested.
const MIN_SIMILARITY: f64 = 0.8;
/// Names of a directory that are compared at most.
const MOST_NAMES: usize = 10_000;

/// Hint for an error with this message, if the operating system is its cause and the message has
/// no hint.
pub fn hint(error: &anyhow::Error, message: &str) -> Option<String> {
    let cause = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Error>())?;
    if message.contains("; ") {
        return None;
    }
    match cause.kind() {
        ErrorKind::NotFound => Some(of_missing(&place(message, cause)?)),
        ErrorKind::PermissionDenied => {
            Some("name a place that you may use, or ask for its permissions".into())
        }
        ErrorKind::ReadOnlyFilesystem => Some("the disk is read-only; name another place".into()),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Some("free some space, or name a place on another disk".into())
        }
        ErrorKind::NotADirectory => Some("a folder of this path is a file; check it".into()),
        ErrorKind::IsADirectory => Some("a directory; name a file".into()),
        ErrorKind::AddrInUse => Some("another program listens there; name another port".into()),
        _ => None,
    }
}

/// The path in a message `PATH: CAUSE`.
fn place(message: &str, cause: &Error) -> Option<PathBuf> {
    let before = message.strip_suffix(&format!(": {cause}"))?;
    let place = before.rsplit(": ").next()?;
    // `failed to run PROGRAM` is no path.
    (!place.starts_with("failed to ")).then(|| place.into())
}

/// Hint for a path that does not exist: its first missing folder, or a similar name.
fn of_missing(path: &Path) -> String {
    let mut missing = path;
    while let Some(parent) = missing.parent() {
        if parent.as_os_str().is_empty() || parent.exists() {
            break;
        }
        missing = parent;
    }
    if missing != path {
        let (missing, similar) = (missing.display(), similar(missing));
        return format!("{missing} does not exist{similar}");
    }
    if path.is_absolute() {
        return format!("check the path{}", similar(path));
    }
    let here = std::env::current_dir().unwrap_or_default();
    format!("it is looked for in {}{}", here.display(), similar(path))
}

/// Question after the most similar name beside a path, if there is one.
fn similar(path: &Path) -> String {
    let Some(wanted) = path.file_name() else {
        return String::new();
    };
    let wanted = wanted.to_string_lossy();
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let Ok(entries) = std::fs::read_dir(folder) else {
        return String::new();
    };
    let (mut best, mut nearest) = (MIN_SIMILARITY, String::new());
    for entry in entries.flatten().take(MOST_NAMES) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let similarity = strsim::jaro_winkler(&wanted, &name);
        if similarity > best {
            (best, nearest) = (similarity, name);
        }
    }
    match nearest.is_empty() {
        true => nearest,
        false => format!("; did you mean {nearest}?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint_of(path: &Path, kind: ErrorKind) -> Option<String> {
        let error = prl_fs::Error::io(path)(kind.into());
        let message = error.to_string();
        hint(&error.into(), &message)
    }

    #[test]
    fn missing_path_has_its_first_missing_folder_or_a_similar_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("events.csv"), "").unwrap();
        let hint = |name: &str| hint_of(&dir.path().join(name), ErrorKind::NotFound).unwrap();
        assert_eq!(
            hint("event.csv"),
            "check the path; did you mean events.csv?"
        );
        assert_eq!(hint("zzz"), "check the path");
        let folder = dir.path().join("logs");
        let expected = format!("{} does not exist", folder.display());
        assert_eq!(hint("logs/today/events.csv"), expected);
        let relative = hint_of(Path::new("no-such-file"), ErrorKind::NotFound).unwrap();
        assert!(relative.starts_with("it is looked for in /"), "{relative}");
    }

    #[test]
    fn hint_of_a_message_stays_alone() {
        let error = anyhow::Error::new(Error::from(ErrorKind::NotFound));
        assert_eq!(hint(&error, "it failed; do this"), None);
        let full = hint_of(Path::new("a"), ErrorKind::StorageFull).unwrap();
        assert!(full.starts_with("free some space"), "{full}");
    }
}
