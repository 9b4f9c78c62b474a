//! The turned catalogue against the batch kernel, bit for bit: any batch, any width, any filter,
//! any number of threads.

use prl_kernels::Real;
use prl_kernels::ops::rank::rank;
use prl_kernels::ops::score_offsets::{EXCLUDED, ScoreOffset, ScoreOffsets};
use prl_kernels::ops::softmax_head::OutputLayer;
use prl_kernels::ops::top_k_serving::{ItemFilter, TopK, TopKRequest, TransposedItemMatrix};
use proptest::prelude::*;

/// Noise, with some items equal to others, so that there are ties.
fn noise<T: Real>(n: usize, name: &str) -> Vec<T> {
    let start = name.bytes().fold(7_u64, |state, byte| {
        state.wrapping_mul(31).wrapping_add(byte.into())
    });
    let next = |state: &mut u64| {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Some(T::of((*state >> 40) as f64 / f64::from(1 << 24) - 0.5))
    };
    std::iter::repeat(())
        .scan(start, |state, ()| next(state))
        .take(n)
        .collect()
}

struct Case<T> {
    weight: Vec<T>,
    bias: Vec<T>,
    hidden: Vec<T>,
    width: usize,
}

impl<T: Real> Case<T> {
    fn new(items: usize, batch: usize, width: usize) -> Self {
        let (mut weight, mut bias) = (noise(items * width, "weight"), noise::<T>(items, "bias"));
        for item in (0..items.saturating_sub(3)).step_by(5) {
            weight.copy_within(item * width..(item + 1) * width, (item + 3) * width);
            bias[item + 3] = bias[item];
        }
        Self {
            weight,
            bias,
            hidden: noise(batch * width, "hidden"),
            width,
        }
    }

    fn linear(&self) -> OutputLayer<'_, T> {
        OutputLayer {
            weight: &self.weight,
            bias: &self.bias,
        }
    }

    fn catalogue(&self) -> TransposedItemMatrix<T> {
        TransposedItemMatrix::new(self.linear(), self.width)
    }

    /// All items of each row, best first, by the batch kernel.
    fn sorted(&self) -> Vec<TopK<T>> {
        rank(
            self.linear(),
            &self.hidden,
            self.width,
            None,
            self.bias.len(),
        )
        .unwrap()
        .top
    }
}

/// Every third item from `from` on.
fn thirds(items: usize, from: usize) -> Vec<u32> {
    (from as u32..items as u32).step_by(3).collect()
}

/// The bits of some items.
fn words_of(some: &[u32], items: usize) -> Vec<u64> {
    let mut words = vec![0; items.div_ceil(64)];
    for &item in some {
        words[item as usize / 64] |= 1 << (item % 64);
    }
    words
}

/// The batch kernel's list, filtered.
fn expected<T: Real>(sorted: &TopK<T>, wanted: &TopKRequest<'_>) -> TopK<T> {
    let may = |item: &u32| match wanted.filter {
        ItemFilter::Exclude(items) => !items.contains(item),
        ItemFilter::Allow(items) => items.contains(item),
        ItemFilter::Mask { words, except } => {
            words[*item as usize / 64] >> (item % 64) & 1 == 1 && !except.contains(item)
        }
    };
    sorted
        .iter()
        .filter(|(item, _)| may(item))
        .take(wanted.k)
        .copied()
        .collect()
}

fn check<T: Real>(case: &Case<T>) -> Result<(), TestCaseError> {
    let (items, sorted) = (case.bias.len(), case.sorted());
    let [some, others] = [0, 1].map(|from| thirds(items, from));
    let words = words_of(&some, items);
    let last = words_of(&[items as u32 - 1], items);
    let filters = [
        ItemFilter::Exclude(&[]),
        ItemFilter::Exclude(&some),
        ItemFilter::Allow(&others),
        ItemFilter::Allow(&[]),
        ItemFilter::Exclude(&others),
        ItemFilter::Mask {
            words: &words,
            except: &[0, 6],
        },
        // Most panels have no allowed item, and are skipped if all rows leave them out.
        ItemFilter::Mask {
            words: &last,
            except: &[],
        },
    ];
    let wanted: Vec<TopKRequest<'_>> = sorted
        .iter()
        .enumerate()
        .map(|(b, _)| TopKRequest {
            k: b * 3 % 25,
            filter: filters[b % 7],
        })
        .collect();
    let tops = case.catalogue().top_k(&case.hidden, &wanted).unwrap();
    for (row, wanted) in wanted.iter().enumerate() {
        let hidden = &case.hidden[row * case.width..][..case.width];
        let alone = case.catalogue().top_k(hidden, std::slice::from_ref(wanted));
        prop_assert_eq!(&tops[row], &alone.unwrap()[0], "{:?}", wanted);
    }
    for ((top, sorted), wanted) in tops.iter().zip(&sorted).zip(&wanted) {
        prop_assert_eq!(top, &expected(sorted, wanted), "{:?}", wanted);
    }
    check_scores(case, &sorted)
}

/// All scores of the catalogue, with offsets of the first and the last item, against the lists.
fn check_scores<T: Real>(case: &Case<T>, sorted: &[TopK<T>]) -> Result<(), TestCaseError> {
    let items = case.bias.len();
    let (mut offsets, mut expected) = (Vec::new(), vec![T::zero(); sorted.len() * items]);
    for (row, top) in sorted.iter().enumerate() {
        for &(item, score) in top {
            expected[row * items + item as usize] = score;
        }
        let last = items as u32 - 1;
        for (item, value) in [(last, T::of(EXCLUDED)), (0, T::of(0.75))] {
            if item < last || value < T::zero() {
                let row = row as u32;
                offsets.push(ScoreOffset { item, row, value });
            }
        }
        expected[row * items] += T::of(0.75);
        expected[row * items + items - 1] = T::neg_infinity();
    }
    let offsets = ScoreOffsets::new(offsets);
    let found = case.catalogue().scores(&case.hidden, &offsets).unwrap();
    prop_assert_eq!(found, expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn top_k_matches_the_batch_kernel(items in 1..400usize, batch in 0..70usize, width in 1..80usize) {
        check(&Case::<f32>::new(items, batch, width))?;
        check(&Case::<f64>::new(items, batch, width))?;
    }
}

#[test]
fn top_k_any_batch_size_same_bits() {
    let case = Case::<f32>::new(1203, 80, 64);
    let (catalogue, sorted) = (case.catalogue(), case.sorted());
    let wanted = [TopKRequest {
        k: 20,
        filter: ItemFilter::Exclude(&[]),
    }; 80];
    for batch in 1..=80 {
        let tops = catalogue
            .top_k(&case.hidden[..batch * 64], &wanted[..batch])
            .unwrap();
        for (top, sorted) in tops.iter().zip(&sorted) {
            assert_eq!(top, &sorted[..20], "batch {batch}");
        }
    }
}

#[test]
fn top_k_any_thread_count_same_bits() {
    // Enough work that it is divided.
    let case = Case::<f32>::new(9001, 60, 64);
    let catalogue = case.catalogue();
    let wanted: Vec<TopKRequest<'_>> = (0..60)
        .map(|b| TopKRequest {
            k: 1 + b * 5,
            filter: ItemFilter::Exclude(&[]),
        })
        .collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| catalogue.top_k(&case.hidden, &wanted).unwrap())
    };
    let one = run(1);
    assert!(one == run(2) && one == run(5));
    for ((top, sorted), wanted) in one.iter().zip(case.sorted()).zip(&wanted) {
        assert_eq!(*top, sorted[..wanted.k]);
    }
}

#[test]
fn top_k_non_finite_score_is_an_error() {
    let mut case = Case::<f32>::new(200, 3, 8);
    let all = [TopKRequest {
        k: 3,
        filter: ItemFilter::Exclude(&[]),
    }; 3];
    let few = |items| {
        [
            all[0],
            TopKRequest {
                k: 3,
                filter: ItemFilter::Allow(items),
            },
            all[0],
        ]
    };
    case.hidden[2 * 8] = f32::NAN;
    assert_eq!(
        case.catalogue().top_k(&case.hidden, &all).unwrap_err().row,
        2
    );
    case.hidden[2 * 8] = 1.0;
    case.bias[150] = f32::INFINITY;
    assert_eq!(
        case.catalogue().top_k(&case.hidden, &all).unwrap_err().row,
        0
    );
    case.hidden.truncate(8);
    let catalogue = case.catalogue();
    assert_eq!(
        catalogue
            .top_k(&case.hidden, &few(&[150])[1..2])
            .unwrap_err()
            .row,
        0
    );
    assert_eq!(
        catalogue
            .top_k(&case.hidden, &few(&[149, 151])[1..2])
            .unwrap()[0]
            .len(),
        2
    );
}
