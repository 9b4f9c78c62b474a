//! Training steps of whole sessions: the items of a session are encoded once for all its examples,
//! in place of once in the window of each.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::SplitExamples;
use crate::event::Kind;
use crate::permutation::Permutation;

/// Passes over the sessions of a split, each in an order of its own, in steps of about a batch of
/// examples.
///
/// A session with more examples than a batch is divided into pieces. The examples of a pass, in its
/// order of the pieces, are cut into equally many steps in each pass: a piece belongs to the step
/// that its middle falls into. So a step has at least one piece, and as many examples as a batch up
/// to a session more or less.
#[derive(Debug)]
pub struct SessionBatches {
    /// First example of each piece, in log order, then the number of examples.
    starts: Vec<u64>,
    steps: u64,
    seed: u64,
    /// The pass of the latest step.
    pass: Mutex<Option<Arc<Pass>>>,
}

/// Order of one pass.
#[derive(Debug)]
struct Pass {
    number: u64,
    order: Permutation,
    /// First piece of each step in that order, then the number of pieces.
    firsts: Vec<u64>,
}

/// Items to encode at every position, without padding, and the examples whose states they give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequences {
    /// Item indices `[rows]`: sequences one after another, oldest item first, then windows of full
    /// length. The sequence of an empty session is one pad.
    pub items: Vec<u32>,
    /// Kind of the event at each row `[rows]`.
    pub kinds: Vec<Kind>,
    /// Length of each sequence.
    pub lengths: Vec<u32>,
    /// Number of windows after the sequences: states of examples further in their session than a
    /// window, for an encoder that would read more items than a window's.
    pub windows: usize,
    /// Window length.
    pub window_len: usize,
    /// Row of each example's last item `[B]`, whose state is the example's; those of the windows
    /// are last. Distinct.
    pub states: Vec<u32>,
}

/// The examples of a step and the sequences that hold their states, in the same order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionRows {
    /// Indices of the examples.
    pub examples: Vec<usize>,
    /// Their sequences.
    pub sequences: Sequences,
}

impl SessionBatches {
    /// Steps of about `batch_size` examples; the orders are functions of `seed`.
    pub fn new(examples: &SplitExamples<'_>, batch_size: usize, seed: u64) -> Self {
        let batch_size = batch_size.max(1) as u64;
        let mut starts = Vec::with_capacity(examples.sessions() + 1);
        let mut before = 0;
        for (_, events) in examples.targets() {
            let end = before + events.len() as u64;
            starts.extend((before..end).step_by(batch_size as usize));
            before = end;
        }
        let total = examples.len() as u64;
        starts.push(total);
        Self {
            starts,
            steps: (total / batch_size).max(1),
            seed,
            pass: Mutex::new(None),
        }
    }

    /// Training steps of one pass.
    pub fn steps_per_pass(&self) -> u64 {
        self.steps
    }

    /// The examples of step `step` (from 1): a range of one session for each piece. A pure function
    /// of the seed and the step; the first step of a pass costs a pass over the pieces' lengths.
    pub fn at(&self, step: u64) -> Vec<Range<usize>> {
        let (number, at) = ((step - 1) / self.steps, ((step - 1) % self.steps) as usize);
        let pass = self.pass(number);
        let mut pieces = Vec::new();
        for i in pass.firsts[at]..pass.firsts[at + 1] {
            let piece = self.piece(pass.order.at(i));
            pieces.push(piece.start as usize..piece.end as usize);
        }
        pieces
    }

    fn piece(&self, number: u64) -> Range<u64> {
        let number = number as usize;
        self.starts[number]..self.starts[number + 1]
    }

    fn pass(&self, number: u64) -> Arc<Pass> {
        let mut latest = self.pass.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pass) = &*latest
            && pass.number == number
        {
            return Arc::clone(pass);
        }
        let pieces = self.starts.len() as u64 - 1;
        let total = self.starts[pieces as usize];
        let order = Permutation::new(pieces, self.seed, number);
        let mut firsts = Vec::with_capacity(self.steps as usize + 1);
        let mut before = 0;
        for i in 0..pieces {
            let piece = self.piece(order.at(i));
            let len = piece.end - piece.start;
            // In halves of an example, since the middle of a piece may be one.
            let step = u128::from(2 * before + len) * u128::from(self.steps);
            let step = (step / u128::from(2 * total)) as usize;
            let is_new = firsts.len() <= step;
            if is_new {
                firsts.resize(step + 1, i);
            }
            before += len;
        }
        firsts.resize(self.steps as usize + 1, pieces);
        let pass = Arc::new(Pass {
            number,
            order,
            firsts,
        });
        *latest = Some(Arc::clone(&pass));
        pass
    }
}

impl Sequences {
    fn push(&mut self, items: &[u32], kinds: &[Kind]) {
        self.items.extend_from_slice(items);
        self.kinds.extend_from_slice(kinds);
        self.lengths.push(items.len() as u32);
    }
}

impl SplitExamples<'_> {
    /// The examples of these `pieces`, each a range in one session, and the sequences that hold
    /// their states, for windows of `window_len`.
    ///
    /// A sequence starts a window before its piece's first example, or with the session. If
    /// `is_whole`, it reaches to the last example; else it ends after a window, and each example
    /// further in the session has a window of its own. Long sequences come first.
    pub fn session_rows(
        &self,
        pieces: &[Range<usize>],
        window_len: usize,
        is_whole: bool,
    ) -> SessionRows {
        let (items, kinds) = (self.data.item_indices(), self.data.kinds());
        let firsts = self.positions(pieces.iter().map(|piece| piece.start));
        let mut order: Vec<usize> = (0..pieces.len()).collect();
        order.sort_by_key(|&p| Reverse(pieces[p].len()));
        let mut rows = SessionRows::default();
        let sequences = &mut rows.sequences;
        sequences.window_len = window_len;
        let (mut empty, mut beyond) = (Vec::new(), Vec::new());
        for p in order {
            let (piece, first, start) = (&pieces[p], firsts[p].event, firsts[p].start);
            // One past the last target.
            let last = first + piece.len();
            let origin = first.saturating_sub(window_len).max(start);
            let example = |event: usize| piece.start + event - first;
            if first == start {
                empty.push(piece.start);
            }
            // Targets whose states are read, and one past the last item before them.
            let end = if is_whole {
                last - 1
            } else {
                (last - 1).min(start + window_len)
            };
            let read = first.max(start + 1)..end + 1;
            if !read.is_empty() {
                let row = sequences.items.len();
                sequences.push(&items[origin..end], kinds.range(origin..end));
                for event in read.clone() {
                    rows.examples.push(example(event));
                    sequences.states.push((row + event - 1 - origin) as u32);
                }
            }
            for event in read.end.max(read.start)..last {
                beyond.push((example(event), event - window_len..event));
            }
        }
        for example in empty {
            rows.examples.push(example);
            sequences.states.push(sequences.items.len() as u32);
            sequences.push(&[self.data.items().len() as u32], &[Kind::Click]);
        }
        sequences.windows = beyond.len();
        for (example, window) in beyond {
            rows.examples.push(example);
            sequences.items.extend_from_slice(&items[window.clone()]);
            sequences.kinds.extend_from_slice(kinds.range(window));
            sequences.states.push(sequences.items.len() as u32 - 1);
        }
        rows
    }
}
