//! The experiment matrix as data: encoders, methods, and the rows of the paper's tables. A new row
//! of a table is a new line here; the rest of the code does not depend on the names of methods.

/// A session encoder.
pub struct Encoder {
    /// Name in the flags of `prl`.
    pub name: &'static str,
    /// Name in the paper.
    pub title: &'static str,
    /// Estimated time per example, in units of scoring one item with its gradient; only for
    /// progress messages.
    pub cost: f64,
}

/// The encoders, in the paper's order.
pub const ENCODERS: [Encoder; 4] = [
    Encoder {
        name: "gru",
        title: "GRU",
        cost: 1_000.0,
    },
    Encoder {
        name: "caser",
        title: "Caser",
        cost: 26_000.0,
    },
    Encoder {
        name: "nextitnet",
        title: "NextItNet",
        cost: 30_000.0,
    },
    Encoder {
        name: "sasrec",
        title: "SASRec",
        cost: 6_000.0,
    },
];

/// A training method on top of an encoder, or a recommender without an encoder.
pub struct Method {
    /// Name in the flags of `prl`.
    pub name: &'static str,
    /// Name in the paper.
    pub title: &'static str,
    /// Time of its training step relative to plain cross-entropy; 0 if nothing is trained.
    pub cost: f64,
}

impl Method {
    /// Whether it takes training steps.
    pub fn trains(&self) -> bool {
        self.cost > 0.0
    }
}

/// The methods of all tables.
pub const METHODS: [Method; 12] = [
    Method {
        name: "popularity",
        title: "Popularity",
        cost: 0.0,
    },
    Method {
        name: "last-items",
        title: "Last items",
        cost: 0.0,
    },
    Method {
        name: "session-knn",
        title: "Session-kNN",
        cost: 0.0,
    },
    Method {
        name: "normal",
        title: "normal",
        cost: 1.0,
    },
    Method {
        name: "sqn",
        title: "SQN",
        cost: 2.2,
    },
    Method {
        name: "sac",
        title: "SAC",
        cost: 2.2,
    },
    Method {
        name: "prl",
        title: "PRL",
        cost: 1.0,
    },
    Method {
        name: "prl-mean",
        title: "PRL-mean",
        cost: 1.0,
    },
    Method {
        name: "prl-mlp",
        title: "PRL-MLP",
        cost: 1.0,
    },
    Method {
        name: "prl-wo",
        title: "PRL-w/o",
        cost: 1.0,
    },
    Method {
        name: "prl-cumu",
        title: "PRL-cumu",
        cost: 1.0,
    },
    Method {
        name: "prl-control",
        title: "PRL without its prompt",
        cost: 1.0,
    },
];

/// A recommender of the matrix: everything that the seeds of one table row share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct System {
    /// Name of the encoder; `None` for recommenders that need none.
    pub encoder: Option<&'static str>,
    /// Name of the method.
    pub method: &'static str,
    /// Prompt block of the authors' released code: the queries are the encoder's outputs, so the
    /// prompt cannot influence the logits. Otherwise the block of the paper.
    pub released: bool,
}

impl System {
    /// A method on an encoder, with the prompt block of the paper.
    pub const fn new(encoder: &'static str, method: &'static str) -> Self {
        Self {
            encoder: Some(encoder),
            method,
            released: false,
        }
    }

    /// PRL on an encoder.
    pub const fn prl(encoder: &'static str) -> Self {
        Self::new(encoder, "prl")
    }

    const fn without_encoder(method: &'static str) -> Self {
        Self {
            encoder: None,
            method,
            released: false,
        }
    }

    /// Name in file names: `gru-prl`, `sasrec-prl-released`, `popularity`.
    pub fn name(&self) -> String {
        match self.encoder {
            Some(encoder) => format!("{encoder}-{}", self.method_name()),
            None => self.method_name(),
        }
    }

    /// Name of the method with its variant: `prl`, `prl-released`.
    pub fn method_name(&self) -> String {
        let suffix = if self.released { "-released" } else { "" };
        format!("{}{suffix}", self.method)
    }

    /// Name of the encoder in the paper.
    pub fn encoder_title(&self) -> Option<&'static str> {
        self.encoder_entry().map(|encoder| encoder.title)
    }

    /// Name of the method in the paper.
    pub fn method_title(&self) -> String {
        let title = self
            .method_entry()
            .map_or(self.method, |method| method.title);
        let suffix = if self.released { ", as released" } else { "" };
        format!("{title}{suffix}")
    }

    /// Encoder and method: `GRU PRL`, `Popularity`.
    pub fn title(&self) -> String {
        match self.encoder_title() {
            Some(encoder) => format!("{encoder} {}", self.method_title()),
            None => self.method_title(),
        }
    }

    /// Estimated time to train on one example with `items` items in the catalogue, in units of
    /// scoring one item with its gradient.
    pub fn cost(&self, items: u64) -> f64 {
        let encoder = self.encoder_entry().map_or(0.0, |encoder| encoder.cost);
        let method = self.method_entry().map_or(1.0, |method| method.cost);
        (encoder + items as f64) * method
    }

    /// Whether it has an encoder. Systems without one are deterministic: one seed is enough.
    pub fn has_encoder(&self) -> bool {
        self.encoder.is_some()
    }

    /// Whether it is PRL as the paper describes it, the system of Figures 4 and 5.
    pub fn is_paper_prl(&self) -> bool {
        self.method == "prl" && !self.released
    }

    fn encoder_entry(&self) -> Option<&'static Encoder> {
        let name = self.encoder?;
        ENCODERS.iter().find(|encoder| encoder.name == name)
    }

    fn method_entry(&self) -> Option<&'static Method> {
        METHODS.iter().find(|method| method.name == self.method)
    }
}

/// Choice of the pairs that the stars of a table test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignificanceRule {
    /// PRL against the best of the named methods on the same encoder, metric by metric.
    AgainstBestOf(&'static [&'static str]),
    /// Every other row against PRL on the same encoder.
    AgainstPrl,
}

/// One of the paper's tables of results.
#[derive(Debug)]
pub struct PaperTable {
    /// Number in the paper.
    pub number: u32,
    /// Subject, for headings.
    pub title: &'static str,
    /// Names of its logs in the flags of `prl`.
    pub logs: &'static [&'static str],
    /// Encoders, each combined with every method.
    encoders: &'static [&'static str],
    /// Methods.
    methods: &'static [&'static str],
    /// Additional rows that the paper does not have, tested against PRL.
    pub extra_rows: &'static [System],
    /// Pairs that its stars test.
    pub significance: SignificanceRule,
}

/// Systems without an encoder, in every table: later work found them better than the paper's
/// methods.
const WITHOUT_ENCODER: [System; 3] = [
    System::without_encoder("popularity"),
    System::without_encoder("last-items"),
    System::without_encoder("session-knn"),
];

const ALL_ENCODERS: &[&str] = &["gru", "caser", "nextitnet", "sasrec"];

const MAIN: PaperTable = PaperTable {
    number: 2,
    title: "the methods on every encoder",
    logs: &["rc15"],
    encoders: ALL_ENCODERS,
    methods: &["normal", "sqn", "sac", "prl"],
    extra_rows: &[
        System::new("gru", "prl-control"),
        System::new("caser", "prl-control"),
        System::new("nextitnet", "prl-control"),
        System::new("sasrec", "prl-control"),
        System {
            encoder: Some("sasrec"),
            method: "prl",
            released: true,
        },
    ],
    significance: SignificanceRule::AgainstBestOf(&["normal", "sqn", "sac"]),
};

/// Tables 2 to 5.
pub static TABLES: [PaperTable; 4] = [
    MAIN,
    PaperTable {
        number: 3,
        logs: &["retailrocket"],
        ..MAIN
    },
    PaperTable {
        number: 4,
        title: "the effect of self-attention",
        logs: &["rc15", "retailrocket"],
        encoders: &["gru"],
        methods: &["prl-mean", "prl-mlp", "prl"],
        extra_rows: &[],
        significance: SignificanceRule::AgainstPrl,
    },
    PaperTable {
        number: 5,
        title: "the effect of the weighted loss",
        logs: &["rc15", "retailrocket"],
        encoders: &["gru"],
        methods: &["prl-wo", "prl-cumu", "prl"],
        extra_rows: &[],
        significance: SignificanceRule::AgainstPrl,
    },
];

impl PaperTable {
    /// Whether it is a main result, as opposed to an ablation.
    pub fn is_main(&self) -> bool {
        matches!(self.significance, SignificanceRule::AgainstBestOf(_))
    }

    /// Its rows: systems without an encoder, then encoder by encoder.
    pub fn systems(&self) -> Vec<System> {
        let mut systems = WITHOUT_ENCODER.to_vec();
        for &encoder in self.encoders {
            for &method in self.methods {
                systems.push(System::new(encoder, method));
            }
            for extra in self.extra_rows {
                if extra.encoder == Some(encoder) {
                    systems.push(*extra);
                }
            }
        }
        systems
    }
}

/// Systems to run on a log: the rows of all its tables, without repetition.
pub fn systems(log: &str) -> Vec<System> {
    let mut all = Vec::new();
    for table in &TABLES {
        if !table.logs.contains(&log) {
            continue;
        }
        for system in table.systems() {
            if !all.contains(&system) {
                all.push(system);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paper;

    #[test]
    fn matrix_contains_every_row_of_the_paper() {
        for row in paper::load().unwrap() {
            let table = TABLES
                .iter()
                .find(|table| table.number == row.table)
                .unwrap();
            assert!(table.logs.contains(&row.log.as_str()), "{row:?}");
            assert!(
                table.systems().iter().any(|system| row.matches(system)),
                "{row:?}"
            );
        }
    }

    #[test]
    fn systems_of_a_log_are_unique() {
        // 3 without encoder; 4 encoders with 4 methods and the control; SASRec-PRL as released; 4
        // ablations of GRU-PRL.
        for log in ["rc15", "retailrocket"] {
            let all = systems(log);
            assert_eq!(all.len(), 3 + 4 * 5 + 1 + 4);
            assert!(
                all.iter()
                    .enumerate()
                    .all(|(i, system)| !all[..i].contains(system))
            );
        }
        assert_eq!(systems("another"), []);
    }

    #[test]
    fn every_system_has_titles() {
        for system in systems("rc15") {
            assert!(
                METHODS.iter().any(|method| method.name == system.method),
                "{system:?}"
            );
            assert_eq!(
                system.encoder.is_some(),
                system.encoder_title().is_some(),
                "{system:?}"
            );
        }
        for (table, (i, name)) in TABLES
            .iter()
            .flat_map(|t| ALL_ENCODERS.iter().enumerate().map(move |e| (t, e)))
        {
            assert_eq!(ENCODERS[i].name, *name);
            assert!(
                table
                    .encoders
                    .iter()
                    .all(|name| ALL_ENCODERS.contains(name))
            );
        }
    }

    #[test]
    fn system_names_are_unique() {
        let names: Vec<String> = systems("rc15").iter().map(System::name).collect();
        assert!(
            names
                .iter()
                .enumerate()
                .all(|(i, name)| !names[..i].contains(name)),
            "{names:?}"
        );
        let released = System {
            released: true,
            ..System::new("sasrec", "prl")
        };
        assert_eq!(
            (released.name().as_str(), released.title().as_str()),
            ("sasrec-prl-released", "SASRec PRL, as released")
        );
        assert!(!released.is_paper_prl() && System::new("sasrec", "prl").is_paper_prl());
        assert!((System::new("gru", "sqn").cost(9000) - 22_000.0).abs() < 1e-6);
    }
}
