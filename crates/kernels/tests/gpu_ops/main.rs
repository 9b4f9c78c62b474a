//! The operations on a GPU in `f32` against those of the CPU in `f64`: results and gradients. Needs
//! a GPU, or the CUDA emulator (`cargo xtask cuda-emulator`).

mod graphs;
mod output;
mod precision;
mod rows;

use candle_core::{DType, Device, Result, Tensor, Var};
use prl_kernels::ops::attention::{AttentionLayout, attention};
use prl_kernels::ops::caser_conv::caser_conv;
use prl_kernels::ops::dropout::DropoutMask;
use prl_kernels::ops::gru::gru;
use prl_kernels::ops::layer_norm::layer_norm;
use prl_kernels::ops::linear::linear;
use prl_kernels::ops::nextitnet_block::{CausalConv, nextitnet_block};
use prl_kernels::packed::SeqOffsets;

/// DeviceF32 of either sign.
fn values(shape: &[usize], seed: usize) -> Tensor {
    let n: usize = shape.iter().product();
    let numbers = (0..n)
        .map(|i| (1.3 * i as f64 + 7.1 * seed as f64).sin() * (1.0 + (0.01 * i as f64).cos()));
    Tensor::from_vec(numbers.collect(), shape, &Device::Cpu).unwrap()
}

/// Output of an operation on a device, and the gradients of a weighted sum of it by each
/// argument.
fn run(
    args: &[Tensor],
    dtype: DType,
    device: &Device,
    op: &dyn Fn(&[&Tensor]) -> Result<Tensor>,
) -> Vec<Vec<f64>> {
    let var = |arg: &Tensor| {
        Var::from_tensor(&arg.to_dtype(dtype).unwrap().to_device(device).unwrap()).unwrap()
    };
    let vars: Vec<Var> = args.iter().map(var).collect();
    let y = op(&vars.iter().map(Var::as_tensor).collect::<Vec<_>>()).unwrap();
    let weights = values(y.dims(), 9)
        .to_dtype(dtype)
        .unwrap()
        .to_device(device)
        .unwrap();
    let grads = (&y * weights)
        .unwrap()
        .sum_all()
        .unwrap()
        .backward()
        .unwrap();
    let numbers = |tensor: &Tensor| {
        let flat = tensor
            .to_device(&Device::Cpu)
            .unwrap()
            .to_dtype(DType::F64)
            .unwrap()
            .flatten_all()
            .unwrap();
        flat.to_vec1::<f64>().unwrap()
    };
    std::iter::once(numbers(&y))
        .chain(vars.iter().map(|var| numbers(grads.get(var).unwrap())))
        .collect()
}

/// That an operation is the same on both, and that its arguments need not begin where their memory
/// does.
fn same(name: &str, args: &[Tensor], op: impl Fn(&[&Tensor]) -> Result<Tensor>) {
    let gpu = prl_kernels::cuda::device(0).expect("a GPU, or `cargo xtask cuda-emulator`");
    let cpu = run(args, DType::F64, &Device::Cpu, &op);
    let shifted = |args: &[&Tensor]| {
        let behind =
            |arg: &Tensor| Tensor::cat(&[&arg.narrow(0, 0, 1)?, arg], 0)?.narrow(0, 1, arg.dim(0)?);
        let args = args
            .iter()
            .map(|arg| behind(arg))
            .collect::<Result<Vec<_>>>()?;
        op(&args.iter().collect::<Vec<_>>())
    };
    for gpu in [
        run(args, DType::F32, &gpu, &op),
        run(args, DType::F32, &gpu, &shifted),
    ] {
        for (which, (a, b)) in cpu.iter().zip(&gpu).enumerate() {
            assert_eq!(a.len(), b.len());
            let size = a.iter().fold(0.0_f64, |size, x| size.max(x.abs()));
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                assert!(
                    (a - b).abs() <= 1e-4 * size.max(1.0),
                    "{name}: array {which}, element {i}: {a} and {b}"
                );
            }
        }
    }
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor
        .to_device(&Device::Cpu)
        .unwrap()
        .to_dtype(DType::F64)
        .unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn linear_and_layer_norm_match_cpu() {
    let odd = [
        (1, 1, 1),
        (7, 5, 33),
        (130, 40, 3),
        (3, 300, 70),
        (2600, 3, 9),
        (70, 2, 4100),
    ];
    // A block of threads makes 16 rows of 64 columns, or sums of 32 rows at least.
    let tiles = [
        (15, 63, 64),
        (16, 64, 65),
        (17, 65, 60),
        (32, 64, 128),
        (33, 132, 64),
        (256, 112, 112),
        (2560, 64, 64),
    ];
    let widest = [(20, 512, 12), (20, 12, 512), (20, 513, 3)];
    for (rows, inputs, outputs) in [odd.as_slice(), &tiles, &widest].concat() {
        let args = [
            values(&[rows, inputs], 1),
            values(&[inputs, outputs], 2),
            values(&[outputs], 3),
        ];
        for relu in [false, true] {
            same("linear", &args, |a| linear(a[0], a[1], a[2], relu));
        }
        // Rows that begin where no four numbers are read at once.
        let [_, weight, bias] = args;
        let args = [values(&[1 + rows * inputs], 1), weight, bias];
        let behind = |x: &Tensor| x.narrow(0, 1, rows * inputs)?.reshape((rows, inputs));
        same("linear of a part", &args, |a| {
            linear(&behind(a[0])?, a[1], a[2], true)
        });
        if inputs > 1 {
            let args = [
                values(&[rows, inputs], 1),
                values(&[inputs], 2),
                values(&[inputs], 3),
            ];
            same("norm", &args, |a| layer_norm(a[0], a[1], a[2], 1e-3));
        }
    }
}

#[test]
fn attention_matches_cpu() {
    for width in [1, 16, 65] {
        let keys = SeqOffsets::new((0..12).map(|b| 1 + b * 5 % 11));
        let one = AttentionLayout {
            q_offsets: SeqOffsets::new([1; 12]),
            k_offsets: keys.clone(),
            causal: false,
        };
        for layout in [
            one,
            AttentionLayout {
                q_offsets: keys.clone(),
                k_offsets: keys,
                causal: true,
            },
        ] {
            let args = [
                values(&[layout.q_offsets.rows(), width], 1),
                values(&[layout.k_offsets.rows(), width], 2),
                values(&[layout.k_offsets.rows(), width], 3),
            ];
            let mask = DropoutMask::new(prl_seed::stream(1, "mask", 0), layout.num_scores(), 0.4);
            for mask in [None, Some(&mask)] {
                same("attention", &args, |a| {
                    attention(a[0], a[1], a[2], &layout, mask)
                });
            }
        }
    }
}

#[test]
fn gru_and_caser_conv_match_cpu() {
    for width in [1, 16, 63, 64, 65, 127, 128, 260] {
        let lengths: Vec<u32> = (0..9).map(|b| 1 + b * 3 % 5).collect();
        let x = values(&[9, 5, width], 1);
        let scaled =
            |shape: &[usize], seed| (values(shape, seed) * (0.5 / (width as f64).sqrt())).unwrap();
        let kernel = scaled(&[2 * width + 1, 3 * width], 2);
        same("gru", &[x.clone(), kernel], |a| gru(a[0], a[1], &lengths));

        let args = [x.clone(), scaled(&[5 * width + 2, 6], 2), values(&[6], 3)];
        same("filters", &args, |a| {
            caser_conv(a[0], a[1], a[2], &lengths, &[2, 3])
        });

        // As many filters as a model has, sizes that nothing divides, a window without an item.
        let args = [
            values(&[5, 11, width], 1),
            scaled(&[8 * width + 3, 17], 2),
            values(&[12], 3),
        ];
        same("more filters", &args, |a| {
            caser_conv(a[0], a[1], a[2], &[11, 6, 0, 1, 10], &[1, 4, 3])
        });

        // More positions than a block holds scores of at a time.
        let long = [
            values(&[3, 70, width], 1),
            scaled(&[5 * width + 2, 6], 2),
            values(&[71], 3),
        ];
        same("long filters", &long, |a| {
            caser_conv(a[0], a[1], a[2], &[70, 33, 2], &[2, 3])
        });
    }
}

#[test]
fn gru_and_caser_conv_long_windows_match_cpu() {
    let (windows, width) = (150, 6);
    let lengths: Vec<u32> = (0..windows as u32).map(|b| 1 + b * 3 % 4).collect();
    let x = values(&[windows, 4, width], 1);
    same(
        "gru",
        &[x.clone(), values(&[2 * width + 1, 3 * width], 2)],
        |a| gru(a[0], a[1], &lengths),
    );
    let args = [x, values(&[5 * width + 2, 3], 2), values(&[5], 3)];
    same("filters", &args, |a| {
        caser_conv(a[0], a[1], a[2], &lengths, &[3, 2])
    });
}

#[test]
fn nextitnet_block_matches_cpu() {
    // Rows that fill a block of threads to the last, and more parts than one; widths of a block, of
    // less and of more.
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
        let spans = SeqOffsets::new((0..windows).map(|b| 1 + b * 3 % 8));
        let [one, two] = [one, two].map(|(every, most)| CausalConv {
            dilation,
            stride: every,
            max_rows: most,
        });
        let convolutions = [
            one,
            CausalConv {
                dilation: 2 * dilation,
                ..two
            },
        ];
        let (rows, kernel) = (spans.rows(), values(&[2 * (3 * width + 3), width], 2));
        let kernel = (kernel * (0.5 / (width as f64).sqrt())).unwrap();
        let block = |x: &Tensor, kernel: &Tensor| {
            Ok(nextitnet_block(x, kernel, &spans, convolutions, 1e-2)?.0)
        };
        let args = [values(&[rows, width], 1), kernel.clone()];
        same("residual", &args, |a| block(a[0], a[1]));

        // Rows that begin where no four numbers are read at once.
        let args = [values(&[1 + rows * width], 1), kernel];
        let behind = |x: &Tensor| x.narrow(0, 1, rows * width)?.reshape((rows, width));
        same("residual of a part", &args, |a| block(&behind(a[0])?, a[1]));
    }
}
