//! Metrics of the recommended lists themselves: catalogue coverage and mean popularity.

use crate::error::Error;

/// Length of the recommended lists.
pub const TOP: usize = 20;

/// Top items of every case.
#[derive(Clone, Copy, Debug)]
pub struct Recommended<'a> {
    /// `[N, K]`, K = [`TOP`] or, if there are fewer, the number of items.
    pub items: &'a [u32],
    /// Number of training events of each item `[items]`.
    pub popularity: &'a [u32],
}

impl Recommended<'_> {
    /// Share of all items that occur in some list, and mean popularity over the entries of all
    /// lists; `None` without lists.
    pub(crate) fn coverage_and_popularity(
        &self,
        cases: usize,
    ) -> Result<Option<(f64, f64)>, Error> {
        let items = self.popularity.len();
        let width = TOP.min(items);
        if self.items.len() != cases * width {
            let (what, found) = ("recommended items", self.items.len());
            return Err(Error::Length {
                what,
                found,
                expected: cases * width,
                cases,
            });
        }
        if self.items.is_empty() {
            return Ok(None);
        }
        let mut seen = vec![false; items];
        let mut popularity = 0u64;
        for (i, &item) in self.items.iter().enumerate() {
            let Some(seen) = seen.get_mut(item as usize) else {
                return Err(Error::UnknownItem {
                    case: i / width,
                    item,
                    items,
                });
            };
            *seen = true;
            popularity += u64::from(self.popularity[item as usize]);
        }
        let distinct: u32 = seen.into_iter().map(u32::from).sum();
        Ok(Some((
            f64::from(distinct) / items as f64,
            popularity as f64 / self.items.len() as f64,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_and_popularity_match_hand_computation() {
        let popularity: Vec<u32> = (0..40).collect();
        let items: Vec<u32> = (0..20).chain(10..30).collect();
        let lists = Recommended {
            items: &items,
            popularity: &popularity,
        };
        assert_eq!(
            lists.coverage_and_popularity(2),
            Ok(Some((30.0 / 40.0, (9.5 + 19.5) / 2.0)))
        );
    }

    #[test]
    fn lists_of_a_small_catalogue_hold_all_items() {
        let lists = Recommended {
            items: &[2, 0, 1],
            popularity: &[6, 0, 3],
        };
        assert_eq!(lists.coverage_and_popularity(1), Ok(Some((1.0, 3.0))));
        let error = lists.coverage_and_popularity(2).unwrap_err();
        assert_eq!(
            error,
            Error::Length {
                what: "recommended items",
                found: 3,
                expected: 6,
                cases: 2
            }
        );
    }

    #[test]
    fn lists_without_cases_are_undefined() {
        assert_eq!(
            Recommended {
                items: &[],
                popularity: &[1]
            }
            .coverage_and_popularity(0),
            Ok(None)
        );
    }

    #[test]
    fn list_item_out_of_range_is_refused() {
        let lists = Recommended {
            items: &[0, 1, 1, 2],
            popularity: &[1, 1],
        };
        assert_eq!(
            lists.coverage_and_popularity(2),
            Err(Error::UnknownItem {
                case: 1,
                item: 2,
                items: 2
            })
        );
    }
}
