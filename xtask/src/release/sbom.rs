//! Bill of materials of the program, in CycloneDX: its crates with versions, licences, checksums
//! and dependencies.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use prl_fs::sha256_hex;
use serde_json::{Value, json};
use toml::Table;

use super::{Commit, FEATURES, read};
use crate::{programs, root};

/// A crate of the program: name and version.
type Package = (String, String);

/// The bill of the program for a target.
///
/// # Errors
/// If cargo does not list its crates.
pub(super) fn of_program(target: &str, version: &str, commit: &Commit) -> Result<String> {
    let output = programs::cargo()
        .args([
            "tree",
            "--locked",
            "--package",
            "prl-cli",
            "--target",
            target,
        ])
        .args(["--edges", "normal", "--prefix", "none"])
        .args(["--no-default-features", "--features", FEATURES])
        .args(["--format", "{p}\t{l}"])
        .output()?;
    ensure!(
        output.status.success(),
        "cargo tree: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let licenses = licenses(&String::from_utf8(output.stdout)?);
    let lock: Table = read(&root().join("Cargo.lock"))?.parse()?;
    let bill = bill(&licenses, &lock, (version, commit))?;
    Ok(serde_json::to_string_pretty(&bill)? + "\n")
}

/// Licences of the crates that `cargo tree` lists.
fn licenses(tree: &str) -> BTreeMap<Package, String> {
    let mut found = BTreeMap::new();
    for line in tree.lines() {
        let (package, license) = line.split_once('\t').unwrap_or((line, ""));
        let mut words = package.split(' ');
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            let version = version.trim_start_matches('v').to_owned();
            let license = license.trim_end_matches(" (*)").replace('/', " OR ");
            found.insert((name.to_owned(), version), license);
        }
    }
    found
}

fn bill(
    licenses: &BTreeMap<Package, String>,
    lock: &Table,
    (version, commit): (&str, &Commit),
) -> Result<Value> {
    let packages = lock["package"]
        .as_array()
        .context("Cargo.lock has no package")?;
    let program = ("prl-cli".to_owned(), version.to_owned());
    let (mut components, mut dependencies) = (Vec::new(), Vec::new());
    for package in packages {
        let own = package_of(package);
        let Some(license) = licenses.get(&own) else {
            continue;
        };
        let mut uses = BTreeSet::new();
        for dependency in package
            .get("dependencies")
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten()
        {
            uses.extend(resolve(dependency.as_str().unwrap_or_default(), licenses).map(url));
        }
        dependencies.push(json!({ "ref": url(&own), "dependsOn": uses }));
        let checksum = package.get("checksum").and_then(toml::Value::as_str);
        if own != program {
            components.push(component(&own, license, checksum));
        }
    }
    ensure!(
        components.len() + 1 == licenses.len(),
        "{} crates of the program and {} of them in Cargo.lock",
        licenses.len(),
        components.len() + 1
    );
    let mut main = component(&program, &licenses[&program], None);
    main["type"] = "application".into();
    main["name"] = "prl".into();
    let mut bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(commit.time),
            "component": main,
            "properties": [{ "name": "commit", "value": commit.hash }],
        },
        "components": components,
        "dependencies": dependencies,
    });
    bill["serialNumber"] = serial_number(&bill.to_string()).into();
    Ok(bill)
}

fn package_of(package: &toml::Value) -> Package {
    let text = |key: &str| package.get(key).and_then(toml::Value::as_str);
    (
        text("name").unwrap_or_default().to_owned(),
        text("version").unwrap_or_default().to_owned(),
    )
}

fn component((name, version): &Package, license: &str, checksum: Option<&str>) -> Value {
    let own = (name.clone(), version.clone());
    let mut component = json!({
        "type": "library",
        "bom-ref": url(&own),
        "name": name,
        "version": version,
        "purl": url(&own),
        "licenses": [{ "expression": license }],
    });
    if let Some(checksum) = checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

/// The crate that an entry of `dependencies` in Cargo.lock means: `NAME`, if there is one version,
/// or `NAME VERSION`; `None` if it is not in the program.
fn resolve<'a>(entry: &str, licenses: &'a BTreeMap<Package, String>) -> Option<&'a Package> {
    let mut words = entry.split(' ');
    let (name, version) = (words.next()?, words.next());
    let is_meant =
        |package: &&Package| package.0 == name && version.is_none_or(|own| package.1 == own);
    licenses.keys().find(is_meant)
}

fn url((name, version): &Package) -> String {
    format!("pkg:cargo/{name}@{version}")
}

/// A UUID (version 8) of the content's hash, so that equal bills are equal.
fn serial_number(content: &str) -> String {
    let hash = sha256_hex(content.as_bytes());
    let (a, b, c, d, e) = (
        &hash[..8],
        &hash[8..12],
        &hash[13..16],
        &hash[17..20],
        &hash[20..32],
    );
    format!("urn:uuid:{a}-{b}-8{c}-8{d}-{e}")
}

/// A time in seconds since 1970 as ISO 8601, by the calendar's 400-year cycle.
fn timestamp(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, so that the leap day ends a year.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year + next;
    let (h, m, s) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{date:02}T{h:02}:{m:02}:{s:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "prl-cli v0.1.0 (/src/cli)\tMIT\nring v0.17.14\tISC\nold v1.0.0\tMIT/Apache-2.0\n\
                        ring v0.17.14\tISC (*)\n";
    const LOCK: &str = r#"
        [[package]]
        name = "old"
        version = "1.0.0"
        checksum = "aa"
        [[package]]
        name = "prl-cli"
        version = "0.1.0"
        dependencies = ["old", "ring 0.17.14", "unused"]
        [[package]]
        name = "ring"
        version = "0.16.0"
        checksum = "bb"
        [[package]]
        name = "ring"
        version = "0.17.14"
        checksum = "cc"
        dependencies = ["old"]
        [[package]]
        name = "unused"
        version = "3.0.0"
    "#;

    #[test]
    fn bill_has_the_crates_of_the_program_alone() {
        let commit = Commit {
            hash: "abc".into(),
            time: 0,
        };
        let lock = LOCK.parse().unwrap();
        let bill = bill(&licenses(TREE), &lock, ("0.1.0", &commit)).unwrap();
        let expected = json!([
            {
                "type": "library", "bom-ref": "pkg:cargo/old@1.0.0", "name": "old",
                "version": "1.0.0", "purl": "pkg:cargo/old@1.0.0",
                "licenses": [{ "expression": "MIT OR Apache-2.0" }],
                "hashes": [{ "alg": "SHA-256", "content": "aa" }],
            },
            {
                "type": "library", "bom-ref": "pkg:cargo/ring@0.17.14", "name": "ring",
                "version": "0.17.14", "purl": "pkg:cargo/ring@0.17.14",
                "licenses": [{ "expression": "ISC" }],
                "hashes": [{ "alg": "SHA-256", "content": "cc" }],
            },
        ]);
        assert_eq!(bill["components"], expected);
        let expected = json!([
            { "ref": "pkg:cargo/old@1.0.0", "dependsOn": [] },
            {
                "ref": "pkg:cargo/prl-cli@0.1.0",
                "dependsOn": ["pkg:cargo/old@1.0.0", "pkg:cargo/ring@0.17.14"],
            },
            { "ref": "pkg:cargo/ring@0.17.14", "dependsOn": ["pkg:cargo/old@1.0.0"] },
        ]);
        assert_eq!(bill["dependencies"], expected);
        assert_eq!(bill["metadata"]["component"]["name"], "prl");
    }

    #[test]
    fn time_is_written_as_a_date() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(seconds), expected);
        }
    }
}
