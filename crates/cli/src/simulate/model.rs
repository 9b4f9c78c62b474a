//! Lists of a run in this process.

use prl_core::PromptSpec;
use prl_dataset::Kind;
use prl_runs::{Id, RecommendResponse, RequestFields, Responder};
use prl_synth::shop::{Lists, Shop, Visit};

use crate::exit::Usage;

/// Requests that are ranked together; lists do not depend on it.
pub const BATCH: usize = 256;

/// Lists of a model.
pub struct ModelLists<'a> {
    responder: &'a Responder,
    shop: &'a Shop,
    fields: &'a RequestFields,
    ask: PromptSpec,
}

impl<'a> ModelLists<'a> {
    /// Lists of what `fields` ask for: those of the arm `name`; `ask` is the default prompt.
    pub fn new(
        responder: &'a Responder,
        shop: &'a Shop,
        fields: &'a RequestFields,
        (name, ask): (&str, PromptSpec),
    ) -> Result<Self, Usage> {
        check(fields, ask, name)?;
        Ok(Self {
            responder,
            shop,
            fields,
            ask,
        })
    }
}

impl Lists for ModelLists<'_> {
    type Error = anyhow::Error;

    fn lists(&mut self, visits: &[&Visit<'_>]) -> anyhow::Result<Vec<Vec<u32>>> {
        let mut requests = Vec::with_capacity(visits.len());
        for visit in visits {
            requests.push(request(self.fields, visit).resolve(self.ask)?);
        }
        let mut lists = Vec::with_capacity(visits.len());
        for requests in requests.chunks(BATCH) {
            for response in self.responder.respond(requests)? {
                lists.push(items(self.shop, &response));
            }
        }
        Ok(lists)
    }
}

/// Rejects fields of an arm that no request takes.
pub fn check(fields: &RequestFields, ask: PromptSpec, arm: &str) -> Result<(), Usage> {
    let mut empty = fields.clone();
    empty.items = Some(Vec::new());
    match empty.resolve(ask) {
        Ok(_) => Ok(()),
        Err(error) => Err(Usage(format!("arm {arm}: {error}"))),
    }
}

/// The items of a response.
pub fn items(shop: &Shop, response: &RecommendResponse) -> Vec<u32> {
    let mut items = Vec::with_capacity(response.answer.items.len());
    for recommended in &response.answer.items {
        items.extend(shop.item(&recommended.item));
    }
    items
}

/// The request for the next list of a visit. The draw of eps is one of the visit's number.
pub fn request(fields: &RequestFields, visit: &Visit<'_>) -> RequestFields {
    let (mut items, mut kinds) = (Vec::new(), Vec::new());
    for event in visit.events() {
        items.push(Id(Shop::raw(event.item).to_string()));
        kinds.push(if event.purchase {
            Kind::Purchase
        } else {
            Kind::Click
        });
    }
    let mut fields = fields.clone();
    fields.items = Some(items);
    fields.kinds = Some(kinds);
    fields.case = Some(visit.number());
    fields
}
