//! Many visits at once, so that their lists are made in batches.

use std::ops::Range;

use super::catalogue::Shop;
use super::lists::Lists;
use super::visit::Visit;

/// Runs the visits of these numbers to their end, at most `batch` at a time, and returns them in
/// the order of their numbers. A visit does not depend on the others.
///
/// # Errors
/// If a list cannot be made.
pub fn roll_out<'a, L: Lists>(
    shop: &'a Shop,
    seed: u64,
    numbers: Range<u64>,
    lists: &mut L,
    batch: usize,
) -> Result<Vec<Visit<'a>>, L::Error> {
    let first = numbers.start;
    let mut visits: Vec<Visit<'a>> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for number in numbers {
        open.push((number - first) as usize);
        visits.push(Visit::arrive(shop, seed, number));
        if open.len() >= batch.max(1) {
            act(&mut visits, &mut open, lists)?;
        }
    }
    while !open.is_empty() {
        act(&mut visits, &mut open, lists)?;
    }
    Ok(visits)
}

/// Shows one list to each open visit, and removes from `open` those that end.
fn act<L: Lists>(
    visits: &mut [Visit<'_>],
    open: &mut Vec<usize>,
    lists: &mut L,
) -> Result<(), L::Error> {
    let waiting: Vec<&Visit<'_>> = open.iter().map(|&at| &visits[at]).collect();
    let shown = lists.lists(&waiting)?;
    let mut still_open = Vec::with_capacity(open.len());
    for (&at, list) in open.iter().zip(&shown) {
        if visits[at].act(list).is_some() {
            still_open.push(at);
        }
    }
    *open = still_open;
    Ok(())
}
