//! Smoke test of the fuzz targets on stable Rust: every target on its corpus and attacks, then for
//! some seconds on mutated inputs. Equal seeds give equal inputs. Prints one line of JSON for each
//! target: `{"target", "inputs", "found", "slowest_ms", "peak_mb"}`.
//!
//! Usage: `smoke [SECONDS [SEED [TARGET..]]]`. Inputs that crash or stall a target are written to
//! `found/` in the working directory.

mod mutate;

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

use prl_fuzz::{QUICK, TARGETS, Target, attacks, clean, last_panic, quiet, seeds};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Maximum length of a mutated input.
const MAX_LEN: usize = 1 << 16;
/// Run time from which an input counts as a finding.
const SLOW: Duration = Duration::from_secs(10);

struct Tally {
    inputs: u64,
    found: u64,
    slowest: Duration,
}

fn main() {
    let mut args = std::env::args().skip(1);
    let seconds = match args.next() {
        Some(seconds) => seconds.parse().expect("SECONDS is a number"),
        None => 5.0,
    };
    let seed = match args.next() {
        Some(seed) => seed.parse().expect("SEED is a whole number"),
        None => 0,
    };
    let chosen: Vec<String> = args.collect();
    quiet();
    let mut found = 0;
    for (name, target) in TARGETS {
        if !chosen.is_empty() && !chosen.contains(&name.to_owned()) {
            continue;
        }
        let tally = smoke(name, target, Duration::from_secs_f64(seconds), seed);
        found += tally.found;
        println!(
            "{{\"target\": \"{name}\", \"inputs\": {}, \"found\": {}, \"slowest_ms\": {}, \"peak_mb\": {}}}",
            tally.inputs,
            tally.found,
            tally.slowest.as_millis(),
            peak_mb()
        );
    }
    clean();
    std::process::exit(i32::from(found > 0));
}

fn smoke(name: &str, target: Target, time: Duration, seed: u64) -> Tally {
    let attacks = attacks::all(name).expect("attacks match expected.toml");
    let mut inputs = attacks::files(
        &Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(name),
    );
    inputs.extend(seeds(name));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut tally = Tally {
        inputs: 0,
        found: 0,
        slowest: Duration::ZERO,
    };
    let begun = Instant::now();
    for input in &inputs {
        attempt(name, target, input, &mut tally);
    }
    for attack in attacks {
        let took = attempt(name, target, &attack.input, &mut tally);
        if let Err(wrong) = attack.check(target) {
            eprintln!("{wrong}");
            tally.found += 1;
        }
        if took < QUICK {
            inputs.push(attack.input);
        }
    }
    while begun.elapsed() < time && tally.found < 10 {
        let one = &inputs[rng.random_range(0..inputs.len())];
        let other = &inputs[rng.random_range(0..inputs.len())];
        let one = &one[..one.len().min(MAX_LEN)];
        let input = mutate::mutate(&mut rng, one, &other[..other.len().min(MAX_LEN)], MAX_LEN);
        attempt(name, target, &input, &mut tally);
    }
    tally
}

fn attempt(name: &str, target: Target, input: &[u8], tally: &mut Tally) -> Duration {
    let begun = Instant::now();
    // The input is written first: a crash of the whole process (out of memory, stack overflow)
    // leaves it on disk.
    let current = Path::new("found").join(format!("{name}-last"));
    if tally.inputs == 0 {
        fs::create_dir_all("found").expect("found/ can be made");
    }
    fs::write(&current, input).expect("the input can be kept");
    let panicked = catch_unwind(|| target(input)).is_err();
    let took = begun.elapsed();
    tally.slowest = tally.slowest.max(took);
    if panicked || took > SLOW {
        let kept = Path::new("found").join(format!("{name}-{}", tally.inputs));
        let why = if panicked {
            last_panic()
        } else {
            "slow".into()
        };
        eprintln!("{name}: {} ({took:.1?}): {why}", kept.display());
        fs::write(kept, input).expect("the input can be kept");
        tally.found += 1;
    }
    tally.inputs += 1;
    _ = fs::remove_file(current);
    took
}

/// Peak resident memory of this process in MB.
fn peak_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines() {
        if let Some(value) = line.strip_prefix("VmHWM:") {
            let kb = value.trim().trim_end_matches(" kB");
            return kb.parse::<u64>().unwrap_or(0) / 1024;
        }
    }
    0
}
