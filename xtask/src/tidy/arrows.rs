//! The arrows between crates: who may depend on whom, in the code and in its tests.

use toml::{Table, Value};

use super::{File, Finding};

/// Every crate, by folder, and the crates of ours that it may use. Nothing else may be used, and there are no circles, as
/// each line names only crates above it.
const ARROWS: &[(&str, &[&str])] = &[
    ("seed", &[]),
    ("testkit", &["seed"]),
    ("kernels", &["seed", "testkit"]),
    ("fs", &[]),
    ("dataset", &["seed", "fs"]),
    ("eval", &["seed", "dataset"]),
    ("synth", &["seed"]),
    ("data", &["seed", "dataset"]),
    ("nn", &["seed", "testkit", "kernels"]),
    ("encoders", &["seed", "testkit", "kernels", "nn"]),
    ("core", &["seed", "testkit", "kernels", "nn"]),
    ("baselines", &["dataset"]),
    (
        "train",
        &[
            "seed",
            "testkit",
            "kernels",
            "dataset",
            "fs",
            "eval",
            "nn",
            "encoders",
            "core",
            "baselines",
        ],
    ),
    ("engine", &["seed", "dataset", "core", "train"]),
    ("serve", &["seed", "dataset", "core", "train", "engine"]),
    (
        "cli",
        &[
            "seed",
            "kernels",
            "dataset",
            "fs",
            "eval",
            "synth",
            "data",
            "nn",
            "encoders",
            "core",
            "baselines",
            "train",
            "engine",
            "serve",
        ],
    ),
    ("experiments", &["dataset", "fs", "eval", "baselines"]),
    ("report", &["dataset", "eval", "baselines", "experiments"]),
    ("fuzz", &["fs", "dataset", "data", "core", "train", "serve"]),
    ("xtask", &["dataset", "fs", "experiments", "report"]),
];

/// The large dependencies (all names that start so), and the only crates that may use them directly.
const CONFINED: &[(&str, &[&str])] = &[
    ("polars", &["data"]),
    (
        "candle",
        &[
            "testkit", "kernels", "nn", "encoders", "core", "train", "cli",
        ],
    ),
    ("axum", &["serve"]),
];

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let manifests = files.iter().filter_map(|file| {
        let folder = file.path.strip_suffix("/Cargo.toml")?;
        let crates = folder.strip_prefix("crates/");
        Some((
            crates.or_else(|| (folder == "xtask").then_some(folder))?,
            file,
        ))
    });
    manifests
        .flat_map(|(folder, file)| check_manifest(folder, file))
        .collect()
}

fn check_manifest(folder: &str, file: &File) -> Vec<Finding> {
    let find = |line, what: String, mend: &str| Finding::new(&file.path, line, what, mend);
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == folder) else {
        return vec![find(
            1,
            format!("crate {folder} has no place"),
            "add its arrows to xtask/src/tidy/arrows.rs",
        )];
    };
    let manifest: Table = match file.text.parse() {
        Ok(manifest) => manifest,
        Err(error) => {
            return vec![find(
                1,
                format!("not TOML ({})", error.message()),
                "mend its syntax",
            )];
        }
    };
    let mut findings = Vec::new();
    for name in dependencies(&manifest) {
        let line = file
            .text
            .lines()
            .position(|line| line.starts_with(&name))
            .map_or(1, |at| at + 1);
        if let Some(ours) = name
            .strip_prefix("prl-")
            .filter(|ours| !allowed.contains(ours))
        {
            findings.push(find(
                line,
                format!("{folder} may not use {ours}"),
                "turn the arrow round or move the code",
            ));
        }
        let confined = CONFINED
            .iter()
            .find(|(prefix, users)| name.starts_with(prefix) && !users.contains(&folder));
        if let Some((prefix, users)) = confined {
            let what = format!("{folder} may not use {name}");
            findings.push(find(
                line,
                what,
                &format!("{prefix} belongs to: {}", users.join(", ")),
            ));
        }
    }
    findings
}

/// The names of all packages that a manifest depends on: for all platforms, in code, build scripts and tests.
fn dependencies(manifest: &Table) -> Vec<String> {
    let platforms = manifest
        .get("target")
        .and_then(Value::as_table)
        .into_iter()
        .flat_map(Table::values);
    let tables = std::iter::once(manifest).chain(platforms.filter_map(Value::as_table));
    let sections = tables.flat_map(|table| {
        ["dependencies", "dev-dependencies", "build-dependencies"]
            .into_iter()
            .filter_map(|name| table.get(name)?.as_table())
    });
    let entries = sections
        .flatten()
        .map(|(key, value)| value.get("package").and_then(Value::as_str).unwrap_or(key));
    entries.map(str::to_owned).collect()
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
    fn arrows_go_one_way() {
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
                "crates/seed/Cargo.toml:3: seed may not use eval, turn the arrow round or move the code"
            ]
        );
    }

    #[test]
    fn tests_platforms_and_other_names_count_too() {
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
    fn large_dependencies_stay_where_they_belong() {
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
    fn the_chores_train_nothing() {
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
    fn a_crate_without_a_place_is_found() {
        assert_eq!(found("new", "[package]\n").len(), 1);
    }

    #[test]
    fn the_list_has_no_circle() {
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
