//! Errors of off-policy evaluation.

/// Result of an evaluation.
pub type Result<T> = std::result::Result<T, Error>;

/// A policy that cannot be evaluated on a log.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The sessions of a policy are too few.
    #[error(
        "{policy}: effective sample size {ess:.0}, and intervals hold from {min:.0} sessions on; \
         collect more sessions, or give the arm a larger share"
    )]
    FewSessions {
        /// Name of the policy.
        policy: String,
        /// Effective sample size.
        ess: f64,
        /// Smallest one.
        min: f64,
    },
    /// The logged probabilities are not those of the assignment.
    #[error(
        "{policy}: mean weight {mean:.4} with standard error {se:.4}, expected 1: the sessions were \
         not assigned with the probabilities of the log, or some are missing; check that each \
         session has one name and that no request sets its own prompt for a part of the users"
    )]
    Weights {
        /// Name of the policy.
        policy: String,
        /// Mean weight.
        mean: f64,
        /// Standard error of the mean weight.
        se: f64,
    },
    /// An arm that no session was assigned to.
    #[error("arm {name:?} is not in the log; its arms are {}", arms.join(", "))]
    UnknownArm {
        /// Name of the arm.
        name: String,
        /// Arms of the log.
        arms: Vec<String>,
    },
    /// Text that names no policy.
    #[error("policy {0:?}: expected arm:NAME, logged, or rules:FILE")]
    Policy(String),
    /// A file of rules is invalid.
    #[error("{file}:{line}: {what}")]
    Rules {
        /// Name of the file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Cause and remedy.
        what: String,
    },
}

impl Error {
    /// Whether the log is the cause, and not the arguments.
    pub fn is_bad_input(&self) -> bool {
        matches!(self, Error::FewSessions { .. } | Error::Weights { .. })
    }
}
