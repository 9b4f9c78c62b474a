//! Initial values and packed layouts, unchanged since checkpoint format 1.

use candle_core::{DType, Device};
use prl_encoders::{EncoderConfig, EncoderKind, GruConfig};
use prl_nn::SeededVarMap;
use prl_testkit::{flat, golden};

/// The golden file was written by the code of format 1, with seed 7, 6 dimensions and 5 positions.
#[test]
fn initial_values_are_those_of_format_1() {
    let then = golden(env!("CARGO_MANIFEST_DIR"), "initial_values");
    let mut configs: Vec<(&str, EncoderConfig)> = Vec::new();
    for &kind in EncoderKind::ALL {
        // Younger than format 1.
        if kind == EncoderKind::Core {
            continue;
        }
        configs.push((kind.name(), kind.config()));
    }
    configs.push(("gru-", EncoderConfig::Gru(GruConfig { update_bias: -1.0 })));
    let mut compared = 0;
    for (label, config) in configs {
        let vars = SeededVarMap::new(7);
        let vb = vars.var_builder(DType::F64, &Device::Cpu);
        config.build(6, 5, vb.pp("encoder")).unwrap();
        for param in vars.params() {
            let name = format!("{label}/{}", param.format1_name());
            assert_eq!(param.var().dims(), then[&name].dims(), "{name}");
            assert_eq!(flat(param.var()), flat(&then[&name]), "{name}");
            compared += 1;
        }
    }
    assert_eq!(compared, then.len());
}
