//! What can be wrong with the cases handed over.

/// Cases that cannot be measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Arrays that should run beside the cases do not.
    #[error(
        "{what}: {found} entries where the {cases} cases call for {expected}; hand over one set per case"
    )]
    Length {
        /// Which array.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length it should have.
        expected: usize,
        /// The number of cases.
        cases: usize,
    },
    /// Ranks count from 1.
    #[error("case {case}: rank 0, but the best rank is 1; add one to ranks that count from 0")]
    RankZero {
        /// Position of the case.
        case: usize,
    },
    /// A recommended item that does not exist.
    #[error(
        "case {case}: recommended item {item}, but there are {items} items; the pad id is never recommended"
    )]
    UnknownItem {
        /// Position of the case.
        case: usize,
        /// The item index.
        item: u32,
        /// The number of items.
        items: usize,
    },
    /// Two systems were not measured on the same cases.
    #[error(
        "case {case}: its kind differs between the two systems; compare ranks of one split, in one order"
    )]
    Unpaired {
        /// Position of the case.
        case: usize,
    },
}
