//! Lists of requests: plain rankings, arranged ones, and popular items.

use prl_core::Prompts;
use prl_dataset::Windows;
use prl_items::LiveItems;
use prl_kernels::ops::top_k_serving::{ItemFilter, TopK, TopKRequest};

use super::InferenceModel;
use crate::arrange::{ArrangedList, Arranging, arrange, pool};
use crate::error::Result;

/// A list that a request asks for.
#[derive(Clone, Copy, Debug)]
pub struct ListRequest<'a> {
    /// Length and filter.
    pub top: TopKRequest<'a>,
    /// Demands beside the filter.
    pub arranged: Option<&'a ArrangedList>,
    /// Whether the most frequent items are asked for in place of the model's.
    pub is_popular: bool,
}

/// The model's inputs of a batch.
#[derive(Clone, Copy, Debug)]
pub struct ListInputs<'a> {
    /// Windows `[B]`.
    pub windows: &'a Windows,
    /// Prompts `[B]`.
    pub prompts: &'a Prompts,
    /// Tilts `[B]`.
    pub tilts: &'a [f64],
}

/// Items as an arrangement sees them.
struct ArrangedItems<'a> {
    model: &'a InferenceModel,
    properties: &'a LiveItems,
}

impl Arranging for ArrangedItems<'_> {
    fn groups(&self, item: u32, column: &str) -> Vec<String> {
        self.properties.groups(item, column)
    }

    fn unit_vector(&self, item: u32) -> Vec<f32> {
        let vectors = self.model.vectors();
        vectors.map_or_else(Vec::new, |vectors| vectors.unit(item))
    }
}

impl InferenceModel {
    /// The list of each row; that of a plain request is [`top`](Self::top).
    ///
    /// # Errors
    /// If the model fails.
    pub fn lists(
        &self,
        properties: &LiveItems,
        inputs: ListInputs<'_>,
        wanted: &[ListRequest<'_>],
    ) -> Result<Vec<TopK<f32>>> {
        let mut ranked = Vec::new();
        for (row, wanted) in wanted.iter().enumerate() {
            if wanted.arranged.is_none() && !wanted.is_popular {
                ranked.push(row);
            }
        }
        let mut lists = vec![TopK::new(); wanted.len()];
        for (row, list) in ranked.iter().zip(self.top_of_rows(inputs, &ranked, |row| {
            let request: &ListRequest<'_> = &wanted[row];
            request.top
        })?) {
            lists[*row] = list;
        }
        for (row, request) in wanted.iter().enumerate() {
            let TopKRequest { k, filter } = request.top;
            let ranking = |filter: ItemFilter<'_>, k: usize| -> Result<TopK<f32>> {
                match (request.is_popular, &self.popularity) {
                    (true, Some(popularity)) => Ok(popularity.top(filter, k)),
                    _ => {
                        let one = |_| TopKRequest { k, filter };
                        let mut tops = self.top_of_rows(inputs, &[row], one)?;
                        Ok(tops.pop().unwrap_or_default())
                    }
                }
            };
            match request.arranged {
                Some(of) => lists[row] = self.arranged(properties, of, request.top, &ranking)?,
                None if request.is_popular => lists[row] = ranking(filter, k)?,
                None => {}
            }
        }
        Ok(lists)
    }

    /// The rankings of some rows.
    fn top_of_rows<'a>(
        &self,
        inputs: ListInputs<'_>,
        rows: &[usize],
        wanted: impl Fn(usize) -> TopKRequest<'a>,
    ) -> Result<Vec<TopK<f32>>> {
        let requests: Vec<TopKRequest<'_>> = rows.iter().map(|&row| wanted(row)).collect();
        let ListInputs {
            windows,
            prompts,
            tilts,
        } = inputs;
        if rows.len() == tilts.len() {
            return self.top(windows, prompts, tilts, &requests);
        }
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let some = Prompts {
            returns: rows.iter().map(|&row| prompts.returns[row]).collect(),
            steps: rows.iter().map(|&row| prompts.steps[row]).collect(),
            tilt: prompts.tilt,
        };
        let tilts: Vec<f64> = rows.iter().map(|&row| tilts[row]).collect();
        self.top(&windows.select(rows), &some, &tilts, &requests)
    }

    /// An arranged list of one row, whose rankings `ranking` makes.
    fn arranged(
        &self,
        properties: &LiveItems,
        of: &ArrangedList,
        TopKRequest { k, filter }: TopKRequest<'_>,
        ranking: &dyn Fn(ItemFilter<'_>, usize) -> Result<TopK<f32>>,
    ) -> Result<TopK<f32>> {
        let mut allowed = of.pinned.clone();
        allowed.retain(|&item| filter.allows(item));
        allowed.sort_unstable();
        allowed.dedup();
        let scores = match allowed.is_empty() {
            true => TopK::new(),
            false => ranking(ItemFilter::Allow(&allowed), allowed.len())?,
        };
        let mut pinned = TopK::with_capacity(scores.len());
        for item in &of.pinned {
            let is_new = pinned.iter().all(|(other, _)| other != item);
            if let Some(&score) = scores.iter().find(|(other, _)| other == item)
                && is_new
            {
                pinned.push(score);
            }
        }
        let items = ArrangedItems {
            model: self,
            properties,
        };
        let mut len = pool(k) + pinned.len();
        loop {
            let mut candidates = ranking(filter, len)?;
            let is_all = candidates.len() < len;
            candidates.retain(|(item, _)| pinned.iter().all(|(other, _)| other != item));
            let list = arrange(of, &pinned, (&candidates, k), &items);
            if list.len() >= k || is_all {
                return Ok(list);
            }
            // The limits leave out most of the candidates: more of them are needed.
            len *= 8;
        }
    }
}
