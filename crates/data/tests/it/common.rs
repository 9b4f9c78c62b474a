//! A raw log in a temporary folder, and its way through [`prepare`].

#![allow(dead_code)] // each test file uses its own part

use std::fs;
use std::path::PathBuf;

use prl_data::{Error, Inputs, Options, Source, Table, prepare};
use prl_dataset::{Dataset, Kind, Manifest};
use tempfile::TempDir;

/// Per session, in order: raw item, milliseconds, kind.
pub type Sessions = Vec<Vec<(String, i64, Kind)>>;

pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Prepares into `out` and reads back.
    pub fn prepare(&self, options: &Options) -> (Manifest, Sessions) {
        let out = self.path("out");
        let mut options = options.clone();
        options.output.replace = true;
        let manifest = prepare(&options, &out).unwrap_or_else(|e| panic!("{e}"));
        let data = Dataset::open(&out).unwrap();
        let raw = |e: usize| data.items().raw(data.item_indices()[e]).unwrap().to_owned();
        let event = |e: usize| (raw(e), data.times()[e], data.kinds()[e]);
        (
            manifest,
            data.sessions().map(|s| s.map(event).collect()).collect(),
        )
    }

    /// The error of options that must fail; nothing may be left beside what was there.
    pub fn refused(&self, options: &Options) -> Error {
        let before = self.names();
        let error = prepare(options, &self.path("out")).expect_err("this must be refused");
        assert_eq!(
            self.names(),
            before,
            "something was left behind after: {error}"
        );
        error
    }

    fn names(&self) -> Vec<PathBuf> {
        let mut names: Vec<_> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        names.sort();
        names
    }
}

/// A table with `session=s,time=t,item=i` and options to keep everything.
pub fn table() -> Table {
    Table {
        columns: Some("session=s,time=t,item=i".parse().unwrap()),
        ..Table::default()
    }
}

/// The options with an event column `e`: views and buys.
pub fn table_with_events() -> Table {
    Table {
        columns: Some("session=s,time=t,item=i,event=e".parse().unwrap()),
        click: vec!["view".into()],
        purchase: vec!["buy".into()],
        ..Table::default()
    }
}

pub fn csv(input: impl Into<Inputs>, table: Table) -> Options {
    Options::new(Source::Csv {
        input: input.into(),
        delimiter: ','.into(),
        table,
    })
}

pub fn parquet(input: impl Into<Inputs>, table: Table) -> Options {
    let input = input.into();
    Options::new(Source::Parquet { input, table })
}

pub fn retailrocket(input: PathBuf) -> Options {
    Options::new(Source::RetailRocket { input })
}

pub fn rc15(clicks: PathBuf, buys: PathBuf) -> Options {
    Options::new(Source::Rc15 {
        clicks,
        buys,
        sample: 10,
    })
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A file or folder of `../shared` beside the repository; prints that a test is skipped without it.
pub fn shared(name: &str) -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    let path = PathBuf::from(beside).join(name);
    if !path.exists() {
        eprintln!("skipped: {name} is not at hand");
        return None;
    }
    Some(path)
}

/// A file that a script beside it wrote.
pub fn golden(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    PathBuf::from(folder).join(name)
}

/// A table with this column mapping, views and buys.
pub fn mapped(columns: &str) -> Table {
    let columns: prl_data::Columns = columns.parse().unwrap();
    let mut table = Table::default();
    if columns.event.is_some() {
        table.click = vec!["view".into(), "pv".into()];
        table.purchase = vec!["buy".into()];
    }
    table.columns = Some(columns);
    table
}
