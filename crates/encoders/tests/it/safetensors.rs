//! Encoders from a safetensors file, by candle's builder.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use prl_encoders::{EncoderKind, PaddedBatch};
use prl_nn::{ForwardCtx, SeededVarMap};
use prl_testkit::{flat, values};

const NAMES: [(&str, &[&str]); 5] = [
    (
        "core",
        &[
            "e.k_proj.bias",
            "e.k_proj.weight",
            "e.lag_bias",
            "e.q_proj.bias",
            "e.q_proj.weight",
        ],
    ),
    ("gru", &["e.bias", "e.weight_hh", "e.weight_ih"]),
    (
        "caser",
        &[
            "e.conv_h.0.bias",
            "e.conv_h.0.weight",
            "e.conv_h.1.bias",
            "e.conv_h.1.weight",
            "e.conv_h.2.bias",
            "e.conv_h.2.weight",
            "e.conv_v.bias",
            "e.conv_v.weight",
        ],
    ),
    (
        "nextitnet",
        &[
            "e.blocks.0.conv1.bias",
            "e.blocks.0.conv1.weight",
            "e.blocks.0.conv2.bias",
            "e.blocks.0.conv2.weight",
            "e.blocks.0.norm1.bias",
            "e.blocks.0.norm1.weight",
            "e.blocks.0.norm2.bias",
            "e.blocks.0.norm2.weight",
        ],
    ),
    (
        "sasrec",
        &[
            "e.attn.k_proj.bias",
            "e.attn.k_proj.weight",
            "e.attn.q_proj.bias",
            "e.attn.q_proj.weight",
            "e.attn.v_proj.bias",
            "e.attn.v_proj.weight",
            "e.attn_norm.bias",
            "e.attn_norm.weight",
            "e.ffn.fc1.bias",
            "e.ffn.fc1.weight",
            "e.ffn.fc2.bias",
            "e.ffn.fc2.weight",
            "e.ffn_norm.bias",
            "e.ffn_norm.weight",
            "e.last_norm.bias",
            "e.last_norm.weight",
            "e.position_emb.weight",
        ],
    ),
];

/// The named tensors of a newly made encoder, and its states.
fn made(kind: EncoderKind, batch: &PaddedBatch<'_>) -> (HashMap<String, Tensor>, Vec<f64>) {
    let vars = SeededVarMap::new(3);
    let vb = vars.var_builder(DType::F64, &Device::Cpu);
    let encoder = kind.config().build(6, 5, vb.pp("e")).unwrap();
    let mut named = HashMap::new();
    for param in vars.params() {
        named.extend(param.unpack(param.var()).unwrap());
    }
    (
        named,
        flat(&encoder.encode(batch, &ForwardCtx::infer()).unwrap()),
    )
}

#[test]
fn encoder_loaded_from_a_file_has_the_same_states() {
    let xs = values(&[4, 5, 6], "xs");
    let batch = PaddedBatch {
        xs: &xs,
        lengths: &[5, 1, 3, 2],
    };
    let dir = std::env::temp_dir().join(format!("prl-encoders-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for &kind in EncoderKind::ALL {
        let (named, states) = made(kind, &batch);
        let mut names: Vec<&str> = named.keys().map(String::as_str).collect();
        names.sort_unstable();
        let (_, expected) = NAMES.iter().find(|(name, _)| *name == kind.name()).unwrap();
        assert_eq!(names[..expected.len()], **expected);

        let path = dir.join(kind.name());
        candle_core::safetensors::save(&named, &path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let vb = VarBuilder::from_buffered_safetensors(bytes, DType::F64, &Device::Cpu).unwrap();
        let encoder = kind.config().build(6, 5, vb.pp("e")).unwrap();
        let loaded = encoder.encode(&batch, &ForwardCtx::infer()).unwrap();
        assert_eq!(flat(&loaded), states, "{}", kind.name());
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
