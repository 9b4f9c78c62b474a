//! Flags of `prl prepare` for the files of a log and for its split.

use std::path::Path;
use std::process::Command;

/// Exit code, standard output and standard error of `prl prepare --source csv --out data FLAGS`.
fn prepare(dir: &Path, flags: &str) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_prl"))
        .current_dir(dir)
        .args(["prepare", "--source", "csv", "--json", "--out", "data"])
        .args(flags.split_whitespace())
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// Sessions, clicks and purchases of each split.
fn splits(dir: &Path, flags: &str) -> [[u64; 3]; 3] {
    // Another dataset there would be kept.
    let _ = std::fs::remove_dir_all(dir.join("data"));
    let (code, stdout, stderr) = prepare(dir, flags);
    assert_eq!(code, 0, "{flags}: {stderr}");
    let manifest: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    ["train", "val", "test"].map(|split| {
        ["sessions", "clicks", "purchases"]
            .map(|count| manifest["splits"][split][count].as_u64().unwrap())
    })
}

#[test]
fn inputs_have_kinds_and_splits_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("views.csv", "s,t,i,p\n1,1,a,train\n2,1,b,test\n");
    write("orders.csv", "s,t,i,p\n1,2,a,train\n");
    write("test.csv", "s,t,i\n3,3,a\n");
    write("day=1/log.csv", "s,t,i\n1,1,a\n");
    let columns = "--columns session=s,time=t,item=i";
    let kinds = "--input click=views.csv --input purchase=orders.csv";
    assert_eq!(
        splits(dir, &format!("{kinds} {columns},split=p")),
        [[1, 1, 1], [0; 3], [1, 1, 0]]
    );
    for validation in ["--val", "--valid"] {
        let files = format!("--train views.csv {validation} day=1 --test test.csv");
        let (code, _, stderr) = prepare(dir, &format!("{files} {columns}"));
        assert!(code == 3 && stderr.contains("session \"1\" has events in files of two splits"));
    }
    assert_eq!(
        splits(dir, &format!("--train views.csv --test test.csv {columns}")),
        [[2, 2, 0], [0; 3], [1, 1, 0]]
    );
    // A path that exists is taken whole; its folder is a column.
    let by_folder = "--columns session=s,time=day,item=i --val 0 --test 0";
    assert_eq!(
        splits(dir, &format!("--input day=1 {by_folder}"))[0],
        [1, 1, 0]
    );
}

#[test]
fn contradictory_inputs_are_errors_of_usage() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("log.csv"), "s,t,i,p\n1,1,a,train\n").unwrap();
    for (flags, says) in [
        ("", "--input is missing"),
        (
            "--input view=log.csv",
            "kind \"view\", which is neither click nor purchase",
        ),
        ("--train log.csv", "none is for test; add --test FILE"),
        ("--train log.csv --test 0.1", "beside --train it is a file"),
        (
            "--input log.csv --test log.csv",
            "needs --train FILE beside it",
        ),
        ("--input log.csv --train log.csv", "cannot be used with"),
        ("--input log.csv --split given", "nothing gives it"),
        (
            "--train log.csv --test log.csv --split random",
            "another rule is asked for",
        ),
    ] {
        let columns = "--columns session=s,time=t,item=i";
        let (code, _, stderr) = prepare(dir, &format!("{columns} {flags}"));
        assert!(
            code == 2 && stderr.contains(says),
            "{flags}: {code} {stderr}"
        );
    }
    let columns = "--columns session=s,time=t,item=i,split=p";
    let (code, _, stderr) = prepare(dir, &format!("{columns} --input log.csv --val 0.2"));
    assert!(
        code == 2 && stderr.contains("has no effect on a split that the log gives"),
        "{stderr}"
    );
    assert!(!dir.join("data").exists());
}
