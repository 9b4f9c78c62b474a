//! Writing, replacing and opening a prepared dataset, and the errors of a damaged one.

use std::path::Path;

use crate::common::{arrays, dataset, manifest_input};
use prl_dataset::{Dataset, Error, ItemMap, Kind, Split, write};

fn sessions() -> Vec<Vec<(u32, Kind, Split)>> {
    vec![
        vec![
            (0, Kind::Click, Split::Train),
            (2, Kind::Purchase, Split::Train),
        ],
        vec![
            (1, Kind::Click, Split::Train),
            (1, Kind::Click, Split::Val),
            (0, Kind::Purchase, Split::Test),
        ],
    ]
}

fn bytes(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|f| f.unwrap().path())
        .map(|p| {
            (
                p.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read(p).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

#[test]
fn write_and_open_preserve_arrays_and_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let data = dataset(&a, 3, &sessions());
    dataset(&b, 3, &sessions());
    assert_eq!(bytes(&a), bytes(&b));
    let source = arrays(&sessions());
    assert_eq!(data.item_indices(), source.items);
    assert_eq!(
        (data.kinds().all(), data.splits().all()),
        (source.kinds.as_slice(), source.splits.as_slice())
    );
    assert_eq!(
        (data.offsets(), data.times()),
        (source.offsets.as_slice(), source.times.as_slice())
    );
    let test = data.manifest().splits["test"];
    assert_eq!(
        (test.sessions, test.items, test.clicks, test.purchases),
        (1, 1, 0, 1)
    );
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        2,
        "no temporary file remains"
    );
}

#[test]
fn write_replaces_a_dataset_but_no_other_directory() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("d");
    dataset(&out, 3, &sessions());
    dataset(&out, 4, &sessions());
    assert_eq!(Dataset::open(&out).unwrap().items().len(), 4);
    let strange = dir.path().join("home");
    std::fs::create_dir(&strange).unwrap();
    std::fs::write(strange.join("letter.txt"), "dear").unwrap();
    let map = ItemMap::new(["a", "b", "c"]).unwrap();
    let error = write(&strange, &arrays(&sessions()), &map, manifest_input()).unwrap_err();
    assert!(matches!(error, Error::Occupied { .. }), "{error}");
    assert_eq!(
        std::fs::read_to_string(strange.join("letter.txt")).unwrap(),
        "dear"
    );
}

#[test]
fn open_names_the_damaged_file() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("d");
    let spoil = |file: &str, f: &dyn Fn(&mut Vec<u8>)| {
        dataset(&out, 3, &sessions());
        let path = out.join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        f(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        Dataset::open(&out).unwrap_err().to_string()
    };
    let flipped = spoil("events.safetensors", &|b| *b.last_mut().unwrap() ^= 1);
    assert!(
        flipped.contains("events.safetensors") && flipped.contains("checksum"),
        "{flipped}"
    );
    let cut = spoil("items.safetensors", &|b| b.truncate(20));
    assert!(
        cut.contains("items.safetensors") && cut.contains("20 bytes"),
        "{cut}"
    );
    let newer = spoil("manifest.json", &|b| {
        *b = String::from_utf8_lossy(b)
            .replace("\"format_version\": 1", "\"format_version\": 9")
            .into_bytes();
    });
    assert!(newer.contains("version 9"), "{newer}");
    let empty = spoil("manifest.json", &|b| b.clear());
    assert!(empty.contains("not valid JSON"), "{empty}");
    assert!(matches!(
        Dataset::open(dir.path()).unwrap_err(),
        Error::Missing { .. }
    ));
}

#[test]
fn write_refuses_inconsistent_arrays() {
    let dir = tempfile::tempdir().unwrap();
    let map = ItemMap::new(["a", "b", "c"]).unwrap();
    let refused = |spoil: &dyn Fn(&mut prl_dataset::Arrays)| {
        let mut arrays = arrays(&sessions());
        spoil(&mut arrays);
        let error = write(&dir.path().join("d"), &arrays, &map, manifest_input()).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    };
    refused(&|a| a.items[0] = 3);
    refused(&|a| a.offsets[1] = 0);
    refused(&|a| a.kinds.truncate(1));
    refused(&|a| a.splits.swap(2, 4));
    refused(&|a| *a.offsets.last_mut().unwrap() = 4);
    assert!(!dir.path().join("d").exists());
}
