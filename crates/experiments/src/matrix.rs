//! The experiment matrix as data: which encoders and methods there are, and which of them stand in which of the paper's
//! tables. A row that is wanted is a line here; nothing else knows a method by its name.

/// A session encoder.
pub struct Encoder {
    /// As `prl` names it.
    pub name: &'static str,
    /// As the paper names it.
    pub title: &'static str,
    /// How many items' scores, with their gradients, take as long as the encoder itself: a guess for the progress lines.
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

/// What is trained on top of an encoder, or ranks without one.
pub struct Method {
    /// As `prl` names it.
    pub name: &'static str,
    /// As the paper names it.
    pub title: &'static str,
    /// The time of its training step, that of plain cross-entropy being 1.
    pub cost: f64,
}

impl Method {
    /// Whether there are steps to take.
    pub fn trains(&self) -> bool {
        self.cost > 0.0
    }
}

/// Every method of the tables.
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

/// A recommender of the matrix: what is the same in all seeds of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct System {
    /// The encoder; `None` for what needs none.
    pub encoder: Option<&'static str>,
    /// What is trained on top of it.
    pub method: &'static str,
    /// SASRec-PRL as the released code has it: the prompt looks at the encoder's outputs, so that it cannot reach the
    /// logits. The paper's block otherwise.
    pub released: bool,
}

impl System {
    /// A method on an encoder, as the paper has it.
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

    const fn baseline(method: &'static str) -> Self {
        Self {
            encoder: None,
            method,
            released: false,
        }
    }

    /// For file names: `gru-prl`, `sasrec-prl-released`, `popularity`.
    pub fn name(&self) -> String {
        let encoder = self
            .encoder
            .map(|encoder| format!("{encoder}-"))
            .unwrap_or_default();
        format!(
            "{encoder}{}{}",
            self.method,
            if self.released { "-released" } else { "" }
        )
    }

    /// The encoder as the paper names it.
    pub fn encoder_title(&self) -> Option<&'static str> {
        let name = self.encoder?;
        ENCODERS
            .iter()
            .find(|encoder| encoder.name == name)
            .map(|encoder| encoder.title)
    }

    /// The method as the paper names it.
    pub fn method_title(&self) -> String {
        let title = METHODS
            .iter()
            .find(|method| method.name == self.method)
            .map_or(self.method, |method| method.title);
        format!(
            "{title}{}",
            if self.released { ", as released" } else { "" }
        )
    }

    /// Both: `GRU PRL`, `Popularity`.
    pub fn title(&self) -> String {
        let encoder = self
            .encoder_title()
            .map(|title| format!("{title} "))
            .unwrap_or_default();
        encoder + &self.method_title()
    }

    /// The time to learn from a row among so many items, that of an item's score with its gradients being 1.
    pub fn cost(&self, items: u64) -> f64 {
        let encoder = ENCODERS
            .iter()
            .find(|encoder| Some(encoder.name) == self.encoder);
        let method = METHODS.iter().find(|method| method.name == self.method);
        (encoder.map_or(0.0, |encoder| encoder.cost) + items as f64)
            * method.map_or(1.0, |method| method.cost)
    }

    /// Whether it has no encoder. It is deterministic then: one seed says all.
    pub fn is_baseline(&self) -> bool {
        self.encoder.is_none()
    }

    /// Whether Figures 4 and 5 are drawn from it: PRL, which can be asked for value.
    pub fn is_asked(&self) -> bool {
        *self
            == System {
                method: "prl",
                released: false,
                ..*self
            }
    }
}

/// What a star in a table tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Star {
    /// PRL against the best of the named methods on the same encoder, metric by metric.
    AgainstBestOf(&'static [&'static str]),
    /// Every other row against PRL on the same encoder.
    AgainstPrl,
}

/// One of the paper's tables of results.
#[derive(Debug)]
pub struct Table {
    /// Its number.
    pub number: u32,
    /// What it is about.
    pub title: &'static str,
    /// The logs it has, as `prl` names them.
    pub logs: &'static [&'static str],
    /// The encoders it crosses with the methods.
    encoders: &'static [&'static str],
    /// The methods.
    methods: &'static [&'static str],
    /// Rows that the paper does not have, tested against PRL.
    pub extras: &'static [System],
    /// What its star tests.
    pub star: Star,
}

/// What needs no encoder and belongs in every table, as later work found such baselines above the paper's methods.
const BASELINES: [System; 3] = [
    System::baseline("popularity"),
    System::baseline("last-items"),
    System::baseline("session-knn"),
];

const ALL_ENCODERS: &[&str] = &["gru", "caser", "nextitnet", "sasrec"];

const MAIN: Table = Table {
    number: 2,
    title: "the methods on every encoder",
    logs: &["rc15"],
    encoders: ALL_ENCODERS,
    methods: &["normal", "sqn", "sac", "prl"],
    extras: &[
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
    star: Star::AgainstBestOf(&["normal", "sqn", "sac"]),
};

/// Tables 2 to 5.
pub static TABLES: [Table; 4] = [
    MAIN,
    Table {
        number: 3,
        logs: &["retailrocket"],
        ..MAIN
    },
    Table {
        number: 4,
        title: "the effect of self-attention",
        logs: &["rc15", "retailrocket"],
        encoders: &["gru"],
        methods: &["prl-mean", "prl-mlp", "prl"],
        extras: &[],
        star: Star::AgainstPrl,
    },
    Table {
        number: 5,
        title: "the effect of the weighted loss",
        logs: &["rc15", "retailrocket"],
        encoders: &["gru"],
        methods: &["prl-wo", "prl-cumu", "prl"],
        extras: &[],
        star: Star::AgainstPrl,
    },
];

impl Table {
    /// Whether it is one of the paper's main results, and no ablation.
    pub fn is_main(&self) -> bool {
        matches!(self.star, Star::AgainstBestOf(_))
    }

    /// Its rows, encoder by encoder, the baselines before them.
    pub fn systems(&self) -> Vec<System> {
        let rows = self.encoders.iter().flat_map(|&encoder| {
            let extras = self
                .extras
                .iter()
                .copied()
                .filter(move |extra| extra.encoder == Some(encoder));
            self.methods
                .iter()
                .map(move |&method| System::new(encoder, method))
                .chain(extras)
        });
        BASELINES.into_iter().chain(rows).collect()
    }
}

/// Everything that is run on a log: the rows of all its tables, each once.
pub fn systems(log: &str) -> Vec<System> {
    let mut all = Vec::new();
    for system in TABLES
        .iter()
        .filter(|table| table.logs.contains(&log))
        .flat_map(Table::systems)
    {
        if !all.contains(&system) {
            all.push(system);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paper;

    #[test]
    fn every_row_of_the_paper_is_run() {
        for row in paper::rows().unwrap() {
            let table = TABLES
                .iter()
                .find(|table| table.number == row.table)
                .unwrap();
            assert!(table.logs.contains(&row.log.as_str()), "{row:?}");
            assert!(
                table.systems().iter().any(|system| row.is_of(system)),
                "{row:?}"
            );
        }
    }

    #[test]
    fn nothing_is_run_twice() {
        // 3 baselines; 4 encoders with 4 methods and the control; SASRec-PRL as released; 4 ablations of GRU-PRL.
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
    fn every_name_has_its_line() {
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
    fn a_system_is_told_from_every_other() {
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
        assert!(!released.is_asked() && System::new("sasrec", "prl").is_asked());
        assert!((System::new("gru", "sqn").cost(9000) - 22_000.0).abs() < 1e-6);
    }
}
