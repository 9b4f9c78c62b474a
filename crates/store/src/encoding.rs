//! Events as bytes, on disk and in Redis.
//!
//! An event is its kind, `c` or `p`, and its item id in UTF-8; on disk several events form a chunk,
//! each preceded by its length as a little-endian u32.

use prl_dataset::Kind;

use crate::session_store::Event;

/// One event.
pub(crate) fn encode(event: &Event) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + event.item.len());
    bytes.push(match event.kind {
        Kind::Click => b'c',
        Kind::Purchase => b'p',
    });
    bytes.extend_from_slice(event.item.as_bytes());
    bytes
}

/// The event of [`encode`]; `None` if it is not one.
pub(crate) fn decode(bytes: &[u8]) -> Option<Event> {
    let (kind, item) = bytes.split_first()?;
    let kind = match kind {
        b'c' => Kind::Click,
        b'p' => Kind::Purchase,
        _ => return None,
    };
    let item = std::str::from_utf8(item).ok()?.into();
    Some(Event { item, kind })
}

/// A chunk of events.
pub(crate) fn encode_chunk(events: &[Event]) -> Vec<u8> {
    let mut chunk = Vec::new();
    for event in events {
        let bytes = encode(event);
        // Item ids are at most a few hundred bytes long.
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        chunk.extend_from_slice(&len.to_le_bytes());
        chunk.extend_from_slice(&bytes);
    }
    chunk
}

/// Appends the events of a chunk; `None` if it is not one.
pub(crate) fn decode_chunk(mut chunk: &[u8], events: &mut Vec<Event>) -> Option<()> {
    while let Some((len, rest)) = chunk.split_first_chunk() {
        let len = u32::from_le_bytes(*len) as usize;
        let (event, rest) = rest.split_at_checked(len)?;
        events.push(decode(event)?);
        chunk = rest;
    }
    chunk.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use super::{decode, decode_chunk, encode_chunk};
    use crate::Event;
    use prl_dataset::Kind;

    #[test]
    fn chunk_survives_encoding() {
        let mut events = vec![Event::click("naïve/id".into()), Event::click("".into())];
        events[1].kind = Kind::Purchase;
        let mut back = Vec::new();
        decode_chunk(&encode_chunk(&events), &mut back).unwrap();
        assert_eq!(back, events);
    }

    #[test]
    fn bytes_that_are_no_events_are_refused() {
        assert_eq!(decode(b""), None);
        assert_eq!(decode(b"x1"), None);
        assert_eq!(decode(b"c\xff"), None);
        let chunk = encode_chunk(&[Event::click("abc".into())]);
        for cut in 1..chunk.len() {
            assert_eq!(decode_chunk(&chunk[..cut], &mut Vec::new()), None, "{cut}");
        }
    }
}
