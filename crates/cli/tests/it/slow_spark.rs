//! A log prepared through Spark gives the same dataset, to the byte, as without Spark. The Python
//! with pyspark is PRL_SPARK_PYTHON, by default python3. Skipped with a message if it or Java is
//! missing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Two cores, and blocks so small that every file is read in several.
const SPARK: &str = "--master local[2] --conf spark.ui.enabled=false --conf spark.sql.files.maxPartitionBytes=48k pyspark-shell";
const PARTITIONS: usize = 3;

/// The Python interpreter with Spark, if there is one. PRL_SPARK_PYTHON must have Spark if set.
fn python() -> Option<OsString> {
    let named = std::env::var_os("PRL_SPARK_PYTHON");
    let python = named.clone().unwrap_or_else(|| "python3".into());
    let there =
        |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let missing = if !there(Command::new(&python).args(["-c", "import pyspark"])) {
        "pyspark (pip install pyspark)"
    } else if !there(Command::new("java").arg("-version")) {
        "Java"
    } else {
        return Some(python);
    };
    assert!(
        named.is_none(),
        "PRL_SPARK_PYTHON is set, but {missing} is missing"
    );
    eprintln!("SKIPPED: {missing} is missing");
    None
}

/// A directory with a raw log and the datasets prepared from it.
struct Folder {
    dir: TempDir,
    python: OsString,
}

impl Folder {
    /// `None` if Spark is missing.
    fn new(like: &str) -> Option<Self> {
        let folder = Self {
            python: python()?,
            dir: tempfile::tempdir().unwrap(),
        };
        folder.prl(&format!("synth --like {like} --sessions 1200 --out raw"));
        Some(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn prl(&self, line: &str) {
        let done = Command::new(env!("CARGO_BIN_EXE_prl"))
            .current_dir(self.dir.path())
            .args(line.split(' '))
            .output();
        let done = done.unwrap();
        assert!(
            done.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    fn spark(&self, line: &str) -> Output {
        let job = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/spark/prepare.py");
        let mut command = Command::new(&self.python);
        command
            .current_dir(self.dir.path())
            .arg(job)
            .args(line.split(' '))
            .env("PYSPARK_SUBMIT_ARGS", SPARK);
        command
            .env("PYSPARK_PYTHON", &self.python)
            .output()
            .unwrap()
    }

    /// Distributes the rows of a raw file over `files` files of a directory, so that sessions are
    /// split between files; `coarse` rounds the times, so that many are equal.
    fn deal(
        &self,
        raw: &str,
        to: &str,
        files: usize,
        header: bool,
        coarse: impl Fn(&str) -> String,
    ) {
        let text = std::fs::read_to_string(self.path("raw").join(raw)).unwrap();
        let mut lines = text.lines();
        let first = if header {
            lines.next().unwrap().to_owned() + "\n"
        } else {
            String::new()
        };
        let mut parts = vec![first; files];
        lines
            .enumerate()
            .for_each(|(i, line)| parts[i % files] += &(coarse(line) + "\n"));
        std::fs::create_dir(self.path(to)).unwrap();
        for (i, part) in parts.iter().enumerate() {
            std::fs::write(self.path(to).join(format!("part-{i}.csv")), part).unwrap();
        }
        std::fs::copy(
            self.path("raw/SYNTHETIC.json"),
            self.path(to).join("SYNTHETIC.json"),
        )
        .unwrap();
    }

    /// Prepares the log by Spark and `prl`, and by `prl` alone with the flags `direct`; compares.
    fn agree(&self, spark: &str, direct: &str) {
        let output = self.spark(&format!("{spark} --partitions {PARTITIONS} --out parts"));
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let names = std::fs::read_dir(self.path("parts"))
            .unwrap()
            .map(|e| e.unwrap().file_name());
        assert_eq!(
            names
                .filter(|name| name.to_string_lossy().starts_with("part-"))
                .count(),
            PARTITIONS
        );
        let columns =
            "session=session,time=time,item=item,event=event --click click --purchase purchase";
        self.prl(&format!(
            "prepare --source parquet --input parts --columns {columns} --out by-spark"
        ));
        self.prl(&format!("prepare {direct} --out direct"));
        let bytes = |dir: &str, file: &str| std::fs::read(self.path(dir).join(file)).unwrap();
        for file in ["events.safetensors", "items.safetensors"] {
            assert!(
                bytes("by-spark", file) == bytes("direct", file),
                "{file} differs"
            );
        }
        let manifest: serde_json::Value =
            serde_json::from_slice(&bytes("by-spark", "manifest.json")).unwrap();
        assert_eq!(manifest["source"]["synthetic"], true);
    }
}

#[test]
fn rc15_through_spark_gives_same_dataset() {
    let Some(folder) = Folder::new("rc15") else {
        return;
    };
    // To ten minutes: "..T00:56:27.803Z,.." becomes "..T00:50:00.000Z,..".
    let coarse = |line: &str| {
        let at = line.find('T').unwrap();
        format!("{}0:00.000{}", &line[..at + 5], &line[at + 13..])
    };
    folder.deal("yoochoose-clicks.dat", "clicks", 3, false, coarse);
    folder.deal("yoochoose-buys.dat", "buys", 2, false, coarse);
    folder.agree(
        "rc15 --clicks clicks --buys buys",
        "--source rc15 --clicks clicks --buys buys --sample 1000000",
    );
}

#[test]
fn retailrocket_through_spark_gives_same_dataset() {
    let Some(folder) = Folder::new("retailrocket") else {
        return;
    };
    let coarse = |line: &str| {
        let (millis, rest) = line.split_once(',').unwrap();
        format!(
            "{},{rest}",
            millis.parse::<i64>().unwrap() / 600_000 * 600_000
        )
    };
    folder.deal("events.csv", "log", 3, true, coarse);
    folder.agree(
        "retailrocket --input log",
        "--source retailrocket --input log",
    );
}

#[test]
fn invalid_log_in_spark_is_reported() {
    let Some(folder) = Folder::new("retailrocket") else {
        return;
    };
    let said = |text: &str| {
        std::fs::write(folder.path("log.csv"), text).unwrap();
        let output = folder.spark("retailrocket --input log.csv --out parts");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let message = said("timestamp,visitorid,item\n1,2,3\n");
    assert!(
        message.contains("no column event, itemid, transactionid"),
        "{message}"
    );
    let message = said("timestamp,visitorid,event,itemid,transactionid\n1,2,view,-3,\n");
    assert!(
        message.contains("column itemid: expected a whole number from 0, found -3"),
        "{message}"
    );
}
