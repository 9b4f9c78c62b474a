//! Targets for raw logs of every format. Accepted input must give a dataset that opens.

use std::path::PathBuf;
use std::process::Command;

use prl_data::{Encoding, Options, Source, Table, prepare};
use prl_dataset::Dataset;

use crate::{message, scratch};

/// Limit of decompressed input in bytes: far above the size of valid inputs, far below memory.
const MAX_UNPACKED: u64 = 64 << 20;

pub(crate) fn written(name: &str, input: &[u8]) -> PathBuf {
    let path = scratch().join(name);
    std::fs::write(&path, input).unwrap();
    path
}

pub(crate) fn check(source: Source) -> Result<(), String> {
    let out = scratch().join("raw-out");
    let mut options = Options {
        max_unpacked: MAX_UNPACKED,
        ..Options::new(source)
    };
    options.output.replace = true;
    prepare(&options, &out).map_err(message)?;
    Dataset::open(&out).unwrap();
    Ok(())
}

fn table(is_typed: bool) -> Table {
    if !is_typed {
        return Table {
            columns: Some("session=s,time=t,item=i".parse().unwrap()),
            ..Table::default()
        };
    }
    Table {
        columns: Some("session=s,time=t,item=i,event=e".parse().unwrap()),
        click: vec!["view".into()],
        purchase: vec!["buy".into()],
        drop_other_events: true,
        ..Table::default()
    }
}

/// `events.csv` of RetailRocket.
pub fn retailrocket(input: &[u8]) -> Result<(), String> {
    check(Source::RetailRocket {
        input: written("events.csv", input),
    })
}

/// Both files of RC15, separated by the byte 0xff, which does not occur in UTF-8.
pub fn rc15(input: &[u8]) -> Result<(), String> {
    let cut = input.iter().position(|&b| b == 0xff).unwrap_or(input.len());
    let (clicks, buys) = (&input[..cut], input.get(cut + 1..).unwrap_or_default());
    check(Source::Rc15 {
        clicks: written("clicks.dat", clicks),
        buys: written("buys.dat", buys),
        sample: 10,
    })
}

/// CSV with named columns, with an event column if the header ends in `e`.
pub fn csv(input: &[u8]) -> Result<(), String> {
    let head = input.split(|&b| b == b'\n').next().unwrap_or_default();
    let table = table(head.ends_with(b"e"));
    check(Source::Csv {
        input: written("log.csv", input).into(),
        delimiter: ','.into(),
        table,
    })
}

/// `.inter` file of RecBole.
pub fn inter(input: &[u8]) -> Result<(), String> {
    check(Source::Inter {
        input: written("log.inter", input).into(),
        delimiter: '\t'.into(),
        table: Table::default(),
    })
}

/// CSV without a header, in Latin-1, with a delimiter of several characters; rows with missing
/// values are dropped. Times are in a zone, and in a form of their own if the first line has a `/`.
pub fn text(input: &[u8]) -> Result<(), String> {
    let head = input.split(|&b| b == b'\n').next().unwrap_or_default();
    let mut table = Table {
        columns: Some("session=1,time=2,item=3".parse().unwrap()),
        ..Table::default()
    };
    table.format.no_header = true;
    table.format.encoding = Encoding::Latin1;
    table.rules.drop_missing = true;
    table.rules.time_zone = Some("Europe/Amsterdam".into());
    if head.contains(&b'/') {
        table.rules.time_format = Some("%d/%m/%Y %H:%M:%S".into());
    }
    check(Source::Csv {
        input: written("log.csv", input).into(),
        delimiter: "::".parse().unwrap(),
        table,
    })
}

/// JSON lines with the fields `s`, `t` and `i`, and `e` for the kind if the first line has it.
pub fn jsonl(input: &[u8]) -> Result<(), String> {
    let head = input.split(|&b| b == b'\n').next().unwrap_or_default();
    let table = table(head.windows(4).any(|part| part == b"\"e\":"));
    check(Source::Jsonl {
        input: written("log.jsonl", input).into(),
        table,
    })
}

/// Parquet with the columns that `prl prepare --parquet` writes. Polars trusts run lengths inside
/// pages, so `prl` reads Parquet in a child process; if `PRL_BIN` names that binary, it is the
/// target.
pub fn parquet(input: &[u8]) -> Result<(), String> {
    let (path, columns) = (
        written("log.parquet", input),
        "session=session,time=time,item=item,event=kind",
    );
    if let Some(prl) = std::env::var_os("PRL_BIN") {
        let mut prepare = Command::new(prl);
        prepare.args([
            "prepare",
            "--source",
            "parquet",
            "--columns",
            columns,
            "--click",
            "click",
            "--purchase",
            "purchase",
        ]);
        let output = prepare
            .arg("--input")
            .arg(path)
            .arg("--replace")
            .arg("--out")
            .arg(scratch().join("raw-out"))
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        return match output.status.code() {
            Some(0) => Ok(()),
            Some(3) => Err(stderr),
            _ => panic!("{}: {stderr}", output.status),
        };
    }
    let columns = Some(columns.parse().unwrap());
    let table = Table {
        columns,
        click: vec!["click".into()],
        purchase: vec!["purchase".into()],
        ..Table::default()
    };
    check(Source::Parquet {
        input: path.into(),
        table,
    })
}
