//! Forecast of a session's return from its state: p(R | s) over bins, fitted after training.
//!
//! `forecast/` in a run directory holds the head and its bins. The inputs are the encoder's state,
//! the time step and the purchases in the window; for a run without a network, the last two.

use candle_core::{DType, Device, Tensor};
use prl_core::{
    Calibration, CalibrationReport, MAX_BINS, PromptPosition, ReturnBins, TargetReturn,
};
use prl_dataset::{Dataset, Kind, Split, SplitExamples, TABLE_STEPS, Windows};
use prl_model::{ForecastExamples, ForecastHead};
use rand::Rng;
use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::recommender::Recommender;
use crate::run_dir::Run;

const DIR: &str = "forecast";
const ENDS: &str = "ends";
const VALUES: &str = "values";
/// Examples whose states are computed at once.
const BATCH: usize = 512;
/// Examples to fit to at most: memory and time do not grow with a longer log.
const MAX_EXAMPLES: usize = 1 << 20;
/// Number of inputs beside the state.
const EXTRA: usize = 2;

/// A fitted forecast of returns.
pub struct Forecaster {
    head: ForecastHead,
    bins: ReturnBins,
}

/// A forecast for one state.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// Expected return of the rest of the session.
    pub mean: f64,
    /// Lower end of the central 90 % interval.
    pub low: f64,
    /// Upper end of the central 90 % interval.
    pub high: f64,
}

/// Calibration of a forecast on a split, beside that of the time step's table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ForecastReport {
    /// The split.
    pub split: &'static str,
    /// The forecast.
    pub forecast: CalibrationReport,
    /// The distribution of the training returns at the time step.
    pub step_table: CalibrationReport,
}

impl Forecaster {
    /// Probabilities of the bins after each window.
    ///
    /// # Errors
    /// If the model fails.
    pub fn probabilities(&self, model: &Recommender, windows: &Windows) -> Result<Vec<Vec<f64>>> {
        if windows.is_empty() {
            return Ok(Vec::new());
        }
        let inputs = inputs(model, windows)?;
        Ok(self.head.forecast(&inputs, &windows.time_steps)?)
    }

    /// Forecast of a distribution.
    pub fn summary(&self, probabilities: &[f64]) -> Forecast {
        Forecast {
            mean: self.bins.mean(probabilities),
            low: self.bins.quantile(probabilities, 0.05),
            high: self.bins.quantile(probabilities, 0.95),
        }
    }

    /// Sets the return of the state at each position to what a target asks for; nothing for a
    /// target that no forecast decides.
    ///
    /// # Errors
    /// If the model fails.
    pub fn set_targets(
        &self,
        model: &Recommender,
        windows: &Windows,
        target: TargetReturn,
        positions: &mut [PromptPosition],
    ) -> Result<()> {
        if !target.needs_forecast() {
            return Ok(());
        }
        let all = self.probabilities(model, windows)?;
        for (position, probabilities) in positions.iter_mut().zip(&all) {
            if let Some(value) = self.bins.target(target, probabilities) {
                position.return_of_state = value;
            }
        }
        Ok(())
    }

    /// The bins.
    pub fn bins(&self) -> &ReturnBins {
        &self.bins
    }

    /// Calibration on examples, of the forecast and of the step's table; `None` without examples.
    fn calibration(
        &self,
        run: &Run,
        model: &Recommender,
        rows: &SplitExamples<'_>,
        table: &StepTable,
    ) -> Result<Option<[CalibrationReport; 2]>> {
        let mut rng = prl_seed::stream(run.config().seed, "forecast.pit", 0);
        let (mut forecast, mut by_step) = (Calibration::default(), Calibration::default());
        for start in (0..rows.len()).step_by(BATCH) {
            let range = start..(start + BATCH).min(rows.len());
            let rule = Some(run.config().return_rule());
            let batch = rows.batch(range, run.config().model.window, rule);
            let all = self.probabilities(model, &batch.windows)?;
            for (b, probabilities) in all.iter().enumerate() {
                let (observed, u) = (batch.returns[b], rng.random());
                forecast.add(&self.bins, probabilities, observed, u);
                let step = batch.windows.time_steps[b];
                by_step.add(&self.bins, table.probabilities(step), observed, u);
            }
        }
        let reports = (forecast.report(), by_step.report());
        Ok(match reports {
            (Some(forecast), Some(by_step)) => Some([forecast, by_step]),
            _ => None,
        })
    }
}

/// Distribution of the training returns at each time step.
struct StepTable(Vec<Vec<f64>>);

impl StepTable {
    fn new(examples: &ForecastExamples, bins: usize) -> Self {
        let mut all = vec![0.0; bins];
        let mut counts = vec![vec![0.0; bins]; TABLE_STEPS];
        for (&bin, &step) in examples.bins.iter().zip(&examples.steps) {
            all[bin as usize] += 1.0;
            counts[(step as usize).min(TABLE_STEPS - 1)][bin as usize] += 1.0;
        }
        let total: f64 = all.iter().sum::<f64>().max(1.0);
        for counts in &mut counts {
            let n: f64 = counts.iter().sum();
            for (count, share) in counts.iter_mut().zip(&all) {
                // One example of the whole log, so that no bin is impossible.
                *count = (*count + (share + 1.0 / bins as f64) / (total + 1.0)) / (n + 1.0);
            }
        }
        Self(counts)
    }

    fn probabilities(&self, step: u32) -> &[f64] {
        &self.0[(step as usize).min(TABLE_STEPS - 1)]
    }
}

/// The inputs `[B, width]` of the forecast after each window.
fn inputs(model: &Recommender, windows: &Windows) -> Result<Tensor> {
    let n = windows.len();
    let mut extra = Vec::with_capacity(n * EXTRA);
    for b in 0..n {
        let positions = b * windows.window_len..(b + 1) * windows.window_len;
        let bought = windows.kinds[positions].iter();
        let purchases = bought.filter(|&&kind| kind == Kind::Purchase).count();
        extra.push((1.0 + windows.time_steps[b] as f32).ln());
        extra.push((1.0 + purchases as f32).ln());
    }
    let extra = Tensor::from_vec(extra, (n, EXTRA), &Device::Cpu)?;
    let Recommender::Neural(model) = model else {
        return Ok(extra);
    };
    let states = model.states(windows)?.to_dtype(DType::F32)?;
    Ok(Tensor::cat(&[&states.to_device(&Device::Cpu)?, &extra], 1)?)
}

impl Run {
    /// Fits a forecast on the training examples, selects its weights on the validation examples,
    /// saves it, and measures its calibration on a split.
    ///
    /// # Errors
    /// If there is no training example or none in the split, or the model fails.
    pub fn fit_forecast(
        &self,
        model: &Recommender,
        data: &Dataset,
        split: Split,
    ) -> Result<ForecastReport> {
        let config = self.config();
        let train = config.examples(data, Split::Train);
        let chosen = spread(train.len(), MAX_EXAMPLES);
        let all = train.batch(chosen, 1, Some(config.return_rule()));
        let Some(bins) = ReturnBins::new(&all.returns) else {
            return Err(empty(data, Split::Train));
        };
        let fitted = self.examples(model, &train, &bins)?;
        let validation = self.examples(model, &config.examples(data, Split::Val), &bins)?;
        let table = StepTable::new(&fitted, bins.len());
        let head = ForecastHead::fit(&fitted, &validation, &table.0, config.seed)?;
        let forecaster = Forecaster { head, bins };
        let rows = config.examples(data, split);
        let reports = forecaster.calibration(self, model, &rows, &table)?;
        let [forecast, step_table] = reports.ok_or_else(|| empty(data, split))?;
        let mut arrays = forecaster.head.arrays();
        let list = |values: &[f64]| Tensor::from_slice(values, values.len(), &Device::Cpu);
        arrays.insert(ENDS.to_owned(), list(forecaster.bins.ends())?);
        arrays.insert(VALUES.to_owned(), list(forecaster.bins.values())?);
        self.forecast_checkpoint().save_arrays(arrays)?;
        Ok(ForecastReport {
            split: split.name(),
            forecast,
            step_table,
        })
    }

    /// The forecast of the run; `None` if none was fitted.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn forecaster(&self) -> Result<Option<Forecaster>> {
        let saved = self.forecast_checkpoint();
        if !saved.exists() {
            return Ok(None);
        }
        let arrays = saved.load_arrays()?;
        let list = |name: &str| arrays.get(name)?.to_vec1::<f64>().ok();
        let bins = list(ENDS).zip(list(VALUES));
        let bins = bins.and_then(|(ends, values)| ReturnBins::from_parts(ends, values));
        let forecaster = ForecastHead::from_arrays(&arrays)
            .zip(bins)
            .map(|(head, bins)| Forecaster { head, bins });
        let fits = |forecaster: &Forecaster| {
            let bins = forecaster.bins.len();
            bins <= MAX_BINS && forecaster.head.bins().ok() == Some(bins)
        };
        match forecaster.filter(fits) {
            Some(forecaster) => Ok(Some(forecaster)),
            None => Err(Error::run(
                saved.dir(),
                "the arrays are not those of a forecast; fit it again with `prl forecast`",
            )),
        }
    }

    fn forecast_checkpoint(&self) -> Checkpoint {
        Checkpoint::at(self.dir().join(DIR))
    }

    /// Inputs and observed bins of the examples, of a part of them if they are many.
    fn examples(
        &self,
        model: &Recommender,
        rows: &SplitExamples<'_>,
        bins: &ReturnBins,
    ) -> Result<ForecastExamples> {
        let rule = self.config().return_rule();
        let chosen = spread(rows.len(), MAX_EXAMPLES);
        let (mut parts, mut steps) = (Vec::new(), Vec::with_capacity(chosen.len()));
        let mut observed = Vec::with_capacity(chosen.len());
        for chosen in chosen.chunks(BATCH) {
            let window = self.config().model.window;
            let batch = rows.batch(chosen.iter().copied(), window, Some(rule));
            parts.push(inputs(model, &batch.windows)?);
            steps.extend(&batch.windows.time_steps);
            for value in batch.returns {
                observed.push(bins.of(value) as u32);
            }
        }
        let inputs = match parts.is_empty() {
            true => Tensor::zeros((0, EXTRA), DType::F32, &Device::Cpu)?,
            false => Tensor::cat(&parts, 0)?,
        };
        Ok(ForecastExamples {
            inputs,
            steps,
            bins: observed,
        })
    }
}

/// At most `max` of `n` positions, evenly spread, ascending.
fn spread(n: usize, max: usize) -> Vec<usize> {
    let count = n.min(max);
    let mut positions = Vec::with_capacity(count);
    for i in 0..count {
        // In 128 bits, since the product of two lengths may not fit in 64.
        positions.push((i as u128 * n as u128 / count as u128) as usize);
    }
    positions
}

fn empty(data: &Dataset, split: Split) -> Error {
    Error::EmptySplit {
        path: data.dir().to_owned(),
        split: split.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn positions_are_all_or_evenly_spread() {
        assert_eq!(spread(4, 9), [0, 1, 2, 3]);
        assert_eq!(spread(10, 4), [0, 2, 5, 7]);
        assert!(spread(0, 4).is_empty());
    }
}
