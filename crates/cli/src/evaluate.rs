//! `prl evaluate`: metrics of a run's best weights on a split.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use prl_dataset::Split;
use prl_runs::{Cases, Run, evaluate};

use crate::flags::{Compute, FromRun, Prompt, named};
use crate::output::outln;
use crate::remote::Remote;

/// Evaluate a run on a split: each event is a case, ranked among all items
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    from: FromRun,
    /// The split
    #[arg(long, default_value = "test", value_parser = named(&Split::ALL, Split::name))]
    split: Split,
    /// Directory of the prepared dataset [default: the one used in training]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Cases ranked per batch; results do not depend on it
    #[arg(long, default_value_t = 256)]
    batch_size: usize,
    /// Write the cases to this CSV file: session, kind and rank, in the order of the log
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
    /// Evaluate a running server (http://HOST:PORT) instead of loading the model: the same metrics
    /// except MRR, which a list of 20 does not determine; the environment variable PRL_API_KEY
    /// holds the API key
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
            let (report, cases) = evaluate(&run, &model, &data, args.split, ask, args.batch_size)?;
            if let Some(path) = &args.cases {
                write_cases(path, &cases)
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

/// Writes the cases atomically: to a temporary file, which is renamed.
fn write_cases(path: &Path, cases: &Cases) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    let mut out = std::io::BufWriter::new(file.as_file_mut());
    writeln!(out, "session,kind,rank")?;
    for (case, session) in cases.cases.iter().zip(&cases.sessions) {
        writeln!(out, "{session},{},{}", case.kind.name(), case.rank)?;
    }
    out.flush()?;
    drop(out);
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
