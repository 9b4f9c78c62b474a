//! Errors of the evaluation.

/// Cases that cannot be measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An array does not match the number of cases.
    #[error("{what}: {found} entries, but {cases} cases need {expected}; pass one set per case")]
    Length {
        /// Name of the array.
        what: &'static str,
        /// Length of the array.
        found: usize,
        /// Expected length.
        expected: usize,
        /// Number of cases.
        cases: usize,
    },
    /// A rank is 0; ranks count from 1.
    #[error("case {case}: rank 0, but the best rank is 1; add one to ranks that count from 0")]
    RankZero {
        /// Position of the case.
        case: usize,
    },
    /// A recommended item is out of range.
    #[error(
        "case {case}: recommended item {item}, but there are {items} items; the pad id is never recommended"
    )]
    UnknownItem {
        /// Position of the case.
        case: usize,
        /// Item index.
        item: u32,
        /// Number of items.
        items: usize,
    },
    /// Two systems were measured on different cases.
    #[error(
        "case {case}: its kind differs between the two systems; compare ranks of one split, in one order"
    )]
    Unpaired {
        /// Position of the case.
        case: usize,
    },
}
