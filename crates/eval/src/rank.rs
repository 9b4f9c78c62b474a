//! Rank of the target among all items: the reference implementation for all fused rankings.
//!
//! Ties count against the target. With the opposite rule a model that gives every item the same
//! score would have perfect metrics.

/// NaN score: the model has diverged and no rank is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the score of item {item} is NaN, so no rank exists; the model has diverged, try a lower learning rate"
)]
pub struct NanScore {
    /// First item with a NaN score.
    pub item: usize,
}

/// Rank of `target` by `scores` `[items]`: 1 + the number of other items with an equal or higher
/// score.
///
/// ```
/// assert_eq!(prl_eval::pessimistic_rank(&[0.5, 0.9, 0.5], 0), Ok(3));
/// ```
///
/// # Errors
/// [`NanScore`] if any score is NaN.
///
/// # Panics
/// If `target` is not below the number of items.
pub fn pessimistic_rank(scores: &[f32], target: u32) -> Result<u32, NanScore> {
    if let Some(item) = scores.iter().position(|score| score.is_nan()) {
        return Err(NanScore { item });
    }
    let target_score = scores[target as usize];
    // The target counts itself, which makes ranks start at 1.
    let rank = scores
        .iter()
        .filter(|&&score| score >= target_score)
        .count();
    Ok(rank as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rank_ties_count_against_the_target() {
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
    fn rank_any_nan_score_is_an_error() {
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
        /// Against a sort in which the target follows all items of equal score.
        #[test]
        fn rank_matches_position_after_sorting(scores in prop::collection::vec(-3i8..3, 1..40), pick: prop::sample::Index) {
            let target = pick.index(scores.len());
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by_key(|&i| (-scores[i], i == target));
            let rank = order.iter().position(|&i| i == target).unwrap() as u32 + 1;
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            prop_assert_eq!(pessimistic_rank(&scores, target as u32), Ok(rank));
        }
    }
}
