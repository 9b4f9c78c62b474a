//! Texts in one allocation.

/// Texts by number, one after another in one allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Strings {
    text: String,
    /// Start of each text, then the end of the last: one more than there are texts.
    offsets: Vec<u64>,
}

impl Default for Strings {
    fn default() -> Self {
        let none: [&str; 0] = [];
        Self::new(none)
    }
}

impl Strings {
    /// Texts in this order.
    pub(crate) fn new<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Self {
        let (mut all, mut offsets) = (String::new(), vec![0]);
        for text in texts {
            all.push_str(text.as_ref());
            offsets.push(all.len() as u64);
        }
        Self { text: all, offsets }
    }

    /// Texts of stored parts; `None` if they do not fit each other, or the texts are not UTF-8,
    /// ascending and distinct.
    pub(crate) fn of_sorted_parts(bytes: Vec<u8>, offsets: Vec<u64>) -> Option<Self> {
        let text = String::from_utf8(bytes).ok()?;
        if offsets.first() != Some(&0) || offsets.last() != Some(&(text.len() as u64)) {
            return None;
        }
        let mut last = None;
        for pair in offsets.windows(2) {
            let now = text.get(pair[0] as usize..pair[1] as usize)?;
            if last.is_some_and(|last| last >= now) {
                return None;
            }
            last = Some(now);
        }
        Some(Self { text, offsets })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    pub(crate) fn offsets(&self) -> &[u64] {
        &self.offsets
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// The text of a number.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn get(&self, at: usize) -> &str {
        &self.text[self.offsets[at] as usize..self.offsets[at + 1] as usize]
    }

    /// Number of a text, if the texts are ascending.
    pub(crate) fn find(&self, wanted: &str) -> Option<u32> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle).cmp(wanted) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return u32::try_from(middle).ok(),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}
