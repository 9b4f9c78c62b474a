//! The output layer's products in TF32 and bfloat16, compared with fp32 and with the CPU.

use std::path::Path;

use prl_encoders::EncoderKind;
use prl_model::HeadDtype;
use prl_runs::{Config, Device, Method};

use crate::{config, finish, gpu, moments, norm};

/// Largest distance of the first moments of a tensor, here a tenth of its first gradient, relative
/// to its norm; small tensors count as larger ones.
fn distance([a, b]: [(&Config, &Device); 2], dir: &Path, name: &str) -> f64 {
    let [a, b] = [(a, "a"), (b, "b")].map(|((config, device), which)| {
        let out = dir.join(format!("{name} {which}"));
        finish(config, &out, device);
        moments(&out)
    });
    let largest = a
        .values()
        .map(|x| norm(x.iter().copied()))
        .fold(0.0, f64::max);
    let mut distance = 0.0_f64;
    for (tensor, x) in &a {
        let size = norm(x.iter().copied()).max(1e-3 * largest);
        let apart = norm(x.iter().zip(&b[tensor]).map(|(x, y)| x - y));
        distance = distance.max(apart / size);
    }
    distance
}

#[test]
fn rounded_products_train_as_fp32_within_their_precision() {
    let dir = tempfile::tempdir().unwrap();
    let exact = Config {
        max_steps: Some(1),
        eval_every: 1,
        ..config(dir.path())
    };
    for method in [Method::Normal, Method::Prl, Method::Sqn, Method::Sac] {
        for encoder in [EncoderKind::ALL[0], EncoderKind::ALL[1]] {
            let mut exact = exact.clone();
            (exact.method, exact.model.encoder) = (method, encoder);
            for (dtype, limit) in [(HeadDtype::Tf32, 0.01), (HeadDtype::Bf16, 0.05)] {
                let rounded = Config {
                    head_dtype: dtype,
                    ..exact.clone()
                };
                let name = format!("{encoder:?} {} {dtype:?}", method.name());
                let both = [(&exact, &gpu()), (&rounded, &gpu())];
                let apart = distance(both, dir.path(), &name);
                assert!(apart > 1e-6 && apart < limit, "{name}: {apart}");
            }
            if !method.is_double() {
                let rounded = Config {
                    bf16_head: true,
                    ..exact
                };
                let name = format!("{encoder:?} {} on both", method.name());
                let both = [(&rounded, &Device::Cpu), (&rounded, &gpu())];
                let apart = distance(both, dir.path(), &name);
                assert!(apart < 0.05, "{name}: {apart}");
            }
        }
    }
}
