//! Arrays of a prepared dataset: validation, atomic writing, memory-mapped reading.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use prl_fs::{FileEntry, Mmap, map_file, read_at_most, sha256_hex};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use crate::details::EventRewards;
use crate::enum_slice::EnumSlice;
use crate::error::{Error, Result};
use crate::event::{Kind, Split};
use crate::items::ItemMap;
use crate::manifest::{FORMAT, Manifest, VERSION};
use crate::writer::PROPERTIES_FILE;

pub(crate) const EVENTS: &str = "events.safetensors";
pub(crate) const ITEMS: &str = "items.safetensors";
pub(crate) const MANIFEST: &str = "manifest.json";
/// Size limit of the manifest in bytes. It has a few thousand, and about a hundred for each raw
/// file.
pub(crate) const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// Session log as flat arrays. Session `s` is the events `offsets[s]..offsets[s + 1]`, oldest
/// first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrays {
    /// Index of the first event of each session, then the number of events: `sessions + 1` entries.
    pub offsets: Vec<u64>,
    /// Item of each event, an index into the item map.
    pub items: Vec<u32>,
    /// Kind of each event.
    pub kinds: Vec<Kind>,
    /// Time of each event in milliseconds since 1970, UTC.
    pub times: Vec<i64>,
    /// Split in which each event is a target; never goes back along a session.
    pub splits: Vec<Split>,
}

impl Arrays {
    pub(crate) fn check(&self, items: usize) -> std::result::Result<(), String> {
        let n = self.items.len();
        if self.kinds.len() != n || self.times.len() != n || self.splits.len() != n {
            return Err("the arrays differ in length".into());
        }
        check_log(&self.offsets, &self.items, &self.splits, items)
    }
}

/// Checks the invariants that readers rely on.
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
    for pair in offsets.windows(2) {
        if !splits[pair[0] as usize..pair[1] as usize].is_sorted() {
            return Err("a session goes back from test to val or train".into());
        }
    }
    Ok(())
}

/// Prepared dataset, mapped into memory.
#[derive(Debug)]
pub struct Dataset {
    dir: PathBuf,
    manifest: Manifest,
    items: ItemMap,
    events: Mmap,
    /// Byte range of each array in `events`.
    ranges: ArrayRanges,
}

/// Byte ranges of the arrays in the events file.
#[derive(Debug)]
struct ArrayRanges {
    items: Range<usize>,
    kinds: Range<usize>,
    offsets: Range<usize>,
    splits: Range<usize>,
    times: Range<usize>,
    /// Empty if the dataset has no labels.
    labels: Range<usize>,
    /// Empty if the dataset has no rewards of single events.
    rewards: Range<usize>,
}

impl Dataset {
    /// Opens the dataset in `dir` and verifies version, sizes, checksums and the invariants of
    /// [`Arrays`].
    ///
    /// # Errors
    /// [`Error::Missing`] if `dir` holds no dataset, [`Error::Version`] for an unsupported version,
    /// [`Error::Damaged`] if a check fails, [`Error::Fs`] if a file cannot be read.
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
        let events = map_file(&path)?;
        let ranges = locate(&path, &events)?;
        let dataset = Self {
            dir: dir.to_owned(),
            manifest,
            items,
            events,
            ranges,
        };
        dataset
            .check()
            .map_err(|what| Error::damaged(&path, what))?;
        Ok(dataset)
    }

    fn bytes(&self, range: &Range<usize>) -> &[u8] {
        &self.events[range.clone()]
    }

    fn check(&self) -> std::result::Result<(), String> {
        let ranges = &self.ranges;
        check_cast::<u32>(self.bytes(&ranges.items))?;
        check_cast::<u64>(self.bytes(&ranges.offsets))?;
        check_cast::<i64>(self.bytes(&ranges.times))?;
        if check_cast::<Kind>(self.bytes(&ranges.kinds)).is_err() {
            return Err("an event kind is neither click nor purchase".into());
        }
        if check_cast::<Split>(self.bytes(&ranges.splits)).is_err() {
            return Err("a split is none of train, val and test".into());
        }
        let n = self.item_indices().len();
        if self.kinds().len() != n || self.splits().len() != n || self.times().len() != n {
            return Err("the arrays differ in length".into());
        }
        check_log(
            self.offsets(),
            self.item_indices(),
            self.splits().all(),
            self.items.len(),
        )?;
        check_cast::<f32>(self.bytes(&ranges.rewards))?;
        if !self.manifest.kinds.is_empty() && self.labels().len() != n {
            return Err("the manifest names event kinds, but the events have no labels".into());
        }
        self.rewards().check()
    }

    /// Directory of the dataset.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Manifest: origin, options and counts.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Map between raw item ids and indices.
    pub fn items(&self) -> &ItemMap {
        &self.items
    }

    /// Content of the file of the items' properties, a table of `prl-items`; `None` if the dataset
    /// has none.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is not the file that the manifest names.
    pub fn properties(&self) -> Result<Option<Vec<u8>>> {
        let Some(properties) = &self.manifest.properties else {
            return Ok(None);
        };
        let (file, path) = (&properties.file, self.dir.join(PROPERTIES_FILE));
        let bytes = read_at_most(&path, file.bytes)?;
        if bytes.len() as u64 != file.bytes || sha256_hex(&bytes) != file.sha256 {
            let what = "the checksum does not match the manifest's";
            return Err(Error::damaged(&path, what));
        }
        Ok(Some(bytes))
    }

    /// Item of each event.
    pub fn item_indices(&self) -> &[u32] {
        bytemuck::cast_slice(self.bytes(&self.ranges.items))
    }

    /// Kind of each event.
    pub fn kinds(&self) -> EnumSlice<'_, Kind> {
        EnumSlice::new(self.bytes(&self.ranges.kinds))
    }

    /// Index of the first event of each session, then the number of events: `sessions + 1` entries.
    pub fn offsets(&self) -> &[u64] {
        bytemuck::cast_slice(self.bytes(&self.ranges.offsets))
    }

    /// Split of each event as a target.
    pub fn splits(&self) -> EnumSlice<'_, Split> {
        EnumSlice::new(self.bytes(&self.ranges.splits))
    }

    /// Time of each event in milliseconds since 1970, UTC.
    pub fn times(&self) -> &[i64] {
        bytemuck::cast_slice(self.bytes(&self.ranges.times))
    }

    /// Index of each event's kind among the manifest's [`kinds`](Manifest::kinds); empty if the
    /// dataset does not keep the kinds of its log.
    pub fn labels(&self) -> &[u8] {
        self.bytes(&self.ranges.labels)
    }

    /// Rewards of the events.
    pub fn rewards(&self) -> EventRewards<'_> {
        EventRewards {
            kinds: self.kinds(),
            names: &self.manifest.kinds,
            labels: self.labels(),
            own: bytemuck::cast_slice(self.bytes(&self.ranges.rewards)),
        }
    }

    /// Whether the training sessions repeat items: at least one of their events in 200 is of an
    /// item that its session already had. A pass over the log.
    pub fn repeats_items(&self) -> bool {
        let (items, splits) = (self.item_indices(), self.splits().all());
        let (mut events, mut repeats) = (0_u64, 0_u64);
        let mut seen = HashSet::new();
        for session in self.sessions() {
            seen.clear();
            for event in session {
                if splits[event] == Split::Train {
                    events += 1;
                    repeats += u64::from(!seen.insert(items[event]));
                }
            }
        }
        repeats * 200 >= events.max(1)
    }

    /// Range of event indices of each session, in order.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        let bounds = self.offsets().windows(2);
        bounds.map(|pair| pair[0] as usize..pair[1] as usize)
    }
}

pub(crate) fn read_manifest(dir: &Path) -> Result<Manifest> {
    let path = dir.join(MANIFEST);
    if !path.exists() {
        return Err(Error::Missing {
            path: dir.to_owned(),
        });
    }
    let bytes = match read_at_most(&path, MAX_MANIFEST_BYTES) {
        Err(prl_fs::Error::TooLong { max, .. }) => {
            return Err(Error::damaged(&path, format!("longer than {max} bytes")));
        }
        read => read?,
    };
    let value: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|e| Error::damaged(&path, format!("not valid JSON ({e})")))?;
    if value["format"] != FORMAT {
        return Err(Error::Missing {
            path: dir.to_owned(),
        });
    }
    let found = value["format_version"].as_u64().unwrap_or(0);
    if !(1..=u64::from(VERSION)).contains(&found) {
        return Err(Error::Version {
            path,
            found,
            supported: VERSION,
        });
    }
    serde_json::from_value(value).map_err(|e| Error::damaged(&path, e.to_string()))
}

/// Checks that the bytes can be viewed as a slice of `T`.
fn check_cast<T: bytemuck::CheckedBitPattern>(bytes: &[u8]) -> std::result::Result<(), String> {
    match bytemuck::checked::try_cast_slice::<u8, T>(bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Checks name, size and checksum of a file in the manifest.
fn verify(dir: &Path, file: &FileEntry) -> Result<()> {
    if ![EVENTS, ITEMS].contains(&file.name.as_str()) {
        return Err(Error::damaged(
            &dir.join(MANIFEST),
            format!("names a file {:?} of no known use", file.name),
        ));
    }
    let path = dir.join(&file.name);
    let bytes = map_file(&path)?;
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

/// Reads the safetensors header and returns the byte range of each array.
fn locate(path: &Path, bytes: &Mmap) -> Result<ArrayRanges> {
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
    // Version 1 has neither labels nor rewards.
    let optional = |name: &str, dtype: Dtype| match tensors.tensor(name) {
        Ok(_) => range(name, dtype),
        Err(_) => Ok(0..0),
    };
    Ok(ArrayRanges {
        items: range("items", Dtype::U32)?,
        kinds: range("kinds", Dtype::U8)?,
        offsets: range("offsets", Dtype::U64)?,
        splits: range("splits", Dtype::U8)?,
        times: range("times", Dtype::I64)?,
        labels: optional("labels", Dtype::U8)?,
        rewards: optional("rewards", Dtype::F32)?,
    })
}
