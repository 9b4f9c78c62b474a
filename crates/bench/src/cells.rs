//! Cells of the pages of many trained systems: `prl` on one thread, several cells at once, and the
//! lines of the finished ones.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail};
use prl_bench::jsonl;
use prl_bench::measure::{self, Measured};
use prl_experiments::files::read_json;
use prl_experiments::prl_binary::PrlBinary;
use prl_experiments::{Machine, Workspace};
use serde_json::Value;

/// File of a finished cell's line, in the cell's folder.
pub const LINE: &str = "cell.json";

/// Runs `prl` on one thread.
///
/// # Errors
/// If it fails.
pub fn call(prl: &PrlBinary, args: &[&str]) -> Result<Measured> {
    let mut command = Command::new(prl.program());
    command.args(args).env("RAYON_NUM_THREADS", "1");
    command.env("PRL_LOG", "warn");
    measure::run(&mut command)
}

/// Calls `perform` for every cell, `jobs` at once, in their order.
///
/// # Errors
/// The first one of each worker.
pub fn perform_all<T: Send>(
    cells: Vec<T>,
    jobs: usize,
    perform: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    let cells = Mutex::new(VecDeque::from(cells));
    let next = || {
        let mut cells = cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.pop_front()
    };
    let work = || -> Result<()> {
        while let Some(cell) = next() {
            perform(cell)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let mut workers = Vec::new();
        for _ in 0..jobs.max(1) {
            workers.push(scope.spawn(work));
        }
        for worker in workers {
            worker.join().ok().context("a worker panicked")??;
        }
        Ok(())
    })
}

/// The folder of logs: `given`, or the first of the usual ones that has this file or folder.
///
/// # Errors
/// If none has it.
pub fn logs(workspace: &Workspace, given: Option<&Path>, entry: &str) -> Result<PathBuf> {
    if let Some(dir) = given {
        return Ok(dir.to_owned());
    }
    for dir in ["datasets", "../shared/datasets"] {
        let dir = workspace.root.join(dir);
        if dir.join(entry).exists() {
            return Ok(dir);
        }
    }
    bail!("no logs; put them under datasets/{entry}, or give their folder with --logs")
}

/// The path of a directory that does not exist, after removing an unfinished one.
///
/// # Errors
/// If it cannot be removed.
pub fn fresh(dir: &Path) -> Result<String> {
    if dir.exists() {
        std::fs::remove_dir_all(dir)
            .with_context(|| format!("failed to remove {}", dir.display()))?;
    }
    Ok(dir.display().to_string())
}

/// Whether a cell is finished with these settings: the values that its line must have.
///
/// # Errors
/// If its line cannot be read.
pub fn is_finished(dir: &Path, settings: &Value) -> Result<bool> {
    let path = dir.join(LINE);
    if !path.exists() {
        return Ok(false);
    }
    let line: Value = read_json(&path)?;
    for (name, value) in settings.as_object().into_iter().flatten() {
        if line[name] != *value {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The machine without its commit, and the commits of the cells with their numbers.
pub fn provenance(machine: &Machine, lines: &[Value]) -> String {
    let mut text = String::new();
    for line in machine.lines() {
        if !line.starts_with("commit") {
            text += &format!("- {line}\n");
        }
    }
    let mut commits: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines {
        *commits.entry(jsonl::text(&line["commit"])).or_default() += 1;
    }
    for (commit, cells) in commits {
        text += &format!("- commit: {commit} ({cells} cells)\n");
    }
    text
}

/// Lines of the finished cells in a folder, by the cells' names.
///
/// # Errors
/// If a line cannot be read.
pub fn finished(dir: &Path) -> Result<Vec<Value>> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path().join(LINE);
        if let Ok(text) = std::fs::read_to_string(&path) {
            let line: Value = serde_json::from_str(&text)
                .with_context(|| format!("failed to read {}", path.display()))?;
            found.push((path, line));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let mut lines = Vec::new();
    for (_, line) in found {
        lines.push(line);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_cell_is_performed_once_and_an_error_is_returned() {
        let done = Mutex::new(Vec::new());
        perform_all((0..9).collect(), 3, |cell: i32| {
            done.lock().unwrap().push(cell);
            Ok(())
        })
        .unwrap();
        let mut done = done.into_inner().unwrap();
        done.sort_unstable();
        assert_eq!(done, (0..9).collect::<Vec<_>>());
        let failed = perform_all(vec![1, 2], 1, |cell| anyhow::bail!("cell {cell}"));
        assert_eq!(failed.unwrap_err().to_string(), "cell 1");
    }

    #[test]
    fn cell_of_other_settings_is_not_finished() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, other) = (json!({"hold_out": 0.05}), json!({"hold_out": 0.1}));
        assert!(!is_finished(dir.path(), &ours).unwrap());
        let line = json!({"hold_out": 0.05, "commit": "abc"});
        std::fs::write(dir.path().join(LINE), line.to_string()).unwrap();
        assert!(is_finished(dir.path(), &ours).unwrap());
        assert!(!is_finished(dir.path(), &other).unwrap());
    }

    #[test]
    fn finished_cells_are_those_with_a_line() {
        let dir = tempfile::tempdir().unwrap();
        assert!(finished(&dir.path().join("none")).unwrap().is_empty());
        for (name, text) in [("b", "{\"x\":2}"), ("a", "{\"x\":1}")] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join(LINE), text).unwrap();
        }
        std::fs::create_dir(dir.path().join("unfinished")).unwrap();
        let found = finished(dir.path()).unwrap();
        assert_eq!(found[0]["x"], 1);
        assert_eq!(found.len(), 2);
    }
}
