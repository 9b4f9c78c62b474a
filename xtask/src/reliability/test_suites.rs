//! Guarantees that are checked by tests of the crates: run here, counted, and listed on the page.

use anyhow::{Context, Result, ensure};

use super::promise::{Promise, Trial};
use crate::programs::cargo;
use crate::{root, tidy};

/// A test module and the promise that it checks.
struct Suite {
    package: &'static str,
    /// Module of the integration tests.
    module: &'static str,
    promise: Promise,
    tried: &'static str,
}

const SUITES: [Suite; 5] = [
    Suite {
        package: "prl-train",
        module: "formats",
        promise: Promise::Formats,
        tried: "dataset and run of version 1, stored in the repository: they load and give the numbers of \
                that version; newer versions are refused with a hint",
    },
    Suite {
        package: "prl-train",
        module: "numbers",
        promise: Promise::Numbers,
        tried: "NaN and infinity in loss, gradient, weights, moments, scores: the run stops with step and \
                cause, and the last good checkpoint stays",
    },
    Suite {
        package: "prl-train",
        module: "training",
        promise: Promise::Numbers,
        tried: "metrics against batch size, threads and the order of sessions; unfit settings",
    },
    Suite {
        package: "prl-dataset",
        module: "examples",
        promise: Promise::Numbers,
        tried: "batches against a naive replay buffer, returns against direct sums",
    },
    Suite {
        package: "prl-train",
        module: "memory",
        promise: Promise::Limits,
        tried: "resident memory of a test over 30 epochs",
    },
];

/// Runs the suites and the checks of the repository and its dependencies.
pub fn run() -> Result<Vec<Trial>> {
    let mut trials = Vec::new();
    for suite in &SUITES {
        let (passed, failed) = counts(&test_output(suite.package, suite.module)?)?;
        let tried = format!(
            "{} (tests `{}` of {})",
            suite.tried, suite.module, suite.package
        );
        trials.push(Trial::new(suite.promise, tried, passed + failed, failed));
    }
    let is_tidy = tidy::check().is_ok();
    let tried = "`unsafe` only in the kernels and in one file of fs, each with its reason; \
                 dependencies between crates";
    trials.push(Trial::new(Promise::Supply, tried, 1, u64::from(!is_tidy)));
    trials.push(check_dependencies());
    Ok(trials)
}

/// The lines that a suite prints with the mark `RELIABILITY`, without the mark.
///
/// # Errors
/// If a test of the suite fails.
pub fn marked_lines(package: &str, module: &str) -> Result<Vec<String>> {
    let output = test_output(package, module)?;
    let (_, failed) = counts(&output)?;
    ensure!(
        failed == 0,
        "tests `{module}` of {package} failed:\n{output}"
    );
    let mut lines = Vec::new();
    for line in output.lines() {
        if let Some((_, marked)) = line.split_once("RELIABILITY ") {
            lines.push(marked.to_owned());
        }
    }
    Ok(lines)
}

/// Runs a suite: a module of the crate's test binary `it`, or a binary of its own.
fn test_output(package: &str, module: &str) -> Result<String> {
    let mut cargo = cargo();
    cargo.args(["test", "--package", package]);
    if is_module_of_it(package, module) {
        cargo.args(["--test", "it", "--", &format!("{module}::")]);
    } else {
        cargo.args(["--test", module, "--"]);
    }
    cargo.args(["--nocapture", "--test-threads", "1"]);
    let output = cargo.output().context("failed to run cargo")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        text.contains("test result"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

/// Whether a suite is a module of the test binary `it`.
fn is_module_of_it(package: &str, module: &str) -> bool {
    let folder = package.trim_start_matches("prl-");
    let tests = root().join("crates").join(folder).join("tests/it");
    tests.join(format!("{module}.rs")).is_file() || tests.join(module).is_dir()
}

/// Passed and failed tests.
fn counts(output: &str) -> Result<(u64, u64)> {
    let mut lines = output.lines();
    let line = lines
        .find(|line| line.starts_with("test result"))
        .context("no test ran")?;
    let count = |what: &str| -> Option<u64> {
        let (before, _) = line.split_once(what)?;
        before.split_whitespace().next_back()?.parse().ok()
    };
    Ok((count(" passed").unwrap_or(0), count(" failed").unwrap_or(1)))
}

/// Licences, advisories, sources and bans by cargo-deny, if it is installed.
fn check_dependencies() -> Trial {
    if !cargo_deny(&["--version"]) {
        let tried = "cargo-deny: not tried, it is not installed here";
        return Trial::new(Promise::Supply, tried, 0, 0);
    }
    if cargo_deny(&["check"]) {
        let tried = "`cargo deny check`: licences, advisories, sources, bans";
        return Trial::new(Promise::Supply, tried, 1, 0);
    }
    // The advisories need a network; the other checks do not.
    let is_clean = cargo_deny(&["check", "licenses", "sources", "bans"]);
    let tried = "`cargo deny check licenses sources bans`; the advisories could not be fetched, or name \
                 a crate";
    Trial::new(Promise::Supply, tried, 1, u64::from(!is_clean))
}

fn cargo_deny(args: &[&str]) -> bool {
    let output = cargo().arg("deny").args(args).output();
    output.is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_the_result_line() {
        let line = "test result: ok. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 44.59s";
        let output = format!("running 4 tests\n{line}\n");
        assert_eq!(counts(&output).unwrap(), (3, 1));
        assert!(counts("").is_err());
    }

    #[test]
    fn every_suite_exists() {
        let faults = ("prl-train", "faults");
        let suites = SUITES.iter().map(|suite| (suite.package, suite.module));
        for (package, module) in suites.chain([faults]) {
            let folder = package.trim_start_matches("prl-");
            let file = root().join(format!("crates/{folder}/tests/{module}.rs"));
            assert!(
                file.is_file() || is_module_of_it(package, module),
                "{package} has no tests `{module}`"
            );
        }
    }
}
