//! Named tensors that share one packed storage.
//!
//! Files, candle and PyTorch see parameters one by one, in candle's layouts (`weight_ih [3 h, d]`).
//! A fused kernel reads several of them from one tensor in the order in which it needs them. A
//! [`PackedLayout`] says where each named tensor lies in the packed one: the parts follow one
//! another, and each is stored with its axes permuted. Packing therefore only moves elements, and
//! unpacking gives back the same bits.

use candle_core::{Result, Shape, Tensor, Var, bail};
use candle_nn::VarBuilder;

use crate::backend::Backend;
use crate::format1::format1_name;
use crate::init::Init;
use crate::var_store;

/// One named tensor of a packed parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct PackedPart {
    /// Name, with the path below the parameter's prefix.
    pub name: String,
    /// Axes in the order of the storage.
    stored: Vec<usize>,
    /// Axis i of the named tensor is axis `permutation[i]` of the storage.
    permutation: Vec<usize>,
    /// Initial values where the builder is not a [`SeededVarMap`](crate::SeededVarMap)'s.
    init: Init,
}

impl PackedPart {
    /// A tensor stored as it is, row-major.
    pub fn plain(name: impl Into<String>, shape: &[usize], init: Init) -> Self {
        Self {
            name: name.into(),
            stored: shape.to_vec(),
            permutation: (0..shape.len()).collect(),
            init,
        }
    }

    /// A tensor stored with axes `stored`, of which axis i is axis `permutation[i]`.
    pub fn permuted<const N: usize>(
        name: impl Into<String>,
        stored: [usize; N],
        permutation: [usize; N],
        init: Init,
    ) -> Self {
        Self {
            name: name.into(),
            stored: stored.to_vec(),
            permutation: permutation.to_vec(),
            init,
        }
    }

    /// Shape of the named tensor.
    pub fn shape(&self) -> Vec<usize> {
        self.permutation.iter().map(|&i| self.stored[i]).collect()
    }

    fn elements(&self) -> usize {
        self.stored.iter().product()
    }

    /// The named tensor's elements in the order of the storage, as one axis.
    fn to_storage(&self, named: &Tensor) -> Result<Tensor> {
        let mut inverse = vec![0; self.permutation.len()];
        for (axis, &stored) in self.permutation.iter().enumerate() {
            inverse[stored] = axis;
        }
        named.permute(inverse)?.contiguous()?.flatten_all()
    }

    fn get(&self, vb: &VarBuilder) -> Result<Tensor> {
        let shape = self.shape();
        let hint = self.init.hint(&shape);
        vb.get_with_hints(shape, &self.name, hint)
    }
}

/// Layout of a packed parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct PackedLayout {
    /// Name of the packed tensor: the seed key of its initial values, and its name in format 1.
    pub name: String,
    /// Shape of the packed tensor.
    pub shape: Vec<usize>,
    /// The named tensors, in the order of the storage.
    pub parts: Vec<PackedPart>,
}

impl PackedLayout {
    /// Layout of a packed tensor; the parts must cover it.
    ///
    /// # Errors
    /// If the parts do not have as many elements as the packed tensor.
    pub fn new(name: impl Into<String>, shape: &[usize], parts: Vec<PackedPart>) -> Result<Self> {
        let layout = Self {
            name: name.into(),
            shape: shape.to_vec(),
            parts,
        };
        let elements: usize = layout.parts.iter().map(PackedPart::elements).sum();
        if elements != shape.iter().product::<usize>() {
            bail!(
                "layout of {}: {elements} elements in {shape:?}",
                layout.name
            );
        }
        Ok(layout)
    }

    /// Layout of a single tensor stored as it is, under its full name.
    pub(crate) fn plain(name: &str, shape: &[usize]) -> Self {
        Self {
            name: format1_name(name),
            shape: shape.to_vec(),
            parts: vec![PackedPart::plain(name, shape, Init::Const(0.0))],
        }
    }

    /// Whether it is a single tensor stored as it is.
    fn is_plain(&self) -> bool {
        let [part] = self.parts.as_slice() else {
            return false;
        };
        part.stored == self.shape && part.permutation.is_sorted()
    }

    /// The layout with the names below `prefix`.
    fn below(&self, prefix: &str) -> Self {
        let full = |name: &str| match prefix {
            "" => name.to_owned(),
            _ => format!("{prefix}.{name}"),
        };
        let mut layout = self.clone();
        layout.name = format1_name(&full(&self.name));
        for part in &mut layout.parts {
            part.name = full(&part.name);
        }
        layout
    }

    /// The named tensors as views of a contiguous packed tensor: they share its storage, and a
    /// gradient by a view is a gradient by the packed tensor.
    pub fn views(&self, packed: &Tensor) -> Result<Vec<Tensor>> {
        if packed.dims() != self.shape {
            bail!(
                "{} is {:?}; expected {:?}",
                self.name,
                packed.shape(),
                self.shape
            );
        }
        if self.is_plain() {
            // The variable itself: a view would cost the backward pass a step of candle's.
            return Ok(vec![packed.clone()]);
        }
        let flat = packed.flatten_all()?;
        let (mut views, mut at) = (Vec::new(), 0);
        for part in &self.parts {
            let stored = flat.narrow(0, at, part.elements())?;
            let stored = stored.reshape(part.stored.as_slice())?;
            views.push(stored.permute(part.permutation.as_slice())?);
            at += part.elements();
        }
        Ok(views)
    }

    /// Packs the named tensors, in the order of the parts.
    ///
    /// # Errors
    /// If one has another shape.
    pub fn pack(&self, named: &[Tensor]) -> Result<Tensor> {
        let mut stored = Vec::new();
        for (part, tensor) in self.parts.iter().zip(named) {
            if tensor.dims() != part.shape() {
                bail!(
                    "{} is {:?}; expected {:?}",
                    part.name,
                    tensor.shape(),
                    part.shape()
                );
            }
            stored.push(part.to_storage(tensor)?);
        }
        Tensor::cat(&stored, 0)?.reshape(self.shape.as_slice())
    }
}

/// A trainable variable of a [`SeededVarMap`](crate::SeededVarMap), and the named tensors in it.
#[derive(Clone, Debug)]
pub struct PackedParam {
    pub(crate) layout: PackedLayout,
    pub(crate) var: Var,
}

impl PackedParam {
    /// A variable of the caller's, which is one named tensor.
    pub fn plain(name: &str, var: Var) -> Self {
        let layout = PackedLayout::plain(name, var.dims());
        Self { layout, var }
    }

    /// The variable, in packed layout: what an optimiser moves.
    pub fn var(&self) -> &Var {
        &self.var
    }

    /// Name of the packed tensor in checkpoint format 1, and seed key of its initial values.
    pub fn format1_name(&self) -> &str {
        &self.layout.name
    }

    /// Names of the tensors in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.layout.parts.iter().map(|part| part.name.as_str())
    }

    /// Shapes of the tensors in it.
    pub fn shapes(&self) -> impl Iterator<Item = Vec<usize>> {
        self.layout.parts.iter().map(PackedPart::shape)
    }

    /// The named tensors in a tensor of the packed layout (the variable, a gradient, a moment), as
    /// contiguous copies.
    pub fn unpack(&self, packed: &Tensor) -> Result<Vec<(String, Tensor)>> {
        let views = self.layout.views(&packed.detach().contiguous()?)?;
        let mut named = Vec::new();
        for (part, view) in self.layout.parts.iter().zip(views) {
            named.push((part.name.clone(), view.contiguous()?));
        }
        Ok(named)
    }

    /// The packed tensor of named ones, in the order of [`names`](Self::names).
    ///
    /// # Errors
    /// If one has another shape.
    pub fn pack(&self, named: &[Tensor]) -> Result<Tensor> {
        self.layout.pack(named)
    }
}

/// The tensors of a packed parameter as a module holds them.
#[derive(Clone, Debug)]
pub struct PackedWeights {
    /// Packed storage that the fused kernels read; `None` where the named tensors are separate
    /// variables.
    packed: Option<Tensor>,
    named: Vec<Tensor>,
    backend: Backend,
}

impl PackedWeights {
    /// Gets the named tensors of a layout from a builder.
    ///
    /// A [`SeededVarMap`](crate::SeededVarMap) makes one variable, with the initial `values` drawn
    /// from the stream of the layout's name, and the named tensors are views of it. Tensors from a
    /// file are packed once, here. Variables of another store (a [`candle_nn::VarMap`]) are used as
    /// they are, by the reference.
    pub fn new(
        vb: &VarBuilder,
        layout: &PackedLayout,
        values: impl FnOnce(&mut prl_seed::Rng) -> Result<Vec<f64>> + 'static,
    ) -> Result<Self> {
        let Some((first, rest)) = layout.parts.split_first() else {
            bail!("layout of {}: no parts", layout.name)
        };
        let full = layout.below(&vb.prefix());
        let (tensor, var) = var_store::request(full, Box::new(values), || first.get(vb))?;
        let backend = Backend::of(vb);
        if let Some(var) = var {
            let packed = var.as_tensor().clone();
            return Ok(Self {
                named: layout.views(&packed)?,
                packed: Some(packed),
                backend,
            });
        }
        let mut named = vec![tensor];
        for part in rest {
            named.push(part.get(vb)?);
        }
        if named.iter().any(Tensor::is_variable) {
            return Ok(Self {
                packed: None,
                named,
                backend: Backend::Reference,
            });
        }
        let packed = layout.pack(&named)?;
        Ok(Self {
            named: layout.views(&packed)?,
            packed: Some(packed),
            backend,
        })
    }

    /// The named tensor at a place in the layout.
    pub fn named(&self, part: usize) -> Tensor {
        self.named[part].clone()
    }

    /// The packed tensor.
    ///
    /// # Errors
    /// If the named tensors are variables of another store; [`backend`](Self::backend) is the
    /// reference then.
    pub fn packed(&self) -> Result<&Tensor> {
        match &self.packed {
            Some(packed) => Ok(packed),
            None => bail!("these weights are variables of another store; the reference reads them"),
        }
    }

    /// The fastest backend that these weights allow.
    pub fn backend(&self) -> Backend {
        self.backend
    }
}

/// Gets a parameter that is stored as it is.
pub fn get(vb: &VarBuilder, shape: impl Into<Shape>, name: &str, init: Init) -> Result<Tensor> {
    let shape = shape.into().into_dims();
    let part = PackedPart::plain(name, &shape, init);
    let layout = PackedLayout {
        name: name.to_owned(),
        shape: shape.clone(),
        parts: vec![part],
    };
    let values = move |rng: &mut prl_seed::Rng| init.values(&shape, rng);
    let full = layout.below(&vb.prefix());
    let (tensor, _) = var_store::request(full, Box::new(values), || layout.parts[0].get(vb))?;
    Ok(tensor)
}
