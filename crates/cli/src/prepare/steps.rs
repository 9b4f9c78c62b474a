//! Flags of `prl prepare` for the steps between reading and splitting.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::ValueEnum;
use prl_data::{Gap, ItemsFile, KindOptions, LongSessions, Moment, Output, SplitRule, Steps};

use crate::exit::Usage;

/// Steps beside the protocol's.
#[derive(clap::Args)]
#[command(
    next_help_heading = "Steps (all sources but rc15, which takes --long-sessions and --split-at)"
)]
pub struct StepArgs {
    /// Drop events before this time: a date, ISO 8601 or a number as in the log; UTC without a zone
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<Moment>,
    /// Drop events at this time or later
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<Moment>,
    /// Drop all but the first of events that agree in everything
    #[arg(long)]
    drop_duplicates: bool,
    /// Make sessions of users: a new one begins where more than this passes between two events of a
    /// user, such as 30m (units s, m, h, d). Its id is the user's, `_` and the milliseconds of its
    /// first event
    #[arg(long, value_name = "TIME")]
    session_gap: Option<Gap>,
    /// Drop an event whose item and kind are those of the event before it in its session
    #[arg(long)]
    drop_repeats: bool,
    /// Repeat the filters of --min-session-events and --min-item-events until neither drops an
    /// event; by default each runs once, sessions first, as the paper's protocol has it
    #[arg(long)]
    filter_until_stable: bool,
    /// Treatment of a session with more than --max-length events
    #[arg(long, default_value = "drop", value_name = "RULE")]
    long_sessions: Long,
    /// Split whole sessions by the time of their last event: test from the last date on, and with
    /// two dates validation from the first on
    #[arg(long, value_name = "DATE[,DATE]", value_delimiter = ',', conflicts_with_all = ["split", "val", "test"])]
    split_at: Vec<Moment>,
}

/// Event kinds of a table.
#[derive(clap::Args)]
#[command(next_help_heading = "Event kinds (csv, parquet, inter and jsonl)")]
pub struct KindArgs {
    /// Keep the names of the event kinds in the dataset, beside click and purchase
    #[arg(long)]
    keep_kinds: bool,
    /// Reward of an event kind in the dataset, which takes precedence over the rewards of a
    /// training run; repeatable. A kind that neither --click nor --purchase names counts as a click
    #[arg(long, value_name = "KIND=REWARD", value_parser = reward)]
    reward: Vec<(String, f64)>,
}

/// Checks and results.
#[derive(clap::Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Make every warning about the log an error
    #[arg(long)]
    strict: bool,
    /// Keep the raw events in the dataset's directory, so that --append can add others
    #[arg(long)]
    keep_log: bool,
    /// Properties of items to keep in the dataset and in its runs: csv, tsv, parquet or jsonl (.gz,
    /// .zst), a row an item, with any columns, such as category, price, title, image, available.
    /// Types are found from the values; the last row of an item counts. Items outside the log are
    /// kept too
    #[arg(long, value_name = "FILE")]
    items: Option<PathBuf>,
    /// Column of the item ids in --items [default: item_id, product_id, item, sku, id or the like]
    #[arg(long, value_name = "COLUMN", requires = "items")]
    items_id: Option<String>,
    /// Replace another dataset in --out; runs of that one can then neither be evaluated nor resumed
    #[arg(long)]
    replace: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Long {
    /// Drop it; counted as long_session
    Drop,
    /// Cut it into pieces of that length; the last may be shorter
    Split,
    /// Keep its last events; the others are counted as long_session_start
    Last,
}

impl StepArgs {
    /// The steps, and the split rule that takes the place of `split`.
    pub fn steps(self, split: SplitRule) -> (Steps, SplitRule) {
        let split = if self.split_at.is_empty() {
            split
        } else {
            SplitRule::Date
        };
        let steps = Steps {
            from: self.from,
            until: self.until,
            drop_duplicates: self.drop_duplicates,
            session_gap: self.session_gap,
            drop_repeats: self.drop_repeats,
            filter_until_stable: self.filter_until_stable,
            long_sessions: match self.long_sessions {
                Long::Drop => LongSessions::Drop,
                Long::Split => LongSessions::Split,
                Long::Last => LongSessions::Last,
            },
            split_at: self.split_at,
        };
        (steps, split)
    }
}

impl KindArgs {
    /// Names and rewards of the kinds.
    pub fn kinds(self) -> anyhow::Result<KindOptions> {
        let mut rewards = BTreeMap::new();
        for (kind, reward) in self.reward {
            if rewards.insert(kind.clone(), reward).is_some() {
                return Err(Usage(format!("--reward names {kind:?} twice; expected once")).into());
            }
        }
        Ok(KindOptions {
            keep_kinds: self.keep_kinds,
            rewards,
        })
    }

    /// Whether a flag of these is given.
    pub fn is_given(&self) -> bool {
        self.keep_kinds || !self.reward.is_empty()
    }
}

impl OutputArgs {
    /// Whether the raw events are kept.
    pub fn keeps_log(&self) -> bool {
        self.keep_log
    }

    /// Treatment of the results.
    pub fn output(self) -> Output {
        Output {
            strict: self.strict,
            replace: self.replace,
            keep_log: self.keep_log,
            items: self.items.map(|path| ItemsFile {
                path,
                id: self.items_id,
            }),
            ..Output::default()
        }
    }
}

/// Parses `KIND=REWARD`; a kind may contain `=`.
fn reward(text: &str) -> Result<(String, f64), String> {
    let expected = "expected KIND=REWARD, such as cart=0.5";
    let Some((kind, number)) = text.rsplit_once('=') else {
        return Err(expected.into());
    };
    match number.trim().parse() {
        Ok(number) if !kind.is_empty() => Ok((kind.to_owned(), number)),
        _ => Err(expected.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reward_is_a_kind_and_a_number() {
        assert_eq!(reward("cart=.5"), Ok(("cart".into(), 0.5)));
        assert_eq!(reward("a=b=2"), Ok(("a=b".into(), 2.0)));
        for text in ["cart", "cart=", "=1", "cart=much"] {
            assert!(reward(text).is_err(), "{text}");
        }
    }
}
