//! Deterministic CBOR (RFC 8949, 4.2.1), restricted to unsigned integers, byte strings, text strings and definite arrays.
//!
//! One value has exactly one encoding, and the reader refuses every other: longer length forms, indefinite lengths, maps, tags,
//! floats, negative integers and simple values. Reading never allocates more than the input is long.
//!
//! | first byte | item |
//! |---|---|
//! | `00`..`1b` | unsigned integer, shortest form |
//! | `40`..`5b` | byte string |
//! | `60`..`7b` | text string, UTF-8 |
//! | `80`..`9b` | array |

use thiserror::Error;

const UINT: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;

/// Builds one encoding, item by item. The caller keeps the count that it promised to [`Writer::array`].
#[derive(Debug, Default, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty encoding.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty encoding with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity) }
    }

    /// The finished encoding.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// Starts an array of `count` items.
    pub fn array(&mut self, count: usize) -> &mut Self {
        self.head(ARRAY, count as u64)
    }

    /// An unsigned integer.
    pub fn uint(&mut self, value: u64) -> &mut Self {
        self.head(UINT, value)
    }

    /// The integers 0 and 1 stand for false and true.
    pub fn flag(&mut self, value: bool) -> &mut Self {
        self.uint(u64::from(value))
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(BYTES, value.len() as u64);
        self.bytes.extend_from_slice(value);
        self
    }

    /// A text string.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.head(TEXT, value.len() as u64);
        self.bytes.extend_from_slice(value.as_bytes());
        self
    }

    /// Items that are already encoded, taken as they are.
    pub fn encoded(&mut self, items: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(items);
        self
    }

    fn head(&mut self, major: u8, value: u64) -> &mut Self {
        let [.., b4, b5, b6, b7] = value.to_be_bytes();
        let major = major << 5;
        match value {
            0..24 => self.bytes.push(major | b7),
            24..=0xff => self.bytes.extend_from_slice(&[major | 24, b7]),
            0x100..=0xffff => self.bytes.extend_from_slice(&[major | 25, b6, b7]),
            0x1_0000..=0xffff_ffff => self.bytes.extend_from_slice(&[major | 26, b4, b5, b6, b7]),
            _ => {
                self.bytes.push(major | 27);
                self.bytes.extend_from_slice(&value.to_be_bytes());
            }
        }
        self
    }
}

/// Why bytes are not the canonical encoding of what was expected. `at` is an offset in bytes from the start of the input.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("byte {at}: {fault}")]
pub struct CborError {
    /// Where.
    pub at: usize,
    /// What.
    pub fault: Fault,
}

/// What is wrong with an encoding.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// The input ends inside an item.
    #[error("the input ends in the middle of an item")]
    Truncated,
    /// Bytes follow the last item.
    #[error("there are bytes after the end")]
    Trailing,
    /// Another kind of item was expected.
    #[error("expected {expected}, found {found}")]
    Kind {
        /// What the reader asked for.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A number or length is not in its shortest form.
    #[error("a number is not in its shortest form")]
    NotShortest,
    /// A text string is not UTF-8.
    #[error("a text string is not UTF-8")]
    NotUtf8,
    /// An array has another number of items.
    #[error("expected an array of {expected} items, found {found}")]
    Count {
        /// What the reader asked for.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// A number is outside its range.
    #[error("{what} is out of range")]
    Range {
        /// Which number.
        what: &'static str,
    },
    /// Arrays are nested deeper than the reader allows.
    #[error("arrays are nested too deeply")]
    Depth,
    /// A rule of the format, not of CBOR, is broken.
    #[error("{0}")]
    Rule(&'static str),
}

/// Reads one encoding, strictly.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `input`.
    #[must_use]
    pub fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// An error at the current offset.
    #[must_use]
    pub fn fault(&self, fault: Fault) -> CborError {
        CborError { at: self.at, fault }
    }

    /// Offset in bytes of the next item.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Starts an array; its number of items. The count is at most the number of bytes left, so it may be used to reserve.
    ///
    /// # Errors
    /// If the next item is not an array, or claims more items than there are bytes.
    pub fn array(&mut self) -> Result<usize, CborError> {
        let start = self.at;
        let count = self.head(ARRAY)?;
        usize::try_from(count)
            .ok()
            .filter(|&count| count <= self.input.len() - self.at)
            .ok_or(CborError { at: start, fault: Fault::Truncated })
    }

    /// Starts an array of exactly `expected` items.
    ///
    /// # Errors
    /// If the next item is not an array, or one of another length.
    pub fn array_of(&mut self, expected: usize) -> Result<(), CborError> {
        let start = self.at;
        let found = self.head(ARRAY)?;
        if found == expected as u64 {
            return Ok(());
        }
        Err(CborError { at: start, fault: Fault::Count { expected: expected as u64, found } })
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// If the next item is not one.
    pub fn uint(&mut self) -> Result<u64, CborError> {
        self.head(UINT)
    }

    /// An unsigned integer of at most `max`.
    ///
    /// # Errors
    /// If the next item is not one.
    pub fn uint_max(&mut self, max: u64, what: &'static str) -> Result<u64, CborError> {
        let start = self.at;
        let value = self.head(UINT)?;
        if value <= max { Ok(value) } else { Err(CborError { at: start, fault: Fault::Range { what } }) }
    }

    /// The integer 0 or 1.
    ///
    /// # Errors
    /// If the next item is anything else.
    pub fn flag(&mut self) -> Result<bool, CborError> {
        Ok(self.uint_max(1, "a flag")? == 1)
    }

    /// A byte string.
    ///
    /// # Errors
    /// If the next item is not one.
    pub fn bytes(&mut self) -> Result<&'a [u8], CborError> {
        let length = self.head(BYTES)?;
        self.take(length)
    }

    /// A byte string of exactly `N` bytes.
    ///
    /// # Errors
    /// If the next item is not one.
    pub fn bytes_of<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], CborError> {
        let start = self.at;
        self.bytes()?.try_into().map_err(|_| CborError { at: start, fault: Fault::Range { what } })
    }

    /// A text string.
    ///
    /// # Errors
    /// If the next item is not one, or not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, CborError> {
        let start = self.at;
        let length = self.head(TEXT)?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| CborError { at: start, fault: Fault::NotUtf8 })
    }

    /// Passes over one whole item and returns its encoding.
    ///
    /// # Errors
    /// If it is not canonical or nested more than `depth` arrays deep.
    pub fn item(&mut self, depth: usize) -> Result<&'a [u8], CborError> {
        let start = self.at;
        self.skip(depth)?;
        Ok(&self.input[start..self.at])
    }

    /// Whether all input has been read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.at == self.input.len()
    }

    /// Ends reading.
    ///
    /// # Errors
    /// If bytes are left.
    pub fn end(self) -> Result<(), CborError> {
        if self.is_at_end() { Ok(()) } else { Err(self.fault(Fault::Trailing)) }
    }

    fn skip(&mut self, depth: usize) -> Result<(), CborError> {
        match self.peek()? >> 5 {
            UINT => self.uint().map(drop),
            BYTES => self.bytes().map(drop),
            TEXT => self.text().map(drop),
            _ => {
                let start = self.at;
                let count = self.array()?;
                let deeper = depth.checked_sub(1).ok_or(CborError { at: start, fault: Fault::Depth })?;
                (0..count).try_for_each(|_| self.skip(deeper))
            }
        }
    }

    fn peek(&self) -> Result<u8, CborError> {
        self.input.get(self.at).copied().ok_or_else(|| self.fault(Fault::Truncated))
    }

    fn head(&mut self, major: u8) -> Result<u64, CborError> {
        let start = self.at;
        let first = self.peek()?;
        if first >> 5 != major {
            let fault = Fault::Kind { expected: kind(major), found: kind(first >> 5) };
            return Err(CborError { at: start, fault });
        }
        self.at += 1;
        let short = u64::from(first & 31);
        let (value, least) = match short {
            0..24 => return Ok(short),
            24 => (self.big_endian(1)?, 24),
            25 => (self.big_endian(2)?, 0x100),
            26 => (self.big_endian(4)?, 0x1_0000),
            27 => (self.big_endian(8)?, 0x1_0000_0000),
            _ => return Err(CborError { at: start, fault: Fault::NotShortest }),
        };
        if value >= least { Ok(value) } else { Err(CborError { at: start, fault: Fault::NotShortest }) }
    }

    fn big_endian(&mut self, width: u64) -> Result<u64, CborError> {
        Ok(self.take(width)?.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], CborError> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        match end.and_then(|end| self.input.get(self.at..end)) {
            Some(bytes) => {
                self.at += bytes.len();
                Ok(bytes)
            }
            None => Err(self.fault(Fault::Truncated)),
        }
    }
}

fn kind(major: u8) -> &'static str {
    match major {
        UINT => "an unsigned integer",
        1 => "a negative integer (not allowed)",
        BYTES => "a byte string",
        TEXT => "a text string",
        ARRAY => "an array",
        5 => "a map (not allowed)",
        6 => "a tag (not allowed)",
        _ => "a float or simple value (not allowed)",
    }
}

/// Any item, for showing to people what no schema is known for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// An unsigned integer.
    Uint(u64),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A text string.
    Text(String),
    /// An array.
    Array(Vec<Value>),
}

impl Value {
    /// Decodes one item, nested at most 64 arrays deep, that fills all of `input`.
    ///
    /// # Errors
    /// If `input` is not canonical.
    pub fn decode(input: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(input);
        let value = Self::read(&mut reader, 64)?;
        reader.end()?;
        Ok(value)
    }

    /// Its encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        self.write(&mut writer);
        writer.finish()
    }

    fn read(reader: &mut Reader<'_>, depth: usize) -> Result<Self, CborError> {
        Ok(match reader.peek()? >> 5 {
            UINT => Self::Uint(reader.uint()?),
            BYTES => Self::Bytes(reader.bytes()?.to_vec()),
            TEXT => Self::Text(reader.text()?.to_owned()),
            _ => {
                let count = reader.array()?;
                let deeper = depth.checked_sub(1).ok_or_else(|| reader.fault(Fault::Depth))?;
                // Not reserved ahead: a count is cheap to claim and an item of `Value` is large.
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(Self::read(reader, deeper)?);
                }
                Self::Array(items)
            }
        })
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Uint(value) => drop(writer.uint(*value)),
            Self::Bytes(value) => drop(writer.bytes(value)),
            Self::Text(value) => drop(writer.text(value)),
            Self::Array(items) => {
                writer.array(items.len());
                items.iter().for_each(|item| item.write(writer));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn numbers_take_their_shortest_form() {
        let encode = |value| hex(&Value::Uint(value).encode());
        let forms = [0, 23, 24, 255, 256, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX].map(encode);
        assert_eq!(
            forms,
            [
                "00",
                "17",
                "1818",
                "18ff",
                "190100",
                "19ffff",
                "1a00010000",
                "1affffffff",
                "1b0000000100000000",
                "1bffffffffffffffff"
            ]
        );
    }

    #[test]
    fn every_other_form_is_refused() {
        let refused: &[(&[u8], &str)] = &[
            (&[], "byte 0: the input ends in the middle of an item"),
            (&[0x18, 0x17], "byte 0: a number is not in its shortest form"),
            (&[0x19, 0x00, 0xff], "byte 0: a number is not in its shortest form"),
            (&[0x1c], "byte 0: a number is not in its shortest form"),
            (&[0x20], "byte 0: expected an array, found a negative integer (not allowed)"),
            (&[0xa0], "byte 0: expected an array, found a map (not allowed)"),
            (&[0xc0, 0x00], "byte 0: expected an array, found a tag (not allowed)"),
            (&[0xf4], "byte 0: expected an array, found a float or simple value (not allowed)"),
            (&[0x9f, 0xff], "byte 0: a number is not in its shortest form"),
            (&[0x42, 0x00], "byte 1: the input ends in the middle of an item"),
            (&[0x5b, 255, 255, 255, 255, 255, 255, 255, 255], "byte 9: the input ends in the middle of an item"),
            (&[0x9b, 255, 255, 255, 255, 255, 255, 255, 255], "byte 0: the input ends in the middle of an item"),
            (&[0x61, 0xff], "byte 0: a text string is not UTF-8"),
            (&[0x00, 0x00], "byte 1: there are bytes after the end"),
        ];
        for (bytes, expected) in refused {
            assert_eq!(Value::decode(bytes).unwrap_err().to_string(), *expected, "{}", hex(bytes));
        }
        let deep = [vec![0x81; 65], vec![0x00]].concat();
        assert_eq!(Value::decode(&deep).unwrap_err().fault, Fault::Depth);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<u64>().prop_map(Value::Uint),
            (0_u64..300).prop_map(Value::Uint),
            proptest::collection::vec(any::<u8>(), 0..300).prop_map(Value::Bytes),
            ".{0,40}".prop_map(Value::Text),
        ];
        leaf.prop_recursive(5, 60, 8, |inner| proptest::collection::vec(inner, 0..8).prop_map(Value::Array))
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in values()) {
            prop_assert_eq!(Value::decode(&value.encode()), Ok(value));
        }

        #[test]
        fn what_reads_is_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = Value::decode(&bytes) {
                prop_assert_eq!(value.encode(), bytes);
            }
        }
    }
}
