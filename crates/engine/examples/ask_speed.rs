//! Latency of single in-process requests, raw ids in and out:
//! `cargo run --release -p prl-engine --example ask_speed -- RUN`.
//!
//! Requests are sent one after another through the queue; prints one JSON object.

use std::path::Path;
use std::time::Instant;

use prl_engine::{Engine, Event, Filter, LoadedModel, Options, RecommendRequest};

/// Requests before the measurement, and measured requests.
const WARM_UP: usize = 400;
const MEASURED: usize = 3_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let run = std::env::args().nth(1).ok_or("usage: ask_speed RUN")?;
    let engine = Engine::open(Path::new(&run), Options::default())?;
    let mut milliseconds = Vec::with_capacity(MEASURED);
    for n in 0..WARM_UP + MEASURED {
        let request = request(&engine.model(), n);
        let start = Instant::now();
        engine.recommend(&request)?;
        if n >= WARM_UP {
            milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    milliseconds.sort_unstable_by(f64::total_cmp);
    let quantile = |q: f64| milliseconds[((MEASURED as f64 * q) as usize).min(MEASURED - 1)];
    let inference_ms = engine.stats().inference.sum() * 1e3;
    println!(
        "{{\"items\":{},\"asked\":{MEASURED},\"p50_ms\":{:.4},\"p90_ms\":{:.4},\"p99_ms\":{:.4},\
         \"mean_inference_ms\":{:.4}}}",
        engine.model().items().len(),
        quantile(0.5),
        quantile(0.9),
        quantile(0.99),
        inference_ms / (WARM_UP + MEASURED) as f64
    );
    Ok(())
}

/// A request with a session of 1 to 10 items that depends on `n`.
fn request(model: &LoadedModel, n: usize) -> RecommendRequest {
    let mut session = Vec::new();
    for t in 0..1 + n % 10 {
        let item = (n * 31 + t * 17) % model.items().len();
        if let Some(id) = model.items().raw(item as u32) {
            session.push(Event::click(id.into()));
        }
    }
    RecommendRequest {
        session,
        prompt: model.default_prompt(),
        case: 0,
        forecast: false,
        k: 20,
        filter: Filter {
            exclude_seen: true,
            ..Filter::default()
        },
        properties: Vec::new(),
    }
}
