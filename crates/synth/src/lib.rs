//! Synthetic raw logs from a known process, in the real formats and at the scale of the paper's
//! Table 1.
//!
//! They replace data that may not be redistributed, and provide what real logs cannot: the ground
//! truth of a value signal. **Counts are planned, contents are random**: the numbers of clicks and
//! purchases of a session come from a low-discrepancy sequence and every item has planned
//! appearances, so Table 1 is reproduced at any scale and seed; *which* items a session contains is
//! a random walk.
//!
//! # The process
//! **Items.** Items are grouped in categories of about 50. Item `i` of `K` categories has category
//! `i mod K` and rank `l = i div K` in it. A draw within a category has probability proportional to
//! `1 / (l + 1)`, a draw of a category `c` proportional to `(c + 1)^-0.8`. One item in six is
//! **purchase-heavy**. Each item has four favoured successors, followed with probabilities .5, .25,
//! .15, .1, and two favoured purchase-heavy ones (.7, .3), all drawn once from its category. *Rare*
//! items are outside the categories: in RetailRocket's format each has one or two clicks and is
//! dropped by the item filter, in RC15's each has one click and forms the long tail that sampling
//! the sessions thins out.
//!
//! **Sessions.** A session has `n` clicks, a hidden intent (browsing or buying) and `m` purchases:
//! - `n = 3 + G(mu)`, `G` geometric on 0, 1, ..; in one session of a hundred the mean is 45 (so
//!   about 0.35% exceed 50 clicks), in the others the value that gives Table 1's overall mean;
//! - the intent is to buy with probability `q`; then `m = 1 + G(.5)` with probability .8 and 0
//!   otherwise. A browsing session has `m = 1` with probability .02. `q` solves
//!   `1.2 q + .02 (1 - q) = ` purchases per session.
//!
//! **Clicks.** Each item of a category has three planned appearances, the minimum that passes the
//! item filter, spread evenly over a log of at most Table 1's size, and proportionally more in a
//! larger one. The first item is one planned for the session, if any, with probability .5, or else
//! drawn from a drawn category. After item `i` at step `t >= 1` of the walk, the next item is
//! - with probability .15 (from the third click on) one seen earlier in the session;
//! - else with probability .10 a draw from the category of `i`;
//! - else, in a buying session, with probability `.9 t / (t + 1)` a favoured purchase-heavy
//!   successor of `i`: the drift towards value;
//! - else a favoured successor of `i`.
//!
//! Planned items that do not start the session are inserted at random steps and do not affect the
//! walk. Over the log, popularity falls with rank about as `rank^-0.6` (RetailRocket) to
//! `rank^-0.8` (RC15).
//!
//! **Purchases** follow clicks: each of the `m` is of the item clicked at step `t` with probability
//! proportional to `(t + 1) w`, `w = 10` for a purchase-heavy item and 1 otherwise, and happens
//! directly after that click (probability .75) or up to three clicks later. So the log shows the
//! intent only in part, and a high return to go predicts more purchase-heavy items.
//!
//! **Time.** Session starts are spread evenly over 137 days (RetailRocket) or 182 days (RC15); gaps
//! between events are log-normal, median one minute, clamped to one second .. one hour. No two
//! events of a session have the same millisecond.
//!
//! **Noise** that the protocol's filters must remove: sessions of one or two clicks (a quarter as
//! many as those kept), rows with transaction ids, rare items.
//!
//! ```
//! let dir = tempfile::tempdir()?;
//! let options = prl_synth::Options { like: prl_synth::Like::Tiny, sessions: Some(200), seed: 7 };
//! let summary = prl_synth::synth(&options, dir.path())?;
//! assert_eq!(summary.expected.sessions, 200);
//! assert!(dir.path().join("events.csv").exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod catalogue;
mod error;
mod files;
mod generate;
mod options;
mod plan;
mod rc15;
mod retailrocket;
mod shape;
pub mod shop;
mod walk;
mod world;

pub use catalogue::{CatalogueItem, catalogue};
pub use error::{Error, Result};
pub use generate::synth;
pub use options::{Expected, Like, Options, Summary, SyntheticFile};
