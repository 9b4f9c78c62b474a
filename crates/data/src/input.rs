//! Raw files as byte streams: decompressed while they are read, hashed as they are stored.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use prl_dataset::{SourceFile, Split};
use sha2::{Digest, Sha256};

use crate::columns::Columns;
use crate::error::{Error, Result};
use crate::partitions::{self, Partition};

/// Path that stands for standard input.
const STDIN: &str = "-";

/// One raw file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Input {
    /// Path of the file.
    pub path: PathBuf,
    /// Name in the manifest: relative to the directory given in the options.
    pub name: String,
    /// Maximum number of bytes after decompression.
    pub max_unpacked: u64,
    /// Values that all its rows share.
    pub shared: Shared,
    /// True for standard input, which has no path.
    pub is_stdin: bool,
}

/// Values that all rows of a file share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared {
    /// Event kind.
    pub kind: Option<String>,
    /// Split.
    pub split: Option<Split>,
    /// Columns in the names of its folders, outermost first.
    pub partitions: Vec<Partition>,
}

impl Input {
    fn new(path: PathBuf, name: &str, max_unpacked: u64) -> Self {
        Self {
            path,
            name: name.to_owned(),
            max_unpacked,
            shared: Shared::default(),
            is_stdin: false,
        }
    }

    /// File name without the suffix of its compression.
    pub(crate) fn plain_name(&self) -> &str {
        let name = self.name.as_str();
        name.strip_suffix(".gz")
            .or(name.strip_suffix(".zst"))
            .unwrap_or(name)
    }

    /// Standard input.
    fn stdin(max_unpacked: u64) -> Self {
        Self {
            path: "standard input".into(),
            name: STDIN.into(),
            max_unpacked,
            is_stdin: true,
            ..Self::default()
        }
    }

    /// Opens the file for reading.
    pub(crate) fn open(&self) -> Result<Stream<'_>> {
        let file: Box<dyn Read + Send> = match self.is_stdin {
            true => Box::new(io::stdin()),
            false => Box::new(File::open(&self.path).map_err(Error::io(&self.path))?),
        };
        let mut stored = BufReader::with_capacity(
            1 << 20,
            Hashing {
                file,
                hash: Sha256::new(),
                bytes: 0,
            },
        );
        let head = stored.fill_buf().map_err(Error::io(&self.path))?;
        let unpacking = match Packing::of(head) {
            Packing::None => Unpacking::Plain(stored),
            Packing::Gzip => Unpacking::Gzip(Box::new(MultiGzDecoder::new(stored))),
            Packing::Zstd => {
                Unpacking::Zstd(zstd::Decoder::with_buffer(stored).map_err(Error::io(&self.path))?)
            }
            Packing::Other(what) => {
                return Err(Error::file(&self.path, format!("{what}; unpack it first")));
            }
        };
        Ok(Stream {
            input: self,
            unpacking,
            unpacked: 0,
        })
    }
}

/// Compression of a file, detected from its first bytes.
enum Packing {
    None,
    Gzip,
    Zstd,
    Other(&'static str),
}

impl Packing {
    fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Packing::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
            [b'P', b'K', 3, 4, ..] => Packing::Other("a zip archive"),
            [b'7', b'z', 0xbc, 0xaf, ..] => Packing::Other("a 7z archive"),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Packing::Other("bzip2-compressed"),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => Packing::Other("xz-compressed"),
            _ => Packing::None,
        }
    }
}

/// Byte stream of a raw file.
pub(crate) struct Stream<'a> {
    input: &'a Input,
    unpacking: Unpacking,
    unpacked: u64,
}

enum Unpacking {
    Plain(Stored),
    Gzip(Box<MultiGzDecoder<Stored>>),
    Zstd(zstd::Decoder<'static, Stored>),
}

type Stored = BufReader<Hashing>;

struct Hashing {
    file: Box<dyn Read + Send>,
    hash: Sha256,
    bytes: u64,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.hash.update(&buffer[..n]);
        self.bytes += n as u64;
        Ok(n)
    }
}

impl Stream<'_> {
    /// Returns true if the file can be opened again and read at any place: it is neither compressed
    /// nor standard input.
    pub(crate) fn is_seekable(&self) -> bool {
        matches!(self.unpacking, Unpacking::Plain(_)) && !self.input.is_stdin
    }

    /// Appends up to `most` decompressed bytes to `to`; fewer only at the end.
    pub(crate) fn read_into(&mut self, to: &mut Vec<u8>, most: usize) -> Result<usize> {
        let path = &self.input.path;
        let (read, packed) = match &mut self.unpacking {
            Unpacking::Plain(r) => (r.take(most as u64).read_to_end(to), None),
            Unpacking::Gzip(r) => (r.take(most as u64).read_to_end(to), Some("gzip")),
            Unpacking::Zstd(r) => (r.take(most as u64).read_to_end(to), Some("zstd")),
        };
        let n = match (read, packed) {
            (Ok(n), _) => n,
            (Err(e), None) => return Err(Error::io(path)(e)),
            (Err(e), Some(what)) if e.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Error::file(
                    path,
                    format!("the {what} data is cut short ({e}); fetch the file again"),
                ));
            }
            (Err(e), Some(what)) => {
                return Err(Error::file(
                    path,
                    format!("the {what} data is damaged ({e}); fetch the file again"),
                ));
            }
        };
        self.unpacked += n as u64;
        if packed.is_some() && self.unpacked > self.input.max_unpacked {
            let most = self.input.max_unpacked;
            return Err(Error::file(
                path,
                format!("unpacks to more than {most} bytes; raise the limit or unpack it first"),
            ));
        }
        Ok(n)
    }

    /// Returns size and checksum of the file as stored. Call it at the end of the stream.
    pub(crate) fn finish(self, rows: u64) -> SourceFile {
        let stored = match self.unpacking {
            Unpacking::Plain(r) => r,
            Unpacking::Gzip(r) => r.into_inner(),
            Unpacking::Zstd(r) => r.finish(),
        };
        let Hashing { hash, bytes, .. } = stored.into_inner();
        let sha256 = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        SourceFile {
            name: self.input.name.clone(),
            bytes,
            sha256,
            rows,
        }
    }
}

/// Extensions that only logs have, in any form; a folder holds logs of one form.
const LOGS: [&str; 13] = [
    "csv", "tsv", "parquet", "pq", "inter", "jsonl", "ndjson", "avro", "orc", "arrow", "feather",
    "ipc", "xlsx",
];

/// Files of a path: the path itself, or every file below it with one of the `extensions`,
/// compressed or not, sorted by name. Names that begin with a dot or an underscore are skipped:
/// partition writers use them for markers. Logs in another form are an error. The path `-` is
/// standard input.
pub(crate) fn files(path: &Path, extensions: &[&str], max_unpacked: u64) -> Result<Vec<Input>> {
    if path == Path::new(STDIN) {
        return Ok(vec![Input::stdin(max_unpacked)]);
    }
    let meta = std::fs::metadata(path).map_err(Error::io(path))?;
    if !meta.is_dir() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut input = Input::new(path.to_owned(), &name, max_unpacked);
        input.shared.partitions = partitions::of(folder, &name);
        return Ok(vec![input]);
    }
    let mut found = Vec::new();
    walk(path, "", &mut found)?;
    found.sort_by(|a, b| a.1.cmp(&b.1));
    let (mut inputs, mut others) = (Vec::new(), Vec::new());
    for (file, name) in found {
        if has_extension(&name, extensions) {
            let mut input = Input::new(file, &name, max_unpacked);
            input.shared.partitions = partitions::of(path, &name);
            inputs.push(input);
        } else {
            others.push((file, name));
        }
    }
    let Some(first) = inputs.first() else {
        let holds = match others.first() {
            Some((_, name)) => format!("{} other files, {name:?} among them", others.len()),
            None => "no file".into(),
        };
        let wanted = extensions.join(", .");
        return Err(Error::file(
            path,
            format!("this folder holds no partition (.{wanted}, .gz or .zst) but {holds}"),
        ));
    };
    for (other, name) in others {
        if is_log(&name) {
            let why = format!(
                "a log in another form or compression than {:?} in the same folder; move one of them, or convert it",
                first.name
            );
            return Err(Error::file(&other, why));
        }
    }
    Ok(inputs)
}

/// True if the name without the suffix of a compression has one of the extensions, in any case.
fn has_extension(name: &str, extensions: &[&str]) -> bool {
    extension(name, &["gz", "zst"]).is_some_and(|own| extensions.contains(&own.as_str()))
}

/// Extension of a name in lower case, below those of `compressions`.
fn extension(name: &str, compressions: &[&str]) -> Option<String> {
    let (rest, last) = name.rsplit_once('.')?;
    let last = last.to_ascii_lowercase();
    if compressions.contains(&last.as_str()) {
        return extension(rest, &[]);
    }
    Some(last)
}

/// True for a log of any form, in any compression.
fn is_log(name: &str) -> bool {
    const COMPRESSIONS: [&str; 9] = ["gz", "zst", "bz2", "xz", "zip", "7z", "lz4", "br", "snappy"];
    extension(name, &COMPRESSIONS).is_some_and(|own| LOGS.contains(&own.as_str()))
}

fn walk(dir: &Path, prefix: &str, found: &mut Vec<(PathBuf, String)>) -> Result<()> {
    for entry in std::fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        let base = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if base.starts_with(['.', '_']) {
            continue;
        }
        let name = format!("{prefix}{base}");
        // Links to directories are skipped: they can form a cycle.
        if std::fs::symlink_metadata(&path)
            .map_err(Error::io(&path))?
            .is_dir()
        {
            walk(&path, &format!("{name}/"), found)?;
        } else {
            found.push((path, name));
        }
    }
    Ok(())
}

/// Rejects a file that is given twice by its path, before anything is read.
pub(crate) fn refuse_same_paths(inputs: &[&Input]) -> Result<()> {
    let mut seen = HashMap::new();
    for input in inputs {
        let path = match input.is_stdin {
            true => input.path.clone(),
            false => input.path.canonicalize().map_err(Error::io(&input.path))?,
        };
        if let Some(first) = seen.insert(path, *input) {
            let first = first.path.display();
            return Err(Error::file(
                &input.path,
                format!("the same file as {first}; give each file once"),
            ));
        }
    }
    Ok(())
}

/// Rejects a file that is given twice in two copies. Equal files whose folders give different
/// values to a mapped column are different logs.
pub(crate) fn refuse_same_bytes(
    inputs: &[&Input],
    read: &[SourceFile],
    columns: Option<&Columns>,
) -> Result<()> {
    let mut seen: HashMap<(&str, Vec<&Partition>), &Input> = HashMap::new();
    for (&input, file) in inputs.iter().zip(read) {
        let mut mapped = Vec::new();
        for folder in &input.shared.partitions {
            if columns.is_some_and(|columns| columns.has(&folder.name)) {
                mapped.push(folder);
            }
        }
        if file.rows == 0 {
            continue;
        }
        if let Some(first) = seen.insert((&file.sha256, mapped), input) {
            let first = first.path.display();
            return Err(Error::file(
                &input.path,
                format!("the same bytes as {first}; give each file once"),
            ));
        }
    }
    Ok(())
}

/// Returns true if `prl synth` made the log; it leaves a marker file beside its output.
pub(crate) fn is_synthetic(input: &Path) -> bool {
    if input == Path::new(STDIN) {
        return false;
    }
    let dir = if input.is_dir() {
        Some(input)
    } else {
        input.parent()
    };
    match dir {
        Some(dir) => dir.join("SYNTHETIC.json").exists(),
        None => false,
    }
}

/// Number of rows of the public files, by their published names.
const PUBLIC_ROWS: [(&str, u64); 3] = [
    ("events.csv", 2_756_101),
    ("yoochoose-clicks.dat", 33_003_944),
    ("yoochoose-buys.dat", 1_150_753),
];

/// Warning for a file with the name of a public file but fewer rows.
pub(crate) fn shorter_than_public(input: &Input, rows: u64) -> Option<String> {
    let (_, full) = PUBLIC_ROWS
        .iter()
        .find(|(name, full)| *name == input.plain_name() && rows < *full)?;
    Some(format!(
        "{}: {rows} rows; the public file of this name has {full}",
        input.path.display()
    ))
}
