//! The released code's form of the block for SASRec against PyTorch: keys and values are the encoder's outputs.

mod common;

use candle_core::{DType, Device, Var};
use common::{assert_close, fill};
use prl_core::{AttentionKeys, EncodedState, PromptBlock, PromptBlockConfig, Prompts};
use prl_nn::{ForwardCtx, Params};

/// Name, phase, scale and offset of every parameter, as in the script. There is neither a reward nor a step embedding.
const FILL: [(&str, f64, f64, f64); 10] = [
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
];

// import math, torch
// import torch.nn.functional as F
// torch.set_default_dtype(torch.float64)
// def fill(shape, phase, scale):  # x[i] = scale * sin(0.7 i + phase), row-major
//     return (scale * torch.sin(0.7 * torch.arange(math.prod(shape)) + phase)).reshape(shape)
// def show(name, t):
//     print(name, list(t.shape), [float(f"{v:.8g}") for v in t.detach().flatten().tolist()])
//
// B, L, D = 3, 5, 4
// length = torch.tensor([5, 1, 3])
// VEC, MAT = (D,), (D, D)
// spec = {"state": ((B, D), .3, 1, 0), "outputs": ((B, L, D), .9, 1, 0), "gamma_in": (VEC, .4, .1, 1), "beta_in": (VEC, .5, .1, 0),
//     "Wq": (MAT, .6, .5, 0), "bq": (VEC, .7, .5, 0), "Wk": (MAT, .8, .5, 0), "bk": (VEC, .9, .5, 0),
//     "Wv": (MAT, 1., .5, 0), "bv": (VEC, 1.1, .5, 0), "gamma_out": (VEC, 1.2, .1, 1), "beta_out": (VEC, 1.3, .1, 0)}
// p = {k: (o + fill(s, ph, sc)).requires_grad_() for k, (s, ph, sc, o) in spec.items()}
// n = F.layer_norm(p["state"], VEC, p["gamma_in"], p["beta_in"], eps=1e-8)[:, None]
// q, k, v = n @ p["Wq"] + p["bq"], p["outputs"] @ p["Wk"] + p["bk"], p["outputs"] @ p["Wv"] + p["bv"]
// scores = (q @ k.mT / math.sqrt(D)).masked_fill(torch.arange(L)[None, None] >= length[:, None, None], -math.inf)
// out = F.layer_norm((torch.softmax(scores, -1) @ v + n)[:, 0], VEC, p["gamma_out"], p["beta_out"], eps=1e-8)
// (out * fill((B, D), 2.0, 1.0)).sum().backward()
// show("out", out)
// for k in ["state", "outputs", "Wq", "Wv", "gamma_in"]: show("d" + k, p[k].grad)
// Numbers stay a line each.
#[test]
#[rustfmt::skip]
fn attention_to_the_outputs_agrees_with_pytorch() {
    let mut params = Params::new(DType::F64, &Device::Cpu, 0);
    let config = PromptBlockConfig { keys: AttentionKeys::Outputs, ..PromptBlockConfig::default() };
    let block = PromptBlock::new(config, 4, params.scope("prompt")).unwrap();
    assert_eq!(params.iter().count(), FILL.len());
    for (name, var) in params.iter() {
        let &(_, phase, scale, offset) = FILL.iter().find(|f| f.0 == name).unwrap();
        var.set(&fill(var.dims(), phase, scale, offset)).unwrap();
    }
    let var = |shape: &[usize], phase| Var::from_tensor(&fill(shape, phase, 1.0, 0.0)).unwrap();
    let (state, outputs) = (var(&[3, 4], 0.3), var(&[3, 5, 4], 0.9));
    let prompts = Prompts { returns: vec![1.2, 0.5, 2.0], steps: vec![0, 2, 2] };
    let of = EncodedState { state: state.as_tensor(), outputs: Some(outputs.as_tensor()), lengths: &[5, 1, 3] };
    let y = block.forward(&of, &prompts, &ForwardCtx::infer()).unwrap();
    assert_close("out", &y, &OUT);
    let grads = (y * fill(&[3, 4], 2.0, 1.0, 0.0)).unwrap().sum_all().unwrap().backward().unwrap();
    let parameter = |name: &str| params.iter().find(|p| p.0 == name).unwrap().1;
    for (name, var, theirs) in [
        ("state", &state, STATE.as_slice()),
        ("outputs", &outputs, &OUTPUTS),
        ("query", parameter("prompt.query.weight"), &QUERY),
        ("value", parameter("prompt.value.weight"), &VALUE),
        ("norm_in", parameter("prompt.norm_in.scale"), &NORM_IN),
    ] {
        assert_close(name, grads.get(var).unwrap(), theirs);
    }
}

#[rustfmt::skip]
const OUT: [f64; 12] = [-1.4439667, 0.88036481, 1.2383733, -0.46768027, 1.76144, 0.37483214, -0.77876015, -1.0110163, -1.6544665, -0.00029640123, 0.99779949, 0.73884422];
#[rustfmt::skip]
const STATE: [f64; 12] = [1.24933, 2.4266225, 0.22718353, -3.903136, 0.15508712, -0.65500594, -0.36605126, 0.86597007, -0.47147119, 0.82253985, 0.61325655, -0.96432521];
#[rustfmt::skip]
const OUTPUTS: [f64; 60] = [0.081269673, -0.037856488, -0.0099312145, 0.056571313, 0.088549698, -0.041039118, -0.01121375, 0.062170811, 0.082011876, -0.038173475, -0.010076075, 0.05716128, 0.086996701, -0.040367478, -0.010926421, 0.060957714, 0.084069481, -0.039068126, -0.010447759, 0.058756349, -0.11817866, 0.10333759, -0.076555324, 0.040926679, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.077413621, -0.060932938, 0.03741113, -0.0095662668, 0.079019441, -0.061392148, 0.036670666, -0.0077116933, 0.072207433, -0.055674551, 0.032708178, -0.0059622008, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
#[rustfmt::skip]
const QUERY: [f64; 16] = [-0.0058133059, -0.0039119887, -0.00017080199, 0.0036507155, 0.0018761251, 0.00041689965, -0.0012384002, -0.002311261, 0.0046047998, 0.0027314694, -0.00042651364, -0.0033839007, 0.00070479661, 0.0016586478, 0.0018324109, 0.0011443626];
#[rustfmt::skip]
const VALUE: [f64; 16] = [0.12253162, -0.19893374, -0.15336104, 0.22976316, 0.093596098, -0.075991713, -0.084986856, 0.067382471, 0.020640869, 0.082690405, 0.023357975, -0.12668925, -0.062022083, 0.20248193, 0.12071719, -0.26117704];
#[rustfmt::skip]
const NORM_IN: [f64; 4] = [-0.35345371, 0.17590613, 0.27925393, -0.6610399];
