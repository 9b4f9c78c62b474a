//! Time of one recommendation in process, raw ids in and out: `cargo run --release -p prl-engine --example ask_speed -- RUN`.
//!
//! Requests are asked one after another, each through the queue and its thread; prints one JSON object.

use std::path::Path;
use std::time::Instant;

use prl_dataset::Kind;
use prl_engine::{Engine, Event, Filter, Options, RecommendRequest};

/// Requests before the clock starts, and questions on it.
const ASKED: (usize, usize) = (400, 3_000);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let run = std::env::args().nth(1).ok_or("usage: ask_speed RUN")?;
    let engine = Engine::open(Path::new(&run), Options::default())?;
    let (live, items) = (engine.live(), engine.live().items().len());
    let session = |n: usize| (0..1 + n % 10).map(move |t| ((n * 31 + t * 17) % items) as u32);
    let event = |item: u32| {
        Some(Event {
            item: live.items().raw(item)?.into(),
            kind: Kind::Click,
        })
    };
    let question = |n: usize| RecommendRequest {
        session: session(n).filter_map(event).collect(),
        ask: live.ask(),
        case: 0,
        k: 20,
        filter: Filter {
            exclude_seen: true,
            ..Filter::default()
        },
    };
    let mut milliseconds = Vec::with_capacity(ASKED.1);
    for n in 0..ASKED.0 + ASKED.1 {
        let question = question(n);
        let start = Instant::now();
        engine.recommend(&question)?;
        if n >= ASKED.0 {
            milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    milliseconds.sort_unstable_by(f64::total_cmp);
    let at = |q: f64| milliseconds[((ASKED.1 as f64 * q) as usize).min(ASKED.1 - 1)];
    let (inferred, n) = (engine.stats().inference.sum(), ASKED.0 + ASKED.1);
    println!(
        "{{\"items\":{items},\"asked\":{},\"p50_ms\":{:.4},\"p90_ms\":{:.4},\"p99_ms\":{:.4},\"mean_inference_ms\":{:.4}}}",
        ASKED.1,
        at(0.5),
        at(0.9),
        at(0.99),
        inferred * 1e3 / n as f64
    );
    Ok(())
}
