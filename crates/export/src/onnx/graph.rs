//! Builder of a graph: operations on named values, weights under the names of the checkpoint.

use super::proto::{
    AttributeProto, Dimension, DimensionProto, GraphProto, NodeProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, attribute, element,
};
use crate::error::Result;
use crate::weights::Weights;

/// Added to the variance by every layer norm of the networks.
const EPS: f32 = 1e-8;

/// Name of a value of the graph.
pub(super) type Value = String;

/// A graph under construction.
pub(super) struct Graph<'a> {
    weights: &'a mut Weights,
    graph: GraphProto,
}

/// An attribute of whole number.
pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: attribute::INT,
        i: value,
        ..AttributeProto::default()
    }
}

/// An attribute of several whole numbers.
pub(super) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: attribute::INTS,
        ints: values.to_vec(),
        ..AttributeProto::default()
    }
}

/// An attribute of a number.
fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: attribute::FLOAT,
        f: value,
        ..AttributeProto::default()
    }
}

/// An attribute of a text.
pub(super) fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: attribute::STRING,
        s: value.as_bytes().to_vec(),
        ..AttributeProto::default()
    }
}

impl<'a> Graph<'a> {
    /// A graph without operations.
    pub(super) fn new(weights: &'a mut Weights, doc: &str) -> Self {
        Self {
            weights,
            graph: GraphProto {
                name: "prl".into(),
                doc_string: doc.into(),
                ..GraphProto::default()
            },
        }
    }

    /// The graph whose output is `scores`.
    pub(super) fn finish(self) -> GraphProto {
        self.graph
    }

    /// Declares an input; axes of length `None` are the batch.
    pub(super) fn input(
        &mut self,
        name: &str,
        elem: i32,
        axes: &[Option<usize>],
        doc: &str,
    ) -> Value {
        self.graph.input.push(value_info(name, elem, axes, doc));
        name.into()
    }

    /// Names a value as an output of 32-bit numbers.
    pub(super) fn output(&mut self, value: &Value, name: &str, axes: &[Option<usize>], doc: &str) {
        self.add("Identity", &[value], vec![], name.into());
        let info = value_info(name, element::FLOAT, axes, doc);
        self.graph.output.push(info);
    }

    fn add(
        &mut self,
        op: &str,
        inputs: &[&Value],
        attributes: Vec<AttributeProto>,
        output: String,
    ) {
        self.graph.node.push(NodeProto {
            input: inputs.iter().copied().cloned().collect(),
            name: output.clone(),
            output: vec![output],
            op_type: op.into(),
            attribute: attributes,
        });
    }

    /// The result of an operation with options.
    pub(super) fn op_with(
        &mut self,
        op: &str,
        inputs: &[&Value],
        attributes: Vec<AttributeProto>,
    ) -> Value {
        let output = format!("{}_{}", op.to_lowercase(), self.graph.node.len());
        self.add(op, inputs, attributes, output.clone());
        output
    }

    /// The result of an operation.
    pub(super) fn op(&mut self, op: &str, inputs: &[&Value]) -> Value {
        self.op_with(op, inputs, Vec::new())
    }

    /// The last hidden state `[1, B, h]` of a GRU operation.
    pub(super) fn gru(&mut self, inputs: &[&Value], hidden: usize) -> Value {
        let output = format!("gru_{}", self.graph.node.len());
        self.graph.node.push(NodeProto {
            input: inputs.iter().copied().cloned().collect(),
            name: output.clone(),
            // The states of all positions are not read.
            output: vec![String::new(), output.clone()],
            op_type: "GRU".into(),
            attribute: vec![int("hidden_size", hidden as i64)],
        });
        output
    }

    /// A weight of the network under its name.
    pub(super) fn weight(&mut self, name: &str) -> Result<Value> {
        if let Some(bytes) = self.weights.take(name)? {
            let shape = self.weights.shape(name)?.to_vec();
            self.initializer(name, element::FLOAT, &shape, bytes);
        }
        Ok(name.into())
    }

    /// Shape of a weight.
    pub(super) fn shape(&self, name: &str) -> Result<&[usize]> {
        self.weights.shape(name)
    }

    /// Whether the network has a weight.
    pub(super) fn has(&self, name: &str) -> bool {
        self.weights.has(name)
    }

    fn initializer(&mut self, name: &str, elem: i32, shape: &[usize], bytes: Vec<u8>) {
        self.graph.initializer.push(TensorProto {
            dims: shape.iter().map(|&n| n as i64).collect(),
            data_type: elem,
            name: name.into(),
            raw_data: bytes,
        });
    }

    fn constant(&mut self, elem: i32, shape: &[usize], bytes: Vec<u8>) -> Value {
        let name = format!("constant_{}", self.graph.initializer.len());
        self.initializer(&name, elem, shape, bytes);
        name
    }

    /// A constant of numbers.
    pub(super) fn floats(&mut self, values: &[f32], shape: &[usize]) -> Value {
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.constant(element::FLOAT, shape, bytes)
    }

    /// A single number.
    pub(super) fn float(&mut self, value: f32) -> Value {
        self.floats(&[value], &[])
    }

    /// A constant list of whole numbers.
    pub(super) fn ints(&mut self, values: &[i64]) -> Value {
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.constant(element::INT64, &[values.len()], bytes)
    }

    /// A single whole number.
    pub(super) fn int(&mut self, value: i64) -> Value {
        let bytes = value.to_le_bytes().to_vec();
        self.constant(element::INT64, &[], bytes)
    }

    /// A value with an axis of length 1 before axis `axis`.
    pub(super) fn unsqueeze(&mut self, x: &Value, axis: i64) -> Value {
        let axes = self.ints(&[axis]);
        self.op("Unsqueeze", &[x, &axes])
    }

    /// A value without its axis `axis` of length 1.
    pub(super) fn squeeze(&mut self, x: &Value, axis: i64) -> Value {
        let axes = self.ints(&[axis]);
        self.op("Squeeze", &[x, &axes])
    }

    /// A value with its axes in another order.
    pub(super) fn transpose(&mut self, x: &Value, order: &[i64]) -> Value {
        self.op_with("Transpose", &[x], vec![ints("perm", order)])
    }

    /// A value in another element type.
    pub(super) fn cast(&mut self, x: &Value, elem: i32) -> Value {
        self.op_with("Cast", &[x], vec![int("to", i64::from(elem))])
    }

    /// The sum over an axis.
    pub(super) fn sum(&mut self, x: &Value, axis: i64, keep: bool) -> Value {
        let axes = self.ints(&[axis]);
        let attributes = vec![int("keepdims", i64::from(keep))];
        self.op_with("ReduceSum", &[x, &axes], attributes)
    }

    /// The maximum over an axis, which is dropped.
    pub(super) fn max(&mut self, x: &Value, axis: i64) -> Value {
        let attributes = vec![ints("axes", &[axis]), int("keepdims", 0)];
        self.op_with("ReduceMax", &[x], attributes)
    }

    /// Softmax over the last axis.
    pub(super) fn softmax(&mut self, x: &Value) -> Value {
        self.op_with("Softmax", &[x], vec![int("axis", -1)])
    }

    /// Rows `rows` of a table.
    pub(super) fn rows(&mut self, table: &Value, rows: &Value) -> Value {
        self.op_with("Gather", &[table, rows], vec![int("axis", 0)])
    }

    /// Row `at[b]` of each matrix: `[B, d]` of `[B, L, d]`.
    pub(super) fn row_of_each(&mut self, x: &Value, at: &Value) -> Value {
        let at = self.unsqueeze(at, 1);
        self.op_with("GatherND", &[x, &at], vec![int("batch_dims", 1)])
    }

    /// The affine map of a layer, on the last axis.
    pub(super) fn linear(&mut self, x: &Value, layer: &str) -> Result<Value> {
        let weight = self.weight(&format!("{layer}.weight"))?;
        let bias = self.weight(&format!("{layer}.bias"))?;
        let weight = self.transpose(&weight, &[1, 0]);
        let product = self.op("MatMul", &[x, &weight]);
        Ok(self.op("Add", &[&product, &bias]))
    }

    /// The layer norm of a layer, on the last axis.
    pub(super) fn layer_norm(&mut self, x: &Value, layer: &str) -> Result<Value> {
        let weight = self.weight(&format!("{layer}.weight"))?;
        let bias = self.weight(&format!("{layer}.bias"))?;
        let attributes = vec![int("axis", -1), float("epsilon", EPS)];
        Ok(self.op_with("LayerNormalization", &[x, &weight, &bias], attributes))
    }

    /// Attention weights `softmax(q k^T / sqrt(d) + hidden)` of `[B, Q, d]` and `[B, K, d]`.
    pub(super) fn attention(
        &mut self,
        q: &Value,
        k: &Value,
        width: usize,
        hidden: Option<&Value>,
    ) -> Value {
        let k = self.transpose(k, &[0, 2, 1]);
        let product = self.op("MatMul", &[q, &k]);
        let root = self.float((width as f64).sqrt() as f32);
        let mut scores = self.op("Div", &[&product, &root]);
        if let Some(hidden) = hidden {
            scores = self.op("Add", &[&scores, hidden]);
        }
        self.softmax(&scores)
    }
}

fn value_info(name: &str, elem: i32, axes: &[Option<usize>], doc: &str) -> ValueInfoProto {
    let mut dim = Vec::new();
    for axis in axes {
        let value = match axis {
            Some(length) => Dimension::Value(*length as i64),
            None => Dimension::Param("batch".into()),
        };
        dim.push(DimensionProto { value: Some(value) });
    }
    let tensor_type = TensorTypeProto {
        elem_type: elem,
        shape: Some(TensorShapeProto { dim }),
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            tensor_type: Some(tensor_type),
        }),
        doc_string: doc.into(),
    }
}
