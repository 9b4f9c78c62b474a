//! Tomorrow's log: a dataset is appended to and a run is continued on it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn prl(dir: &Path, line: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_prl"))
        .current_dir(dir)
        .args(line.split_whitespace())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {text}");
    String::from_utf8(output.stdout).unwrap()
}

/// A day's log: 200 sessions along a ring of items.
pub fn write_day(path: &Path, day: usize, items: &[String]) {
    let mut text = "session,time,item,event\n".to_owned();
    for s in 0..200 {
        for t in 0..6 {
            let i = (s * 7 + t) % items.len();
            let event = if i.is_multiple_of(7) { "buy" } else { "view" };
            let time = 1_700_000_000 + day * 86_400 + s * 100 + t;
            text += &format!("{day}-{s},{time},{},{event}\n", items[i]);
        }
    }
    std::fs::write(path, text).unwrap();
}

#[test]
fn tomorrows_log_is_appended_and_its_new_item_recommended() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut items: Vec<String> = (0..30).map(|i| format!("sku-{i}")).collect();
    write_day(&dir.join("today.csv"), 0, &items);
    items.insert(20, "new".to_owned());
    write_day(&dir.join("tomorrow.csv"), 1, &items);
    let columns = "--columns session=session,time=time,item=item,event=event";
    let kinds = "--click view --purchase buy --split time --keep-log --out ds";
    prl(
        dir,
        &format!("prepare --source csv --input today.csv {columns} {kinds}"),
    );
    prl(
        dir,
        "train --data ds --out today --epochs 40 --batch-size 64 --dim 16",
    );
    prl(
        dir,
        "prepare --append ds --input tomorrow.csv --keep-log --out next",
    );
    prl(
        dir,
        "train --from today --data next --out tomorrow --new-items co-occurrence",
    );
    let list = prl(
        dir,
        "recommend --run tomorrow --items sku-18,sku-19 -k 5 --json",
    );
    assert!(list.contains("\"new\""), "{list}");
    let run: Value = serde_json::from_str(&prl(dir, "inspect tomorrow --json")).unwrap();
    let today: Value = serde_json::from_str(&prl(dir, "inspect today --json")).unwrap();
    assert_eq!(run["parent"]["model"], today["model"]);
    assert_eq!(run["parent"]["carried"], 30);
    assert_eq!(run["parent"]["added"], 1);
    let steps = today["steps"].as_u64().unwrap();
    // A fifth of the passes, over twice the events.
    assert!(run["steps"].as_u64().unwrap() <= (2 * steps / 5 + 1).max(20));
    let shown = prl(dir, "inspect tomorrow");
    assert!(shown.contains("30 carried over, 1 new (1 by their neighbours), 0 dropped"));
}
