//! The model card: `README.md` with YAML front matter, in the layout of a model repository.

use prl_core::PromptPosition;
use prl_eval::{PerMetric, Report, Scores, wilson};
use prl_model::OwnItems;
use prl_runs::{Run, RunManifest, Validation};
use serde::Deserialize;
use serde_json::json;

use crate::error::{Error, Result};
use crate::onnx::inputs;

/// Largest metrics file of a run.
const MAX_METRICS: u64 = 1 << 28;

/// Contents of a card.
pub(crate) struct Card<'a> {
    pub(crate) run: &'a Run,
    pub(crate) manifest: &'a RunManifest,
    /// The evaluation whose numbers it states, if there is one.
    pub(crate) evaluation: Option<&'a Report>,
}

/// A line of `metrics.jsonl`.
#[derive(Deserialize)]
struct Line {
    step: u64,
    val: Option<Scores>,
}

/// A metric with its name, value and interval.
struct Row {
    kind: &'static str,
    metric: &'static str,
    value: f64,
    interval: Option<[f64; 2]>,
    cases: u64,
}

/// The text of the card.
pub(crate) fn text(card: &Card<'_>) -> Result<String> {
    let validation = validation(card)?;
    let (rows, measured) = match (card.evaluation, &validation) {
        (Some(report), _) => (
            evaluated(report),
            format!("{} split", report.setting.split.name()),
        ),
        (None, Some(scores)) => (
            validated(scores),
            "validation that selected the weights".into(),
        ),
        (None, None) => (Vec::new(), String::new()),
    };
    let mut text = front_matter(card, &rows, &measured);
    write_body(&mut text, card, &rows, &measured);
    Ok(text)
}

/// The metrics of the validation that selected the weights.
fn validation(card: &Card<'_>) -> Result<Option<Scores>> {
    let path = card.run.dir().join("metrics.jsonl");
    if card.manifest.validation == Validation::None || !path.exists() {
        return Ok(None);
    }
    let bytes = prl_fs::read_at_most(&path, MAX_METRICS)?;
    for line in bytes.split(|&byte| byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        let line: Line = serde_json::from_slice(line)
            .map_err(|e| Error::input(&path, format!("{e}; train the run again")))?;
        if line.step == card.manifest.best_step {
            return Ok(line.val);
        }
    }
    Ok(None)
}

/// HR and NDCG of a validation; the intervals of HR follow from the numbers of cases.
fn validated(scores: &Scores) -> Vec<Row> {
    let events = &scores.events;
    let kinds = [
        ("click", events.click, &scores.click),
        ("purchase", events.purchase, &scores.purchase),
        ("all", events.click + events.purchase, &scores.all),
    ];
    let mut rows = Vec::new();
    for (kind, cases, of_kind) in kinds {
        for (metric, value) in named(of_kind) {
            let Some(value) = value else { continue };
            let hits = (value * cases as f64).round() as u64;
            let interval = match metric.starts_with("HR") {
                true => wilson(hits, cases).map(Into::into),
                false => None,
            };
            rows.push(Row {
                kind,
                metric,
                value,
                interval,
                cases,
            });
        }
    }
    rows
}

/// HR and NDCG of an evaluation with their intervals.
fn evaluated(report: &Report) -> Vec<Row> {
    let (scores, intervals) = (&report.scores, &report.intervals);
    let events = &scores.events;
    let kinds = [
        ("click", events.click, &scores.click, &intervals.click),
        (
            "purchase",
            events.purchase,
            &scores.purchase,
            &intervals.purchase,
        ),
        (
            "all",
            events.click + events.purchase,
            &scores.all,
            &intervals.all,
        ),
    ];
    let mut rows = Vec::new();
    for (kind, cases, values, intervals) in kinds {
        let both = named(values).into_iter().zip(named(intervals));
        for ((metric, value), (_, interval)) in both {
            let Some(value) = value else { continue };
            rows.push(Row {
                kind,
                metric,
                value,
                interval: interval.map(Into::into),
                cases,
            });
        }
    }
    rows
}

/// The metrics that a card states.
fn named<T: Copy>(all: &PerMetric<T>) -> [(&'static str, T); 5] {
    [
        ("HR@5", all.hr5),
        ("HR@20", all.hr20),
        ("NDCG@5", all.ndcg5),
        ("NDCG@20", all.ndcg20),
        ("MRR", all.mrr),
    ]
}

/// Front matter in YAML; its values are JSON, which YAML contains.
fn front_matter(card: &Card<'_>, rows: &[Row], measured: &str) -> String {
    let manifest = card.manifest;
    let config = card.run.config();
    let mut metrics = Vec::new();
    for row in rows {
        metrics.push(json!({
            "type": row.metric.to_lowercase(),
            "name": format!("{} ({})", row.metric, row.kind),
            "value": row.value,
        }));
    }
    let dataset = json!({
        "type": "prl-prepared",
        "name": format!("prepared dataset {}", manifest.dataset),
        "split": measured,
    });
    let mut results = Vec::new();
    if !metrics.is_empty() {
        let task = json!({ "type": "session-based-recommendation" });
        results.push(json!({ "task": task, "dataset": dataset, "metrics": metrics }));
    }
    let name = format!("{}-{}", config.model.encoder.name(), config.method.name());
    // A repository rejects an index without results.
    let index = match results.is_empty() {
        true => String::new(),
        false => format!(
            "model-index: {}\n",
            json!([{ "name": name, "results": results }])
        ),
    };
    format!(
        "---\nlibrary_name: prl\ntags: [\"session-based-recommendation\", \"sequential-recommendation\", \
         \"onnx\", \"safetensors\"]\n{index}---\n\n"
    )
}

fn write_body(text: &mut String, card: &Card<'_>, rows: &[Row], measured: &str) {
    let (config, manifest) = (card.run.config(), card.manifest);
    let (encoder, method) = (config.model.encoder.name(), config.method.name());
    let items = card.run.items().len();
    let mut line = |written: String| {
        text.push_str(&written);
        text.push('\n');
    };
    line(format!("# {encoder}, {method}: next items of a session\n"));
    line(format!(
        "A session recommender over {items} items: encoder `{encoder}`, method `{method}`, recipe `{}`, model \
         `{}`, of prl {}.\n",
        config.recipe.name(),
        manifest.model,
        manifest.machine.version
    ));
    if let Some(imported) = &manifest.imported {
        line(format!(
            "Another program trained its weights, which were imported from `{}` (SHA-256 `{}`).\n",
            imported.file, imported.sha256
        ));
    }
    line("| file | contents |\n|---|---|".into());
    line(
        "| `model.onnx` | the network: inputs of `preprocessing.json` to the scores of all items |"
            .into(),
    );
    line("| `model.safetensors` | its weights, under the names of the checkpoint |".into());
    line("| `items.json` | raw id of each item index |".into());
    line("| `preprocessing.json` | how the inputs are made of a session |".into());
    line("| `config.json` | the settings of the training |\n".into());
    line("## Use\n".into());
    let mut named = Vec::new();
    for input in inputs(config) {
        named.push(format!(
            "`{}` {} {}",
            input.name, input.element, input.shape
        ));
    }
    line(format!(
        "Inputs: {}; window {}, pad {items}. The output `scores` `[batch, {items}]` includes the offsets of the \
         session's own items; equal scores rank by lower index.\n",
        named.join(", "),
        config.model.window
    ));
    line(usage(card.run));
    line("## Data\n".into());
    line(format!(
        "- Prepared dataset `{}` (hash of its contents).",
        manifest.dataset
    ));
    if let Some(sessions) = card.run.returns().sessions.first() {
        line(format!(
            "- {sessions} sessions for the returns of prompts, {items} items."
        ));
    }
    if manifest.synthetic {
        line("- The log is **synthetic**: its numbers say nothing about a shop.".into());
    }
    line("\n## Metrics\n".into());
    write_metrics(&mut line, card, rows, measured);
    line("\n## Conventions\n".into());
    write_conventions(&mut line, card);
    line("\n## Limits\n".into());
    line("- Items that are not in `items.json` are neither read nor recommended.".into());
    line("- The graph has no filters, tilt or forecast; `prl serve` has them.".into());
    line("- The metrics are of offline next-item prediction on one log, not of the effect on visitors.".into());
    line("- Intervals assume independent sessions, those of HR independent cases.".into());
    if method == "prl" {
        line("- A target return is a prompt, not a promise: what it changes in the lists depends on the log.".into());
    }
}

/// A program that ranks the items after a session.
fn usage(run: &Run) -> String {
    let after_one = PromptPosition::at(1, 0);
    let value = run.prompts(run.ask(), &[after_one]).returns[0];
    let prompt = format!("np.array([{value:?}], np.float32)");
    let mut feed = Vec::new();
    for input in inputs(run.config()) {
        let value = match input.name {
            "items" => "items",
            "kinds" => "np.zeros_like(items)",
            "count" => "np.array([len(events)])",
            "step" => "np.array([len(session)])",
            _ => prompt.as_str(),
        };
        feed.push(format!("\"{}\": {value}", input.name));
    }
    let first = run.items().raw(0).unwrap_or_default();
    let session = serde_json::json!([first]);
    format!(
        "```python\nimport json, numpy as np, onnxruntime\n\nids = json.load(open(\"items.json\"))\n\
         index = {{item: i for i, item in enumerate(ids)}}\n\
         session = [index[item] for item in {session} if item in index]  # clicks, the oldest first\n\
         events = session[-{window}:]\nitems = np.full((1, {window}), len(ids), np.int64)\n\
         items[0, :len(events)] = events\nfeed = {{{feed}}}\n\
         scores = onnxruntime.InferenceSession(\"model.onnx\").run([\"scores\"], feed)[0][0]\n\
         print([ids[i] for i in np.argsort(-scores, kind=\"stable\")[:20]])\n```\n",
        window = run.config().model.window,
        feed = feed.join(", "),
    )
}

fn write_metrics(line: &mut impl FnMut(String), card: &Card<'_>, rows: &[Row], measured: &str) {
    if rows.is_empty() {
        line("None are recorded; `prl export --evaluate` adds those of the test split.".into());
        return;
    }
    line(format!(
        "Measured on the {measured}, with 95% intervals where they are recorded.\n"
    ));
    line("| events | cases | metric | value | interval |\n|---|---:|---|---:|---|".into());
    for row in rows {
        let interval = match row.interval {
            Some([low, high]) => format!("{low:.4} to {high:.4}"),
            None => String::new(),
        };
        let Row {
            kind,
            cases,
            metric,
            value,
            ..
        } = row;
        line(format!(
            "| {kind} | {cases} | {metric} | {value:.4} | {interval} |"
        ));
    }
    if card.evaluation.is_none() {
        line(
            "\nThese numbers chose the weights and are optimistic; numbers of the test split need `prl export \
             --evaluate`."
                .into(),
        );
    }
}

fn write_conventions(line: &mut impl FnMut(String), card: &Card<'_>) {
    let config = card.run.config();
    let conventions = match card.evaluation {
        Some(report) => report.setting.conventions.to_string(),
        None => "cases: all events of the split; ranked: all items".into(),
    };
    line(format!("- {conventions}."));
    line(
        "- Ranks are pessimistic: an equal score counts against the target. Cut-offs 5 and 20."
            .into(),
    );
    let own = match config.model.own_items {
        OwnItems::Keep | OwnItems::Auto => "are ranked like any other item",
        OwnItems::Exclude => "are not recommended",
        OwnItems::Learned => "have a learned bias by lag",
    };
    line(format!("- Repeats: the session's own items {own}."));
    let validation = match card.manifest.validation {
        Validation::Split => "the validation split selected the weights",
        Validation::HeldOut => "held-out training sessions selected the weights",
        Validation::None => "no validation selected the weights",
    };
    let select = config.select.name();
    line(format!(
        "- Selection: {validation} (metric `{select}`), seed {}.",
        config.seed
    ));
    let prompt = card
        .evaluation
        .and_then(|report| report.setting.prompt.as_ref());
    if let Some(prompt) = prompt {
        line(format!("- Prompt of the evaluation: `{prompt}`."));
    }
}
