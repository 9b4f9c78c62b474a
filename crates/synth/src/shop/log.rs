//! The log of a shop as a CSV file.

use std::io::Write as _;
use std::path::Path;

use rand_distr::{Distribution as _, LogNormal};
use serde::{Deserialize, Serialize};

use super::catalogue::Shop;
use super::lists::NoLists;
use super::rollout::roll_out;
use super::visit::Visit;
use super::world::ShopWorld;
use crate::error::{Error, MAX_SESSIONS, Result};
use crate::files::{self, Finished, RawFile};
use crate::options::SyntheticFile;

/// Sessions of the log that the worlds are fitted to.
pub(crate) const WEEK: u64 = 13_023;
/// Start of the log, 2015-09-10, in milliseconds.
const START: i64 = 1_441_843_200_000;
/// Milliseconds between the starts of two sessions at the size of the week: eight days in all.
const PERIOD: i64 = 8 * 86_400_000;
/// Median gap of two events in milliseconds, and the standard deviation of its logarithm.
const GAP: (f64, f64) = (88_000.0, 1.5);
/// Shortest and longest gap in milliseconds.
const GAPS: (f64, f64) = (1_000.0, 86_400_000.0);
/// Sessions that are in memory at once.
const CHUNK: u64 = 8_192;

/// Content of the log's `SYNTHETIC.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShopLog {
    /// Always `shop`.
    pub like: String,
    /// Name of the world.
    pub world: String,
    /// Seed of the sessions.
    pub seed: u64,
    /// Number of sessions.
    pub sessions: u64,
    /// Number of views.
    pub views: u64,
    /// Number of purchases.
    pub purchases: u64,
    /// Raw files in the same directory.
    pub files: Vec<SyntheticFile>,
}

/// Writes `events.csv`, `items.csv` and `SYNTHETIC.json` into `out`: the sessions of visitors
/// without lists, 13,023 by default as in the week, and the category and price
/// of every item. Equal arguments
/// give equal bytes. Files are written atomically; an older synthetic log in `out` is replaced.
///
/// # Errors
/// [`Error::ShopSessions`] for a number of sessions out of range, [`Error::Occupied`] if `out`
/// holds a raw file that this crate did not write, [`Error::Io`] if an operation fails.
pub fn synth_shop(
    world: ShopWorld,
    sessions: Option<u64>,
    seed: u64,
    out: &Path,
) -> Result<ShopLog> {
    let sessions = sessions.unwrap_or(WEEK);
    if !(1..=MAX_SESSIONS).contains(&sessions) {
        return Err(Error::ShopSessions(sessions));
    }
    let name = world.name.clone();
    let shop = Shop::new(world);
    let mut writer = Writer::new(out, &shop, sessions, seed)?;
    let mut first = 0;
    while first < sessions {
        let numbers = first..(first + CHUNK).min(sessions);
        first = numbers.end;
        let Ok(visits) = roll_out(&shop, seed, numbers, &mut NoLists, CHUNK as usize);
        for visit in &visits {
            writer.visit(visit)?;
        }
    }
    let (views, purchases) = (writer.views, writer.purchases);
    let finished = vec![writer.events.finish()?, items(out, &shop)?];
    let log = ShopLog {
        like: "shop".into(),
        world: name,
        seed,
        sessions,
        views,
        purchases,
        files: finished.iter().map(|f| f.entry.clone()).collect(),
    };
    let mut json = serde_json::to_vec_pretty(&log).map_err(|e| Error::io(out)(e.into()))?;
    json.push(b'\n');
    files::publish(out, &json, finished)?;
    Ok(log)
}

/// Writer of `events.csv`.
struct Writer<'a> {
    shop: &'a Shop,
    events: RawFile,
    sessions: u64,
    seed: u64,
    views: u64,
    purchases: u64,
    line: Vec<u8>,
}

impl<'a> Writer<'a> {
    fn new(out: &Path, shop: &'a Shop, sessions: u64, seed: u64) -> Result<Self> {
        let mut events = RawFile::create(out, "events.csv")?;
        events.header("session,time,item,event,value\n")?;
        Ok(Self {
            shop,
            events,
            sessions,
            seed,
            views: 0,
            purchases: 0,
            line: Vec::new(),
        })
    }

    /// Writes the rows of a session; its value is the price of a purchased item, 0 for a view.
    fn visit(&mut self, visit: &Visit<'_>) -> Result<()> {
        let number = visit.number();
        let span = i128::from(PERIOD) * i128::from(number) / i128::from(self.sessions);
        let mut time = START + span as i64;
        let mut rng = prl_seed::stream(self.seed, "shop gaps", number);
        // The parameters are finite and the deviation is positive.
        let gaps = LogNormal::new(GAP.0.ln(), GAP.1).ok();
        for event in visit.events() {
            let (item, session) = (Shop::raw(event.item), number + 1);
            self.line.clear();
            // Writes to a vector are infallible.
            let _ = if event.purchase {
                self.purchases += 1;
                let price = self.shop.price(event.item);
                writeln!(self.line, "{session},{time},{item},purchase,{price:.2}")
            } else {
                self.views += 1;
                writeln!(self.line, "{session},{time},{item},view,0")
            };
            self.events.row(&self.line)?;
            let gap = gaps.map_or(GAP.0, |gaps| gaps.sample(&mut rng));
            time += gap.clamp(GAPS.0, GAPS.1) as i64;
        }
        Ok(())
    }
}

/// Writes `items.csv`: category and price of each item.
fn items(out: &Path, shop: &Shop) -> Result<Finished> {
    let mut file = RawFile::create(out, "items.csv")?;
    file.header("item,category,price\n")?;
    for item in 0..shop.len() as u32 {
        let (raw, category) = (Shop::raw(item), shop.category(item));
        let line = format!("{raw},{category},{:.2}\n", shop.price(item));
        file.row(line.as_bytes())?;
    }
    file.finish()
}
