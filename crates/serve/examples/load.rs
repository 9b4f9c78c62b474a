//! Load at a constant arrival rate: `cargo run --release -p prl-serve --example load -- 127.0.0.1:8080 1000 60`.
//!
//! Open loop: the arrivals are a timetable made beforehand, and a latency counts from the planned arrival, so a server that
//! falls behind is not spared the requests that it made wait. Connections are kept; only loopback addresses are asked.

#[path = "../tests/common/http.rs"]
#[allow(
    dead_code,
    reason = "its connections are kept, and only the status counts"
)]
mod http;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::Connection;
use serde_json::{Value, json};

/// Connections, each with a thread: more than enough for what two cores can answer.
const CONNECTIONS: u32 = 32;
/// Sessions that are asked about in turn.
const SESSIONS: usize = 512;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [addr, rate, seconds] = args.as_slice() else {
        return Err("usage: load ADDR REQUESTS_PER_SECOND SECONDS".into());
    };
    let (addr, rate, seconds): (SocketAddr, f64, u64) =
        (addr.parse()?, rate.parse()?, seconds.parse()?);
    let is_bounded = rate > 0.0 && rate.is_finite() && (1..=600).contains(&seconds);
    if !(addr.ip().is_loopback() && is_bounded) {
        return Err("ask a loopback address, at a rate above 0, for 1 to 600 seconds".into());
    }
    let questions = questions(&mut Connection::open(addr)?)?;
    let (total, start) = (
        (rate * seconds as f64) as u32,
        Instant::now() + Duration::from_millis(100),
    );
    let outcomes: Vec<Option<Duration>> = std::thread::scope(|s| {
        let questions = &questions;
        let run = move |c: u32| {
            let mut connection = Connection::open(addr).ok();
            let turns = (c..total).step_by(CONNECTIONS as usize);
            let one = |i| {
                let planned = start + Duration::from_secs_f64(f64::from(i) / rate);
                std::thread::sleep(planned.saturating_duration_since(Instant::now()));
                ask(&mut connection, addr, &questions[i as usize % SESSIONS])
                    .then(|| planned.elapsed())
            };
            turns.map(one).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..CONNECTIONS).map(|c| s.spawn(move || run(c))).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_default())
            .collect()
    });
    report(outcomes, total, start.elapsed());
    Ok(())
}

/// Sessions of 1 to 10 items of the server's own catalogue.
fn questions(connection: &mut Connection) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let reply = connection.send("GET", "/v1/items?limit=100", &[], "")?;
    let found: Value = serde_json::from_str(&reply.body)?;
    let ids = found["items"]
        .as_array()
        .filter(|ids| !ids.is_empty())
        .ok_or("the server named no items")?;
    let session = |n: usize| {
        (0..1 + n % 10)
            .map(|t| &ids[(n * 31 + t * 17) % ids.len()])
            .collect::<Vec<_>>()
    };
    Ok((0..SESSIONS)
        .map(|n| json!({"items": session(n), "k": 20, "exclude_seen": true}).to_string())
        .collect())
}

/// Whether the question was answered; a connection that failed is opened anew for the next one.
fn ask(connection: &mut Option<Connection>, addr: SocketAddr, question: &str) -> bool {
    let mut open = match connection.take().map_or_else(|| Connection::open(addr), Ok) {
        Ok(open) => open,
        Err(_) => return false,
    };
    match open.send(
        "POST",
        "/v1/recommend",
        &[("content-type", "application/json")],
        question,
    ) {
        Ok(reply) => {
            *connection = Some(open);
            reply.status == 200
        }
        Err(_) => false,
    }
}

fn report(outcomes: Vec<Option<Duration>>, total: u32, took: Duration) {
    let mut latencies: Vec<Duration> = outcomes.into_iter().flatten().collect();
    latencies.sort_unstable();
    let at =
        |q: f64| latencies.get(((latencies.len() as f64 * q).ceil() as usize).saturating_sub(1));
    let ms = |q| at(q).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3);
    let (answered, rate) = (latencies.len(), latencies.len() as f64 / took.as_secs_f64());
    println!(
        "{}",
        json!({
            "requests": total, "failed": total as usize - answered, "answered_per_second": rate,
            "p50_ms": ms(0.5), "p90_ms": ms(0.9), "p99_ms": ms(0.99), "max_ms": ms(1.0),
        })
    );
}
