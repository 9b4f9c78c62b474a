//! Errors of the first minutes: each names what failed, the cause and the mend.

use std::path::Path;
use std::process::Command;

/// Exit code and stderr of a command in a directory.
fn prl(dir: &Path, args: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prl"));
    let output = command.current_dir(dir).args(args).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), message)
}

const COLUMNS: &str = "session=visitor,time=at,item=sku";

fn prepare(dir: &Path, input: &str, columns: &str, out: &str) -> (i32, String) {
    let source = ["prepare", "--source", "csv", "--input", input];
    let rest = ["--columns", columns, "--out", out];
    prl(dir, &[&source[..], &rest[..]].concat())
}

fn log_in(dir: &Path) {
    let mut text = "visitor,sku,at\n".to_owned();
    for row in 0..200 {
        text.push_str(&format!(
            "{},{},{}\n",
            row / 4,
            row % 7,
            1_400_000_000 + row
        ));
    }
    std::fs::write(dir.join("events.csv"), text).unwrap();
}

#[test]
fn missing_file_is_named_with_a_similar_one() {
    let dir = tempfile::tempdir().unwrap();
    log_in(dir.path());
    let (code, message) = prepare(dir.path(), "event.csv", COLUMNS, "data");
    let here = dir.path().canonicalize().unwrap();
    let expected = format!(
        "error: event.csv: No such file or directory (os error 2); it is looked for in {}; did you \
         mean events.csv?\n",
        here.display()
    );
    assert_eq!((code, message), (3, expected));
}

#[test]
fn wrong_column_is_named_with_the_existing_ones_and_the_nearest() {
    let dir = tempfile::tempdir().unwrap();
    log_in(dir.path());
    let columns = "session=Visitor_id,time=at,item=sku";
    let (code, message) = prepare(dir.path(), "events.csv", columns, "data");
    let expected = "error: events.csv:1: no column \"Visitor_id\"; the columns are visitor, sku, at; \
                    did you mean \"visitor\"? name the right one:";
    assert_eq!(code, 3);
    assert!(message.starts_with(expected), "{message}");
    assert!(!dir.path().join("data").exists());
}

/// A file takes the place of a directory without permissions, which root does not see.
#[test]
fn place_that_cannot_be_written_is_named_with_the_mend() {
    let dir = tempfile::tempdir().unwrap();
    log_in(dir.path());
    let (code, message) = prepare(dir.path(), "events.csv", COLUMNS, "events.csv/data");
    assert_eq!(code, 1);
    assert!(message.starts_with("error: events.csv"), "{message}");
    assert!(
        message
            .trim_end()
            .ends_with("; a folder of this path is a file; check it"),
        "{message}"
    );
    let (code, message) = prl(dir.path(), &["demo", "--no-serve", "--dir", "events.csv"]);
    assert_eq!(code, 1);
    assert!(
        message.contains("no directory for the demo; name another --dir"),
        "{message}"
    );
}

#[test]
fn port_in_use_is_named_before_the_training() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, message) = prl(dir.path(), &["demo", "--dir", "d", "--port", &port]);
    assert_eq!(code, 1);
    let expected = format!(
        "error: failed to listen on 127.0.0.1:{port}; name another --port, or leave it out for a \
         free one: Address already in use"
    );
    assert!(message.starts_with(&expected), "{message}");
    assert!(!dir.path().join("d").exists());
}
