//! What is asked of a clock, and what it answers, as payloads.

use seed::Nanos;
use seed::cbor::{CborError, Fault, Reader, Writer};

/// The least time between two answers of what repeats.
pub const EVERY_MIN: Nanos = Nanos(1_000_000);

/// What is asked of a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// `[0]`: the time.
    Now,
    /// `[1, time]`: to be answered then.
    Until(Nanos),
    /// `[2, first, every]`: to be answered then, and again and again.
    Every {
        /// The first time.
        first: Nanos,
        /// From one to the next.
        every: Nanos,
    },
}

impl Ask {
    /// Reads one, strictly.
    ///
    /// # Errors
    /// If the payload is none.
    pub fn decode(payload: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(payload);
        let items = reader.array()?;
        let ask = match (reader.uint_max(2, "the clock's request")?, items) {
            (0, 1) => Ask::Now,
            (1, 2) => Ask::Until(Nanos(reader.uint()?)),
            (2, 3) => {
                let (first, every) = (Nanos(reader.uint()?), Nanos(reader.uint()?));
                if every < EVERY_MIN {
                    return Err(reader.fault(Fault::Rule("a timer repeats after 1 ms or more")));
                }
                Ask::Every { first, every }
            }
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
            Ask::Now => writer.array(1).uint(0),
            Ask::Until(time) => writer.array(2).uint(1).uint(time.0),
            Ask::Every { first, every } => writer.array(3).uint(2).uint(first.0).uint(every.0),
        };
        writer.finish()
    }
}

/// An answer.
#[must_use]
pub fn encode(time: Nanos) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.uint(time.0);
    writer.finish()
}
