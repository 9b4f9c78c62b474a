//! A run over a catalogue of the wanted size: a few made-up sessions, a single training step.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use prl_dataset::{Arrays, DatasetCounts, ItemMap, Kind, ManifestInput, Source, Split, write};

use super::Case;
use crate::root;

/// Sessions, and events in each.
const SESSIONS: (usize, usize) = (640, 6);

/// The run of a case, made once.
pub(super) fn run(case: &Case<'_>, prl: &Path) -> Result<PathBuf> {
    let folder = root().join("target/serving");
    let (data, run) = (
        folder.join(format!("{}-items", case.items)),
        folder.join(format!("{}-{}", case.encoder, case.items)),
    );
    if run.join("manifest.json").exists() {
        return Ok(run);
    }
    if !data.exists() {
        sessions(&data, case.items)?;
    }
    // What a kill has left of one is no run.
    _ = std::fs::remove_dir_all(&run);
    let mut train = Command::new(prl);
    train.args([
        "train",
        "--method",
        "prl",
        "--max-steps",
        "1",
        "--eval-every",
        "1",
        "--encoder",
        case.encoder,
    ]);
    let done = train
        .arg("--data")
        .arg(&data)
        .arg("--out")
        .arg(&run)
        .status()
        .context("failed to run prl")?;
    ensure!(done.success(), "prl train failed");
    Ok(run)
}

/// A prepared dataset of that many items, most of which occur in no session: the catalogue counts here, not the log.
fn sessions(dir: &Path, items: usize) -> Result<()> {
    let mut arrays = Arrays {
        offsets: vec![0],
        ..Arrays::default()
    };
    for session in 0..SESSIONS.0 {
        let split = [Split::Test, Split::Val]
            .get(session % 10)
            .copied()
            .unwrap_or(Split::Train);
        for t in 0..SESSIONS.1 {
            arrays
                .items
                .push((session * 7_919 + t * 104_729) as u32 % items as u32);
            arrays.kinds.push(if (session + t) % 10 == 0 {
                Kind::Purchase
            } else {
                Kind::Click
            });
            arrays.times.push((session * 10 + t) as i64);
            arrays.splits.push(split);
        }
        arrays.offsets.push(arrays.items.len() as u64);
    }
    let names = ItemMap::new((0..items).map(|item| item.to_string()))?;
    let source = Source {
        kind: "bench".into(),
        synthetic: true,
        files: Vec::new(),
    };
    write(
        dir,
        &arrays,
        &names,
        ManifestInput {
            source,
            options: Default::default(),
            seed: 0,
            counts: DatasetCounts::default(),
        },
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_has_the_wanted_size() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        sessions(&data, 5_000).unwrap();
        let data = prl_dataset::Dataset::open(&data).unwrap();
        assert_eq!(
            (data.items().len(), data.item_indices().len()),
            (5_000, SESSIONS.0 * SESSIONS.1)
        );
        assert!(data.manifest().input.source.synthetic);
    }
}
