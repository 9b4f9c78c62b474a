//! Milliseconds per training step and evaluated events per second, at the two catalogue sizes of
//! the paper.
//!
//! `cargo run --release -p prl-train --example step_speed -- --threads 2`; `--json` prints one
//! object per line. Its GFLOP/s count the required operations only: three products of batch x width
//! x items for a step of the output layer, one product for ranking. `product_gflops` is the rate of
//! a plain candle matrix product in this process, on RAYON_NUM_THREADS threads, `bandwidth_gb_s`
//! that of a triad over 192 MiB. `step_mj` is the energy of the processor package in millijoules a
//! step, where the system shows its counter.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use clap::Parser;
use prl_baselines::Critic;
use prl_core::Prompts;
use prl_dataset::{NextStates, Windows};
use prl_encoders::EncoderKind;
use prl_kernels::ops::adam::Adam;
use prl_model::{
    HeadDtype, MainNetwork, Model, ModelConfig, ModelSpec, NegativeOptions, NegativeSampler,
    NegativeSampling, OwnItems, StepTimes, TrainingBatch, Transitions,
};
use prl_runs::{Config, Method, Recipe};
use rand::Rng;
use serde_json::json;

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long, default_value_t = 30)]
    steps: u64,
    /// Only these encoders
    #[arg(long, value_delimiter = ',')]
    encoders: Vec<String>,
    /// Only these methods
    #[arg(long, value_delimiter = ',', default_value = "normal,prl,sqn,sac")]
    methods: Vec<String>,
    /// Sizes of the catalogue
    #[arg(long, value_delimiter = ',', default_value = "26702,70852")]
    items: Vec<usize>,
    /// Items of a window
    #[arg(long, default_value_t = 10)]
    window: usize,
    /// Width of the hidden vectors
    #[arg(long, default_value_t = 64)]
    dim: usize,
    /// Examples of a step
    #[arg(long, default_value_t = 256)]
    batch: usize,
    /// Output layer and encoder's residual of the recipe: paper, or modern (own items learned)
    #[arg(long, default_value = "paper")]
    recipe: String,
    /// Sampled negatives of a step under the recipe modern, 0 for the full softmax
    #[arg(long, default_value_t = 0)]
    negatives: usize,
    /// Their distribution: uniform, popularity or in-batch
    #[arg(long, default_value = "uniform")]
    negative_sampling: String,
    /// Round what the output layer multiplies to bfloat16: --head-dtype bf16
    #[arg(long)]
    bf16_head: bool,
    /// Type to which what the output layer multiplies is rounded: fp32, bf16, or on a GPU tf32
    #[arg(long, default_value = "fp32", value_parser = head_dtype)]
    head_dtype: HeadDtype,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    #[arg(long)]
    json: bool,
}

/// A type by its name.
fn head_dtype(name: &str) -> Result<HeadDtype, serde_json::Error> {
    serde_json::from_value(json!(name))
}

fn main() -> anyhow::Result<()> {
    prl_kernels::runtime::prepare();
    let args = Args::parse();
    rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads)
        .build_global()?;
    let device = prl_model::device(&args.device)?;
    let mut methods = Vec::new();
    for method in Method::ALL {
        if method.is_neural() && args.methods.contains(&method.name().to_owned()) {
            methods.push(method);
        }
    }
    for &items in &args.items {
        for &encoder in EncoderKind::ALL {
            if !args.encoders.is_empty() && !args.encoders.contains(&encoder.name().to_owned()) {
                continue;
            }
            for &method in &methods {
                let line = measure(&args, encoder, method, items, &device)?;
                println!(
                    "{}",
                    if args.json {
                        line.to_string()
                    } else {
                        text(&line)
                    }
                );
            }
        }
    }
    Ok(())
}

fn text(line: &serde_json::Value) -> String {
    let number = |key: &str| line[key].as_f64().map_or("-".into(), |x| format!("{x:.1}"));
    let [step, least, encoder, head, backward, adam, events] = [
        "step_ms_median",
        "step_ms_min",
        "encoder_ms",
        "head_ms",
        "backward_ms",
        "adam_ms",
        "eval_events_per_s",
    ]
    .map(number);
    format!(
        "{:<9} {:<6} {:>6} items: {step} ms a step, least {least} (encoder {encoder}, head {head}, backward {backward}, adam \
         {adam}), {events} events/s evaluated",
        line["encoder"].as_str().unwrap_or_default(),
        line["method"].as_str().unwrap_or_default(),
        line["items"]
    )
}

fn measure(
    args: &Args,
    encoder: EncoderKind,
    method: Method,
    items: usize,
    device: &Device,
) -> anyhow::Result<serde_json::Value> {
    let shape = ModelConfig {
        encoder,
        window: args.window,
        dim: args.dim,
        ..ModelConfig::default()
    };
    let block = Config {
        method,
        ..Config::default()
    }
    .block();
    let plan = ModelSpec {
        dim: shape.dim,
        items,
        block,
        is_double: method.is_double(),
        seed: 0,
        dtype: DType::F32,
        options: match args.recipe.as_str() {
            "modern" => ModelConfig {
                encoder,
                window: args.window,
                own_items: OwnItems::Learned,
                ..Config::of_recipe(Recipe::Modern).model
            }
            .network_options(),
            _ => prl_model::NetworkOptions::default(),
        },
    };
    let dtype = if args.bf16_head {
        HeadDtype::Bf16
    } else {
        args.head_dtype
    };
    let mut model = Model::new(&shape, &plan, device)?.with_head_dtype(dtype)?;
    if args.negatives > 0 {
        model = model.with_negatives(sampler(args, items)?)?;
    }
    // All batches are made first: a GPU runs asynchronously, so making a batch between two steps
    // would overlap with the GPU's work and hide its time.
    let mut batches = Vec::new();
    for t in 1..=args.steps + 3 {
        batches.push(batch(args, items, t, method));
    }
    let series = |is_exact: bool| -> anyhow::Result<(Vec<Duration>, StepTimes)> {
        let (mut steps, mut times) = (Vec::new(), StepTimes::default());
        for (t, examples) in (1..).zip(&batches) {
            let start = Instant::now();
            let mut step_times = StepTimes {
                is_exact,
                ..StepTimes::default()
            };
            let turn = MainNetwork {
                main: if method.is_double() {
                    t as usize % 2
                } else {
                    0
                },
                ..MainNetwork::single(t)
            };
            model.step(Adam::new(0.005), turn, examples, &mut step_times)?;
            // The first steps warm up the caches and the allocator.
            if t > 3 {
                steps.push(start.elapsed());
                times = add(times, step_times);
            }
        }
        Ok((steps, times))
    };
    let before = package_joules();
    let (mut steps, mut times) = series(false)?;
    let joules = package_joules()
        .zip(before)
        .map(|(after, before)| after - before);
    if !device.is_cpu() {
        // The parts of a GPU step are timed with a synchronisation after each, which adds time.
        times = series(true)?.1;
    }
    steps.sort_unstable();
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let mean = |d: Duration| ms(d) / steps.len() as f64;
    let peak_device_mb = peak_device_mb(device)?;
    let laps = ranking_laps(&model, items, args)?;
    let rate = |lap: Duration| args.batch as f64 / lap.as_secs_f64();
    let ranked = rate(laps[laps.len() / 2]);
    // Before the measurements of the machine, whose arrays are larger than a model.
    let peak_rss_mb = peak_rss_mb();
    let output = model.parameters().find(|(name, _)| name == "head.weight");
    let product = output.map_or(0.0, |(_, weight)| 2.0 * weight.elem_count() as f64 / 1e9);
    Ok(json!({
        "encoder": encoder.name(), "method": method.name(), "items": items, "batch": args.batch, "threads": args.threads,
        "device": prl_model::describe_device(device), "bf16_head": dtype == HeadDtype::Bf16, "head_dtype": dtype,
        "recipe": args.recipe, "negatives": args.negatives, "negative_sampling": args.negative_sampling,
        "step_ms_median": ms(steps[steps.len() / 2]), "step_ms_min": ms(steps[0]),
        "step_ms_q1": ms(steps[steps.len() / 4]), "step_ms_q3": ms(steps[3 * steps.len() / 4]),
        "step_mj": joules.map(|joules| 1e3 * joules / batches.len() as f64),
        "eval_events_per_s_q1": rate(laps[3 * laps.len() / 4]),
        "eval_events_per_s_q3": rate(laps[laps.len() / 4]),
        "bandwidth_gb_s": if device.is_cpu() { Some(triad_gb_per_s()) } else { None },
        "encoder_ms": mean(times.encoder), "head_ms": mean(times.head), "backward_ms": mean(times.backward),
        "adam_ms": mean(times.adam), "eval_events_per_s": ranked,
        "head_gflops": 3.0 * product * args.batch as f64 / times.head.as_secs_f64() * steps.len() as f64,
        "eval_gflops": product * ranked, "product_gflops": product_gflops(device)?,
        "bf16_gflops": matrix_engine_gflops(device), "without_matrix_engine": without_matrix_engine(device),
        "cuda_graphs": graphs(&model), "window": args.window, "dim": args.dim, "peak_rss_mb": peak_rss_mb, "peak_device_mb": peak_device_mb,
    }))
}

/// Times of ranking a batch with the top 20 items kept, ascending, one for each step.
fn ranking_laps(model: &Model, items: usize, args: &Args) -> anyhow::Result<Vec<Duration>> {
    let TrainingBatch {
        windows,
        prompts,
        targets,
        ..
    } = batch(args, items, 0, Method::Normal);
    let mut laps = Vec::new();
    for _ in 0..args.steps {
        let start = Instant::now();
        model.rank(&windows, &prompts, Some(&targets), 20)?;
        laps.push(start.elapsed());
    }
    laps.sort_unstable();
    Ok(laps)
}

/// Steps by CUDA graphs: launches, captures and changed nodes; null without them.
#[cfg(feature = "cuda")]
fn graphs(model: &Model) -> serde_json::Value {
    match model.graph_counts() {
        Some(counts) => json!({
            "launched": counts.launched, "captured": counts.captured,
            "changed_nodes": counts.changed_nodes, "eager": counts.eager,
        }),
        None => serde_json::Value::Null,
    }
}

#[cfg(not(feature = "cuda"))]
fn graphs(_: &Model) -> serde_json::Value {
    serde_json::Value::Null
}

fn add(a: StepTimes, b: StepTimes) -> StepTimes {
    StepTimes {
        is_exact: a.is_exact,
        encoder: a.encoder + b.encoder,
        head: a.head + b.head,
        backward: a.backward + b.backward,
        adam: a.adam + b.adam,
    }
}

/// GFLOP/s of a plain square fp32 product, the best of 20: the reference rate of this machine.
fn product_gflops(device: &Device) -> anyhow::Result<f64> {
    const SIDE: usize = 1536;
    let a = Tensor::rand(-1f32, 1f32, (SIDE, SIDE), device)?;
    let b = Tensor::rand(-1f32, 1f32, (SIDE, SIDE), device)?;
    let mut least = Duration::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        a.matmul(&b)?;
        device.synchronize()?;
        least = least.min(start.elapsed());
    }
    Ok(2.0 * (SIDE as f64).powi(3) / 1e9 / least.as_secs_f64())
}

/// GFLOP/s of bfloat16 products on the CPU's matrix engine; `None` without one.
fn matrix_engine_gflops(device: &Device) -> Option<f64> {
    if !device.is_cpu() {
        return None;
    }
    prl_kernels::simd::bf16::measured_peak().map(|rate| rate / 1e9)
}

/// Whether the CPU has a matrix engine that `PRL_AMX=0` leaves out; `None` otherwise.
fn without_matrix_engine(device: &Device) -> Option<bool> {
    use prl_kernels::simd::bf16::Bf16Level;
    let is_left_out = Bf16Level::Amx.is_supported() && Bf16Level::native() != Bf16Level::Amx;
    (device.is_cpu() && is_left_out).then_some(true)
}

/// Memory traffic in GB/s of `a = b + 3 c` over three arrays of 64 MiB, the best of 10: two reads
/// and a write, as the triad of STREAM counts them.
fn triad_gb_per_s() -> f64 {
    use rayon::prelude::*;
    const N: usize = 16 << 20;
    let (mut a, b, c) = (vec![0f32; N], vec![1f32; N], vec![2f32; N]);
    let mut least = Duration::MAX;
    for _ in 0..10 {
        let start = Instant::now();
        a.par_chunks_mut(1 << 16)
            .zip(b.par_chunks(1 << 16).zip(c.par_chunks(1 << 16)))
            .for_each(|(a, (b, c))| {
                for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
                    *a = b + 3.0 * c;
                }
            });
        least = least.min(start.elapsed());
        std::hint::black_box(&a);
    }
    3.0 * (N * size_of::<f32>()) as f64 / 1e9 / least.as_secs_f64()
}

/// Energy counter of all processor packages in joules; `None` where the system does not show it.
fn package_joules() -> Option<f64> {
    let mut joules = None;
    for entry in std::fs::read_dir("/sys/class/powercap").ok()?.flatten() {
        // Packages are `intel-rapl:N`, on AMD too; their parts have a second colon.
        let name = entry.file_name();
        let is_package = name.to_str()?.matches(':').count() == 1;
        let counter = std::fs::read_to_string(entry.path().join("energy_uj"));
        if let (true, Ok(counter)) = (is_package, counter) {
            *joules.get_or_insert(0.0) += counter.trim().parse::<f64>().ok()? / 1e6;
        }
    }
    joules
}

/// Peak GPU memory of this process so far, in MiB; `None` without a GPU.
fn peak_device_mb(device: &Device) -> anyhow::Result<Option<f64>> {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return Ok(prl_kernels::cuda::peak_memory(device)?.map(|bytes| bytes as f64 / 1048576.0));
    }
    _ = device;
    Ok(None)
}

/// Negatives for a log of the batches' distribution of items.
fn sampler(args: &Args, items: usize) -> anyhow::Result<NegativeSampler> {
    let sampling = match args.negative_sampling.as_str() {
        "popularity" => NegativeSampling::Popularity,
        "in-batch" => NegativeSampling::InBatch,
        _ => NegativeSampling::Uniform,
    };
    let options = NegativeOptions {
        count: args.negatives,
        sampling,
        power: 0.5,
    };
    let mut counts = Vec::with_capacity(items);
    for item in 0..items {
        counts.push((items / (item + 1)) as u64);
    }
    Ok(NegativeSampler::new(options, &counts, 0)?)
}

/// A batch of full windows of Zipf-like items: the largest workload for this window length.
fn batch(args: &Args, items: usize, t: u64, method: Method) -> TrainingBatch {
    let (width, size) = (args.window, args.batch);
    let mut rng = prl_seed::stream(1, "bench", t);
    let mut item = || ((items as f64).powf(rng.random::<f64>()) - 1.0) as u32;
    let mut windows = || {
        let mut windows = Windows::new(width);
        for _ in 0..size {
            let mut window = Vec::with_capacity(width);
            for _ in 0..width {
                window.push(item());
            }
            windows.push(&window, items as u32);
        }
        windows
    };
    let (windows, next) = (
        windows(),
        NextStates {
            windows: windows(),
            done: vec![false; size],
        },
    );
    let critic = (method == Method::Sac).then_some(Critic { warm_up: 0 });
    let transitions = Transitions {
        rewards: vec![0.2; size],
        next,
        gamma: 0.5,
        critic,
    };
    let targets = (0..size).map(|_| item()).collect();
    let prompts = Prompts {
        returns: vec![1.0; size],
        steps: windows.time_steps.clone(),
        tilt: 0.0,
    };
    let transitions = method.is_double().then_some(transitions);
    TrainingBatch {
        windows,
        prompts,
        targets,
        loss_weights: vec![1.0 / size as f64; size],
        transitions,
        sequences: None,
    }
}

/// Peak resident memory of this process so far, in MiB.
fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1024.0)
}
