//! Writes a synthetic raw log: `raw_log tiny|retailrocket|rc15 DIR [SESSIONS] [SEED]`.

use std::path::Path;

use prl_synth::{Options, synth};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [like, dir, rest @ ..] = args.as_slice() else {
        return Err("usage: raw_log tiny|retailrocket|rc15 DIR [SESSIONS] [SEED]".into());
    };
    let sessions = rest.first().map(|n| n.parse()).transpose()?;
    let seed = rest.get(1).map_or(Ok(0), |n| n.parse())?;
    let summary = synth(
        &Options {
            like: like.parse()?,
            sessions,
            seed,
        },
        Path::new(dir),
    )?;
    println!("{:?}", summary.expected);
    for file in summary.files {
        println!("{}: {} rows", file.name, file.rows);
    }
    Ok(())
}
