//! File of an evaluation's cases: CSV, JSON lines or Parquet, by its name.

use std::io::Write;
use std::path::Path;

use prl_dataset::ItemMap;
use prl_eval::NOT_RANKED;
use prl_fs::StagedFile;
use prl_runs::{CaseSink, RankedCase};
use serde::Serialize;

#[cfg(not(feature = "tables"))]
use crate::exit::Usage;

type PushResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// File of cases, which appears when it is finished.
pub enum CaseFile<'a> {
    /// Session, kind and rank.
    Csv(StagedFile),
    /// All that a case holds, one JSON object a line.
    JsonLines(StagedFile, &'a ItemMap),
    /// The columns of the JSON lines.
    #[cfg(feature = "tables")]
    Parquet(Box<parquet::CaseTable<'a>>),
}

/// A case as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    session: u32,
    kind: &'static str,
    rank: Option<u32>,
    item: &'a str,
    top: Vec<&'a str>,
    step: u32,
    target_return: Option<f64>,
}

impl<'a> CaseFile<'a> {
    /// Starts the file in the format of its name; `items` names the recommended items.
    pub fn create(path: &Path, items: &'a ItemMap) -> anyhow::Result<Self> {
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        match extension.to_ascii_lowercase().as_str() {
            "parquet" => Self::create_parquet(path, items),
            "jsonl" | "ndjson" => Ok(CaseFile::JsonLines(StagedFile::create(path)?, items)),
            _ => {
                let mut file = StagedFile::create(path)?;
                writeln!(file, "session,kind,rank")?;
                Ok(CaseFile::Csv(file))
            }
        }
    }

    #[cfg(feature = "tables")]
    fn create_parquet(path: &Path, items: &'a ItemMap) -> anyhow::Result<Self> {
        let table = parquet::CaseTable::create(path, items)?;
        Ok(CaseFile::Parquet(Box::new(table)))
    }

    #[cfg(not(feature = "tables"))]
    fn create_parquet(path: &Path, _items: &'a ItemMap) -> anyhow::Result<Self> {
        let what = format!(
            "--cases {}: this build writes no Parquet; name a .jsonl file, or build prl with the \
             feature tables",
            path.display()
        );
        Err(Usage(what).into())
    }

    /// Writes what is pending and moves the file to its path.
    pub fn finish(self) -> anyhow::Result<()> {
        match self {
            CaseFile::Csv(file) | CaseFile::JsonLines(file, _) => file.publish()?,
            #[cfg(feature = "tables")]
            CaseFile::Parquet(table) => table.finish()?,
        }
        Ok(())
    }
}

impl CaseSink for CaseFile<'_> {
    fn push(&mut self, case: &RankedCase<'_>) -> PushResult {
        let rank = (case.rank != NOT_RANKED).then_some(case.rank);
        let kind = case.kind.name();
        match self {
            CaseFile::Csv(file) => match rank {
                Some(rank) => writeln!(file, "{},{kind},{rank}", case.session)?,
                None => writeln!(file, "{},{kind},", case.session)?,
            },
            CaseFile::JsonLines(file, items) => {
                let mut top = Vec::with_capacity(case.top.len());
                for &(item, _) in case.top {
                    top.extend(items.raw(item));
                }
                let line = Line {
                    session: case.session,
                    kind,
                    rank,
                    item: case.item,
                    top,
                    step: case.step,
                    target_return: case.target_return,
                };
                serde_json::to_writer(&mut *file, &line)?;
                file.write_all(b"\n")?;
            }
            #[cfg(feature = "tables")]
            CaseFile::Parquet(table) => table.push(case, rank)?,
        }
        Ok(())
    }
}

#[cfg(feature = "tables")]
mod parquet {
    use std::path::Path;

    use prl_dataset::ItemMap;
    use prl_runs::RankedCase;
    use prl_tables::{Result, TableWriter, Type, Values};

    /// Cases gathered before they are passed to the writer.
    const BATCH: usize = 4_096;

    /// Columns of the table.
    const COLUMNS: [(&str, Type); 7] = [
        ("session", Type::U32),
        ("kind", Type::Text),
        ("rank", Type::U32),
        ("item", Type::Text),
        ("top", Type::TextList),
        ("step", Type::U32),
        ("target_return", Type::F64),
    ];

    /// Cases as a Parquet file.
    pub struct CaseTable<'a> {
        table: TableWriter,
        items: &'a ItemMap,
        rows: Columns,
    }

    /// Values of the cases that are not written yet.
    #[derive(Default)]
    struct Columns {
        sessions: Vec<Option<u32>>,
        kinds: Vec<Option<&'static str>>,
        ranks: Vec<Option<u32>>,
        items: Vec<String>,
        tops: Vec<Vec<u32>>,
        steps: Vec<Option<u32>>,
        target_returns: Vec<Option<f64>>,
    }

    impl<'a> CaseTable<'a> {
        pub(super) fn create(path: &Path, items: &'a ItemMap) -> Result<Self> {
            Ok(Self {
                table: TableWriter::create(path, &COLUMNS)?,
                items,
                rows: Columns::default(),
            })
        }

        pub(super) fn push(&mut self, case: &RankedCase<'_>, rank: Option<u32>) -> Result<()> {
            let rows = &mut self.rows;
            rows.sessions.push(Some(case.session));
            rows.kinds.push(Some(case.kind.name()));
            rows.ranks.push(rank);
            rows.items.push(case.item.to_owned());
            rows.tops.push(case.top.iter().map(|top| top.0).collect());
            rows.steps.push(Some(case.step));
            rows.target_returns.push(case.target_return);
            if rows.sessions.len() == BATCH {
                self.write()?;
            }
            Ok(())
        }

        fn write(&mut self) -> Result<()> {
            let rows = std::mem::take(&mut self.rows);
            let mut items = Vec::with_capacity(rows.items.len());
            for item in &rows.items {
                items.push(Some(item.as_str()));
            }
            let mut tops = Vec::with_capacity(rows.tops.len());
            for top in &rows.tops {
                let mut named = Vec::with_capacity(top.len());
                for &item in top {
                    named.extend(self.items.raw(item));
                }
                tops.push(named);
            }
            self.table.write(&[
                Values::U32(&rows.sessions),
                Values::Text(&rows.kinds),
                Values::U32(&rows.ranks),
                Values::Text(&items),
                Values::TextList(&tops),
                Values::U32(&rows.steps),
                Values::F64(&rows.target_returns),
            ])
        }

        pub(super) fn finish(mut self) -> Result<()> {
            self.write()?;
            self.table.finish()
        }
    }
}
