//! Writer of `events.csv`: the rows of all sessions in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Write as _;
use std::path::Path;

use prl_seed::Rng;
use rand::Rng as _;

use crate::error::Result;
use crate::files::{Finished, RawFile};
use crate::walk::Event;
use crate::world::World;

/// Share of `addtocart` rows that are followed by a `transaction` row.
const BOUGHT: f64 = 1.0 / 3.0;
/// Milliseconds between the session's last event and its first transaction, and between
/// transactions.
const CHECKOUT: i64 = 30_000;

/// One row, ordered by time, then by sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    time: i64,
    sequence: u64,
    visitor: u64,
    item: u32,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    View,
    AddToCart,
    Transaction(u32),
}

/// Writer of sessions with ascending starts. A row is written once no later session can precede it,
/// so memory holds only the sessions that overlap in time.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    world: &'a World,
    file: RawFile,
    waiting: BinaryHeap<Reverse<Row>>,
    /// Exclusive upper bound of visitor ids, a power of two.
    visitors: u64,
    sequence: u64,
    transactions: u32,
    rng: Rng,
    line: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(dir: &Path, world: &'a World, visitors: u64, seed: u64) -> Result<Self> {
        let mut file = RawFile::create(dir, "events.csv")?;
        file.header("timestamp,visitorid,event,itemid,transactionid\n")?;
        Ok(Self {
            world,
            file,
            waiting: BinaryHeap::new(),
            visitors: visitors.next_power_of_two(),
            sequence: 0,
            transactions: 0,
            rng: prl_seed::stream(seed, "synth transactions", 0),
            line: Vec::new(),
        })
    }

    /// Adds the session with this number.
    pub(crate) fn session(&mut self, number: u64, events: &[Event]) -> Result<()> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            return Ok(());
        };
        self.release(first.time)?;
        let visitor = scatter(number, self.visitors);
        let mut paid = last.time;
        for event in events {
            let kind = if event.purchase {
                Kind::AddToCart
            } else {
                Kind::View
            };
            self.add(event.time, visitor, event.item, kind);
            if event.purchase && self.rng.random_bool(BOUGHT) {
                paid += CHECKOUT;
                self.transactions += 1;
                self.add(
                    paid,
                    visitor,
                    event.item,
                    Kind::Transaction(self.transactions),
                );
            }
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Vec<Finished>> {
        self.release(i64::MAX)?;
        Ok(vec![self.file.finish()?])
    }

    fn add(&mut self, time: i64, visitor: u64, item: u32, kind: Kind) {
        self.waiting.push(Reverse(Row {
            time,
            sequence: self.sequence,
            visitor,
            item,
            kind,
        }));
        self.sequence += 1;
    }

    /// Writes all waiting rows with an earlier time.
    fn release(&mut self, time: i64) -> Result<()> {
        while let Some(&Reverse(row)) = self.waiting.peek() {
            if row.time >= time {
                break;
            }
            self.waiting.pop();
            self.line.clear();
            let Row {
                time,
                visitor,
                kind,
                ..
            } = row;
            let item = self.world.raw(row.item);
            // Writes to a vector are infallible.
            let _ = match kind {
                Kind::View => writeln!(self.line, "{time},{visitor},view,{item},"),
                Kind::AddToCart => writeln!(self.line, "{time},{visitor},addtocart,{item},"),
                Kind::Transaction(id) => {
                    writeln!(self.line, "{time},{visitor},transaction,{item},{id}")
                }
            };
            self.file.row(&self.line)?;
        }
        Ok(())
    }
}

/// Permutation of the numbers below a power of two, which makes ids independent of time. Both steps
/// are bijective: multiplication by an odd factor, and XOR of the upper half of the bits into the
/// lower.
fn scatter(number: u64, power: u64) -> u64 {
    let product = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) & (power - 1);
    product ^ (product >> (power.trailing_zeros() / 2 + 1))
}

#[cfg(test)]
mod tests {
    use super::scatter;

    #[test]
    fn scatter_is_a_permutation() {
        for power in [1, 2, 8, 512, 1024] {
            let mut seen: Vec<u64> = (0..power).map(|n| scatter(n, power)).collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..power));
        }
    }
}
