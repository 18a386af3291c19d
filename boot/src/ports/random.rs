//! **random**: payload one CBOR integer `n` from 1 to 65536; the answer is `n` bytes of the host's randomness. Resumed by drawing again.

use std::path::Path;

use seed::EffectId;
use seed::cbor::{CborError, Reader};
use seed::message::Code;
use vm::port::{Line, Port, Ticket};

use super::Known;

const BYTES_MAX: u64 = 65_536;

/// Understands the name of a grant.
pub fn parse(name: &str, _folder: &Path) -> Option<Known> {
    (name == "random").then(|| Known::new(name, |_, host| Ok(Some(Box::new(Random::new(host.line.clone()))))))
}

/// The host's randomness as a port.
pub struct Random {
    line: Line,
}

impl Random {
    /// A port that draws from the operating system.
    #[must_use]
    pub fn new(line: Line) -> Self {
        Self { line }
    }
}

impl Port for Random {
    fn ask(&mut self, request: Ticket, payload: Vec<u8>, _resumed: bool) {
        let count = match decode(&payload) {
            Ok(count @ 1..) => count,
            _ => {
                return self.line.broken(
                    request,
                    Code::MALFORMED,
                    format!("random takes a number from 1 to {BYTES_MAX}"),
                );
            }
        };
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(0)];
        match getrandom::fill(&mut bytes) {
            Ok(()) => self.line.answer(request, bytes),
            Err(error) => self.line.broken(request, Code::FAILED, error.to_string()),
        }
    }

    fn effect(&mut self, effect: EffectId, _payload: Vec<u8>) {
        self.line.delivered(effect);
    }

    fn cancel(&mut self, _request: Ticket) {}
}

fn decode(payload: &[u8]) -> Result<u64, CborError> {
    let mut reader = Reader::new(payload);
    let count = reader.uint_max(BYTES_MAX, "the number of bytes")?;
    reader.end()?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::decode;
    use crate::ports::golden::bytes;

    #[test]
    fn a_request_in_bytes() {
        assert_eq!(decode(&bytes("random request")), Ok(16));
    }
}
