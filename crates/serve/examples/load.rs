//! Load test at a constant arrival rate:
//! `cargo run --release -p prl-serve --example load -- 127.0.0.1:8080 1000 60`.
//!
//! Open loop: arrivals are scheduled in advance and latencies are measured from the scheduled
//! arrival, so the delays of a server that falls behind are included. Connections are persistent;
//! only loopback addresses are allowed.
//!
//! A fourth argument is a number of sessions that the server stores: each is begun before the
//! measurement, then every other request appends an event to one of them and the others ask for
//! recommendations.

#[path = "../tests/it/common/http.rs"]
#[allow(
    dead_code,
    reason = "its connections are kept, and only the status counts"
)]
mod http;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::Connection;
use serde_json::{Value, json};

/// Connections, each with a thread: more than two cores can saturate.
const CONNECTIONS: u32 = 32;
/// Number of distinct sessions, sent in turn.
const SESSIONS: usize = 512;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [addr, rate, seconds, stored @ ..] = args.as_slice() else {
        return Err("usage: load ADDR REQUESTS_PER_SECOND SECONDS [STORED_SESSIONS]".into());
    };
    let (addr, rate, seconds): (SocketAddr, f64, u64) =
        (addr.parse()?, rate.parse()?, seconds.parse()?);
    let stored = stored.first().map(|stored| stored.parse()).transpose()?;
    let is_bounded = rate > 0.0 && rate.is_finite() && (1..=600).contains(&seconds);
    if !(addr.ip().is_loopback() && is_bounded) {
        return Err(
            "invalid arguments: use a loopback address, a rate above 0, and 1 to 600 seconds"
                .into(),
        );
    }
    let ids = item_ids(&mut Connection::open(addr)?)?;
    let requests = match stored {
        Some(sessions) => Requests::Stored { sessions, ids },
        None => Requests::Stateless(questions(&ids)),
    };
    if let Some(sessions) = stored {
        // As fast as possible: a rate that no server reaches.
        let begin = Schedule {
            addr,
            requests: &Requests::Begin {
                sessions,
                requests: &requests,
            },
            start: Instant::now(),
            rate: 1e9,
            total: sessions,
        };
        let failed = begin
            .run_all()
            .iter()
            .filter(|outcome| outcome.is_none())
            .count();
        if failed > 0 {
            return Err(format!("{failed} of {sessions} sessions could not be begun").into());
        }
    }
    let schedule = Schedule {
        addr,
        requests: &requests,
        start: Instant::now() + Duration::from_millis(100),
        rate,
        total: (rate * seconds as f64) as u32,
    };
    let outcomes = schedule.run_all();
    report(outcomes, schedule.total, schedule.start.elapsed());
    Ok(())
}

/// What is sent, by the number of the request.
enum Requests<'a> {
    /// Requests that carry their session.
    Stateless(Vec<String>),
    /// An event for each stored session.
    Begin {
        sessions: u32,
        requests: &'a Requests<'a>,
    },
    /// Events of stored sessions, and requests about them, in turn.
    Stored { sessions: u32, ids: Vec<Value> },
}

impl Requests<'_> {
    /// Path and body of request `i`.
    fn get(&self, i: u32) -> (String, String) {
        match self {
            Self::Stateless(questions) => {
                let question = &questions[i as usize % SESSIONS];
                ("/v1/recommend".to_owned(), question.clone())
            }
            // The even requests of stored sessions append events.
            Self::Begin { sessions, requests } => requests.get(2 * (i % sessions)),
            Self::Stored { sessions, ids } => {
                // A prime steps through all sessions in an order without locality.
                let session = u64::from(i / 2) * 1_000_003 % u64::from(*sessions);
                if i % 2 == 0 {
                    let item = &ids[i as usize % ids.len()];
                    let body = json!({ "events": [{ "item": item }] });
                    (format!("/v1/sessions/{session}/events"), body.to_string())
                } else {
                    let body = json!({ "k": 20, "exclude_seen": true });
                    (
                        format!("/v1/sessions/{session}/recommend"),
                        body.to_string(),
                    )
                }
            }
        }
    }
}

/// Scheduled arrivals of all requests.
#[derive(Clone, Copy)]
struct Schedule<'a> {
    addr: SocketAddr,
    requests: &'a Requests<'a>,
    start: Instant,
    /// Requests per second.
    rate: f64,
    /// Number of requests.
    total: u32,
}

impl Schedule<'_> {
    /// Sends all requests; returns the latencies, `None` for a failed request.
    fn run_all(self) -> Vec<Option<Duration>> {
        let mut outcomes = Vec::new();
        std::thread::scope(|s| {
            let mut threads = Vec::new();
            for connection in 0..CONNECTIONS {
                threads.push(s.spawn(move || self.run(connection)));
            }
            for thread in threads {
                outcomes.extend(thread.join().unwrap_or_default());
            }
        });
        outcomes
    }

    /// Sends every `CONNECTIONS`-th request on one connection; returns the latencies, `None` for a
    /// failed request.
    fn run(self, connection: u32) -> Vec<Option<Duration>> {
        let mut open = Connection::open(self.addr).ok();
        let mut latencies = Vec::new();
        for i in (connection..self.total).step_by(CONNECTIONS as usize) {
            let planned = self.start + Duration::from_secs_f64(f64::from(i) / self.rate);
            std::thread::sleep(planned.saturating_duration_since(Instant::now()));
            let (path, body) = self.requests.get(i);
            let is_answered = ask(&mut open, self.addr, &path, &body);
            latencies.push(is_answered.then(|| planned.elapsed()));
        }
        latencies
    }
}

/// Ids of items of the server's catalogue.
fn item_ids(connection: &mut Connection) -> Result<Vec<Value>, Box<dyn std::error::Error>> {
    let reply = connection.send("GET", "/v1/items?limit=100", &[], "")?;
    let found: Value = serde_json::from_str(&reply.body)?;
    let ids = found["items"]
        .as_array()
        .filter(|ids| !ids.is_empty())
        .ok_or("the server returned no items")?;
    Ok(ids.clone())
}

/// Request bodies with sessions of 1 to 10 items.
fn questions(ids: &[Value]) -> Vec<String> {
    let session = |n: usize| {
        (0..1 + n % 10)
            .map(|t| &ids[(n * 31 + t * 17) % ids.len()])
            .collect::<Vec<_>>()
    };
    let mut questions = Vec::with_capacity(SESSIONS);
    for n in 0..SESSIONS {
        // Named, so that a server with an experiment assigns and logs them.
        let name = format!("session-{n}");
        let question = json!({
            "session": name, "items": session(n), "k": 20, "exclude_seen": true,
        });
        questions.push(question.to_string());
    }
    questions
}

/// Sends one request; returns whether its status was 200. A failed connection is reopened by the
/// next call.
fn ask(connection: &mut Option<Connection>, addr: SocketAddr, path: &str, body: &str) -> bool {
    let mut open = match connection.take().map_or_else(|| Connection::open(addr), Ok) {
        Ok(open) => open,
        Err(_) => return false,
    };
    match open.send("POST", path, &[("content-type", "application/json")], body) {
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
