//! Short, permanent fingerprints of texts, for directory names.

/// Eight hexadecimal digits of the 64-bit FNV-1a hash of a text. The standard library's hashes may
/// change between versions, and with them the names of directories.
pub fn fingerprint(text: &str) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The 64-bit FNV-1a of "a" is af63dc4c8601ec8c, and of "" the offset basis (Internet-Draft
    /// draft-eastlake-fnv).
    #[test]
    fn fingerprint_matches_published_fnv_1a_values() {
        assert_eq!(
            fingerprint("a"),
            format!("{:08x}", 0xaf63_dc4c_u64 ^ 0x8601_ec8c)
        );
        assert_eq!(
            fingerprint(""),
            format!("{:08x}", 0xcbf2_9ce4_u64 ^ 0x8422_2325)
        );
    }
}
