//! Limit of a key's requests: a token bucket.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Requests per second that a key may send on average, and how many at once.
#[derive(Debug)]
pub(crate) struct Quota {
    per_second: f64,
    burst: f64,
    /// Requests that are left, at a time.
    left: Mutex<Option<(f64, Instant)>>,
}

/// Whether the limits are the same; what is left is not compared.
impl PartialEq for Quota {
    fn eq(&self, other: &Self) -> bool {
        (self.per_second, self.burst) == (other.per_second, other.burst)
    }
}

impl Quota {
    pub(crate) fn new(per_second: f64, burst: f64) -> Self {
        Self {
            per_second,
            burst,
            left: Mutex::new(None),
        }
    }

    /// Takes a request.
    ///
    /// # Errors
    /// Whole seconds until one is left, at least 1.
    pub(crate) fn take(&self, now: Instant) -> Result<(), u64> {
        let mut state = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let left = match *state {
            Some((left, at)) => {
                let gained = now.saturating_duration_since(at).as_secs_f64() * self.per_second;
                (left + gained).min(self.burst)
            }
            None => self.burst,
        };
        if left < 1.0 {
            *state = Some((left, now));
            let seconds = ((1.0 - left) / self.per_second).ceil();
            return Err((seconds as u64).max(1));
        }
        *state = Some((left - 1.0, now));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Quota;

    #[test]
    fn quota_allows_burst_then_rate() {
        let quota = Quota::new(0.5, 3.0);
        let start = Instant::now();
        let at = |seconds: u64| quota.take(start + Duration::from_secs(seconds));
        assert_eq!(
            [at(0), at(0), at(0), at(0)],
            [Ok(()), Ok(()), Ok(()), Err(2)]
        );
        assert_eq!([at(1), at(2), at(2)], [Err(1), Ok(()), Err(2)]);
        // A long pause refills no more than the burst.
        let after = [at(1_000), at(1_000), at(1_000), at(1_000)];
        assert_eq!(after, [Ok(()), Ok(()), Ok(()), Err(2)]);
    }
}
