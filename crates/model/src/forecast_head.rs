//! Forecast of the return: a distribution p(R | s) over bins, from the state and what was bought.
//!
//! ```text
//! z = [state, time step, purchases]            standardised by training
//! h = tanh(W1 z + b1)
//! p = softmax(ln q_t + W2 h + b2)              q_t: distribution of the training returns at step t
//! L = mean of -ln p[bin of R]
//! ```
//!
//! W2 and b2 start at zero, so that training starts from the step's distribution, which is kept
//! unless the loss on validation falls. The head is trained on the states of a finished model,
//! which it does not change.

use std::collections::HashMap;

use candle_core::{D, DType, Device, Tensor, Var};
use prl_kernels::ops::adam::Adam;
use prl_nn::Init;
use rand::seq::SliceRandom;

use crate::error::{Error, Result};
use crate::finite_check::FiniteCheck;
use crate::param::{AdamParam, AdamStep};

/// Width of the hidden layer.
const HIDDEN: usize = 64;
/// Smallest and largest number of examples of a step.
const BATCH: [usize; 2] = [16, 512];
/// Steps of a pass over few examples.
const STEPS: usize = 64;
/// Passes over the training examples.
const EPOCHS: u64 = 60;
/// Passes without a lower loss on validation after which training ends.
const PATIENCE: u64 = 5;
const LEARNING_RATE: f64 = 1e-3;
/// Smallest standard deviation by which a column is divided.
const MIN_DEVIATION: f64 = 1e-6;

/// Inputs and observed bins of some examples.
pub struct ForecastExamples {
    /// z before standardising, `[n, width]`, on the CPU.
    pub inputs: Tensor,
    /// Time step of each example.
    pub steps: Vec<u32>,
    /// Bin of each example's return.
    pub bins: Vec<u32>,
}

/// A trained forecast.
pub struct ForecastHead {
    /// ln q_t by rows `[steps, bins]`; later steps share the last row.
    table: Tensor,
    mean: Tensor,
    deviation: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
}

/// Names of the arrays of a saved head.
const NAMES: [&str; 7] = ["table", "mean", "deviation", "w1", "b1", "w2", "b2"];

impl ForecastHead {
    /// Trains a head of `bins` bins over the steps' distributions `table` `[steps][bins]`, all of
    /// them positive; the weights are those of the lowest loss on `validation`, or the last ones
    /// without examples there. A function of the seed.
    ///
    /// # Errors
    /// If there is no example, or the loss is not finite.
    pub fn fit(
        train: &ForecastExamples,
        validation: &ForecastExamples,
        table: &[Vec<f64>],
        seed: u64,
    ) -> Result<Self> {
        let (n, width) = train.inputs.dims2()?;
        if n == 0 {
            return Err(Error::Config("a forecast needs training examples".into()));
        }
        let mean = train.inputs.mean_keepdim(0)?;
        let centred = train.inputs.broadcast_sub(&mean)?;
        let deviation = centred
            .sqr()?
            .mean_keepdim(0)?
            .sqrt()?
            .maximum(MIN_DEVIATION)?;
        let trained = Trained::new(train, width, table, seed)?;
        let standard = centred.broadcast_div(&deviation)?;
        let mut head = trained.head(&mean, &deviation)?;
        let mut best = (head.log_loss(validation)?, 0);
        let mut order: Vec<u32> = (0..n as u32).collect();
        let mut step = 0;
        for epoch in 1..=EPOCHS {
            order.shuffle(&mut prl_seed::stream(seed, "forecast", epoch));
            for rows in order.chunks((n / STEPS).clamp(BATCH[0], BATCH[1])) {
                step += 1;
                trained.step(&standard, train, rows, step)?;
            }
            if validation.bins.is_empty() {
                head = trained.head(&mean, &deviation)?;
                continue;
            }
            let candidate = trained.head(&mean, &deviation)?;
            let loss = candidate.log_loss(validation)?;
            if loss < best.0 {
                best = (loss, epoch);
                head = candidate;
            }
            if epoch >= best.1 + PATIENCE {
                break;
            }
        }
        Ok(head)
    }

    /// Probabilities of the bins for inputs `[n, width]` at time steps `[n]`, one list for each.
    ///
    /// # Errors
    /// If the width is not that of training.
    pub fn forecast(&self, inputs: &Tensor, steps: &[u32]) -> Result<Vec<Vec<f64>>> {
        let standard = inputs
            .broadcast_sub(&self.mean)?
            .broadcast_div(&self.deviation)?;
        let h = standard.matmul(&self.w1)?.broadcast_add(&self.b1)?.tanh()?;
        let logits = h.matmul(&self.w2)?.broadcast_add(&self.b2)?;
        let logits = (logits + rows_of(&self.table, steps)?)?;
        let log_p = log_softmax(&logits)?;
        Ok(log_p.to_dtype(DType::F64)?.exp()?.to_vec2()?)
    }

    /// Number of bins.
    pub fn bins(&self) -> Result<usize> {
        Ok(self.b2.dim(1)?)
    }

    /// Mean of -ln p of the observed bins.
    fn log_loss(&self, examples: &ForecastExamples) -> Result<f64> {
        let mut sum = 0.0;
        if examples.bins.is_empty() {
            return Ok(f64::INFINITY);
        }
        let all = self.forecast(&examples.inputs, &examples.steps)?;
        for (p, &bin) in all.iter().zip(&examples.bins) {
            sum -= p[bin as usize].max(1e-12).ln();
        }
        Ok(sum / examples.bins.len() as f64)
    }

    /// The arrays of the head, by name.
    pub fn arrays(&self) -> HashMap<String, Tensor> {
        let arrays = [
            &self.table,
            &self.mean,
            &self.deviation,
            &self.w1,
            &self.b1,
            &self.w2,
            &self.b2,
        ];
        let mut named = HashMap::new();
        for (name, array) in NAMES.into_iter().zip(arrays) {
            named.insert(name.to_owned(), array.clone());
        }
        named
    }

    /// The head of some arrays; `None` if one is missing or has another shape than the others ask.
    pub fn from_arrays(arrays: &HashMap<String, Tensor>) -> Option<Self> {
        let [table, mean, deviation, w1, b1, w2, b2] = NAMES.map(|name| arrays.get(name).cloned());
        let head = Self {
            table: table?,
            mean: mean?,
            deviation: deviation?,
            w1: w1?,
            b1: b1?,
            w2: w2?,
            b2: b2?,
        };
        let (width, hidden) = head.w1.dims2().ok()?;
        let bins = head.b2.dims2().ok()?.1;
        let steps = head.table.dims2().ok()?.0;
        let shapes = [
            (&head.table, (steps.max(1), bins)),
            (&head.mean, (1, width)),
            (&head.deviation, (1, width)),
            (&head.b1, (1, hidden)),
            (&head.w2, (hidden, bins)),
            (&head.b2, (1, bins)),
        ];
        for (array, shape) in shapes {
            if array.dims2().ok()? != shape {
                return None;
            }
        }
        Some(head)
    }
}

/// The row of each time step.
fn rows_of(table: &Tensor, steps: &[u32]) -> candle_core::Result<Tensor> {
    let last = table.dim(0)? as u32 - 1;
    let mut rows = Vec::with_capacity(steps.len());
    for &step in steps {
        rows.push(step.min(last));
    }
    let rows = Tensor::from_vec(rows, steps.len(), table.device())?;
    table.index_select(&rows, 0)
}

/// `x - ln sum exp x` by rows.
fn log_softmax(x: &Tensor) -> candle_core::Result<Tensor> {
    let max = x.max_keepdim(D::Minus1)?.detach();
    let shifted = x.broadcast_sub(&max)?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    shifted.broadcast_sub(&log_sum)
}

/// The weights in training, with Adam's moments.
struct Trained {
    table: Tensor,
    w1: AdamParam,
    b1: AdamParam,
    w2: AdamParam,
    b2: AdamParam,
    check: FiniteCheck,
}

impl Trained {
    /// Initial weights, of the type of the inputs.
    fn new(train: &ForecastExamples, width: usize, table: &[Vec<f64>], seed: u64) -> Result<Self> {
        let (steps, mut logs) = (table.len(), Vec::new());
        for row in table {
            for p in row {
                logs.push(p.ln());
            }
        }
        let bins = logs.len() / steps.max(1);
        let mut rng = prl_seed::stream(seed, "forecast.w1", 0);
        let w1 = Init::Glorot.values(&[width, HIDDEN], &mut rng)?;
        let dtype = train.inputs.dtype();
        let param = |name: &str, values: Vec<f64>, shape| {
            AdamParam::from_values(name, values, shape, dtype, &Device::Cpu)
        };
        let table = Tensor::from_vec(logs, (steps, bins), &Device::Cpu)?;
        Ok(Self {
            table: table.to_dtype(dtype)?,
            w1: param("w1", w1, (width, HIDDEN))?,
            b1: param("b1", vec![0.0; HIDDEN], (1, HIDDEN))?,
            w2: param("w2", vec![0.0; HIDDEN * bins], (HIDDEN, bins))?,
            b2: param("b2", vec![0.0; bins], (1, bins))?,
            check: FiniteCheck::none(),
        })
    }

    /// Takes one step of Adam on some rows of standardised inputs.
    fn step(
        &self,
        inputs: &Tensor,
        examples: &ForecastExamples,
        rows: &[u32],
        step: u64,
    ) -> Result<()> {
        let mut observed = Vec::with_capacity(rows.len());
        let mut steps = Vec::with_capacity(rows.len());
        for &row in rows {
            observed.push(examples.bins[row as usize]);
            steps.push(examples.steps[row as usize]);
        }
        let rows = Tensor::from_slice(rows, rows.len(), &Device::Cpu)?;
        let x = inputs.index_select(&rows, 0)?;
        let loss = self.loss(&x, &steps, &observed)?;
        let value = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if !value.is_finite() {
            let cause = format!("the loss of the forecast is {value}");
            return Err(Error::Diverged { step, cause });
        }
        let grads = loss.backward()?;
        let adam = Adam::new(LEARNING_RATE);
        for param in [&self.w1, &self.b1, &self.w2, &self.b2] {
            if let Some(grad) = grads.get(&param.param) {
                let turn = AdamStep {
                    adam,
                    t: step,
                    check: &self.check,
                };
                param.step(turn, grad)?;
            }
        }
        Ok(())
    }

    /// Mean cross-entropy of standardised inputs.
    fn loss(&self, x: &Tensor, steps: &[u32], observed: &[u32]) -> Result<Tensor> {
        let var = |param: &AdamParam| -> Var { param.param.clone() };
        let [w1, b1, w2, b2] = [&self.w1, &self.b1, &self.w2, &self.b2].map(var);
        let h = x.matmul(&w1)?.broadcast_add(&b1)?.tanh()?;
        let logits = (h.matmul(&w2)?.broadcast_add(&b2)? + rows_of(&self.table, steps)?)?;
        let log_p = log_softmax(&logits)?;
        let picked = Tensor::from_slice(observed, (observed.len(), 1), &Device::Cpu)?;
        Ok(log_p.gather(&picked, 1)?.mean_all()?.neg()?)
    }

    /// A copy of the weights as a head.
    fn head(&self, mean: &Tensor, deviation: &Tensor) -> Result<ForecastHead> {
        let copy = |param: &AdamParam| param.param.as_tensor().copy();
        Ok(ForecastHead {
            table: self.table.clone(),
            mean: mean.clone(),
            deviation: deviation.clone(),
            w1: copy(&self.w1)?,
            b1: copy(&self.b1)?,
            w2: copy(&self.w2)?,
            b2: copy(&self.b2)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    /// 4,000 examples whose first input decides between the bins 0 and 1, and 2 and 3.
    fn examples(name: &str, n: usize) -> ForecastExamples {
        let mut rng = prl_seed::stream(5, name, 0);
        let (mut inputs, mut bins) = (Vec::new(), Vec::new());
        for _ in 0..n {
            let x: f32 = rng.random_range(-1.0..1.0);
            inputs.extend([x, rng.random_range(-5.0..5.0)]);
            bins.push(2 * u32::from(x > 0.0) + u32::from(rng.random_bool(0.25)));
        }
        ForecastExamples {
            inputs: Tensor::from_vec(inputs, (n, 2), &Device::Cpu).unwrap(),
            steps: (0..n as u32).map(|i| i % 3).collect(),
            bins,
        }
    }

    /// Two steps, at which all bins are equally likely.
    fn even() -> Vec<Vec<f64>> {
        vec![vec![0.25; 4]; 2]
    }

    #[test]
    fn forecast_approaches_the_distribution_given_the_input() {
        let (train, validation) = (examples("train", 4000), examples("validation", 500));
        let head = ForecastHead::fit(&train, &validation, &even(), 3).unwrap();
        let inputs = Tensor::new(&[[-0.7_f32, 0.0], [0.7, 3.0]], &Device::Cpu).unwrap();
        let found = head.forecast(&inputs, &[0, 7]).unwrap();
        for (found, expected) in found
            .iter()
            .zip([[0.75, 0.25, 0.0, 0.0], [0.0, 0.0, 0.75, 0.25]])
        {
            for (p, expected) in found.iter().zip(expected) {
                assert!((p - expected).abs() < 0.06, "{found:?}");
            }
        }
        let again = ForecastHead::fit(&train, &validation, &even(), 3).unwrap();
        assert_eq!(
            again.forecast(&inputs, &[0, 7]).unwrap(),
            found,
            "a function of the seed"
        );
        let saved = ForecastHead::from_arrays(&head.arrays()).unwrap();
        assert_eq!(saved.forecast(&inputs, &[0, 7]).unwrap(), found);
        let mut damaged = head.arrays();
        damaged.insert(
            "b2".into(),
            Tensor::zeros((1, 3), DType::F32, &Device::Cpu).unwrap(),
        );
        assert!(ForecastHead::from_arrays(&damaged).is_none());
    }

    #[test]
    fn inputs_that_say_nothing_leave_the_distribution_of_the_step() {
        let mut train = examples("nothing", 200);
        let mut validation = examples("nothing either", 200);
        train.inputs = train.inputs.zeros_like().unwrap();
        // No bin of training occurs on validation, so that every update raises the loss there.
        train.bins.fill(0);
        validation.bins.fill(3);
        let table = vec![vec![0.7, 0.1, 0.1, 0.1], vec![0.1, 0.1, 0.1, 0.7]];
        let head = ForecastHead::fit(&train, &validation, &table, 1).unwrap();
        let found = head.forecast(&validation.inputs, &train.steps).unwrap();
        for (p, &step) in found.iter().zip(&train.steps) {
            for (p, q) in p.iter().zip(&table[step.min(1) as usize]) {
                assert!((p - q).abs() < 1e-6, "{found:?}");
            }
        }
    }

    #[test]
    fn gradients_match_finite_differences() {
        let mut train = examples("gradients", 40);
        train.inputs = train.inputs.to_dtype(DType::F64).unwrap();
        let trained = Trained::new(&train, 2, &even(), 9).unwrap();
        let rows: Vec<u32> = (0..40).collect();
        // Away from the start, where W2 is zero and W1 has no gradient.
        for step in 1..=30 {
            trained.step(&train.inputs, &train, &rows, step).unwrap();
        }
        let loss = || {
            trained
                .loss(&train.inputs, &train.steps, &train.bins)
                .unwrap()
        };
        let grads = loss().backward().unwrap();
        for param in [&trained.w1, &trained.b1, &trained.w2, &trained.b2] {
            let flat =
                |tensor: &Tensor| -> Vec<f64> { tensor.flatten_all().unwrap().to_vec1().unwrap() };
            let (grad, start) = (flat(grads.get(&param.param).unwrap()), flat(&param.param));
            for at in [0, start.len() / 2, start.len() - 1] {
                let loss_at = |shift: f64| {
                    let mut values = start.clone();
                    values[at] += shift;
                    let shape = param.param.shape();
                    let moved = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
                    param.param.set(&moved).unwrap();
                    loss().to_scalar::<f64>().unwrap()
                };
                let numeric = (loss_at(1e-5) - loss_at(-1e-5)) / 2e-5;
                loss_at(0.0);
                let difference = (numeric - grad[at]).abs();
                assert!(difference < 1e-8, "{}[{at}]: {difference}", param.name());
            }
        }
    }
}
