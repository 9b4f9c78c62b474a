//! The operations on a GPU in `f32` against those of the CPU in `f64`: results and gradients. Needs a GPU, or the stand-in that
//! `cargo xtask stand-in` makes of a CPU.

use candle_core::{DType, Device, Result, Tensor, Var};
use prl_kernels::attention::{Pattern, attention};
use prl_kernels::filters::filters;
use prl_kernels::gru::gru;
use prl_kernels::head::gpu::Layer;
use prl_kernels::linear::linear;
use prl_kernels::norm::layer_norm;
use prl_kernels::pick::{Share, add_shares, put, scale, take};
use prl_kernels::rank::NotFinite;
use prl_kernels::residual::residual;
use prl_kernels::spans::Spans;

/// Numbers of either sign.
fn values(shape: &[usize], seed: usize) -> Tensor {
    let n: usize = shape.iter().product();
    let numbers = (0..n).map(|i| (1.3 * i as f64 + 7.1 * seed as f64).sin() * (1.0 + (0.01 * i as f64).cos()));
    Tensor::from_vec(numbers.collect(), shape, &Device::Cpu).unwrap()
}

/// What an operation puts out on a device, and the gradients of a weighted sum of it by each argument.
fn run(args: &[Tensor], dtype: DType, device: &Device, op: &dyn Fn(&[&Tensor]) -> Result<Tensor>) -> Vec<Vec<f64>> {
    let var = |arg: &Tensor| Var::from_tensor(&arg.to_dtype(dtype).unwrap().to_device(device).unwrap()).unwrap();
    let vars: Vec<Var> = args.iter().map(var).collect();
    let y = op(&vars.iter().map(Var::as_tensor).collect::<Vec<_>>()).unwrap();
    let weights = values(y.dims(), 9).to_dtype(dtype).unwrap().to_device(device).unwrap();
    let grads = (&y * weights).unwrap().sum_all().unwrap().backward().unwrap();
    let numbers = |tensor: &Tensor| {
        let flat = tensor.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap().flatten_all().unwrap();
        flat.to_vec1::<f64>().unwrap()
    };
    std::iter::once(numbers(&y)).chain(vars.iter().map(|var| numbers(grads.get(var).unwrap()))).collect()
}

/// That an operation is the same on both, and that its arguments need not begin where their memory does.
fn same(name: &str, args: &[Tensor], op: impl Fn(&[&Tensor]) -> Result<Tensor>) {
    let gpu = prl_kernels::gpu::device(0).expect("a GPU, or `cargo xtask stand-in`");
    let cpu = run(args, DType::F64, &Device::Cpu, &op);
    let shifted = |args: &[&Tensor]| {
        let behind = |arg: &Tensor| Tensor::cat(&[&arg.narrow(0, 0, 1)?, arg], 0)?.narrow(0, 1, arg.dim(0)?);
        let args = args.iter().map(|arg| behind(arg)).collect::<Result<Vec<_>>>()?;
        op(&args.iter().collect::<Vec<_>>())
    };
    for gpu in [run(args, DType::F32, &gpu, &op), run(args, DType::F32, &gpu, &shifted)] {
        for (which, (a, b)) in cpu.iter().zip(&gpu).enumerate() {
            assert_eq!(a.len(), b.len());
            let size = a.iter().fold(0.0_f64, |size, x| size.max(x.abs()));
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                assert!((a - b).abs() <= 1e-4 * size.max(1.0), "{name}: array {which}, element {i}: {a} and {b}");
            }
        }
    }
}

#[test]
fn linear_and_norm() {
    for (rows, inputs, outputs) in [(1, 1, 1), (7, 5, 33), (130, 40, 3), (3, 300, 70)] {
        let args = [values(&[rows, inputs], 1), values(&[inputs, outputs], 2), values(&[outputs], 3)];
        for relu in [false, true] {
            same("linear", &args, |a| linear(a[0], a[1], a[2], relu));
        }
        if inputs > 1 {
            let args = [values(&[rows, inputs], 1), values(&[inputs], 2), values(&[inputs], 3)];
            same("norm", &args, |a| layer_norm(a[0], a[1], a[2], 1e-3));
        }
    }
}

#[test]
fn rows_taken_put_and_added() {
    for width in [1, 7, 64, 100] {
        let x = [values(&[5, width], 1)];
        same("take", &x, |a| take(a[0], &[3, 0, 4]));
        same("put", &x, |a| put(a[0], &[6, 0, 4, 1, 2], 9));
        same("scale", &x, |a| scale(a[0], (0..5 * width).map(|i| (i % 3) as f32 * 0.7).collect()));
        // More shares of one row than a block has threads for, some rows with none, and some twice.
        let shares: Vec<Share> =
            (0..400).map(|i| Share { to: (i * 7 % 5) as u32, of: (i % 3) as u32, weight: (i as f64).cos() }).collect();
        let args = [values(&[6, width], 1), values(&[4, width], 2)];
        same("add shares", &args, |a| add_shares(a[0], a[1], &shares));
        same("no shares", &args, |a| add_shares(a[0], a[1], &[]));
    }
}

#[test]
fn attention_of_windows() {
    for width in [1, 16, 65] {
        let keys = Spans::new((0..12).map(|b| 1 + b * 5 % 11));
        let one = Pattern { queries: Spans::new([1; 12]), keys: keys.clone(), causal: false };
        for pattern in [one, Pattern { queries: keys.clone(), keys, causal: true }] {
            let args = [
                values(&[pattern.queries.rows(), width], 1),
                values(&[pattern.keys.rows(), width], 2),
                values(&[pattern.keys.rows(), width], 3),
            ];
            let factors: Vec<f32> = (0..pattern.weights()).map(|i| (i % 4) as f32 * 0.5).collect();
            for factors in [None, Some(factors.as_slice())] {
                same("attention", &args, |a| attention(a[0], a[1], a[2], &pattern, factors));
            }
        }
    }
}

#[test]
fn encoders_of_windows() {
    for width in [1, 16, 63, 64, 65, 127, 128, 260] {
        let lengths: Vec<u32> = (0..9).map(|b| 1 + b * 3 % 5).collect();
        let x = values(&[9, 5, width], 1);
        let scaled = |shape: &[usize], seed| (values(shape, seed) * (0.5 / (width as f64).sqrt())).unwrap();
        let kernel = scaled(&[2 * width + 1, 3 * width], 2);
        same("gru", &[x.clone(), kernel], |a| gru(a[0], a[1], &lengths));

        let args = [x.clone(), scaled(&[5 * width + 2, 6], 2), values(&[6], 3)];
        same("filters", &args, |a| filters(a[0], a[1], a[2], &lengths, &[2, 3]));

        // As many filters as a model has, sizes that nothing divides, a window without an item.
        let args = [values(&[5, 11, width], 1), scaled(&[8 * width + 3, 17], 2), values(&[12], 3)];
        same("more filters", &args, |a| filters(a[0], a[1], a[2], &[11, 6, 0, 1, 10], &[1, 4, 3]));

        // More positions than a block holds scores of at a time.
        let long = [values(&[3, 70, width], 1), scaled(&[5 * width + 2, 6], 2), values(&[71], 3)];
        same("long filters", &long, |a| filters(a[0], a[1], a[2], &[70, 33, 2], &[2, 3]));

        if width > 1 {
            let spans = Spans::new(lengths.iter().map(|&n| n as usize));
            let args = [values(&[spans.rows(), width], 1), scaled(&[2 * (3 * width + 3), width], 2)];
            same("residual", &args, |a| residual(a[0], a[1], &spans, 1, 1e-2));
        }
    }
}

#[test]
fn encoders_of_more_windows_than_a_block_takes_at_once() {
    let (windows, width) = (150, 6);
    let lengths: Vec<u32> = (0..windows as u32).map(|b| 1 + b * 3 % 4).collect();
    let x = values(&[windows, 4, width], 1);
    same("gru", &[x.clone(), values(&[2 * width + 1, 3 * width], 2)], |a| gru(a[0], a[1], &lengths));
    let args = [x, values(&[5 * width + 2, 3], 2), values(&[5], 3)];
    same("filters", &args, |a| filters(a[0], a[1], a[2], &lengths, &[3, 2]));
}

#[test]
fn ranks_and_the_best_of_scores() {
    let gpu = prl_kernels::gpu::device(0).expect("a GPU, or `cargo xtask stand-in`");
    let on_gpu = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &gpu).unwrap();
    // Scores that differ, that are few, that are all one, whose signs of zero differ, and whose best lie a block's threads apart.
    let kinds: [fn(usize) -> f32; 5] = [
        |i| (1.7 * i as f32).sin() - 0.5,
        |i| -((i * 7 % 13) as f32),
        |_| -2.0,
        |i| if i % 2 == 0 { -0.0 } else { 0.0 },
        |i| if i % 1024 == 3 { 9.0 } else { (i % 5) as f32 },
    ];
    for items in [1, 5, 33, 1023, 1024, 1025, 5000] {
        for kind in kinds {
            let scores: Vec<f32> = (0..items).map(kind).collect();
            let (weight, bias) = (on_gpu(&vec![0.0; items], &[items, 1]), on_gpu(&scores, &[items]));
            let (layer, hidden) = (Layer { weight: &weight, bias: &bias }, on_gpu(&[1.0, 2.0, 3.0], &[3, 1]));
            let mut best: Vec<u32> = (0..items as u32).collect();
            best.sort_by(|&a, &b| scores[b as usize].partial_cmp(&scores[a as usize]).unwrap());
            let targets = [0, items as u32 / 2, items as u32 - 1];
            let rank = |target: &u32| scores.iter().filter(|&&s| s >= scores[*target as usize]).count() as u32;
            let ranks: Vec<u32> = targets.iter().map(rank).collect();
            for k in [0, 1, 20, 32, 33] {
                let expected: Vec<_> = best.iter().take(k).map(|&i| (i, scores[i as usize])).collect();
                for given in [None, Some(targets.as_slice())] {
                    let found = prl_kernels::rank::gpu::rank(layer, &hidden, given, k).unwrap().unwrap();
                    assert_eq!(found.ranks, given.map_or(Vec::new(), |_| ranks.clone()));
                    assert_eq!(found.top, vec![expected.clone(); 3], "{items} items, the best {k}");
                }
            }
            let at = items / 3;
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let bias = on_gpu(&[&scores[..at], &[bad], &scores[at + 1..]].concat(), &[items]);
                let found = prl_kernels::rank::gpu::rank(Layer { bias: &bias, ..layer }, &hidden, None, 20).unwrap();
                assert_eq!(found, Err(NotFinite { row: 0 }));
            }
        }
    }
}
