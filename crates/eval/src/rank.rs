//! The rank of the target among all items: the plain reference that every fused ranking is tested against.
//!
//! Ties count against the target. Counting them for it would let a model that scores every item alike look perfect.

/// A score that is not a number: the model diverged, and no rank would mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the score of item {item} is NaN, so no rank exists; the model has diverged, try a lower learning rate"
)]
pub struct NanScore {
    /// The first item whose score is NaN.
    pub item: usize,
}

/// The rank of `target` by `scores` `[items]`: 1 + the number of other items that score at least as high.
///
/// ```
/// assert_eq!(prl_eval::pessimistic_rank(&[0.5, 0.9, 0.5], 0), Ok(3));
/// ```
///
/// # Errors
/// [`NanScore`] if any score is NaN, the target's or another's.
///
/// # Panics
/// If `target` is not below the number of items.
pub fn pessimistic_rank(scores: &[f32], target: u32) -> Result<u32, NanScore> {
    if let Some(item) = scores.iter().position(|score| score.is_nan()) {
        return Err(NanScore { item });
    }
    let bar = scores[target as usize];
    // The target itself is among those counted: that is the 1.
    Ok(scores.iter().filter(|&&score| score >= bar).count() as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ties_count_against_the_target() {
        assert_eq!(pessimistic_rank(&[1.0, 1.0, 1.0], 1), Ok(3));
        assert_eq!(pessimistic_rank(&[3.0, 2.0, 1.0], 0), Ok(1));
        assert_eq!(pessimistic_rank(&[7.0], 0), Ok(1));
        assert_eq!(
            pessimistic_rank(&[0.0, -0.0], 0),
            Ok(2),
            "the two zeros are equal"
        );
        assert_eq!(
            pessimistic_rank(&[f32::NEG_INFINITY, f32::INFINITY, 0.0], 0),
            Ok(3)
        );
    }

    #[test]
    fn nan_is_an_error_wherever_it_is() {
        assert_eq!(
            pessimistic_rank(&[1.0, f32::NAN, 0.0], 0),
            Err(NanScore { item: 1 })
        );
        assert_eq!(
            pessimistic_rank(&[f32::NAN, 1.0], 0),
            Err(NanScore { item: 0 })
        );
    }

    proptest! {
        /// Against a sort: the target stands behind everything that ties with it.
        #[test]
        fn agrees_with_sorting(scores in prop::collection::vec(-3i8..3, 1..40), pick: prop::sample::Index) {
            let target = pick.index(scores.len());
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by_key(|&i| (-scores[i], i == target));
            let rank = order.iter().position(|&i| i == target).unwrap() as u32 + 1;
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            prop_assert_eq!(pessimistic_rank(&scores, target as u32), Ok(rank));
        }
    }
}
