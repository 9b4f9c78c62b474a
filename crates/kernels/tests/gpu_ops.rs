//! The operations on a GPU in `f32` against those of the CPU in `f64`: results and gradients. Needs a GPU, or the stand-in that
//! `cargo xtask stand-in` makes of a CPU.

use candle_core::{DType, Device, Result, Tensor, Var};
use prl_kernels::adam::Adam;
use prl_kernels::attention::{Pattern, attention};
use prl_kernels::blend::{Part, Share, Shares, blend};
use prl_kernels::filters::filters;
use prl_kernels::gpu::Watch;
use prl_kernels::gru::gru;
use prl_kernels::head::gpu::Layer;
use prl_kernels::linear::linear;
use prl_kernels::mask::{Mask, dropout};
use prl_kernels::norm::layer_norm;
use prl_kernels::pick::{add, put, take};
use prl_kernels::rank::NotFinite;
use prl_kernels::residual::{Convolution, residual};
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
    let odd = [(1, 1, 1), (7, 5, 33), (130, 40, 3), (3, 300, 70), (2600, 3, 9), (70, 2, 4100)];
    // A block of threads makes 16 rows of 64 columns, or sums of 32 rows at least.
    let tiles =
        [(15, 63, 64), (16, 64, 65), (17, 65, 60), (32, 64, 128), (33, 132, 64), (256, 112, 112), (2560, 64, 64)];
    let widest = [(20, 512, 12), (20, 12, 512), (20, 513, 3)];
    for (rows, inputs, outputs) in [odd.as_slice(), &tiles, &widest].concat() {
        let args = [values(&[rows, inputs], 1), values(&[inputs, outputs], 2), values(&[outputs], 3)];
        for relu in [false, true] {
            same("linear", &args, |a| linear(a[0], a[1], a[2], relu));
        }
        // Rows that begin where no four numbers are read at once.
        let [_, weight, bias] = args;
        let args = [values(&[1 + rows * inputs], 1), weight, bias];
        let behind = |x: &Tensor| x.narrow(0, 1, rows * inputs)?.reshape((rows, inputs));
        same("linear of a part", &args, |a| linear(&behind(a[0])?, a[1], a[2], true));
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
        same("add", &[x[0].clone(), values(&[5, width], 2)], |a| add(a[0], a[1]));
    }
}

#[test]
fn blends_of_two_and_three_tables() {
    fn own(table: &Tensor) -> Part<'_> {
        Part { table, shares: Shares::Own }
    }
    /// So many rows that have some of a table's first `of`, and some that have nothing.
    fn part(table: &Tensor, n: usize, of: usize) -> Part<'_> {
        let share = |i: usize| Share { of: (i * 7 % of) as u32, weight: (i as f64).cos() };
        Part { table, shares: Shares::These((0..n).map(|i| (i % 5 > 0).then(|| share(i))).collect()) }
    }
    // More rows that have one row of a table than a block shares out at once; tables with rows that nothing has.
    for (n, width) in [(1, 1), (5, 7), (700, 64), (90, 100)] {
        let tables = [values(&[n, width], 1), values(&[4, width], 2), values(&[width], 3)];
        let mask = Mask::new(prl_seed::stream(1, "mask", 0), n * width, 0.4);
        for mask in [None, Some(mask.clone()), Some(mask.after(37))] {
            same("two", &tables[..2], |a| blend(vec![own(a[0]), part(a[1], n, 3)], mask.clone()));
            same("three", &tables, |a| blend(vec![part(a[0], n, n), part(a[1], n, 3), part(a[2], n, 1)], mask.clone()));
        }
    }
}

#[test]
fn rows_are_added_by_their_ids() {
    let gpu = prl_kernels::gpu::device(0).expect("a GPU, or `cargo xtask stand-in`");
    // More rows of one id than a block has threads for; more ids than are grouped on the GPU.
    for (n, width) in [(1, 3), (400, 64), (17_000, 1)] {
        let ids: Vec<u32> = (0..n).map(|i| i * 7 % 5).collect();
        let weights: Vec<f32> = (0..n).map(|i| (i as f32).cos()).collect();
        let x = values(&[n as usize, width], 1);
        let rows = x.to_vec2::<f64>().unwrap();
        let on_gpu = x.to_dtype(DType::F32).unwrap().to_device(&gpu).unwrap();
        for weights in [None, Some(&weights[..])] {
            let mut sums = vec![0.0; 6 * width];
            for ((i, &id), row) in ids.iter().enumerate().zip(&rows) {
                let weight = weights.map_or(1.0, |weights| f64::from(weights[i]));
                sums[id as usize * width..][..width].iter_mut().zip(row).for_each(|(sum, x)| *sum += weight * x);
            }
            let found = flat(&prl_kernels::rows::gpu::add_by_row(6, &ids, weights, &on_gpu).unwrap());
            for (a, b) in sums.iter().zip(found) {
                assert!((a - b).abs() < 1e-3, "{n} rows of {width}: {a} and {b}");
            }
        }
    }
}

#[test]
fn masks_are_the_same() {
    // A block of the generator is 32 elements, and a block of threads 2,048.
    for (n, before) in [(1, 0), (100, 31), (2048, 0), (5000, 2100)] {
        let mask = Mask::new(prl_seed::stream(1, "mask", n as u64), n, 0.4).after(before);
        same("dropout", &[values(&[n], 1)], |a| dropout(a[0], mask.clone()));
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
            let mask = Mask::new(prl_seed::stream(1, "mask", 0), pattern.weights(), 0.4);
            for mask in [None, Some(&mask)] {
                same("attention", &args, |a| attention(a[0], a[1], a[2], &pattern, mask));
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
    }
}

#[test]
fn residual_blocks_of_windows() {
    // Rows that fill a block of threads to the last, and more parts than one; widths of a block, of less and of more.
    let all = (1, usize::MAX);
    let every_row = [all, all];
    let cases = [
        (1, 2, 1, every_row),
        (9, 7, 1, every_row),
        (40, 16, 2, every_row),
        (64, 64, 2, every_row),
        (25, 65, 1, every_row),
        (26, 132, 3, every_row),
        (64, 64, 1, [(2, 9), all]),
        (64, 64, 1, [(2, 9), (1, 1)]),
        (30, 12, 1, [(1, 5), (3, 9)]),
        (25, 65, 1, [(9, 9), (2, 9)]),
        (26, 132, 1, [(3, 2), (2, 1)]),
    ];
    for (windows, width, dilation, [one, two]) in cases {
        let spans = Spans::new((0..windows).map(|b| 1 + b * 3 % 8));
        let [one, two] = [one, two].map(|(every, most)| Convolution { dilation, every, most });
        let convolutions = [one, Convolution { dilation: 2 * dilation, ..two }];
        let (rows, kernel) = (spans.rows(), values(&[2 * (3 * width + 3), width], 2));
        let kernel = (kernel * (0.5 / (width as f64).sqrt())).unwrap();
        let block = |x: &Tensor, kernel: &Tensor| Ok(residual(x, kernel, &spans, convolutions, 1e-2)?.0);
        let args = [values(&[rows, width], 1), kernel.clone()];
        same("residual", &args, |a| block(a[0], a[1]));

        // Rows that begin where no four numbers are read at once.
        let args = [values(&[1 + rows * width], 1), kernel];
        let behind = |x: &Tensor| x.narrow(0, 1, rows * width)?.reshape((rows, width));
        same("residual of a part", &args, |a| block(&behind(a[0])?, a[1]));
    }
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The output layer's losses, the gradient of the hidden vectors, and parameters and moments after Adam's step: on the GPU,
/// and as sums over everything say.
#[test]
fn the_step_of_the_output_layer() {
    let sizes = [
        (1, 1, 1),
        (5, 33, 2400),
        (33, 64, 97),
        (64, 7, 1030),
        (65, 65, 131),
        (256, 64, 290),
        (300, 130, 227),
        (257, 70, 501),
    ];
    for (batch, width, items) in sizes {
        let name = format!("{batch} rows, {width} wide, {items} items");
        let square = |t: Tensor| (t.sqr().unwrap() + 0.1).unwrap();
        let (weight, bias) = ([items, width], [items]);
        let [w, w_first, b, b_first] =
            [(&weight[..], 1), (&weight, 2), (&bias, 3), (&bias, 4)].map(|(shape, seed)| values(shape, seed));
        let (w_second, b_second) = (square(values(&weight, 5)), square(values(&bias, 6)));
        let hidden = (values(&[batch, width], 7) / (width as f64)).unwrap();
        let targets: Vec<u32> = (0..batch).map(|i| (i * 37 % items) as u32).collect();
        let scales: Vec<f64> = (0..batch).map(|i| (i % 4) as f64 * 0.3).collect();

        let gpu = prl_kernels::gpu::device(0).expect("a GPU, or `cargo xtask stand-in`");
        // Nothing begins where its memory does.
        let there = |t: &Tensor| {
            let t = t.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
            Tensor::cat(&[&t.narrow(0, 0, 1).unwrap(), &t], 0).unwrap().to_device(&gpu).unwrap()
        };
        let all = [&w, &w_first, &w_second, &b, &b_first, &b_second].map(there);
        let part =
            |i: usize, like: &Tensor| all[i].narrow(0, 1, like.elem_count()).unwrap().reshape(like.shape()).unwrap();
        let [gpu_w, gpu_w_first, gpu_w_second] = [0, 1, 2].map(|i| part(i, &w));
        let [gpu_b, gpu_b_first, gpu_b_second] = [3, 4, 5].map(|i| part(i, &b));
        let gpu_hidden = there(&hidden).narrow(0, 1, batch * width).unwrap().reshape((batch, width)).unwrap();
        let layer = Layer { weight: &gpu_w, bias: &gpu_b };
        let watch = Watch::new(&gpu, batch).unwrap();
        let losses = layer.losses(&gpu_hidden, &targets, &scales, &watch).unwrap();
        let (weight, bias) = ([&gpu_w_first, &gpu_w_second], [&gpu_b_first, &gpu_b_second]);
        let gradient = layer.step(Adam::new(0.1).step(3), weight, bias, &gpu_hidden, losses, &watch).unwrap();
        let (loss, is_finite) = watch.read().unwrap();
        assert!(is_finite, "{name}");

        let scores = hidden.matmul(&w.t().unwrap()).unwrap().broadcast_add(&b).unwrap().to_vec2::<f64>().unwrap();
        let mut expected = 0.0;
        let mut by_score = Vec::new();
        for ((row, &target), &scale) in scores.iter().zip(&targets).zip(&scales) {
            let sum: f64 = row.iter().map(|score| score.exp()).sum();
            expected += scale * (sum.ln() - row[target as usize]);
            by_score.extend((0..).zip(row).map(|(i, s)| scale * (s.exp() / sum - f64::from(u8::from(i == target)))));
        }
        let by_score = Tensor::from_vec(by_score, (batch, items), &Device::Cpu).unwrap();
        let by_weight = by_score.t().unwrap().matmul(&hidden).unwrap();
        let moved = |param: &Tensor, first: &Tensor, second: &Tensor, grad: &Tensor| {
            let first = ((first * 0.9).unwrap() + (grad * 0.1).unwrap()).unwrap();
            let second = ((second * 0.999).unwrap() + (grad.sqr().unwrap() * 0.001).unwrap()).unwrap();
            let root = ((&second / (1.0 - 0.999_f64.powi(3))).unwrap().sqrt().unwrap() + 1e-8).unwrap();
            let rate = 0.1 / (1.0 - 0.9_f64.powi(3));
            [(param - (&first / root).unwrap().affine(rate, 0.0).unwrap()).unwrap(), first, second]
        };
        let [w, w_first, w_second] = moved(&w, &w_first, &w_second, &by_weight);
        let [b, b_first, b_second] = moved(&b, &b_first, &b_second, &by_score.sum(0).unwrap());
        assert!((loss - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{name}: {loss} and {expected}");
        let by_hidden = by_score.matmul(&values(&[items, width], 1)).unwrap();
        let pairs = [
            ("hidden", &by_hidden, &gradient),
            ("weight", &w, &gpu_w),
            ("weight's first", &w_first, &gpu_w_first),
            ("weight's second", &w_second, &gpu_w_second),
            ("bias", &b, &gpu_b),
            ("bias's first", &b_first, &gpu_b_first),
            ("bias's second", &b_second, &gpu_b_second),
        ];
        for (what, a, b) in pairs {
            for (i, (a, b)) in flat(a).iter().zip(flat(b)).enumerate() {
                assert!((a - b).abs() <= 2e-5 * a.abs().max(1.0), "{name}: {what}, element {i}: {a} and {b}");
            }
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

#[test]
fn a_score_that_is_no_number_stops_the_step_and_minus_infinity_is_no_item() {
    let gpu = prl_kernels::gpu::device(0).expect("a GPU, or `cargo xtask stand-in`");
    let on_gpu = |tensor: &Tensor| tensor.to_dtype(DType::F32).unwrap().to_device(&gpu).unwrap();
    // The second is wider than a block has room for.
    for width in [4, 200] {
        let (items, hidden) = (1050, on_gpu(&(values(&[3, width], 1) / width as f64).unwrap()));
        // The loss, and whether the step moved anything.
        let step = |other: &[(usize, f64)]| {
            let weight = on_gpu(&values(&[items, width], 2));
            let mut bias = vec![0.0; items];
            other.iter().for_each(|&(item, value)| bias[item] = value);
            let bias = on_gpu(&Tensor::from_vec(bias, items, &Device::Cpu).unwrap());
            let [weights, biases] = [&weight, &bias].map(|t| [t, t].map(|t| t.zeros_like().unwrap()));
            let (layer, watch) = (Layer { weight: &weight, bias: &bias }, Watch::new(&gpu, 3).unwrap());
            let losses = layer.losses(&hidden, &[0, 6, 1049], &[1.0; 3], &watch).unwrap();
            let by = Adam::new(0.1).step(1);
            layer.step(by, weights.each_ref(), biases.each_ref(), &hidden, losses, &watch).unwrap();
            let moved = weights.iter().chain(&biases).any(|moments| flat(moments).iter().any(|&m| m != 0.0));
            let (loss, is_finite) = watch.read().unwrap();
            assert_eq!((loss.is_finite(), moved), (is_finite, is_finite), "{width} wide");
            loss
        };
        let nothing: Vec<(usize, f64)> = (7..1049).map(|item| (item, f64::NEG_INFINITY)).collect();
        let little: Vec<(usize, f64)> = (7..1049).map(|item| (item, -1e30)).collect();
        assert!(step(&[]).is_finite() && step(&nothing) < step(&[]));
        assert_eq!(step(&nothing), step(&little));
        for bad in [f64::NAN, f64::INFINITY] {
            for item in [0, 3, 700, 1048, 1049] {
                assert!(!step(&[(item, bad)]).is_finite(), "{bad} at {item}, {width} wide");
            }
        }
    }
}
