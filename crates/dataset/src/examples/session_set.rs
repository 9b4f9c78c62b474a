//! The sessions that a set of examples takes part of, and the search for the session of an example.
//!
//! A bit for each session of the log says whether it belongs to the set; the number of examples
//! before every [`GROUP`] sessions is stored. Which events of a session are examples follows from
//! the log itself, so that the set takes about .2 bytes an event.

use std::ops::Range;

use super::Position;
use crate::dataset::Dataset;
use crate::event::Split;

/// Sessions of a group: the bits of a word.
const GROUP: usize = u8::BITS as usize;
/// Examples between two entries of [`SessionSet::blocks`].
const BLOCK: usize = 64;

/// Sessions with an example in a split.
#[derive(Clone, Debug)]
pub(super) struct SessionSet<'a> {
    data: &'a Dataset,
    split: Split,
    /// Whether the first event of a session is no example.
    skip_first: bool,
    /// For each group, a bit a session.
    members: Vec<u8>,
    /// Number of examples before each group.
    before: Vec<u64>,
    /// Group of every [`BLOCK`]th example: a search starts there, so that it takes equally long in
    /// a log of any size.
    blocks: Vec<u32>,
    sessions: usize,
    len: usize,
}

impl<'a> SessionSet<'a> {
    /// All sessions with an example.
    pub(super) fn new(data: &'a Dataset, split: Split, skip_first: bool) -> Self {
        Self::build(data, split, skip_first, |_| true)
    }

    /// The sessions of this set that `belongs` keeps, given their number in it.
    pub(super) fn subset(&self, mut belongs: impl FnMut(usize) -> bool) -> Self {
        let mut next = 0;
        Self::build(self.data, self.split, self.skip_first, |session| {
            if self.members[session / GROUP] & 1 << (session % GROUP) == 0 {
                return false;
            }
            next += 1;
            belongs(next - 1)
        })
    }

    /// The sessions of the log that have an example and that `belongs` keeps.
    fn build(
        data: &'a Dataset,
        split: Split,
        skip_first: bool,
        mut belongs: impl FnMut(usize) -> bool,
    ) -> Self {
        let mut set = Self {
            data,
            split,
            skip_first,
            members: Vec::new(),
            before: Vec::new(),
            blocks: Vec::new(),
            sessions: 0,
            len: 0,
        };
        for session in 0..data.sessions().len() {
            let group = session / GROUP;
            if group == set.members.len() {
                set.members.push(0);
                set.before.push(set.len as u64);
            }
            let examples = set.targets_of(session).len();
            if examples > 0 && belongs(session) {
                set.members[group] |= 1 << (session % GROUP);
                set.sessions += 1;
                set.len += examples;
                // A search that starts at an earlier group is slower, not wrong.
                let number = u32::try_from(group).unwrap_or(u32::MAX);
                set.blocks.resize(set.len.div_ceil(BLOCK), number);
            }
        }
        set
    }

    /// Number of examples.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Number of sessions.
    pub(super) fn sessions(&self) -> usize {
        self.sessions
    }

    /// First event of each session, and its examples, as event indices.
    pub(super) fn targets(&self) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
        let offsets = self.data.offsets();
        let groups = self.members.iter().enumerate();
        groups.flat_map(move |(group, &word)| {
            bits(word).map(move |bit| {
                let session = group * GROUP + bit;
                (offsets[session] as usize, self.targets_of(session))
            })
        })
    }

    /// The examples of a session of the log, as event indices.
    fn targets_of(&self, session: usize) -> Range<usize> {
        let offsets = self.data.offsets();
        let events = offsets[session] as usize..offsets[session + 1] as usize;
        if events.is_empty() {
            return events;
        }
        let splits = self.data.splits();
        // Most sessions are of one split, which two reads tell.
        let is_whole =
            [events.start, events.end - 1].map(|at| splits[at] == self.split) == [true; 2];
        let (start, end) = if is_whole {
            (0, events.len())
        } else {
            let parts = &splits[events.clone()];
            let start = parts.partition_point(|&split| split < self.split);
            (start, parts.partition_point(|&split| split <= self.split))
        };
        let start = start.max(usize::from(self.skip_first));
        events.start + start..events.start + end.max(start)
    }

    /// Positions of examples in the log.
    ///
    /// In passes: the reads of one pass do not depend on each other, so the processor waits for
    /// them together. In a log that exceeds its caches, one example after the other takes several
    /// times as long.
    pub(super) fn positions(&self, examples: &[usize]) -> Vec<Position> {
        let offsets = self.data.offsets();
        let mut groups = Vec::with_capacity(examples.len());
        for &example in examples {
            groups.push(self.blocks[example / BLOCK] as usize);
        }
        for (group, &example) in groups.iter_mut().zip(examples) {
            while self
                .before
                .get(*group + 1)
                .is_some_and(|&before| before <= example as u64)
            {
                *group += 1;
            }
        }
        // Both ends of what the last pass reads of a group.
        let last = offsets.len() - 1;
        let mut ends = Vec::with_capacity(2 * examples.len());
        for &group in &groups {
            let first = group * GROUP;
            ends.push(offsets[first]);
            ends.push(offsets[(first + GROUP).min(last)]);
        }
        let splits = self.data.splits();
        let mut touched = Vec::with_capacity(ends.len());
        for &end in &ends {
            touched.push(splits[(end as usize).min(splits.len() - 1)]);
        }
        std::hint::black_box(&touched);
        let mut positions = Vec::with_capacity(examples.len());
        for (&group, &example) in groups.iter().zip(examples) {
            let mut rest = example - self.before[group] as usize;
            for bit in bits(self.members[group]) {
                let session = group * GROUP + bit;
                let targets = self.targets_of(session);
                if rest < targets.len() {
                    positions.push(Position {
                        start: offsets[session] as usize,
                        event: targets.start + rest,
                        end: targets.end,
                    });
                    break;
                }
                rest -= targets.len();
            }
        }
        positions
    }
}

/// Positions of the bits that are set, ascending.
fn bits(word: u8) -> impl Iterator<Item = usize> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let bit = rest.trailing_zeros() as usize;
        let is_set = rest != 0;
        rest &= rest.wrapping_sub(1);
        is_set.then_some(bit)
    })
}
