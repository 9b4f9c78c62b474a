//! Moments of a log of sessions, by which a shop is compared with a real one.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::visit::Visit;

/// A moment and how closely a fitted world has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Name in `fitted.toml`.
    pub name: &'static str,
    /// Unit of its error in the fit, relative to the target. The tests allow 2.5 units.
    pub unit: f64,
}

const fn moment(name: &'static str, unit: f64) -> Moment {
    Moment { name, unit }
}

/// All moments, in order.
pub const MOMENTS: [Moment; 22] = [
    // Session lengths: mean; share of two events, of three, of more than five, ten and twenty.
    moment("length_mean", 0.05),
    moment("length_2", 0.05),
    moment("length_3", 0.15),
    moment("length_over_5", 0.1),
    moment("length_over_10", 0.2),
    moment("length_over_20", 0.4),
    // Share of events whose item the session has already; of views, of the last item and of others.
    moment("repeats", 0.05),
    moment("views_of_last", 0.1),
    moment("views_of_earlier", 0.1),
    // Share of events that are purchases; of purchases, of seen items and of the last item.
    moment("purchases", 0.1),
    moment("purchases_of_seen", 0.05),
    moment("purchases_of_last", 0.1),
    // Share of sessions with a purchase, and their mean length.
    moment("buying_sessions", 0.1),
    moment("buying_length", 0.1),
    // Share of first and of later views that the purchase of the item follows directly.
    moment("bought_after_first_view", 0.1),
    moment("bought_after_later_view", 0.2),
    // Distinct items; of them, share with one event; share of events of the top 1% and 10%.
    moment("items", 0.1),
    moment("items_once", 0.1),
    moment("top_1_percent", 0.15),
    moment("top_10_percent", 0.1),
    // Share of moves between items that occur more than once.
    moment("moves_again", 0.15),
    // Share of purchases whose item is bought more than once.
    moment("purchases_again", 0.1),
];

/// An event of a log in any order of sessions, in the order of time within each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// The item.
    pub item: u64,
    /// Whether it is a purchase, otherwise a view.
    pub purchase: bool,
}

/// Values of the [`MOMENTS`], in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, f64>", into = "BTreeMap<String, f64>")]
pub struct Moments(pub [f64; MOMENTS.len()]);

impl From<Moments> for BTreeMap<String, f64> {
    fn from(moments: Moments) -> Self {
        let mut map = BTreeMap::new();
        for (moment, value) in MOMENTS.iter().zip(moments.0) {
            map.insert(moment.name.to_owned(), value);
        }
        map
    }
}

impl TryFrom<BTreeMap<String, f64>> for Moments {
    type Error = String;

    fn try_from(map: BTreeMap<String, f64>) -> Result<Self, String> {
        let mut values = [0.0; MOMENTS.len()];
        for (value, moment) in values.iter_mut().zip(&MOMENTS) {
            let Some(&found) = map.get(moment.name) else {
                return Err(format!("no moment {}", moment.name));
            };
            *value = found;
        }
        Ok(Self(values))
    }
}

/// Sums over sessions.
#[derive(Default)]
struct Sums {
    sessions: f64,
    events: f64,
    views: f64,
    lengths: [f64; 5],
    repeats: f64,
    of_last: f64,
    of_earlier: f64,
    purchases: f64,
    purchases_of_seen: f64,
    purchases_of_last: f64,
    buying: f64,
    buying_events: f64,
    /// Looks at items not bought, and purchases that follow directly: first views, later views.
    looks: [(f64, f64); 2],
    items: HashMap<u64, f64>,
    bought: HashMap<u64, f64>,
    moves: HashMap<(u64, u64), f64>,
}

impl Moments {
    /// The moments of sessions.
    pub fn new<'a>(sessions: impl IntoIterator<Item = &'a [LogEvent]>) -> Self {
        let mut sums = Sums::default();
        for session in sessions {
            sums.add(session);
        }
        sums.moments()
    }

    /// The moments of visits.
    pub fn of_visits(visits: &[Visit<'_>]) -> Self {
        let mut sums = Sums::default();
        let mut session = Vec::new();
        for visit in visits {
            session.clear();
            for event in visit.events() {
                session.push(LogEvent {
                    item: event.item.into(),
                    purchase: event.purchase,
                });
            }
            sums.add(&session);
        }
        sums.moments()
    }

    /// Difference of each moment from a target, relative to the target.
    pub fn errors(&self, target: &Moments) -> [f64; MOMENTS.len()] {
        let mut errors = [0.0; MOMENTS.len()];
        for (error, (found, wanted)) in errors.iter_mut().zip(self.0.iter().zip(target.0)) {
            *error = found / wanted - 1.0;
        }
        errors
    }
}

impl Sums {
    fn add(&mut self, session: &[LogEvent]) {
        let n = session.len();
        self.sessions += 1.0;
        self.events += n as f64;
        let classes = [n <= 2, n == 3, n > 5, n > 10, n > 20];
        for (sum, is_in) in self.lengths.iter_mut().zip(classes) {
            *sum += f64::from(u8::from(is_in));
        }
        let mut views: HashMap<u64, u32> = HashMap::new();
        let (mut bought, mut buys) = (HashSet::new(), false);
        for (t, event) in session.iter().enumerate() {
            *self.items.entry(event.item).or_default() += 1.0;
            let is_seen = views.contains_key(&event.item);
            let is_last = t > 0 && session[t - 1].item == event.item;
            if t > 0 && !is_last {
                let step = (session[t - 1].item, event.item);
                *self.moves.entry(step).or_default() += 1.0;
            }
            self.repeats += f64::from(u8::from(is_seen));
            let count = views.entry(event.item).or_default();
            if event.purchase {
                buys = true;
                bought.insert(event.item);
                self.purchases += 1.0;
                *self.bought.entry(event.item).or_default() += 1.0;
                self.purchases_of_seen += f64::from(u8::from(is_seen));
                self.purchases_of_last += f64::from(u8::from(is_last));
                continue;
            }
            *count += 1;
            self.views += 1.0;
            self.of_last += f64::from(u8::from(is_last));
            self.of_earlier += f64::from(u8::from(is_seen && !is_last));
            if !bought.contains(&event.item) {
                let look = &mut self.looks[usize::from(*count > 1)];
                look.0 += 1.0;
                let next = session.get(t + 1);
                let follows = next.is_some_and(|e| e.purchase && e.item == event.item);
                look.1 += f64::from(u8::from(follows));
            }
        }
        if buys {
            self.buying += 1.0;
            self.buying_events += n as f64;
        }
    }

    fn moments(self) -> Moments {
        let (sessions, events) = (self.sessions, self.events);
        let mut counts: Vec<f64> = self.items.values().copied().collect();
        counts.sort_unstable_by(|a, b| b.total_cmp(a));
        let top = |share: f64| {
            let n = (counts.len() as f64 * share) as usize;
            counts[..n].iter().sum::<f64>() / events
        };
        let once = counts.iter().filter(|&&count| count == 1.0).count() as f64;
        Moments([
            events / sessions,
            self.lengths[0] / sessions,
            self.lengths[1] / sessions,
            self.lengths[2] / sessions,
            self.lengths[3] / sessions,
            self.lengths[4] / sessions,
            self.repeats / events,
            self.of_last / self.views,
            self.of_earlier / self.views,
            self.purchases / events,
            self.purchases_of_seen / self.purchases,
            self.purchases_of_last / self.purchases,
            self.buying / sessions,
            self.buying_events / self.buying,
            self.looks[0].1 / self.looks[0].0,
            self.looks[1].1 / self.looks[1].0,
            counts.len() as f64,
            once / counts.len() as f64,
            top(0.01),
            top(0.1),
            share_of_repeated(self.moves.values()),
            share_of_repeated(self.bought.values()),
        ])
    }
}

/// Share of the occurrences that are not the only one of their kind.
fn share_of_repeated<'a>(counts: impl Iterator<Item = &'a f64>) -> f64 {
    let (mut all, mut repeated) = (0.0, 0.0);
    for &count in counts {
        all += count;
        repeated += if count > 1.0 { count } else { 0.0 };
    }
    repeated / all
}
