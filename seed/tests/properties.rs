//! Any value survives its encoding. (That whatever decodes is canonical is the business of `fuzz_seeds.rs`.)

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::subsequence;
use seed::cbor::{Reader, Writer};
use seed::image::{Global, Grant, Image, Ledger, Limits, Memory, Process, Program, State, Table};
use seed::message::{Code, Input, Output};
use seed::object::{Link, decode_blob, encode_blob, links};
use seed::record::{Batch, Epoch, Record, SENDER_KEY_BYTES_MAX};
use seed::tree::TreeNode;
use seed::trie::{Entry, TrieKid, TrieNode};
use seed::{CallId, Domain, EffectId, Id, Nanos, PortId, ReplyId, RequestId, Seq};

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..300)
}

fn text() -> impl Strategy<Value = String> {
    ".{0,40}"
}

/// Ids of today's hash and of others.
fn id() -> impl Strategy<Value = Id> {
    prop_oneof![
        any::<u64>().prop_map(|n| Id::of(Domain::Object, &n.to_le_bytes())),
        (0_u8..0x80, vec(any::<u8>(), 16..=64)).prop_filter_map("a plausible id", |(code, digest)| {
            Id::from_bytes(&[vec![code, u8::try_from(digest.len()).unwrap()], digest].concat())
        }),
    ]
}

fn grants() -> impl Strategy<Value = Vec<Grant>> {
    btree_map(0..u64::MAX, text(), 0..5)
        .prop_map(|grants| grants.into_iter().map(|(port, name)| Grant { port: PortId(port), name }).collect())
}

fn next_port(grants: &[Grant]) -> PortId {
    grants.last().map_or(PortId(4), |grant| grant.port.next())
}

fn limits() -> impl Strategy<Value = Limits> {
    Limits::RANGES.map(|range| range.min..=range.max).prop_map(|values| Limits::from_values(values).unwrap())
}

fn global() -> impl Strategy<Value = Global> {
    prop_oneof![
        any::<u32>().prop_map(Global::I32),
        any::<u64>().prop_map(Global::I64),
        any::<u32>().prop_map(Global::F32),
        any::<u64>().prop_map(Global::F64),
        any::<u128>().prop_map(Global::V128),
        any::<u32>().prop_map(Global::Funcref),
    ]
}

fn state() -> impl Strategy<Value = State> {
    let memory = (0_u64..=1 << 20, option::of(id()))
        .prop_map(|(pages, root)| Memory { pages, root: root.filter(|_| pages > 0) });
    let table = (any::<u32>(), id()).prop_map(|(elements, content)| Table { elements: elements.into(), content });
    (vec(memory, 0..3), vec(global(), 0..5), vec(table, 0..3)).prop_map(|(memories, globals, tables)| State {
        memories,
        globals,
        tables,
    })
}

fn ledger(window_max: u64) -> impl Strategy<Value = Ledger> {
    let root = || option::of(id());
    let counters =
        (any::<u64>(), any::<u64>(), any::<u32>(), 0..=window_max, any::<bool>(), prop_oneof![Just(0), any::<u64>()]);
    (root(), root(), root(), root(), counters).prop_map(|(requests, replies, effects, outcomes, counters)| {
        let (next_reply, next_effect, first_outcome, window, again, last_call) = counters;
        Ledger {
            requests,
            replies,
            effects,
            outcomes,
            next_reply: ReplyId(next_reply),
            next_effect: EffectId(next_effect),
            first_outcome: first_outcome.into(),
            next_outcome: u64::from(first_outcome) + window,
            again,
            last_call: CallId(last_call),
        }
    })
}

fn image() -> impl Strategy<Value = Image> {
    let process = |window| {
        (option::of(state()), option::of(id()), ledger(window)).prop_map(|(state, handover, ledger)| {
            let handover = handover.filter(|_| state.is_none());
            Process { state, handover, ledger }
        })
    };
    let processes = limits().prop_flat_map(move |limits| (Just(limits), vec(process(limits.outcomes), 0..3)));
    (any::<u64>(), id(), id(), grants(), processes).prop_map(
        |(interface, code, genesis, grants, (limits, processes))| Image {
            interface,
            code,
            genesis,
            limits,
            next_port: next_port(&grants),
            grants,
            processes,
        },
    )
}

fn program() -> impl Strategy<Value = Program> {
    (any::<u64>(), id(), id(), limits(), btree_set(text(), 0..5)).prop_map(
        |(interface, code, genesis, limits, asks)| Program {
            interface,
            code,
            genesis,
            limits,
            asks: asks.into_iter().collect(),
        },
    )
}

fn input() -> impl Strategy<Value = Input> {
    let n = any::<u64>;
    prop_oneof![
        (bytes(), grants(), option::of(bytes())).prop_map(|(genesis, grants, handover)| Input::Boot {
            genesis,
            grants,
            handover
        }),
        (n(), bytes(), n(), bytes()).prop_map(|(port, from, reply, payload)| Input::Message {
            port: PortId(port),
            from,
            reply: ReplyId(reply),
            payload
        }),
        (n(), any::<bool>(), bytes()).prop_map(|(request, more, payload)| Input::Answer {
            request: RequestId(request),
            more,
            payload
        }),
        (n(), n(), text()).prop_map(|(request, code, text)| Input::Broken {
            request: RequestId(request),
            code: Code(code),
            text
        }),
        n().prop_map(|budget| Input::Again { budget: Nanos(budget) }),
        n().prop_map(|reply| Input::Gone { reply: ReplyId(reply) }),
        grants().prop_map(|grants| Input::Grants { grants }),
        (n(), bytes()).prop_map(|(port, payload)| Input::Query { port: PortId(port), payload }),
    ]
}

fn output() -> impl Strategy<Value = Output> {
    let n = any::<u64>;
    prop_oneof![
        (n(), n(), bytes()).prop_map(|(request, port, payload)| Output::Ask {
            request: RequestId(request),
            port: PortId(port),
            payload
        }),
        (n(), any::<bool>(), bytes()).prop_map(|(reply, more, payload)| Output::Answer {
            reply: ReplyId(reply),
            more,
            payload
        }),
        (n(), n(), text()).prop_map(|(reply, code, text)| Output::Refuse {
            reply: ReplyId(reply),
            code: Code(code),
            text
        }),
        n().prop_map(|request| Output::Cancel { request: RequestId(request) }),
        Just(Output::Again),
        (bytes(), bytes()).prop_map(|(seed, handover)| Output::Become { seed, handover }),
        text().prop_map(|text| Output::Trace { text }),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let key = || vec(any::<u8>(), 0..=SENDER_KEY_BYTES_MAX);
    let marks = any::<[[u8; 16]; 3]>();
    let epoch = (marks, any::<[u64; 4]>(), text(), id()).prop_map(|(marks, numbers, engine, image)| {
        let [machine, incarnation, host] = marks;
        let [number, preparation, device, inode] = numbers;
        Record::Epoch(Epoch { number, machine, incarnation, engine, preparation, host, device, inode, image })
    });
    prop_oneof![
        (bytes(), any::<u64>(), key()).prop_map(|(input, cost, key)| Record::Step { input, cost: Nanos(cost), key }),
        (bytes(), any::<u64>(), key(), text()).prop_map(|(input, cost, key, reason)| Record::Abort {
            input,
            cost: Nanos(cost),
            key,
            reason
        }),
        btree_set(any::<u64>(), 0..9)
            .prop_map(|effects| Record::Settle { effects: effects.into_iter().map(EffectId).collect() }),
        grants().prop_map(|grants| Record::Grant { next_port: next_port(&grants), grants }),
        (id(), id()).prop_map(|(code, genesis)| Record::Become { code, genesis }),
        epoch,
    ]
}

fn batch() -> impl Strategy<Value = Batch> {
    (any::<u32>(), any::<u64>(), vec(record(), 1..6), id(), id(), option::of(id())).prop_map(
        |(first, time, records, outputs, root, previous)| Batch {
            first: Seq(first.into()),
            time: Nanos(time),
            records,
            outputs,
            root,
            previous,
        },
    )
}

fn tree_node() -> impl Strategy<Value = TreeNode> {
    (0_u32..4).prop_flat_map(|level| {
        let positions: Vec<usize> = (0..if level == 3 { 4 } else { 64 }).collect();
        let count = positions.len();
        let kids = subsequence(positions, 1..=count).prop_flat_map(|positions| {
            let count = positions.len();
            vec(id(), count).prop_map(move |ids| positions.iter().copied().zip(ids).collect())
        });
        kids.prop_map(move |kids| TreeNode { level, kids })
    })
}

fn trie_node() -> impl Strategy<Value = TrieNode> {
    let entry = (bytes(), option::of(id())).prop_map(|(data, link)| Entry { data, link });
    let bucket = btree_map(vec(any::<u8>(), 0..=64), entry, 1..=16).prop_map(TrieNode::Bucket);
    let branch = btree_map(0_usize..16, (17_u64..1 << 32, id()), 1..=16).prop_map(|kids: BTreeMap<_, _>| {
        TrieNode::Branch(kids.into_iter().map(|(digit, (entries, id))| TrieKid { digit, entries, id }).collect())
    });
    prop_oneof![bucket, branch]
}

/// What `links` finds must be what the value itself says.
fn links_of(domain: Domain, bytes: &[u8]) -> BTreeSet<Link> {
    links(domain, bytes).unwrap().into_iter().collect()
}

proptest! {
    #[test]
    fn ids_survive(id in id()) {
        prop_assert_eq!(Id::from_bytes(id.as_bytes()), Some(id));
        prop_assert_eq!(Id::from_hex(&format!("{id:x}")), Some(id));
        for option in [None, Some(id)] {
            let mut writer = Writer::new();
            Id::write_option(option.as_ref(), &mut writer);
            prop_assert_eq!(Id::read_option(&mut Reader::new(&writer.finish())), Ok(option));
        }
    }

    #[test]
    fn images_survive(image in image()) {
        let encoding = image.encode();
        prop_assert_eq!(links_of(Domain::Object, &encoding), image.links().into_iter().collect());
        prop_assert_eq!(Image::decode(&encoding), Ok(image));
    }

    #[test]
    fn programs_survive(program in program()) {
        let encoding = program.encode();
        prop_assert_eq!(links_of(Domain::Object, &encoding), program.links().into_iter().collect());
        prop_assert_eq!(Program::decode(&encoding), Ok(program));
    }

    #[test]
    fn blobs_survive(bytes in bytes()) {
        let encoding = encode_blob(&bytes);
        prop_assert_eq!(links_of(Domain::Object, &encoding), BTreeSet::new());
        prop_assert_eq!(decode_blob(&encoding), Ok(&bytes[..]));
    }

    #[test]
    fn inputs_survive(input in input()) {
        prop_assert_eq!(Input::decode(&input.encode()), Ok(input));
    }

    #[test]
    fn outputs_survive(outputs in vec(output(), 0..6)) {
        prop_assert_eq!(Output::decode_list(&Output::encode_list(&outputs)), Ok(outputs));
    }

    #[test]
    fn batches_survive(batch in batch()) {
        prop_assert_eq!(Batch::decode(&batch.encode()), Ok(batch));
    }

    #[test]
    fn tree_nodes_survive(node in tree_node()) {
        let encoding = node.encode();
        let domain = if node.level == 0 { Domain::Page } else { Domain::Node };
        let kids = node.kids.iter().map(|(_, id)| (domain, *id)).collect();
        prop_assert_eq!(links_of(Domain::Node, &encoding), kids);
        prop_assert_eq!(TreeNode::decode(&encoding), Ok(node));
    }

    #[test]
    fn trie_nodes_survive(node in trie_node()) {
        let encoding = node.encode();
        prop_assert_eq!(TrieNode::decode(&encoding), Ok(node));
    }
}
