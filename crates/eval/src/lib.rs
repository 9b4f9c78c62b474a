//! Ranks to metrics, intervals and significance.
//!
//! Everything here starts from one number per test case, the [pessimistic rank](pessimistic_rank) of the item that really
//! came next among all items, with its session and the kind of its event. That is the one design decision: whoever ranks
//! (a network on any device, a popularity table) hands over ranks, so this crate knows nothing of candle or polars, and
//! every method is measured by the same few lines.
//!
//! A [`Report`] does not depend on the order of the cases, nor on the number of threads. What cannot be measured (the
//! metrics of a kind that has no event) is `None`, and `null` in JSON: never NaN, never 0.

mod bootstrap;
mod error;
mod interval;
mod metric;
mod rank;
mod recommended;
mod report;
mod scores;
mod significance;
mod table;

pub use bootstrap::RESAMPLES;
pub use error::Error;
pub use interval::{Interval, wilson};
pub use metric::{Case, Metric, PerMetric};
pub use rank::{NanScore, pessimistic_rank};
pub use recommended::{Recommended, TOP};
pub use report::{Intervals, Report, Setting, TieRule};
pub use scores::{Events, Scores};
pub use significance::{Comparison, PERMUTATIONS, compare};
