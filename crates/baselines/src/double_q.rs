//! The arithmetic of SQN and SAC (Xin et al., "Self-Supervised Reinforcement Learning for Recommender Systems", SIGIR '20).
//!
//! Two networks each have a cross-entropy head and a Q head. At every step one of them, drawn at random, is the main one: it
//! is trained, and the other tells what the next state is worth. SQN minimises the mean of CE + TD loss, SAC the mean of
//! Q(s, a) x CE + TD loss. All here is per example: whoever calls owns the networks, and takes the mean over the batch of
//! losses and gradients alike.

/// Double Q-learning's discount and targets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DoubleQ {
    /// The discount of what comes after.
    pub gamma: f64,
}

impl Default for DoubleQ {
    /// The paper's: 0.5.
    fn default() -> Self {
        Self { gamma: 0.5 }
    }
}

/// Slices of one batch that differ in length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {found} entries for the {batch} examples of the batch; hand over one each")]
pub struct Uneven {
    /// Which slice.
    pub what: &'static str,
    /// Its length.
    pub found: usize,
    /// The length of the first one.
    pub batch: usize,
}

impl DoubleQ {
    /// What Q_main(s, a) should be: r + gamma Q_other(s')[argmax Q_main(s')], and r alone where the session ends.
    /// `q_other_at_argmax` is not looked at there.
    ///
    /// # Errors
    /// If the slices differ in length.
    pub fn targets(
        self,
        rewards: &[f64],
        q_other_at_argmax: &[f64],
        ends: &[bool],
    ) -> Result<Vec<f64>, Uneven> {
        even("next values", q_other_at_argmax.len(), rewards.len())?;
        even("ends", ends.len(), rewards.len())?;
        let target = |((&r, &next), &end): ((&f64, &f64), &bool)| {
            if end { r } else { r + self.gamma * next }
        };
        Ok(rewards
            .iter()
            .zip(q_other_at_argmax)
            .zip(ends)
            .map(target)
            .collect())
    }
}

/// The temporal-difference loss of each example, and its gradient.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Td {
    /// (target - q)^2 / 2.
    pub losses: Vec<f64>,
    /// By q, the target held fast: q - target.
    pub gradients: Vec<f64>,
}

impl Td {
    /// Of Q_main(s, a) against the targets.
    ///
    /// # Errors
    /// If the slices differ in length.
    pub fn new(q: &[f64], targets: &[f64]) -> Result<Self, Uneven> {
        even("targets", targets.len(), q.len())?;
        let gradients: Vec<f64> = q
            .iter()
            .zip(targets)
            .map(|(q, target)| q - target)
            .collect();
        Ok(Self {
            losses: gradients.iter().map(|g| 0.5 * g * g).collect(),
            gradients,
        })
    }
}

fn even(what: &'static str, found: usize, batch: usize) -> Result<(), Uneven> {
    if found == batch {
        Ok(())
    } else {
        Err(Uneven { what, found, batch })
    }
}

/// SAC's critic: it weighs the actor's cross-entropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Critic {
    /// Steps of plain cross-entropy before it begins ([`warm_up_steps`]).
    pub warm_up: u64,
}

impl Critic {
    /// The weight of each example's cross-entropy after `step` steps: 1 in the warm-up, then Q_main(s, a) as it is, not
    /// clipped. A weight is a constant to the loss: no gradient flows back into Q.
    pub fn weights(self, step: u64, q: &[f64]) -> Vec<f64> {
        if step < self.warm_up {
            vec![1.0; q.len()]
        } else {
            q.to_vec()
        }
    }
}

/// The steps of plain cross-entropy before SAC's critic begins, in the authors' code: by the encoder's name and the kind of
/// source that a dataset's manifest gives.
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

    // A session of a click, a purchase and a click, rewards .2, 1 and .2, over three items. After each step
    //   Q_main(s') = [.1 .5 .3]   argmax 1   Q_other(s') = [.9 .4 .2]   there .4 (its own maximum, .9, plays no part)
    //   Q_main(s') = [.6 .2 .1]   argmax 0   Q_other(s') = [.3 .7 .8]   there .3
    //   the end                              Q_other(s')                not a number: it must not be looked at
    // Targets                .2 + .5 x .4 = .4        1 + .5 x .3 = 1.15             .2
    // Q_main(s, a)           .7                       -.25                           .5
    // TD loss                (.4 - .7)^2 / 2 = .045   (1.15 + .25)^2 / 2 = .98       (.2 - .5)^2 / 2 = .045
    // its gradient           .7 - .4 = .3             -.25 - 1.15 = -1.4             .5 - .2 = .3
    // p(a) of the actor      1/2                      1/4                            1/8
    // cross-entropy          ln 2 = .693147           ln 4 = 1.386294                ln 8 = 2.079442
    // SQN: CE + TD           .738147                  2.366294                       2.124442
    // SAC: Q x CE + TD       .485203 + .045           -.346574 + .98                 1.039721 + .045
    //                        = .530203                = .633426                      = 1.084721
    #[test]
    fn a_session_of_three_steps_by_hand() {
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
        let td = Td::new(&q, &targets).unwrap();
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
    fn gradients_are_those_of_the_losses() {
        let (q, targets, h) = ([0.3, -2.0, 5.5], [1.0, -2.5, 5.5], 1e-5);
        let at = |by: f64| Td::new(&q.map(|x| x + by), &targets).unwrap();
        let numeric: Vec<f64> = at(h)
            .losses
            .iter()
            .zip(at(-h).losses)
            .map(|(up, down)| (up - down) / (2.0 * h))
            .collect();
        assert_close(&at(0.0).gradients, &numeric);
    }

    #[test]
    fn uneven_slices_are_refused() {
        let double_q = DoubleQ::default();
        let uneven = |what, found, batch| Uneven { what, found, batch };
        assert_eq!(
            double_q.targets(&[1.0; 2], &[1.0; 3], &[true; 2]),
            Err(uneven("next values", 3, 2))
        );
        assert_eq!(
            double_q.targets(&[1.0; 2], &[1.0; 2], &[true]),
            Err(uneven("ends", 1, 2))
        );
        assert_eq!(Td::new(&[1.0], &[]), Err(uneven("targets", 0, 1)));
    }

    #[test]
    fn warm_ups_are_the_protocols() {
        let table = ["gru", "caser", "nextitnet", "sasrec"]
            .map(|e| ["rc15", "retailrocket", "csv"].map(|s| warm_up_steps(e, s)));
        assert_eq!(
            table,
            [[0, 15_000, 0], [0, 0, 0], [0, 0, 0], [30_000, 30_000, 0]]
        );
    }
}
