//! Generation of a log: sessions in order of their start, written as they are made.

use std::path::Path;

use crate::error::{Error, Result};
use crate::files::{self, Finished};
use crate::options::{Expected, Like, Options, Summary};
use crate::plan::Planner;
use crate::shape::Shape;
use crate::walk::{Event, Walker};
use crate::world::World;
use crate::{rc15, retailrocket};

/// One session that is too short for the filters follows every fourth kept one.
const SHORT_EVERY: u64 = 4;
/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// Writes the raw files of a synthetic log and `SYNTHETIC.json` into `out`, and returns the content
/// of the latter.
///
/// Files are written atomically; an older synthetic log in `out` is replaced. Memory use is
/// independent of the number of sessions.
///
/// # Errors
/// [`Error::Sessions`] for a number of sessions out of range, [`Error::Occupied`] if `out` holds a
/// raw file that this function did not write, [`Error::Io`] if an operation fails.
pub fn synth(options: &Options, out: &Path) -> Result<Summary> {
    let shape = Shape::new(options)?;
    let world = World::new(&shape, options.seed);
    let numbers = 2 * shape.sessions;
    let (expected, files) = match options.like {
        Like::Tiny | Like::RetailRocket => {
            let mut writer = retailrocket::Writer::new(out, &world, numbers, options.seed)?;
            let expected = sessions(&shape, &world, options.seed, |number, events| {
                writer.session(number, events)
            })?;
            (expected, writer.finish()?)
        }
        Like::Rc15 => {
            let mut writer = rc15::Writer::new(out, &world)?;
            let expected = sessions(&shape, &world, options.seed, |number, events| {
                writer.session(number, events)
            })?;
            (expected, writer.finish()?)
        }
    };
    let summary = summary(options, &world, expected, &files);
    let mut json = serde_json::to_vec_pretty(&summary).map_err(|e| Error::io(out)(e.into()))?;
    json.push(b'\n');
    files::publish(out, &json, files)?;
    Ok(summary)
}

/// Generates every session in order of its start and passes it to `write` with its number, which is
/// even for a session that passes the filters and odd for one that is too short.
fn sessions(
    shape: &Shape,
    world: &World,
    seed: u64,
    mut write: impl FnMut(u64, &[Event]) -> Result<()>,
) -> Result<Expected> {
    let (first, span) = match shape.like {
        Like::Tiny | Like::RetailRocket => (1_430_622_000_000, 137 * DAY),
        Like::Rc15 => (1_396_310_400_000, 182 * DAY),
    };
    let planner = Planner::new(shape, seed);
    let mut walker = Walker::new(world, seed);
    let mut planned = Vec::new();
    let mut expected = Expected {
        sessions: shape.sessions,
        items: shape.items(),
        ..Expected::default()
    };
    let slot =
        |s: u64| first + (i128::from(span) * i128::from(s) / i128::from(shape.sessions)) as i64;
    for s in 0..shape.sessions {
        // A kept session starts in the first half of its slot, a short one in the second: starts
        // are ascending.
        let half = (slot(s + 1) - slot(s)) / 2;
        let start = slot(s) + walker.below(half);
        planned.clear();
        planned.extend(world.planned_items(s, shape.sessions));
        let events = walker.session(planner.plan(s), &planned, shape.drops_rare(), start);
        for event in events {
            if shape.drops_rare() && world.is_rare(event.item) {
                continue;
            }
            if event.purchase {
                expected.purchases += 1;
            } else {
                expected.clicks += 1;
            }
        }
        write(2 * s, events)?;
        if s % SHORT_EVERY == 0 {
            let start = slot(s) + half + walker.below(half);
            write(2 * s + 1, walker.short(shape.like, start))?;
        }
    }
    Ok(expected)
}

fn summary(options: &Options, world: &World, expected: Expected, files: &[Finished]) -> Summary {
    let mut heavy_items = Vec::new();
    for raw in world.heavy_ids() {
        let id = match options.like {
            Like::Tiny | Like::RetailRocket => raw,
            Like::Rc15 => rc15::Writer::item_id(raw),
        };
        heavy_items.push(id.to_string());
    }
    Summary {
        like: options.like,
        seed: options.seed,
        expected,
        files: files.iter().map(|f| f.entry.clone()).collect(),
        heavy_items,
    }
}
