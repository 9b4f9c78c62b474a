//! Session-kNN on Serenade's example against its published figures, if the example is present: set
//! `PRL_SERENADE_EXAMPLE` to its folder, or put it in `../shared/datasets` beside the repository.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

fn example() -> Option<PathBuf> {
    let beside = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/datasets/serenade-example"
    );
    let path =
        std::env::var_os("PRL_SERENADE_EXAMPLE").map_or_else(|| beside.into(), PathBuf::from);
    path.join("train.txt").exists().then_some(path)
}

fn ok(dir: &Path, args: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_prl"))
        .current_dir(dir)
        .args(args)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {message}");
    output.stdout
}

/// Published: 302 test sessions, hit rate@20 .6402 and MRR@20 .3277. The options of session-kNN are
/// the defaults of both programs. Three details differ: Serenade counts the pairs of session and
/// item in its inverse document frequencies where this program counts sessions, it leaves other
/// long sessions out of its index, and its lists may be shorter than 20 where these are filled by
/// popularity. Each moves the figures by less than .002.
#[test]
fn session_knn_has_the_published_figures_of_serenade() {
    let Some(example) = example() else {
        eprintln!("skipped: Serenade's example is not at hand");
        return;
    };
    let file = |name: &str| example.join(name).to_str().unwrap().to_owned();
    let (train, test) = (file("train.txt"), file("test.txt"));
    let dir = tempfile::tempdir().unwrap();
    let columns = "session=SessionId,time=Time,item=ItemId";
    let mut prepare = vec!["prepare", "--source", "csv", "--delimiter", "\t"];
    prepare.extend(["--columns", columns, "--out", "data"]);
    prepare.extend(["--train", &train, "--test", &test]);
    ok(dir.path(), &prepare);
    let knn = [
        "train",
        "--method",
        "session-knn",
        "--data",
        "data",
        "--out",
        "run",
    ];
    ok(dir.path(), &knn);
    let mut evaluate = vec!["evaluate", "--run", "run", "--json", "-k", "20"];
    evaluate.extend(["--skip-first", "--exclude-last", "--cases", "cases.jsonl"]);
    let report: Value = serde_json::from_slice(&ok(dir.path(), &evaluate)).unwrap();
    assert_eq!(report["events"], json!({"click": 931, "purchase": 0}));
    for (name, published) in [("HR@20", 0.6402), ("MRR@20", 0.3277)] {
        let found = report["at_k"]["all"][name].as_f64().unwrap();
        println!("{name} {found:.4}, published {published}");
        assert!((found - published).abs() < 0.003, "{name}: {found}");
    }
    // The figures follow from the cases, of 302 sessions.
    let cases = std::fs::read_to_string(dir.path().join("cases.jsonl")).unwrap();
    let (mut sessions, mut hits, mut reciprocal) = (0, 0.0, 0.0);
    for line in cases.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        sessions = sessions.max(1 + case["session"].as_u64().unwrap());
        let rank = case["rank"].as_f64().unwrap_or(f64::INFINITY);
        if rank <= 20.0 {
            hits += 1.0;
            reciprocal += 1.0 / rank;
            assert!(case["top"].as_array().unwrap().contains(&case["item"]));
        }
    }
    assert_eq!((sessions, cases.lines().count()), (302, 931));
    for (name, sum) in [("HR@20", hits), ("MRR@20", reciprocal)] {
        let found = report["at_k"]["all"][name].as_f64().unwrap();
        assert!((found - sum / 931.0).abs() < 1e-12, "{name}: {found}");
    }
}
