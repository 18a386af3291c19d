//! What crosses the border of a machine: inputs and outputs, in the encoding of docs/abi.md.

use crate::cbor::{CborError, Fault, Reader, Writer};
use crate::image::{Grant, read_grants, write_grants};
use crate::{Nanos, PortId, ReplyId, RequestId};

/// Why a request was broken or an answer refused. Numbers from 64 are the machine's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u64);

impl Code {
    /// The port or machine does not do this.
    pub const REFUSED: Self = Self(1);
    /// The step that should have dealt with it was aborted.
    pub const ABORTED: Self = Self(2);
    /// The host cannot tell what became of it.
    pub const LOST: Self = Self(3);
    /// No such port for this machine.
    pub const NOT_GRANTED: Self = Self(4);
    /// Over a declared limit.
    pub const LIMIT: Self = Self(5);
    /// The payload is not what the port expects.
    pub const MALFORMED: Self = Self(6);
    /// The other side has ended.
    pub const CLOSED: Self = Self(7);
    /// The port tried and failed.
    pub const FAILED: Self = Self(8);
    /// The owner or the host ended it.
    pub const CANCELLED: Self = Self(9);

    /// The word for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self.0 {
            1 => "refused",
            2 => "aborted",
            3 => "lost",
            4 => "not granted",
            5 => "limit",
            6 => "malformed",
            7 => "closed",
            8 => "failed",
            9 => "cancelled",
            0 | 10..64 => "reserved code",
            _ => "machine's own code",
        }
    }
}

/// One input of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// `[0, genesis, grants]`, or with a fourth item from the machine that became this one.
    Boot {
        /// The seed's genesis data.
        genesis: Vec<u8>,
        /// All grants.
        grants: Vec<Grant>,
        /// From the code before.
        handover: Option<Vec<u8>>,
    },
    /// `[1, port, from, reply, payload]`
    Message {
        /// Where it came in.
        port: PortId,
        /// Who sent it; empty for the owner.
        from: Vec<u8>,
        /// What is owed for it, or [`ReplyId::NONE`].
        reply: ReplyId,
        /// What it says.
        payload: Vec<u8>,
    },
    /// `[2, request, more, payload]`
    Answer {
        /// Which request.
        request: RequestId,
        /// Whether further parts follow.
        more: bool,
        /// What the port says.
        payload: Vec<u8>,
    },
    /// `[3, request, code, text]`
    Broken {
        /// Which request.
        request: RequestId,
        /// Why.
        code: Code,
        /// Why, in words.
        text: String,
    },
    /// `[4, budget]`
    Again {
        /// How long it may go on, as a hint.
        budget: Nanos,
    },
    /// `[5, reply]`
    Gone {
        /// The reply that is no longer owed.
        reply: ReplyId,
    },
    /// `[6, grants]`
    Grants {
        /// All grants, the new list.
        grants: Vec<Grant>,
    },
    /// `[7, port, payload]`
    Query {
        /// Where it came in.
        port: PortId,
        /// What it asks.
        payload: Vec<u8>,
    },
}

impl Input {
    /// Its encoding: the bytes the machine gets, and the log keeps.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        match self {
            Self::Boot { genesis, grants, handover } => {
                writer.array(3 + usize::from(handover.is_some())).uint(0).bytes(genesis);
                write_grants(grants, &mut writer);
                if let Some(handover) = handover {
                    writer.bytes(handover);
                }
            }
            Self::Message { port, from, reply, payload } => {
                writer.array(5).uint(1).uint(port.0).bytes(from).uint(reply.0).bytes(payload);
            }
            Self::Answer { request, more, payload } => {
                writer.array(4).uint(2).uint(request.0).flag(*more).bytes(payload);
            }
            Self::Broken { request, code, text } => {
                writer.array(4).uint(3).uint(request.0).uint(code.0).text(text);
            }
            Self::Again { budget } => {
                writer.array(2).uint(4).uint(budget.0);
            }
            Self::Gone { reply } => {
                writer.array(2).uint(5).uint(reply.0);
            }
            Self::Grants { grants } => {
                writer.array(2).uint(6);
                write_grants(grants, &mut writer);
            }
            Self::Query { port, payload } => {
                writer.array(3).uint(7).uint(port.0).bytes(payload);
            }
        }
        writer.finish()
    }

    /// Reads an encoding.
    ///
    /// # Errors
    /// If it is not canonical or not an input.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(bytes);
        let count = reader.array()?;
        let kind = reader.uint_max(7, "an input's kind")?;
        let input = match (kind, count) {
            (0, 3 | 4) => Self::Boot {
                genesis: reader.bytes()?.to_vec(),
                grants: read_grants(&mut reader)?,
                handover: if count == 4 { Some(reader.bytes()?.to_vec()) } else { None },
            },
            (1, 5) => Self::Message {
                port: PortId(reader.uint()?),
                from: reader.bytes()?.to_vec(),
                reply: ReplyId(reader.uint()?),
                payload: reader.bytes()?.to_vec(),
            },
            (2, 4) => Self::Answer {
                request: RequestId(reader.uint()?),
                more: reader.flag()?,
                payload: reader.bytes()?.to_vec(),
            },
            (3, 4) => Self::Broken {
                request: RequestId(reader.uint()?),
                code: Code(reader.uint()?),
                text: reader.text()?.to_owned(),
            },
            (4, 2) => Self::Again { budget: Nanos(reader.uint()?) },
            (5, 2) => Self::Gone { reply: ReplyId(reader.uint()?) },
            (6, 2) => Self::Grants { grants: read_grants(&mut reader)? },
            (7, 3) => Self::Query { port: PortId(reader.uint()?), payload: reader.bytes()?.to_vec() },
            _ => return Err(reader.fault(Fault::Rule("an input of this kind has another number of items"))),
        };
        reader.end()?;
        Ok(input)
    }
}

/// The most parts that one output may have: a part of two bytes takes many times that in memory.
pub const OUTPUTS_MAX: usize = 1 << 16;

/// One thing a machine wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// `[0, request, port, payload]`
    Ask {
        /// The machine's number for it, or [`RequestId::NONE`] for an effect.
        request: RequestId,
        /// Whom.
        port: PortId,
        /// What.
        payload: Vec<u8>,
    },
    /// `[1, reply, more, payload]`
    Answer {
        /// Which owed reply.
        reply: ReplyId,
        /// Whether further parts follow.
        more: bool,
        /// What.
        payload: Vec<u8>,
    },
    /// `[2, reply, code, text]`
    Refuse {
        /// Which owed reply.
        reply: ReplyId,
        /// Why.
        code: Code,
        /// Why, in words.
        text: String,
    },
    /// `[3, request]`
    Cancel {
        /// Which open request.
        request: RequestId,
    },
    /// `[4]`
    Again,
    /// `[5, seed, handover]`
    Become {
        /// A program seed.
        seed: Vec<u8>,
        /// For the new code.
        handover: Vec<u8>,
    },
    /// `[6, text]`
    Trace {
        /// For the owner's eyes.
        text: String,
    },
}

impl Output {
    /// Reads a whole output: a list of these.
    ///
    /// # Errors
    /// If it is not canonical or not such a list.
    pub fn decode_list(bytes: &[u8]) -> Result<Vec<Self>, CborError> {
        let mut reader = Reader::new(bytes);
        let mut outputs = Vec::new();
        let count = reader.array()?;
        if count > OUTPUTS_MAX {
            return Err(reader.fault(Fault::Rule("an output has too many parts")));
        }
        for _ in 0..count {
            outputs.push(Self::read(&mut reader)?);
        }
        reader.end()?;
        Ok(outputs)
    }

    /// The encoding of a whole output.
    #[must_use]
    pub fn encode_list(outputs: &[Self]) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.array(outputs.len());
        outputs.iter().for_each(|output| output.write(&mut writer));
        writer.finish()
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Ask { request, port, payload } => {
                writer.array(4).uint(0).uint(request.0).uint(port.0).bytes(payload);
            }
            Self::Answer { reply, more, payload } => {
                writer.array(4).uint(1).uint(reply.0).flag(*more).bytes(payload);
            }
            Self::Refuse { reply, code, text } => {
                writer.array(4).uint(2).uint(reply.0).uint(code.0).text(text);
            }
            Self::Cancel { request } => {
                writer.array(2).uint(3).uint(request.0);
            }
            Self::Again => {
                writer.array(1).uint(4);
            }
            Self::Become { seed, handover } => {
                writer.array(3).uint(5).bytes(seed).bytes(handover);
            }
            Self::Trace { text } => {
                writer.array(2).uint(6).text(text);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        let count = reader.array()?;
        let kind = reader.uint_max(6, "an output's kind")?;
        Ok(match (kind, count) {
            (0, 4) => Self::Ask {
                request: RequestId(reader.uint()?),
                port: PortId(reader.uint()?),
                payload: reader.bytes()?.to_vec(),
            },
            (1, 4) => {
                Self::Answer { reply: ReplyId(reader.uint()?), more: reader.flag()?, payload: reader.bytes()?.to_vec() }
            }
            (2, 4) => Self::Refuse {
                reply: ReplyId(reader.uint()?),
                code: Code(reader.uint()?),
                text: reader.text()?.to_owned(),
            },
            (3, 2) => Self::Cancel { request: RequestId(reader.uint()?) },
            (4, 1) => Self::Again,
            (5, 3) => Self::Become { seed: reader.bytes()?.to_vec(), handover: reader.bytes()?.to_vec() },
            (6, 2) => Self::Trace { text: reader.text()?.to_owned() },
            _ => return Err(reader.fault(Fault::Rule("an output of this kind has another number of items"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_read_back() {
        let grants =
            vec![Grant { port: PortId(0), name: "owner".into() }, Grant { port: PortId(7), name: "http:80".into() }];
        let inputs = [
            Input::Boot { genesis: vec![1], grants: grants.clone(), handover: None },
            Input::Boot { genesis: vec![], grants: vec![], handover: Some(vec![2]) },
            Input::Message { port: PortId(0), from: vec![], reply: ReplyId(9), payload: b"hello".to_vec() },
            Input::Answer { request: RequestId(1), more: true, payload: vec![0; 300] },
            Input::Broken { request: RequestId(1), code: Code::LOST, text: "why".into() },
            Input::Again { budget: Nanos::from_millis(2) },
            Input::Gone { reply: ReplyId(4) },
            Input::Grants { grants },
            Input::Query { port: PortId(3), payload: vec![] },
        ];
        for input in inputs {
            assert_eq!(Input::decode(&input.encode()), Ok(input));
        }
    }

    #[test]
    fn outputs_read_back_and_nothing_else_does() {
        let outputs = vec![
            Output::Ask { request: RequestId(1), port: PortId(2), payload: vec![1, 2] },
            Output::Answer { reply: ReplyId(1), more: false, payload: vec![] },
            Output::Refuse { reply: ReplyId(1), code: Code(64), text: "no".into() },
            Output::Cancel { request: RequestId(1) },
            Output::Again,
            Output::Become { seed: vec![1], handover: vec![2] },
            Output::Trace { text: "t".into() },
        ];
        let encoding = Output::encode_list(&outputs);
        assert_eq!(Output::decode_list(&encoding), Ok(outputs));
        for length in 0..encoding.len() {
            assert!(Output::decode_list(&encoding[..length]).is_err());
        }
        assert!(Output::decode_list(&[0x81, 0x81, 0x03]).is_err(), "cancel without a request");
        assert!(Output::decode_list(&[0x81, 0x82, 0x07, 0x00]).is_err(), "unknown kind");
        assert!(Output::decode_list(&[0x80, 0x80]).is_err(), "spare bytes");
        assert_eq!(
            Output::decode_list(&Output::encode_list(&vec![Output::Again; OUTPUTS_MAX])).unwrap().len(),
            OUTPUTS_MAX
        );
        assert!(Output::decode_list(&Output::encode_list(&vec![Output::Again; OUTPUTS_MAX + 1])).is_err(), "a flood");
    }
}
