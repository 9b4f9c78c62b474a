//! libFuzzer target of `prl_fuzz::import`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| prl_fuzz::or_abort(prl_fuzz::import, input));
