//! Lists of a running server.

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

/// How a server is asked.
#[derive(Clone, Copy)]
pub struct Connections {
    /// Number of connections.
    pub count: usize,
    /// Whether the server stores the sessions, with their events.
    pub is_stored: bool,
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
}

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
        if connections.is_stored {
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
        })
    }

    /// The lists of at most [`MAX_BATCH`] visits, over one connection.
    fn ask(&self, visits: &[&Visit<'_>]) -> Result<Vec<Vec<u32>>> {
        let mut lists = Vec::with_capacity(visits.len());
        if self.connections.is_stored {
            for visit in visits {
                lists.push(self.ask_stored(visit)?);
            }
            return Ok(lists);
        }
        let mut questions = Vec::with_capacity(visits.len());
        for visit in visits {
            let mut question = request(self.fields, visit);
            question.session = Some(Id(session_name(self.seed, visit.number())));
            questions.push(question);
        }
        let body = json!({ "questions": questions }).to_string();
        let text = self.client.post("/v1/recommend/batch", body)?;
        let BatchResponse { answers } = serde_json::from_str(&text)?;
        let (asked, answered) = (visits.len(), answers.len());
        ensure!(asked == answered, "{answered} answers to {asked} requests");
        for answer in &answers {
            lists.push(self.items(answer)?);
        }
        Ok(lists)
    }

    /// Appends the last event of a visit to the stored session, and asks for its list.
    fn ask_stored(&self, visit: &Visit<'_>) -> Result<Vec<u32>> {
        let path = format!("/v1/sessions/{}", session_name(self.seed, visit.number()));
        if let Some(last) = visit.events().last() {
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
            let body = json!({ "events": [event] }).to_string();
            let text = self.client.post(&format!("{path}/events"), body)?;
            let (stored, events): (Stored, _) =
                (serde_json::from_str(&text)?, visit.events().len());
            ensure!(
                stored.events == events,
                "{}{path} has {} events, and the simulated session {events}: it was stored before; \
                 use another --seed, or start the server anew",
                self.client.url(),
                stored.events
            );
        }
        let mut fields = self.fields.clone();
        fields.case = Some(visit.number());
        let body = serde_json::to_string(&fields)?;
        let text = self.client.post(&format!("{path}/recommend"), body)?;
        self.items(&serde_json::from_str(&text)?)
    }

    fn items(&self, response: &Response) -> Result<Vec<u32>> {
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
        Ok(items)
    }
}

impl Lists for ServerLists<'_> {
    type Error = anyhow::Error;

    fn lists(&mut self, visits: &[&Visit<'_>]) -> Result<Vec<Vec<u32>>> {
        // As many batches as connections, or more if they would be too large.
        let count = self.connections.count;
        let size = visits.len().div_ceil(count).clamp(1, MAX_BATCH);
        let batches: Vec<&[&Visit<'_>]> = visits.chunks(size).collect();
        let mut lists = Vec::with_capacity(visits.len());
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
                lists.extend(answer?);
            }
        }
        Ok(lists)
    }
}
