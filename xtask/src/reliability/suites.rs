//! Promises whose whole test is a test: run here, counted, and named in the table.

use anyhow::{Context, Result, ensure};

use super::row::{Promise, Row};
use crate::programs::cargo;
use crate::tidy;

/// A test file: its crate, its name, its promise, and what it tries.
const FILES: [(&str, &str, Promise, &str); 5] = [
    (
        "prl-train",
        "formats",
        Promise::Formats,
        "dataset and run of version 1, kept in the repository: they load and give the numbers of then; newer ones are refused \
         with what to do",
    ),
    (
        "prl-train",
        "numbers",
        Promise::Numbers,
        "NaN and infinity in loss, gradient, weights, moments, scores: stopped with step and cause, the last good checkpoint kept",
    ),
    (
        "prl-train",
        "training",
        Promise::Numbers,
        "metrics against batch size, threads, and the order of sessions; what is unfit",
    ),
    (
        "prl-dataset",
        "it",
        Promise::Numbers,
        "batches against a replay buffer made naively, returns against direct sums",
    ),
    (
        "prl-train",
        "memory",
        Promise::Limits,
        "resident memory of a test over 30 epochs",
    ),
];

/// Runs them, and looks at what the tree is made of.
pub fn run() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (package, file, promise, tried) in FILES {
        let (passed, failed) = counts(&output(package, file)?)?;
        let tried = format!("{tried} (tests `{file}` of {package})");
        rows.push(Row {
            promise,
            tried,
            times: passed + failed,
            lost: failed,
        });
    }
    let tidy = tidy::check().is_ok();
    let tried = "`unsafe` in the kernels and in one file of fs, each with its reason; arrows between crates";
    rows.push(Row {
        promise: Promise::Supply,
        tried: tried.into(),
        times: 1,
        lost: u64::from(!tidy),
    });
    rows.push(deny());
    Ok(rows)
}

/// The lines that the tests of a file say of themselves, without their mark.
pub fn said(package: &str, file: &str) -> Result<Vec<String>> {
    let output = output(package, file)?;
    let (_, failed) = counts(&output)?;
    ensure!(
        failed == 0,
        "the tests `{file}` of {package} fail:\n{output}"
    );
    Ok(output
        .lines()
        .filter_map(|line| {
            line.split_once("RELIABILITY ")
                .map(|(_, said)| said.to_owned())
        })
        .collect())
}

fn output(package: &str, file: &str) -> Result<String> {
    let mut cargo = cargo();
    cargo.args([
        "test",
        "--package",
        package,
        "--test",
        file,
        "--",
        "--nocapture",
        "--test-threads",
        "1",
    ]);
    let output = cargo.output().context("failed to run cargo")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        text.contains("test result"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

/// Tests that passed and that failed.
fn counts(output: &str) -> Result<(u64, u64)> {
    let line = output
        .lines()
        .find(|line| line.starts_with("test result"))
        .context("no test was run")?;
    let count = |what: &str| {
        line.split([';', '.'])
            .find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok())
    };
    Ok((count("passed").unwrap_or(0), count("failed").unwrap_or(1)))
}

/// Licences, advisories and sources, where cargo-deny and its advisories can be had.
fn deny() -> Row {
    let row = |tried: &str, times, lost| Row {
        promise: Promise::Supply,
        tried: tried.into(),
        times,
        lost,
    };
    if !cargo()
        .args(["deny", "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return row("cargo-deny: not tried, it is not installed here", 0, 0);
    }
    let check = |what: &[&str]| {
        cargo()
            .args(["deny", "check"])
            .args(what)
            .output()
            .is_ok_and(|o| o.status.success())
    };
    if check(&[]) {
        return row(
            "`cargo deny check`: licences, advisories, sources, bans",
            1,
            0,
        );
    }
    // Without a network there are no advisories.
    let lost = !check(&["licenses", "sources", "bans"]);
    row(
        "`cargo deny check licenses sources bans`; the advisories were not to be had, or name a crate",
        1,
        u64::from(lost),
    )
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn the_line_of_a_test_run_is_read() {
        let line = "test result: ok. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 44.59s";
        assert_eq!(
            counts(&format!("running 4 tests\n{line}\n")).unwrap(),
            (3, 1)
        );
        assert!(counts("").is_err());
    }
}
