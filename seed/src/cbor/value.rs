//! Any CBOR item as a value.

use super::{BYTES, CborError, Fault, Reader, TEXT, UINT, Writer};

/// How deeply arrays of a [`Value`] may be nested.
pub const DEPTH_MAX: usize = 64;

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
    /// Decodes one item, nested at most [`DEPTH_MAX`] arrays deep, that fills all of `input`.
    ///
    /// # Errors
    /// If `input` is not canonical.
    pub fn decode(input: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(input);
        let value = Self::read(&mut reader, DEPTH_MAX)?;
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
                let deeper = depth.checked_sub(1).ok_or_else(|| reader.fault(Fault::Depth))?;
                let count = reader.array()?;
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
            Self::Uint(value) => {
                writer.uint(*value);
            }
            Self::Bytes(value) => {
                writer.bytes(value);
            }
            Self::Text(value) => {
                writer.text(value);
            }
            Self::Array(items) => {
                writer.array(items.len());
                items.iter().for_each(|item| item.write(writer));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
            (&[0x1c], "byte 0: an indefinite length or a reserved form"),
            (&[0x20], "byte 0: expected an array, found a negative integer (not allowed)"),
            (&[0xa0], "byte 0: expected an array, found a map (not allowed)"),
            (&[0xc0, 0x00], "byte 0: expected an array, found a tag (not allowed)"),
            (&[0xf4], "byte 0: expected an array, found a float or simple value (not allowed)"),
            (&[0x9f, 0xff], "byte 0: an indefinite length or a reserved form"),
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
