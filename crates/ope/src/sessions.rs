//! Sessions as observations.

use prl_arms::{Reward, SessionLog};

/// The sessions of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Sessions {
    /// Names of the arms.
    pub arms: Vec<String>,
    /// The sessions.
    pub sessions: Vec<Session>,
}

/// One observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// Position of the arm that was assigned.
    pub arm: usize,
    /// Probability of that arm.
    pub p: f64,
    /// Return after the first answer.
    pub reward: f64,
    /// Context at the first answer.
    pub context: Context,
    /// Hash of the session's name; equal keys are in one fold.
    pub key: u64,
}

/// Observed state of a session before its arm has an effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Time step of the first answer.
    pub step: u32,
    /// Clicks before it.
    pub clicks: u32,
    /// Purchases before it.
    pub purchases: u32,
}

impl Sessions {
    /// The sessions of a log, with their returns.
    pub fn from_log(log: &SessionLog, reward: Reward) -> Self {
        let mut sessions = Vec::with_capacity(log.records.len());
        for record in &log.records {
            sessions.push(Session {
                arm: record.arm as usize,
                p: record.p,
                reward: reward.of(record),
                context: Context {
                    step: record.step,
                    clicks: record.clicks_before,
                    purchases: record.purchases_before,
                },
                key: fnv(&record.session),
            });
        }
        let arms = log.arms.clone();
        Self { arms, sessions }
    }

    /// Position of an arm.
    ///
    /// # Errors
    /// [`Error::UnknownArm`](crate::Error::UnknownArm) if there is none of that name.
    pub fn arm(&self, name: &str) -> crate::Result<usize> {
        let found = self.arms.iter().position(|arm| arm == name);
        found.ok_or_else(|| crate::Error::UnknownArm {
            name: name.to_owned(),
            arms: self.arms.clone(),
        })
    }
}

/// FNV-1a of a name. Arms are assigned by another hash, so folds are independent of them.
fn fnv(name: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}
