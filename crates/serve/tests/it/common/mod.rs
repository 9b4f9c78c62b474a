//! A server with a small trained run, and a minimal HTTP client.
#![allow(dead_code, reason = "the shared dataset helpers are not all used")]

#[path = "../../../../train/tests/common/mod.rs"]
mod ring;

pub mod http;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use prl_engine::Device;
use prl_runs::Method;
use prl_serve::{Error, Options, Server};
use prl_train::{Evaluation, Observer};
use serde_json::Value;

use crate::schema;
use http::{Reply, send};

struct Quiet;

impl Observer for Quiet {
    fn step(&mut self, _: u64, _: u64, _: f64) {}
    fn evaluated(&mut self, _: &Evaluation, _: bool) {}
}

/// Trains a small run in `dir` and returns its directory.
pub fn train(dir: &Path, method: Method) -> PathBuf {
    let mut config = ring::quick(ring::ring(dir, 200));
    (config.method, config.max_steps) = (method, Some(100));
    let out = dir.join("run");
    prl_train::Trainer::new(&config, &out)
        .device(&Device::Cpu)
        .stop_flag(&AtomicBool::new(false))
        .run(&mut Quiet)
        .unwrap();
    out
}

/// One PRL run for all tests of this process.
pub fn run() -> &'static Path {
    static RUN: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, run) = RUN.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let run = train(dir.path(), Method::Prl);
        (dir, run)
    });
    run
}

/// A copy of that run in `dir`, whose items have these properties.
pub fn run_with_items(dir: &Path, table: &prl_items::ItemTable) -> PathBuf {
    let copy = dir.join("run");
    copy_dir(run(), &copy);
    let file = copy.join("properties.safetensors");
    std::fs::write(file, table.to_bytes().unwrap()).unwrap();
    copy
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy_dir(&path, &copy),
            false => _ = std::fs::copy(&path, &copy).unwrap(),
        }
    }
}

/// A server that runs until it is dropped.
pub struct TestServer {
    pub addr: SocketAddr,
    /// URLs of all listeners.
    pub urls: Vec<String>,
    stop: Option<Box<dyn FnOnce() + Send>>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl TestServer {
    /// Starts on a free port, and waits until it is ready.
    pub fn start(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new(run());
        options.addr = SocketAddr::from(([127, 0, 0, 1], 0));
        change(&mut options);
        let server = Server::start(options).unwrap();
        let (addr, stop) = (server.addr(), server.stopper());
        let urls = server.urls().to_vec();
        let thread = std::thread::spawn(move || server.wait());
        let running = Self {
            addr,
            urls,
            stop: Some(Box::new(stop)),
            thread: Some(thread),
        };
        while running.get("/health/ready").status == 503 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        running
    }

    /// Sends a GET request; checks the response against the OpenAPI document.
    pub fn get(&self, path: &str) -> Reply {
        let reply = send(self.addr, "GET", path, &[], "");
        schema::check_exchange(
            schema::document(self.addr),
            "get",
            path,
            &Value::Null,
            &reply,
        );
        reply
    }

    /// Sends a POST request; checks body and response against the OpenAPI document.
    pub fn post(&self, path: &str, body: &Value) -> Reply {
        let reply = send(self.addr, "POST", path, &[JSON], &body.to_string());
        schema::check_exchange(schema::document(self.addr), "post", path, body, &reply);
        reply
    }

    /// Sends a PATCH request; checks body and response against the OpenAPI document.
    pub fn patch(&self, path: &str, body: &Value) -> Reply {
        let reply = send(self.addr, "PATCH", path, &[JSON], &body.to_string());
        schema::check_exchange(schema::document(self.addr), "patch", path, body, &reply);
        reply
    }

    /// Stops it and returns its result.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        if let Some(stop) = self.stop.take() {
            stop();
        }
        self.thread
            .take()
            .map_or(Ok(()), |thread| thread.join().unwrap())
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let done = self.end();
        assert!(std::thread::panicking() || done.is_ok());
    }
}

/// The header of a JSON body.
pub const JSON: (&str, &str) = ("content-type", "application/json");
