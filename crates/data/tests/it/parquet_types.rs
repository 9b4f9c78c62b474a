//! Parquet columns of every type that databases write: in a role, or beside it.

use crate::common::*;
use prl_data::{Options, prepare};
use prl_dataset::Kind;

const EACH: &str = "session=session,time=time,item=item";

/// The mapping with `column` in the role that its name begins with.
fn with(column: &str) -> Options {
    let role = column.split('_').next().unwrap();
    let columns = EACH.replace(&format!("{role}={role}"), &format!("{role}={column}"));
    parquet(golden("parquet_types.parquet"), mapped(&columns))
}

/// Items of both sessions.
fn items(of: impl Fn(u64) -> String) -> Vec<Vec<String>> {
    let mut items = vec![Vec::new(), Vec::new()];
    for (session, item) in [(0, 4), (0, 30), (0, 4), (0, 30), (1, 4), (1, 5)] {
        items[session].push(of(item));
    }
    items
}

fn read(options: &Options) -> Sessions {
    Folder::new().prepare(options).1
}

#[test]
fn types_of_databases_are_ids() {
    let read_items = |column: &str| {
        let mut all = Vec::new();
        for session in read(&with(column)) {
            let mut items = Vec::new();
            for (item, ..) in session {
                items.push(item);
            }
            all.push(items);
        }
        all
    };
    let plain = items(|i| i.to_string());
    for column in [
        "item",
        "item_decimal",
        "item_widest",
        "item_float",
        "item_float32",
    ] {
        assert_eq!(read_items(column), plain, "{column}");
    }
    let text = items(|i| format!("sku-{i}"));
    for column in ["item_binary", "item_large_binary", "item_dictionary"] {
        assert_eq!(read_items(column), text, "{column}");
    }
    assert_eq!(read_items("item_fixed_text"), items(|i| format!("{i:03}")));
}

#[test]
fn sessions_are_decimals_and_uuids() {
    let plain = read(&with("session"));
    // Text of hexadecimal digits sorts as the numbers do.
    for column in ["session_decimal", "session_uuid", "session_bytes16"] {
        assert_eq!(read(&with(column)), plain, "{column}");
    }
    let folder = Folder::new();
    let out = folder.path("events.parquet");
    let options = Options {
        parquet: Some(out.clone()),
        ..with("session_uuid")
    };
    folder.prepare(&options);
    // The export has the ids as text; a filter on one of them finds its two events.
    let again = parquet(out, mapped("session=session,time=time,item=item"));
    assert_eq!(folder.prepare(&again).1, plain);
    let bytes = std::fs::read(folder.path("events.parquet")).unwrap();
    let id = b"00000000-0000-0000-0000-00000000000a";
    assert!(bytes.windows(id.len()).any(|w| w == id));
}

#[test]
fn decimals_stored_as_integers_keep_their_sign() {
    let input = golden("parquet_decimals.parquet");
    let sessions = read(&parquet(input, mapped(EACH)));
    let event = |item: &str, millis| (item.to_owned(), millis, Kind::Click);
    assert_eq!(
        sessions[1],
        [
            event("-4", 1_396_867_861_000),
            event("-5", 1_396_867_861_000)
        ]
    );
}

#[test]
fn times_of_databases_keep_their_instant() {
    let times = |column: &str| {
        let mut times = Vec::new();
        for (_, time, _) in &read(&with(column))[0] {
            times.push(*time);
        }
        times
    };
    let plain = times("time");
    for column in ["time_zone", "time_nanos", "time_seconds"] {
        assert_eq!(times(column), plain, "{column}");
    }
    assert_eq!(
        times("time_decimal"),
        [
            1_396_867_860_250,
            1_396_867_860_250,
            1_396_867_860_250,
            1_396_867_869_250
        ]
    );
    assert_eq!(times("time_date64"), [1_396_828_800_000; 4]);
}

#[test]
fn times_of_96_bits_are_read_or_refused_out_of_range() {
    let input = golden("parquet_int96.parquet");
    let sessions = read(&parquet(input.clone(), mapped(EACH)));
    let event = |item: &str, millis| (item.to_owned(), millis, Kind::Click);
    let first = [event("2", 1_396_867_860_000), event("1", 1_396_867_869_000)];
    assert_eq!(
        sessions,
        [first.to_vec(), vec![event("3", 1_396_867_861_000)]]
    );
    let old = parquet(input, mapped("session=session,time=old,item=item"));
    let error = Folder::new().refused(&old).to_string();
    assert!(
        error.contains("row 1: column \"old\"") && error.contains("1678 and 2261"),
        "{error}"
    );
}

#[test]
fn types_that_are_newer_than_the_reader_matter_only_in_a_role() {
    let input = golden("parquet_geometry.parquet");
    assert_eq!(
        read(&parquet(input.clone(), mapped(EACH))),
        read(&with("item"))
    );
    let wanted = parquet(input, mapped("session=session,time=time,item=json"));
    let error = Folder::new().refused(&wanted).to_string();
    assert!(
        error.contains("column \"json\" is of type geometry"),
        "{error}"
    );
}

#[test]
fn type_of_no_role_is_named_and_the_file_is_not_called_damaged() {
    let folder = Folder::new();
    let input = golden("parquet_types.parquet");
    for (columns, says) in [
        (
            "session=session,time=time,item=half",
            "\"half\" is of type float16",
        ),
        (
            "session=session,time=time,item=json",
            "\"json\" is of type JSON",
        ),
        (
            "session=session,time=time,item=map",
            "\"map\" is of type map",
        ),
        (
            "session=session,time=time,item=struct",
            "of type struct (a, b)",
        ),
        (
            "session=session,time=time,item=lists_of_structs",
            "of type list of lists or structs",
        ),
        (
            "session=session,time=time,item=lists_of_lists",
            "of type list of lists or structs",
        ),
        (
            "session=duration,time=time,item=item",
            "\"duration\" is of type duration",
        ),
        (
            "session=session,time=clock32,item=item",
            "\"clock32\" is of type time of day",
        ),
        (
            "session=session,time=clock64,item=item",
            "expected numbers, times, dates or text",
        ),
        (
            "session=session,time=time,item=price",
            "row 1: column \"price\": found \"9.99\"",
        ),
        (
            "session=session,time=time,item=bytes",
            "row 1: column \"bytes\"",
        ),
        (
            "session=session,time=time,item=nothing",
            "row 1: column \"nothing\"",
        ),
        (
            "session=session,time=time,item=item_missing",
            "row 5: column \"item_missing\": found \"null\", expected an id",
        ),
        (
            "session=session,time=time,item=item_nan",
            "row 5: column \"item_nan\": found \"NaN\", expected an id",
        ),
        (
            "session=session,time=time,item=a",
            "struct: struct (a, b), to be flattened first",
        ),
    ] {
        let error = folder.refused(&parquet(input.clone(), mapped(columns)));
        assert!(error.is_bad_input(), "{error}");
        let error = error.to_string();
        assert!(error.contains(says), "{columns}: {error}");
        assert!(
            !error.contains("damaged") && !error.contains("panic"),
            "{error}"
        );
    }
}

#[test]
fn shared_cases_of_types_are_read_or_their_type_is_named() {
    let Some(cases) = shared("cases/12-parquet") else {
        return;
    };
    let folder = Folder::new();
    let mut expected = None;
    let mut read_files = 0;
    for entry in std::fs::read_dir(cases.join("extra")).unwrap() {
        let options = parquet(entry.unwrap().path(), mapped(EACH));
        let sessions = folder.prepare(&options).1;
        assert_eq!(*expected.get_or_insert(sessions.clone()), sessions);
        read_files += 1;
    }
    assert_eq!(read_files, 18);
    let expected = expected.unwrap();
    assert_eq!((expected.len(), expected.concat().len()), (30, 140));
    for (name, columns) in [
        ("decimal", "session=SESSION,time=TIME,item=ITEM"),
        ("int96", EACH),
    ] {
        let input = cases.join(format!("{name}.parquet"));
        assert_eq!(read(&parquet(input, mapped(columns))), expected, "{name}");
    }
    for (name, sessions) in [
        ("binary", 30),
        ("dictionary-tz", 30),
        ("uuid", 30),
        ("uuid16", 30),
    ] {
        let input = cases.join(format!("{name}.parquet"));
        let got = read(&parquet(input, mapped(EACH)));
        assert_eq!((got.len(), got.concat().len()), (sessions, 140), "{name}");
        let mut times: Vec<i64> = got.concat().iter().map(|event| event.1).collect();
        let mut due: Vec<i64> = expected.concat().iter().map(|event| event.1).collect();
        times.sort_unstable();
        due.sort_unstable();
        assert_eq!(times, due, "{name}");
    }
    for (name, says) in [
        (
            "null-item",
            "row 5: column \"item\": found \"null\", expected an id",
        ),
        (
            "struct",
            "event: struct (session, item, time), to be flattened first",
        ),
        ("timeofday", "column \"time\" is of type time of day"),
    ] {
        let options = parquet(cases.join(format!("{name}.parquet")), mapped(EACH));
        let error = prepare(&options, &folder.path("refused")).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}
