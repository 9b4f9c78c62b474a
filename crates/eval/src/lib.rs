//! Evaluation of next-item recommenders: metrics, confidence intervals and significance.
//!
//! The input is one number per test case, the [pessimistic rank](pessimistic_rank) of the actual
//! next item among all items, with its session and the kind of its event. Any model that ranks (a
//! network on any device, a popularity table) supplies ranks, so the crate depends on neither
//! candle nor polars and every method is measured by the same code. [`Conventions`] names what
//! evaluations of this field vary: which events are cases, and which items are ranked.
//!
//! A [`Report`] is independent of the order of the cases and of the number of threads. Undefined
//! values (metrics of a kind without events) are `None`, and `null` in JSON: never NaN, never 0.
//!
//! ```
//! use prl_eval::{Case, Kind, Metric, Rewards, Scores, compare, pessimistic_rank};
//!
//! // Scores of three items; the next item was item 2.
//! let rank = pessimistic_rank(&[0.1, 0.7, 0.3], 2)?;
//! let ours = [Case { kind: Kind::Click, rank }, Case { kind: Kind::Purchase, rank: 9 }];
//! let scores = Scores::new(&ours, Rewards::default())?;
//! assert_eq!(scores.all.hr5, Some(0.5));
//!
//! // Paired test against another system on the same cases, with the session as the unit.
//! let theirs = [Case { kind: Kind::Click, rank: 8 }, Case { kind: Kind::Purchase, rank: 9 }];
//! let result = compare(&[&ours], &[&theirs], &[0, 1], None, Metric::Hr5, 1)?;
//! assert_eq!(result.map(|result| result.difference), Some(0.5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bootstrap;
mod conventions;
mod cutoffs;
mod error;
mod interval;
mod metric;
mod rank;
mod recommended;
mod report;
mod scores;
mod significance;
mod table;

pub use bootstrap::{RESAMPLES, ratio_interval};
pub use conventions::{CaseSplit, Conventions, OtherLog};
pub use cutoffs::{CutoffIntervals, Cutoffs, Named};
pub use error::Error;
pub use interval::{Interval, wilson};
pub use metric::{Case, Metric, NOT_RANKED, PerMetric};
pub use prl_dataset::{Kind, Rewards, Split};
pub use rank::{NanScore, pessimistic_rank};
pub use recommended::{Recommended, TOP};
pub use report::{Intervals, Report, Setting, TieRule};
pub use scores::{Events, Scores};
pub use significance::{Comparison, PERMUTATIONS, compare};
