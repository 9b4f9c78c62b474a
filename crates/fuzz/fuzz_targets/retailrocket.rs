//! `prl_fuzz::retailrocket` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| prl_fuzz::or_abort(prl_fuzz::retailrocket, input));
