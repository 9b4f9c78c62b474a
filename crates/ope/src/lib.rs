//! Off-policy evaluation: what a rule that chooses the arm of each session would have earned, from
//! the log of an experiment that drew the arms with known probabilities.
//!
//! The unit is the session, with its whole return R after its first answer. A session that was
//! assigned arm a with probability p has the weight w = 1\[a = pi(s)\] / p under the policy pi.
//! With n sessions:
//!
//! - IPS is the mean of w R (Horvitz and Thompson, 1952).
//! - SNIPS is the sum of w R over the sum of w (Swaminathan and Joachims, 2015).
//! - DR is the mean of q(s, pi(s)) + w (R - q(s, a)) (Dudík et al., 2014), where q is a ridge
//!   regression for each arm on what was known at the first answer. It is fitted on the other folds
//!   than the session's own, and folds are hashes of sessions' names.
//!
//! Intervals are 95 %, from the sandwich variance over sessions. Two conditions are checked before
//! anything is estimated: an effective sample size (sum of w)² / sum of w² of at least
//! [`Options::min_ess`], and a mean weight within three standard errors of 1, which wrong
//! probabilities miss.
//!
//! ```
//! use prl_ope::{Context, Evaluator, Options, Policy, Session, Sessions};
//!
//! let mut sessions = Vec::new();
//! for i in 0..4_000_u64 {
//!     let arm = (i % 2) as usize;
//!     let (context, p) = (Context::default(), 0.5);
//!     let reward = arm as f64;
//!     sessions.push(Session { arm, p, reward, context, key: i / 2 });
//! }
//! let log = Sessions { arms: vec!["low".into(), "high".into()], sessions };
//! let evaluator = Evaluator::new(&log, Options::default());
//! let high = evaluator.value(&Policy::Arm(1))?;
//! assert_eq!((high.snips.value, high.ess), (1.0, 2_000.0));
//! # Ok::<(), prl_ope::Error>(())
//! ```

mod bandit;
mod error;
mod estimate;
mod outcome;
mod policy;
mod power;
mod report;
mod sessions;

pub use bandit::{FLOOR, NextShare, next_shares};
pub use error::{Error, Result};
pub use estimate::{Difference, Estimate, Evaluator, Options, PolicyValue};
pub use policy::{Policy, Rules};
pub use power::{Power, power};
pub use report::{DifferenceRow, PolicyRow, PowerRow, Report};
pub use sessions::{Context, Session, Sessions};
