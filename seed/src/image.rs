//! Images: the canonical value of a machine at rest. An image's id is the machine's *root*.
//!
//! ```text
//! image    [17, interface, code, genesis, limits, grants, next_port, [process...]]
//! program  [18, interface, code, genesis, limits, [asked_port_name...]]
//! limits   [step_cpu_ms, memory_bytes, table_elements, stack_bytes, input_bytes, output_bytes, requests, outcomes]
//! grants   [[port, name]...]                    by ascending port
//! process  [state, ledger]
//! state    []                                   not booted yet
//!          [blob]                               the same, with a handover from the program before
//!          [memories, globals, tables]
//! memory   [pages, root]                        4 KiB pages; root of the page tree, or empty
//! global   [kind, bits]                         0 i32, 1 i64, 2 f32, 3 f64, 4 v128: little-endian bits; 5 funcref: see below
//! table    [elements, blob]                     the blob holds a funcref of 4 bytes for each element
//! funcref  index of the function in the module, little-endian; ffffffff is null
//! ledger   [requests, replies, effects, outcomes, next_reply, next_effect, first_outcome, next_outcome, again]
//!          [the same nine, last_call]           once there was a call
//! ```
//!
//! `code`, `genesis` and `blob` are ids of blobs; the first four of a ledger are trie roots, or empty. There is one process today, and nothing
//! here assumes that.

mod limits;
mod program;
mod state;

pub use limits::{LimitRange, Limits};
pub use program::Program;
pub use state::{FUNCREF_NULL, Global, Memory, State, Table};

use crate::cbor::{CborError, Fault, Reader, Writer};
use crate::object::{KIND_IMAGE, Link, expect_kind};
use crate::{CallId, Domain, EffectId, Id, PortId, ReplyId};

/// The number of the machine interface that this version speaks (docs/abi.md).
pub const INTERFACE: u64 = 1;

/// A machine at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The machine interface it was booted with.
    pub interface: u64,
    /// Blob: the WebAssembly module as the seed brought it, before preparation.
    pub code: Id,
    /// Blob: the genesis data.
    pub genesis: Id,
    /// What it may use.
    pub limits: Limits,
    /// The ports it may use, by ascending number.
    pub grants: Vec<Grant>,
    /// The number of the next port to be granted.
    pub next_port: PortId,
    /// What runs in it.
    pub processes: Vec<Process>,
}

/// The right to use one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its number in this machine.
    pub port: PortId,
    /// Which port of the host it is.
    pub name: String,
}

impl Grant {
    /// Whether what it is asked are calls: numbered, so that their port can tell one from another after any crash. Which ports' are belongs to
    /// the format, as the numbers are in images; a name is never added for which older versions have made images.
    #[must_use]
    pub fn numbers_calls(&self) -> bool {
        self.name.starts_with("http-client:")
    }
}

/// One process of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its WebAssembly state; `None` before its first step.
    pub state: Option<State>,
    /// What it asked and owes.
    pub ledger: Ledger,
    /// Blob: what the program before left for this one, until its first step.
    pub handover: Option<Id>,
}

/// The roots and counters of what a process asked and owes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    /// Trie of open requests, by number (8 bytes, big-endian, like the others).
    pub requests: Option<Id>,
    /// Trie of owed replies.
    pub replies: Option<Id>,
    /// Trie of effects whose delivery is not logged.
    pub effects: Option<Id>,
    /// Trie of remembered outcomes, by sender key.
    pub outcomes: Option<Id>,
    /// The number of the next owed reply.
    pub next_reply: ReplyId,
    /// The number of the next effect.
    pub next_effect: EffectId,
    /// The oldest remembered outcome.
    pub first_outcome: u64,
    /// The number of the next outcome.
    pub next_outcome: u64,
    /// Whether the machine wants to be called again.
    pub again: bool,
    /// The number of the last call; 0 before the first.
    pub last_call: CallId,
}

impl Image {
    /// Its encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(512);
        writer.array(8).uint(KIND_IMAGE).uint(self.interface);
        self.code.write(&mut writer);
        self.genesis.write(&mut writer);
        self.limits.write(&mut writer);
        write_grants(&self.grants, &mut writer);
        writer.uint(self.next_port.0);
        writer.array(self.processes.len());
        self.processes.iter().for_each(|process| process.write(&mut writer));
        writer.finish()
    }

    /// Reads an encoding.
    ///
    /// # Errors
    /// If it is not canonical or not an image.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(bytes);
        reader.array_of(8)?;
        expect_kind(&mut reader, KIND_IMAGE)?;
        let interface = reader.uint()?;
        let code = Id::read(&mut reader)?;
        let genesis = Id::read(&mut reader)?;
        let limits = Limits::read(&mut reader)?;
        let grants = read_grants(&mut reader)?;
        let next_port = PortId(reader.uint()?);
        check_next_port(&grants, next_port, &reader)?;
        let mut processes = Vec::new();
        for _ in 0..reader.array()? {
            let process = Process::read(&mut reader)?;
            // A window that is negative or wider than the limit could not be brought back to it in reasonable time.
            let window = process.ledger.next_outcome.checked_sub(process.ledger.first_outcome);
            if window.is_none_or(|window| window > limits.outcomes) {
                return Err(reader.fault(Fault::Range { what: "the number of remembered outcomes" }));
            }
            processes.push(process);
        }
        reader.end()?;
        Ok(Self { interface, code, genesis, limits, grants, next_port, processes })
    }

    /// Its id: the machine's root.
    #[must_use]
    pub fn root(&self) -> Id {
        Id::of(Domain::Object, &self.encode())
    }

    /// What it refers to.
    #[must_use]
    pub fn links(&self) -> Vec<Link> {
        let mut links = vec![(Domain::Object, self.code), (Domain::Object, self.genesis)];
        for process in &self.processes {
            links.extend(process.handover.map(|handover| (Domain::Object, handover)));
            if let Some(state) = &process.state {
                for memory in &state.memories {
                    links.extend(memory.root.map(|root| (Domain::Node, root)));
                }
                links.extend(state.tables.iter().map(|table| (Domain::Object, table.content)));
            }
            let Ledger { requests, replies, effects, outcomes, .. } = process.ledger;
            links.extend([requests, replies, effects, outcomes].into_iter().flatten().map(|id| (Domain::Node, id)));
        }
        links
    }
}

impl Process {
    fn write(&self, writer: &mut Writer) {
        writer.array(2);
        match (&self.state, &self.handover) {
            (Some(state), _) => state.write(writer),
            (None, Some(handover)) => {
                writer.array(1);
                handover.write(writer);
            }
            (None, None) => {
                writer.array(0);
            }
        }
        self.ledger.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        reader.array_of(2)?;
        let (state, handover) = match reader.array()? {
            0 => (None, None),
            1 => (None, Some(Id::read(reader)?)),
            3 => (Some(State::read(reader)?), None),
            _ => return Err(reader.fault(Fault::Rule("a process's state has none, one or three parts"))),
        };
        Ok(Self { state, handover, ledger: Ledger::read(reader)? })
    }
}

impl Ledger {
    /// Nothing asked, nothing owed; numbers start at 1.
    #[must_use]
    pub fn first() -> Self {
        Self { next_reply: ReplyId(1), next_effect: EffectId(1), ..Self::default() }
    }

    fn write(&self, writer: &mut Writer) {
        let calls = self.last_call != CallId(0);
        writer.array(if calls { 10 } else { 9 });
        for root in [&self.requests, &self.replies, &self.effects, &self.outcomes] {
            Id::write_option(root.as_ref(), writer);
        }
        writer.uint(self.next_reply.0).uint(self.next_effect.0);
        writer.uint(self.first_outcome).uint(self.next_outcome).flag(self.again);
        if calls {
            writer.uint(self.last_call.0);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        let items = reader.array()?;
        if !(9..=10).contains(&items) {
            return Err(reader.fault(Fault::Rule("a ledger has nine or ten items")));
        }
        let mut ledger = Self {
            requests: Id::read_option(reader)?,
            replies: Id::read_option(reader)?,
            effects: Id::read_option(reader)?,
            outcomes: Id::read_option(reader)?,
            next_reply: ReplyId(reader.uint()?),
            next_effect: EffectId(reader.uint()?),
            first_outcome: reader.uint()?,
            next_outcome: reader.uint()?,
            again: reader.flag()?,
            last_call: CallId(0),
        };
        if items == 10 {
            ledger.last_call = CallId(reader.uint()?);
            if ledger.last_call == CallId(0) {
                return Err(reader.fault(Fault::Rule("a ledger without calls counts them")));
            }
        }
        Ok(ledger)
    }
}

/// Writes a list of grants, as images and inputs have it.
pub fn write_grants(grants: &[Grant], writer: &mut Writer) {
    debug_assert!(grants.is_sorted_by(|one, next| one.port < next.port), "grants are out of order");
    writer.array(grants.len());
    for grant in grants {
        writer.array(2).uint(grant.port.0).text(&grant.name);
    }
}

/// Reads a list of grants.
///
/// # Errors
/// If it is malformed or out of order.
pub fn read_grants(reader: &mut Reader<'_>) -> Result<Vec<Grant>, CborError> {
    let mut grants: Vec<Grant> = Vec::new();
    for _ in 0..reader.array()? {
        reader.array_of(2)?;
        let port = PortId(reader.uint()?);
        if grants.last().is_some_and(|last| last.port >= port) {
            return Err(reader.fault(Fault::Rule("grants are out of order")));
        }
        grants.push(Grant { port, name: reader.text()?.to_owned() });
    }
    Ok(grants)
}

/// Port numbers are never reused, so the next one is above all that were given.
pub(crate) fn check_next_port(grants: &[Grant], next_port: PortId, reader: &Reader<'_>) -> Result<(), CborError> {
    match grants.last() {
        Some(last) if last.port >= next_port => {
            Err(reader.fault(Fault::Rule("a granted port is numbered ahead of the next one")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Image {
        let id = |n: u8| Id::of(Domain::Object, &[n]);
        Image {
            interface: INTERFACE,
            code: id(1),
            genesis: id(2),
            limits: Limits::default(),
            grants: vec![
                Grant { port: PortId(0), name: "owner".into() },
                Grant { port: PortId(2), name: "clock".into() },
            ],
            next_port: PortId(4),
            processes: vec![Process {
                state: Some(State {
                    memories: vec![Memory { pages: 32, root: Some(id(3)) }, Memory { pages: 0, root: None }],
                    globals: vec![Global::I32(1), Global::V128(2), Global::F64(3), Global::Funcref(FUNCREF_NULL)],
                    tables: vec![Table { elements: 3, content: id(4) }],
                }),
                handover: None,
                ledger: Ledger { requests: Some(id(5)), again: true, ..Ledger::first() },
            }],
        }
    }

    #[test]
    fn images_read_back_and_know_their_links() {
        let image = sample();
        assert_eq!(Image::decode(&image.encode()), Ok(image.clone()));
        assert_eq!(image.links().len(), 5);
        let unborn =
            Image { processes: vec![Process { state: None, handover: None, ledger: Ledger::first() }], ..image };
        assert_eq!(Image::decode(&unborn.encode()), Ok(unborn.clone()));
        let mut became = unborn;
        became.processes[0].handover = Some(became.code);
        assert_eq!(Image::decode(&became.encode()), Ok(became.clone()));
        assert_eq!(became.links().len(), 3);
        let mut called = became;
        called.processes[0].ledger.last_call = CallId(7);
        assert_eq!(Image::decode(&called.encode()), Ok(called));
    }

    /// A ledger that counts no calls has one encoding.
    #[test]
    fn calls_are_counted_from_one() {
        let mut image = sample();
        image.processes[0].ledger.last_call = CallId(1);
        let mut bytes = image.encode();
        assert_eq!(bytes.pop(), Some(1), "the number of the last call is the last of an image");
        bytes.push(0);
        assert_eq!(Image::decode(&bytes).unwrap_err().fault.to_string(), "a ledger without calls counts them");
    }

    fn refusal(image: &Image) -> String {
        Image::decode(&image.encode()).unwrap_err().fault.to_string()
    }

    /// Each of these read as an image that no machine can be: pages of a memory that has none, or a window of outcomes that would
    /// have taken the ledger forever to trim, or made it subtract below zero.
    #[test]
    fn images_that_contradict_themselves_are_refused() {
        let changed = |change: &dyn Fn(&mut Image)| {
            let mut image = sample();
            change(&mut image);
            refusal(&image)
        };
        let memory = |image: &mut Image| {
            image.processes[0].state.as_mut().unwrap().memories[1].root = Some(image.code);
        };
        let window = |first, next| {
            move |image: &mut Image| {
                image.processes[0].ledger.first_outcome = first;
                image.processes[0].ledger.next_outcome = next;
            }
        };
        assert_eq!(changed(&memory), "a memory without pages has a root");
        assert_eq!(changed(&window(1, 0)), "the number of remembered outcomes is out of range");
        assert_eq!(changed(&window(0, 1 << 60)), "the number of remembered outcomes is out of range");
        assert_eq!(changed(&|image| image.next_port = PortId(2)), "a granted port is numbered ahead of the next one");
    }

    /// A seed that did without `random` (port 3) would have had its first granted port numbered 3: docs/abi.md promises that 3 is random
    /// for ever, and that numbers from 4 are granted by people.
    #[test]
    fn ports_given_by_people_never_take_a_number_of_the_interface() {
        let Image { code, genesis, limits, .. } = sample();
        let program = Program { interface: INTERFACE, code, genesis, limits, asks: vec![] };
        let next = |ports: &[u64]| {
            let grant = |port: &u64| Grant { port: PortId(*port), name: "port".into() };
            program.to_image(ports.iter().map(grant).collect()).next_port
        };
        assert_eq!(next(&[]), PortId(4));
        assert_eq!(next(&[0, 2]), PortId(4));
        assert_eq!(next(&[0, 1, 2, 3, 4, 9]), PortId(10));
    }

    #[test]
    fn no_shortened_or_altered_image_reads_as_another() {
        let encoding = sample().encode();
        for length in 0..encoding.len() {
            assert!(Image::decode(&encoding[..length]).is_err());
        }
        for position in 0..encoding.len() {
            let mut altered = encoding.clone();
            altered[position] ^= 1;
            if let Ok(image) = Image::decode(&altered) {
                assert_eq!(image.encode(), altered, "a non-canonical image was accepted");
            }
        }
    }

    #[test]
    fn limits_are_held_to_their_ranges() {
        let mut values = Limits::default().values();
        values[1] = 0;
        assert_eq!(Limits::from_values(values), Err("memory_bytes"));
        for range in Limits::RANGES {
            assert!((range.min..=range.max).contains(&range.default), "{}", range.name);
        }
    }
}
