//! Allowed dependencies between the crates of this workspace, in code and in tests.

use toml::{Table, Value};

use super::{File, Finding};

/// Every crate by its folder, with the workspace's crates that it may use. There are no cycles, as
/// each entry names only crates above it.
const ARROWS: &[(&str, &[&str])] = &[
    ("seed", &[]),
    ("testkit", &["seed"]),
    ("fs", &[]),
    ("charts", &[]),
    ("arms", &["fs"]),
    ("ope", &["arms"]),
    ("items", &["fs"]),
    ("dataset", &["seed", "fs"]),
    ("kernels", &["seed"]),
    ("nn", &["seed", "kernels"]),
    ("encoders", &["seed", "kernels", "nn"]),
    ("core", &["seed", "kernels", "nn"]),
    ("eval", &["seed", "dataset"]),
    ("synth", &["seed"]),
    ("tables", &["fs"]),
    ("data", &["seed", "fs", "items", "dataset"]),
    ("baselines", &["dataset"]),
    (
        "model",
        &[
            "seed",
            "dataset",
            "kernels",
            "nn",
            "encoders",
            "core",
            "baselines",
        ],
    ),
    (
        "runs",
        &[
            "seed",
            "fs",
            "items",
            "dataset",
            "kernels",
            "nn",
            "encoders",
            "core",
            "eval",
            "baselines",
            "model",
        ],
    ),
    (
        "train",
        &[
            "seed",
            "fs",
            "dataset",
            "kernels",
            "nn",
            "encoders",
            "core",
            "eval",
            "baselines",
            "model",
            "runs",
        ],
    ),
    (
        "export",
        &[
            "fs", "dataset", "kernels", "encoders", "core", "eval", "model", "runs",
        ],
    ),
    ("tracking", &["fs", "runs", "train"]),
    ("tune", &["seed", "fs", "charts"]),
    (
        "engine",
        &["seed", "fs", "items", "dataset", "core", "runs"],
    ),
    ("store", &["fs", "items", "dataset"]),
    (
        "serve",
        &[
            "seed", "arms", "items", "dataset", "core", "engine", "store",
        ],
    ),
    (
        "cli",
        &[
            "arms",
            "ope",
            "seed",
            "fs",
            "items",
            "dataset",
            "kernels",
            "nn",
            "encoders",
            "core",
            "eval",
            "synth",
            "tables",
            "data",
            "baselines",
            "model",
            "runs",
            "train",
            "export",
            "tracking",
            "tune",
            "engine",
            "serve",
            "store",
        ],
    ),
    ("python", &["dataset", "eval", "runs", "train", "cli"]),
    ("experiments", &["fs", "dataset", "eval", "baselines"]),
    (
        "report",
        &["charts", "dataset", "eval", "baselines", "experiments"],
    ),
    (
        "bench",
        &["charts", "dataset", "eval", "experiments", "report"],
    ),
    (
        "fuzz",
        &[
            "arms", "fs", "dataset", "data", "core", "model", "runs", "train", "export", "tune",
            "engine", "serve",
        ],
    ),
    (
        "xtask",
        &["fs", "dataset", "experiments", "report", "bench"],
    ),
];

/// Crates that the tests and examples of a crate may use beside those. Every crate's may use
/// `testkit`.
const TEST_ARROWS: &[(&str, &[&str])] = &[
    ("ope", &["seed"]),
    ("export", &["seed"]),
    ("engine", &["model", "train"]),
    ("tracking", &["dataset"]),
    ("serve", &["model", "runs", "train"]),
];

/// Prefixes of the large dependencies' names, with the only crates that may use them directly.
const CONFINED: &[(&str, &[&str])] = &[
    ("polars", &["data", "tables", "python"]),
    (
        "candle",
        &[
            "testkit", "kernels", "nn", "encoders", "core", "model", "runs", "train", "export",
            "cli",
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
    for (section, name) in dependencies(&manifest) {
        let mut lines = file.text.lines();
        let line = lines.position(|line| line.starts_with(&name)).unwrap_or(0) + 1;
        let mut find = |used: &str, hint: &str| {
            let problem = format!("{folder} may not use {used}");
            findings.push(Finding::new(&file.path, line, problem, hint));
        };
        if let Some(ours) = name.strip_prefix("prl-")
            && !allowed.contains(&ours)
            && !(section == "dev-dependencies" && may_test_with(folder, ours))
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

/// Whether the tests of a crate may use another crate.
fn may_test_with(folder: &str, ours: &str) -> bool {
    let mut entries = TEST_ARROWS.iter();
    let entry = entries.find(|(name, _)| *name == folder);
    ours == "testkit" || entry.is_some_and(|(_, used)| used.contains(&ours))
}

/// Section and name of every package that a manifest depends on, on all platforms, in code, build
/// scripts and tests.
pub fn dependencies(manifest: &Table) -> Vec<(&'static str, String)> {
    let mut tables = vec![manifest];
    if let Some(platforms) = manifest.get("target").and_then(Value::as_table) {
        tables.extend(platforms.values().filter_map(Value::as_table));
    }
    let mut found = Vec::new();
    for table in tables {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(packages) = table.get(section).and_then(Value::as_table) else {
                continue;
            };
            for (key, value) in packages {
                let package = value.get("package").and_then(Value::as_str);
                found.push((section, package.unwrap_or(key).to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(folder: &str, manifest: &str) -> Vec<String> {
        found_in(&format!("crates/{folder}/Cargo.toml"), manifest)
    }

    fn found_in(path: &str, manifest: &str) -> Vec<String> {
        let findings = check(&[File::new(path, manifest)]);
        findings.iter().map(Finding::to_string).collect()
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
        for manifest in [
            "[dev-dependencies]\nprl-train.workspace = true\n",
            "[target.'cfg(unix)'.dependencies]\nprl-nn.workspace = true\n",
            "[dependencies]\nsmall = { package = \"polars\", version = \"1\" }\n",
        ] {
            assert_eq!(found("eval", manifest).len(), 1, "{manifest}");
        }
    }

    #[test]
    fn large_dependency_outside_its_crates_is_found() {
        assert!(found("data", "[dependencies]\npolars.workspace = true\n").is_empty());
        for (folder, dependency) in [
            ("dataset", "polars-core = \"1\""),
            ("baselines", "candle-core.workspace = true"),
            ("cli", "axum = \"1\""),
        ] {
            let manifest = format!("[dependencies]\n{dependency}\n");
            assert_eq!(found(folder, &manifest).len(), 1, "{dependency}");
        }
    }

    #[test]
    fn xtask_may_not_use_the_trainer() {
        let report = "[dependencies]\nprl-report.workspace = true\n";
        assert!(found_in("xtask/Cargo.toml", report).is_empty());
        let trainer = "[dependencies]\nprl-train.workspace = true\ncandle-core.workspace = true\n";
        assert_eq!(found_in("xtask/Cargo.toml", trainer).len(), 2);
    }

    #[test]
    fn tests_may_use_more_than_code() {
        let in_tests =
            "[dev-dependencies]\nprl-train.workspace = true\nprl-testkit.workspace = true\n";
        assert!(found("engine", in_tests).is_empty());
        for (folder, used) in [("engine", "train"), ("eval", "testkit")] {
            let in_code = format!("[dependencies]\nprl-{used}.workspace = true\n");
            assert_eq!(found(folder, &in_code).len(), 1, "{used}");
        }
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
