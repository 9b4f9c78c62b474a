//! `prl_fuzz::checkpoint` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    prl_fuzz::quiet();
    _ = prl_fuzz::checkpoint(input);
});
