//! Lists of a running server.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use prl_core::PromptSpec;
use prl_dataset::Kind;
use prl_runs::{Id, RequestFields};
use prl_synth::shop::{Lists, Shop, Visit};
use serde::Deserialize;
use serde_json::{Value, json};

use super::experiment::session_name;
use super::model::{check, request};
use crate::client::Client;

/// Largest number of requests in a batch, as allowed by the server.
const MAX_BATCH: usize = 100;

/// Use of a server.
#[derive(Clone, Copy)]
pub struct Connections {
    /// Number of connections.
    pub count: usize,
    /// Events that the server is sent, beside those in requests.
    pub events: EventsTo,
}

/// Destination of the events.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum EventsTo {
    /// None: each request has its session.
    Requests,
    /// The server's log; each request has its session too.
    Log,
    /// The sessions that the server stores.
    Stored,
}

/// Lists of a server, which several connections are asked for.
pub struct ServerLists<'a> {
    client: &'a Client,
    shop: &'a Shop,
    fields: &'a RequestFields,
    connections: Connections,
    seed: u64,
    /// Whether the server takes the value of an event.
    has_values: bool,
    /// Arm of each session of the server's experiment, by its number.
    arms: BTreeMap<u64, String>,
}

/// State of a stored session.
#[derive(Deserialize)]
struct Stored {
    events: usize,
}

#[derive(Deserialize)]
struct BatchResponse {
    answers: Vec<Response>,
}

#[derive(Deserialize)]
struct Response {
    items: Vec<ScoredItem>,
    arm: Option<String>,
}

/// A list, and the arm that made it.
type Answer = (Vec<u32>, Option<String>);

#[derive(Deserialize)]
struct ScoredItem {
    item: String,
}

impl<'a> ServerLists<'a> {
    /// Lists of what `fields` ask the server for: those of the arm `name`.
    pub fn new(
        client: &'a Client,
        shop: &'a Shop,
        (name, fields): (&str, &'a RequestFields),
        connections: Connections,
        seed: u64,
    ) -> Result<Self> {
        check(fields, PromptSpec::default(), name)?;
        let mut has_values = false;
        if connections.events != EventsTo::Requests {
            let document: Value = serde_json::from_str(&client.get("/openapi.json")?)?;
            let event = "/components/schemas/Event/properties/value";
            has_values = document.pointer(event).is_some();
        }
        Ok(Self {
            client,
            shop,
            fields,
            connections,
            seed,
            has_values,
            arms: BTreeMap::new(),
        })
    }

    /// The arm of each session whose server has an experiment, by its number.
    pub fn into_arms(self) -> BTreeMap<u64, String> {
        self.arms
    }

    /// The lists of at most [`MAX_BATCH`] visits, over one connection.
    fn ask(&self, visits: &[&Visit<'_>]) -> Result<Vec<Answer>> {
        let mut lists = Vec::with_capacity(visits.len());
        if self.connections.events == EventsTo::Stored {
            for visit in visits {
                lists.push(self.ask_stored(visit)?);
            }
            return Ok(lists);
        }
        let mut questions = Vec::with_capacity(visits.len());
        for visit in visits {
            if self.connections.events == EventsTo::Log {
                let session = session_name(self.seed, visit.number());
                let body = json!({ "session": session, "events": [self.last_event(visit)] });
                self.client.post("/v1/events", body.to_string())?;
            }
            let mut question = request(self.fields, visit);
            question.session = Some(Id(session_name(self.seed, visit.number())));
            questions.push(question);
        }
        let body = json!({ "questions": questions }).to_string();
        let text = self.client.post("/v1/recommend/batch", body)?;
        let BatchResponse { answers } = serde_json::from_str(&text)?;
        let (asked, answered) = (visits.len(), answers.len());
        ensure!(asked == answered, "{answered} answers to {asked} requests");
        for answer in answers {
            lists.push(self.answer(answer)?);
        }
        Ok(lists)
    }

    /// The last event of a visit in the server's format.
    fn last_event(&self, visit: &Visit<'_>) -> Value {
        let Some(last) = visit.events().last() else {
            return Value::Null;
        };
        let kind = if last.purchase {
            Kind::Purchase
        } else {
            Kind::Click
        };
        let raw = Shop::raw(last.item).to_string();
        let mut event = json!({ "item": raw, "type": kind.name() });
        if self.has_values && last.purchase {
            event["value"] = self.shop.price(last.item).into();
        }
        event
    }

    /// Appends the last event of a visit to the stored session, and asks for its list.
    fn ask_stored(&self, visit: &Visit<'_>) -> Result<Answer> {
        let path = format!("/v1/sessions/{}", session_name(self.seed, visit.number()));
        let body = json!({ "events": [self.last_event(visit)] }).to_string();
        let text = self.client.post(&format!("{path}/events"), body)?;
        let (stored, events): (Stored, _) = (serde_json::from_str(&text)?, visit.events().len());
        ensure!(
            stored.events == events,
            "{}{path} has {} events, and the simulated session {events}: it was stored before; \
             use another --seed, or start the server anew",
            self.client.url(),
            stored.events
        );
        let mut fields = self.fields.clone();
        fields.case = Some(visit.number());
        let body = serde_json::to_string(&fields)?;
        let text = self.client.post(&format!("{path}/recommend"), body)?;
        self.answer(serde_json::from_str(&text)?)
    }

    fn answer(&self, response: Response) -> Result<Answer> {
        let mut items = Vec::with_capacity(response.items.len());
        for scored in &response.items {
            let item = self.shop.item(&scored.item);
            items.push(item.with_context(|| {
                format!(
                    "{} recommends item {}, which is not in the shop {}; serve a run that was \
                     trained on its log",
                    self.client.url(),
                    scored.item,
                    self.shop.world().name
                )
            })?);
        }
        Ok((items, response.arm))
    }
}

impl Lists for ServerLists<'_> {
    type Error = anyhow::Error;

    fn lists(&mut self, visits: &[&Visit<'_>]) -> Result<Vec<Vec<u32>>> {
        // As many batches as connections, or more if they would be too large.
        let count = self.connections.count;
        let size = visits.len().div_ceil(count).clamp(1, MAX_BATCH);
        let batches: Vec<&[&Visit<'_>]> = visits.chunks(size).collect();
        let mut lists: Vec<Vec<u32>> = Vec::with_capacity(visits.len());
        for round in batches.chunks(count) {
            let mut answers = Vec::with_capacity(round.len());
            let this = &*self;
            std::thread::scope(|scope| {
                let mut threads = Vec::with_capacity(round.len());
                for &batch in round {
                    threads.push(scope.spawn(move || this.ask(batch)));
                }
                for thread in threads {
                    answers.push(thread.join());
                }
            });
            for answer in answers {
                let answer = answer.map_err(|_| anyhow::anyhow!("a connection's thread failed"))?;
                for (list, arm) in answer? {
                    let number = visits[lists.len()].number();
                    lists.push(list);
                    if let Some(arm) = arm {
                        self.arms.entry(number).or_insert(arm);
                    }
                }
            }
        }
        Ok(lists)
    }
}
