//! Latency of stored sessions: in memory, on disk, in Redis.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use prl_bench::jsonl::{cell, number, text};
use prl_experiments::Workspace;
use prl_report::markdown_table;
use serde_json::Value;

use super::server::Server;
use super::{Args, Case, Programs, Recorder, json_output, model};

/// Kind of the lines.
const KIND: &str = "stored";

/// Whether a line is of this measurement.
pub(super) fn is_stored(line: &Value) -> bool {
    line["kind"] == KIND
}

/// One line for each store: the load of `--hold` requests a second for `--hold-seconds`.
pub(super) fn measure(
    workspace: &Workspace,
    args: &Args,
    case: &Case<'_>,
    programs: &Programs,
) -> Result<Vec<Value>> {
    let run = model::train(workspace, case, &programs.prl)?;
    let mut recorder = Recorder::new(workspace, case);
    for store in &args.stores {
        let dir = tempfile::tempdir_in(workspace.root.join("target"))?;
        let redis;
        let mut flags = vec!["--sessions".to_owned(), (2 * args.stored).to_string()];
        match store.as_str() {
            "memory" => {}
            "disk" => {
                let state = dir.path().join("state").display().to_string();
                flags.extend(["--state".to_owned(), state]);
            }
            "redis" => {
                redis = Redis::start(dir.path())?;
                let url = format!("redis://127.0.0.1:{}", redis.port);
                flags.extend(["--session-store".to_owned(), url]);
            }
            other => bail!("--stores: {other}; expected memory, disk or redis"),
        }
        let server = Server::start(workspace, &programs.prl, &run, &flags, case.first_pass)?;
        let load = |rate: u32, seconds: u32| {
            let mut load = Command::new(&programs.load);
            load.args([server.address(), &rate.to_string(), &seconds.to_string()]);
            json_output(load.arg(args.stored.to_string()))
        };
        // Begins all sessions, and warms up.
        load(args.hold, 3)?;
        let before = server.memory();
        let mut line = load(args.hold, args.hold_seconds)?;
        line["store"] = store.as_str().into();
        line["sessions"] = args.stored.into();
        line["rate"] = args.hold.into();
        line["seconds"] = args.hold_seconds.into();
        line["memory_before"] = before;
        line["memory_after"] = server.memory();
        recorder.add(KIND, line);
        server.stop()?;
    }
    Ok(recorder.lines)
}

/// A Redis server that fsyncs each second, its default for an append-only file; killed when
/// dropped.
struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    fn start(dir: &std::path::Path) -> Result<Self> {
        let free = TcpListener::bind("127.0.0.1:0")?;
        let port = free.local_addr()?.port();
        drop(free);
        let mut redis = Command::new("redis-server");
        redis.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        redis.args(["--save", "", "--appendonly", "yes", "--dir"]);
        let process = redis.arg(dir).stdout(Stdio::null()).spawn();
        let process = process.context("failed to run redis-server; install Redis")?;
        let redis = Self { process, port };
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(redis);
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("redis-server is not ready after 10 s")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Errors are ignored: a process that has ended cannot be killed again.
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// The part of the page about stored sessions; empty without measurements.
pub(super) fn section(lines: &[Value]) -> String {
    let mut rows = Vec::new();
    for line in lines {
        if !is_stored(line) {
            continue;
        }
        let mut row = Vec::new();
        for key in [
            "encoder", "items", "store", "sessions", "rate", "seconds", "failed",
        ] {
            row.push(text(&line[key]));
        }
        for key in ["p50_ms", "p90_ms", "p99_ms", "max_ms"] {
            row.push(cell(number(&line[key]), 2));
        }
        for key in ["memory_before", "memory_after"] {
            row.push(cell(number(&line[key]["now_mb"]), 0));
        }
        rows.push(row);
    }
    if rows.is_empty() {
        return String::new();
    }
    let header = [
        "encoder",
        "items",
        "store",
        "sessions",
        "requests/s",
        "seconds",
        "failed",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "max ms",
        "MB before",
        "MB after",
    ];
    format!(
        "Stored sessions: every other request appends an event to one of them, the others ask for \
         recommendations. On disk an event is answered after an fsync; Redis fsyncs once a \
         second.\n\n{}",
        markdown_table(&header, 1, &rows)
    )
}

#[cfg(test)]
mod tests {
    use super::section;
    use serde_json::json;

    #[test]
    fn section_has_a_row_for_each_store() {
        assert_eq!(section(&[json!({"kind": "hold"})]), "");
        let line = json!({
            "kind": "stored", "encoder": "gru", "items": 5, "store": "disk", "sessions": 7,
            "rate": 10, "seconds": 2, "failed": 0, "p50_ms": 0.5, "p90_ms": 1.0, "p99_ms": 2.0,
            "max_ms": 3.0, "memory_before": {"now_mb": 80.2}, "memory_after": {"now_mb": 81.0},
        });
        let row = "| gru | 5 | disk | 7 | 10 | 2 | 0 | 0.50 | 1.00 | 2.00 | 3.00 | 80 | 81 |";
        assert!(section(&[line]).contains(row));
    }
}
