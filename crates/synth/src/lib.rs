//! Raw logs made by a known process, in the real formats and at the scale of the paper's Table 1.
//!
//! They stand in for data that may not be redistributed, and they can show what real logs cannot: the process holds a value
//! signal whose truth is known. The one design decision: **counts are planned, contents are random**. How many clicks and
//! purchases a session has comes from a low-discrepancy sequence, and every item is promised its appearances, so Table 1 comes
//! out right at any scale and seed; *which* items a session meets is an ordinary random walk.
//!
//! # The process
//! **Items.** Items fall into categories of about 50. Item `i` of `K` categories has category `i mod K` and rank
//! `l = i div K` in it; a draw within a category takes rank `l` with probability proportional to `1 / (l + 1)`, and a draw of
//! a category takes `c` with probability proportional to `(c + 1)^-0.8`. One item in six is **purchase-heavy**. Each item has
//! four favoured successors, followed with probabilities .5, .25, .15, .1, and two favoured purchase-heavy ones (.7, .3), all
//! drawn once from its category. *Rare* items stand outside the categories: in RetailRocket's format each has one or two clicks
//! and falls to the item filter, in RC15's each has one click and makes the long tail that a sample of the sessions thins.
//!
//! **Sessions.** A session has `n` clicks, a hidden intent (to browse or to buy) and `m` purchases:
//! - `n = 3 + G(mu)`, `G` geometric on 0, 1, ..; in one session of a hundred the mean is 45 (so some 0.35% pass 50 clicks), in
//!   the others it is what brings the overall mean to Table 1's;
//! - it means to buy with probability `q`; then `m = 1 + G(.5)` with probability .8 and 0 otherwise. A browsing session has
//!   `m = 1` with probability .02. `q` solves `1.2 q + .02 (1 - q) = ` purchases per session.
//!
//! **Clicks.** Each item of a category is promised three appearances, what the item filter asks for, spread evenly over a log of
//! Table 1's size or less, and in proportion more in a larger one. The first item is one promised to the session, if there is one, with probability .5, or drawn from a drawn category.
//! After the item `i` at step `t >= 1` of the walk, the next is
//! - with probability .15 (from the third click on) one seen earlier in the session;
//! - else with probability .10 a draw from the category of `i`;
//! - else, in a session that means to buy, with probability `.9 t / (t + 1)` a favoured purchase-heavy successor of `i`: the
//!   drift towards value;
//! - else a favoured successor of `i`.
//!
//! Promised items that do not start the session are passing looks at random steps; the walk goes on as if they had not been.
//! Over the log this makes popularity fall with rank about as `rank^-0.6` (RetailRocket) to `rank^-0.8` (RC15).
//!
//! **Purchases** follow interest: each of the `m` is of the item clicked at step `t` with probability proportional to
//! `(t + 1) w`, `w = 10` for a purchase-heavy item and 1 otherwise, and happens right after that click (probability .75) or up
//! to three clicks later. So the log shows the intent only in part, and a high return to go means more purchase-heavy items next.
//!
//! **Time.** Session starts are spread evenly over 137 days (RetailRocket) or 182 days (RC15); the gaps between events are
//! log-normal, median one minute, between a second and an hour. No two events of a session share a millisecond.
//!
//! **Dirt** the protocol's filters must remove: sessions of one or two clicks (a quarter as many as those kept), rows with
//! transaction ids, rare items.
//!
//! ```
//! let dir = tempfile::tempdir()?;
//! let options = prl_synth::Options { like: prl_synth::Like::Tiny, sessions: Some(200), seed: 7 };
//! let summary = prl_synth::synth(&options, dir.path())?;
//! assert_eq!(summary.expected.sessions, 200);
//! assert!(dir.path().join("events.csv").exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod files;
mod generate;
mod options;
mod plan;
mod rc15;
mod retailrocket;
mod shape;
mod walk;
mod world;

pub use error::{Error, Result};
pub use generate::synth;
pub use options::{Expected, Like, Options, Summary, SyntheticFile};
