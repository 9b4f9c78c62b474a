//! View of a mapped array of one-byte enums.

use std::marker::PhantomData;
use std::ops::{Index, Range};

use bytemuck::CheckedBitPattern;

/// Array of one-byte enums in the mapped file. Safe code validates the bytes of an enum whenever it
/// views them; this view validates what is accessed and nothing else, so that an access to one
/// event or session does not cost a pass over the log.
#[derive(Clone, Copy, Debug)]
pub struct EnumSlice<'a, T> {
    bytes: &'a [u8],
    values: PhantomData<T>,
}

impl<'a, T: CheckedBitPattern> EnumSlice<'a, T> {
    /// View of bytes that are all valid values.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            values: PhantomData,
        }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The values in a range, at the cost of the range.
    pub fn range(&self, range: Range<usize>) -> &'a [T] {
        bytemuck::checked::cast_slice(&self.bytes[range])
    }

    /// All values, at the cost of a pass over the log: for code that makes such a pass itself.
    pub fn all(&self) -> &'a [T] {
        self.range(0..self.len())
    }
}

impl<T: CheckedBitPattern> Index<usize> for EnumSlice<'_, T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        &self.range(index..index + 1)[0]
    }
}

impl<T: CheckedBitPattern> Index<Range<usize>> for EnumSlice<'_, T> {
    type Output = [T];

    fn index(&self, range: Range<usize>) -> &[T] {
        self.range(range)
    }
}

#[cfg(test)]
mod tests {
    use super::EnumSlice;
    use crate::event::Split;

    #[test]
    fn view_yields_single_values_ranges_and_all() {
        let view = EnumSlice::<Split>::new(&[0, 0, 1, 2]);
        assert_eq!(view[2], Split::Val);
        assert_eq!(view[1..3], [Split::Train, Split::Val]);
        assert_eq!(
            view.all(),
            [Split::Train, Split::Train, Split::Val, Split::Test]
        );
        assert_eq!((view.len(), view.is_empty()), (4, false));
    }

    /// The bytes outside of an access are invalid here: an access that validated them would panic.
    #[test]
    fn access_validates_nothing_but_its_own_range() {
        let view = EnumSlice::<Split>::new(&[9, 0, 2, 9]);
        assert_eq!(view[1..3], [Split::Train, Split::Test]);
        assert_eq!(view[2], Split::Test);
        assert!(std::panic::catch_unwind(|| view[0]).is_err());
    }
}
