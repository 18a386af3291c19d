//! What is said over a websocket, as payloads: `[kind, data]` or `[8, code, reason]` by the machine, `[reply, kind, data]` by its client.

use std::borrow::Cow;

use bytes::Bytes;
use seed::ReplyId;
use seed::cbor::{CborError, Fault, Reader, Writer};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message as Frame, Utf8Bytes};

/// A reason for closing, at most (RFC 6455, 5.5).
pub(super) const REASON_BYTES_MAX: usize = 123;

/// Kinds of messages: their opcodes.
pub(super) const TEXT: u64 = 1;
pub(super) const BINARY: u64 = 2;
const CLOSE: u64 = 8;

/// What the machine is told of a client's message.
pub(super) fn encode(reply: ReplyId, kind: u64, data: &[u8]) -> Vec<u8> {
    let mut payload = Writer::with_capacity(data.len() + 32);
    payload.array(3).uint(reply.0).uint(kind).bytes(data);
    payload.finish()
}

/// What a machine says.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// A message.
    Message(Frame),
    /// The end.
    Close(CloseFrame),
}

/// What the payload of a further part of an answer says.
///
/// # Errors
/// Why that is nothing.
pub(super) fn decode(payload: &Bytes) -> Result<Said, Cow<'static, str>> {
    let (kind, code, data) = read(payload).map_err(|error| error.to_string())?;
    let text = |data: &[u8]| Utf8Bytes::try_from(payload.slice_ref(data)).map_err(|_| "its text is no UTF-8");
    match (kind, code) {
        (TEXT, None) => Ok(Said::Message(Frame::Text(text(data)?))),
        (BINARY, None) => Ok(Said::Message(Frame::Binary(payload.slice_ref(data)))),
        (CLOSE, Some(code)) => {
            let code = u16::try_from(code).map(CloseCode::from).ok().filter(|code| code.is_allowed());
            let code = code.ok_or("its code is none that is sent")?;
            if data.len() > REASON_BYTES_MAX {
                return Err("its reason is too long".into());
            }
            Ok(Said::Close(CloseFrame { code, reason: text(data)? }))
        }
        _ => Err("its kind is none of 1, 2 and 8".into()),
    }
}

/// `[kind, data]`, or `[8, code, reason]`.
fn read(payload: &[u8]) -> Result<(u64, Option<u64>, &[u8]), CborError> {
    let mut reader = Reader::new(payload);
    let items = reader.array()?;
    let kind = reader.uint()?;
    let code = match items {
        2 => None,
        3 => Some(reader.uint()?),
        _ => return Err(reader.fault(Fault::Rule("wrong number of items"))),
    };
    let data = reader.bytes()?;
    reader.end()?;
    Ok((kind, code, data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::golden::bytes;

    fn decoded(bytes: &[u8]) -> Result<Said, String> {
        decode(&Bytes::copy_from_slice(bytes)).map_err(Cow::into_owned)
    }

    #[test]
    fn what_a_machine_says_in_bytes() {
        assert_eq!(encode(ReplyId(7), TEXT, b"hi"), bytes("http heard"));
        assert_eq!(decoded(&bytes("http text")), Ok(Said::Message(Frame::Text("hi".into()))));
        assert_eq!(decoded(&bytes("http bytes")), Ok(Said::Message(Frame::Binary(Bytes::from_static(b"hi")))));
        assert_eq!(decoded(b"\x82\x02\x41\xff"), Ok(Said::Message(Frame::Binary(Bytes::from_static(b"\xff")))));
        let last = CloseFrame { code: CloseCode::Normal, reason: "bye".into() };
        assert_eq!(decoded(&bytes("http close")), Ok(Said::Close(last)));
        for (bytes, why) in [
            (&b"\x82\x01\x41\xff"[..], "its text is no UTF-8"),
            (b"\x82\x03\x40", "its kind is none of 1, 2 and 8"),
            (b"\x83\x01\x18\x64\x40", "its kind is none of 1, 2 and 8"),
            (b"\x83\x08\x19\x03\xed\x40", "its code is none that is sent"),
        ] {
            assert_eq!(decoded(bytes).unwrap_err(), why);
        }
        // An array that claims to have other items than follow was taken for a message; the fuzzer found that.
        assert!(decoded(b"\x80\x01\x42hi").unwrap_err().ends_with("wrong number of items"));
        assert!(decoded(b"\x84\x01\x42hi").unwrap_err().ends_with("wrong number of items"));
        for cut in 0..4 {
            decoded(&b"\x82\x01\x42hi"[..cut]).unwrap_err();
        }
    }
}
