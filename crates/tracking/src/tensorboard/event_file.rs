//! Event files: records of TFRecord's framing, each an [`Event`].
//!
//! A record is the length of its data (8 bytes, little-endian), the masked CRC-32C of the length (4
//! bytes), the data, and the masked CRC-32C of the data.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use prl_fs::read_at_most;
use prost::Message;

use super::messages::{Event, What};
use crate::error::{Error, Result};

/// Maximum size of an event file that is read back, in bytes.
const MAX_BYTES: u64 = 1 << 30;
/// Bytes of a record before its data, and after it.
const HEADER: usize = 12;
const FOOTER: usize = 4;

/// An event file that is appended to.
pub(super) struct EventFile {
    file: File,
    path: PathBuf,
}

impl EventFile {
    /// Creates the file, which must not exist.
    pub fn create(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        Ok(Self {
            file: file.map_err(Error::io(path))?,
            path: path.to_owned(),
        })
    }

    /// Appends events.
    pub fn append(&mut self, events: &[Event]) -> Result<()> {
        let mut bytes = Vec::new();
        for event in events {
            frame(&event.encode_to_vec(), &mut bytes);
        }
        self.file.write_all(&bytes).map_err(Error::io(&self.path))
    }
}

/// Appends a record.
fn frame(data: &[u8], bytes: &mut Vec<u8>) {
    let length = (data.len() as u64).to_le_bytes();
    bytes.extend(length);
    bytes.extend(masked_crc(&length).to_le_bytes());
    bytes.extend(data);
    bytes.extend(masked_crc(data).to_le_bytes());
}

/// The CRC-32C, masked as TFRecord does so that a checksum of data with checksums is sound.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

/// Events of a file until its end or its first record that is incomplete or damaged.
pub(super) fn read(path: &Path) -> Result<Vec<Event>> {
    let bytes = read_at_most(path, MAX_BYTES)?;
    let (mut events, mut rest) = (Vec::new(), bytes.as_slice());
    while let Some((data, after)) = next_record(rest) {
        let Ok(event) = Event::decode(data) else {
            break;
        };
        events.push(event);
        rest = after;
    }
    Ok(events)
}

/// The data of the first record, and what follows the record.
fn next_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    let (length, crc) = header.split_at(HEADER - 4);
    if masked_crc(length).to_le_bytes() != crc {
        return None;
    }
    let length = u64::from_le_bytes(length.try_into().ok()?);
    let (data, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let (crc, rest) = rest.split_at_checked(FOOTER)?;
    (masked_crc(data).to_le_bytes() == crc).then_some((data, rest))
}

/// Last step with a validation in a file.
pub(super) fn last_step(path: &Path) -> Result<Option<u64>> {
    let mut last = None;
    for event in read(path)? {
        if let Some(What::Summary(summary)) = &event.what
            && summary.value.iter().any(|value| value.tag == "epoch")
        {
            last = last.max(u64::try_from(event.step).ok());
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksums of a record with the data "123456789", computed by TensorFlow's definition
    /// from CRC-32C's check value 0xe3069283.
    #[test]
    fn checksum_is_masked() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        let rotated: u32 = 0x2507_c60d;
        assert_eq!(masked_crc(b"123456789"), rotated.wrapping_add(0xa282_ead8));
    }

    #[test]
    fn damaged_record_ends_the_events() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut file = EventFile::create(&path).unwrap();
        let mut events = Vec::new();
        for step in 1..=3 {
            events.push(Event::at(step, What::FileVersion("v".into())));
        }
        file.append(&events).unwrap();
        assert_eq!(read(&path).unwrap(), events);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);
    }
}
