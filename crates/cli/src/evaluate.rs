//! `prl evaluate`: a run's best weights on a split.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use prl_dataset::Split;
use prl_runs::{Cases, Run, evaluate};

use crate::flags::{Compute, FromRun, Prompt, named};
use crate::output::outln;
use crate::remote::Remote;

/// Evaluate a run: every event of a split is a case, and every item is ranked
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    from: FromRun,
    /// The split
    #[arg(long, default_value = "test", value_parser = named(&Split::ALL, Split::name))]
    split: Split,
    /// Where the prepared dataset lies now [default: where the run was trained from]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Cases ranked at a time; results do not depend on it
    #[arg(long, default_value_t = 256)]
    batch_size: usize,
    /// Write each case to this file: CSV of session, kind and rank, in the order of the log
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
    /// Ask this running server (http://HOST:PORT) for every case instead of loading the model: the same numbers, but for
    /// MRR, which its lists of 20 cannot tell; a key is taken from the environment's PRL_API_KEY
    #[arg(long, value_name = "URL", conflicts_with_all = ["cases", "batch_size", "device", "threads", "sequence_wise"])]
    via: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    prompt: Prompt,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let run = Run::open(&args.from.run)?;
    let ask = args.prompt.ask(run.ask())?;
    let data = run.data(args.data.as_deref())?;
    let report = match &args.via {
        Some(url) => Remote::connect(url, &run)?.evaluate(&data, args.split, ask)?,
        None => {
            let model = run.load(&args.compute.open()?)?;
            let (report, said) = evaluate(&run, &model, &data, args.split, ask, args.batch_size)?;
            if let Some(path) = &args.cases {
                write_cases(path, &said)
                    .with_context(|| format!("failed to write {}", path.display()))?;
            }
            report
        }
    };
    if args.json {
        outln!("{}", serde_json::to_string(&report)?)?;
    } else {
        outln!("{report}")?;
    }
    Ok(())
}

/// Under a temporary name first: the file is whole or absent.
fn write_cases(path: &Path, said: &Cases) -> std::io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    let mut out = std::io::BufWriter::new(file.as_file_mut());
    writeln!(out, "session,kind,rank")?;
    for (case, session) in said.cases.iter().zip(&said.sessions) {
        writeln!(out, "{session},{},{}", case.kind.name(), case.rank)?;
    }
    out.flush()?;
    drop(out);
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
