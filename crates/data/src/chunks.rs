//! A file in chunks of whole records, read ahead by one thread. So memory holds a few chunks, whatever the file's size,
//! and unpacking and hashing run beside parsing.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use prl_sessions::SourceFile;

use crate::error::{Error, Result};
use crate::input::{Input, Stream};

/// Bytes in a chunk; few under unit tests, so that their logs cross many seams.
pub(crate) const CHUNK: usize = if cfg!(test) { 256 } else { 16 << 20 };
/// The longest record; what is longer is no record but a lost quote or another format.
const MAX_RECORD: usize = 64 << 20;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Hands the file to `each` in chunks of whole records, in order, without a byte-order mark. `each` returns the rows it
/// took, which are summed.
pub(crate) fn for_each(
    input: &Input,
    quote: Option<u8>,
    size: usize,
    mut each: impl FnMut(Vec<u8>) -> Result<u64>,
) -> Result<SourceFile> {
    thread::scope(|scope| {
        let (send, receive) = sync_channel(1);
        let reader = scope.spawn(move || read(input, quote, size, &send));
        let mut rows = 0;
        // Leaving early drops the receiver, which ends the reader.
        for chunk in receive {
            rows += each(chunk)?;
        }
        let stream = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(stream.finish(rows))
    })
}

fn read<'a>(input: &'a Input, quote: Option<u8>, size: usize, send: &SyncSender<Vec<u8>>) -> Result<Stream<'a>> {
    let mut stream = input.open()?;
    let mut chunk = Vec::with_capacity(size);
    let mut is_first = true;
    loop {
        let ended = stream.read_into(&mut chunk, size)? < size;
        if std::mem::take(&mut is_first) && chunk.starts_with(BOM) {
            chunk.drain(..BOM.len());
        }
        let cut = if ended { chunk.len() } else { end_of_records(&chunk, quote) };
        if cut == 0 && chunk.len() > MAX_RECORD {
            let what = format!("no record ends within {MAX_RECORD} bytes; a quote is never closed, or this is no text");
            return Err(Error::file(&input.path, what));
        }
        if cut > 0 {
            let mut rest = Vec::with_capacity(chunk.len() - cut + size);
            rest.extend_from_slice(&chunk[cut..]);
            chunk.truncate(cut);
            if send.send(std::mem::replace(&mut chunk, rest)).is_err() {
                return Ok(stream);
            }
        }
        if ended {
            return Ok(stream);
        }
    }
}

/// One past the last line end that stands outside quotes; `bytes` begin outside quotes.
fn end_of_records(bytes: &[u8], quote: Option<u8>) -> usize {
    let Some(quote) = quote.filter(|q| bytes.contains(q)) else {
        return bytes.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
    };
    let (mut outside, mut end) = (true, 0);
    for (i, &b) in bytes.iter().enumerate() {
        if b == quote {
            outside = !outside;
        } else if b == b'\n' && outside {
            end = i + 1;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(text: &str, size: usize) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, text).unwrap();
        let input = Input { path, name: "f".into(), max_unpacked: 0 };
        let mut out = Vec::new();
        let file = for_each(&input, Some(b'"'), size, |c| {
            out.push(String::from_utf8(c).unwrap());
            Ok(1)
        });
        assert_eq!(file.unwrap().rows as usize, out.len());
        out
    }

    #[test]
    fn chunks_end_with_records() {
        assert_eq!(chunks("a,b\nc,d\nlong line\ne", 5), ["a,b\n", "c,d\n", "long line\ne"]);
        assert_eq!(chunks("\u{feff}a\n\"x\ny\"\nb\n", 6), ["a\n", "\"x\ny\"\n", "b\n"]);
        assert!(chunks("", 5).is_empty());
    }

    #[test]
    fn an_early_end_stops_the_reader() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "a\n".repeat(1000)).unwrap();
        let input = Input { path: path.clone(), name: "f".into(), max_unpacked: 0 };
        let stopped = for_each(&input, None, 4, |_| Err(Error::line(&path, 1, "enough")));
        assert!(matches!(stopped, Err(Error::Line { .. })));
    }
}
