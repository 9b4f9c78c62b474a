//! A run loaded for serving: warmed-up weights, catalogue and metadata.

use std::path::{Path, PathBuf};

use prl_core::{PromptPosition, PromptSpec, Prompts};
use prl_dataset::{ItemMap, Windows};
use prl_items::{ChangeStore, ChangeStoreError, LiveItems};
use prl_runs::{
    Candidates, Forecast, InferenceModel, ItemFilter, Recommendation, Run, RunManifest,
    SessionState, TopKRequest,
};

use crate::engine::Options;
use crate::error::Result;
use crate::queue::Job;
use crate::request::{Filter, InvalidRequest, RecommendRequest};

/// An immutable run loaded for serving; a reload creates a new one.
pub struct LoadedModel {
    dir: PathBuf,
    run: Run,
    served: InferenceModel,
    properties: LiveItems,
    name: String,
    manifest: Option<RunManifest>,
}

impl LoadedModel {
    /// Opens the run in `dir`, loads its best weights and runs them once as a check.
    pub(crate) fn open(dir: &Path, options: &Options) -> Result<Self> {
        // Through a link that is replaced meanwhile, files of two runs would be read.
        let resolved = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        let run = Run::open(&resolved)?;
        let model = Self {
            dir: dir.to_owned(),
            served: InferenceModel::of_run(&run, run.load(&options.device)?)?,
            properties: LiveItems::new(run.item_table()?, options.available.clone()),
            name: run.model_name()?,
            manifest: run.manifest()?,
            run,
        };
        model.properties.warm_up();
        model.warm_up()?;
        Ok(model)
    }

    /// Ranks for the empty state and for a full window: fails if scores are not finite, and makes
    /// the first request as fast as later ones.
    fn warm_up(&self) -> Result<()> {
        let items = self.items().len() as u32;
        let full: Vec<u32> = (0..items).take(self.window()).collect();
        let mut windows = Windows::new(self.window());
        windows.push(&[], items);
        windows.push(&full, items);
        let mut moments = Vec::new();
        for &step in &windows.time_steps {
            moments.push(PromptPosition::at(step, 0));
        }
        let prompts = self.run.prompts(self.run.ask(), &moments);
        let wanted = [TopKRequest {
            k: 1,
            filter: ItemFilter::Exclude(&[]),
        }; 2];
        self.served.top(&windows, &prompts, &[0.0; 2], &wanted)?;
        Ok(())
    }

    /// The run directory, or the link to it, that was opened.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The first 12 digits of the SHA-256 of the weights.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The run's manifest; `None` if training has not finished.
    pub fn manifest(&self) -> Option<&RunManifest> {
        self.manifest.as_ref()
    }

    /// The catalogue: raw ids by item index.
    pub fn items(&self) -> &ItemMap {
        self.run.items()
    }

    /// The run's default prompt.
    pub fn default_prompt(&self) -> PromptSpec {
        self.run.ask()
    }

    /// Whether the model takes a prompt.
    pub fn is_prompted(&self) -> bool {
        self.served.is_prompted()
    }

    /// Window length: number of latest session items that the encoder reads.
    pub fn window(&self) -> usize {
        self.run.config().model.window
    }

    /// The model's input state for a request.
    pub(crate) fn state(&self, request: &RecommendRequest) -> SessionState {
        self.run
            .state(&request.session, request.prompt, request.case)
    }

    /// The forecast after a request's session, if it needs one.
    pub(crate) fn forecast(
        &self,
        request: &RecommendRequest,
        state: &mut SessionState,
    ) -> Result<Option<Forecast>> {
        Ok(self.served.forecast(&self.run, request, state)?)
    }

    /// Resolves a filter to item indices, given the indices of the session's own items.
    pub(crate) fn candidates(&self, filter: &Filter, seen: &[u32]) -> Result<Candidates> {
        Ok(self.run.candidates(&self.properties, filter, seen)?)
    }

    /// Raw ids and scores of ranked item indices, with the properties in these columns.
    pub(crate) fn recommendations(
        &self,
        top: &[(u32, f32)],
        properties: &[String],
    ) -> Vec<Recommendation> {
        self.run.name_with(&self.properties, properties, top)
    }

    /// Properties of the items, and what changed of them.
    pub fn properties(&self) -> &LiveItems {
        &self.properties
    }

    /// The row of an item's properties; `None` for an item that is neither in the catalogue nor in
    /// the table of properties.
    pub fn properties_row(&self, id: &str) -> Option<u32> {
        self.properties.row(id, self.items().index(id))
    }

    /// Applies the changes of properties that a store has and the model has not.
    ///
    /// # Errors
    /// If the store fails.
    pub fn sync(&self, store: &dyn ChangeStore) -> std::result::Result<(), ChangeStoreError> {
        let ignored = self.properties.sync(store, &|id| self.items().index(id))?;
        for what in ignored {
            tracing::warn!("a stored change of an item has no effect: {what}");
        }
        Ok(())
    }

    /// Model inputs of a batch: windows of item indices `[B, window]` and prompts `[B]`.
    pub(crate) fn batch(&self, jobs: &[Job]) -> (Windows, Prompts) {
        let (mut windows, mut prompts) = (Windows::new(self.window()), Prompts::default());
        for job in jobs {
            windows.push_events(&job.known, &job.kinds, self.items().len() as u32);
            prompts.returns.push(job.prompt.value);
            prompts.steps.push(job.prompt.step);
        }
        (windows, prompts)
    }

    /// Fails if the model cannot answer a request with its prompt.
    ///
    /// # Errors
    /// [`InvalidRequest`] with what the model lacks.
    pub fn check(&self, request: &RecommendRequest) -> std::result::Result<(), InvalidRequest> {
        self.served.check(request)?;
        request.check_properties(&self.properties)
    }

    pub(crate) fn served(&self) -> &InferenceModel {
        &self.served
    }
}
