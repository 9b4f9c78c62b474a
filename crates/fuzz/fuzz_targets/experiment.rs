//! libFuzzer target of `prl_fuzz::experiment`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| prl_fuzz::or_abort(prl_fuzz::experiment, input));
