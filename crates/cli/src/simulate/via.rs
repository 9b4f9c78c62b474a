//! Lists of a running server.

use anyhow::{Context, Result, ensure};
use prl_core::PromptSpec;
use prl_runs::{Id, RequestFields};
use prl_synth::shop::{Lists, Shop, Visit};
use serde::Deserialize;

use super::model::request;
use crate::client::Client;
use crate::exit::Usage;

/// Largest number of requests in a batch, as allowed by the server.
const MAX_BATCH: usize = 100;

/// Lists of a server, which several connections are asked for.
pub struct ServerLists<'a> {
    client: &'a Client,
    shop: &'a Shop,
    fields: &'a RequestFields,
    connections: usize,
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
    /// Lists of what `fields` ask the server for.
    pub fn new(
        client: &'a Client,
        shop: &'a Shop,
        fields: &'a RequestFields,
        connections: usize,
    ) -> Result<Self> {
        let mut empty = fields.clone();
        empty.items = Some(Vec::new());
        let checked = empty.resolve(PromptSpec::default());
        checked.map_err(|error| Usage(format!("invalid arm: {error}")))?;
        Ok(Self {
            client,
            shop,
            fields,
            connections,
        })
    }

    /// The lists of at most [`MAX_BATCH`] visits.
    fn ask(&self, visits: &[&Visit<'_>]) -> Result<Vec<Vec<u32>>> {
        let mut questions = Vec::with_capacity(visits.len());
        for visit in visits {
            let mut question = request(self.fields, visit);
            question.session = Some(Id(format!("shop-{}", visit.number())));
            questions.push(question);
        }
        let body = serde_json::json!({ "questions": questions }).to_string();
        let text = self.client.post("/v1/recommend/batch", body)?;
        let BatchResponse { answers } = serde_json::from_str(&text)?;
        let (asked, answered) = (visits.len(), answers.len());
        ensure!(asked == answered, "{answered} answers to {asked} requests");
        let mut lists = Vec::with_capacity(asked);
        for answer in &answers {
            let mut list = Vec::with_capacity(answer.items.len());
            for scored in &answer.items {
                let item = self.shop.item(&scored.item);
                list.push(item.with_context(|| {
                    format!(
                        "{} recommends item {}, which is not in the shop {}; serve a run that was \
                         trained on its log",
                        self.client.url(),
                        scored.item,
                        self.shop.world().name
                    )
                })?);
            }
            lists.push(list);
        }
        Ok(lists)
    }
}

impl Lists for ServerLists<'_> {
    type Error = anyhow::Error;

    fn lists(&mut self, visits: &[&Visit<'_>]) -> Result<Vec<Vec<u32>>> {
        // As many batches as connections, or more if they would be too large.
        let size = visits.len().div_ceil(self.connections).clamp(1, MAX_BATCH);
        let batches: Vec<&[&Visit<'_>]> = visits.chunks(size).collect();
        let mut lists = Vec::with_capacity(visits.len());
        for round in batches.chunks(self.connections) {
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
