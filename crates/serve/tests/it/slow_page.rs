//! The demo page in headless Chromium: items match the API, and changes of rank are marked.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use crate::common::TestServer;
use prl_serve::ApiKey;
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
    dom(browser, &format!("http://{}/?{query}", server.addr))
}

/// The DOM at a URL, after its scripts have finished.
fn dom(browser: &PathBuf, url: &str) -> String {
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
        .arg(url)
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

#[test]
fn page_under_a_path_prefix_lists_items() {
    let Some(browser) = browser() else {
        eprintln!("SKIPPED: no chromium on the PATH");
        return;
    };
    let prefix = "/shop/prl".parse().unwrap();
    let server = TestServer::start(|o| o.web.path_prefix = Some(prefix));
    let plain = rendered(&browser, &server, "items=item-3,item-4&mu=2");
    let url = format!("http://{}/shop/prl?items=item-3,item-4&mu=2", server.addr);
    let under_prefix = dom(&browser, &url);
    assert_eq!(listed(&under_prefix), listed(&plain));
    assert_eq!(listed(&plain).len(), 20);
    let metrics = server.get("/metrics").body;
    assert!(
        metrics.contains(r#"route="/v1/recommend",code="200"} 2"#),
        "{metrics}"
    );
}

/// Serves a page that asks another server and shows what it gets.
fn other_origin(server: &TestServer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let page = format!(
        r#"<p id="out">-</p><script>
        fetch("http://{}/v1/recommend", {{
            method: "POST",
            headers: {{"content-type": "application/json", authorization: "Bearer k"}},
            body: JSON.stringify({{items: ["item-3"], k: 3}}),
        }})
            .then(async reply => [reply.status, reply.headers.get("x-request-id"), await reply.text()])
            .then(shown => {{ out.textContent = "answered " + shown.join(" "); }})
            .catch(error => {{ out.textContent = "refused " + error; }});
        </script>"#,
        server.addr
    );
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            _ = stream.read(&mut [0; 4096]);
            let length = page.len();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}");
            _ = write!(stream, "{head}\r\nconnection: close\r\n\r\n{page}");
        }
    });
    origin
}

#[test]
fn browser_lets_a_page_of_another_origin_ask_only_if_it_is_allowed() {
    let Some(browser) = browser() else {
        eprintln!("SKIPPED: no chromium on the PATH");
        return;
    };
    let shown = |allowed: &str| {
        let server = TestServer::start(|o| {
            o.key = ApiKey::new("k");
            o.web.cors = vec![allowed.parse().unwrap()];
        });
        dom(&browser, &other_origin(&server))
    };
    let page = shown("*");
    assert!(
        page.contains("answered 200 ") && page.contains("\"items\":[{"),
        "{page}"
    );
    assert!(
        !page.contains("answered 200  "),
        "the request id can be read: {page}"
    );
    let page = shown("https://shop.example");
    assert!(page.contains("refused TypeError"), "{page}");
}

#[test]
fn page_shows_title_price_and_picture_and_no_other_address() {
    let Some(browser) = browser() else {
        eprintln!("SKIPPED: no chromium on the PATH");
        return;
    };
    let mut rows = prl_items::TableBuilder::new(["title", "price", "image"]).unwrap();
    let mut ids = Vec::new();
    for item in 0..60 {
        ids.push(format!("item-{item}"));
        let image = ["/pictures/a.png", "javascript:alert(1)", "data:image/png,x"][item % 3];
        let title = format!("<b>Shoe</b> {item}");
        let values = [
            prl_items::RawValue::Text(&title),
            prl_items::RawValue::Number(9.5),
            prl_items::RawValue::Text(image),
        ];
        rows.push(&ids[item], values).unwrap();
    }
    let (table, _) = rows.finish(&ids).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let run = crate::common::run_with_items(dir.path(), &table);
    let server = TestServer::start(|options| options.run = run);
    let page = rendered(&browser, &server, "items=item-3,item-4&mu=2");
    let (_, list) = page.split_once(r#"<tbody id="list">"#).unwrap();
    let list = list.split("</tbody>").next().unwrap();
    assert!(list.contains("&lt;b&gt;Shoe&lt;/b&gt; 5</div>"), "{list}");
    assert!(list.contains("item-5 \u{b7} 9.5"), "{list}");
    assert!(list.contains(r#"<img src="/pictures/a.png""#), "{list}");
    assert!(
        !list.contains("javascript:") && !list.contains("data:"),
        "{list}"
    );
}
