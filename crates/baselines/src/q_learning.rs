//! Losses of SQN (self-supervised Q-learning) and SAC (self-supervised actor-critic; not Soft
//! Actor-Critic): Xin et al., "Self-Supervised Reinforcement Learning for Recommender Systems",
//! SIGIR '20.
//!
//! Two networks each have a cross-entropy (CE) head and a Q head. At every training step one of
//! them, drawn at random, is the main network, which is updated; the other evaluates the next state
//! (double Q-learning). With the temporal-difference (TD) loss of an example (s, a, r, s')
//!
//! ```text
//! y = r                                          if s' is terminal
//! y = r + gamma Q_other(s')[argmax_a Q_main(s')] otherwise
//! TD = (y - Q_main(s, a))^2 / 2
//! ```
//!
//! SQN minimises mean(CE + TD), SAC minimises mean(Q_main(s, a) CE + TD), with Q a constant in the
//! weight. This module computes per-example values; callers average losses and gradients over the
//! batch.

/// Targets of double Q-learning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DoubleQ {
    /// Discount factor of the next state's value.
    pub gamma: f64,
}

impl Default for DoubleQ {
    /// Discount factor of the paper: 0.5.
    fn default() -> Self {
        Self { gamma: 0.5 }
    }
}

/// Slices of one batch with different lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {found} entries for a batch of {batch} examples; pass one entry for each")]
pub struct LengthMismatch {
    /// Name of the slice.
    pub what: &'static str,
    /// Length of the slice.
    pub found: usize,
    /// Number of examples in the batch.
    pub batch: usize,
}

impl DoubleQ {
    /// Targets y of Q_main(s, a) `[B]`: r + gamma Q_other(s')\[argmax Q_main(s')\], or r where
    /// `done`. There `q_other_at_argmax` is ignored and may be NaN.
    ///
    /// # Errors
    /// [`LengthMismatch`] if the slices differ in length.
    pub fn targets(
        self,
        rewards: &[f64],
        q_other_at_argmax: &[f64],
        done: &[bool],
    ) -> Result<Vec<f64>, LengthMismatch> {
        check_length("next values", q_other_at_argmax.len(), rewards.len())?;
        check_length("done", done.len(), rewards.len())?;
        let mut targets = rewards.to_vec();
        for (i, target) in targets.iter_mut().enumerate() {
            if !done[i] {
                *target += self.gamma * q_other_at_argmax[i];
            }
        }
        Ok(targets)
    }
}

/// Temporal-difference loss of each example, and its gradient.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TdLoss {
    /// (y - q)^2 / 2 `[B]`.
    pub losses: Vec<f64>,
    /// Gradient by q `[B]`, with the target y a constant: q - y.
    pub gradients: Vec<f64>,
}

impl TdLoss {
    /// Loss of `q` = Q_main(s, a) `[B]` against targets y `[B]`.
    ///
    /// # Errors
    /// [`LengthMismatch`] if the slices differ in length.
    pub fn new(q: &[f64], targets: &[f64]) -> Result<Self, LengthMismatch> {
        check_length("targets", targets.len(), q.len())?;
        let mut td = Self::default();
        for (q, target) in q.iter().zip(targets) {
            let gradient = q - target;
            td.losses.push(0.5 * gradient * gradient);
            td.gradients.push(gradient);
        }
        Ok(td)
    }
}

fn check_length(what: &'static str, found: usize, batch: usize) -> Result<(), LengthMismatch> {
    if found == batch {
        Ok(())
    } else {
        Err(LengthMismatch { what, found, batch })
    }
}

/// Critic of SAC (self-supervised actor-critic): weights the actor's cross-entropy by Q(s, a).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Critic {
    /// Training steps with unweighted cross-entropy before the weights apply ([`warm_up_steps`]).
    pub warm_up: u64,
}

impl Critic {
    /// Weight of each example's cross-entropy `[B]` after `step` training steps: 1 during the
    /// warm-up, then Q_main(s, a), unclipped. The weight is a constant: no gradient flows into Q.
    pub fn weights(self, step: u64, q: &[f64]) -> Vec<f64> {
        if step < self.warm_up {
            vec![1.0; q.len()]
        } else {
            q.to_vec()
        }
    }
}

/// Warm-up steps of SAC in the authors' code, by the encoder's name and the source kind in the
/// dataset's manifest.
pub fn warm_up_steps(encoder: &str, source: &str) -> u64 {
    match (encoder, source) {
        ("gru", "retailrocket") => 15_000,
        ("sasrec", "retailrocket" | "rc15") => 30_000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(ours: &[f64], by_hand: &[f64]) {
        assert_eq!(ours.len(), by_hand.len());
        ours.iter()
            .zip(by_hand)
            .for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "{a}, by hand {b}"));
    }

    // A session of a click, a purchase and a click, rewards .2, 1 and .2, over three items. After
    // each step, with the arg-max a of Q_main and Q_other's value there:
    //   Q_main(s') = [.1 .5 .3]   a = 1   Q_other(s') = [.9 .4 .2]   .4, not its own maximum
    //   Q_main(s') = [.6 .2 .1]   a = 0   Q_other(s') = [.3 .7 .8]   .3
    //   the end                           Q_other(s')                NaN: must be ignored
    //                  step 0                  step 1                    step 2
    // Targets          .2 + .5 x .4 = .4       1 + .5 x .3 = 1.15        .2
    // Q_main(s, a)     .7                      -.25                      .5
    // TD loss          (.4 - .7)^2/2 = .045    (1.15 + .25)^2/2 = .98    (.2 - .5)^2/2 = .045
    // its gradient     .7 - .4 = .3            -.25 - 1.15 = -1.4        .5 - .2 = .3
    // p(a) of actor    1/2                     1/4                       1/8
    // cross-entropy    ln 2 = .693147          ln 4 = 1.386294           ln 8 = 2.079442
    // SQN: CE + TD     .738147                 2.366294                  2.124442
    // SAC: Q CE + TD   .485203 + .045          -.346574 + .98            1.039721 + .045
    //                  = .530203               = .633426                 = 1.084721
    #[test]
    fn losses_of_a_three_step_session_match_hand_computation() {
        let q_main_next = [[0.1, 0.5, 0.3], [0.6, 0.2, 0.1], [0.0; 3]];
        let q_other_next = [[0.9, 0.4, 0.2], [0.3, 0.7, 0.8], [f64::NAN; 3]];
        let argmax = |q: &[f64; 3]| (0..3).max_by(|&a, &b| q[a].total_cmp(&q[b])).unwrap();
        let next: Vec<f64> = q_main_next
            .iter()
            .zip(&q_other_next)
            .map(|(main, other)| other[argmax(main)])
            .collect();
        let targets = DoubleQ::default()
            .targets(&[0.2, 1.0, 0.2], &next, &[false, false, true])
            .unwrap();
        assert_close(&targets, &[0.4, 1.15, 0.2]);

        let q = [0.7, -0.25, 0.5];
        let td = TdLoss::new(&q, &targets).unwrap();
        assert_close(&td.losses, &[0.045, 0.98, 0.045]);
        assert_close(&td.gradients, &[0.3, -1.4, 0.3]);

        let cross_entropy = [0.5_f64, 0.25, 0.125].map(|p| -p.ln());
        let loss = |weights: Vec<f64>| -> Vec<f64> {
            weights
                .iter()
                .zip(cross_entropy)
                .zip(&td.losses)
                .map(|((w, ce), td)| w * ce + td)
                .collect()
        };
        let critic = Critic { warm_up: 10 };
        assert_close(
            &loss(critic.weights(9, &q)),
            &[0.738147, 2.366294, 2.124442],
        );
        assert_close(
            &loss(critic.weights(10, &q)),
            &[0.530203, 0.633426, 1.084721],
        );
    }

    #[test]
    fn td_gradients_match_finite_differences() {
        let (q, targets, h) = ([0.3, -2.0, 5.5], [1.0, -2.5, 5.5], 1e-5);
        let at = |by: f64| TdLoss::new(&q.map(|x| x + by), &targets).unwrap();
        let numeric: Vec<f64> = at(h)
            .losses
            .iter()
            .zip(at(-h).losses)
            .map(|(up, down)| (up - down) / (2.0 * h))
            .collect();
        assert_close(&at(0.0).gradients, &numeric);
    }

    #[test]
    fn slices_of_different_lengths_are_refused() {
        let double_q = DoubleQ::default();
        let mismatch = |what, found, batch| LengthMismatch { what, found, batch };
        assert_eq!(
            double_q.targets(&[1.0; 2], &[1.0; 3], &[true; 2]),
            Err(mismatch("next values", 3, 2))
        );
        assert_eq!(
            double_q.targets(&[1.0; 2], &[1.0; 2], &[true]),
            Err(mismatch("done", 1, 2))
        );
        assert_eq!(TdLoss::new(&[1.0], &[]), Err(mismatch("targets", 0, 1)));
    }

    #[test]
    fn warm_up_steps_match_the_protocol() {
        let table = ["gru", "caser", "nextitnet", "sasrec"]
            .map(|e| ["rc15", "retailrocket", "csv"].map(|s| warm_up_steps(e, s)));
        assert_eq!(
            table,
            [[0, 15_000, 0], [0, 0, 0], [0, 0, 0], [30_000, 30_000, 0]]
        );
    }
}
