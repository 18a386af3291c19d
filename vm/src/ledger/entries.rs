//! How the tables' entries are written and read; their layout is at the top of [`super`].

use std::collections::BTreeMap;

use seed::cbor::{CborError, Fault, Reader, Writer};
use seed::image::Limits;
use seed::message::Code;
use seed::object::{Link, Objects, decode_blob, encode_blob};
use seed::trie::{Entry, Trie};
use seed::{CallId, Domain, Id, LoadError, PortId, ReplyId, RequestId};

use super::{Ledger, Outcome, Reply, Request};
use crate::step_loop::Asked;

const INLINE_BYTES_MAX: usize = 512;

impl Ledger {
    pub(super) fn insert_request(
        &mut self,
        number: RequestId,
        request: &Request,
        objects: &dyn Objects,
    ) -> Result<(), LoadError> {
        let mut data = Writer::new();
        let items = match (&request.broken, request.call) {
            (Some(_), _) => 4,
            (None, Some(_)) => 3,
            (None, None) => 2,
        };
        data.array(items).uint(request.port.0);
        let link = self.write_payload(&request.payload, &mut data);
        match (&request.broken, request.call) {
            (Some((code, text)), _) => drop(data.uint(code.0).text(text)),
            (None, Some(call)) => drop(data.uint(call.0)),
            (None, None) => {}
        }
        self.requests.insert(&key(number.0), Entry { data: data.finish(), link }, objects)?;
        if let Some(turned) = &mut self.turned {
            turned.push((number, Some(Asked::of(request))));
        }
        Ok(())
    }

    pub(super) fn remove_request(
        &mut self,
        number: RequestId,
        objects: &dyn Objects,
    ) -> Result<Option<Entry>, LoadError> {
        if let Some(turned) = &mut self.turned {
            turned.push((number, None));
        }
        self.requests.remove(&key(number.0), objects)
    }

    /// Remembers how a keyed message was answered, if the key still stands for it: the window may have passed, and the key may have come
    /// again with a message of its own.
    pub(super) fn settle_outcome(
        &mut self,
        sender_key: &[u8],
        reply: ReplyId,
        outcome: &Outcome,
        objects: &dyn Objects,
    ) -> Result<(), LoadError> {
        let Some(entry) = self.outcomes.get(&outcome_key(sender_key), objects)? else { return Ok(()) };
        match decode(&self.blobs, objects, entry, read_outcome)? {
            (number, Outcome::Pending(pending)) if pending == reply => {
                self.write_outcome(sender_key, number, reply, outcome, objects)
            }
            _ => Ok(()),
        }
    }

    /// Remembers a keyed message, and forgets the oldest ones over the limit.
    pub(super) fn remember(
        &mut self,
        sender_key: &[u8],
        reply: ReplyId,
        outcome: Outcome,
        limits: &Limits,
        objects: &dyn Objects,
    ) -> Result<(), LoadError> {
        let number = self.next_outcome;
        self.next_outcome += 1;
        let entry = Entry { data: sender_key.to_vec(), link: None };
        self.outcomes.insert(&outcome_order_key(number), entry, objects)?;
        self.write_outcome(sender_key, number, reply, &outcome, objects)?;
        while self.next_outcome - self.first_outcome > limits.outcomes {
            let order = outcome_order_key(self.first_outcome);
            if let Some(oldest) = self.outcomes.remove(&order, objects)? {
                self.outcomes.remove(&outcome_key(&oldest.data), objects)?;
            }
            self.first_outcome += 1;
        }
        Ok(())
    }

    fn write_outcome(
        &mut self,
        sender_key: &[u8],
        number: u64,
        reply: ReplyId,
        outcome: &Outcome,
        objects: &dyn Objects,
    ) -> Result<(), LoadError> {
        let mut data = Writer::new();
        let link = match outcome {
            Outcome::Pending(_) => {
                data.array(4).uint(number).uint(reply.0).uint(0).bytes(&[]);
                None
            }
            Outcome::Answered(payload) => {
                data.array(4).uint(number).uint(reply.0).uint(1);
                self.write_payload(payload, &mut data)
            }
            Outcome::Refused(code, text) => {
                data.array(6).uint(number).uint(reply.0).uint(2).bytes(&[]).uint(code.0).text(text);
                None
            }
        };
        self.outcomes.insert(&outcome_key(sender_key), Entry { data: data.finish(), link }, objects)?;
        Ok(())
    }

    pub(super) fn write_payload(&mut self, payload: &[u8], data: &mut Writer) -> Option<Id> {
        if payload.len() <= INLINE_BYTES_MAX {
            data.bytes(payload);
            return None;
        }
        data.bytes(&[]);
        let blob = encode_blob(payload);
        let id = Id::of(Domain::Object, &blob);
        self.blobs.push(((Domain::Object, id), blob));
        Some(id)
    }
}

pub(super) fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

pub(super) fn outcome_key(sender_key: &[u8]) -> Vec<u8> {
    [&[0], sender_key].concat()
}

fn outcome_order_key(number: u64) -> Vec<u8> {
    [&[1][..], &number.to_be_bytes()].concat()
}

pub(super) type ReadWith<T> = fn(&mut Reader<'_>, Option<&[u8]>) -> Result<T, CborError>;

/// Decodes an entry and the blob that may belong to it.
pub(super) fn decode<T>(
    fresh: &[(Link, Vec<u8>)],
    objects: &dyn Objects,
    entry: Entry,
    read: ReadWith<T>,
) -> Result<T, LoadError> {
    let id = entry.link.unwrap_or_else(|| Id::of(Domain::Node, &entry.data));
    let malformed = |source| LoadError::Malformed { id, source };
    let blob = match entry.link {
        None => None,
        Some(link) => Some(match fresh.iter().rev().find(|((_, id), _)| *id == link) {
            Some((_, encoding)) => encoding.clone(),
            None => objects.load(Domain::Object, &link)?,
        }),
    };
    let payload = blob.as_deref().map(decode_blob).transpose().map_err(malformed)?;
    let mut reader = Reader::new(&entry.data);
    let value = read(&mut reader, payload).map_err(malformed)?;
    reader.end().map_err(malformed)?;
    Ok(value)
}

pub(super) fn all<T>(
    trie: &Trie,
    fresh: &[(Link, Vec<u8>)],
    objects: &dyn Objects,
    read: ReadWith<T>,
) -> Result<BTreeMap<u64, T>, LoadError> {
    let mut numbered = BTreeMap::new();
    for (key, entry) in trie.entries(objects)? {
        let misnamed = || {
            let fault = Fault::Rule("a ledger's key is not a number");
            LoadError::Malformed { id: Id::of(Domain::Node, &key), source: CborError { at: 0, fault } }
        };
        let number = key.as_slice().try_into().map(u64::from_be_bytes).map_err(|_| misnamed())?;
        numbered.insert(number, decode(fresh, objects, entry, read)?);
    }
    Ok(numbered)
}

pub(super) fn payload(reader: &mut Reader<'_>, blob: Option<&[u8]>) -> Result<Vec<u8>, CborError> {
    let at = reader.position();
    match (reader.bytes()?, blob) {
        (inline, None) => Ok(inline.to_vec()),
        ([], Some(blob)) => Ok(blob.to_vec()),
        (_, Some(_)) => Err(CborError { at, fault: Fault::Rule("a payload is kept twice") }),
    }
}

pub(super) fn read_request(reader: &mut Reader<'_>, blob: Option<&[u8]>) -> Result<Request, CborError> {
    let items = reader.array()?;
    let (port, payload) = (PortId(reader.uint()?), payload(reader, blob)?);
    let (call, broken) = match items {
        2 => (None, None),
        3 => (Some(CallId(reader.uint()?)), None),
        4 => (None, Some((Code(reader.uint()?), reader.text()?.to_owned()))),
        _ => return Err(reader.fault(Fault::Rule("a request has two to four items"))),
    };
    Ok(Request { port, payload, call, broken })
}

pub(super) fn read_reply(reader: &mut Reader<'_>) -> Result<Reply, CborError> {
    reader.array_of(3)?;
    Ok(Reply { port: PortId(reader.uint()?), from: reader.bytes()?.to_vec(), key: reader.bytes()?.to_vec() })
}

pub(super) fn read_outcome(reader: &mut Reader<'_>, blob: Option<&[u8]>) -> Result<(u64, Outcome), CborError> {
    let items = reader.array()?;
    let number = reader.uint()?;
    let reply = ReplyId(reader.uint()?);
    let status = reader.uint_max(2, "an outcome's status")?;
    if items != if status == 2 { 6 } else { 4 } {
        return Err(reader.fault(Fault::Rule("an outcome has another number of items")));
    }
    let payload = payload(reader, blob)?;
    Ok((
        number,
        match status {
            0 => Outcome::Pending(reply),
            1 => Outcome::Answered(payload),
            _ => Outcome::Refused(Code(reader.uint()?), reader.text()?.to_owned()),
        },
    ))
}
