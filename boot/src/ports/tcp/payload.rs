//! What is asked of a TCP port, and what it answers, as payloads: deterministic CBOR of arrays, numbers and byte strings.

use seed::cbor::{CborError, Fault, Reader, Writer};

/// What one read may ask for.
pub const READ_BYTES_MAX: u64 = 1 << 20;

/// What is asked of a TCP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask<'a> {
    /// `[0]`: the next connection, or one to the port's address.
    Begin,
    /// `[1, connection, most]`: what has come on a connection.
    Read {
        /// Its number.
        connection: u64,
        /// So many bytes at most.
        most: usize,
    },
    /// `[2, connection, bytes]`: to be sent on it.
    Write {
        /// Its number.
        connection: u64,
        /// What.
        bytes: &'a [u8],
    },
    /// `[3, connection]`: the end of it.
    Close {
        /// Its number.
        connection: u64,
    },
}

impl<'a> Ask<'a> {
    /// Reads one, strictly.
    ///
    /// # Errors
    /// If the payload is none.
    pub fn decode(payload: &'a [u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(payload);
        let items = reader.array()?;
        let ask = match (reader.uint_max(3, "what is asked")?, items) {
            (0, 1) => Ask::Begin,
            (1, 3) => {
                let connection = reader.uint()?;
                let most = reader.uint_max(READ_BYTES_MAX, "the number of bytes")?;
                if most == 0 {
                    return Err(reader.fault(Fault::Rule("a read is of 1 byte or more")));
                }
                Ask::Read { connection, most: usize::try_from(most).unwrap_or(usize::MAX) }
            }
            (2, 3) => Ask::Write { connection: reader.uint()?, bytes: reader.bytes()? },
            (3, 2) => Ask::Close { connection: reader.uint()? },
            _ => return Err(reader.fault(Fault::Rule("wrong number of items"))),
        };
        reader.end()?;
        Ok(ask)
    }

    /// The payload that asks it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        match self {
            Ask::Begin => writer.array(1).uint(0),
            Ask::Read { connection, most } => writer.array(3).uint(1).uint(*connection).uint(*most as u64),
            Ask::Write { connection, bytes } => writer.array(3).uint(2).uint(*connection).bytes(bytes),
            Ask::Close { connection } => writer.array(2).uint(3).uint(*connection),
        };
        writer.finish()
    }
}

/// What `[0]` is answered with: the connection's number, and the address of its other end.
#[must_use]
pub fn encode_begun(connection: u64, address: &str) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(2).uint(connection).bytes(address.as_bytes());
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_request_is_told() {
        let why = |payload: &[u8]| Ask::decode(payload).unwrap_err().fault.to_string();
        assert_eq!(why(&[0x81, 0x04]), "what is asked is out of range");
        assert_eq!(why(&[0x82, 0x00, 0x00]), "wrong number of items");
        assert_eq!(why(&[0x83, 0x01, 0x05, 0x00]), "a read is of 1 byte or more");
        assert_eq!(why(&[0x83, 0x01, 0x05, 0x1a, 0x00, 0x10, 0x00, 0x01]), "the number of bytes is out of range");
        assert_eq!(why(&[0x83, 0x02, 0x05, 0x62, 0x68, 0x69]), "expected a byte string, found a text string");
        assert_eq!(why(&[0x82, 0x03, 0x18, 0x05]), "a number is not in its shortest form");
    }
}
