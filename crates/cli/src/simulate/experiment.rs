//! Lists of an experiment's arms, with a log of what was shown and what followed.

use std::path::Path;

use prl_arms::{Answer, Assignment, Event, EventKind, Experiment, LogWriter, Record};
use prl_core::PromptSpec;
use prl_runs::{RecommendResponse, RequestFields, Responder};
use prl_synth::shop::{Lists, Shop, ShopEvent, Visit};
use serde_json::Value;

use super::arm::checked;
use super::model::{BATCH, items, request};
use crate::exit::Usage;

/// Milliseconds between two events, in the log's time.
const GAP: u64 = 60_000;
/// Milliseconds between the starts of two sessions.
const START_GAP: u64 = 1_000;
/// Time of the first session: 2015-09-18, in milliseconds.
const START: u64 = 1_442_534_400_000;

/// Name of a session in logs and on servers.
pub fn session_name(seed: u64, number: u64) -> String {
    format!("shop-{seed}-{number}")
}

/// Fields of a request of each arm, with the defaults of the command.
///
/// # Errors
/// [`Usage`] for an arm whose fields are not those of a request.
pub fn asks(
    experiment: &Experiment,
    defaults: &RequestFields,
) -> Result<Vec<RequestFields>, Usage> {
    let mut asks = Vec::with_capacity(experiment.arms().len());
    for arm in experiment.arms() {
        let text = Value::Object(arm.ask.clone()).to_string();
        let fields = RequestFields::parse(text.as_bytes()).and_then(checked);
        let fields = fields.map_err(|error| Usage(format!("arm {}: {error}", arm.name)));
        let mut fields = fields?;
        fields.fill(defaults);
        asks.push(fields);
    }
    Ok(asks)
}

/// Lists of the arm of each session, logged with the events.
pub struct ExperimentLists<'a> {
    experiment: &'a Experiment,
    asks: &'a [RequestFields],
    responder: &'a Responder,
    shop: &'a Shop,
    default: PromptSpec,
    seed: u64,
    log: LogWriter,
}

impl<'a> ExperimentLists<'a> {
    /// Lists of `asks`, which are those of the experiment's arms; `default` is the default prompt.
    ///
    /// # Errors
    /// [`Usage`] for an invalid prompt, or if the log cannot be opened.
    pub fn new(
        experiment: &'a Experiment,
        asks: &'a [RequestFields],
        (responder, shop): (&'a Responder, &'a Shop),
        (default, seed): (PromptSpec, u64),
        log: &Path,
    ) -> anyhow::Result<Self> {
        for (arm, fields) in experiment.arms().iter().zip(asks) {
            super::model::check(fields, default, &arm.name)?;
        }
        Ok(Self {
            experiment,
            asks,
            responder,
            shop,
            default,
            seed,
            log: LogWriter::open(log, prl_arms::WriterOptions::default())?,
        })
    }

    fn assign(&self, visit: &Visit<'_>) -> Assignment<'_> {
        let name = session_name(self.seed, visit.number());
        self.experiment.assign(&name)
    }

    /// The last event of a visit, and the answer after it.
    fn records(&self, visit: &Visit<'_>, response: &RecommendResponse) -> Vec<Record> {
        let step = visit.events().len();
        let session = session_name(self.seed, visit.number());
        let time = START + visit.number() * START_GAP + step as u64 * GAP;
        let mut records = Vec::with_capacity(2);
        if let Some(event) = visit.events().last() {
            records.push(Record::Event(self.event(event, session.clone(), time)));
        }
        let arm = self.assign(visit);
        let (mut items, mut scores) = (Vec::new(), Vec::new());
        for recommended in &response.answer.items {
            items.push(recommended.item.clone());
            scores.push(recommended.score);
        }
        records.push(Record::Answer(Answer {
            time: time + 1,
            experiment: Some(self.experiment.name().to_owned()),
            session,
            step: step as u32,
            arm: Some(arm.arm.name.clone()),
            p: Some(arm.p),
            model: response.model.clone(),
            items,
            scores,
        }));
        records
    }

    fn event(&self, event: &ShopEvent, session: String, time: u64) -> Event {
        Event {
            time,
            session,
            item: Shop::raw(event.item).to_string(),
            kind: if event.purchase {
                EventKind::Purchase
            } else {
                EventKind::Click
            },
            value: event.purchase.then(|| self.shop.price(event.item)),
        }
    }
}

impl Lists for ExperimentLists<'_> {
    type Error = anyhow::Error;

    fn lists(&mut self, visits: &[&Visit<'_>]) -> anyhow::Result<Vec<Vec<u32>>> {
        let mut lists = Vec::with_capacity(visits.len());
        for visits in visits.chunks(BATCH) {
            let mut requests = Vec::with_capacity(visits.len());
            for visit in visits {
                let fields = &self.asks[self.assign(visit).index];
                requests.push(request(fields, visit).resolve(self.default)?);
            }
            let mut records = Vec::with_capacity(2 * visits.len());
            for (visit, response) in visits.iter().zip(self.responder.respond(&requests)?) {
                records.extend(self.records(visit, &response));
                lists.push(items(self.shop, &response));
            }
            self.log.append_all(records)?;
        }
        Ok(lists)
    }
}
