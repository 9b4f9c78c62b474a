//! A run in service: its model, warmed up, and its way from raw ids to indices.

use std::path::{Path, PathBuf};

use prl_core::{PromptSpec, Prompts};
use prl_dataset::{ItemMap, Windows};
use prl_runs::{
    Device, InferenceModel, ItemFilter, PromptUsed, Recommendation, Run, RunManifest, SessionState,
    TopKRequest,
};

use crate::error::Result;
use crate::request::{Filter, RecommendRequest};

/// A run in service. It never changes: a reload puts another in its place, and questions end on the one they began with.
pub struct LoadedModel {
    run: Run,
    served: InferenceModel,
    name: String,
    manifest: Option<RunManifest>,
}

impl LoadedModel {
    /// Opens the run in `dir`, loads its best weights and answers from the empty state and from a full window, so that what
    /// is served has been seen to work.
    pub(crate) fn open(dir: &Path, device: &Device) -> Result<Self> {
        let run = Run::open(dir)?;
        let (served, name, manifest) = (
            InferenceModel::new(run.load(device)?)?,
            run.model_name()?,
            run.manifest()?,
        );
        let live = Self {
            run,
            served,
            name,
            manifest,
        };
        live.warm_up()?;
        Ok(live)
    }

    fn warm_up(&self) -> Result<()> {
        let (items, width) = (
            self.run.items().len() as u32,
            self.run.config().model.window,
        );
        let full: Vec<u32> = (0..items).take(width).collect();
        let mut windows = Windows::new(width);
        windows.push(&[], items);
        windows.push(&full, items);
        let moments = windows
            .time_steps
            .iter()
            .map(|&step| prl_core::PromptPosition::at(step, 0))
            .collect::<Vec<_>>();
        let wanted = [TopKRequest {
            k: 1,
            filter: ItemFilter::Exclude(&[]),
        }; 2];
        self.served.top(
            &windows,
            &self.run.prompts(self.run.ask(), &moments),
            &wanted,
        )?;
        Ok(())
    }

    /// Where its run lies.
    pub fn dir(&self) -> PathBuf {
        self.run.dir().to_owned()
    }

    /// The first 12 digits of its weights' SHA-256.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the run says of itself, if it is finished.
    pub fn manifest(&self) -> Option<&RunManifest> {
        self.manifest.as_ref()
    }

    /// Its catalogue.
    pub fn items(&self) -> &ItemMap {
        self.run.items()
    }

    /// What is asked where nothing is said: the run's own prompt.
    pub fn ask(&self) -> PromptSpec {
        self.run.ask()
    }

    /// Whether it is fed a prompt.
    pub fn is_prompted(&self) -> bool {
        self.served.is_prompted()
    }

    /// Items of a session that it sees.
    pub fn window(&self) -> usize {
        self.run.config().model.window
    }

    pub(crate) fn state(&self, request: &RecommendRequest) -> SessionState {
        self.run.state(&request.session, request.ask, request.case)
    }

    /// Resolves a filter to item indices, given the indices of the session's own items.
    pub(crate) fn candidates(&self, filter: &Filter, seen: &[u32]) -> Candidates {
        let mut excluded = self.indices(&filter.exclude);
        if filter.exclude_seen {
            excluded.extend(seen);
            sort_unique(&mut excluded);
        }
        let allowed = filter.allow.as_ref().map(|ids| {
            let mut allowed = self.indices(ids);
            allowed.retain(|item| excluded.binary_search(item).is_err());
            allowed
        });
        Candidates { allowed, excluded }
    }

    /// Indices of raw ids, ascending and without duplicates; unknown ids are skipped.
    fn indices(&self, ids: &[String]) -> Vec<u32> {
        let mut indices = Vec::with_capacity(ids.len());
        indices.extend(ids.iter().filter_map(|id| self.items().index(id)));
        sort_unique(&mut indices);
        indices
    }

    pub(crate) fn named(&self, top: &[(u32, f32)]) -> Vec<Recommendation> {
        self.run.name(top)
    }

    /// The windows and prompts of some states.
    pub(crate) fn batch<'a>(
        &self,
        states: impl Iterator<Item = (&'a [u32], PromptUsed)>,
    ) -> (Windows, Prompts) {
        let (mut windows, mut prompts) = (Windows::new(self.window()), Prompts::default());
        for (known, prompt) in states {
            windows.push(known, self.items().len() as u32);
            prompts.returns.push(prompt.value);
            prompts.steps.push(prompt.step);
        }
        (windows, prompts)
    }

    pub(crate) fn served(&self) -> &InferenceModel {
        &self.served
    }
}

/// Items that a response may contain, as indices: ascending and without duplicates.
pub(crate) struct Candidates {
    /// The only items that may be recommended; `None` allows all but the excluded.
    allowed: Option<Vec<u32>>,
    /// Items that are not recommended; already removed from `allowed`.
    excluded: Vec<u32>,
}

impl Candidates {
    /// The filter to rank with.
    pub(crate) fn among(&self) -> ItemFilter<'_> {
        match &self.allowed {
            Some(items) => ItemFilter::Allow(items),
            None => ItemFilter::Exclude(&self.excluded),
        }
    }
}

fn sort_unique(items: &mut Vec<u32>) {
    items.sort_unstable();
    items.dedup();
}
