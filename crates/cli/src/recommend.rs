//! `prl recommend`: next items for one session, or for a file of sessions.

mod batch;
mod conditions;
mod lines;
mod output;
mod session;
#[cfg(feature = "tables")]
mod table;

use std::path::PathBuf;

use prl_core::PromptSpec;
use prl_runs::{RecommendResponse, RequestFields, Responder, Run};

use crate::exit::Usage;
use crate::flags::{Compute, FromRun, Prompt};
use crate::output::{errln, outln};
use batch::Defaults;
pub use session::k;
use session::{Filters, Session};

/// Recommend items for sessions, which need not be in the training data
///
/// Without --items and --item, reads one request a line from --input or standard input, as JSON:
/// {"session": "s1", "items": ["a", "b"], "purchased": ["b"], "k": 20, "mu": 2.0, "exclude_seen":
/// true}. Fields, all but items optional: session (repeated in the answer), items, purchased or
/// kinds, k, mu and eps or target_return or quantile or max_return, sequence_wise, case,
/// exclude_seen, exclude, allow, where, properties: the same as in a request to `prl serve`. Flags are the defaults of
/// the lines. The answers, one JSON object a line, have the order of the requests.
///
/// A Parquet file (--input FILE.parquet) has columns of these names: one session a row, with items,
/// purchased, kinds, exclude and allow as lists, and where as JSON; or one event a row with the columns session, item
/// and, optionally, kind, sorted by session, oldest event first.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    from: FromRun,
    #[command(flatten)]
    session: Session,
    /// Number of items to recommend, 1 to 1000 [default: 20]
    #[arg(short, long, allow_negative_numbers = true, value_parser = session::k)]
    k: Option<u64>,
    #[command(flatten)]
    filters: Filters,
    /// Seed of the random draw of eps; equal cases give equal draws [default: 0]
    #[arg(long)]
    case: Option<u64>,
    /// File of requests: JSON lines, or Parquet in a build with the feature `tables`; - is standard
    /// input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["items", "item"])]
    input: Option<PathBuf>,
    /// Write the answers to this file: Parquet if it ends in .parquet, otherwise JSON lines; - is
    /// standard output. The file appears when all requests are answered
    #[arg(long, value_name = "FILE", conflicts_with_all = ["items", "item"])]
    out: Option<PathBuf>,
    /// Columns of a Parquet input that have other names: session=visit,items=history
    #[arg(long, value_name = "FIELD=COLUMN,..", requires = "input")]
    columns: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Add a forecast of the return of the rest of the session; needs `prl forecast`
    #[arg(long)]
    forecast: bool,
    #[command(flatten)]
    prompt: Prompt,
    #[command(flatten)]
    compute: Compute,
}

impl Args {
    /// The flags as fields of a request.
    fn fields(&self) -> Result<RequestFields, Usage> {
        let mut fields = self.prompt.fields();
        (fields.k, fields.case) = (self.k, self.case);
        fields.forecast = self.forecast.then_some(true);
        self.filters.add_to(&mut fields)?;
        self.session.add_to(&mut fields)?;
        Ok(fields)
    }
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let run = Run::open(&args.from.run)?;
    let fields = args.fields()?;
    let ask = args.prompt.ask(run.ask())?;
    if fields.items.is_some() {
        return answer_one(&args, run, fields, ask);
    }
    let mapping = args.columns.as_deref().unwrap_or("");
    // Input and output are opened first, so that a wrong path costs no model.
    let source = batch::Source::open(args.input.as_deref(), mapping)?;
    let sink = output::Sink::open(args.out.as_deref())?;
    let responder = responder(&args, run)?;
    let defaults = Defaults { fields, ask };
    batch::answer(&responder, &defaults, source, sink)
}

fn responder(args: &Args, run: Run) -> anyhow::Result<Responder> {
    let model = run.load(&args.compute.open()?)?;
    Ok(Responder::new(run, model)?)
}

/// Answers the request of the flags.
fn answer_one(args: &Args, run: Run, fields: RequestFields, ask: PromptSpec) -> anyhow::Result<()> {
    let request = fields.resolve(ask);
    let request = request.map_err(|error| Usage(format!("invalid request: {error}")))?;
    let responder = responder(args, run)?;
    let checked = responder.check(&request);
    checked.map_err(|error| Usage(format!("invalid request: {error}")))?;
    let answers = responder.respond(&[request])?;
    for answer in answers {
        if args.json {
            outln!("{}", serde_json::to_string(&answer)?)?;
        } else {
            print(&answer)?;
        }
    }
    Ok(())
}

/// Prints an answer as text, and the ids outside the catalogue on stderr.
fn print(response: &RecommendResponse) -> std::io::Result<()> {
    let answer = &response.answer;
    let lists = [
        ("", &answer.unknown_items, "skipped"),
        ("--exclude: ", &answer.unknown_exclude, "ignored"),
        ("--allow: ", &answer.unknown_allow, "ignored"),
    ];
    for (flag, unknown, effect) in lists {
        if !unknown.is_empty() {
            let ids = unknown.join(", ");
            errln!("{flag}not in the catalogue, {effect}: {ids}");
        }
    }
    if let Some(forecast) = &answer.forecast {
        outln!(
            "this session is still worth {:.2} ({:.2} to {:.2})",
            forecast.mean,
            forecast.low,
            forecast.high
        )?;
    }
    for (rank, item) in answer.items.iter().enumerate() {
        let mut line = format!("{:>3}  {:<20} {:>9.4}", rank + 1, item.item, item.score);
        for (name, value) in item.properties.iter().flatten() {
            line += &format!("  {name}: {value}");
        }
        outln!("{line}")?;
    }
    Ok(())
}
