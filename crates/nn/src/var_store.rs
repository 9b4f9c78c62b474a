//! Seeded variables behind candle's `VarBuilder`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Error, Result, Shape, Tensor, Var, bail};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;

use crate::init::candle_values;
use crate::packed_param::{PackedLayout, PackedParam};

/// Draws the elements of a packed parameter.
pub(crate) type Values = Box<dyn FnOnce(&mut prl_seed::Rng) -> Result<Vec<f64>>>;

/// A store of variables whose initial values are a function of the seed and the parameter's name.
///
/// [`candle_nn::VarMap`] draws from an unseeded generator on the CPU. Here, each parameter has a
/// random stream of its own, so values depend neither on the order of the calls nor on which other
/// parameters there are. Any module of candle-nn can be built from [`var_builder`]; its variables
/// are recorded, and so trainable, like those of this crate's layers.
///
/// [`var_builder`]: Self::var_builder
#[derive(Clone)]
pub struct SeededVarMap {
    seed: u64,
    /// By the name of the packed tensor.
    params: Arc<Mutex<BTreeMap<String, PackedParam>>>,
}

impl SeededVarMap {
    /// An empty store.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            params: Arc::default(),
        }
    }

    /// A builder that makes variables in this store.
    pub fn var_builder(&self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), dtype, device.clone())
    }

    /// The variables made so far, in the order of their format-1 names.
    pub fn params(&self) -> Vec<PackedParam> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PackedParam>> {
        self.params.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, layout: PackedLayout, values: Values, like: &Like<'_>) -> Result<Var> {
        let mut rng = prl_seed::stream(self.seed, &layout.name, 0);
        let values = Tensor::from_vec(values(&mut rng)?, layout.shape.as_slice(), &Device::Cpu)?;
        let var = Var::from_tensor(&values.to_dtype(like.dtype)?.to_device(like.device)?)?;
        let param = PackedParam {
            var: var.clone(),
            layout,
        };
        let name = param.layout.name.clone();
        if self.lock().insert(name.clone(), param).is_some() {
            bail!("the parameter {name} was made twice; give each module a prefix of its own");
        }
        Ok(var)
    }

    /// A named tensor that is there already.
    fn find(&self, name: &str) -> Result<Option<Tensor>> {
        for param in self.lock().values() {
            if let Some(part) = param.names().position(|own| own == name) {
                return Ok(Some(
                    param.layout.views(param.var.as_tensor())?.swap_remove(part),
                ));
            }
        }
        Ok(None)
    }
}

/// Type and device of a new variable.
struct Like<'a> {
    dtype: DType,
    device: &'a Device,
}

impl SimpleBackend for SeededVarMap {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let like = Like { dtype, device };
        if let Some(Request { layout, values }) = take_request(name) {
            let var = self.make(layout.clone(), values, &like)?;
            let tensor = layout.views(var.as_tensor())?.swap_remove(0);
            ANSWER.set(Some(var));
            return Ok(tensor);
        }
        // As in candle's `VarMap`, a second request for a name shares the variable.
        if let Some(tensor) = self.find(name)? {
            if tensor.shape() != &shape {
                bail!(
                    "{name} is {:?}; a second module expects {shape:?}",
                    tensor.shape()
                );
            }
            return Ok(tensor);
        }
        let layout = PackedLayout::plain(name, shape.dims());
        let values: Values = Box::new(move |rng| candle_values(init, &shape, rng));
        Ok(self.make(layout, values, &like)?.as_tensor().clone())
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        let missing = || Error::CannotFindTensor { path: name.into() }.bt();
        self.find(name)?.ok_or_else(missing)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.find(name).is_ok_and(|tensor| tensor.is_some())
    }
}

/// Layout and exact initial values of the parameter that is being requested.
struct Request {
    layout: PackedLayout,
    values: Values,
}

thread_local! {
    // `candle_nn::Init` is a closed enum and `VarBuilder` hides its backend, so what candle's rule
    // cannot say travels beside the call. A builder calls its backend on the same thread.
    static REQUEST: RefCell<Option<Request>> = const { RefCell::new(None) };
    static ANSWER: RefCell<Option<Var>> = const { RefCell::new(None) };
}

/// Calls `get`, which asks a builder for the first part of `layout`. If the builder is a
/// [`SeededVarMap`]'s, the whole packed variable is made and returned beside that part.
pub(crate) fn request(
    layout: PackedLayout,
    values: Values,
    get: impl FnOnce() -> Result<Tensor>,
) -> Result<(Tensor, Option<Var>)> {
    REQUEST.set(Some(Request { layout, values }));
    ANSWER.set(None);
    let tensor = get();
    REQUEST.set(None);
    Ok((tensor?, ANSWER.take()))
}

/// The request in progress, if `name` is its first part.
fn take_request(name: &str) -> Option<Request> {
    REQUEST.with_borrow_mut(|request| {
        let is_for_name = request
            .as_ref()
            .is_some_and(|r| r.layout.parts[0].name == name);
        if is_for_name { request.take() } else { None }
    })
}
