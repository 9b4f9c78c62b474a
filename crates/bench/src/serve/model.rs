//! A trained run over a catalogue of a given size: synthetic sessions and a single training step.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use prl_dataset::{Arrays, DatasetCounts, ItemMap, Kind, ManifestInput, Source, Split, write};
use prl_experiments::Workspace;

use super::Case;

const SESSIONS: usize = 640;
const EVENTS_PER_SESSION: usize = 6;

/// Run directory of a case, trained on first use.
pub(super) fn train(workspace: &Workspace, case: &Case<'_>, prl: &Path) -> Result<PathBuf> {
    let dir = workspace.root.join("target/serving");
    let data = dir.join(format!("{}-items", case.items));
    let run = dir.join(format!("{}-{}", case.encoder, case.items));
    if run.join("manifest.json").exists() {
        return Ok(run);
    }
    if !data.exists() {
        write_dataset(&data, case.items)?;
    }
    if run.exists() {
        // Left by a training that was killed before its first checkpoint.
        fs::remove_dir_all(&run)?;
    }
    let mut train = Command::new(prl);
    train.args(["train", "--recipe", "paper", "--method", "prl"]);
    train.args(["--encoder", case.encoder]);
    train.args(["--max-steps", "1", "--eval-every", "1"]);
    train.arg("--data").arg(&data).arg("--out").arg(&run);
    let status = train.status().context("failed to run prl")?;
    ensure!(status.success(), "prl train failed: {status}");
    Ok(run)
}

/// Writes a prepared dataset with that many items. Most occur in no session: the size of the
/// catalogue determines the speed, the log does not.
fn write_dataset(dir: &Path, items: usize) -> Result<()> {
    let mut arrays = Arrays {
        offsets: vec![0],
        ..Arrays::default()
    };
    for session in 0..SESSIONS {
        let split = match session % 10 {
            0 => Split::Test,
            1 => Split::Val,
            _ => Split::Train,
        };
        for t in 0..EVENTS_PER_SESSION {
            // Two primes spread the sessions over the catalogue.
            let item = (session * 7_919 + t * 104_729) as u32 % items as u32;
            let is_purchase = (session + t) % 10 == 0;
            arrays.items.push(item);
            arrays.kinds.push(if is_purchase {
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
    fn dataset_has_the_wanted_catalogue_size() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        write_dataset(&data, 5_000).unwrap();
        let data = prl_dataset::Dataset::open(&data).unwrap();
        assert_eq!(data.items().len(), 5_000);
        assert_eq!(data.item_indices().len(), SESSIONS * EVENTS_PER_SESSION);
        assert!(data.manifest().input.source.synthetic);
    }
}
