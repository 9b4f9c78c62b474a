//! Prompts compared: the metrics under each, and what its lists hold.
//!
//! All prompts rank the same cases, batch by batch, so that their lists are compared without being
//! stored. The first prompt is the base of the others.
//!
//! The purchase rate of the items shown is taken from the other sessions of the evaluated split:
//! purchases over events of those items, summed over all lists. The rate in training flatters
//! whatever follows it.

use prl_core::PromptSpec;
use prl_dataset::{Kind, PurchaseCounts};
use prl_eval::{Interval, Metric, Report, TOP, ratio_interval};
use serde::Serialize;

use crate::error::Result;
use crate::evaluate::{CaseBatch, CaseLog, RankedCase, Tally};
use crate::recommender::Recommender;
use crate::run_dir::Run;

/// The effect of one prompt.
#[derive(Clone, Debug, Serialize)]
pub struct CurvePoint {
    /// The prompt; `None` if the model takes none and nothing is tilted.
    pub prompt: Option<PromptSpec>,
    /// Metrics of the cases.
    pub report: Report,
    /// HR@20 of clicks less that of the base, over the same cases.
    pub click_change: Option<Change>,
    /// HR@20 of purchases less that of the base.
    pub purchase_change: Option<Change>,
    /// Share of the base's items at the same case that the list holds too, in its first 20.
    pub overlap: f64,
    /// Share of the items shown that were bought in training; `None` without purchase counts.
    pub bought_share: Option<f64>,
    /// Mean smoothed purchase rate in training of the items shown; `None` without purchase counts.
    pub training_rate: Option<f64>,
    /// Purchases over events of the items shown, in the other sessions of the split; `None` if none
    /// of them has an event there.
    pub held_out_rate: Option<f64>,
    /// 95% interval of that rate, by sessions.
    pub held_out_interval: Option<Interval>,
}

/// A difference of two prompts on the same cases.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Mean over the cases.
    pub mean: f64,
    /// 95% interval of the mean, by sessions; `None` for fewer than two.
    pub interval: Option<Interval>,
}

impl Change {
    /// The difference of `hits` and `base` over the cases of a kind, session by session.
    fn new(hits: &[SessionHits], base: &[SessionHits], kind: usize, seed: u64) -> Option<Self> {
        let mut differences = Vec::with_capacity(hits.len());
        let (mut sum, mut cases) = (0.0, 0.0);
        for (own, base) in hits.iter().zip(base) {
            let difference = own.hits[kind] - base.hits[kind];
            differences.push([difference, own.cases[kind]]);
            sum += difference;
            cases += own.cases[kind];
        }
        (cases > 0.0).then(|| Self {
            mean: sum / cases,
            interval: ratio_interval(&differences, seed),
        })
    }
}

/// Cases of a session and those whose target is in the first 20, of clicks and of purchases.
#[derive(Clone, Copy, Debug, Default)]
struct SessionHits {
    cases: [f64; 2],
    hits: [f64; 2],
}

/// Evaluates a model on a log under several prompts, all of them sequence-wise or none.
///
/// # Errors
/// A score that is not finite, or a tilt of scores that cannot be tilted.
pub fn curve(
    run: &Run,
    model: &Recommender,
    log: &CaseLog<'_>,
    prompts: &[PromptSpec],
    batch_size: usize,
) -> Result<Vec<CurvePoint>> {
    let Some(&base) = prompts.first() else {
        return Ok(Vec::new());
    };
    let mut held_out = HeldOut::new(run, log);
    let trained = Trained::new(run)?;
    let mut forecaster = None;
    for &prompt in prompts {
        if forecaster.is_none() {
            forecaster = run.forecaster_for(prompt)?;
        }
    }
    let mut running = Vec::with_capacity(prompts.len());
    for &prompt in prompts {
        running.push(Running::new(run, log, prompt)?);
    }
    let mut rank = |batch: CaseBatch| {
        let mut base_lists = Vec::new();
        for (at, running) in running.iter_mut().enumerate() {
            let mut positions = batch.positions.clone();
            if let Some(forecaster) = &forecaster {
                let target = running.prompt.target;
                forecaster.set_targets(model, &batch.windows, target, &mut positions)?;
            }
            let prompts = run.prompts(running.prompt, &positions);
            let ranking = model.rank_cases(&batch, &prompts, TOP)?;
            for (b, top) in ranking.top.iter().enumerate() {
                running.tally.push(&RankedCase {
                    session: batch.sessions[b],
                    kind: batch.kinds[b],
                    rank: ranking.ranks[b],
                    item: "",
                    top,
                    step: batch.positions[b].step,
                    target_return: None,
                })?;
                running.count(batch.sessions[b], batch.kinds[b], ranking.ranks[b]);
                let mut items = [0; TOP];
                for (slot, &(item, _)) in items.iter_mut().zip(top) {
                    *slot = item;
                }
                let list = &items[..top.len().min(TOP)];
                if at == 0 {
                    base_lists.push(list.to_vec());
                }
                running.lists.push(list, &base_lists[b], trained.as_ref());
                held_out.add(batch.sessions[b], list, &mut running.lists);
            }
        }
        Ok(())
    };
    let window = run.config().model.window;
    let other_log = log.for_each_batch(batch_size, window, base, &mut rank)?;
    let mut points = Vec::with_capacity(running.len());
    let base = running[0].hits.clone();
    for Running {
        prompt,
        tally,
        lists,
        hits,
    } in running
    {
        let shown = (model.is_prompted() || prompt.tilt != 0.0).then_some(prompt);
        let mut report = tally.report(log, shown, other_log.clone(), None, 1.0)?;
        report.events_per_second = None;
        let seed = run.config().seed;
        let mut point = lists.point(shown, report, seed);
        point.click_change = Change::new(&hits, &base, 0, seed);
        point.purchase_change = Change::new(&hits, &base, 1, seed);
        points.push(point);
    }
    Ok(points)
}

/// The evaluation of one prompt in progress.
struct Running<'a> {
    prompt: PromptSpec,
    tally: Tally<'a>,
    lists: Lists,
    hits: Vec<SessionHits>,
}

impl<'a> Running<'a> {
    fn new(run: &'a Run, log: &CaseLog<'_>, prompt: PromptSpec) -> Result<Self> {
        Ok(Self {
            prompt,
            tally: Tally::new(run, log)?,
            lists: Lists::default(),
            hits: Vec::new(),
        })
    }

    /// Counts a case as one of its session's.
    fn count(&mut self, session: u32, kind: Kind, rank: u32) {
        let session = session as usize;
        if self.hits.len() <= session {
            self.hits.resize(session + 1, SessionHits::default());
        }
        let kind = usize::from(kind == Kind::Purchase);
        let own = &mut self.hits[session];
        own.cases[kind] += 1.0;
        own.hits[kind] += Metric::Hr20.gain(rank);
    }
}

/// Purchases in training.
struct Trained {
    is_bought: Vec<bool>,
    rates: Vec<f64>,
}

impl Trained {
    fn new(run: &Run) -> Result<Option<Self>> {
        let (Some(counts), Some(rates)) = (run.purchase_counts()?, run.purchase_rates()?) else {
            return Ok(None);
        };
        let mut is_bought = Vec::with_capacity(counts.purchases.len());
        for purchases in counts.purchases {
            is_bought.push(purchases > 0);
        }
        Ok(Some(Self {
            is_bought,
            rates: rates.rates,
        }))
    }
}

/// Sums over the lists of a prompt.
#[derive(Default)]
struct Lists {
    shown: u64,
    kept: u64,
    of_base: u64,
    bought: Option<u64>,
    rates: f64,
    /// Purchases and events elsewhere of the items shown, for each session.
    held_out: Vec<[f64; 2]>,
}

impl Lists {
    fn push(&mut self, list: &[u32], base: &[u32], trained: Option<&Trained>) {
        self.shown += list.len() as u64;
        self.of_base += base.len() as u64;
        for item in list {
            self.kept += u64::from(base.contains(item));
        }
        if let Some(trained) = trained {
            let bought = self.bought.get_or_insert(0);
            for &item in list {
                *bought += u64::from(trained.is_bought[item as usize]);
                self.rates += trained.rates[item as usize];
            }
        }
    }

    fn point(self, prompt: Option<PromptSpec>, report: Report, seed: u64) -> CurvePoint {
        let shown = self.shown.max(1) as f64;
        let (mut purchases, mut events) = (0.0, 0.0);
        for [bought, all] in &self.held_out {
            purchases += bought;
            events += all;
        }
        CurvePoint {
            prompt,
            report,
            click_change: None,
            purchase_change: None,
            overlap: self.kept as f64 / self.of_base.max(1) as f64,
            bought_share: self.bought.map(|bought| bought as f64 / shown),
            training_rate: self.bought.map(|_| self.rates / shown),
            held_out_rate: (events > 0.0).then_some(purchases / events),
            held_out_interval: ratio_interval(&self.held_out, seed),
        }
    }
}

/// Events and purchases of each item in the evaluated split, session by session.
struct HeldOut {
    counts: PurchaseCounts,
    sessions: Vec<Vec<(u32, Kind)>>,
}

impl HeldOut {
    fn new(run: &Run, log: &CaseLog<'_>) -> Self {
        let sessions = log.sessions();
        let mut counts = PurchaseCounts::new(run.items().len());
        for &(item, kind) in sessions.iter().flatten() {
            counts.add(item, kind);
        }
        Self { counts, sessions }
    }

    /// Adds purchases and events of the items of a list in all sessions but its own.
    fn add(&mut self, session: u32, list: &[u32], lists: &mut Lists) {
        let own = &self.sessions[session as usize];
        let (mut purchases, mut events) = (0.0, 0.0);
        for &item in list {
            events += f64::from(self.counts.events[item as usize]);
            purchases += f64::from(self.counts.purchases[item as usize]);
        }
        for &(item, kind) in own {
            if list.contains(&item) {
                events -= 1.0;
                purchases -= f64::from(u8::from(kind == Kind::Purchase));
            }
        }
        let session = session as usize;
        if lists.held_out.len() <= session {
            lists.held_out.resize(session + 1, [0.0; 2]);
        }
        lists.held_out[session][0] += purchases;
        lists.held_out[session][1] += events;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_out_rate_leaves_the_own_session_out() {
        let (click, purchase) = (Kind::Click, Kind::Purchase);
        let sessions = vec![
            vec![(0, click), (0, purchase), (1, click)],
            vec![(0, click), (2, purchase)],
        ];
        let mut counts = PurchaseCounts::new(3);
        for &(item, kind) in sessions.iter().flatten() {
            counts.add(item, kind);
        }
        let mut held_out = HeldOut { counts, sessions };
        let mut lists = Lists::default();
        held_out.add(0, &[0, 2], &mut lists);
        held_out.add(1, &[0, 1], &mut lists);
        // Session 0 sees the click on 0 and the purchase of 2 of session 1; session 1 sees two
        // events of item 0, one of them a purchase, and the click on 1.
        assert_eq!(lists.held_out, [[1.0, 2.0], [1.0, 3.0]]);
    }

    #[test]
    fn change_is_the_mean_difference_over_the_cases_of_a_kind() {
        let hits = |clicks: f64, purchases: f64| SessionHits {
            cases: [4.0, 1.0],
            hits: [clicks, purchases],
        };
        let (own, base) = (
            [hits(3.0, 1.0), hits(2.0, 0.0)],
            [hits(1.0, 0.0), hits(2.0, 0.0)],
        );
        assert_eq!(Change::new(&own, &base, 0, 1).unwrap().mean, 0.25);
        let purchases = Change::new(&own, &base, 1, 1).unwrap();
        assert_eq!(purchases.mean, 0.5);
        let interval = purchases.interval.unwrap();
        assert_eq!((interval.lo, interval.hi), (0.0, 1.0));
        assert_eq!(Change::new(&[], &[], 0, 1), None);
    }

    #[test]
    fn lists_count_bought_items_rates_and_overlap() {
        let trained = Trained {
            is_bought: vec![true, false, true],
            rates: vec![0.5, 0.1, 0.3],
        };
        let mut lists = Lists::default();
        lists.push(&[0, 1], &[1, 2], Some(&trained));
        lists.push(&[2], &[2], Some(&trained));
        assert_eq!((lists.shown, lists.kept, lists.of_base), (3, 2, 3));
        assert_eq!(lists.bought, Some(2));
        assert!((lists.rates - 0.9).abs() < 1e-12);
    }
}
