//! Seed corpus for libFuzzer: `seeds TARGET DIR` writes the corpus of a target, its generated seeds
//! and its fast attacks.

use std::error::Error;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use prl_fuzz::{QUICK, TARGETS, attacks, clean, quiet, seeds};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(name), Some(dir)) = (args.next(), args.next().map(PathBuf::from)) else {
        return Err("usage: seeds TARGET DIR".into());
    };
    let (_, target) = TARGETS
        .into_iter()
        .find(|(own, _)| *own == name)
        .ok_or("unknown TARGET")?;
    quiet();
    let mut inputs = attacks::files(
        &Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(&name),
    );
    inputs.extend(seeds(&name));
    for attack in attacks::all(&name)? {
        let begun = Instant::now();
        _ = catch_unwind(|| target(&attack.input));
        if begun.elapsed() < QUICK {
            inputs.push(attack.input);
        }
    }
    clean();
    fs::create_dir_all(&dir)?;
    for (i, input) in inputs.iter().enumerate() {
        fs::write(dir.join(format!("seed-{i}")), input)?;
    }
    Ok(())
}
