//! Content encodings of request bodies.

use std::io::Read;

use axum::http::{HeaderMap, header};
use flate2::read::MultiGzDecoder;

use crate::problem::{Problem, ProblemKind};

/// Encoding of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
}

impl Encoding {
    /// The encoding that the headers name.
    ///
    /// # Errors
    /// [`ProblemKind::Encoding`] for one that is not supported, or several.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let unsupported = |found: &str| {
            let detail = format!("content encoding {found:?}; send gzip, or the body as it is");
            Problem::new(ProblemKind::Encoding, detail)
        };
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(value) = values.next() else {
            return Ok(Self::Identity);
        };
        let name = value.to_str().unwrap_or("not text").trim();
        if values.next().is_some() {
            return Err(unsupported("several headers"));
        }
        match name.to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            _ => Err(unsupported(name)),
        }
    }
}

/// The decompressed body.
///
/// # Errors
/// [`ProblemKind::TooLarge`] if it is longer than `limit`, found without decompressing more than
/// that; [`ProblemKind::Malformed`] if it is not gzip.
pub(crate) fn gunzip(compressed: &[u8], limit: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let mut decoder = MultiGzDecoder::new(compressed).take(limit as u64 + 1);
    if let Err(error) = decoder.read_to_end(&mut bytes) {
        let detail = format!("the body is no complete gzip stream: {error}");
        return Err(Problem::new(ProblemKind::Malformed, detail));
    }
    if bytes.len() > limit {
        let detail = format!("the decompressed body exceeds the length limit of {limit} bytes");
        return Err(Problem::new(ProblemKind::TooLarge, detail));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::http::{HeaderMap, HeaderValue, header};
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::{Encoding, gunzip};
    use crate::problem::ProblemKind;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gunzip_stops_at_limit() {
        let body = gzip(b"0123456789");
        assert_eq!(gunzip(&body, 10).unwrap(), b"0123456789");
        assert_eq!(gunzip(&body, 9).unwrap_err().kind, ProblemKind::TooLarge);
        let two_members = [gzip(b"01"), gzip(b"23")].concat();
        assert_eq!(gunzip(&two_members, 4).unwrap(), b"0123");
        // 8 MiB of zeros in 8 KiB.
        let bomb = gzip(&vec![0; 8 << 20]);
        assert!(bomb.len() < 1 << 14);
        assert_eq!(
            gunzip(&bomb, 1 << 20).unwrap_err().kind,
            ProblemKind::TooLarge
        );
    }

    #[test]
    fn gunzip_refuses_broken_streams() {
        let body = gzip(b"0123456789");
        let mut flipped = body.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let mut trailing = body.clone();
        trailing.extend(b"garbage");
        for broken in [&body[..body.len() - 1], &flipped, &trailing, b"{}"] {
            assert_eq!(
                gunzip(broken, 100).unwrap_err().kind,
                ProblemKind::Malformed
            );
        }
    }

    #[test]
    fn encoding_is_named_by_one_header() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            Encoding::of(&headers).map_err(|problem| problem.kind)
        };
        assert_eq!(of(&[]), Ok(Encoding::Identity));
        assert_eq!(of(&["identity"]), Ok(Encoding::Identity));
        assert_eq!(of(&["GZip"]), Ok(Encoding::Gzip));
        for refused in [
            &["br"][..],
            &["gzip, gzip"],
            &["gzip", "gzip"],
            &["deflate"],
        ] {
            assert_eq!(of(refused), Err(ProblemKind::Encoding), "{refused:?}");
        }
    }
}
