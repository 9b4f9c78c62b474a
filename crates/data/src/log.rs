//! The events of a raw log as plain columns, and the plain passes over them. Rows stand in file order until
//! [`Log::order`] puts them in the one total order: session, time, file order.

use prl_dataset::{Counts, Kind};

use crate::ids::{IdColumn, Ids};

/// A log: one entry per event in each of the four columns.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// Rank of the session id in `session_ids`.
    pub sessions: Vec<u32>,
    /// Rank of the item id in `item_ids`.
    pub items: Vec<u32>,
    /// Click or purchase.
    pub kinds: Vec<Kind>,
    /// Nanoseconds since 1970, UTC: what public logs in any unit order by.
    pub times: Vec<i64>,
    /// Sorted raw session ids.
    pub session_ids: Ids,
    /// Sorted raw item ids.
    pub item_ids: Ids,
}

impl Log {
    pub(crate) fn new(
        sessions: IdColumn,
        items: IdColumn,
        kinds: Vec<Kind>,
        times: Vec<i64>,
    ) -> Self {
        let (session_ids, sessions) = sessions.finish();
        let (item_ids, items) = items.finish();
        Self {
            sessions,
            items,
            kinds,
            times,
            session_ids,
            item_ids,
        }
    }

    /// Adds an event of a known session and item at the end.
    pub(crate) fn push(&mut self, session: u32, item: u32, kind: Kind, time: i64) {
        self.sessions.push(session);
        self.items.push(item);
        self.kinds.push(kind);
        self.times.push(time);
    }

    /// The number of events.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Events per session rank.
    pub(crate) fn session_sizes(&self) -> Vec<u32> {
        count(&self.sessions, self.session_ids.len())
    }

    /// Events per item rank.
    pub(crate) fn item_sizes(&self) -> Vec<u32> {
        count(&self.items, self.item_ids.len())
    }

    /// Table 1 of the events as they are.
    pub(crate) fn counts(&self) -> Counts {
        let present = |sizes: Vec<u32>| sizes.iter().filter(|&&n| n > 0).count() as u64;
        let purchases = self.kinds.iter().filter(|&&k| k == Kind::Purchase).count() as u64;
        Counts {
            sessions: present(self.session_sizes()),
            items: present(self.item_sizes()),
            clicks: self.len() as u64 - purchases,
            purchases,
        }
    }

    /// Keeps the events for which `keep(session, item)`; returns how many were dropped.
    pub(crate) fn retain(&mut self, keep: impl Fn(u32, u32) -> bool) -> u64 {
        let kept: Vec<bool> = self
            .sessions
            .iter()
            .zip(&self.items)
            .map(|(&s, &i)| keep(s, i))
            .collect();
        let before = self.len();
        retain(&mut self.sessions, &kept);
        retain(&mut self.items, &kept);
        retain(&mut self.kinds, &kept);
        retain(&mut self.times, &kept);
        (before - self.len()) as u64
    }

    /// Drops the events of sessions of fewer than `least` events, in one pass.
    pub(crate) fn drop_short_sessions(&mut self, least: usize) -> u64 {
        let sizes = self.session_sizes();
        self.retain(|session, _| sizes[session as usize] as usize >= least)
    }

    /// Drops the events of sessions of more than `most` events.
    pub(crate) fn drop_long_sessions(&mut self, most: usize) -> u64 {
        let sizes = self.session_sizes();
        self.retain(|session, _| sizes[session as usize] as usize <= most)
    }

    /// Drops the events of items of fewer than `least` events, in one pass.
    pub(crate) fn drop_rare_items(&mut self, least: usize) -> u64 {
        let sizes = self.item_sizes();
        self.retain(|_, item| sizes[item as usize] as usize >= least)
    }

    /// Forgets the ids that no event carries; the others keep their order.
    pub(crate) fn reindex_items(&mut self) {
        let sizes = self.item_sizes();
        let rank = sizes.iter().scan(0, |next, &n| {
            let rank = *next;
            *next += u32::from(n > 0);
            Some(rank)
        });
        let rank: Vec<u32> = rank.collect();
        self.items
            .iter_mut()
            .for_each(|item| *item = rank[*item as usize]);
        self.item_ids.retain(|i| sizes[i] > 0);
    }

    /// Sorts by session, then time, then the order so far.
    pub(crate) fn order(&mut self) {
        let mut ends = self.session_offsets();
        ends.rotate_left(1);
        let mut order = vec![0_usize; self.len()];
        for (row, &session) in self.sessions.iter().enumerate().rev() {
            ends[session as usize] -= 1;
            order[ends[session as usize]] = row;
        }
        let times = &self.times;
        for session in order.chunk_by_mut(|&a, &b| self.sessions[a] == self.sessions[b]) {
            session.sort_by_key(|&row| times[row]);
        }
        gather(&mut self.sessions, &order);
        gather(&mut self.items, &order);
        gather(&mut self.kinds, &order);
        gather(&mut self.times, &order);
    }

    /// Where each session rank begins once the events are in order; one more entry at the end. A rank without events has
    /// an empty range.
    fn session_offsets(&self) -> Vec<usize> {
        let mut end = 0;
        let ends = self.session_sizes().into_iter().map(|n| {
            end += n as usize;
            end
        });
        std::iter::once(0).chain(ends).collect()
    }
}

fn count(ranks: &[u32], n: usize) -> Vec<u32> {
    let mut counts = vec![0; n];
    ranks.iter().for_each(|&r| counts[r as usize] += 1);
    counts
}

fn retain<T: Copy>(column: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    column.retain(|_| kept.next() == Some(&true));
}

fn gather<T: Copy>(column: &mut Vec<T>, order: &[usize]) {
    *column = order.iter().map(|&row| column[row]).collect();
}
