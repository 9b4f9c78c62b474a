//! The benchmarks and the results that others publish on them.

/// A public click log with a published split.
#[derive(PartialEq, Eq)]
pub struct Benchmark {
    /// Name of its file and in flags.
    pub name: &'static str,
    /// Title on the page.
    pub title: &'static str,
    /// Origin, and limits of the comparison.
    pub note: &'static str,
    /// Published results.
    pub published: &'static [Published],
}

/// A published result in percent.
#[derive(PartialEq, Eq)]
pub struct Published {
    /// Model.
    pub model: &'static str,
    /// Recall@20 and MRR@20.
    pub figures: [&'static str; 2],
    /// Publication.
    pub source: &'static str,
}

const fn published(
    model: &'static str,
    recall: &'static str,
    mrr: &'static str,
    source: &'static str,
) -> Published {
    Published {
        model,
        figures: [recall, mrr],
        source,
    }
}

const SR_GNN: &str = "SR-GNN's table (Wu et al., AAAI '19)";
const NISER: &str = "Gupta et al., NISER, 2019";
const SGNN_HN: &str = "Pan et al., SGNN-HN, CIKM '20";

/// The benchmarks.
pub const BENCHMARKS: &[Benchmark] = &[
    Benchmark {
        name: "diginetica",
        title: "Diginetica",
        note: "CIKM Cup 2016; the split of SR-GNN and its followers, as they prepare it.",
        published: &[
            published("GRU4Rec", "29.45", "8.33", SR_GNN),
            published("NARM", "49.70", "16.17", SR_GNN),
            published("STAMP", "45.64", "14.32", SR_GNN),
            published("SR-GNN", "50.73", "17.59", SR_GNN),
            published("NISER+", "53.4", "18.7", NISER),
            published("SGNN-HN", "55.7", "19.5", SGNN_HN),
        ],
    },
    Benchmark {
        name: "yoochoose",
        title: "YooChoose 1/64",
        note: "RecSys Challenge 2015, the last 1/64 by the usual recipe; 55,400 test targets where \
               the papers have 55,898, so that the figures are near, not equal, in what they \
               measure.",
        published: &[
            published("GRU4Rec", "60.64", "22.89", SR_GNN),
            published("NARM", "68.32", "28.63", SR_GNN),
            published("STAMP", "68.74", "29.67", SR_GNN),
            published("SR-GNN", "70.57", "30.94", SR_GNN),
            published("NISER+", "71.3", "31.6", NISER),
            published("SGNN-HN", "72.1", "32.6", SGNN_HN),
        ],
    },
    Benchmark {
        name: "retailrocket-views",
        title: "RetailRocket, views",
        note: "All views, ids re-coded; 19,907 test targets, of which the published 15,132 are a \
               part, so that no published figure stands beside ours.",
        published: &[],
    },
];
