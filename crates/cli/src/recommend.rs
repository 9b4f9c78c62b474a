//! `prl recommend`: what next, for a session of raw item ids.

use std::io::{BufRead, Write};

use anyhow::Context;
use prl_core::PromptSpec;
use prl_dataset::Kind;
use prl_runs::{Event, Recommendations, Recommender, Run};
use serde::{Deserialize, Serialize};

use crate::exit::Usage;
use crate::flags::{Compute, FromRun, Prompt, check};
use crate::output::{errln, outln};

/// Recommend items for a session that may never have been seen
///
/// Without --items, reads one JSON object a line from stdin, {"items": ["a", "b"], "purchased": ["b"], "mu": 2.0, "k": 20}
/// (all but items may be left out), and answers each with one JSON object a line.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    from: FromRun,
    /// The session's raw item ids, oldest first; an empty value is a session that has only begun
    #[arg(long, value_name = "A,B,..")]
    items: Option<String>,
    /// Those of them that were purchased; it counts under --sequence-wise
    #[arg(long, value_name = "A,B,..", requires = "items")]
    purchased: Option<String>,
    /// How many items to recommend
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
struct Question {
    items: Vec<Id>,
    #[serde(default)]
    purchased: Vec<Id>,
    mu: Option<f64>,
    eps: Option<f64>,
    k: Option<usize>,
}

/// An id may be written as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(u64),
}

#[derive(Serialize)]
struct Reply<'a> {
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
    let answer = run.recommend(
        &model,
        &session(&ids(items), &ids(args.purchased.as_deref().unwrap_or(""))),
        ask,
        args.k,
    )?;
    if args.json {
        outln!(
            "{}",
            serde_json::to_string(&Reply {
                answer,
                model: &name
            })?
        )?;
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

fn ids(list: &str) -> Vec<&str> {
    list.split(',')
        .map(str::trim)
        .filter(|id| !id.is_empty())
        .collect()
}

/// The events of a session of which some items were purchased.
fn session<'a>(items: &[&'a str], purchased: &[&str]) -> Vec<Event<&'a str>> {
    let kind = |item: &str| {
        if purchased.contains(&item) {
            Kind::Purchase
        } else {
            Kind::Click
        }
    };
    items
        .iter()
        .map(|&item| Event {
            item,
            kind: kind(item),
        })
        .collect()
}

fn answer_lines(
    run: &Run,
    model: &Recommender,
    name: &str,
    ask: PromptSpec,
    k: usize,
) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for (line, text) in std::io::stdin().lock().lines().enumerate() {
        let text = text.with_context(|| format!("stdin, line {}", line + 1))?;
        if text.trim().is_empty() {
            continue;
        }
        let question: Question = serde_json::from_str(&text)
            .map_err(|e| Usage(format!("stdin, line {}: {e}", line + 1)))?;
        let ask = check(PromptSpec {
            target: ask.target.adjusted(question.mu, question.eps),
            ..ask
        })?;
        let id = |id: Id| match id {
            Id::Text(id) => id,
            Id::Number(id) => id.to_string(),
        };
        let [items, purchased] = [question.items, question.purchased]
            .map(|ids| ids.into_iter().map(id).collect::<Vec<_>>());
        let [items, purchased] =
            [&items, &purchased].map(|ids| ids.iter().map(String::as_str).collect::<Vec<_>>());
        let answer = run.recommend(
            model,
            &session(&items, &purchased),
            ask,
            question.k.unwrap_or(k),
        )?;
        writeln!(
            out,
            "{}",
            serde_json::to_string(&Reply {
                answer,
                model: name
            })?
        )?;
    }
    Ok(())
}
