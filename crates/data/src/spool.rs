//! Rows that wait in temporary files, so that memory holds a part of them at a time. A row's session decides its part, by
//! blocks of consecutive ids: a part holds whole sessions in the order of the log, and the sessions of a block stay
//! together, so that ranks over all sessions need a number a block and not a number a session.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Consecutive session ids that share a block.
pub(crate) const BLOCK: u64 = if cfg!(test) { 2 } else { 1 << 12 };
/// Few enough for any limit of open files, and parts of a billion rows still fit a laptop.
const PARTS: u64 = 64;
const ROW: usize = 24;

/// A row of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub session: u64,
    pub item: u64,
    /// Nanoseconds since 1970, UTC.
    pub time: i64,
}

/// Rows on disk. The files have no names: the system removes them with the program, however it ends.
pub(crate) struct Spool {
    dir: PathBuf,
    parts: Vec<BufWriter<File>>,
}

impl Spool {
    /// An empty one on the disk that holds `dir`, which need not exist yet.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let made = || -> io::Result<Vec<_>> {
            std::fs::create_dir_all(dir)?;
            (0..PARTS).map(|_| Ok(BufWriter::with_capacity(1 << 16, tempfile::tempfile_in(dir)?))).collect()
        };
        Ok(Self { dir: dir.to_owned(), parts: made().map_err(Error::io(dir))? })
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, row: Row) -> Result<()> {
        let mut bytes = [0; ROW];
        let fields = [row.session.to_le_bytes(), row.item.to_le_bytes(), row.time.to_le_bytes()];
        bytes.as_chunks_mut().0.copy_from_slice(&fields);
        let part = (row.session / BLOCK % PARTS) as usize;
        self.parts[part].write_all(&bytes).map_err(Error::io(&self.dir))
    }

    /// Hands the rows to `each`, part by part.
    pub(crate) fn for_each_part(&mut self, mut each: impl FnMut(&[Row])) -> Result<()> {
        let (mut bytes, mut rows) = (Vec::new(), Vec::new());
        for part in &mut self.parts {
            let mut read = || -> io::Result<()> {
                bytes.clear();
                part.rewind()?;
                part.get_mut().read_to_end(&mut bytes).map(drop)
            };
            read().map_err(Error::io(&self.dir))?;
            let (fields, _) = bytes.as_chunks::<8>();
            let (fields, _) = fields.as_chunks::<3>();
            rows.clear();
            rows.extend(fields.iter().map(|&[session, item, time]| Row {
                session: u64::from_le_bytes(session),
                item: u64::from_le_bytes(item),
                time: i64::from_le_bytes(time),
            }));
            each(&rows);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_often_as_asked_with_their_sessions_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(dir.path()).unwrap();
        let row = |i: u64| Row { session: (i * 7919) % 600, item: u64::MAX - i, time: -(i as i64) };
        (0..5000).for_each(|i| spool.push(row(i)).unwrap());
        for _ in 0..2 {
            let (mut seen, mut blocks) = (Vec::new(), std::collections::HashSet::new());
            spool
                .for_each_part(|rows| {
                    assert!(rows.is_sorted_by_key(|row| std::cmp::Reverse(row.time)), "not in the order of the log");
                    let here: std::collections::HashSet<u64> = rows.iter().map(|row| row.session / BLOCK).collect();
                    assert!(blocks.is_disjoint(&here), "a block is torn apart");
                    blocks.extend(here);
                    seen.extend_from_slice(rows);
                })
                .unwrap();
            seen.sort_by_key(|row| std::cmp::Reverse(row.time));
            assert!(seen.into_iter().eq((0..5000).map(row)));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
