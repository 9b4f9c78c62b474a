//! Several inputs, kinds of their own, and columns in the names of folders.

use crate::common::*;
use prl_data::{InputPart, Inputs, Options, Source, Table};
use prl_dataset::Kind;

fn parts(folder: &Folder, texts: &[&str]) -> Inputs {
    let mut parts = Vec::new();
    for text in texts {
        let (kind, name) = text.split_once('=').unwrap_or(("", text));
        let path = folder.path(name).display().to_string();
        let part: InputPart = match kind {
            "" => path.parse().unwrap(),
            kind => format!("{kind}={path}").parse().unwrap(),
        };
        parts.push(part);
    }
    Inputs(parts)
}

fn kinds(session: &[(String, i64, Kind)]) -> Vec<(&str, Kind)> {
    let mut kinds = Vec::new();
    for (item, _, kind) in session {
        kinds.push((item.as_str(), *kind));
    }
    kinds
}

#[test]
fn inputs_with_kinds_of_their_own_are_one_log() {
    use Kind::{Click, Purchase};
    let folder = Folder::new();
    folder.write("views.csv", "s,t,i\n1,1,a\n1,3,b\n2,1,a\n");
    folder.write("orders/part-0.csv", "t,s,i\n2,1,a\n");
    folder.write("orders/part-1.csv", "t,s,i\n2,2,b\n");
    let inputs = parts(&folder, &["click=views.csv", "purchase=orders"]);
    let (manifest, sessions) = folder.prepare(&csv(inputs, table()));
    assert_eq!(
        kinds(&sessions[0]),
        [("a", Click), ("a", Purchase), ("b", Click)]
    );
    assert_eq!(kinds(&sessions[1]), [("a", Click), ("b", Purchase)]);
    assert_eq!(manifest.input.source.files.len(), 3);
    let described = &manifest.input.options["input"];
    assert_eq!(
        described.to_string(),
        r#"[{"kind":"click"},{"kind":"purchase"}]"#
    );

    // An input without a kind has clicks; a kind may be one that the options name.
    let named = Table {
        purchase: vec!["order".into()],
        ..table()
    };
    let inputs = parts(&folder, &["views.csv", "order=orders"]);
    assert_eq!(folder.prepare(&csv(inputs, named)).1, sessions);

    let mut rewarded = table();
    rewarded.kinds.rewards.insert("cart".into(), 0.5);
    let inputs = parts(&folder, &["views.csv", "cart=orders"]);
    let carts = folder.prepare(&csv(inputs, rewarded)).1;
    assert_eq!(kinds(&carts[0]), [("a", Click), ("a", Click), ("b", Click)]);

    let refused = |inputs: &[&str], table: Table, says: &str| {
        let error = folder.refused(&csv(parts(&folder, inputs), table));
        assert!(error.to_string().contains(says), "{error}");
    };
    refused(&["view=views.csv"], table(), "kind \"view\"");
    refused(
        &["click=views.csv"],
        table_with_events(),
        "kinds are given by the inputs and by a column",
    );
    refused(&["views.csv", "views.csv"], table(), "give each file once");
    refused(&[], table(), "no input is named");
}

#[test]
fn several_inputs_without_kinds_describe_themselves_as_one() {
    let folder = Folder::new();
    let rows = ["1,1,a", "1,3,b", "2,1,a"];
    let text = |rows: &[&str]| format!("s,t,i\n{}\n", rows.join("\n"));
    let whole = folder.write("whole.csv", text(&rows));
    folder.write("x.csv", text(&rows[..1]));
    folder.write("y.csv", text(&rows[1..]));
    let (one, expected) = folder.prepare(&csv(whole, table()));
    let inputs = parts(&folder, &["x.csv", "y.csv"]);
    let (several, sessions) = folder.prepare(&csv(inputs, table()));
    assert_eq!(sessions, expected);
    assert_eq!(one.input.options, several.input.options);
    assert!(!one.input.options.contains_key("input"));
}

#[test]
fn folder_names_are_columns() {
    use Kind::{Click, Purchase};
    let folder = Folder::new();
    folder.write(
        "log/event=pv/day=2014-04-07 10%3A51/a.csv",
        "s,i\n1,a\n2,b\n",
    );
    folder.write("log/event=buy/day=2014-04-08/a.csv", "s,i\n1,a\n2,b\n");
    let table = mapped("session=s,time=day,item=i,event=event");
    let sessions = folder.prepare(&csv(folder.path("log"), table.clone())).1;
    assert_eq!(
        sessions[0],
        [
            ("a".into(), 1_396_867_860_000, Click),
            ("a".into(), 1_396_915_200_000, Purchase)
        ]
    );
    // One of the folders as the input, and one of its files.
    for name in ["log/event=pv", "log/event=pv/day=2014-04-07 10%3A51/a.csv"] {
        let sessions = folder.prepare(&csv(folder.path(name), table.clone())).1;
        assert_eq!(sessions[1], [("b".into(), 1_396_867_860_000, Click)]);
    }
    let refused = |table: Table, says: &str| {
        let error = folder.refused(&csv(folder.path("log"), table));
        assert!(
            error.is_bad_input() && error.to_string().contains(says),
            "{error}"
        );
    };
    let unnamed = Table {
        purchase: vec!["cart".into()],
        ..table.clone()
    };
    refused(unnamed, "\"buy\" (2)");
    folder.write("log/event=buy/day=2014-04-08/b.csv", "s,i,event\n1,a,pv\n");
    refused(
        table.clone(),
        "both the file and its folder event=buy have a column \"event\"",
    );
    folder.write("log/event=buy/day=2014-04-08/b.csv", "s,i\n3,a\n");
    std::fs::create_dir(folder.path("log/event=buy/day=__HIVE_DEFAULT_PARTITION__")).unwrap();
    folder.write(
        "log/event=buy/day=__HIVE_DEFAULT_PARTITION__/c.csv",
        "s,i\n4,a\n",
    );
    refused(table, "all its rows have day=; expected a time");
}

#[test]
fn files_of_another_form_in_a_folder_are_named() {
    let folder = Folder::new();
    folder.write("log/a.csv", "s,t,i\n1,1,a\n");
    folder.write("log/notes.md", "x");
    folder.prepare(&csv(folder.path("log"), table()));
    folder.write("log/B.CSV", "s,t,i\n2,1,a\n");
    assert_eq!(folder.prepare(&csv(folder.path("log"), table())).1.len(), 2);
    folder.write("log/c.csv.bz2", "BZh9");
    let error = folder
        .refused(&csv(folder.path("log"), table()))
        .to_string();
    assert!(
        error.contains("c.csv.bz2: a log in another form or compression"),
        "{error}"
    );
    std::fs::remove_file(folder.path("log/c.csv.bz2")).unwrap();
    folder.write("log/b.parquet", "PAR1");
    let error = folder
        .refused(&csv(folder.path("log"), table()))
        .to_string();
    assert!(
        error.contains("b.parquet") && error.contains("another form or compression than \"B.CSV\""),
        "{error}"
    );
    std::fs::remove_file(folder.path("log/b.parquet")).unwrap();
    folder.write("log/b.csv", "s,t,item\n1,1,a\n");
    let error = folder
        .refused(&csv(folder.path("log"), table()))
        .to_string();
    assert!(error.contains("b.csv:1: no column \"i\""), "{error}");
}

#[test]
fn shared_case_of_folders_has_their_kinds() {
    let Some(case) = shared("cases/13-hive") else {
        return;
    };
    let table = mapped("session=session,time=time,item=item,event=event");
    let input = case.into();
    let options = Options::new(Source::Parquet { input, table });
    let counts = Folder::new().prepare(&options).0.input.counts;
    let before = counts.before_length_filter;
    assert_eq!(
        (before.sessions, before.clicks, before.purchases),
        (30, 126, 14)
    );
}
