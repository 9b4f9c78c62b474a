//! Delimited text in the forms that logs have: without a header, with any delimiter, in Latin-1.

use crate::common::*;
use prl_data::{Encoding, Options, Source, Table};
use prl_dataset::Kind;

/// Events of a session: raw item and milliseconds.
type Clicks = Vec<Vec<(String, i64)>>;

fn clicks(sessions: Sessions) -> Clicks {
    let mut all = Vec::new();
    for session in sessions {
        let mut events = Vec::new();
        for (item, time, kind) in session {
            assert_eq!(kind, Kind::Click);
            events.push((item, time));
        }
        all.push(events);
    }
    all
}

fn expected(sessions: &[&[(&str, i64)]]) -> Clicks {
    let mut all = Vec::new();
    for session in sessions {
        let mut events = Vec::new();
        for (item, seconds) in *session {
            events.push(((*item).to_owned(), seconds * 1000));
        }
        all.push(events);
    }
    all
}

/// Two sessions of three events.
fn three() -> Clicks {
    expected(&[
        &[("a", 1_511_883_669), ("b", 1_511_883_811)],
        &[("a", 1_511_883_700)],
    ])
}

fn table_of(columns: &str) -> Table {
    Table {
        columns: Some(columns.parse().unwrap()),
        ..Table::default()
    }
}

fn without_header(columns: &str) -> Table {
    let mut table = table_of(columns);
    table.format.no_header = true;
    table
}

fn with_delimiter(folder: &Folder, text: &str, delimiter: &str) -> Options {
    Options::new(Source::Csv {
        input: folder.write("log.csv", text).into(),
        delimiter: delimiter.parse().unwrap(),
        table: table(),
    })
}

#[track_caller]
fn refused(options: &Options, folder: &Folder, says: &[&str]) {
    let message = folder.refused(options).to_string();
    for part in says {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

#[test]
fn file_without_header_gives_every_row_as_an_event() {
    let folder = Folder::new();
    let text = "7,a,503,pv,1511883669\n7,b,502,buy,1511883811\n8,a,503,pv,1511883700\n";
    let table = Table {
        click: vec!["pv".into()],
        purchase: vec!["buy".into()],
        ..without_header("session=1,item=2,event=4,time=5")
    };
    let (manifest, sessions) = folder.prepare(&csv(folder.write("log.csv", text), table));
    let event = |item: &str, seconds: i64, kind| (item.to_owned(), seconds * 1000, kind);
    assert_eq!(
        sessions,
        [
            vec![
                event("a", 1_511_883_669, Kind::Click),
                event("b", 1_511_883_811, Kind::Purchase)
            ],
            vec![event("a", 1_511_883_700, Kind::Click)],
        ]
    );
    assert_eq!(manifest.input.source.files[0].rows, 3);
    assert_eq!(manifest.input.options["no_header"], true);
}

#[test]
fn first_row_of_data_is_not_taken_for_a_header() {
    let folder = Folder::new();
    let input = folder.write("log.csv", "7,1511883669,9\n7,1511883811,8\n");
    let says = ["log.csv:1:", "looks like data", "--no-header"];
    for columns in [
        "session=1,time=2,item=3",
        "session=s,time=t,item=i",
        "session=7,time=2,item=9",
    ] {
        refused(&csv(input.clone(), table_of(columns)), &folder, &says);
    }
    // The numbers of the row are those of columns, but not in their order.
    let input = folder.write("log.csv", "1,3,2\n7,1511883811,8\n");
    let options = csv(input, table_of("session=1,time=2,item=3"));
    refused(&options, &folder, &says);
}

#[test]
fn header_where_none_should_be_is_refused() {
    let folder = Folder::new();
    let input = folder.write("log.csv", "user,time,item,kind\n7,1511883811,8,pv\n");
    let mut table = Table {
        click: vec!["pv".into()],
        drop_other_events: true,
        ..without_header("session=1,time=2,item=3,event=4")
    };
    let says = [
        "log.csv:1:",
        "looks like a header",
        "\"time\"",
        "--no-header",
    ];
    refused(&csv(input.clone(), table.clone()), &folder, &says);
    table.columns = Some(
        "session=user,time=time,item=item,event=kind"
            .parse()
            .unwrap(),
    );
    refused(
        &csv(input.clone(), table.clone()),
        &folder,
        &["\"user\"", "by number"],
    );
    table.columns = Some("session=1,time=2,item=9,event=4".parse().unwrap());
    refused(&csv(input, table), &folder, &["no column \"9\"", "1 to 4"]);
}

#[test]
fn delimiter_of_any_characters_divides_the_fields() {
    let folder = Folder::new();
    let text = "s,t,i\n7,1511883669,a\n7,1511883811,b\n8,1511883700,a\n";
    for (name, characters) in [
        ("tab", "\t"),
        ("\\t", "\t"),
        ("::", "::"),
        ("|", "|"),
        (";", ";"),
        ("space", " "),
        (" ", " "),
        ("||", "||"),
        ("\u{1}", "\u{1}"),
    ] {
        let options = with_delimiter(&folder, &text.replace(',', characters), name);
        assert_eq!(clicks(folder.prepare(&options).1), three(), "{name}");
    }
    // Quotes keep a delimiter of several characters, and errors their line.
    let quoted = "s::t::i\n7::1511883669::\"a::b\"\n";
    let options = with_delimiter(&folder, quoted, "::");
    assert_eq!(clicks(folder.prepare(&options).1)[0][0].0, "a::b");
    let options = with_delimiter(&folder, "s::t::i\n7::1511883669::a\n7::8\n", "::");
    refused(
        &options,
        &folder,
        &["log.csv:3:", "2 fields where 3 are due"],
    );
}

#[test]
fn header_of_one_field_names_the_delimiter() {
    let folder = Folder::new();
    for (delimiter, shown) in [
        ("\t", "'\\t'"),
        ("::", "'::'"),
        (";", "';'"),
        ("|", "'|'"),
        (" ", "' '"),
    ] {
        let text = ["s", "t", "i"].join(delimiter) + "\n";
        let options = csv(folder.write("log.csv", text), table());
        refused(&options, &folder, &["log.csv:1:", shown, "--delimiter"]);
    }
}

#[test]
fn latin1_is_read_by_its_flag_and_named_without() {
    let folder = Folder::new();
    let input = folder.write("log.csv", b"s,t,i\n7,1511883669,caf\xe9\n");
    refused(
        &csv(input.clone(), table()),
        &folder,
        &["log.csv:2:", "not valid UTF-8", "--encoding latin1"],
    );
    let mut latin1 = table();
    latin1.format.encoding = Encoding::Latin1;
    let (manifest, sessions) = folder.prepare(&csv(input, latin1));
    assert_eq!(sessions[0][0].0, "café");
    assert_eq!(manifest.input.options["encoding"], "latin1");
}

#[test]
fn default_options_stay_as_they_are_in_the_manifest() {
    let folder = Folder::new();
    let input = folder.write("log.csv", "s,t,i\n7,1511883669,a\n");
    let (manifest, _) = folder.prepare(&csv(input, table()));
    let names: Vec<&str> = manifest.input.options.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "click",
            "columns",
            "delimiter",
            "drop_other_events",
            "max_length",
            "min_item_events",
            "min_session_events",
            "purchase",
            "source",
            "split",
            "test_fraction",
            "time_unit",
            "val_fraction"
        ]
    );
    assert_eq!(manifest.input.options["delimiter"], ",");
}

fn inter(folder: &Folder, text: &str, delimiter: &str, columns: Option<&str>) -> Options {
    Options::new(Source::Inter {
        input: folder.write("log.inter", text).into(),
        delimiter: delimiter.parse().unwrap(),
        table: columns.map(table_of).unwrap_or_default(),
    })
}

#[test]
fn inter_file_of_another_delimiter_names_or_header_is_read() {
    let folder = Folder::new();
    let typed = "user_id:token\titem_id:token\ttimestamp:float\n7\ta\t1511883669.0\n7\tb\t1.511883811E+09\n8\ta\t1511883700\n";
    for delimiter in [" ", ","] {
        let text = typed.replace('\t', delimiter);
        let options = inter(&folder, &text, delimiter, None);
        assert_eq!(clicks(folder.prepare(&options).1), three());
        refused(
            &inter(&folder, &text, "tab", None),
            &folder,
            &["log.inter:1:", "--delimiter"],
        );
    }
    let mapping = Some("session=uid,item=iid,time=time");
    let named = typed
        .replace("user_id", "uid")
        .replace("item_id", "iid")
        .replace("timestamp", "time");
    assert_eq!(
        clicks(folder.prepare(&inter(&folder, &named, "tab", mapping)).1),
        three()
    );
    refused(
        &inter(&folder, &named, "tab", None),
        &folder,
        &["no column \"user_id\"", "uid, iid, time"],
    );
    let plain = named.replace(":token", "").replace(":float", "");
    assert_eq!(
        clicks(folder.prepare(&inter(&folder, &plain, "tab", mapping)).1),
        three()
    );
    refused(
        &inter(&folder, &plain, "tab", None),
        &folder,
        &["log.inter:1:", "name:type", "--columns"],
    );
}

#[test]
fn rows_with_histories_give_every_event_once() {
    let folder = Folder::new();
    let text = "session_id:token\titem_id_list:token_seq\titem_id:token\ttimestamp:float\n\
                8\ta b\tc\t1511883702\n\
                7\ta\tb\t1511883669\n\
                7\ta b\ta\t1511883811\n\
                8\ta\tb\t1511883700\n";
    let options = inter(&folder, text, "tab", None);
    let first = [
        ("a", 1_511_883_669),
        ("b", 1_511_883_669),
        ("a", 1_511_883_811),
    ];
    let second = [
        ("a", 1_511_883_700),
        ("b", 1_511_883_700),
        ("c", 1_511_883_702),
    ];
    assert_eq!(
        clicks(folder.prepare(&options).1),
        expected(&[&first, &second])
    );
    let other = text.replace("7\ta b\ta", "7\tx y\ta");
    refused(
        &inter(&folder, &other, "tab", None),
        &folder,
        &["log.inter:4:", "\"item_id_list\"", "x y"],
    );
    let mapped = Some("session=session_id,item=item_id_list,time=timestamp");
    refused(
        &inter(&folder, text, "tab", mapped),
        &folder,
        &["log.inter:1:", "item=item_id"],
    );
}

#[test]
fn rows_of_lists_are_sessions() {
    let folder = Folder::new();
    let text = "user_id:token\titems:token_seq\ttimes:float_seq\n7\ta b\t1511883669 1511883811\n8\ta\t1511883700.0\n";
    let mapping = Some("session=user_id,item=items,time=times");
    assert_eq!(
        clicks(folder.prepare(&inter(&folder, text, "tab", mapping)).1),
        three()
    );
    let uneven = text.replace("1511883669 ", "");
    refused(
        &inter(&folder, &uneven, "tab", mapping),
        &folder,
        &["log.inter:2:", "\"times\"", "a list of 2"],
    );
    // Without times the lists are in order.
    let order = inter(&folder, text, "tab", Some("session=user_id,item=items"));
    let sessions = clicks(folder.prepare(&order).1);
    assert_eq!(sessions[0][0].0, "a");
    assert_eq!(sessions[0][1].0, "b");
    let one = text.replace("items:token_seq", "items:token");
    refused(
        &inter(&folder, &one, "tab", mapping),
        &folder,
        &["log.inter:1:", "lists"],
    );
}
