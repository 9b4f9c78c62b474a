//! A plain interpreter of the operators that exported graphs have, in 64-bit numbers. Whole numbers
//! and truth values are such numbers too.

use std::collections::HashMap;

use prl_export::onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, element};

/// A tensor in row-major order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Array {
    pub fn new(shape: &[usize], data: Vec<f64>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "{shape:?}");
        Self {
            shape: shape.to_vec(),
            data,
        }
    }

    /// Lengths of the axes before `axis`, of it, and after it, each as a product.
    fn around(&self, axis: usize) -> [usize; 3] {
        [
            self.shape[..axis].iter().product(),
            self.shape[axis],
            self.shape[axis + 1..].iter().product(),
        ]
    }

    fn last(&self) -> usize {
        self.shape[self.shape.len() - 1]
    }

    /// The index along an axis that may count from the end.
    fn axis(&self, axis: i64) -> usize {
        match usize::try_from(axis) {
            Ok(axis) => axis,
            Err(_) => self.shape.len() - axis.unsigned_abs() as usize,
        }
    }
}

/// Computes the graph's first output from its inputs.
pub fn run(graph: &GraphProto, inputs: &[(&str, Array)]) -> Array {
    let mut values: HashMap<String, Array> = HashMap::new();
    for (name, array) in inputs {
        values.insert((*name).to_owned(), array.clone());
    }
    for tensor in &graph.initializer {
        values.insert(tensor.name.clone(), constant(tensor));
    }
    for node in &graph.node {
        let mut arrays = Vec::new();
        for name in &node.input {
            arrays.push(
                values
                    .get(name)
                    .unwrap_or_else(|| panic!("{}: {name}", node.name)),
            );
        }
        let result = compute(node, &arrays);
        values.insert(node.output.last().unwrap().clone(), result);
    }
    values.remove(&graph.output[0].name).unwrap()
}

fn constant(tensor: &TensorProto) -> Array {
    let mut data = Vec::new();
    match tensor.data_type {
        element::FLOAT => {
            for bytes in tensor.raw_data.chunks_exact(4) {
                data.push(f64::from(f32::from_le_bytes(bytes.try_into().unwrap())));
            }
        }
        element::INT64 => {
            for bytes in tensor.raw_data.chunks_exact(8) {
                data.push(i64::from_le_bytes(bytes.try_into().unwrap()) as f64);
            }
        }
        other => panic!("element type {other}"),
    }
    let mut shape = Vec::new();
    for &length in &tensor.dims {
        shape.push(length as usize);
    }
    Array::new(&shape, data)
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute
        .iter()
        .find(|attribute| attribute.name == name)
}

fn int(node: &NodeProto, name: &str) -> i64 {
    attribute(node, name)
        .unwrap_or_else(|| panic!("{}: {name}", node.name))
        .i
}

fn ints<'a>(node: &'a NodeProto, name: &str) -> &'a [i64] {
    attribute(node, name).map_or(&[], |attribute| &attribute.ints)
}

fn compute(node: &NodeProto, x: &[&Array]) -> Array {
    match node.op_type.as_str() {
        "Identity" | "Cast" => x[0].clone(),
        "Relu" => map(x[0], |v| v.max(0.0)),
        "Sqrt" => map(x[0], f64::sqrt),
        "Floor" => map(x[0], f64::floor),
        "Clip" => map(x[0], |v| v.clamp(x[1].data[0], x[2].data[0])),
        "Add" => zip(x, |a, b| a + b),
        "Sub" => zip(x, |a, b| a - b),
        "Mul" => zip(x, |a, b| a * b),
        "Div" => zip(x, |a, b| a / b),
        "Max" => zip(x, f64::max),
        "Min" => zip(x, f64::min),
        "Less" => zip(x, |a, b| f64::from(u8::from(a < b))),
        "Equal" => zip(x, |a, b| f64::from(u8::from(a == b))),
        "And" => zip(x, |a, b| a * b),
        "Where" => {
            let shape = broadcast(&broadcast(&x[0].shape, &x[1].shape), &x[2].shape);
            let [c, a, b] = [x[0], x[1], x[2]].map(|array| expand(array, &shape));
            let mut data = Vec::new();
            for i in 0..c.len() {
                data.push(if c[i] != 0.0 { a[i] } else { b[i] });
            }
            Array::new(&shape, data)
        }
        "Unsqueeze" => {
            let mut shape = x[0].shape.clone();
            shape.insert(x[1].data[0] as usize, 1);
            Array::new(&shape, x[0].data.clone())
        }
        "Squeeze" => {
            let mut shape = x[0].shape.clone();
            assert_eq!(shape.remove(x[1].data[0] as usize), 1, "{}", node.name);
            Array::new(&shape, x[0].data.clone())
        }
        "Flatten" => Array::new(
            &[x[0].shape[0], x[0].data.len() / x[0].shape[0]],
            x[0].data.clone(),
        ),
        "Transpose" => transpose(x[0], ints(node, "perm")),
        "Concat" => concat(x, x[0].axis(int(node, "axis"))),
        "Slice" => slice_rows(x[0], x[1].data[0] as usize, x[2].data[0] as usize),
        "Gather" => gather(x[0], x[1]),
        "GatherND" => row_of_each(x[0], x[1]),
        "ScatterElements" => scatter_add(x[0], x[1], x[2]),
        "ReduceSum" => {
            let axis = x[0].axis(x[1].data[0] as i64);
            reduce(x[0], axis, int(node, "keepdims") == 1, 0.0, |a, b| a + b)
        }
        "ReduceMax" => {
            let axis = x[0].axis(ints(node, "axes")[0]);
            reduce(
                x[0],
                axis,
                int(node, "keepdims") == 1,
                f64::NEG_INFINITY,
                f64::max,
            )
        }
        "Softmax" => rows(x[0], softmax),
        "LayerNormalization" => {
            let eps = f64::from(attribute(node, "epsilon").unwrap().f);
            rows(x[0], |row| layer_norm(row, x[1], x[2], eps))
        }
        "MatMul" => matmul(x[0], x[1]),
        "Gemm" => {
            let product = matmul(x[0], &transpose(x[1], &[1, 0]));
            zip(&[&product, x[2]], |a, b| a + b)
        }
        "Conv" if x[0].shape.len() == 3 => conv_1d(node, x),
        "Conv" => conv_2d(x),
        "GRU" => gru(x),
        other => panic!("operator {other}"),
    }
}

fn map(x: &Array, f: impl Fn(f64) -> f64) -> Array {
    Array::new(&x.shape, x.data.iter().map(|&v| f(v)).collect())
}

fn broadcast(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let mut shape = vec![1; rank];
    for given in [a, b] {
        for (i, &n) in given.iter().rev().enumerate() {
            let place = &mut shape[rank - 1 - i];
            assert!(*place == 1 || n == 1 || *place == n, "{a:?} and {b:?}");
            *place = (*place).max(n);
        }
    }
    shape
}

/// The elements of an array that is broadcast to a shape.
fn expand(x: &Array, shape: &[usize]) -> Vec<f64> {
    let lead = shape.len() - x.shape.len();
    let mut data = Vec::new();
    for flat in 0..shape.iter().product() {
        let (mut rest, mut place, mut stride) = (flat, 0, 1);
        for axis in (0..shape.len()).rev() {
            let at = rest % shape[axis];
            rest /= shape[axis];
            if axis >= lead {
                let length = x.shape[axis - lead];
                place += at.min(length - 1) * stride;
                stride *= length;
            }
        }
        data.push(x.data[place]);
    }
    data
}

fn zip(x: &[&Array], f: impl Fn(f64, f64) -> f64) -> Array {
    let shape = broadcast(&x[0].shape, &x[1].shape);
    let (a, b) = (expand(x[0], &shape), expand(x[1], &shape));
    let mut data = Vec::new();
    for (a, b) in a.into_iter().zip(b) {
        data.push(f(a, b));
    }
    Array::new(&shape, data)
}

fn rows(x: &Array, f: impl Fn(&[f64]) -> Vec<f64>) -> Array {
    let mut data = Vec::new();
    for row in x.data.chunks(x.last()) {
        data.extend(f(row));
    }
    Array::new(&x.shape, data)
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut e: Vec<f64> = row.iter().map(|v| (v - max).exp()).collect();
    let sum: f64 = e.iter().sum();
    for value in &mut e {
        *value /= sum;
    }
    e
}

fn layer_norm(row: &[f64], weight: &Array, bias: &Array, eps: f64) -> Vec<f64> {
    let n = row.len() as f64;
    let mean = row.iter().sum::<f64>() / n;
    let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    let mut normed = Vec::new();
    for (i, v) in row.iter().enumerate() {
        normed.push((v - mean) / (variance + eps).sqrt() * weight.data[i] + bias.data[i]);
    }
    normed
}

fn transpose(x: &Array, order: &[i64]) -> Array {
    let rank = x.shape.len();
    let mut strides = vec![1; rank];
    for axis in (0..rank - 1).rev() {
        strides[axis] = strides[axis + 1] * x.shape[axis + 1];
    }
    let mut shape = Vec::new();
    for &axis in order {
        shape.push(x.shape[axis as usize]);
    }
    let mut data = Vec::new();
    for flat in 0..x.data.len() {
        let (mut rest, mut place) = (flat, 0);
        for axis in (0..rank).rev() {
            place += (rest % shape[axis]) * strides[order[axis] as usize];
            rest /= shape[axis];
        }
        data.push(x.data[place]);
    }
    Array::new(&shape, data)
}

fn concat(x: &[&Array], axis: usize) -> Array {
    let mut shape = x[0].shape.clone();
    shape[axis] = x.iter().map(|x| x.shape[axis]).sum();
    let mut data = Vec::new();
    for outer in 0..x[0].around(axis)[0] {
        for x in x {
            let [_, length, inner] = x.around(axis);
            data.extend(&x.data[outer * length * inner..][..length * inner]);
        }
    }
    Array::new(&shape, data)
}

fn slice_rows(x: &Array, first: usize, end: usize) -> Array {
    let [_, _, inner] = x.around(0);
    let mut shape = x.shape.clone();
    shape[0] = end - first;
    Array::new(&shape, x.data[first * inner..end * inner].to_vec())
}

fn gather(table: &Array, at: &Array) -> Array {
    let [_, _, inner] = table.around(0);
    let mut data = Vec::new();
    for &row in &at.data {
        data.extend(&table.data[row as usize * inner..][..inner]);
    }
    Array::new(&[&at.shape[..], &table.shape[1..]].concat(), data)
}

fn row_of_each(x: &Array, at: &Array) -> Array {
    let (length, width) = (x.shape[1], x.shape[2]);
    let mut data = Vec::new();
    for (b, &row) in at.data.iter().enumerate() {
        data.extend(&x.data[(b * length + row as usize) * width..][..width]);
    }
    Array::new(&[x.shape[0], width], data)
}

fn scatter_add(x: &Array, places: &Array, values: &Array) -> Array {
    let mut sum = x.clone();
    let values = expand(values, &places.shape);
    for (i, (&place, value)) in places.data.iter().zip(values).enumerate() {
        let row = i / places.shape[1];
        sum.data[row * x.shape[1] + place as usize] += value;
    }
    sum
}

fn reduce(x: &Array, axis: usize, keep: bool, start: f64, f: impl Fn(f64, f64) -> f64) -> Array {
    let [outer, length, inner] = x.around(axis);
    let mut data = Vec::new();
    for o in 0..outer {
        for i in 0..inner {
            let mut sum = start;
            for l in 0..length {
                sum = f(sum, x.data[(o * length + l) * inner + i]);
            }
            data.push(sum);
        }
    }
    let mut shape = x.shape.clone();
    shape[axis] = 1;
    if !keep {
        shape.remove(axis);
    }
    Array::new(&shape, data)
}

/// Product of matrices; the second one may be shared by all of the first.
fn matmul(a: &Array, b: &Array) -> Array {
    let (m, n) = (a.last(), b.last());
    let p = a.shape[a.shape.len() - 2];
    let mut data = Vec::new();
    for (batch, a) in a.data.chunks(p * m).enumerate() {
        let b = match b.shape.len() {
            2 => &b.data[..],
            _ => &b.data[batch * m * n..][..m * n],
        };
        for row in a.chunks(m) {
            for column in 0..n {
                let mut sum = 0.0;
                for (k, value) in row.iter().enumerate() {
                    sum += value * b[k * n + column];
                }
                data.push(sum);
            }
        }
    }
    let mut shape = a.shape.clone();
    *shape.last_mut().unwrap() = n;
    Array::new(&shape, data)
}

/// `[B, d, L]` by `[d out, d, taps]` with padding on the left alone.
fn conv_1d(node: &NodeProto, x: &[&Array]) -> Array {
    let (dilation, pads) = (ints(node, "dilations")[0] as usize, ints(node, "pads"));
    assert_eq!(pads[1], 0, "{}", node.name);
    let (batch, width, length) = (x[0].shape[0], x[0].shape[1], x[0].shape[2]);
    let (out, taps) = (x[1].shape[0], x[1].shape[2]);
    let mut data = Vec::new();
    for b in 0..batch {
        for o in 0..out {
            for t in 0..length {
                let mut sum = x[2].data[o];
                for i in 0..width {
                    for tap in 0..taps {
                        let Some(at) = (t + tap * dilation).checked_sub(pads[0] as usize) else {
                            continue;
                        };
                        let weight = x[1].data[(o * width + i) * taps + tap];
                        sum += weight * x[0].data[(b * width + i) * length + at];
                    }
                }
                data.push(sum);
            }
        }
    }
    Array::new(&[batch, out, length], data)
}

/// `[B, 1, L, d]` by `[filters, 1, h, w]` without padding.
fn conv_2d(x: &[&Array]) -> Array {
    let (batch, rows, columns) = (x[0].shape[0], x[0].shape[2], x[0].shape[3]);
    let (filters, h, w) = (x[1].shape[0], x[1].shape[2], x[1].shape[3]);
    let (down, across) = (rows - h + 1, columns - w + 1);
    let mut data = Vec::new();
    for b in 0..batch {
        for f in 0..filters {
            for place in 0..down * across {
                let (r, c) = (place / across, place % across);
                let mut sum = x[2].data[f];
                for tap in 0..h * w {
                    let (i, j) = (tap / w, tap % w);
                    let value = x[0].data[(b * rows + r + i) * columns + c + j];
                    sum += x[1].data[f * h * w + tap] * value;
                }
                data.push(sum);
            }
        }
    }
    Array::new(&[batch, filters, down, across], data)
}

/// The last states `[1, B, h]` of the operator without `linear_before_reset`, as its specification
/// has it.
fn gru(x: &[&Array]) -> Array {
    let (xs, w, r, bias, lengths) = (x[0], x[1], x[2], x[3], x[4]);
    let (batch, width, hidden) = (xs.shape[1], xs.shape[2], r.shape[2]);
    let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
    let dot = |table: &[f64], row: usize, v: &[f64]| -> f64 {
        table[row * v.len()..][..v.len()]
            .iter()
            .zip(v)
            .map(|(a, b)| a * b)
            .sum()
    };
    let mut data = Vec::new();
    for b in 0..batch {
        let mut state = vec![0.0; hidden];
        for t in 0..lengths.data[b] as usize {
            let input = &xs.data[(t * batch + b) * width..][..width];
            let from_input = |row: usize| {
                dot(&w.data, row, input) + bias.data[row] + bias.data[3 * hidden + row]
            };
            let gate = |row: usize| sigmoid(from_input(row) + dot(&r.data, row, &state));
            let mut reset = Vec::new();
            for (i, value) in state.iter().enumerate() {
                reset.push(gate(hidden + i) * value);
            }
            let mut next = Vec::new();
            for (i, old) in state.iter().enumerate() {
                let candidate =
                    (from_input(2 * hidden + i) + dot(&r.data, 2 * hidden + i, &reset)).tanh();
                let update = gate(i);
                next.push((1.0 - update) * candidate + update * old);
            }
            state = next;
        }
        data.extend(state);
    }
    Array::new(&[1, batch, hidden], data)
}
