//! One log in every form it may come in: the same dataset each time.

use crate::common::*;
use polars::prelude::*;
use polars_io::SerReader;
use polars_io::parquet::read::ParquetReader;
use prl_data::{Error, Options, Source, SplitRule, Table, TimeUnit as Unit, prepare_frame};
use prl_dataset::{Dataset, Kind};

/// Two sessions in file order; times tie, and a purchase stands before a click of the same time.
const ROWS: [(&str, i64, &str, &str); 6] = [
    ("9", 1_396_867_869_000, "30", "view"),
    ("10", 1_396_867_861_000, "4", "view"),
    ("9", 1_396_867_860_000, "4", "buy"),
    ("9", 1_396_867_860_000, "30", "view"),
    ("10", 1_396_867_861_000, "5", "view"),
    ("9", 1_396_867_860_000, "4", "view"),
];

fn expected() -> Sessions {
    let event = |i: usize| {
        let (_, time, item, kind) = ROWS[i];
        (
            item.to_owned(),
            time,
            if kind == "buy" {
                Kind::Purchase
            } else {
                Kind::Click
            },
        )
    };
    vec![[2, 3, 5, 0].map(event).to_vec(), [1, 4].map(event).to_vec()]
}

fn text(time: impl Fn(i64) -> String) -> String {
    let rows = ROWS
        .iter()
        .map(|(s, t, i, e)| format!("{s},{},{i},{e}\n", time(*t)));
    format!("s,t,i,e\n{}", rows.collect::<String>())
}

fn iso(millis: i64) -> String {
    format!("2014-04-07T10:51:{:02}Z", millis / 1000 - 1_396_867_860)
}

#[track_caller]
fn read(name: &str, bytes: impl AsRef<[u8]>) -> Sessions {
    let folder = Folder::new();
    let input = folder.write(name, bytes);
    folder.prepare(&csv(input, table_with_events())).1
}

#[test]
fn times_in_every_form() {
    for text in [
        text(iso),
        text(|t| iso(t).replace('T', " ").replace('Z', "")),
        text(|t| iso(t).replace("T10", "T12").replace('Z', "+02:00")),
        text(|t| iso(t).replace('Z', ".000")),
        text(|t| (t / 1000).to_string()),
        text(|t| t.to_string()),
        text(|t| (t * 1000).to_string()),
        text(|t| format!("{}.0", t / 1000)),
    ] {
        assert_eq!(read("log.csv", &text), expected(), "{text}");
    }
    let days = read(
        "log.csv",
        "s,t,i,e\n1,2014-04-08,1,view\n1,2014-04-07,2,buy\n",
    );
    assert_eq!(
        days,
        [[
            ("2".into(), 1_396_828_800_000, Kind::Purchase),
            ("1".into(), 1_396_915_200_000, Kind::Click)
        ]]
    );
}

#[test]
fn order_is_finer_than_the_milliseconds_that_are_kept() {
    let micros = read(
        "log.csv",
        "s,t,i,e\n1,1396867860000002,1,view\n1,1396867860000001,2,view\n",
    );
    assert_eq!(
        micros[0].iter().map(|e| e.0.as_str()).collect::<Vec<_>>(),
        ["2", "1"]
    );
}

#[test]
fn text_in_every_form() {
    let plain = text(iso);
    for bytes in [
        plain.replace('\n', "\r\n").into_bytes(),
        plain.replacen('\n', "\r\n", 3).into_bytes(),
        plain.replace('\n', "\n\n").into_bytes(),
        plain.trim_end().as_bytes().to_vec(),
        format!("\u{feff}{plain}").into_bytes(),
        plain.replace(",30,", ",\"30\",").into_bytes(),
        plain
            .lines()
            .map(|l| format!("\"a,\n\"\"b\",{l}\n"))
            .collect::<String>()
            .into_bytes(),
        gzip(plain.as_bytes()),
        [gzip(&plain.as_bytes()[..40]), gzip(&plain.as_bytes()[40..])].concat(),
        zstd::encode_all(plain.as_bytes(), 3).unwrap(),
    ] {
        assert_eq!(
            read("log.csv", &bytes),
            expected(),
            "{}",
            String::from_utf8_lossy(&bytes)
        );
    }
}

#[test]
fn other_delimiters_and_inter_files() {
    let folder = Folder::new();
    let input = folder.write("log.csv", text(iso).replace(',', ";"));
    let source = Source::Csv {
        input: input.into(),
        delimiter: ';'.into(),
        table: table_with_events(),
    };
    assert_eq!(folder.prepare(&Options::new(source)).1, expected());

    let clicks: Sessions = expected()
        .into_iter()
        .map(|s| s.into_iter().map(|(i, t, _)| (i, t, Kind::Click)).collect())
        .collect();
    let inter = text(|t| format!("{}.0", t / 1000)).replace(',', "\t");
    for header in [
        "user_id:token\ttimestamp:float\titem_id:token\tx:token",
        "session_id:token\ttimestamp:float\titem_id:token\tuser_id:token",
    ] {
        let folder = Folder::new();
        let input = folder.write("log.inter", inter.replace("s\tt\ti\te", header));
        assert_eq!(
            folder
                .prepare(&Options::new(Source::Inter {
                    input: input.into(),
                    delimiter: '\t'.into(),
                    table: Table::default()
                }))
                .1,
            clicks
        );
    }
    let input = folder.write(
        "log.inter",
        inter.replace("s\tt\ti\te", "s:token\tt:float\ti:token\te:token"),
    );
    assert_eq!(
        folder
            .prepare(&Options::new(Source::Inter {
                input: input.into(),
                delimiter: '\t'.into(),
                table: table_with_events()
            }))
            .1,
        expected()
    );
}

#[test]
fn partitions_are_read_in_the_order_of_their_names() {
    let folder = Folder::new();
    let plain = text(iso);
    let lines: Vec<&str> = plain.lines().collect();
    let part =
        |range: std::ops::Range<usize>| format!("{}\n{}\n", lines[0], lines[1..][range].join("\n"));
    folder.write("logs/day=2/part-0.csv.gz", gzip(part(4..6).as_bytes()));
    folder.write(
        "logs/day=1/part-1.csv.zst",
        zstd::encode_all(part(2..4).as_bytes(), 1).unwrap(),
    );
    // Columns may stand in another order in every file.
    let swapped = part(0..2)
        .lines()
        .map(|l| l.split(',').rev().collect::<Vec<_>>().join(",") + "\n")
        .collect::<String>();
    folder.write("logs/day=1/part-0.csv", swapped);
    folder.write("logs/_SUCCESS", "");
    folder.write("logs/day=1/.part-0.csv.crc", "x");
    folder.write("logs/SYNTHETIC.json", "{}");
    let (manifest, sessions) = folder.prepare(&csv(folder.path("logs"), table_with_events()));
    assert_eq!(sessions, expected());
    let source = manifest.input.source;
    let names: Vec<&str> = source.files.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "day=1/part-0.csv",
            "day=1/part-1.csv.zst",
            "day=2/part-0.csv.gz"
        ]
    );
    assert!(source.synthetic && source.files.iter().all(|f| f.rows == 2));
}

#[test]
fn ids_are_text_unless_all_are_whole_numbers() {
    let sessions = |text: &str| {
        let folder = Folder::new();
        let input = folder.write("log.csv", text);
        let mut table = table();
        table.rules.missing = Some(Vec::new());
        let sessions = folder.prepare(&csv(input, table)).1;
        sessions
            .into_iter()
            .map(|s| s[0].0.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        sessions("s,t,i\n10,1,a\n9,1,b\n18446744073709551615,1,c\n"),
        ["b", "a", "c"]
    );
    assert_eq!(sessions("s,t,i\n10,1,a\n9,1,b\nx,1,c\n"), ["a", "b", "c"]);
    assert_eq!(
        sessions("s,t,i\n7,1,a\n007,1,b\n-1,1,c\n1.5,1,d\n"),
        ["c", "b", "d", "a"]
    );
    assert_eq!(
        sessions("s,t,i\nx,1,a\n18446744073709551616,1,b\n"),
        ["b", "a"]
    );
    // Text that begins like a zlib stream, and text that polars would take for quoted or missing.
    assert_eq!(
        sessions("s,t,i\nx^yz,1,a\nnull,1,b\né\u{1f600},1,c\n"),
        ["b", "a", "c"]
    );
    assert_eq!(sessions("s,t,i\nx^yz,1,\"a\"\"b,\"\n"), ["a\"b,"]);
    let folder = Folder::new();
    let input = folder.write(
        "log.inter",
        "user_id:token\titem_id:token\ttimestamp:float\n\"u\t5\" x\t1\n",
    );
    assert_eq!(
        folder
            .prepare(&Options::new(Source::Inter {
                input: input.into(),
                delimiter: '\t'.into(),
                table: Table::default()
            }))
            .1[0][0]
            .0,
        "5\" x"
    );
}

#[test]
fn kinds_not_named_are_dropped_and_counted_on_request() {
    let folder = Folder::new();
    let text = "s,t,i,e\n1,1,a,view\n1,2,b,add\n1,,,search\n1,3,b,buy\n1,4,c,view\n2,1,c,view\n";
    let input = folder.write("log.csv", text);
    let table = Table {
        drop_other_events: true,
        min_session_events: 2,
        min_item_events: 1,
        ..table_with_events()
    };
    let (manifest, sessions) = folder.prepare(&csv(input, table));
    assert_eq!(
        sessions[0].iter().map(|e| e.0.as_str()).collect::<Vec<_>>(),
        ["a", "b", "c"]
    );
    let dropped: Vec<_> = manifest.input.counts.dropped.into_iter().collect();
    assert_eq!(
        dropped,
        [("other_event".into(), 2), ("short_session".into(), 1)]
    );
}

/// Writes the log as Parquet with the columns cast to these types.
fn write_parquet(
    folder: &Folder,
    name: &str,
    ids: &DataType,
    time: &DataType,
    pieces: usize,
) -> std::path::PathBuf {
    let path = folder.path(name);
    let strings = |f: fn(&(&'static str, i64, &'static str, &'static str)) -> &'static str| {
        ROWS.iter().map(f).collect::<Vec<_>>()
    };
    let millis: Vec<i64> = ROWS.iter().map(|r| r.1).collect();
    let time = match time {
        DataType::String => Column::new(
            "t".into(),
            millis.iter().map(|&t| iso(t)).collect::<Vec<_>>(),
        ),
        DataType::Float64 => Column::new(
            "t".into(),
            millis
                .iter()
                .map(|&t| t as f64 / 1000.0)
                .collect::<Vec<_>>(),
        ),
        other => {
            let time = Column::new("t".into(), &millis)
                .cast(&DataType::Datetime(TimeUnit::Milliseconds, None))
                .unwrap();
            time.cast(other).unwrap()
        }
    };
    let columns = vec![
        Column::new("i".into(), strings(|r| r.2)).cast(ids).unwrap(),
        time,
        Column::new("unused".into(), vec![1.5; ROWS.len()]),
        Column::new("e".into(), strings(|r| r.3)),
        Column::new("s".into(), strings(|r| r.0)).cast(ids).unwrap(),
    ];
    let mut frame = DataFrame::new(ROWS.len(), columns).unwrap();
    let file = std::fs::File::create(&path).unwrap();
    ParquetWriter::new(file)
        .with_row_group_size(Some(pieces))
        .finish(&mut frame)
        .unwrap();
    path
}

#[test]
fn parquet_of_every_type() {
    let folder = Folder::new();
    let integers = [
        DataType::Int64,
        DataType::UInt64,
        DataType::Int32,
        DataType::UInt32,
        DataType::Int16,
        DataType::UInt8,
    ];
    for ids in integers.iter().chain([&DataType::String]) {
        let input = write_parquet(&folder, "a.parquet", ids, &DataType::Int64, 2);
        let mut sessions = folder.prepare(&parquet(input, table_with_events())).1;
        if *ids == DataType::String {
            // Text of whole numbers sorts as numbers, as in CSV.
            sessions.sort_by_key(|s| std::cmp::Reverse(s.len()));
        }
        assert_eq!(sessions, expected(), "{ids}");
    }
    let datetime = |unit| DataType::Datetime(unit, None);
    for time in [
        datetime(TimeUnit::Milliseconds),
        datetime(TimeUnit::Microseconds),
        datetime(TimeUnit::Nanoseconds),
        DataType::String,
        DataType::Float64,
    ] {
        let input = write_parquet(&folder, "a.parquet", &DataType::Int64, &time, 100);
        assert_eq!(
            folder.prepare(&parquet(input, table_with_events())).1,
            expected(),
            "{time}"
        );
    }
    let input = write_parquet(&folder, "a.parquet", &DataType::Int64, &DataType::Date, 100);
    assert_eq!(
        folder.prepare(&parquet(input, table_with_events())).1[0][0].1,
        1_396_828_800_000
    );
}

#[test]
fn an_empty_partition_is_none_but_an_empty_file_is_refused() {
    let folder = Folder::new();
    let full = write_parquet(
        &folder,
        "full.parquet",
        &DataType::Int64,
        &DataType::Int64,
        100,
    );
    let mut none = ParquetReader::new(std::fs::File::open(&full).unwrap())
        .finish()
        .unwrap()
        .clear();
    let empty = folder.write("log/part-0.parquet", "");
    ParquetWriter::new(std::fs::File::create(&empty).unwrap())
        .finish(&mut none)
        .unwrap();
    assert!(
        folder_refuses(&folder, &parquet(folder.path("log"), table_with_events()))
            .contains("holds no row")
    );
    folder.write("log/part-1.parquet", std::fs::read(&full).unwrap());
    assert_eq!(
        folder
            .prepare(&parquet(folder.path("log"), table_with_events()))
            .1,
        expected()
    );
}

#[test]
fn bad_parquet() {
    let folder = Folder::new();
    let good = write_parquet(
        &folder,
        "good.parquet",
        &DataType::Int64,
        &DataType::Int64,
        100,
    );
    let bytes = std::fs::read(&good).unwrap();
    let says = |name: &str, bytes: &[u8], table: Table, says: &str| {
        let input = folder.write(name, bytes);
        let error = folder_refuses(&folder, &parquet(input, table));
        assert!(error.contains(says) && error.contains(name), "{error}");
    };
    says("a.parquet", b"", table(), "the file is empty");
    says(
        "b.parquet",
        b"s,t,i\n1,1,1\n",
        table(),
        "this is no Parquet file; for delimited text use --source csv",
    );
    says(
        "c.parquet",
        &bytes[..bytes.len() / 2],
        table(),
        "damaged Parquet",
    );
    says("d.parquet", b"PAR1PAR1", table(), "damaged Parquet");
    let columns = |text: &str| Table {
        columns: Some(text.parse().unwrap()),
        ..Table::default()
    };
    says(
        "e.parquet",
        &bytes,
        columns("session=s,time=t,item=x"),
        "no column \"x\"; the columns are i, t, unused, e, s",
    );
    says(
        "f.parquet",
        &bytes,
        columns("session=s,time=t,item=unused"),
        "row 1: column \"unused\": found \"1.5\", expected a whole number",
    );
    says(
        "g.parquet",
        &bytes,
        columns("session=s,time=e,item=i"),
        "row 1: column \"e\": found \"view\"",
    );
    let unnamed = Table {
        click: vec!["view".into()],
        purchase: vec![],
        ..table_with_events()
    };
    assert!(
        folder_refuses(&folder, &parquet(folder.path("g.parquet"), unnamed))
            .contains("\"buy\" (1)")
    );

    let packed = folder.write("h.parquet.gz", gzip(&bytes));
    assert_eq!(
        folder.prepare(&parquet(packed, table_with_events())).1,
        expected()
    );
}

fn folder_refuses(folder: &Folder, options: &Options) -> String {
    let error = folder.refused(options);
    assert!(error.is_bad_input(), "{error}");
    error.to_string()
}

#[test]
fn the_parquet_export_holds_the_dataset_and_may_lie_in_it() {
    let folder = Folder::new();
    let input = folder.write("log.csv", text(iso));
    let at = folder.path("out/events.parquet");
    let options = Options {
        parquet: Some(at.clone()),
        split: SplitRule::LeaveLastOut,
        ..csv(input, table_with_events())
    };
    folder.prepare(&options);
    let first = std::fs::read(&at).unwrap();
    let (_, sessions) = folder.prepare(&options);
    assert_eq!(std::fs::read(&at).unwrap(), first);
    assert_eq!(Dataset::open(&folder.path("out")).unwrap().items().len(), 3);

    // What was written is itself a log of the same events.
    let columns = Some(
        "session=session,time=time,item=item,event=kind"
            .parse()
            .unwrap(),
    );
    let table = Table {
        columns,
        click: vec!["click".into()],
        purchase: vec!["purchase".into()],
        ..Table::default()
    };
    let copy = folder.path("copy.parquet");
    std::fs::copy(&at, &copy).unwrap();
    assert_eq!(folder.prepare(&parquet(copy.clone(), table)).1, sessions);
    let frame = ParquetReader::new(std::fs::File::open(&copy).unwrap())
        .finish()
        .unwrap();
    let split: Vec<_> = frame
        .column("split")
        .unwrap()
        .str()
        .unwrap()
        .iter()
        .flatten()
        .collect();
    assert_eq!(split, ["train", "train", "val", "test", "train", "train"]);
}

#[test]
fn a_named_time_unit_overrides_the_guess() {
    let folder = Folder::new();
    let input = folder.write("log.csv", "s,t,i\n1,5,a\n");
    let table = Table {
        time_unit: Unit::Milliseconds,
        ..table()
    };
    assert_eq!(
        folder.prepare(&csv(input, table)).1,
        [[("a".into(), 5, Kind::Click)]]
    );
}

#[test]
fn frame_gives_the_dataset_of_the_file_it_was_read_from() {
    let folder = Folder::new();
    let input = write_parquet(
        &folder,
        "a.parquet",
        &DataType::String,
        &DataType::Int64,
        100,
    );
    let frame = ParquetReader::new(std::fs::File::open(&input).unwrap())
        .finish()
        .unwrap();
    folder.prepare(&parquet(input, table_with_events()));
    let table = table_with_events();
    let options = Options::new(Source::Frame { table });
    let out = folder.path("from-frame");
    let manifest = prepare_frame(frame.clone().lazy(), &options, &out).unwrap();
    for file in ["events.safetensors", "items.safetensors"] {
        let from_file = std::fs::read(folder.path("out").join(file)).unwrap();
        assert_eq!(std::fs::read(out.join(file)).unwrap(), from_file, "{file}");
    }
    assert_eq!(manifest.input.source.kind, "frame");
    Dataset::open(&out).unwrap();

    let refused = |frame: LazyFrame| prepare_frame(frame, &options, &out).unwrap_err();
    let renamed = frame.clone().lazy().rename(["i"], ["x"], true);
    assert!(refused(renamed).to_string().contains("no column \"i\""));
    let failing = frame
        .lazy()
        .with_column(col("e").strict_cast(DataType::Int64).alias("i"));
    assert!(matches!(refused(failing), Error::Frame(_)));
}
