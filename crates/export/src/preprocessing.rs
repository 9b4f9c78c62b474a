//! `preprocessing.json`: how the inputs of an exported network are made of a session.

use prl_core::ReturnScale;
use prl_dataset::TABLE_STEPS;
use prl_runs::Run;
use serde_json::{Value, json};

use crate::onnx::{Input, inputs};

/// The description of a run's inputs and output.
pub(crate) fn describe(run: &Run) -> Value {
    let config = run.config();
    let inputs: Vec<Input> = inputs(config);
    let is_prompted = inputs.iter().any(|input| input.name == "target_return");
    let mut mean_return = Vec::with_capacity(TABLE_STEPS);
    let mut max_return = Vec::with_capacity(TABLE_STEPS);
    for step in 0..TABLE_STEPS as u32 {
        mean_return.push(run.returns().mean_at(step));
        max_return.push(run.returns().max_at(step));
    }
    let rule = match config.model.prompt_scale {
        ReturnScale::Ratio => {
            "target_return = R / mean_return[t], or 0 if mean_return[t] is 0; for a target of mu times \
             the mean return this is mu"
        }
        ReturnScale::Raw => {
            "target_return = R; for a target of mu times the mean return, mu * mean_return[t]"
        }
    };
    let prompt = is_prompted.then(|| {
        json!({
            "scale": config.model.prompt_scale,
            "rule": rule,
            "t": format!("min(step, {})", TABLE_STEPS - 1),
            "mu": config.mu,
            "mean_return": mean_return,
            "max_return": max_return,
            "rewards": config.rewards,
            "lambda": config.lambda,
        })
    });
    let steps = [
        "leave out the events of items that are not in items.json",
        "step = number of the events that are left",
        "count = min(step, window); keep the last count events",
        "items[j] = index in items.json of event j, the oldest first; pad for j >= count",
        "kinds[j] = 1 if event j is a purchase, else 0; 0 for j >= count",
        "an empty session is step = 0, count = 0 and padding alone",
    ];
    json!({
        "format": "prl-preprocessing",
        "format_version": 1,
        "window": config.model.window,
        "pad": run.items().len(),
        "items": { "file": "items.json", "count": run.items().len(), "index": "position in the list" },
        "kinds": { "click": 0, "purchase": 1 },
        "steps": steps,
        "inputs": inputs,
        "prompt": prompt,
        "output": {
            "name": "scores",
            "element": "float32",
            "shape": "[batch, items]",
            "order": "higher is better, equal scores by lower index",
            "left_out_below": -5e8,
        },
    })
}
