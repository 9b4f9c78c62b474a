//! The arrays of a prepared dataset: checked, written whole, mapped back.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytemuck::checked::try_cast_slice;
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::error::{Error, Result};
use crate::event::{Kind, Split};
use crate::files::{self, sha256_hex};
use crate::items::ItemMap;
use crate::manifest::{Counts, Draft, FORMAT, FileEntry, Manifest, VERSION};
use crate::map::map;
use crate::staged::{Staged, recover};

const EVENTS: &str = "events.safetensors";
const ITEMS: &str = "items.safetensors";
const MANIFEST: &str = "manifest.json";
/// Bytes of the manifest: some thousand, and a line for each raw file.
const MOST_MANIFEST: u64 = 64 << 20;

/// The log as flat arrays. Session `s` is the events `offsets[s]..offsets[s + 1]`, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrays {
    /// Where each session begins, and the number of events at the end: sessions + 1 entries.
    pub offsets: Vec<u64>,
    /// The item of each event, an index into the item map.
    pub items: Vec<u32>,
    /// The kind of each event.
    pub kinds: Vec<Kind>,
    /// When each event happened: milliseconds since 1970, UTC.
    pub times: Vec<i64>,
    /// The split in which each event is a target; never goes back along a session.
    pub splits: Vec<Split>,
}

impl Arrays {
    fn check(&self, items: usize) -> std::result::Result<(), String> {
        let n = self.items.len();
        if self.kinds.len() != n || self.times.len() != n || self.splits.len() != n {
            return Err("the arrays differ in length".into());
        }
        check_log(&self.offsets, &self.items, &self.splits, items)
    }
}

/// The rules every reader may rely on.
fn check_log(
    offsets: &[u64],
    items: &[u32],
    splits: &[Split],
    n_items: usize,
) -> std::result::Result<(), String> {
    if offsets.first() != Some(&0) || offsets.last() != Some(&(items.len() as u64)) {
        return Err("the session offsets do not span the events".into());
    }
    if offsets.windows(2).any(|w| w[0] >= w[1]) {
        return Err("a session is empty or the session offsets go back".into());
    }
    if items.iter().any(|&i| i as usize >= n_items) {
        return Err(format!("an item index lies beyond the {n_items} items"));
    }
    let goes_back = |w: &[u64]| {
        splits[w[0] as usize..w[1] as usize]
            .windows(2)
            .any(|s| s[0] > s[1])
    };
    if offsets.windows(2).any(goes_back) {
        return Err("a session goes back from test to val or train".into());
    }
    Ok(())
}

/// Writes a prepared dataset to `dir`: everything under a temporary name beside it, synced, the manifest last, then one
/// rename. An older dataset there is replaced; a directory that holds anything else is left alone and is an error.
pub fn write(dir: &Path, arrays: &Arrays, items: &ItemMap, draft: Draft) -> Result<Manifest> {
    arrays.check(items.len()).map_err(Error::Invalid)?;
    recover(dir)?;
    if dir.exists() && !is_replaceable(dir) {
        return Err(Error::Occupied {
            path: dir.to_owned(),
        });
    }
    let parent = files::parent(dir);
    std::fs::create_dir_all(&parent).map_err(Error::io(&parent))?;
    let staged = Staged::begin(dir)?;
    let files = vec![
        write_events(&staged, arrays)?,
        staged.write(ITEMS, &items.to_bytes()?)?,
    ];
    let manifest = Manifest {
        format: FORMAT.into(),
        format_version: VERSION,
        dataset: dataset_hash(&files),
        draft,
        splits: Split::ALL
            .iter()
            .map(|&s| (s.name().to_owned(), split_counts(arrays, s, items.len())))
            .collect(),
        files,
    };
    let mut json =
        serde_json::to_vec_pretty(&manifest).map_err(|e| Error::Invalid(e.to_string()))?;
    json.push(b'\n');
    staged.write(MANIFEST, &json)?;
    staged.publish()?;
    Ok(manifest)
}

fn is_replaceable(dir: &Path) -> bool {
    let empty = std::fs::read_dir(dir).is_ok_and(|mut d| d.next().is_none());
    let ours = files::read_at_most(&dir.join(MANIFEST), MOST_MANIFEST)
        .ok()
        .and_then(|b| serde_json::from_slice::<serde_json::Value>(&b).ok());
    empty || ours.is_some_and(|m| m["format"] == FORMAT)
}

fn write_events(staged: &Staged, a: &Arrays) -> Result<FileEntry> {
    let tensor = |dtype, len: usize, bytes| {
        TensorView::new(dtype, vec![len], bytes).map_err(|e| Error::Invalid(e.to_string()))
    };
    staged.write_tensors(
        EVENTS,
        [
            (
                "items",
                tensor(Dtype::U32, a.items.len(), bytemuck::cast_slice(&a.items))?,
            ),
            (
                "kinds",
                tensor(Dtype::U8, a.kinds.len(), bytemuck::cast_slice(&a.kinds))?,
            ),
            (
                "offsets",
                tensor(
                    Dtype::U64,
                    a.offsets.len(),
                    bytemuck::cast_slice(&a.offsets),
                )?,
            ),
            (
                "splits",
                tensor(Dtype::U8, a.splits.len(), bytemuck::cast_slice(&a.splits))?,
            ),
            (
                "times",
                tensor(Dtype::I64, a.times.len(), bytemuck::cast_slice(&a.times))?,
            ),
        ],
    )
}

fn dataset_hash(files: &[FileEntry]) -> String {
    let all: String = files.iter().map(|f| f.sha256.as_str()).collect();
    sha256_hex(all.as_bytes())[..16].to_owned()
}

fn split_counts(a: &Arrays, split: Split, n_items: usize) -> Counts {
    let mut counts = Counts::default();
    let mut seen = vec![false; n_items];
    for session in a.offsets.windows(2).map(|w| w[0] as usize..w[1] as usize) {
        counts.sessions += u64::from(a.splits[session.clone()].contains(&split));
        for e in session.filter(|&e| a.splits[e] == split) {
            match a.kinds[e] {
                Kind::Click => counts.clicks += 1,
                Kind::Purchase => counts.purchases += 1,
            }
            seen[a.items[e] as usize] = true;
        }
    }
    counts.items = seen.iter().filter(|&&s| s).count() as u64;
    counts
}

/// A prepared dataset, mapped into memory.
#[derive(Debug)]
pub struct Dataset {
    dir: PathBuf,
    manifest: Manifest,
    items: ItemMap,
    events: Mmap,
    at: [Range<usize>; 5],
}

impl Dataset {
    /// Opens the dataset in `dir`: versions, sizes and checksums are verified, and every rule of [`Arrays`].
    pub fn open(dir: &Path) -> Result<Self> {
        let manifest = read_manifest(dir)?;
        for name in [EVENTS, ITEMS] {
            if !manifest.files.iter().any(|file| file.name == name) {
                return Err(Error::damaged(
                    &dir.join(MANIFEST),
                    format!("does not name {name}"),
                ));
            }
        }
        for file in &manifest.files {
            verify(dir, file)?;
        }
        let items = ItemMap::load(&dir.join(ITEMS))?;
        let path = dir.join(EVENTS);
        let events = map(&path)?;
        let at = locate(&path, &events)?;
        let dataset = Self {
            dir: dir.to_owned(),
            manifest,
            items,
            events,
            at,
        };
        dataset
            .check()
            .map_err(|what| Error::damaged(&path, what))?;
        Ok(dataset)
    }

    fn check(&self) -> std::result::Result<(), String> {
        let view = |i: usize| &self.events[self.at[i].clone()];
        try_cast_slice::<u8, u32>(view(0)).map_err(|e| e.to_string())?;
        try_cast_slice::<u8, Kind>(view(1))
            .map_err(|_| "an event kind is neither click nor purchase".to_owned())?;
        try_cast_slice::<u8, u64>(view(2)).map_err(|e| e.to_string())?;
        try_cast_slice::<u8, Split>(view(3))
            .map_err(|_| "a split is none of train, val and test".to_owned())?;
        try_cast_slice::<u8, i64>(view(4)).map_err(|e| e.to_string())?;
        let n = self.item_indices().len();
        if self.kinds().len() != n || self.splits().len() != n || self.times().len() != n {
            return Err("the arrays differ in length".into());
        }
        check_log(
            self.offsets(),
            self.item_indices(),
            self.splits(),
            self.items.len(),
        )
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Origin, options and counts.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Raw item ids.
    pub fn items(&self) -> &ItemMap {
        &self.items
    }

    /// The item of each event.
    pub fn item_indices(&self) -> &[u32] {
        bytemuck::cast_slice(&self.events[self.at[0].clone()])
    }

    /// The kind of each event.
    pub fn kinds(&self) -> &[Kind] {
        bytemuck::checked::cast_slice(&self.events[self.at[1].clone()])
    }

    /// Where each session begins; sessions + 1 entries.
    pub fn offsets(&self) -> &[u64] {
        bytemuck::cast_slice(&self.events[self.at[2].clone()])
    }

    /// The split of each event as a target.
    pub fn splits(&self) -> &[Split] {
        bytemuck::checked::cast_slice(&self.events[self.at[3].clone()])
    }

    /// The time of each event, in milliseconds since 1970, UTC.
    pub fn times(&self) -> &[i64] {
        bytemuck::cast_slice(&self.events[self.at[4].clone()])
    }

    /// The events of each session, in order.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        self.offsets()
            .windows(2)
            .map(|w| w[0] as usize..w[1] as usize)
    }
}

fn read_manifest(dir: &Path) -> Result<Manifest> {
    let path = dir.join(MANIFEST);
    if !path.exists() {
        return Err(Error::Missing {
            path: dir.to_owned(),
        });
    }
    let bytes = files::read_at_most(&path, MOST_MANIFEST)?;
    let value: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|e| Error::damaged(&path, format!("not valid JSON ({e})")))?;
    if value["format"] != FORMAT {
        return Err(Error::Missing {
            path: dir.to_owned(),
        });
    }
    let found = value["format_version"].as_u64().unwrap_or(0);
    if found != u64::from(VERSION) {
        return Err(Error::Version {
            path,
            found,
            supported: VERSION,
        });
    }
    serde_json::from_value(value).map_err(|e| Error::damaged(&path, e.to_string()))
}

fn verify(dir: &Path, file: &FileEntry) -> Result<()> {
    if ![EVENTS, ITEMS].contains(&file.name.as_str()) {
        return Err(Error::damaged(
            &dir.join(MANIFEST),
            format!("names a file {:?} of no known use", file.name),
        ));
    }
    let path = dir.join(&file.name);
    let bytes = map(&path)?;
    if bytes.len() as u64 != file.bytes {
        return Err(Error::damaged(
            &path,
            format!("{} bytes long, {} were written", bytes.len(), file.bytes),
        ));
    }
    if sha256_hex(&bytes) != file.sha256 {
        return Err(Error::damaged(
            &path,
            "the checksum does not match the manifest's",
        ));
    }
    Ok(())
}

/// The byte ranges of items, kinds, offsets, splits and times.
fn locate(path: &Path, bytes: &Mmap) -> Result<[Range<usize>; 5]> {
    let damaged = |e: safetensors::SafeTensorError| Error::damaged(path, e.to_string());
    let tensors = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let range = |name: &str, dtype: Dtype| {
        let view = tensors.tensor(name).map_err(damaged)?;
        if view.dtype() != dtype {
            return Err(Error::damaged(
                path,
                format!("{name} has type {:?}, not {dtype:?}", view.dtype()),
            ));
        }
        let start = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
        Ok(start..start + view.data().len())
    };
    Ok([
        range("items", Dtype::U32)?,
        range("kinds", Dtype::U8)?,
        range("offsets", Dtype::U64)?,
        range("splits", Dtype::U8)?,
        range("times", Dtype::I64)?,
    ])
}
