//! Golden vectors: every kind of stored and sent bytes, checked in as text under `tests/golden/`, so that no format changes unseen; what machines' programs
//! see is in `docs/golden/abi.txt`.
//!
//! A file holds vectors; each is a heading, the value in CBOR diagnostic notation (or in words), and its bytes in hexadecimal:
//!
//! ```text
//! ## name
//! readable form, one or more lines
//! hex 8501...
//! ```
//!
//! `ABIDE_BLESS=1 cargo test -p seed` rewrites the files, and with them the fuzzer's starting points under `fuzz/seeds/`. Do that for a
//! new vector; for a changed one only together with a format version (docs/format.md).

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod common;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use common::vectors::{Vector, explained, parse, render, vector};
use common::{Shelf, samples, to_hex};
use seed::cbor::{CborError, Reader, Value, Writer};
use seed::image::{Image, Program};
use seed::message::{Input, Output};
use seed::object::{decode_blob, encode_blob};
use seed::page::PAGE_BYTES;
use seed::record::{Batch, Record};
use seed::tree::{PageTree, TreeNode};
use seed::trie::{Trie, TrieNode};
use seed::{Domain, Id, LoadError, PageIndex, pack};

/// Each file with its vectors, and the fuzz targets that start from them.
fn files() -> Vec<(&'static str, &'static [&'static str], Vec<Vector>)> {
    let records = samples::records().into_iter().map(|(name, record)| vector(name, encode_record(&record))).collect();
    let images = vec![
        vector("image", samples::image().encode()),
        vector("unbooted", samples::unbooted_image().encode()),
        vector("calling", samples::calling_image().encode()),
    ];
    let batches = vec![vector("batch", samples::batch().encode()), vector("first", samples::first_batch().encode())];
    vec![
        ("cbor", &["cbor"], cbor()),
        ("ids", &["id"], ids()),
        ("tree", &["tree_node"], trees()),
        ("trie", &["trie_node"], tries()),
        ("blob", &[], vec![vector("empty", encode_blob(&[])), vector("bytes", encode_blob(b"bytes"))]),
        ("image", &["image"], images),
        ("program", &["program"], vec![vector("program", samples::program().encode())]),
        ("abi", &[], abi()),
        ("records", &["record"], records),
        ("batch", &["batch"], batches),
        ("pack", &["pack"], packs()),
    ]
}

/// Every kind of input and output, and a list of all of these.
fn abi() -> Vec<Vector> {
    let inputs = samples::inputs().into_iter().map(|(name, input)| {
        let meaning = match name {
            "boot" => "boot: genesis data, and the grants",
            "boot-become" => "boot of what another program has become: a handover",
            "message" => "a message of the owner, to be answered as reply 9",
            "message-tell" => "a message of somebody else to port 300, which wants no answer",
            "answer" => "a part of the answer to request 1; others follow",
            "broken" => "the request of this number is broken: lost, and why",
            "again" => "go on, for about 2 ms",
            "gone" => "whoever waited for reply 4 has gone",
            "grants" => "the grants, which have changed",
            "query" => "a query of the owner",
            other => panic!("what does {other} mean?"),
        };
        explained(format!("input {name}"), meaning, input.encode())
    });
    let outputs = samples::outputs().into_iter().map(|(name, output)| {
        let meaning = match name {
            "ask" => "asks port 2 for the time, as request 1",
            "ask-effect" => "tells port 1 a line, and wants no answer",
            "answer" => "the answer to reply 9, all of it",
            "refuse" => "no answer to reply 9: a code of the machine's own, and why",
            "cancel" => "request 1 is no longer wanted",
            "again" => "asks to be called again",
            "become" => "becomes the program of a seed, with a handover",
            "trace" => "something for the owner's eyes",
            other => panic!("what does {other} mean?"),
        };
        explained(format!("output {name}"), meaning, Output::encode_list(&[output]))
    });
    let every: Vec<Output> = samples::outputs().into_iter().map(|(_, output)| output).collect();
    let lists = [
        explained("output none", "nothing", Output::encode_list(&[])),
        explained("output every", "one of each, in this order", Output::encode_list(&every)),
    ];
    inputs.chain(outputs).chain(lists).collect()
}

fn cbor() -> Vec<Vector> {
    let numbers = [0, 23, 24, 255, 256, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX];
    let mut vectors: Vec<_> =
        numbers.iter().map(|number| vector(format!("uint-{number}"), Value::Uint(*number).encode())).collect();
    for length in [0, 1, 23, 24, 256] {
        vectors.push(vector(format!("bytes-{length}"), Value::Bytes(vec![0xab; length]).encode()));
        vectors.push(vector(format!("text-{length}"), Value::Text("x".repeat(length)).encode()));
        vectors.push(vector(format!("array-{length}"), Value::Array(vec![Value::Uint(1); length]).encode()));
    }
    vectors.push(vector("text-utf8", Value::Text("größer €".into()).encode()));
    let nested = Value::Array(vec![Value::Array(vec![Value::Array(vec![])]), Value::Text("end".into())]);
    vectors.push(vector("nested", nested.encode()));
    vectors
}

fn ids() -> Vec<Vector> {
    let id = |name: &str, domain, bytes: &[u8], what: &str| Vector {
        name: name.into(),
        readable: format!("{what} as {domain:?}"),
        bytes: Id::of(domain, bytes).as_bytes().to_vec(),
    };
    let mut vectors = vec![id("page", Domain::Page, &[7; PAGE_BYTES], "4096 bytes 07")];
    vectors.extend(
        [Domain::Page, Domain::Node, Domain::Object]
            .map(|domain| id(&format!("empty-{}", domain.number()), domain, &[], "no bytes")),
    );
    vectors.extend(
        [Domain::Page, Domain::Node, Domain::Object]
            .map(|domain| id(&format!("abc-{}", domain.number()), domain, b"abc", "the bytes 616263")),
    );
    vectors
}

/// Nodes of several trees, named by the tree's size; the last of a tree is its root.
fn trees() -> Vec<Vector> {
    let trees: [(u64, &[u32]); 6] = [
        (1, &[0]),
        (64, &[0, 63]),
        (65, &[0, 64]),
        (4096, &[4095]),
        (4097, &[1, 4096]),
        (1 << 20, &[0, 70_000, (1 << 20) - 1]),
    ];
    let nodes = trees.into_iter().map(|(pages, set)| (format!("pages-{pages}"), samples::tree_nodes(pages, set).1));
    nodes.flat_map(|(name, nodes)| numbered(&name, nodes)).collect()
}

fn tries() -> Vec<Vector> {
    [1, 16, 17]
        .into_iter()
        .flat_map(|count| numbered(&format!("entries-{count}"), samples::trie_nodes(count).1))
        .collect()
}

fn numbered(name: &str, nodes: Vec<(Id, Vec<u8>)>) -> Vec<Vector> {
    let mut vectors = Vec::new();
    for (number, (id, bytes)) in (0..).zip(nodes) {
        let Vector { readable, .. } = vector("", bytes.clone());
        vectors.push(Vector {
            name: format!("{name}-node-{number:02}"),
            readable: format!("{readable}\nid {id:x}"),
            bytes,
        });
    }
    vectors
}

fn packs() -> Vec<Vector> {
    let (root, shelf) = samples::program_objects();
    let full = pack::write(root, &shelf, &|_| false, Vec::new()).unwrap();
    let genesis = samples::program().genesis;
    let partial = pack::write(root, &shelf, &|link| link.1 == genesis, Vec::new()).unwrap();
    let readable = |what: &str| format!("{what}; root {:x}", root.1);
    vec![
        Vector { name: "program".into(), readable: readable("a program with its two blobs"), bytes: full },
        Vector { name: "incremental".into(), readable: readable("the same without its genesis"), bytes: partial },
    ]
}

fn encode_record(record: &Record) -> Vec<u8> {
    let mut writer = Writer::new();
    record.write(&mut writer);
    writer.finish()
}

/// Where a file is: what machines' programs see is documentation, beside docs/abi.md.
fn path_of(file: &str) -> PathBuf {
    let folder = if file == "abi" { "../docs/golden" } else { "tests/golden" };
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(file).with_extension("txt")
}

/// The bytes of the vectors in a file, by name, as checked in.
fn golden(file: &str) -> BTreeMap<String, Vec<u8>> {
    bless_if_asked();
    parse(&fs::read_to_string(path_of(file)).unwrap())
}

/// Everything that blessing owns: golden files and the fuzzer's seeds, some of which are golden vectors in another guise.
fn expected() -> Vec<(PathBuf, Vec<u8>)> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    let mut expected = Vec::new();
    for (file, targets, vectors) in files() {
        let first = match file {
            "abi" => {
                "What goes into a machine and comes out of it (../abi.md), byte for byte. seed/tests/golden.rs writes and checks this."
            }
            _ => "Golden vectors; seed/tests/golden.rs says how they are made.",
        };
        expected.push((path_of(file), render(first, &vectors).into_bytes()));
        for Vector { name, bytes, .. } in vectors {
            let guise = match file {
                "ids" => Some(("id_hex", to_hex(&bytes).into_bytes())),
                "tree" | "trie" => Some(("object", with_domain(Domain::Node, &bytes))),
                "blob" | "image" | "program" => Some(("object", with_domain(Domain::Object, &bytes))),
                // "input boot" is a starting point of the fuzzer's target `input`, of the name `boot`.
                "abi" => {
                    let (target, name) = name.split_once(' ').unwrap();
                    expected.push((seeds.join(target).join(name), bytes));
                    continue;
                }
                "pack" => Some(("pack_stream", zstd::decode_all(&bytes[44..bytes.len() - 34]).unwrap())),
                _ => None,
            };
            expected.extend(guise.map(|(target, bytes)| (seeds.join(target).join(&name), bytes)));
            expected.extend(targets.iter().map(|target| (seeds.join(target).join(&name), bytes.clone())));
        }
    }
    expected
}

/// Rewrites everything if asked to, before any test reads it.
fn bless_if_asked() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("ABIDE_BLESS").is_none() {
            return;
        }
        for (path, content) in expected() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    });
}

#[test]
fn stored_bytes_have_not_changed() {
    bless_if_asked();
    for (path, content) in expected() {
        let shown = path.file_name().unwrap().display();
        let text = String::from_utf8_lossy(&content);
        assert!(
            fs::read(&path).unwrap_or_default() == content,
            "{shown} is stale, see seed/tests/golden.rs; now:\n{text}"
        );
    }
}

fn with_domain(domain: Domain, bytes: &[u8]) -> Vec<u8> {
    [&[domain.number()], bytes].concat()
}

/// Old bytes still mean what they meant: each golden vector of a file reads as the value it was made from.
fn check_reads<T: PartialEq + Debug>(file: &str, read: fn(&[u8]) -> Result<T, CborError>, values: Vec<(&str, T)>) {
    check_vectors(file, golden(file), read, values);
}

fn check_vectors<T: PartialEq + Debug>(
    file: &str,
    vectors: BTreeMap<String, Vec<u8>>,
    read: fn(&[u8]) -> Result<T, CborError>,
    values: Vec<(&str, T)>,
) {
    assert_eq!(vectors.len(), values.len(), "{file}");
    for (name, value) in values {
        assert_eq!(read(&vectors[name]), Ok(value), "{file} {name}");
    }
}

/// Of the machine interface of number 1, which is frozen (docs/abi.md): names and bytes of its vectors. Whoever has to change this wants another number.
const INTERFACE_1: &str = "8937a114a14e16de789523a8b5bcac98e1da0be2cd7b7578328c9fa597a874dd";

#[test]
fn the_machine_interface_is_frozen() {
    let mut hash = blake3::Hasher::new();
    for (name, bytes) in golden("abi") {
        for part in [name.as_bytes(), &bytes] {
            hash.update(&(part.len() as u64).to_be_bytes()).update(part);
        }
    }
    assert_eq!((seed::image::INTERFACE, hash.finalize().to_hex().as_str()), (1, INTERFACE_1));
}

#[test]
fn golden_messages_read_as_what_they_were() {
    let mut outputs: Vec<_> = samples::outputs().into_iter().map(|(name, output)| (name, vec![output])).collect();
    let every = samples::outputs().into_iter().map(|(_, output)| output).collect();
    outputs.extend([("none", vec![]), ("every", every)]);
    let of = |kind: &str| {
        let vectors = golden("abi").into_iter();
        vectors.filter_map(|(name, bytes)| Some((name.strip_prefix(kind)?.trim().to_owned(), bytes))).collect()
    };
    check_vectors("inputs", of("input"), Input::decode, samples::inputs());
    check_vectors("outputs", of("output"), Output::decode_list, outputs);
}

#[test]
fn golden_objects_read_as_what_they_were() {
    let images = vec![
        ("image", samples::image()),
        ("unbooted", samples::unbooted_image()),
        ("calling", samples::calling_image()),
    ];
    check_reads("image", Image::decode, images);
    check_reads("program", Program::decode, vec![("program", samples::program())]);
    let blob = |bytes: &[u8]| decode_blob(bytes).map(<[u8]>::to_vec);
    check_reads("blob", blob, vec![("empty", vec![]), ("bytes", b"bytes".to_vec())]);
}

#[test]
fn golden_log_reads_as_what_it_was() {
    check_reads("batch", Batch::decode, vec![("batch", samples::batch()), ("first", samples::first_batch())]);
    let record = |bytes: &[u8]| {
        let mut reader = Reader::new(bytes);
        let record = Record::read(&mut reader)?;
        reader.end().map(|()| record)
    };
    check_reads("records", record, samples::records());
}

#[test]
fn golden_cbor_and_ids_read_as_what_they_were() {
    let cbor = golden("cbor");
    assert_eq!(Value::decode(&cbor["uint-65536"]), Ok(Value::Uint(65_536)));
    assert_eq!(Value::decode(&cbor["bytes-24"]), Ok(Value::Bytes(vec![0xab; 24])));
    assert_eq!(Value::decode(&cbor["text-utf8"]), Ok(Value::Text("größer €".into())));
    assert_eq!(Value::decode(&cbor["array-256"]), Ok(Value::Array(vec![Value::Uint(1); 256])));
    let ids = golden("ids");
    Id::from_bytes(&ids["page"]).unwrap().verify(Domain::Page, &[7; PAGE_BYTES]).unwrap();
    for domain in Domain::ALL {
        Id::from_bytes(&ids[&format!("abc-{}", domain.number())]).unwrap().verify(domain, b"abc").unwrap();
    }
}

#[test]
fn golden_nodes_make_up_the_maps_they_came_from() {
    let shelf_of = |file: &str| {
        let mut shelf = Shelf::default();
        let nodes = golden(file);
        let ids: BTreeMap<String, Id> =
            nodes.into_iter().map(|(name, bytes)| (name, shelf.keep(Domain::Node, bytes))).collect();
        move |prefix: &str| {
            let (_, root) = ids.iter().rfind(|(name, _)| name.starts_with(prefix)).unwrap();
            (shelf.clone(), *root)
        }
    };
    let (shelf, root) = shelf_of("tree")("pages-4097-");
    assert!(TreeNode::decode(&shelf.0[&(Domain::Node, root)]).unwrap().level == 2);
    let mut pages = Vec::new();
    let tree = PageTree::stored(4097, Some(root));
    tree.for_each::<LoadError>(&shelf, &mut |index, id| {
        pages.push((index, id));
        Ok(())
    })
    .unwrap();
    assert_eq!(pages, [(PageIndex(1), samples::page_id(1)), (PageIndex(4096), samples::page_id(2))]);
    let (shelf, root) = shelf_of("trie")("entries-17-");
    assert!(matches!(TrieNode::decode(&shelf.0[&(Domain::Node, root)]), Ok(TrieNode::Branch(_))));
    let entries = Trie::stored(Some(root)).entries(&shelf).unwrap();
    assert_eq!(entries.len(), 17);
    assert_eq!(entries[&[0, 0, 0, 0, 0, 0, 0, 5][..]].data, b"entry 5");
    assert_eq!(entries[&[0, 0, 0, 0, 0, 0, 0, 5][..]].link, Some(samples::blob_id(5)));
}

#[test]
fn golden_packs_bring_what_they_brought() {
    let (root, shelf) = samples::program_objects();
    let genesis = samples::program().genesis;
    for (name, omitted) in [("program", None), ("incremental", Some(genesis))] {
        let mut copy = Shelf::default();
        let has = |link: &(Domain, Id)| Some(link.1) == omitted;
        let read = pack::read(&golden("pack")[name], 1 << 20, &has, &mut |link, bytes| {
            copy.0.insert(link, bytes);
            Ok(())
        });
        assert_eq!(read.unwrap(), root);
        assert!(copy.0.iter().all(|(link, bytes)| shelf.0[link] == *bytes));
        assert_eq!(copy.0.len(), 3 - usize::from(omitted.is_some()));
    }
}
