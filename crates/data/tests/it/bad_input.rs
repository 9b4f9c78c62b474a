//! Malformed raw logs: errors with place and hint, no output left behind, no panic.

use crate::common::*;
use prl_data::{Error, Options, Source, Table};

const HEADER: &str = "timestamp,visitorid,event,itemid,transactionid\n";

/// RetailRocket text refused with a message that holds every one of `says`.
#[track_caller]
fn refused(text: impl AsRef<[u8]>, says: &[&str]) {
    let folder = Folder::new();
    let input = folder.write("log.csv", text);
    holds(&folder.refused(&retailrocket(input)), says);
}

/// CSV text of columns s, t, i refused.
#[track_caller]
fn csv_refused(text: &str, says: &[&str]) {
    let folder = Folder::new();
    let input = folder.write("log.csv", text);
    holds(&folder.refused(&csv(input, table())), says);
}

#[track_caller]
fn holds(error: &Error, says: &[&str]) {
    let message = error.to_string();
    assert!(error.is_bad_input(), "{message}");
    for part in says {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

fn with_rows(rows: &str) -> String {
    format!("{HEADER}1,1,view,1,\n{rows}\n2,1,view,1,\n")
}

#[test]
fn values_that_do_not_fit_their_column() {
    let u64s = "whole number from 0 to 18446744073709551615";
    refused(
        with_rows("1,abc,view,1,"),
        &["log.csv:3:", "\"visitorid\"", "\"abc\"", u64s],
    );
    refused(
        with_rows("1,18446744073709551616,view,1,"),
        &["log.csv:3:", "\"visitorid\"", u64s],
    );
    refused(
        with_rows("1,-1,view,1,"),
        &["log.csv:3:", "\"visitorid\"", "\"-1\"", u64s],
    );
    refused(
        with_rows("1,1.0,view,1,"),
        &["log.csv:3:", "\"visitorid\"", "\"1.0\""],
    );
    refused(
        with_rows("1,1,view,,"),
        &["log.csv:3:", "\"itemid\"", "found \"\""],
    );
    refused(
        with_rows("1,1,view,\"x\"\"y\","),
        &["log.csv:3:", "\"itemid\"", "x\\\"y"],
    );
    refused(
        with_rows("soon,1,view,1,"),
        &["log.csv:3:", "\"timestamp\"", "\"soon\""],
    );
    refused(
        with_rows("9223372036854775807,1,view,1,"),
        &["log.csv:3:", "\"timestamp\"", "2261"],
    );
    refused(
        with_rows("1,1,click,1,"),
        &["log.csv:3:", "\"event\"", "\"click\"", "addtocart"],
    );
    refused(
        with_rows("1,1,transaction,1,"),
        &["log.csv:3:", "\"event\"", "transactionid"],
    );
    refused(with_rows("1,1,,1,"), &["log.csv:3:", "\"event\""]);
    // The first of several, over lines that quotes and blank lines make count differently from
    // rows.
    refused(
        with_rows("\n1,1,\"view\",1,\"\n\n\"\n\nx,1,view,1,\n1,x,view,1,"),
        &["log.csv:8:", "\"timestamp\""],
    );
}

#[test]
fn records_that_are_no_records() {
    refused(
        with_rows("1,1,view,1"),
        &["log.csv:3:", "4 fields where 5 are due"],
    );
    refused(
        with_rows("1,1,view,1,,9"),
        &["log.csv:3:", "6 fields where 5 are due"],
    );
    refused(
        with_rows("1,1,vi\"ew,1,"),
        &["log.csv:3:", "quote inside an unquoted value"],
    );
    refused(
        with_rows("1,1,\"view\"x,1,"),
        &["log.csv:3:", "text after a closing quote"],
    );
    refused(with_rows("1,1,\"view,1,"), &["log.csv:3:", "never closed"]);
    refused(
        with_rows("1,1,view,1,\r2,1,view,1,"),
        &["log.csv:3:", "carriage return"],
    );
    refused(with_rows("1,1,view,1,\0"), &["log.csv:3:", "NUL"]);
    refused(
        [with_rows("1,1,view,1,").as_bytes(), b"1,1,\xe9t\xe9,1,\n"].concat(),
        &["log.csv:5:", "UTF-8"],
    );
    let utf16: Vec<u8> = "\u{feff}timestamp"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    refused(utf16, &["log.csv:1:", "UTF-16"]);
}

#[test]
fn headers_and_whole_files() {
    refused("", &["log.csv: the file is empty"]);
    refused("\n\n", &["log.csv: the file is empty"]);
    refused(HEADER, &["log.csv: the file holds a header and no row"]);
    refused(
        "timestamp,visitor,event,itemid,transactionid\n1,1,view,1,\n",
        &["\"visitorid\"", "timestamp, visitor, event"],
    );
    refused(
        "timestamp,visitorid,event,itemid,transactionid,event\n1,1,view,1,,x\n",
        &["log.csv:1:", "two columns", "\"event\""],
    );
    refused(
        HEADER.replace(',', ";"),
        &["log.csv:1:", "';'", "','", "delimiter"],
    );
    refused(
        HEADER.replace(',', "\t") + "1\t1\tview\t1\t\n",
        &["log.csv:1:", "'\\t'"],
    );
    refused(b"PAR1....PAR1", &["--source parquet"]);
    refused(b"PK\x03\x04....", &["zip archive", "unpack"]);
    refused(b"7z\xbc\xaf\x27\x1c", &["7z archive", "unpack"]);
}

#[test]
fn compressed_files_that_are_cut_short_damaged_or_bombs() {
    let text = with_rows(&"1,1,view,1,\n".repeat(2000));
    let packed = gzip(text.as_bytes());
    refused(
        &packed[..packed.len() - 9],
        &["log.csv", "gzip data is cut short"],
    );
    refused(
        &packed[..packed.len() - 2],
        &["log.csv", "gzip data is cut short"],
    );
    let mut broken = packed.clone();
    broken[packed.len() - 6] ^= 1;
    refused(&broken, &["log.csv", "gzip data is damaged"]);
    let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
    refused(
        &zstd[..zstd.len() - 3],
        &["log.csv", "zstd data is cut short"],
    );

    let folder = Folder::new();
    let input = folder.write(
        "bomb.csv.zst",
        zstd::encode_all(&vec![b'\n'; 1 << 20][..], 1).unwrap(),
    );
    let options = Options {
        max_unpacked: 1 << 16,
        ..retailrocket(input)
    };
    holds(
        &folder.refused(&options),
        &["bomb.csv.zst", "more than 65536 bytes"],
    );
}

/// Each unpacks to a header and 2^30 equal bytes; no more of them than the longest record may ever
/// be held.
#[test]
fn a_line_of_a_gigabyte_is_refused_where_it_is_too_long() {
    let attacks =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/attacks/retailrocket");
    for name in ["line-of-1-gib.zst", "quotes-of-1-gib.zst"] {
        let error = Folder::new().refused(&retailrocket(attacks.join(name)));
        holds(&error, &[name, "no record ends within 67108864 bytes"]);
    }
}

#[test]
fn nothing_left_says_where_it_went() {
    let folder = Folder::new();
    let input = folder.write(
        "log.csv",
        format!("{HEADER}1,1,view,1,\n2,1,view,1,\n3,2,transaction,1,9\n"),
    );
    let error = folder.refused(&retailrocket(input));
    holds(
        &error,
        &[
            "no session is left of 3 rows",
            "\"short_session\" (2)",
            "\"transaction\" (1)",
        ],
    );
}

#[test]
fn paths() {
    let folder = Folder::new();
    holds(
        &folder.refused(&retailrocket(folder.path("none.csv"))),
        &["none.csv", "No such file"],
    );
    folder.write("logs/readme.md", "");
    holds(
        &folder.refused(&csv(folder.path("logs"), table())),
        &["no partition", ".csv", "\"readme.md\""],
    );
    std::fs::create_dir(folder.path("empty")).unwrap();
    holds(
        &folder.refused(&parquet(folder.path("empty"), table())),
        &["no partition", "no file"],
    );

    let clicks = folder.write("clicks.dat", "1,2014-04-07T10:51:09.277Z,1,0\n".repeat(3));
    std::fs::create_dir(folder.path("d")).unwrap();
    holds(
        &folder.refused(&rc15(clicks, folder.path("d/../clicks.dat"))),
        &["the same file as"],
    );
    let rows = "s,t,i\n1,1,1\n";
    folder.write("twins/a.csv", rows);
    folder.write("twins/b.csv", rows);
    holds(
        &folder.refused(&csv(folder.path("twins"), table())),
        &["b.csv", "the same bytes as", "a.csv"],
    );
}

#[test]
fn rc15_rows() {
    let clicks = "1,2014-04-07T10:51:09.277Z,1,0\n".repeat(3);
    let buys = "1,2014-04-07T10:52:09.277Z,1,12,1\n";
    let refused = |clicks: &str, buys: &str, says: &[&str]| {
        let folder = Folder::new();
        let (c, b) = (folder.write("c.dat", clicks), folder.write("b.dat", buys));
        holds(&folder.refused(&rc15(c, b)), says);
    };
    refused(
        &format!("{clicks}1,2014-04-07T25:51:09.277Z,1,0"),
        buys,
        &["c.dat:4:", "\"timestamp\"", "T25:51"],
    );
    refused(
        &clicks,
        &buys.replace("09.277Z", "O9.277Z"),
        &["b.dat:1:", "\"timestamp\""],
    );
    refused(
        &format!("{clicks}x,2014-04-07,1,0"),
        buys,
        &["c.dat:4:", "\"session\"", "\"x\""],
    );
    refused(buys, &clicks, &["c.dat:1:", "5 fields where 4 are due"]);
    refused(&clicks.replace(',', "\t"), buys, &["c.dat:1:", "'\\t'"]);
    refused("", buys, &["c.dat: the file is empty"]);
}

#[test]
fn tables() {
    csv_refused("s,t,item\n1,1,1\n", &["no column \"i\"", "s, t, item"]);
    csv_refused("s,t,i\n1,1,1\n,1,1\n", &["log.csv:3:", "\"s\"", "an id"]);
    csv_refused(
        "s,t,i\n1,1,1\n1,1,\"\"\n",
        &["log.csv:3:", "\"i\"", "an id"],
    );
    csv_refused("s,t,i\n1,1,1\n1,,1\n", &["log.csv:3:", "\"t\""]);
    csv_refused(
        "s,t,i\n1,1,1\n1,nan,1\n",
        &["log.csv:3:", "\"t\"", "\"nan\""],
    );
    csv_refused(
        "s,t,i\n1,2014-01-01,1\n1,2014-02-30,2\n",
        &["log.csv:3:", "\"t\"", "2014-02-30"],
    );
    csv_refused("s,t,i\n1,20140407,1\n", &["\"t\"", "YYYY-MM-DD"]);
    csv_refused("s,t,i\n1,1e19,1\n", &["\"t\"", "name the time unit"]);
}

#[test]
fn event_kinds_that_nobody_named() {
    let folder = Folder::new();
    let input = folder.write(
        "log.csv",
        "s,t,i,e\n1,1,1,view\n1,2,1,cart\n1,3,1,cart\n1,4,,search\n1,5,1,\n",
    );
    let error = folder.refused(&csv(input, table_with_events()));
    holds(
        &error,
        &[
            "\"e\"",
            "\"cart\" (2), \"\" (1), \"search\" (1)",
            "--drop-other-events",
        ],
    );
}

#[test]
fn inter_headers() {
    let refused = |text: &str, says: &[&str]| {
        let folder = Folder::new();
        let input = folder.write("log.inter", text);
        let source = Source::Inter {
            input: input.into(),
            delimiter: '\t'.into(),
            table: Table::default(),
        };
        holds(&folder.refused(&Options::new(source)), says);
    };
    refused(
        "user_id\titem_id\ttimestamp\n1\t1\t1\n",
        &["log.inter:1:", "name:type"],
    );
    refused(
        "user_id:token\titem_id:token\n1\t1\n",
        &["\"timestamp\"", "user_id, item_id"],
    );
    refused(
        "user_id:token,item_id:token,timestamp:float\n1,1,1\n",
        &["log.inter:1:", "','"],
    );
}

#[test]
fn options_that_contradict_themselves_are_usage_errors() {
    let folder = Folder::new();
    let input = folder.write("log.csv", "s,t,i\n1,1,1\n");
    let of = |table: Table| csv(input.clone(), table);
    let both = Table {
        click: vec!["buy".into()],
        ..table_with_events()
    };
    let unnamed = Table {
        click: vec![],
        purchase: vec![],
        ..table_with_events()
    };
    let no_column = Table {
        click: vec!["view".into()],
        ..table()
    };
    let twice = Table {
        columns: Some("session=s,time=t,item=s".parse().unwrap()),
        ..table()
    };
    for options in [
        Options {
            val_fraction: 0.6,
            test_fraction: 0.4,
            ..of(table())
        },
        Options {
            val_fraction: f64::NAN,
            ..of(table())
        },
        of(Table::default()),
        of(both),
        of(unnamed),
        of(no_column),
        of(twice),
        Options::new(Source::Csv {
            input: input.clone().into(),
            delimiter: '"'.into(),
            table: table(),
        }),
        Options::new(Source::Csv {
            input: input.clone().into(),
            delimiter: 'é'.into(),
            table: table(),
        }),
        Options::new(Source::Rc15 {
            clicks: input.clone(),
            buys: input.clone(),
            sample: 0,
        }),
    ] {
        let error = folder.refused(&options);
        assert!(
            matches!(error, Error::Options(_)) && !error.is_bad_input(),
            "{error}"
        );
    }
}
