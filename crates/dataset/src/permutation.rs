//! Seeded permutation of `0..n` without a table: a pass over the examples in random order.

use rand::RngCore;

/// Rounds of the cipher; four make a pseudo-random permutation (Luby and Rackoff, 1988).
const ROUNDS: usize = 4;

/// Permutation of `0..n` as a Feistel cipher on the smallest even number of bits that holds n. A
/// value that falls outside `0..n` is encrypted again (cycle walking), fewer than four times on
/// average.
#[derive(Debug)]
pub(crate) struct Permutation {
    n: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// The permutation with this seed and index.
    pub(crate) fn new(n: u64, seed: u64, index: u64) -> Self {
        let mut rng = prl_seed::stream(seed, "pass", index);
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        Self {
            n,
            half_bits: bits.div_ceil(2).max(1),
            keys: std::array::from_fn(|_| rng.next_u64()),
        }
    }

    /// The image of `i`, which must be below n.
    pub(crate) fn at(&self, i: u64) -> u64 {
        let mut x = self.encrypt(i);
        while x >= self.n {
            x = self.encrypt(x);
        }
        x
    }

    fn encrypt(&self, x: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (x >> self.half_bits, x & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half_bits | right
    }
}

/// Finaliser of SplitMix64 (Steele et al., 2014).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::Permutation;

    #[test]
    fn permutation_visits_every_index_once_in_another_order_each_time() {
        for n in [1, 2, 3, 64, 65, 1000] {
            let order = |index| {
                let permutation = Permutation::new(n, 7, index);
                (0..n).map(|i| permutation.at(i)).collect::<Vec<_>>()
            };
            let first = order(0);
            let mut sorted = first.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..n).collect::<Vec<_>>());
            assert_eq!(first, order(0));
            if n > 60 {
                assert_ne!(first, order(1));
                // No long runs: neighbours are far apart on average, n / 3 for a random order.
                let jumps: u64 = first.windows(2).map(|w| w[0].abs_diff(w[1])).sum();
                assert!((jumps as f64 / (n * n) as f64 - 1.0 / 3.0).abs() < 0.1);
            }
        }
    }
}
