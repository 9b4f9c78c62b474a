//! Event kinds under the log's own names, and rewards of single events.

use serde::{Deserialize, Serialize};

use crate::enum_slice::EnumSlice;
use crate::event::Kind;
use crate::returns::Rewards;

/// Event kind as the log names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventKind {
    /// Name in the log, such as `addtocart`.
    pub name: String,
    /// Kind that the paper's counts and metrics take it for.
    pub role: Kind,
    /// Reward of such an event; without it the reward of its role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward: Option<f64>,
}

/// Optional arrays of a dataset: the log's own event kinds, and rewards of single events. The
/// default has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventDetails {
    /// Event kinds that the labels refer to.
    pub kinds: Vec<EventKind>,
    /// Index into `kinds` of each event; empty if the log's kinds are not kept.
    pub labels: Vec<u8>,
    /// Reward of each event, NaN where the event has none of its own; empty if no event has one.
    pub rewards: Vec<f32>,
}

impl EventDetails {
    /// Maximum number of event kinds: a label is one byte.
    pub const MAX_KINDS: usize = 256;

    /// Whether there is neither a label nor a reward.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.rewards.is_empty()
    }

    /// View of the details beside the kinds of the events.
    pub(crate) fn rewards_of<'a>(&'a self, kinds: &'a [Kind]) -> EventRewards<'a> {
        EventRewards {
            kinds: EnumSlice::new(bytemuck::cast_slice(kinds)),
            names: &self.kinds,
            labels: &self.labels,
            own: &self.rewards,
        }
    }
}

/// Rewards of a dataset's events. An event's reward is that of its named kind, if that has one, or
/// else its own, if it has one, or else that of its [`Kind`].
#[derive(Clone, Copy, Debug)]
pub struct EventRewards<'a> {
    pub(crate) kinds: EnumSlice<'a, Kind>,
    pub(crate) names: &'a [EventKind],
    pub(crate) labels: &'a [u8],
    pub(crate) own: &'a [f32],
}

impl EventRewards<'_> {
    /// Reward of the event at this index; `rewards` are those of the two kinds.
    pub fn of(&self, event: usize, rewards: Rewards) -> f64 {
        if let Some(&label) = self.labels.get(event)
            && let Some(reward) = self.names[usize::from(label)].reward
        {
            return reward;
        }
        match self.own.get(event) {
            Some(own) if !own.is_nan() => f64::from(*own),
            _ => rewards.of(self.kinds[event]),
        }
    }

    /// Checks the invariants that [`of`](Self::of) relies on.
    pub(crate) fn check(&self) -> Result<(), String> {
        let n = self.kinds.len();
        for (name, len) in [("labels", self.labels.len()), ("rewards", self.own.len())] {
            if len != 0 && len != n {
                return Err(format!("there are {len} {name} for {n} events"));
            }
        }
        if self.names.len() > EventDetails::MAX_KINDS {
            return Err(format!("there are {} event kinds", self.names.len()));
        }
        for kind in self.names {
            if kind.reward.is_some_and(|reward| !is_reward(reward)) {
                return Err(format!(
                    "the reward of {:?} is negative or not finite",
                    kind.name
                ));
            }
        }
        for (&label, &kind) in self.labels.iter().zip(self.kinds.all()) {
            match self.names.get(usize::from(label)) {
                None => return Err(format!("no event kind has the label {label}")),
                Some(named) if named.role != kind => {
                    let (name, role) = (&named.name, named.role.name());
                    return Err(format!("an event of {name:?} is no {role}"));
                }
                Some(_) => {}
            }
        }
        for &own in self.own {
            if !own.is_nan() && !is_reward(f64::from(own)) {
                return Err("a reward is negative or infinite".into());
            }
        }
        Ok(())
    }
}

/// Whether a number is finite and not negative.
fn is_reward(reward: f64) -> bool {
    reward.is_finite() && reward >= 0.0
}
