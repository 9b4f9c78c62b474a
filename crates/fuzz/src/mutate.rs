//! Random mutations of inputs, without coverage feedback.

use rand::Rng;
use rand::seq::IndexedRandom;

/// Byte strings that are often mishandled by parsers.
const PIECES: [&[u8]; 34] = [
    b"\0",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\r",
    b"\n",
    b"\r\n",
    b"\"",
    b"\"\"",
    b",",
    b"\t",
    b";",
    b"-1",
    b"0",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551615",
    b"18446744073709551616",
    b"1e999",
    b"NaN",
    b"nan",
    b"-inf",
    b"1e-999",
    b"null",
    b"true",
    b"{",
    b"}",
    b"[",
    b"]",
    b"[[[[[[[[[[[[[[[[",
    b":",
    b"\\u0000",
    b"2014-04-07T10:51:09.277Z",
    b"9999-12-31T23:59:60Z",
    b"\xe2\x80\x8b",
];

/// Mutates `one`, possibly inserting parts of `other`; the result has at most `max_len` bytes.
pub fn mutate(rng: &mut impl Rng, one: &[u8], other: &[u8], max_len: usize) -> Vec<u8> {
    let mut bytes = one.to_vec();
    for _ in 0..1 << rng.random_range(0..4) {
        let at = rng.random_range(0..=bytes.len());
        let to = (at + rng.random_range(0..=32)).min(bytes.len());
        match rng.random_range(0..9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = rng.random(),
            2 => _ = bytes.drain(at..to),
            3 => {
                _ = bytes.splice(
                    at..at,
                    bytes[at..to].to_vec().repeat(rng.random_range(1..40)),
                )
            }
            4 | 5 => {
                _ = bytes.splice(
                    at..at,
                    PIECES.choose(rng).copied().unwrap_or(b"").iter().copied(),
                )
            }
            6 => {
                _ = bytes.splice(
                    at..to,
                    PIECES.choose(rng).copied().unwrap_or(b"").iter().copied(),
                )
            }
            7 if !other.is_empty() => {
                let from = rng.random_range(0..other.len());
                let until = rng.random_range(from..=other.len());
                _ = bytes.splice(at..at, other[from..until].iter().copied());
            }
            8 => bytes.truncate(at),
            _ => {}
        }
    }
    bytes.truncate(max_len);
    bytes
}
