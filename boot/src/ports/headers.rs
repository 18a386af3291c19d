//! Headers of HTTP as payloads have them: an array of `[name, value]`, byte strings, in their order, names in small letters.
//!
//! Those of one connection are a port's own affair: a machine is not told of them, and cannot set them.

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use seed::cbor::{CborError, Fault, Reader, Writer};

/// Headers of one connection, not of what is said over it (RFC 9110, 7.6.1, and the length that a port counts itself).
const OF_THE_CONNECTION: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];
/// Of what a machine says.
const HEADERS_MAX: usize = 256;

/// A name and a value, as a payload has them.
pub(super) type Field<'a> = (&'a [u8], &'a [u8]);

/// Writes what a machine is told of headers: those of the connection only if they are named.
pub(super) fn write(headers: &HeaderMap, also: &[HeaderName], writer: &mut Writer) {
    let is_told = |name| also.contains(name) || !OF_THE_CONNECTION.contains(name);
    let told = || headers.iter().filter(|(name, _)| is_told(*name));
    writer.array(told().count());
    for (name, value) in told() {
        writer.array(2).bytes(name.as_str().as_bytes()).bytes(value.as_bytes());
    }
}

/// Reads headers that a machine sets.
///
/// # Errors
/// If they are malformed.
pub(super) fn read<'a>(reader: &mut Reader<'a>) -> Result<Vec<Field<'a>>, CborError> {
    let count = reader.array()?;
    if count > HEADERS_MAX {
        return Err(reader.fault(Fault::Rule("too many headers")));
    }
    let mut fields = Vec::new();
    for _ in 0..count {
        reader.array_of(2)?;
        fields.push((reader.bytes()?, reader.bytes()?));
    }
    Ok(fields)
}

/// The headers that `fields` are. Whose the others are, is `owner`.
///
/// # Errors
/// What is wrong with them.
pub(super) fn check(fields: &[Field<'_>], owner: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let shown = String::from_utf8_lossy(name);
        let name = HeaderName::from_bytes(name).map_err(|_| format!("{shown:?} is no name of a header"))?;
        let value = HeaderValue::from_bytes(value).map_err(|_| format!("the value of its header {name} is none"))?;
        if OF_THE_CONNECTION.contains(&name) {
            return Err(format!("the header {name} is the {owner}'s to set"));
        }
        headers.append(name, value);
    }
    Ok(headers)
}
