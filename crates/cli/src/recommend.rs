//! `prl recommend`: what next, for a session of raw item ids.

use std::io::{BufRead, Write};

use anyhow::Context;
use prl_core::Ask;
use prl_train::{Answer, Run, Trained};
use serde::{Deserialize, Serialize};

use crate::exit::Usage;
use crate::flags::{Compute, FromRun, Prompt, check};

/// Recommend items for a session that may never have been seen
///
/// Without --items, reads one JSON object a line from stdin, {"items": ["a", "b"], "mu": 2.0, "k": 20} (mu, eps and k may be
/// left out), and answers each with one JSON object a line.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    from: FromRun,
    /// The session's raw item ids, oldest first; an empty value is a session that has only begun
    #[arg(long, value_name = "A,B,..")]
    items: Option<String>,
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
    answer: Answer,
    model: &'a str,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let run = Run::open(&args.from.run)?;
    let ask = args.prompt.ask(run.ask())?;
    let model = run.load(&args.compute.open()?)?;
    let name = run.model_name()?;
    let Some(items) = &args.items else { return answer_lines(&run, &model, &name, ask, args.k) };
    let session: Vec<&str> = items.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
    let answer = run.recommend(&model, &session, ask, args.k)?;
    if args.json {
        println!("{}", serde_json::to_string(&Reply { answer, model: &name })?);
        return Ok(());
    }
    if !answer.unknown_items.is_empty() {
        eprintln!("not in the catalogue, skipped: {}", answer.unknown_items.join(", "));
    }
    for (rank, item) in answer.items.iter().enumerate() {
        println!("{:>3}  {:<20} {:>9.4}", rank + 1, item.item, item.score);
    }
    Ok(())
}

fn answer_lines(run: &Run, model: &Trained, name: &str, ask: Ask, k: usize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for (line, text) in std::io::stdin().lock().lines().enumerate() {
        let text = text.with_context(|| format!("stdin, line {}", line + 1))?;
        if text.trim().is_empty() {
            continue;
        }
        let question: Question =
            serde_json::from_str(&text).map_err(|e| Usage(format!("stdin, line {}: {e}", line + 1)))?;
        let ask = match (ask, question.mu, question.eps) {
            (ask, None, None) => ask,
            (Ask::Relative { mu, eps }, m, e) => Ask::Relative { mu: m.unwrap_or(mu), eps: e.unwrap_or(eps) },
            (_, m, e) => Ask::Relative { mu: m.unwrap_or(2.0), eps: e.unwrap_or(0.0) },
        };
        check(ask)?;
        let id = |id: &Id| match id {
            Id::Text(id) => id.clone(),
            Id::Number(id) => id.to_string(),
        };
        let session: Vec<String> = question.items.iter().map(id).collect();
        let answer = run.recommend(model, &session, ask, question.k.unwrap_or(k))?;
        writeln!(out, "{}", serde_json::to_string(&Reply { answer, model: name })?)?;
    }
    Ok(())
}
