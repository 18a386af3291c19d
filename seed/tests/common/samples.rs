//! One value of every kind that is stored or sent: what the golden vectors show and mutation starts from.

use seed::image::{
    FUNCREF_NULL, Global, Grant, INTERFACE, Image, Ledger, Limits, Memory, Process, Program, State, Table,
};
use seed::message::{Code, Input, Output};
use seed::object::{Link, encode_blob};
use seed::page::PAGE_BYTES;
use seed::record::{Batch, Epoch, OutputsHash, Record};
use seed::tree::PageTree;
use seed::trie::{Entry, Trie};
use seed::{CallId, Domain, EffectId, Id, Nanos, PageIndex, PortId, ReplyId, RequestId, Seq};

use super::Shelf;

/// The id of a blob of one byte.
pub(crate) fn blob_id(n: u8) -> Id {
    Id::of(Domain::Object, &encode_blob(&[n]))
}

/// A page full of one byte.
pub(crate) fn page_id(n: u8) -> Id {
    Id::of(Domain::Page, &[n; PAGE_BYTES])
}

pub(crate) fn grants() -> Vec<Grant> {
    let grant = |port, name: &str| Grant { port: PortId(port), name: name.into() };
    vec![grant(0, "owner"), grant(2, "clock"), grant(300, "http:8080")]
}

pub(crate) fn image() -> Image {
    Image {
        interface: INTERFACE,
        code: blob_id(1),
        genesis: blob_id(2),
        limits: Limits::default(),
        grants: grants(),
        next_port: PortId(301),
        processes: vec![Process {
            state: Some(State {
                memories: vec![
                    Memory { pages: 32, root: Some(Id::of(Domain::Node, b"root")) },
                    Memory { pages: 0, root: None },
                ],
                globals: vec![
                    Global::I32(1),
                    Global::I64(u64::MAX),
                    Global::F32(1.5_f32.to_bits()),
                    Global::F64((-0.0_f64).to_bits()),
                    Global::V128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
                    Global::Funcref(7),
                    Global::Funcref(FUNCREF_NULL),
                ],
                tables: vec![Table { elements: 3, content: blob_id(3) }],
            }),
            handover: None,
            ledger: Ledger {
                requests: Some(Id::of(Domain::Node, b"requests")),
                next_reply: ReplyId(10),
                next_effect: EffectId(1000),
                first_outcome: 5,
                next_outcome: 9,
                again: true,
                ..Ledger::first()
            },
        }],
    }
}

pub(crate) fn unbooted_image() -> Image {
    Image { processes: vec![Process { state: None, handover: None, ledger: Ledger::first() }], ..image() }
}

pub(crate) fn calling_image() -> Image {
    let mut image = unbooted_image();
    image.processes[0].ledger.last_call = CallId(300);
    image
}

pub(crate) fn program() -> Program {
    Program {
        interface: INTERFACE,
        code: blob_id(1),
        genesis: blob_id(2),
        limits: Limits::default(),
        asks: vec!["http:8080".into(), "tcp:7".into()],
    }
}

pub(crate) fn inputs() -> Vec<(&'static str, Input)> {
    vec![
        ("boot", Input::Boot { genesis: b"genesis".to_vec(), grants: grants(), handover: None }),
        ("boot-become", Input::Boot { genesis: vec![], grants: vec![], handover: Some(b"handover".to_vec()) }),
        ("message", Input::Message { port: PortId(0), from: vec![], reply: ReplyId(9), payload: b"hello".to_vec() }),
        (
            "message-tell",
            Input::Message { port: PortId(300), from: b"peer".to_vec(), reply: ReplyId::NONE, payload: vec![] },
        ),
        ("answer", Input::Answer { request: RequestId(1), more: true, payload: vec![7; 30] }),
        ("broken", Input::Broken { request: RequestId(u64::MAX), code: Code::LOST, text: "verloren – €".into() }),
        ("again", Input::Again { budget: Nanos::from_millis(2) }),
        ("gone", Input::Gone { reply: ReplyId(4) }),
        ("grants", Input::Grants { grants: grants() }),
        ("query", Input::Query { port: PortId(0), payload: b"?".to_vec() }),
    ]
}

pub(crate) fn outputs() -> Vec<(&'static str, Output)> {
    vec![
        ("ask", Output::Ask { request: RequestId(1), port: PortId(2), payload: vec![0x81, 0x00] }),
        ("ask-effect", Output::Ask { request: RequestId::NONE, port: PortId(1), payload: b"a line".to_vec() }),
        ("answer", Output::Answer { reply: ReplyId(9), more: false, payload: b"world".to_vec() }),
        ("refuse", Output::Refuse { reply: ReplyId(9), code: Code(64), text: "no".into() }),
        ("cancel", Output::Cancel { request: RequestId(1) }),
        ("again", Output::Again),
        ("become", Output::Become { seed: b"seed".to_vec(), handover: b"handover".to_vec() }),
        ("trace", Output::Trace { text: "here".into() }),
    ]
}

pub(crate) fn records() -> Vec<(&'static str, Record)> {
    let input = Input::Message { port: PortId(0), from: vec![], reply: ReplyId(1), payload: b"hi".to_vec() }.encode();
    vec![
        ("step", Record::Step { input: input.clone(), cost: Nanos(1_200), key: vec![] }),
        ("step-keyed", Record::Step { input: input.clone(), cost: Nanos(0), key: b"key".to_vec() }),
        ("abort", Record::Abort { input, cost: Nanos(9), key: vec![], reason: "unreachable".into() }),
        ("settle", Record::Settle { effects: vec![EffectId(3), EffectId(9)] }),
        ("grant", Record::Grant { grants: grants(), next_port: PortId(301) }),
        ("become", Record::Become { code: blob_id(1), genesis: blob_id(2) }),
        (
            "epoch",
            Record::Epoch(Epoch {
                number: 2,
                machine: [1; 16],
                incarnation: [2; 16],
                engine: "engine 1.2.3".into(),
                preparation: 1,
                host: [3; 16],
                device: 4,
                inode: 5,
                image: image().root(),
            }),
        ),
    ]
}

pub(crate) fn batch() -> Batch {
    let mut outputs = OutputsHash::default();
    outputs.push(&[0x80]);
    outputs.push(&[0x81, 0x81, 0x04]);
    Batch {
        first: Seq(41),
        time: Nanos(1_700_000_000_000_000_000),
        records: records().into_iter().map(|(_, record)| record).collect(),
        outputs: outputs.finish(),
        root: image().root(),
        previous: Some(Id::of(Domain::Object, b"the batch before")),
    }
}

pub(crate) fn first_batch() -> Batch {
    Batch { first: Seq(0), records: vec![batch().records.remove(6)], previous: None, ..batch() }
}

/// The nodes of a page tree with these pages set, children first.
pub(crate) fn tree_nodes(pages: u64, set: &[u32]) -> (Option<Id>, Vec<(Id, Vec<u8>)>) {
    let mut tree = PageTree::zero(pages);
    for (n, index) in (1..).zip(set) {
        tree.set(PageIndex(*index), Some(page_id(n)), &seed::object::NoObjects).unwrap();
    }
    (tree.root(), tree.take_unsaved())
}

/// The nodes of a trie with `count` numbered entries, children first.
pub(crate) fn trie_nodes(count: u64) -> (Option<Id>, Vec<(Id, Vec<u8>)>) {
    let mut trie = Trie::default();
    for n in 0..count {
        let data = format!("entry {n}").into_bytes();
        let entry = Entry { data, link: n.is_multiple_of(5).then(|| blob_id(n.to_be_bytes()[7])) };
        trie.insert(&n.to_be_bytes(), entry, &seed::object::NoObjects).unwrap();
    }
    (trie.root(), trie.take_unsaved())
}

/// A program with its blobs.
pub(crate) fn program_objects() -> (Link, Shelf) {
    let mut shelf = Shelf::default();
    let program = program();
    assert_eq!(shelf.keep(Domain::Object, encode_blob(&[1])), program.code);
    assert_eq!(shelf.keep(Domain::Object, encode_blob(&[2])), program.genesis);
    let root = shelf.keep(Domain::Object, program.encode());
    ((Domain::Object, root), shelf)
}
