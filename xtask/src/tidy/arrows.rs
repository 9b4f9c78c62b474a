//! Allowed dependencies between the crates of this workspace, in code and in tests.

use toml::{Table, Value};

use super::{File, Finding};

/// Every crate by its folder, with the workspace's crates that it may use. There are no cycles, as
/// each entry names only crates above it.
const ARROWS: &[(&str, &[&str])] = &[
    ("seed", &[]),
    ("testkit", &["seed"]),
    ("fs", &[]),
    ("kernels", &["seed"]),
    ("dataset", &["seed", "fs"]),
    ("eval", &["seed", "dataset"]),
    ("synth", &["seed"]),
    ("data", &["seed", "fs", "dataset"]),
    ("nn", &["seed", "kernels"]),
    ("encoders", &["seed", "kernels", "nn"]),
    ("core", &["seed", "kernels", "nn"]),
    ("baselines", &["dataset"]),
    (
        "model",
        &[
            "seed",
            "kernels",
            "dataset",
            "nn",
            "encoders",
            "core",
            "baselines",
        ],
    ),
    (
        "runs",
        &[
            "kernels",
            "dataset",
            "fs",
            "eval",
            "nn",
            "encoders",
            "core",
            "baselines",
            "model",
        ],
    ),
    (
        "train",
        &[
            "seed",
            "kernels",
            "dataset",
            "fs",
            "eval",
            "core",
            "baselines",
            "model",
            "runs",
        ],
    ),
    ("engine", &["seed", "dataset", "core", "runs"]),
    ("serve", &["seed", "dataset", "core", "engine"]),
    (
        "cli",
        &[
            "seed", "kernels", "dataset", "fs", "eval", "synth", "data", "encoders", "core",
            "model", "runs", "train", "engine", "serve",
        ],
    ),
    ("experiments", &["dataset", "fs", "eval", "baselines"]),
    (
        "report",
        &["dataset", "fs", "eval", "baselines", "experiments"],
    ),
    (
        "fuzz",
        &["fs", "dataset", "data", "core", "runs", "train", "serve"],
    ),
    ("xtask", &["dataset", "fs", "experiments", "report"]),
];

/// Crates that only the tests of a crate may use, beside its own arrows. `testkit` is allowed in
/// the tests of every crate and nowhere else.
const TEST_ARROWS: &[(&str, &[&str])] = &[
    ("train", &["nn", "encoders"]),
    ("engine", &["train"]),
    ("serve", &["runs", "train"]),
];

/// Prefixes of the large dependencies' names, with the only crates that may use them directly.
const CONFINED: &[(&str, &[&str])] = &[
    ("polars", &["data"]),
    (
        "candle",
        &[
            "testkit", "kernels", "nn", "encoders", "core", "model", "runs", "train", "cli",
        ],
    ),
    ("axum", &["serve"]),
];

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let Some(folder) = file.path.strip_suffix("/Cargo.toml") else {
            continue;
        };
        if let Some(name) = folder.strip_prefix("crates/") {
            findings.extend(check_manifest(name, file));
        } else if folder == "xtask" {
            findings.extend(check_manifest(folder, file));
        }
    }
    findings
}

fn check_manifest(folder: &str, file: &File) -> Vec<Finding> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == folder) else {
        let problem = format!("crate {folder} has no entry");
        let hint = "add what it may use to xtask/src/tidy/arrows.rs";
        return vec![Finding::new(&file.path, 1, problem, hint)];
    };
    let manifest: Table = match file.text.parse() {
        Ok(manifest) => manifest,
        Err(error) => {
            let problem = format!("not TOML: {}", error.message());
            return vec![Finding::new(&file.path, 1, problem, "correct its syntax")];
        }
    };
    let mut findings = Vec::new();
    let in_tests = TEST_ARROWS.iter().find(|(name, _)| *name == folder);
    let in_tests = in_tests.map_or(&[][..], |(_, allowed)| *allowed);
    for (section, name) in dependencies(&manifest) {
        let mut lines = file.text.lines();
        let line = lines.position(|line| line.starts_with(&name)).unwrap_or(0) + 1;
        let mut find = |used: &str, hint: &str| {
            let problem = format!("{folder} may not use {used}");
            findings.push(Finding::new(&file.path, line, problem, hint));
        };
        let is_test = section == "dev-dependencies";
        if let Some(ours) = name.strip_prefix("prl-")
            && !allowed.contains(&ours)
            && !(is_test && (ours == "testkit" || in_tests.contains(&ours)))
        {
            find(ours, "reverse the dependency or move the code");
        }
        for (prefix, users) in CONFINED {
            if name.starts_with(prefix) && !users.contains(&folder) {
                find(
                    &name,
                    &format!("only these use {prefix}: {}", users.join(", ")),
                );
            }
        }
    }
    findings
}

/// Sections and names of all packages that a manifest depends on, on all platforms, in code, build
/// scripts and tests.
fn dependencies(manifest: &Table) -> Vec<(&'static str, String)> {
    let mut tables = vec![manifest];
    if let Some(platforms) = manifest.get("target").and_then(Value::as_table) {
        tables.extend(platforms.values().filter_map(Value::as_table));
    }
    let mut names = Vec::new();
    for table in tables {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(entries) = table.get(section).and_then(Value::as_table) else {
                continue;
            };
            for (key, value) in entries {
                let package = value.get("package").and_then(Value::as_str);
                names.push((section, package.unwrap_or(key).to_owned()));
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(folder: &str, manifest: &str) -> Vec<String> {
        let path = format!("crates/{folder}/Cargo.toml");
        check(&[File {
            path,
            text: manifest.to_owned(),
        }])
        .iter()
        .map(Finding::to_string)
        .collect()
    }

    #[test]
    fn dependency_against_an_arrow_is_found() {
        assert_eq!(
            found(
                "eval",
                "[dependencies]\nprl-seed.workspace = true\nserde = \"1\"\n"
            ),
            Vec::<String>::new()
        );
        let turned = found(
            "seed",
            "[package]\n[dependencies]\nprl-eval.workspace = true\n",
        );
        assert_eq!(
            turned,
            [
                "crates/seed/Cargo.toml:3: seed may not use eval; reverse the dependency or move the code"
            ]
        );
    }

    #[test]
    fn tests_platforms_and_renamed_packages_are_checked() {
        assert_eq!(
            found("eval", "[dev-dependencies]\nprl-train.workspace = true\n").len(),
            1
        );
        assert_eq!(
            found(
                "eval",
                "[target.'cfg(unix)'.dependencies]\nprl-nn.workspace = true\n"
            )
            .len(),
            1
        );
        assert_eq!(
            found(
                "eval",
                "[dependencies]\nsmall = { package = \"polars\", version = \"1\" }\n"
            )
            .len(),
            1
        );
    }

    #[test]
    fn large_dependency_outside_its_crates_is_found() {
        assert!(found("data", "[dependencies]\npolars.workspace = true\n").is_empty());
        assert_eq!(
            found("dataset", "[dependencies]\npolars-core = \"1\"\n").len(),
            1
        );
        assert_eq!(
            found(
                "baselines",
                "[dependencies]\ncandle-core.workspace = true\n"
            )
            .len(),
            1
        );
        assert_eq!(found("cli", "[dependencies]\naxum = \"1\"\n").len(), 1);
    }

    #[test]
    fn xtask_may_not_use_the_trainer() {
        let found = |manifest: &str| {
            check(&[File {
                path: "xtask/Cargo.toml".into(),
                text: manifest.to_owned(),
            }])
            .len()
        };
        assert_eq!(found("[dependencies]\nprl-report.workspace = true\n"), 0);
        assert_eq!(
            found("[dependencies]\nprl-train.workspace = true\ncandle-core.workspace = true\n"),
            2
        );
    }

    #[test]
    fn crate_without_an_entry_is_found() {
        assert_eq!(found("new", "[package]\n").len(), 1);
    }

    #[test]
    fn arrows_have_no_cycle() {
        for (i, (name, uses)) in ARROWS.iter().enumerate() {
            let above = &ARROWS[..i];
            assert!(
                uses.iter()
                    .all(|user| above.iter().any(|(name, _)| name == user)),
                "{name}"
            );
        }
    }
}
