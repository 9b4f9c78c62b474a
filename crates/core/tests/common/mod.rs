//! What the golden tests share: values by the scripts' formula, and how close is close.

use candle_core::{Device, Tensor};

/// x[i] = offset + scale * sin(0.7 i + phase), row-major.
pub fn fill(shape: &[usize], phase: f64, scale: f64, offset: f64) -> Tensor {
    let n = shape.iter().product::<usize>();
    let values: Vec<f64> = (0..n)
        .map(|i| offset + scale * (0.7 * i as f64 + phase).sin())
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Holds ours against the script's numbers.
pub fn assert_close(what: &str, ours: &Tensor, theirs: &[f64]) {
    let ours = ours.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() < 1e-6, "{what}[{i}]: {a}, PyTorch has {b}");
    }
}
