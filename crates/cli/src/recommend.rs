//! `prl recommend`: next items for a session of raw item ids.

use std::io::{BufRead, Write};

use anyhow::Context;
use prl_core::PromptSpec;
use prl_dataset::Kind;
use prl_runs::{Event, Recommendations, Recommender, Run};
use serde::{Deserialize, Serialize};

use crate::exit::Usage;
use crate::flags::{Compute, FromRun, Prompt, check};
use crate::output::{errln, outln};

/// Recommend items for a session, which need not be in the training data
///
/// Without --items, reads one JSON object per line from stdin, {"items": ["a", "b"], "purchased":
/// ["b"], "mu": 2.0, "k": 20} (all but items are optional), and prints one JSON object per line.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    from: FromRun,
    /// Raw item ids of the session, oldest first; an empty value is an empty session
    #[arg(long, value_name = "A,B,..")]
    items: Option<String>,
    /// Items of the session that were purchased; used with --sequence-wise
    #[arg(long, value_name = "A,B,..", requires = "items")]
    purchased: Option<String>,
    /// Number of items to recommend
    #[arg(short, long, default_value_t = 20)]
    k: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    prompt: Prompt,
    #[command(flatten)]
    compute: Compute,
}

/// A line of stdin.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    items: Vec<Id>,
    #[serde(default)]
    purchased: Vec<Id>,
    mu: Option<f64>,
    eps: Option<f64>,
    k: Option<usize>,
}

/// A raw item id; an integer is read as its decimal digits.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(u64),
}

#[derive(Serialize)]
struct Response<'a> {
    #[serde(flatten)]
    answer: Recommendations,
    model: &'a str,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let run = Run::open(&args.from.run)?;
    let ask = args.prompt.ask(run.ask())?;
    let model = run.load(&args.compute.open()?)?;
    let name = run.model_name()?;
    let Some(items) = &args.items else {
        return answer_lines(&run, &model, &name, ask, args.k);
    };
    let session = session(
        split(items),
        &split(args.purchased.as_deref().unwrap_or("")),
    );
    let answer = run.recommend(&model, &session, ask, args.k)?;
    if args.json {
        let model = &name;
        outln!("{}", serde_json::to_string(&Response { answer, model })?)?;
        return Ok(());
    }
    if !answer.unknown_items.is_empty() {
        errln!(
            "not in the catalogue, skipped: {}",
            answer.unknown_items.join(", ")
        );
    }
    for (rank, item) in answer.items.iter().enumerate() {
        outln!("{:>3}  {:<20} {:>9.4}", rank + 1, item.item, item.score)?;
    }
    Ok(())
}

/// The non-empty parts of a comma-separated list.
fn split(list: &str) -> Vec<String> {
    let ids = list.split(',').map(str::trim);
    ids.filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

fn strings(ids: Vec<Id>) -> Vec<String> {
    let mut strings = Vec::with_capacity(ids.len());
    for id in ids {
        strings.push(match id {
            Id::Text(id) => id,
            Id::Number(id) => id.to_string(),
        });
    }
    strings
}

/// The events of a session in which some items were purchased.
fn session(items: Vec<String>, purchased: &[String]) -> Vec<Event<String>> {
    let mut events = Vec::with_capacity(items.len());
    for item in items {
        let kind = if purchased.contains(&item) {
            Kind::Purchase
        } else {
            Kind::Click
        };
        events.push(Event { item, kind });
    }
    events
}

/// Answers the requests on stdin, one per line.
fn answer_lines(
    run: &Run,
    model: &Recommender,
    name: &str,
    ask: PromptSpec,
    k: usize,
) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for (line, text) in std::io::stdin().lock().lines().enumerate() {
        let place = format!("stdin, line {}", line + 1);
        let text = text.with_context(|| place.clone())?;
        if text.trim().is_empty() {
            continue;
        }
        let request: Request =
            serde_json::from_str(&text).map_err(|e| Usage(format!("{place}: {e}")))?;
        let ask = check(PromptSpec {
            target: ask.target.adjusted(request.mu, request.eps),
            ..ask
        })?;
        let session = session(strings(request.items), &strings(request.purchased));
        let answer = run.recommend(model, &session, ask, request.k.unwrap_or(k))?;
        let response = Response {
            answer,
            model: name,
        };
        writeln!(out, "{}", serde_json::to_string(&response)?)?;
    }
    Ok(())
}
