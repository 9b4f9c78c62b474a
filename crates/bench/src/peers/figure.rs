//! Quantities that are compared with PyTorch, and how they are read from a line of either side.

use serde_json::Value;

/// A compared quantity.
pub struct Figure {
    pub title: &'static str,
    /// Reads a line of ours.
    pub ours: fn(&Value) -> Option<f64>,
    /// Reads a line of PyTorch's.
    pub theirs: fn(&Value) -> Option<f64>,
    pub decimals: usize,
}

/// Quantities that are compared on a device.
pub fn figures(is_cuda: bool) -> [Figure; 3] {
    // A step on a GPU takes about a millisecond.
    let decimals = if is_cuda { 3 } else { 1 };
    let memory = if is_cuda {
        Figure {
            title: "Memory of the GPU in training, MB: peak, PyTorch's after its first step; a dash \
                    where it is not measured",
            ours: device_mb,
            theirs: device_mb,
            decimals: 0,
        }
    } else {
        Figure {
            title: "Memory of training, MB: ours the whole process, PyTorch's without what it holds \
                    before there is a model",
            ours: process_mb,
            theirs: added_mb,
            decimals: 1,
        }
    };
    [
        Figure {
            title: "A training step, ms",
            ours: step_ms,
            theirs: step_ms,
            decimals,
        },
        Figure {
            title: "Ranking a batch over all items, the 20 best kept, ms",
            ours: our_rank_ms,
            theirs: their_rank_ms,
            decimals,
        },
        memory,
    ]
}

fn step_ms(line: &Value) -> Option<f64> {
    line["step_ms_median"].as_f64()
}

fn our_rank_ms(line: &Value) -> Option<f64> {
    Some(1e3 * line["batch"].as_f64()? / line["eval_events_per_s"].as_f64()?)
}

fn their_rank_ms(line: &Value) -> Option<f64> {
    line["rank_ms_median"].as_f64()
}

fn device_mb(line: &Value) -> Option<f64> {
    line["peak_device_mb"].as_f64()
}

fn process_mb(line: &Value) -> Option<f64> {
    line["peak_rss_mb"].as_f64()
}

fn added_mb(line: &Value) -> Option<f64> {
    Some(line["peak_rss_mb"].as_f64()? - line["base_rss_mb"].as_f64()?)
}
