//! HTTP target: request bodies sent to a server on the loopback address, which may reject them
//! (4xx) but may not fail (5xx) or close the connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prl_serve::{Options, Server};

use crate::saved::small_run;

const PATHS: [&str; 4] = [
    "/v1/recommend",
    "/v1/recommend/batch",
    "/v1/sessions/a/events",
    "/v1/sessions/a/recommend",
];

/// Body of the request that starts the stored session.
const BEGIN: &[u8] = b"{\"events\": [{\"item\": \"item-1\"}]}";

/// Sends a body to the path that the first byte selects.
pub fn http(input: &[u8]) -> Result<(), String> {
    static CONNECTION: Mutex<Option<BufReader<TcpStream>>> = Mutex::new(None);
    let Some((&which, body)) = input.split_first() else {
        return Ok(());
    };
    let mut shared = CONNECTION.lock().unwrap_or_else(PoisonError::into_inner);
    let mut connection = match shared.take() {
        Some(connection) => connection,
        None => connect(server()),
    };
    let (status, is_kept, answer) =
        post(&mut connection, PATHS[which as usize % PATHS.len()], body);
    assert!(status < 500, "status {status}");
    *shared = is_kept.then_some(connection);
    if status < 300 {
        Ok(())
    } else {
        Err(format!("{status} {answer}"))
    }
}

fn connect(addr: SocketAddr) -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect(addr).unwrap())
}

/// Address of the server that all requests go to.
fn server() -> SocketAddr {
    static ADDR: OnceLock<SocketAddr> = OnceLock::new();
    *ADDR.get_or_init(start_server)
}

/// Starts the server, waits until its model is loaded, and begins the stored session.
fn start_server() -> SocketAddr {
    let options = Options {
        addr: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..Options::new(small_run())
    };
    let server = Server::start(options).unwrap();
    let addr = server.addr();
    std::thread::spawn(move || server.wait());
    while post(&mut connect(addr), "/v1/recommend", b"{\"items\":[]}").0 == 503 {
        std::thread::sleep(Duration::from_millis(5));
    }
    // The stored session exists from the first fuzzed request on.
    let started = post(&mut connect(addr), PATHS[2], BEGIN);
    assert!(started.0 < 300, "{started:?}");
    addr
}

/// Sends a request; returns the status, whether the connection stays open, and the response body.
fn post(connection: &mut BufReader<TcpStream>, path: &str, body: &[u8]) -> (u16, bool, String) {
    connection
        .get_ref()
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: fuzz\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // One write, so that the system does not delay a second packet. A write error is ignored: a
    // server that rejects a body by its length need not read it.
    _ = connection
        .get_mut()
        .write_all(&[head.as_bytes(), body].concat());
    let (mut line, mut length, mut is_kept) = (String::new(), 0, true);
    connection.read_line(&mut line).unwrap();
    let Some(Ok(status)) = line.split(' ').nth(1).map(str::parse) else {
        panic!("answered {line:?}");
    };
    loop {
        line.clear();
        connection.read_line(&mut line).unwrap();
        let lower = line.trim().to_lowercase();
        if lower.is_empty() {
            break;
        }
        if let Some(n) = lower.strip_prefix("content-length:") {
            length = n.trim().parse().unwrap();
        }
        is_kept &= lower != "connection: close";
    }
    let mut answer = vec![0; length];
    connection.read_exact(&mut answer).unwrap();
    (
        status,
        is_kept && status != 413,
        String::from_utf8_lossy(&answer).into_owned(),
    )
}
