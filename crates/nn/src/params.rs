//! Parameters by name, in a fixed order, with seeded initial values.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Shape, Tensor, Var, bail};
use rand::Rng as _;
use rand_distr::{Distribution, Normal, Uniform};

/// How a parameter begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Every element the same.
    Const(f64),
    /// Normal with mean zero and this standard deviation.
    Normal(f64),
    /// The same, drawn again beyond two standard deviations.
    TruncatedNormal(f64),
    /// Uniform within ±sqrt(6 / (fan in + fan out)) (Glorot and Bengio, 2010) for a `[fan in, fan out]` matrix or its
    /// transpose.
    Glorot,
}

impl Init {
    /// `n` values for a parameter of this shape.
    pub fn values(self, shape: &[usize], rng: &mut prl_seed::Rng) -> Result<Vec<f64>> {
        let n = shape.iter().product();
        let normal = |std| Normal::new(0.0, std).map_err(candle_core::Error::wrap);
        Ok(match self {
            Init::Const(value) => vec![value; n],
            Init::Normal(std) => normal(std)?.sample_iter(rng).take(n).collect(),
            Init::TruncatedNormal(std) => normal(std)?
                .sample_iter(rng)
                .filter(|x| x.abs() <= 2.0 * std)
                .take(n)
                .collect(),
            Init::Glorot => {
                let &[a, b] = shape else {
                    bail!("Glorot values are for matrices, not for {shape:?}")
                };
                let limit = (6.0 / (a + b) as f64).sqrt();
                let uniform =
                    Uniform::new_inclusive(-limit, limit).map_err(candle_core::Error::wrap)?;
                rng.sample_iter(uniform).take(n).collect()
            }
        })
    }
}

/// The trainable parameters of the middle of a model.
pub struct Params {
    dtype: DType,
    device: Device,
    seed: u64,
    vars: BTreeMap<String, Var>,
}

impl Params {
    /// No parameters yet; `seed` decides the initial values of all to come.
    pub fn new(dtype: DType, device: &Device, seed: u64) -> Self {
        Self {
            dtype,
            device: device.clone(),
            seed,
            vars: BTreeMap::new(),
        }
    }

    /// Where parameters named `name.…` are made.
    pub fn scope(&mut self, name: &str) -> Scope<'_> {
        Scope {
            params: self,
            prefix: name.to_owned(),
        }
    }

    /// All parameters, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.vars.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// The type of every parameter.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The device of every parameter.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The seed of the initial values.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

/// A place in the tree of parameter names.
pub struct Scope<'a> {
    params: &'a mut Params,
    prefix: String,
}

impl Scope<'_> {
    /// A place below this one.
    pub fn scope(&mut self, name: &str) -> Scope<'_> {
        Scope {
            prefix: format!("{}.{name}", self.prefix),
            params: self.params,
        }
    }

    /// Makes the parameter `name` here. Its initial values depend on the seed and its full name alone.
    pub fn get(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Tensor> {
        let shape = shape.into();
        self.get_with(name, shape.clone(), |rng| init.values(shape.dims(), rng))
    }

    /// The same with initial values of the caller's making, from a generator of the seed and the full name.
    pub fn get_with(
        &mut self,
        name: &str,
        shape: impl Into<Shape>,
        values: impl FnOnce(&mut prl_seed::Rng) -> Result<Vec<f64>>,
    ) -> Result<Tensor> {
        let (name, shape) = (format!("{}.{name}", self.prefix), shape.into());
        let values = values(&mut prl_seed::stream(self.params.seed, &name, 0))?;
        let values = Tensor::from_vec(values, shape, &Device::Cpu)?;
        let var = Var::from_tensor(
            &values
                .to_dtype(self.params.dtype)?
                .to_device(&self.params.device)?,
        )?;
        let tensor = var.as_tensor().clone();
        if self.params.vars.insert(name.clone(), var).is_some() {
            bail!("the parameter {name} was made twice");
        }
        Ok(tensor)
    }
}

#[cfg(test)]
mod tests {
    use super::{Init, Params};
    use candle_core::{DType, Device};

    #[test]
    fn values_depend_on_seed_and_name_alone() {
        let first = |seed, name: &str, also: bool| {
            let mut params = Params::new(DType::F32, &Device::Cpu, seed);
            let mut scope = params.scope("a");
            if also {
                scope.get("other", (2, 2), Init::Glorot).unwrap();
            }
            scope
                .get(name, 3, Init::Normal(1.0))
                .unwrap()
                .to_vec1::<f32>()
                .unwrap()
        };
        assert_eq!(first(1, "x", false), first(1, "x", true));
        assert_ne!(first(1, "x", false), first(2, "x", false));
        assert_ne!(first(1, "x", false), first(1, "y", false));
    }

    #[test]
    fn distributions_have_their_spread() {
        let spread = |init: Init, shape: &[usize]| {
            let v = init
                .values(shape, &mut prl_seed::stream(3, "t", 0))
                .unwrap();
            let var = v.iter().map(|x| x * x).sum::<f64>() / v.len() as f64;
            (var.sqrt(), v.iter().fold(0.0, |m: f64, x| m.max(x.abs())))
        };
        assert!((spread(Init::Normal(0.01), &[40_000]).0 - 0.01).abs() < 1e-4);
        let (std, max) = spread(Init::TruncatedNormal(0.1), &[40_000]);
        assert!((std - 0.08796).abs() < 1e-3 && max <= 0.2);
        let (std, max) = spread(Init::Glorot, &[100, 200]);
        let limit = (6.0_f64 / 300.0).sqrt();
        assert!((std - limit / 3.0_f64.sqrt()).abs() < 1e-3 && max <= limit);
    }

    #[test]
    fn a_name_is_made_once() {
        let mut params = Params::new(DType::F32, &Device::Cpu, 1);
        params.scope("a").get("x", 3, Init::Const(0.0)).unwrap();
        assert!(params.scope("a").get("x", 3, Init::Const(0.0)).is_err());
    }
}
