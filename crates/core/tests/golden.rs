//! The prompt block and its ablations against PyTorch.

mod common;

use candle_core::{DType, Device, Var};
use common::{assert_close, fill};
use prl_core::{EncodedState, PromptBlock, PromptBlockConfig, Prompts, ResidualInput, TokenMixer};
use prl_nn::{ForwardCtx, Params};

/// Name, phase, scale and offset of every parameter, as in the script.
const FILL: &[(&str, f64, f64, f64)] = &[
    ("prompt.reward", 0.1, 1.0, 0.0),
    ("prompt.step", 0.2, 1.0, 0.0),
    ("prompt.norm_in.scale", 0.4, 0.1, 1.0),
    ("prompt.norm_in.shift", 0.5, 0.1, 0.0),
    ("prompt.query.weight", 0.6, 0.5, 0.0),
    ("prompt.query.bias", 0.7, 0.5, 0.0),
    ("prompt.key.weight", 0.8, 0.5, 0.0),
    ("prompt.key.bias", 0.9, 0.5, 0.0),
    ("prompt.value.weight", 1.0, 0.5, 0.0),
    ("prompt.value.bias", 1.1, 0.5, 0.0),
    ("prompt.norm_out.scale", 1.2, 0.1, 1.0),
    ("prompt.norm_out.shift", 1.3, 0.1, 0.0),
    ("prompt.mlp_reward.weight", 1.4, 0.5, 0.0),
    ("prompt.mlp_reward.bias", 1.5, 0.5, 0.0),
    ("prompt.mlp_state.weight", 1.6, 0.5, 0.0),
    ("prompt.mlp_state.bias", 1.7, 0.5, 0.0),
    ("prompt.mlp_step.weight", 1.8, 0.5, 0.0),
    ("prompt.mlp_step.bias", 1.9, 0.5, 0.0),
];

fn check(config: PromptBlockConfig, out: &[f64], grads: &[(&str, &[f64])]) {
    let mut params = Params::new(DType::F64, &Device::Cpu, 0);
    let block = PromptBlock::new(
        PromptBlockConfig { steps: 4, ..config },
        4,
        params.scope("prompt"),
    )
    .unwrap();
    for (name, var) in params.iter() {
        let &(_, phase, scale, offset) = FILL.iter().find(|f| f.0 == name).unwrap();
        var.set(&fill(var.dims(), phase, scale, offset)).unwrap();
    }
    let state = Var::from_tensor(&fill(&[3, 4], 0.3, 1.0, 0.0)).unwrap();
    let prompts = Prompts {
        returns: vec![1.2, 0.5, 2.0],
        steps: vec![0, 2, 2],
    };
    let of = EncodedState {
        state: state.as_tensor(),
        outputs: None,
        lengths: &[],
    };
    let y = block.forward(&of, &prompts, &ForwardCtx::infer()).unwrap();
    assert_close("out", &y, out);
    let loss = (y * fill(&[3, 4], 2.0, 1.0, 0.0))
        .unwrap()
        .sum_all()
        .unwrap();
    let ours = loss.backward().unwrap();
    for (name, theirs) in grads {
        let var = if *name == "state" {
            &state
        } else {
            params.iter().find(|p| p.0 == *name).unwrap().1
        };
        assert_close(name, ours.get(var).unwrap(), theirs);
    }
}

#[test]
fn dropout_reaches_the_output_in_training_only() {
    let mut params = Params::new(DType::F32, &Device::Cpu, 0);
    let block = PromptBlock::new(PromptBlockConfig::default(), 8, params.scope("prompt")).unwrap();
    let state = fill(&[5, 8], 0.3, 1.0, 0.0).to_dtype(DType::F32).unwrap();
    let prompts = Prompts {
        returns: vec![1.0; 5],
        steps: vec![99; 5],
    };
    let of = EncodedState {
        state: &state,
        outputs: None,
        lengths: &[],
    };
    let run = |pass: &ForwardCtx| {
        block
            .forward(&of, &prompts, pass)
            .unwrap()
            .to_vec2::<f32>()
            .unwrap()
    };
    assert_eq!(run(&ForwardCtx::infer()), run(&ForwardCtx::infer()));
    assert_ne!(run(&ForwardCtx::train(1, 1)), run(&ForwardCtx::infer()));
    assert_eq!(run(&ForwardCtx::train(1, 1)), run(&ForwardCtx::train(1, 1)));
    assert_ne!(run(&ForwardCtx::train(1, 1)), run(&ForwardCtx::train(1, 2)));
}

// import math, torch
// import torch.nn.functional as F
// torch.set_default_dtype(torch.float64)
// def fill(shape, phase, scale):  # x[i] = scale * sin(0.7 i + phase), row-major
//     return (scale * torch.sin(0.7 * torch.arange(math.prod(shape)) + phase)).reshape(shape)
// def show(name, t):
//     print(name, list(t.shape), [float(f"{v:.8g}") for v in t.detach().flatten().tolist()])
//
// B, D, T = 3, 4, 4
// ratio, step = torch.tensor([1.2, 0.5, 2.0]), torch.tensor([0, 2, 2])
// VEC, MAT = (D,), (D, D)
// spec = {  # name: shape, phase, scale, offset
//     "e_r": (VEC, .1, 1, 0), "steps": ((T, D), .2, 1, 0), "state": ((B, D), .3, 1, 0),
//     "gamma_in": (VEC, .4, .1, 1), "beta_in": (VEC, .5, .1, 0),
//     "Wq": (MAT, .6, .5, 0), "bq": (VEC, .7, .5, 0), "Wk": (MAT, .8, .5, 0), "bk": (VEC, .9, .5, 0),
//     "Wv": (MAT, 1., .5, 0), "bv": (VEC, 1.1, .5, 0), "gamma_out": (VEC, 1.2, .1, 1), "beta_out": (VEC, 1.3, .1, 0),
//     "W0": (MAT, 1.4, .5, 0), "b0": (VEC, 1.5, .5, 0), "W1": (MAT, 1.6, .5, 0), "b1": (VEC, 1.7, .5, 0),
//     "W2": (MAT, 1.8, .5, 0), "b2": (VEC, 1.9, .5, 0)}  # W0 b0 .. W2 b2: one linear per token, in the order of P
// for variant in ["attention", "attention, residual P", "mean", "mlp"]:
//     p = {k: (o + fill(s, ph, sc)).requires_grad_() for k, (s, ph, sc, o) in spec.items()}
//     P = torch.stack([ratio[:, None] * p["e_r"], p["state"], p["steps"][step]], 1)  # [B, 3, D]
//     if variant.startswith("attention"):
//         N = F.layer_norm(P, VEC, p["gamma_in"], p["beta_in"], eps=1e-8)
//         q, k, v = N @ p["Wq"] + p["bq"], P @ p["Wk"] + p["bk"], P @ p["Wv"] + p["bv"]
//         out = torch.softmax(q @ k.mT / math.sqrt(D), -1) @ v + (P if variant.endswith("P") else N)
//         out = out[:, 1]
//     else:
//         out = P if variant == "mean" else torch.stack([P[:, i] @ p[f"W{i}"] + p[f"b{i}"] for i in range(3)], 1)
//         out = out.mean(1)
//     out = F.layer_norm(out, VEC, p["gamma_out"], p["beta_out"], eps=1e-8)
//     (out * fill((B, D), 2.0, 1.0)).sum().backward()
//     print(f"== {variant}"); show("out", out)
//     for k, w in p.items():
//         if w.grad is not None: show("d" + k, w.grad)  # dbk is zero: softmax does not see a shift
// Numbers stay a line each.
#[test]
#[rustfmt::skip]
fn attention_agrees_with_pytorch() {
    let config = PromptBlockConfig { mixing: TokenMixer::Attention, residual: ResidualInput::Normalized, ..PromptBlockConfig::default() };
    check(
        config,
        &[-1.407668, 0.91402327, 1.2337804, -0.52632524, 1.8064262, 0.28651139, -0.83886782, -0.91584587, -1.6316048, -0.062975144, 0.96402637, 0.80622931],
        &[
            ("prompt.reward", &[0.31186266, -0.18693703, 0.040409823, 0.11078695]),
            ("prompt.step", &[0.14818323, -0.066682519, -0.022523707, 0.1091272, 0.0, 0.0, 0.0, 0.0, 0.053800038, -0.044444159, 0.029952521, -0.01199971, 0.0, 0.0, 0.0, 0.0]),
            ("state", &[1.4610778, 2.4750275, 0.22120223, -3.9896272, 0.1003116, -0.67592903, -0.47441128, 1.0162273, -0.42577089, 0.81594665, 0.6949514, -1.0430817]),
            ("prompt.norm_in.scale", &[-0.41175924, 0.17609344, 0.28306561, -0.71260222]),
            ("prompt.norm_in.shift", &[0.51123727, 0.70250807, -0.0069879771, -1.2067161]),
            ("prompt.query.weight", &[-0.001301833, -0.0054118246, -0.0069765505, -0.0052600957, -0.00011021279, -0.00029593531, -0.00034247483, -0.00022794308, 0.00074380281, 0.0028951784, 0.0036849063, 0.0027415653, 0.00076064288, 0.0022788429, 0.0027252674, 0.0018899562]),
            ("prompt.query.bias", &[0.00015474876, -0.0025967644, -0.0041269786, -0.0037162104]),
            ("prompt.key.weight", &[-0.0020103414, -0.0038973116, -0.0039513152, -0.0021469535, 0.004847551, 0.0065239644, 0.0051320554, 0.0013264605, 0.0094255645, 0.013876918, 0.01180174, 0.0041760195, 0.0095705877, 0.01470334, 0.012920882, 0.0050615312]),
            ("prompt.value.weight", &[0.14457744, 0.033124557, -0.069069788, -0.10863221, 0.33819714, 0.7623016, 0.12528954, -1.2257883, 0.37275744, 1.1329563, 0.26072325, -1.766437, 0.23200409, 0.97076394, 0.27353473, -1.4763028]),
            ("prompt.value.bias", &[0.51511509, 0.69809886, -0.0025568902, -1.2106571]),
            ("prompt.norm_out.scale", &[-4.3392121, 0.068456205, 0.14128835, -0.33656577]),
            ("prompt.norm_out.shift", &[0.88105249, 0.62401139, 0.07348798, -0.51159797]),
        ],
    );
}

// Numbers stay a line each.
#[test]
#[rustfmt::skip]
fn the_papers_residual_agrees_with_pytorch() {
    let config = PromptBlockConfig { mixing: TokenMixer::Attention, residual: ResidualInput::Raw, ..PromptBlockConfig::default() };
    check(
        config,
        &[-0.47086355, 1.3110259, 0.85984333, -1.3767071, 1.7079099, 0.45297838, -0.68488388, -1.1209527, -1.692562, 0.13079793, 1.0343555, 0.62105438],
        &[
            ("prompt.reward", &[0.8896077, -0.37992572, -0.1736587, 0.70717593]),
            ("prompt.step", &[0.33214645, -0.021833836, -0.2910018, 0.57021062, 0.0, 0.0, 0.0, 0.0, 0.233535, -0.16813671, 0.083309327, 0.011144891, 0.0, 0.0, 0.0, 0.0]),
            ("state", &[3.7903099, 0.39194527, -2.1455526, -1.4472528, 0.17676252, -0.30614146, -0.41057967, 0.50942818, -0.034718128, 1.2282689, 0.81449103, -1.8375847]),
            ("prompt.norm_in.scale", &[-0.010646736, 0.00084795263, 0.0051757677, -0.0037467816]),
            ("prompt.norm_in.shift", &[-0.0082238483, 0.0096283569, -0.0099202577, 0.00906582]),
            ("prompt.query.weight", &[-0.0035032438, -0.0090220307, -0.010297616, -0.006730071, -0.00056627205, -0.001421272, -0.0016078256, -0.0010381936, 0.001942186, 0.0043464136, 0.0047064549, 0.002852977, 0.0025663047, 0.0049094743, 0.0049436414, 0.0026527367]),
            ("prompt.query.bias", &[0.0011228788, -0.0052360022, -0.0091323097, -0.0087335491]),
            ("prompt.key.weight", &[-0.0022012128, -0.0068645414, -0.0082993689, -0.0058308735, 0.010407869, 0.011741006, 0.007552165, -0.0001885776, 0.018121967, 0.024824575, 0.019851798, 0.0055424093, 0.017313021, 0.026232759, 0.02281482, 0.0086667145]),
            ("prompt.value.weight", &[0.75003572, -0.1854443, -0.50639906, -0.058192351, 2.6432533, 1.3174841, -1.0272, -2.9335373, 3.2933075, 2.2007792, -1.0648928, -4.4291939, 2.3944677, 2.0490134, -0.60174981, -3.8417313]),
            ("prompt.value.bias", &[3.4521776, 1.4058511, -1.4377262, -3.4203025]),
            ("prompt.norm_out.scale", &[-3.5242034, 0.27586727, 0.24755602, 0.30102119]),
            ("prompt.norm_out.shift", &[0.88105249, 0.62401139, 0.07348798, -0.51159797]),
        ],
    );
}

// Numbers stay a line each.
#[test]
#[rustfmt::skip]
fn the_mean_agrees_with_pytorch() {
    let config = PromptBlockConfig { mixing: TokenMixer::Mean, residual: ResidualInput::Normalized, ..PromptBlockConfig::default() };
    check(
        config,
        &[-1.6948291, 0.45500573, 1.1705657, 0.20409786, -1.4391907, -0.37108351, 0.68731585, 1.1690233, -1.6478925, -0.022360555, 0.94624602, 0.80101713],
        &[
            ("prompt.reward", &[0.14499597, 0.88251237, 0.28353823, -1.3110466]),
            ("prompt.step", &[0.10389542, 0.5612726, 0.1653406, -0.83050863, 0.0, 0.0, 0.0, 0.0, 0.2989252, -0.25709647, -0.23143786, 0.18960912, 0.0, 0.0, 0.0, 0.0]),
            ("state", &[0.10389542, 0.5612726, 0.1653406, -0.83050863, 0.3850193, -0.48211878, -0.36533681, 0.4624363, -0.086094094, 0.22502232, 0.13389895, -0.27282718]),
            ("prompt.norm_out.scale", &[-1.6349694, 0.34656497, 0.02908889, 0.28290533]),
            ("prompt.norm_out.shift", &[0.88105249, 0.62401139, 0.07348798, -0.51159797]),
        ],
    );
}

// Numbers stay a line each.
#[test]
#[rustfmt::skip]
fn the_mlp_agrees_with_pytorch() {
    let config = PromptBlockConfig { mixing: TokenMixer::Mlp, residual: ResidualInput::Normalized, ..PromptBlockConfig::default() };
    check(
        config,
        &[1.5155383, 0.67834772, -0.48620896, -1.3363516, 1.4021141, 0.77947138, -0.38228907, -1.4224252, 1.6614329, 0.51624738, -0.63321213, -1.18436],
        &[
            ("prompt.reward", &[0.25538153, -0.28715667, 0.28574932, -0.25132213]),
            ("prompt.step", &[-0.0010492203, 0.0024161183, -0.0035038209, 0.0041866384, 0.0, 0.0, 0.0, 0.0, 0.091387602, -0.12316086, 0.14070222, -0.14198469, 0.0, 0.0, 0.0, 0.0]),
            ("state", &[-0.0018749158, 0.0030958241, -0.0039589934, 0.00436468, -0.0012422084, 0.0036561564, -0.0056476161, 0.0069864637, 0.11278318, -0.13898535, 0.14912702, -0.14203627]),
            ("prompt.norm_out.scale", &[1.376301, 0.13608829, -0.10278978, 0.58879566]),
            ("prompt.norm_out.shift", &[0.88105249, 0.62401139, 0.07348798, -0.51159797]),
            ("prompt.mlp_reward.weight", &[-0.051963636, 0.069649153, 0.05231071, -0.069996227, -0.37338631, 0.50046614, 0.37588022, -0.50296005, -0.51919956, 0.69590608, 0.52266739, -0.6993739, -0.42082515, 0.56405051, 0.42363592, -0.56686128]),
            ("prompt.mlp_reward.bias", &[-0.23955714, 0.32657897, 0.25210016, -0.33912199]),
            ("prompt.mlp_state.weight", &[0.10342888, -0.13341303, -0.10962975, 0.1396139, -0.094630696, 0.13144328, 0.068120329, -0.10493292, -0.24818398, 0.33447977, 0.21383235, -0.30012814, -0.28501246, 0.38020519, 0.25897568, -0.35416841]),
            ("prompt.mlp_state.bias", &[-0.23955714, 0.32657897, 0.25210016, -0.33912199]),
            ("prompt.mlp_step.weight", &[0.11485409, -0.15023147, -0.13178484, 0.16716222, -0.048487778, 0.071536814, 0.041674193, -0.064723229, -0.18902509, 0.25966022, 0.1955332, -0.26616833, -0.24066095, 0.32566136, 0.25742989, -0.34243031]),
            ("prompt.mlp_step.bias", &[-0.23955714, 0.32657897, 0.25210016, -0.33912199]),
        ],
    );
}
