//! Operations and memory traffic of a step's parts, the time that the machine's measured peaks
//! allow for them, and the share of it that is reached.
//!
//! Only required operations count: of a window, the rows on which the last state depends; of the
//! output layer, three products; the exponentials of its softmax do not count, so its share stays
//! below 1 even at the peak. Traffic is what must move if nothing but the batch stays in cache.

use prl_bench::jsonl::{cell, number, text};
use prl_report::markdown_table;
use serde_json::Value;

/// Capacity in bytes of the buffer of exponentials between the head's two sweeps.
const EXPONENTIALS: f64 = (80 << 20) as f64;

/// Size of a measured case.
struct Size {
    batch: f64,
    window: usize,
    dim: f64,
    items: f64,
    /// Length of the vectors that the output layer takes.
    width: f64,
    is_bf16: bool,
}

impl Size {
    fn of(line: &Value) -> Self {
        let dim = number(&line["dim"]);
        Self {
            batch: number(&line["batch"]),
            window: line["window"].as_u64().unwrap_or_default() as usize,
            dim,
            items: number(&line["items"]),
            width: match line["encoder"].as_str() {
                Some("caser") => dim + CASER_FILTERS * CASER_HEIGHTS.len() as f64,
                _ => dim,
            },
            is_bf16: line["bf16_head"] == true,
        }
    }
}

const CASER_HEIGHTS: [usize; 3] = [2, 3, 4];
const CASER_FILTERS: f64 = 16.0;
/// Dilations of NextItNet's convolutions of kernel 3.
const NEXTITNET: [usize; 12] = [1, 2, 2, 4, 1, 2, 2, 4, 1, 2, 2, 4];

/// Work of a part: operations, and bytes of memory traffic.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Work {
    flop: f64,
    bytes: f64,
}

/// Operations of an encoder's forward pass for one window; NaN for an unknown encoder.
pub fn encoder_flop(encoder: &str, window: usize, dim: f64) -> f64 {
    let square = dim * dim;
    let length = window as f64;
    match encoder {
        // Three input and three recurrent products a time step.
        "gru" => 12.0 * square * length,
        "caser" => {
            let mut flop = 2.0 * dim * length;
            for height in CASER_HEIGHTS {
                let places = (window + 1).saturating_sub(height) as f64;
                flop += 2.0 * places * height as f64 * dim * CASER_FILTERS;
            }
            flop
        }
        "nextitnet" => {
            let (mut needed, mut rows) = (vec![false; window], 0);
            if let Some(last) = needed.last_mut() {
                *last = true;
            }
            for dilation in NEXTITNET.iter().rev() {
                rows += needed.iter().filter(|&&is_needed| is_needed).count();
                for at in 0..window {
                    // The residual keeps a row needed; a tap needs the rows before it.
                    let taps = [at + dilation, at + 2 * dilation];
                    needed[at] |= taps.iter().any(|&to| to < window && needed[to]);
                }
            }
            6.0 * square * rows as f64
        }
        // Keys and values of all rows, one query, and the feed-forward layers of the last row.
        "sasrec" => 4.0 * square * length + 6.0 * square + 4.0 * dim * length,
        _ => f64::NAN,
    }
}

/// The prompt block: keys and values of three tokens, one query.
fn prompt_flop(dim: f64) -> f64 {
    14.0 * dim * dim + 12.0 * dim
}

/// Parts of a training step, each with the keys of its measured milliseconds.
fn parts(line: &Value) -> Vec<(&'static str, Work, f64)> {
    let size = Size::of(line);
    let encoder = encoder_flop(&text(&line["encoder"]), size.window, size.dim);
    let prompt = match line["method"].as_str() {
        Some("prl") => prompt_flop(size.width),
        _ => 0.0,
    };
    // Backward takes two products for each one forward.
    let network = Work {
        flop: 3.0 * size.batch * (encoder + prompt),
        bytes: 0.0,
    };
    let weights = 4.0 * size.width * size.items;
    let product = 2.0 * size.batch * size.width * size.items;
    let element = if size.is_bf16 { 2.0 } else { 4.0 };
    let kept = (element * size.batch * size.items).min(EXPONENTIALS);
    let head = Work {
        flop: 3.0 * product,
        // Weights are read in both sweeps and written once; two moments are read and written.
        bytes: 7.0 * weights + 2.0 * kept,
    };
    let embedding = Work {
        flop: 0.0,
        // Weights and two moments are read and written; gradients touch few rows.
        bytes: 6.0 * 4.0 * size.dim * size.items,
    };
    let ms = |key: &str| number(&line[key]);
    vec![
        (
            "encoder and prompt",
            network,
            ms("encoder_ms") + ms("backward_ms"),
        ),
        ("output layer", head, ms("head_ms")),
        ("Adam of the embedding", embedding, ms("adam_ms")),
    ]
}

/// Work of ranking a batch and its milliseconds.
fn ranking(line: &Value) -> (&'static str, Work, f64) {
    let size = Size::of(line);
    let encoder = encoder_flop(&text(&line["encoder"]), size.window, size.dim);
    let work = Work {
        flop: size.batch * (encoder + 2.0 * size.width * size.items),
        bytes: 4.0 * size.width * size.items,
    };
    let ms = 1e3 * size.batch / number(&line["eval_events_per_s"]);
    ("ranking", work, ms)
}

/// Milliseconds that the peaks allow.
fn roof_ms(work: Work, gflops: f64, gb_per_s: f64) -> f64 {
    let compute = work.flop / gflops / 1e6;
    let memory = work.bytes / gb_per_s / 1e6;
    compute.max(memory)
}

/// Section of the page: the parts of steps of cross-entropy and of PRL, and ranking.
pub fn section(lines: &[Value]) -> String {
    let header = [
        "encoder", "method", "items", "part", "GFLOP", "MB", "roof, ms", "ms", "share",
    ];
    let mut rows = Vec::new();
    for line in lines {
        let is_single = matches!(line["method"].as_str(), Some("normal" | "prl"));
        if !is_single || line["recipe"] == "modern" || !line["bandwidth_gb_s"].is_number() {
            continue;
        }
        let fp32 = number(&line["product_gflops"]);
        let bandwidth = number(&line["bandwidth_gb_s"]);
        let is_bf16 = line["bf16_head"] == true;
        let mut of_line = parts(line);
        // Ranking is in fp32 either way.
        if !is_bf16 {
            of_line.push(ranking(line));
        }
        for (part, work, ms) in of_line {
            let gflops = match line["bf16_gflops"].as_f64() {
                Some(bf16) if is_bf16 && part == "output layer" => bf16,
                _ => fp32,
            };
            let roof = roof_ms(work, gflops, bandwidth);
            let method = text(&line["method"]);
            rows.push(vec![
                text(&line["encoder"]),
                if is_bf16 {
                    method + ", bf16 head"
                } else {
                    method
                },
                text(&line["items"]),
                part.to_owned(),
                cell(work.flop / 1e9, 2),
                cell(work.bytes / 1e6, 0),
                cell(roof, 2),
                cell(ms, 2),
                cell(roof / ms, 2),
            ]);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "\n## Roofline\n\n\
         Required operations and memory traffic of each part, the time that the measured peaks of the \
         same process allow (operations at the plain fp32 product's rate, the bf16 output layer's at \
         the bf16 product's; traffic at the triad's), and the share of it that is reached. The \
         softmax's exponentials are not counted. A share above 1 is possible where a cache holds what \
         is counted as traffic, or where ranking multiplies in bfloat16 first.\n\n{}",
        markdown_table(&header, 4, &rows)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn encoder_operations_are_those_counted_by_hand() {
        // One step: six products of 4 x 4.
        assert_eq!(encoder_flop("gru", 1, 4.0), 6.0 * 2.0 * 16.0);
        // A window of one row: every convolution makes one row of three taps.
        assert_eq!(encoder_flop("nextitnet", 1, 4.0), 12.0 * 3.0 * 2.0 * 16.0);
        // Two rows: the last convolution, dilated by 4, needs one; the fourth from the end is the
        // first whose taps reach the row before.
        let rows = 4.0 + 8.0 * 2.0;
        assert_eq!(encoder_flop("nextitnet", 2, 4.0), rows * 3.0 * 2.0 * 16.0);
        assert_eq!(
            encoder_flop("sasrec", 1, 4.0),
            5.0 * 2.0 * 16.0 + 2.0 * 2.0 * 4.0
        );
        // Heights 2 and 3 fit once and not at all.
        let horizontal = 2.0 * 2.0 * 4.0 * CASER_FILTERS;
        assert_eq!(encoder_flop("caser", 2, 4.0), 2.0 * 4.0 * 2.0 + horizontal);
        assert!(encoder_flop("other", 1, 4.0).is_nan());
    }

    #[test]
    fn roof_is_the_slower_of_both_peaks() {
        let work = Work {
            flop: 2e9,
            bytes: 3e9,
        };
        assert_eq!(roof_ms(work, 1_000.0, 1_000.0), 3.0);
        assert_eq!(roof_ms(work, 500.0, 1_000.0), 4.0);
    }

    #[test]
    fn section_has_the_parts_of_a_step_and_ranking() {
        let line = json!({
            "encoder": "gru", "method": "normal", "items": 1000, "batch": 256, "window": 10,
            "dim": 64, "bf16_head": false, "recipe": "paper", "encoder_ms": 1.0, "head_ms": 2.0,
            "backward_ms": 1.0, "adam_ms": 0.5, "eval_events_per_s": 1e5,
            "product_gflops": 100.0, "bandwidth_gb_s": 10.0,
        });
        let text = section(&[line]);
        let head: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("output layer |"))
            .collect();
        // 3 x 2 x 256 x 64 x 1000 operations; 7 x 256 kB and 2 x 1 MB.
        assert_eq!(
            head,
            ["| gru | normal | 1000 | output layer | 0.10 | 4 | 0.98 | 2.00 | 0.49 |"]
        );
        assert_eq!(text.matches("| gru | normal").count(), 4);
        assert_eq!(section(&[json!({"method": "normal"})]), "");
    }
}
