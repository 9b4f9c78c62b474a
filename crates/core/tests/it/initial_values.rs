//! Initial values and packed layouts of the prompt block, unchanged since checkpoint format 1.

use candle_core::{DType, Device};
use prl_core::{AttentionKeys, PromptBlock, PromptBlockConfig, RewardCode, TokenMixer};
use prl_nn::SeededVarMap;
use prl_testkit::{flat, golden};

/// The golden file was written by the code of format 1, with seed 7, width 4 and 4 steps.
#[test]
fn initial_values_are_those_of_format_1() {
    use AttentionKeys::{Outputs, Prompt};
    use RewardCode::{Binned, Linear};
    let then = golden(env!("CARGO_MANIFEST_DIR"), "initial_values");
    let mut compared = 0;
    for (label, mixing, keys, rewards) in [
        (
            "attention-prompt-linear",
            TokenMixer::Attention,
            Prompt,
            Linear,
        ),
        (
            "attention-prompt-binned",
            TokenMixer::Attention,
            Prompt,
            Binned,
        ),
        (
            "attention-released-linear",
            TokenMixer::Attention,
            Outputs,
            Linear,
        ),
        (
            "attention-released-binned",
            TokenMixer::Attention,
            Outputs,
            Binned,
        ),
        ("mean-prompt-linear", TokenMixer::Mean, Prompt, Linear),
        ("mlp-prompt-linear", TokenMixer::Mlp, Prompt, Linear),
        ("alone-prompt-linear", TokenMixer::NoPrompt, Prompt, Linear),
    ] {
        let config = PromptBlockConfig {
            mixing,
            keys,
            rewards,
            steps: 4,
            ..PromptBlockConfig::default()
        };
        let vars = SeededVarMap::new(7);
        let vb = vars.var_builder(DType::F64, &Device::Cpu);
        PromptBlock::new(config, 4, vb.pp("prompt")).unwrap();
        for param in vars.params() {
            let name = format!("{label}/{}", param.format1_name());
            assert_eq!(param.var().dims(), then[&name].dims(), "{name}");
            assert_eq!(flat(param.var()), flat(&then[&name]), "{name}");
            compared += 1;
        }
    }
    assert_eq!(compared, then.len());
}
