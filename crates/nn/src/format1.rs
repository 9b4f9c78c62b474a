//! Parameter names of checkpoint format 1.
//!
//! Format 1 had names of its own. They are still needed twice: a parameter's seed is derived from
//! its format-1 name, so that initial values stay what they were; and checkpoints of format 1 are
//! read through them. Packed parameters kept the storage that format 1 wrote, so a name is all that
//! differs.

/// Replacements at the end of a name, today's name first. A `*` stands for `weight` or `bias`.
const ENDINGS: [(&str, &str); 20] = [
    ("attn.q_proj.*", "query.*"),
    ("attn.k_proj.*", "key.*"),
    ("attn.v_proj.*", "value.*"),
    ("attn_norm.weight", "norm_in.scale"),
    ("attn_norm.bias", "norm_in.shift"),
    ("ffn_norm.weight", "norm_mid.scale"),
    ("ffn_norm.bias", "norm_mid.shift"),
    ("last_norm.weight", "norm_out.scale"),
    ("last_norm.bias", "norm_out.shift"),
    ("ffn.fc1.*", "inner.*"),
    ("ffn.fc2.*", "outer.*"),
    ("position_emb.weight", "position"),
    ("reward_emb.weight", "reward"),
    ("reward_bin_emb.weight", "rewards"),
    ("step_emb.weight", "step"),
    ("item_emb.weight", "embedding.weight"),
    ("q_head.*", "critic.*"),
    ("mlp.reward.*", "mlp_reward.*"),
    ("mlp.state.*", "mlp_state.*"),
    ("mlp.step.*", "mlp_step.*"),
];

/// The name that format 1 gave to a parameter; most names are the same in both.
pub fn format1_name(name: &str) -> String {
    for (ending, old) in ENDINGS {
        for last in ["weight", "bias"] {
            let (ending, old) = (ending.replace('*', last), old.replace('*', last));
            let Some(prefix) = name.strip_suffix(&ending) else {
                continue;
            };
            // A whole component of the path: `my_reward_emb.weight` is another name.
            if prefix.is_empty() || prefix.ends_with('.') {
                return format!("{prefix}{old}");
            }
        }
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::format1_name;

    #[test]
    fn format1_name_replaces_whole_path_components() {
        for (name, old) in [
            ("encoder.attn.q_proj.bias", "encoder.query.bias"),
            ("prompt.attn_norm.weight", "prompt.norm_in.scale"),
            ("prompt.reward_bin_emb.weight", "prompt.rewards"),
            ("encoder.last_norm.bias", "encoder.norm_out.shift"),
            ("encoder.my_attn_norm.weight", "encoder.my_attn_norm.weight"),
            ("encoder.kernel", "encoder.kernel"),
            ("item_emb.weight", "embedding.weight"),
            ("second.q_head.bias", "second.critic.bias"),
        ] {
            assert_eq!(format1_name(name), old);
        }
    }
}
