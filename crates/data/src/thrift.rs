//! Reader for Thrift's compact protocol, as far as Parquet uses it. Rejects lengths that exceed the
//! input (<https://github.com/apache/thrift>, thrift-compact-protocol.md).

/// Maximum number of elements of all lists together: each takes memory, here and in later readers.
const MOST_ELEMENTS: usize = 1 << 21;
/// Maximum nesting of structs; Parquet has seven.
const MOST_DEPTH: usize = 16;

/// Decoded value.
#[derive(Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Whole(i64),
    Bytes(&'a [u8]),
    List(List<'a>),
    Struct(Vec<Field<'a>>),
    /// Value of an unused type.
    Other,
}

/// Field of a struct.
#[derive(Debug, PartialEq)]
pub(crate) struct Field<'a> {
    pub id: i64,
    /// Type, as the protocol numbers them.
    pub kind: u8,
    pub value: Value<'a>,
    /// Bytes of the value, without the field's header.
    pub encoded: &'a [u8],
}

/// List of values of one type.
#[derive(Debug, PartialEq)]
pub(crate) struct List<'a> {
    /// Type of the elements, as the protocol numbers them.
    pub kind: u8,
    pub elements: Vec<Value<'a>>,
    /// Bytes of each element.
    pub encoded: Vec<&'a [u8]>,
}

impl<'a> Value<'a> {
    /// Field of a struct.
    pub(crate) fn field(&self, id: i64) -> Option<&Value<'a>> {
        let Value::Struct(fields) = self else {
            return None;
        };
        let field = fields.iter().find(|field| field.id == id)?;
        Some(&field.value)
    }

    /// Field of a struct that is a whole number.
    pub(crate) fn whole(&self, id: i64) -> Option<i64> {
        if let Some(Value::Whole(n)) = self.field(id) {
            Some(*n)
        } else {
            None
        }
    }

    /// Field of a struct that is bytes.
    pub(crate) fn bytes(&self, id: i64) -> Option<&'a [u8]> {
        if let Some(Value::Bytes(bytes)) = self.field(id) {
            Some(bytes)
        } else {
            None
        }
    }

    /// Elements of a field that is a list; empty for any other field.
    pub(crate) fn elements(&self, id: i64) -> &[Value<'a>] {
        if let Some(Value::List(list)) = self.field(id) {
            &list.elements
        } else {
            &[]
        }
    }
}

/// Reads the struct at the start of `bytes`; returns it and its length, or `None` if it is invalid.
pub(crate) fn read(bytes: &[u8]) -> Option<(Value<'_>, usize)> {
    let mut reader = Reader {
        rest: bytes,
        elements: 0,
    };
    let value = reader.structure(0)?;
    Some((value, bytes.len() - reader.rest.len()))
}

struct Reader<'a> {
    rest: &'a [u8],
    elements: usize,
}

impl<'a> Reader<'a> {
    fn structure(&mut self, depth: usize) -> Option<Value<'a>> {
        let (mut fields, mut id) = (Vec::new(), 0_i64);
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(Value::Struct(fields));
            }
            id = if head >> 4 == 0 {
                self.whole()?
            } else {
                id + i64::from(head >> 4)
            };
            let (kind, before) = (head & 15, self.rest);
            // The header of a boolean field holds its value.
            let value = if matches!(kind, 1 | 2) {
                Value::Other
            } else {
                self.value(kind, depth)?
            };
            fields.push(Field {
                id,
                kind,
                value,
                encoded: self.since(before),
            });
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Option<Value<'a>> {
        if depth > MOST_DEPTH {
            return None;
        }
        match kind {
            1..=3 => self.bytes(1).and(Some(Value::Other)),
            4..=6 => self.whole().map(Value::Whole),
            7 => self.bytes(8).and(Some(Value::Other)),
            8 => {
                let length = self.varint()?;
                self.bytes(length).map(Value::Bytes)
            }
            9 | 10 => self.list(depth),
            12 => self.structure(depth + 1),
            // Parquet has neither maps nor other types.
            _ => None,
        }
    }

    fn list(&mut self, depth: usize) -> Option<Value<'a>> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 {
            self.varint()?
        } else {
            u64::from(head >> 4)
        };
        let count = usize::try_from(count).ok()?;
        self.elements = self.elements.checked_add(count)?;
        // Every element takes at least one byte.
        if count > self.rest.len() || self.elements > MOST_ELEMENTS {
            return None;
        }
        let mut list = List {
            kind: head & 15,
            elements: Vec::with_capacity(count),
            encoded: Vec::with_capacity(count),
        };
        for _ in 0..count {
            let before = self.rest;
            list.elements.push(self.value(list.kind, depth + 1)?);
            list.encoded.push(self.since(before));
        }
        Some(Value::List(list))
    }

    /// Bytes read since `before` was the rest.
    fn since(&self, before: &'a [u8]) -> &'a [u8] {
        &before[..before.len() - self.rest.len()]
    }

    /// Reads a signed number.
    fn whole(&mut self) -> Option<i64> {
        let n = self.varint()?;
        Some((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn bytes(&mut self, length: u64) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(bytes)
    }
}

/// Writer of a struct, field by field in the order of their ids.
#[derive(Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    id: i64,
}

impl Writer {
    /// Adds a field of encoded bytes.
    pub(crate) fn field(&mut self, id: i64, kind: u8, encoded: &[u8]) {
        match u8::try_from(id - self.id) {
            Ok(step @ 1..=15) => self.bytes.push(step << 4 | kind),
            _ => {
                self.bytes.push(kind);
                self.bytes.extend(whole(id));
            }
        }
        self.id = id;
        self.bytes.extend(encoded);
    }

    /// Adds a field that is a list of encoded elements.
    pub(crate) fn list(&mut self, id: i64, kind: u8, elements: &[impl AsRef<[u8]>]) {
        const LIST: u8 = 9;
        let mut encoded = vec![0xf0 | kind];
        encoded.extend(varint(elements.len() as u64));
        for element in elements {
            encoded.extend(element.as_ref());
        }
        self.field(id, LIST, &encoded);
    }

    /// Ends the struct and returns its bytes.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}

/// Bytes of a signed number.
pub(crate) fn whole(n: i64) -> Vec<u8> {
    varint((n << 1 ^ n >> 63) as u64)
}

fn varint(mut n: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Value, Writer, read, whole};

    #[test]
    fn written_fields_are_read_again() {
        let mut writer = Writer::default();
        writer.field(3, 6, &whole(-70_000));
        writer.list(20, 6, &[whole(1), whole(i64::MIN)]);
        writer.field(21, 8, b"\x02ab");
        let bytes = writer.finish();
        let (value, length) = read(&bytes).unwrap();
        assert_eq!(length, bytes.len());
        assert_eq!(value.whole(3), Some(-70_000));
        assert_eq!(value.elements(20), [1, i64::MIN].map(Value::Whole));
        assert_eq!(value.bytes(21), Some(b"ab".as_slice()));
    }

    #[test]
    fn a_length_is_believed_as_far_as_there_are_bytes() {
        // Field 1 is -3, field 2 a list of three numbers, field 3 two bytes, field 4 true; then
        // something else.
        let (value, length) = read(&[
            0x15, 0x05, 0x19, 0x35, 2, 4, 6, 0x18, 2, b'a', b'b', 0x11, 0, 9,
        ])
        .unwrap();
        assert_eq!(
            (value.whole(1), value.whole(2), length),
            (Some(-3), None, 13)
        );
        assert_eq!(value.elements(2), [1, 2, 3].map(Value::Whole));
        assert_eq!(
            read(&[0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07]),
            None,
            "a list of 2^31 - 1 structs"
        );
        assert_eq!(read(&[0x18, 0xff, 0xff, 0x03, 0]), None, "65,535 bytes");
        assert_eq!(
            (read(&[0x1c; 4000]), read(&[0x19; 4000])),
            (None, None),
            "structs and lists without end"
        );
        assert_eq!(
            (read(&[0x15, 0x80]), read(&[0x1b, 0]), read(&[])),
            (None, None, None)
        );
    }
}
