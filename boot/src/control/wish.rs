//! What a client of the control socket wants, as frames: `[1, id, key, payload]`, `[9, id, revoke, [name..]]` and
//! `[12, id, port, payload]`.

use seed::PortId;
use seed::cbor::{CborError, Fault, Reader, Writer};
use seed::record::SENDER_KEY_BYTES_MAX;

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// To say something to the machine.
    Send {
        /// The sender's key, or empty.
        key: Vec<u8>,
        /// What.
        payload: Vec<u8>,
    },
    /// To ask it something by a port, which changes nothing.
    Query {
        /// The port.
        port: PortId,
        /// What.
        payload: Vec<u8>,
    },
    /// To change its grants.
    Regrant {
        /// Whether they are to be taken away.
        revokes: bool,
        /// Their names.
        names: Vec<String>,
    },
}

/// How many names one frame may have, and how many bytes each.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Names.
    pub names: usize,
    /// Bytes of one.
    pub name_bytes: usize,
}

/// The frame that says something.
#[must_use]
pub fn encode_send(id: u64, key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut frame = Writer::new();
    frame.array(4).uint(1).uint(id).bytes(key).bytes(payload);
    frame.finish()
}

/// The frame that asks something.
#[must_use]
pub fn encode_query(id: u64, port: PortId, payload: &[u8]) -> Vec<u8> {
    let mut frame = Writer::new();
    frame.array(4).uint(12).uint(id).uint(port.0).bytes(payload);
    frame.finish()
}

/// The frame that changes grants.
#[must_use]
pub fn encode_regrant(id: u64, revokes: bool, names: &[String]) -> Vec<u8> {
    let mut frame = Writer::new();
    frame.array(4).uint(9).uint(id).flag(revokes).array(names.len());
    names.iter().fold(&mut frame, |frame, name| frame.text(name));
    frame.finish()
}

/// What a frame wants, and under which number.
///
/// # Errors
/// If it is none.
pub fn decode(frame: &[u8], bounds: Bounds) -> Result<(u64, Wish), CborError> {
    let mut reader = Reader::new(frame);
    reader.array_of(4)?;
    let at = reader.position();
    let kind = reader.uint()?;
    let id = reader.uint()?;
    let wish = match kind {
        1 => {
            let key = reader.bytes()?;
            if key.len() > SENDER_KEY_BYTES_MAX {
                return Err(reader.fault(Fault::Range { what: "a sender key's length" }));
            }
            Wish::Send { key: key.to_vec(), payload: reader.bytes()?.to_vec() }
        }
        12 => Wish::Query { port: PortId(reader.uint()?), payload: reader.bytes()?.to_vec() },
        9 => Wish::Regrant { revokes: reader.flag()?, names: names(&mut reader, bounds)? },
        _ => return Err(CborError { at, fault: Fault::Range { what: "a client frame's kind" } }),
    };
    reader.end()?;
    Ok((id, wish))
}

fn names(reader: &mut Reader<'_>, bounds: Bounds) -> Result<Vec<String>, CborError> {
    let count = reader.array()?;
    if count > bounds.names {
        return Err(reader.fault(Fault::Range { what: "the number of ports" }));
    }
    let mut names = Vec::new();
    for _ in 0..count {
        let name = reader.text()?;
        if name.len() > bounds.name_bytes {
            return Err(reader.fault(Fault::Range { what: "the length of a port's name" }));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}
