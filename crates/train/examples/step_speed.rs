//! Milliseconds of a training step and evaluated events a second, at the two catalogue sizes of the paper.
//!
//! `cargo run --release -p prl-train --example step_speed -- --threads 2`; `--json` prints one object a line.

use std::time::{Duration, Instant};

use candle_core::{DType, Device};
use clap::Parser;
use prl_core::{BlockConfig, Prompts};
use prl_encoders::EncoderKind;
use prl_kernels::adam::Adam;
use prl_sessions::Windows;
use prl_train::{Examples, Model, ModelConfig, StepTimes};
use rand::Rng;

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long, default_value_t = 30)]
    steps: u64,
    #[arg(long)]
    json: bool,
}

const BATCH: usize = 256;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    rayon::ThreadPoolBuilder::new().num_threads(args.threads).build_global()?;
    for items in [26_702, 70_852] {
        for &encoder in EncoderKind::ALL {
            for (method, block) in [("normal", None), ("prl", Some(BlockConfig::default()))] {
                let line = measure(&args, encoder, method, block, items)?;
                if args.json {
                    println!("{line}");
                } else {
                    println!(
                        "{} {method:<6} {items:>6} items: {:.1} ms a step (encoder {:.1}, head {:.1}, backward {:.1}, adam {:.1}), {:.0} events/s evaluated",
                        encoder.name(),
                        line["step_ms_median"].as_f64().unwrap_or(f64::NAN),
                        line["encoder_ms"],
                        line["head_ms"],
                        line["backward_ms"],
                        line["adam_ms"],
                        line["eval_events_per_s"]
                    );
                }
            }
        }
    }
    Ok(())
}

fn measure(
    args: &Args,
    encoder: EncoderKind,
    method: &str,
    block: Option<BlockConfig>,
    items: usize,
) -> anyhow::Result<serde_json::Value> {
    let shape = ModelConfig { encoder, ..ModelConfig::default() };
    let model = Model::new(&shape, block, items, 0, DType::F32, &Device::Cpu)?;
    let mut times = StepTimes::default();
    let mut steps = Vec::new();
    for t in 1..=args.steps + 3 {
        let examples = batch(items, t);
        let start = Instant::now();
        let mut step_times = StepTimes::default();
        model.step(Adam::new(0.005), t, &examples, 0, &mut step_times)?;
        // The first steps warm the caches and the allocator up.
        if t > 3 {
            steps.push(start.elapsed());
            times = add(times, step_times);
        }
    }
    let evaluated = {
        let Examples { windows, prompts, targets, .. } = batch(items, 0);
        let mut laps: Vec<Duration> = (0..args.steps)
            .map(|_| {
                let start = Instant::now();
                model.rank(&windows, &prompts, Some(&targets), 20).map(|_| start.elapsed())
            })
            .collect::<Result<_, _>>()?;
        laps.sort_unstable();
        BATCH as f64 / laps[laps.len() / 2].as_secs_f64()
    };
    steps.sort_unstable();
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let mean = |d: Duration| ms(d) / steps.len() as f64;
    Ok(serde_json::json!({
        "encoder": encoder.name(), "method": method, "items": items, "batch": BATCH, "threads": args.threads,
        "step_ms_median": ms(steps[steps.len() / 2]), "step_ms_min": ms(steps[0]),
        "encoder_ms": mean(times.encoder), "head_ms": mean(times.head), "backward_ms": mean(times.backward), "adam_ms": mean(times.adam),
        "eval_events_per_s": evaluated, "peak_rss_mb": peak_rss_mb(),
    }))
}

fn add(a: StepTimes, b: StepTimes) -> StepTimes {
    StepTimes {
        encoder: a.encoder + b.encoder,
        head: a.head + b.head,
        backward: a.backward + b.backward,
        adam: a.adam + b.adam,
    }
}

/// Full windows of Zipf-like items: the heaviest batch there is.
fn batch(items: usize, t: u64) -> Examples {
    let mut rng = prl_seed::stream(1, "bench", t);
    let mut item = || ((items as f64).powf(rng.random::<f64>()) - 1.0) as u32;
    let mut windows = Windows::new(10);
    for _ in 0..BATCH {
        let history: Vec<u32> = (0..10).map(|_| item()).collect();
        windows.push(&history, items as u32);
    }
    let targets = (0..BATCH).map(|_| item()).collect();
    let prompts = Prompts { returns: vec![1.0; BATCH], steps: windows.steps.clone() };
    Examples { windows, prompts, targets, scale: vec![1.0 / BATCH as f64; BATCH] }
}

/// Largest resident memory of this process so far.
fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1024.0)
}
