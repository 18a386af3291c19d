//! The log: records, and the batches in which they become durable. A batch is the unit of commit and of the hash chain.
//!
//! ```text
//! batch   [first_seq, host_time, [record...], outputs, root, previous]
//! step    [0, input, cost, key]             one input applied
//! abort   [1, input, cost, key, reason]     one input used up, nothing else changed; never recomputed
//! settle  [2, [effect...]]                  effects delivered
//! grant   [3, grants, next_port]            the owner changed the grants
//! become  [4, code, genesis]                the program was replaced; the next step boots it
//! epoch   [5, number, machine, incarnation, engine, preparation, host, device, inode, image]
//! ```
//!
//! Each record takes one seq. `outputs` is the id of the concatenated encodings of the outputs of the batch's steps, each as a CBOR byte string. `root`
//! is the machine's root after the batch; `previous` is the id of the batch before, empty in the first. Times and costs are nanoseconds; cost is CPU time, kept
//! for budgets and people, never compared. `input` is encoded as docs/abi.md says; `key` is empty or the sender's.

use std::ops::Deref;

use crate::cbor::{CborError, Fault, Reader, Writer};
use crate::image::{Grant, check_next_port, read_grants, write_grants};
use crate::{Domain, EffectId, Id, Nanos, PortId, Seq};

/// The longest sender key, in bytes: it must fit a trie key with a prefix.
pub const SENDER_KEY_BYTES_MAX: usize = crate::trie::KEY_BYTES_MAX - 1;

/// One thing that entered a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An input was applied.
    Step {
        /// The input, encoded.
        input: Vec<u8>,
        /// CPU time it took.
        cost: Nanos,
        /// The sender's key, or empty.
        key: Vec<u8>,
    },
    /// An input was used up without effect.
    Abort {
        /// The input, encoded.
        input: Vec<u8>,
        /// CPU time it took.
        cost: Nanos,
        /// The sender's key, or empty.
        key: Vec<u8>,
        /// Why, for people and for the asker.
        reason: String,
    },
    /// Effects were delivered.
    Settle {
        /// Which, ascending.
        effects: Vec<EffectId>,
    },
    /// The owner changed the grants.
    Grant {
        /// The whole new list.
        grants: Vec<Grant>,
        /// The number of the next port to be granted.
        next_port: PortId,
    },
    /// The program was replaced.
    Become {
        /// Blob: the new module.
        code: Id,
        /// Blob: the new genesis data.
        genesis: Id,
    },
    /// A new epoch began.
    Epoch(Epoch),
}

/// The circumstances under which a stretch of log is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// Counted from 0.
    pub number: u64,
    /// Random; the same for the machine's whole life, copies included.
    pub machine: [u8; 16],
    /// Random; what tells two live copies of a machine apart.
    pub incarnation: [u8; 16],
    /// Engine and version, for example `wasmtime 48.0.8`.
    pub engine: String,
    /// The version of the module preparation.
    pub preparation: u64,
    /// The host it began on.
    pub host: [u8; 16],
    /// Device of the machine's folder then.
    pub device: u64,
    /// Inode of the machine's folder then.
    pub inode: u64,
    /// The image that it starts from.
    pub image: Id,
}

/// The records made durable by one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The seq of its first record.
    pub first: Seq,
    /// The host's time when it was closed.
    pub time: Nanos,
    /// Its records; at least one.
    pub records: Vec<Record>,
    /// What its steps put out.
    pub outputs: Id,
    /// The machine's root after it.
    pub root: Id,
    /// The batch before.
    pub previous: Option<Id>,
}

/// The id of what a batch's steps put out, computed step by step.
#[derive(Debug, Clone, Default)]
pub struct OutputsHash(Writer);

impl OutputsHash {
    /// Adds one step's output.
    pub fn push(&mut self, output: &[u8]) {
        self.0.bytes(output);
    }

    /// The id.
    #[must_use]
    pub fn finish(self) -> Id {
        Id::of(Domain::Object, &self.0.finish())
    }
}

impl Record {
    /// The CPU time it took to apply.
    #[must_use]
    pub fn cost(&self) -> Nanos {
        match self {
            Self::Step { cost, .. } | Self::Abort { cost, .. } => *cost,
            _ => Nanos(0),
        }
    }

    /// Writes its encoding.
    pub fn write(&self, writer: &mut Writer) {
        match self {
            Self::Step { input, cost, key } => {
                writer.array(4).uint(0).bytes(input).uint(cost.0).bytes(key);
            }
            Self::Abort { input, cost, key, reason } => {
                writer.array(5).uint(1).bytes(input).uint(cost.0).bytes(key).text(reason);
            }
            Self::Settle { effects } => {
                writer.array(2).uint(2).array(effects.len());
                for effect in effects {
                    writer.uint(effect.0);
                }
            }
            Self::Grant { grants, next_port } => {
                writer.array(3).uint(3);
                write_grants(grants, writer);
                writer.uint(next_port.0);
            }
            Self::Become { code, genesis } => {
                writer.array(3).uint(4);
                code.write(writer);
                genesis.write(writer);
            }
            Self::Epoch(epoch) => epoch.write(writer),
        }
    }

    /// Reads an encoding.
    ///
    /// # Errors
    /// If it is not canonical or not a record.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        let count = reader.array()?;
        let kind = reader.uint_max(5, "a record's kind")?;
        Ok(match (kind, count) {
            (0, 4) => {
                Self::Step { input: reader.bytes()?.to_vec(), cost: Nanos(reader.uint()?), key: read_key(reader)? }
            }
            (1, 5) => Self::Abort {
                input: reader.bytes()?.to_vec(),
                cost: Nanos(reader.uint()?),
                key: read_key(reader)?,
                reason: reader.text()?.to_owned(),
            },
            (2, 2) => {
                let mut effects: Vec<EffectId> = Vec::new();
                for _ in 0..reader.array()? {
                    let effect = EffectId(reader.uint()?);
                    if effects.last().is_some_and(|last| *last >= effect) {
                        return Err(reader.fault(Fault::Rule("settled effects are out of order")));
                    }
                    effects.push(effect);
                }
                Self::Settle { effects }
            }
            (3, 3) => {
                let (grants, next_port) = (read_grants(reader)?, PortId(reader.uint()?));
                check_next_port(&grants, next_port, reader)?;
                Self::Grant { grants, next_port }
            }
            (4, 3) => Self::Become { code: Id::read(reader)?, genesis: Id::read(reader)? },
            (5, 10) => Self::Epoch(Epoch::read(reader)?),
            _ => return Err(reader.fault(Fault::Rule("a record of this kind has another number of items"))),
        })
    }
}

fn read_key(reader: &mut Reader<'_>) -> Result<Vec<u8>, CborError> {
    let at = reader.position();
    let key = reader.bytes()?;
    if key.len() > SENDER_KEY_BYTES_MAX {
        return Err(CborError { at, fault: Fault::Range { what: "a sender key's length" } });
    }
    Ok(key.to_vec())
}

impl Epoch {
    fn write(&self, writer: &mut Writer) {
        writer.array(10).uint(5).uint(self.number).bytes(&self.machine).bytes(&self.incarnation);
        writer.text(&self.engine).uint(self.preparation);
        writer.bytes(&self.host).uint(self.device).uint(self.inode);
        self.image.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        Ok(Self {
            number: reader.uint()?,
            machine: reader.bytes_of("a machine id")?,
            incarnation: reader.bytes_of("an incarnation")?,
            engine: reader.text()?.to_owned(),
            preparation: reader.uint()?,
            host: reader.bytes_of("a host id")?,
            device: reader.uint()?,
            inode: reader.uint()?,
            image: Id::read(reader)?,
        })
    }
}

/// A batch that will not change, with its encoding and its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    batch: Batch,
    encoding: Vec<u8>,
    id: Id,
}

impl Sealed {
    /// Its encoding.
    #[must_use]
    pub fn encoding(&self) -> &[u8] {
        &self.encoding
    }

    /// Its id in the chain.
    #[must_use]
    pub fn id(&self) -> Id {
        self.id
    }
}

impl Deref for Sealed {
    type Target = Batch;

    fn deref(&self) -> &Batch {
        &self.batch
    }
}

impl Batch {
    /// The seq after its last record.
    #[must_use]
    pub fn end(&self) -> Seq {
        Seq(self.first.0.saturating_add(self.records.len() as u64))
    }

    /// The CPU time its records took.
    #[must_use]
    pub fn cost(&self) -> Nanos {
        self.records.iter().fold(Nanos(0), |sum, record| sum.plus(record.cost()))
    }

    /// Its id in the chain.
    #[must_use]
    pub fn id(&self) -> Id {
        Id::of(Domain::Object, &self.encode())
    }

    /// Encodes it, once, for its id and for the log.
    #[must_use]
    pub fn seal(self) -> Sealed {
        let encoding = self.encode();
        Sealed { id: Id::of(Domain::Object, &encoding), encoding, batch: self }
    }

    /// Its encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(192);
        writer.array(6).uint(self.first.0).uint(self.time.0).array(self.records.len());
        self.records.iter().for_each(|record| record.write(&mut writer));
        self.outputs.write(&mut writer);
        self.root.write(&mut writer);
        Id::write_option(self.previous.as_ref(), &mut writer);
        writer.finish()
    }

    /// Reads an encoding.
    ///
    /// # Errors
    /// If it is not canonical or not a batch.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(bytes);
        reader.array_of(6)?;
        let first = Seq(reader.uint()?);
        let time = Nanos(reader.uint()?);
        let mut records = Vec::new();
        for _ in 0..reader.array()? {
            records.push(Record::read(&mut reader)?);
        }
        if records.is_empty() || first.0.checked_add(records.len() as u64).is_none() {
            return Err(reader.fault(Fault::Rule("a batch is empty or its seq overflows")));
        }
        let outputs = Id::read(&mut reader)?;
        let root = Id::read(&mut reader)?;
        let previous = Id::read_option(&mut reader)?;
        reader.end()?;
        Ok(Self { first, time, records, outputs, root, previous })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_read_back_and_nothing_else_does() {
        let id = Id::of(Domain::Object, b"x");
        let batch = Batch {
            first: Seq(41),
            time: Nanos(1_700_000_000_000_000_000),
            records: vec![
                Record::Step { input: vec![1, 2, 3], cost: Nanos(1200), key: vec![] },
                Record::Abort { input: vec![4], cost: Nanos(9), key: b"key".to_vec(), reason: "unreachable".into() },
                Record::Settle { effects: vec![EffectId(3), EffectId(9)] },
                Record::Grant { grants: vec![], next_port: PortId(4) },
                Record::Become { code: id, genesis: id },
                Record::Epoch(Epoch {
                    number: 2,
                    machine: [1; 16],
                    incarnation: [2; 16],
                    engine: "wasmtime 48".into(),
                    preparation: 1,
                    host: [3; 16],
                    device: 4,
                    inode: 5,
                    image: id,
                }),
            ],
            outputs: OutputsHash::default().finish(),
            root: id,
            previous: None,
        };
        assert_eq!(batch.end(), Seq(47));
        let encoding = batch.encode();
        assert_eq!(Batch::decode(&encoding), Ok(batch));
        for length in 0..encoding.len() {
            assert!(Batch::decode(&encoding[..length]).is_err());
        }
        for position in 0..encoding.len() {
            let mut altered = encoding.clone();
            altered[position] ^= 0x20;
            if let Ok(read) = Batch::decode(&altered) {
                assert_eq!(read.encode(), altered);
            }
        }
    }

    #[test]
    fn batches_that_break_a_rule_are_refused() {
        let id = Id::of(Domain::Object, b"x");
        let refusal = |first: u64, records: Vec<Record>| {
            let outputs = OutputsHash::default().finish();
            let batch = Batch { first: Seq(first), time: Nanos(0), records, outputs, root: id, previous: None };
            Batch::decode(&batch.encode()).unwrap_err().fault.to_string()
        };
        let step = |key: usize| Record::Step { input: vec![], cost: Nanos(0), key: vec![0; key] };
        let settle = |effects: [u64; 2]| Record::Settle { effects: effects.map(EffectId).to_vec() };
        let grant = Grant { port: PortId(7), name: "http".into() };
        assert_eq!(refusal(0, vec![]), "a batch is empty or its seq overflows");
        assert_eq!(refusal(u64::MAX, vec![step(0)]), "a batch is empty or its seq overflows");
        assert_eq!(refusal(0, vec![step(SENDER_KEY_BYTES_MAX + 1)]), "a sender key's length is out of range");
        assert_eq!(refusal(0, vec![settle([2, 1])]), "settled effects are out of order");
        assert_eq!(refusal(0, vec![settle([1, 1])]), "settled effects are out of order");
        // Replayed, such a record would have led to an image that cannot be read.
        let grant = Record::Grant { grants: vec![grant], next_port: PortId(7) };
        assert_eq!(refusal(0, vec![grant]), "a granted port is numbered ahead of the next one");
    }

    #[test]
    fn the_split_of_outputs_counts() {
        let hash = |parts: &[&[u8]]| {
            let mut hash = OutputsHash::default();
            parts.iter().for_each(|part| hash.push(part));
            hash.finish()
        };
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
    }
}
