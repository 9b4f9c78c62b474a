//! Counter-based random streams.
//!
//! A generator is a pure function of `(seed, name, counter)`: the dropout mask of training step 812
//! is drawn from `stream(seed, "dropout", 812)`, independently of all other draws. No random state
//! has to be saved to resume a run exactly, and a new use of randomness does not change existing
//! ones.
//!
//! ```
//! use rand_chacha::rand_core::RngCore;
//!
//! let mut a = prl_seed::stream(7, "dropout", 3);
//! let mut b = prl_seed::stream(7, "dropout", 3);
//! assert_eq!(a.next_u64(), b.next_u64());
//! ```

pub use rand_chacha::ChaCha8Rng as Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// Generator for the `counter`-th use of `name` under `seed`: ChaCha8 with key
/// SHA-256(seed as little-endian bytes, name) and stream number `counter`.
pub fn stream(seed: u64, name: &str, counter: u64) -> Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(name.as_bytes());
    let mut rng = Rng::from_seed(hash.finalize().into());
    rng.set_stream(counter);
    rng
}

#[cfg(test)]
mod tests {
    use super::stream;
    use rand_chacha::rand_core::RngCore;

    #[test]
    fn stream_depends_on_seed_name_and_counter() {
        let first = |seed, name, counter| stream(seed, name, counter).next_u64();
        let base = first(1, "init", 0);
        assert_ne!(base, first(2, "init", 0));
        assert_ne!(base, first(1, "draw", 0));
        assert_ne!(base, first(1, "init", 1));
        assert_eq!(base, first(1, "init", 0));
    }
}
