//! Small datasets for the tests.

use std::path::Path;

use prl_dataset::{
    Arrays, Dataset, DatasetCounts, ItemMap, Kind, ManifestInput, Source, Split, write,
};

/// Manifest input without information.
pub fn manifest_input() -> ManifestInput {
    let source = Source {
        kind: "test".into(),
        synthetic: true,
        files: Vec::new(),
    };
    ManifestInput {
        source,
        options: Default::default(),
        seed: 0,
        counts: DatasetCounts::default(),
    }
}

/// Arrays of sessions given as (item, kind, split).
pub fn arrays(sessions: &[Vec<(u32, Kind, Split)>]) -> Arrays {
    let mut arrays = Arrays {
        offsets: vec![0],
        ..Arrays::default()
    };
    for (s, session) in sessions.iter().enumerate() {
        for (t, &(item, kind, split)) in session.iter().enumerate() {
            arrays.items.push(item);
            arrays.kinds.push(kind);
            arrays.splits.push(split);
            arrays.times.push((s * 1000 + t) as i64);
        }
        arrays.offsets.push(arrays.items.len() as u64);
    }
    arrays
}

/// Writes and opens a dataset with `items` items.
pub fn dataset(dir: &Path, items: u32, sessions: &[Vec<(u32, Kind, Split)>]) -> Dataset {
    let map = ItemMap::new((0..items).map(|i| format!("item-{i}"))).unwrap();
    write(dir, &arrays(sessions), &map, manifest_input()).unwrap();
    Dataset::open(dir).unwrap()
}
