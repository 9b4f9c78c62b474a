//! The demo page in headless Chromium: items match the API, and changes of rank are marked.

use std::path::PathBuf;
use std::process::Command;

use crate::common::TestServer;
use serde_json::json;

fn browser() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&folders)
        .flat_map(|f| names.map(|name| f.join(name)))
        .find(|path| path.is_file())
}

/// The DOM of the page with a query string, after its scripts have finished.
fn rendered(browser: &PathBuf, server: &TestServer, query: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg("--virtual-time-budget=10000")
        .arg(format!("http://{}/?{query}", server.addr))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Item ids in the table of recommendations.
fn listed(page: &str) -> Vec<&str> {
    page.split(r#"<td class="item">"#)
        .skip(1)
        .filter_map(|rest| rest.split('<').next())
        .collect()
}

#[test]
fn page_lists_items_and_marks_rank_changes() {
    let Some(browser) = browser() else {
        eprintln!("SKIPPED: no chromium on the PATH");
        return;
    };
    let server = TestServer::start(|_| {});
    let answer = |mu: f64| {
        let reply = server
            .post(
                "/v1/recommend",
                &json!({"items": ["item-3", "item-4"], "k": 20, "mu": mu}),
            )
            .json();
        let ids = reply["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["item"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    let (low, high) = (answer(0.0), answer(8.0));
    assert_ne!(
        low, high,
        "mu must change the list for the test to be meaningful"
    );

    let page = rendered(&browser, &server, "items=item-3,item-4&mu=0");
    assert_eq!(listed(&page), low);
    assert!(
        page.contains("remove item-3") && page.contains("+ item-0") && page.contains("60 items"),
        "{page}"
    );

    let page = rendered(&browser, &server, "items=item-3,item-4&from=0&mu=8");
    assert_eq!(listed(&page), high);
    let count = |kind: &str| page.matches(&format!(r#"<td class="{kind}">"#)).count();
    let place = |id: &String| low.iter().position(|other| other == id);
    let expected = |test: &dyn Fn(usize, Option<usize>) -> bool| {
        high.iter()
            .enumerate()
            .filter(|(now, id)| test(*now, place(id)))
            .count()
    };
    assert_eq!(count("in"), expected(&|_, before| before.is_none()));
    assert_eq!(
        count("up"),
        expected(&|now, before| before.is_some_and(|before| before > now))
    );
    assert_eq!(
        count("down"),
        expected(&|now, before| before.is_some_and(|before| before < now))
    );
    for gone in low.iter().filter(|id| !high.contains(id)) {
        assert!(page.split("out: ").nth(1).unwrap().contains(gone.as_str()));
    }
}
