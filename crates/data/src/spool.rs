//! Temporary files of rows, divided into parts, so that memory holds a few parts at a time. A row's
//! part is a function of its session, by blocks of consecutive ids: a part holds whole sessions in
//! the order of the log, and the sessions of a block are in one part. Ranks over all sessions then
//! need a number per block rather than per session.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::ordered_parallel::ordered_parallel;

/// Number of consecutive session ids in a block.
pub(crate) const BLOCK: u64 = if cfg!(test) { 2 } else { 1 << 12 };
/// Number of parts: below any limit of open files, and large enough that a part of a billion rows
/// fits a laptop.
const PARTS: u64 = 64;
const ROW: usize = 24;
/// Bytes per read.
const BYTES: usize = ROW << 12;

/// Row of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub session: u64,
    pub item: u64,
    /// Nanoseconds since 1970, UTC.
    pub time: i64,
}

impl Row {
    fn to_bytes(self) -> [u8; ROW] {
        let mut bytes = [0; ROW];
        let fields = [
            self.session.to_le_bytes(),
            self.item.to_le_bytes(),
            self.time.to_le_bytes(),
        ];
        bytes.as_chunks_mut().0.copy_from_slice(&fields);
        bytes
    }

    fn from_bytes(bytes: &[u8; ROW]) -> Self {
        let word = |i: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[8 * i..8 * i + 8]);
            u64::from_le_bytes(word)
        };
        Self {
            session: word(0),
            item: word(1),
            time: word(2) as i64,
        }
    }
}

/// Rows on disk. The files are unnamed: the system removes them when the program ends.
pub(crate) struct Spool {
    dir: PathBuf,
    parts: Vec<BufWriter<File>>,
}

impl Spool {
    /// Creates an empty spool on the disk of `dir`, which need not exist yet.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let made = || -> io::Result<Vec<_>> {
            std::fs::create_dir_all(dir)?;
            (0..PARTS)
                .map(|_| {
                    Ok(BufWriter::with_capacity(
                        1 << 16,
                        tempfile::tempfile_in(dir)?,
                    ))
                })
                .collect()
        };
        Ok(Self {
            dir: dir.to_owned(),
            parts: made().map_err(Error::io(dir))?,
        })
    }

    /// Appends rows.
    pub(crate) fn push(&mut self, rows: &[Row]) -> Result<()> {
        let part = |row: &Row| (row.session / BLOCK % PARTS) as usize;
        let mut bytes = Vec::new();
        // Sessions of a log are mostly in order, so the rows of a block are mostly adjacent.
        for run in rows.chunk_by(|a, b| part(a) == part(b)) {
            bytes.clear();
            bytes.extend(run.iter().flat_map(|row| row.to_bytes()));
            self.parts[part(&run[0])]
                .write_all(&bytes)
                .map_err(Error::io(&self.dir))?;
        }
        Ok(())
    }

    /// Applies `work` to the rows of each part, several parts in parallel, and passes the results
    /// to `take` in the order of the parts.
    pub(crate) fn for_each_part<T: Send>(
        &mut self,
        work: impl Fn(&[Row]) -> T + Sync,
        mut take: impl FnMut(T),
    ) -> Result<()> {
        let dir = &self.dir;
        let read =
            |part: &mut BufWriter<File>| read(part).map(|rows| work(&rows)).map_err(Error::io(dir));
        ordered_parallel(self.parts.iter_mut().map(Ok), read, |done| {
            take(done);
            Ok(())
        })
    }
}

fn read(part: &mut BufWriter<File>) -> io::Result<Vec<Row>> {
    part.rewind()?;
    let file = part.get_ref();
    let mut rows = Vec::with_capacity(file.metadata()?.len() as usize / ROW);
    let mut bytes = Vec::with_capacity(BYTES);
    loop {
        bytes.clear();
        file.take(BYTES as u64).read_to_end(&mut bytes)?;
        rows.extend(bytes.as_chunks().0.iter().map(Row::from_bytes));
        if bytes.len() < BYTES {
            return Ok(rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_often_as_asked_with_their_sessions_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(dir.path()).unwrap();
        let row = |i: u64| Row {
            session: (i * 7919) % 600,
            item: u64::MAX - i,
            time: -(i as i64),
        };
        let rows: Vec<Row> = (0..5000).map(row).collect();
        rows.chunks(700).for_each(|rows| spool.push(rows).unwrap());
        for _ in 0..2 {
            let (mut seen, mut blocks) = (Vec::new(), std::collections::HashSet::new());
            spool
                .for_each_part(<[Row]>::to_vec, |rows| {
                    assert!(
                        rows.is_sorted_by_key(|row| std::cmp::Reverse(row.time)),
                        "not in the order of the log"
                    );
                    let here: std::collections::HashSet<u64> =
                        rows.iter().map(|row| row.session / BLOCK).collect();
                    assert!(blocks.is_disjoint(&here), "a block is torn apart");
                    blocks.extend(here);
                    seen.extend(rows);
                })
                .unwrap();
            seen.sort_by_key(|row| std::cmp::Reverse(row.time));
            assert_eq!(seen, rows);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
