//! The past sessions, and for each item the latest of them that hold it.
//!
//! Sessions are numbered by when they ended, so a session's number is its age: no times are kept, and a list of falling
//! numbers is a list from the latest session back.

use prl_dataset::{Dataset, Split};

use crate::Popularity;

/// What a [`SessionKnn`](crate::SessionKnn) has learned, as flat arrays. Sessions stand in the order in which they ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnnArrays {
    /// Where each session begins in `items`, and the length of `items` at the end: sessions + 1 entries.
    pub offsets: Vec<u64>,
    /// The items of each session, rising, each once.
    pub items: Vec<u32>,
    /// Training events of each item.
    pub popularity: Vec<u32>,
}

/// Arrays that are no index of past sessions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KnnError {
    /// The offsets belong to other items.
    #[error(
        "the session offsets do not span the {items} items of all sessions; train the run again"
    )]
    Span {
        /// How many items there are.
        items: usize,
    },
    /// A session without items, or one that ends before it begins.
    #[error("past session {session} is empty or its offsets go back; train the run again")]
    Empty {
        /// Its position.
        session: usize,
    },
    /// Items out of order or repeated.
    #[error("the items of past session {session} do not rise, each once; train the run again")]
    Unsorted {
        /// Its position.
        session: usize,
    },
    /// An item that does not exist.
    #[error(
        "past session {session} holds item {item}, but there are {items} items; train the run again"
    )]
    UnknownItem {
        /// Its position.
        session: usize,
        /// The item index.
        item: u32,
        /// The number of items.
        items: usize,
    },
}

impl KnnArrays {
    /// The training events of a dataset; what a session did in other splits does not exist.
    pub(crate) fn of(data: &Dataset) -> Self {
        let (items, splits, times) = (data.item_indices(), data.splits(), data.times());
        let train = data
            .sessions()
            .map(|s| s.start..s.start + splits[s].partition_point(|&p| p == Split::Train));
        let mut parts: Vec<_> = train.filter(|part| !part.is_empty()).collect();
        // Stable: of sessions that end together, the later in the log counts as the later.
        parts.sort_by_key(|part| times[part.end - 1]);
        let mut arrays = Self {
            offsets: vec![0],
            items: Vec::new(),
            popularity: Popularity::fit(data).counts().to_vec(),
        };
        for part in parts {
            let mut held = items[part].to_vec();
            held.sort_unstable();
            held.dedup();
            arrays.items.append(&mut held);
            arrays.offsets.push(arrays.items.len() as u64);
        }
        arrays
    }

    /// The rules that all of the search relies on.
    pub(crate) fn check(&self) -> Result<(), KnnError> {
        if self.offsets.first() != Some(&0)
            || self.offsets.last() != Some(&(self.items.len() as u64))
        {
            return Err(KnnError::Span {
                items: self.items.len(),
            });
        }
        if let Some(session) = self.offsets.windows(2).position(|w| w[0] >= w[1]) {
            return Err(KnnError::Empty { session });
        }
        let items = self.popularity.len();
        for session in 0..self.sessions() {
            let held = self.items_of(session);
            if held.windows(2).any(|w| w[0] >= w[1]) {
                return Err(KnnError::Unsorted { session });
            }
            if let Some(&item) = held.iter().find(|&&item| item as usize >= items) {
                return Err(KnnError::UnknownItem {
                    session,
                    item,
                    items,
                });
            }
        }
        Ok(())
    }

    /// The number of past sessions.
    pub(crate) fn sessions(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The distinct items of a session.
    pub(crate) fn items_of(&self, session: usize) -> &[u32] {
        &self.items[self.offsets[session] as usize..self.offsets[session + 1] as usize]
    }
}

/// For each item, the latest sessions that hold it.
#[derive(Clone, Debug)]
pub(crate) struct Holders {
    /// Where each item's sessions begin: items + 1 entries.
    offsets: Vec<usize>,
    sessions: Vec<usize>,
}

impl Holders {
    /// The `m` latest holders of each item. Older ones can never be among the `m` latest sessions that share any item with a
    /// window, so nothing is lost.
    pub(crate) fn new(arrays: &KnnArrays, held_by: &[usize], m: usize) -> Self {
        let mut offsets = vec![0];
        offsets.extend(held_by.iter().scan(0, |end, &n| {
            *end += n.min(m);
            Some(*end)
        }));
        let mut next = offsets.clone();
        let mut sessions = vec![0; offsets[held_by.len()]];
        for session in (0..arrays.sessions()).rev() {
            for &item in arrays.items_of(session) {
                let item = item as usize;
                if next[item] < offsets[item + 1] {
                    sessions[next[item]] = session;
                    next[item] += 1;
                }
            }
        }
        Self { offsets, sessions }
    }

    /// The holders of an item, the latest first; none for an item that does not exist.
    pub(crate) fn of(&self, item: u32) -> &[usize] {
        match self.offsets.get(item as usize..item as usize + 2) {
            Some(at) => &self.sessions[at[0]..at[1]],
            None => &[],
        }
    }
}
