//! Golden vectors of what passes ports: `docs/golden/ports.txt`, from which tests take the bytes that they check: those of the ports whose payloads have a
//! file of their own are here, as that file is included by the fuzzer, which knows no ports; the others beside their codecs.
//!
//! The file is written from [`vectors`] (`ABIDE_BLESS=1 cargo test --workspace --lib golden`). Do that for a new vector; one that changes is a change of the
//! machine interface.

#[path = "../../../seed/tests/common/vectors.rs"]
#[allow(dead_code, reason = "seed's tests use all of it")]
mod format;

#[path = "../../../fuzz/port_bodies.rs"]
#[allow(unreachable_pub, reason = "the fuzzer's targets include it, too")]
mod bodies;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use format::{Vector, explained};
use seed::cbor::{CborError, Value};
use seed::{Domain, Id, Nanos};

use super::clock::payload as clock;
use super::files::payload as files;
use super::tcp::payload as tcp;
use crate::control::wish;

const FIRST: &str = "What ports are asked and answer (../ports.md), byte for byte. boot/src/ports/golden.rs writes this, and each port's tests check it.";

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/golden/ports.txt")
}

/// The file, written anew before any test reads it if that is asked for.
fn text() -> String {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("ABIDE_BLESS").is_some() {
            fs::create_dir_all(path().parent().unwrap()).unwrap();
            fs::write(path(), format::render(FIRST, &vectors())).unwrap();
        }
    });
    fs::read_to_string(path()).unwrap()
}

/// The bytes of a vector, as the file has them.
pub(super) fn bytes(name: &str) -> Vec<u8> {
    format::parse(&text()).remove(name).unwrap_or_else(|| panic!("{name} is not in docs/golden/ports.txt"))
}

/// Everything in the file: names, what they mean, and values.
fn vectors() -> Vec<Vector> {
    let n = Value::Uint;
    let b = |text: &str| Value::Bytes(text.as_bytes().to_vec());
    let a = |items: &[Value]| Value::Array(items.to_vec());
    let header = |name, value| a(&[a(&[b(name), b(value)])]);
    // What `hi` has as a blob of a store.
    let id = Value::Bytes(Id::of(Domain::Object, &seed::object::encode_blob(b"hi")).as_bytes().to_vec());
    let vectors = [
        ("clock now", "asked for the time", a(&[n(0)])),
        ("clock until", "to be answered at a time", a(&[n(1), n(24)])),
        ("clock every", "to be answered at a time, and every second from then on", a(&[n(2), n(5), n(1_000_000_000)])),
        ("clock answer", "an answer, or a part of one: the time", n(1_800_000_000_000_000_000)),
        ("random request", "asked for 16 bytes", n(16)),
        (
            "http request",
            "a message: PUT /a/b?c=d%20e with a header and a body",
            a(&[b("PUT"), b("/a/b?c=d%20e"), header("x-one", "1"), b("hi")]),
        ),
        ("http response", "an answer, or its first part", a(&[n(200), header("a", "b"), b("hi")])),
        ("http agreed", "the first part of an answer that agrees to a websocket", a(&[n(101), a(&[]), b("")])),
        ("http text", "a further part of it: a message of text", a(&[n(1), b("hi")])),
        ("http bytes", "a message of bytes", a(&[n(2), b("hi")])),
        ("http close", "the last part: the end, with code and reason", a(&[n(8), n(1000), b("bye")])),
        ("http heard", "a message from the client to whom reply 7 is owed", a(&[n(7), n(1), b("hi")])),
        ("http pure", "routes that are marked: /a, and all below /b", a(&[n(0), a(&[b("/a"), b("/b/*")])])),
        (
            "http-client call",
            "a call, of one second and 64 KiB",
            a(&[b("PUT"), b("http://a/b"), header("X-One", "1"), b("hi"), n(1000), n(65_536)]),
        ),
        (
            "http-client response",
            "its answer, and who gave it",
            a(&[n(200), header("x-one", "1"), b("hi"), b("http://a/b")]),
        ),
        ("tcp begin", "asked for a connection", a(&[n(0)])),
        ("tcp begun", "connection 5, and its other end", a(&[n(5), b("[::1]:80")])),
        ("tcp read", "asked for 4096 bytes of connection 5 at most", a(&[n(1), n(5), n(4096)])),
        ("tcp write", "to be sent on connection 5", a(&[n(2), n(5), b("hi")])),
        ("tcp close", "the end of connection 5", a(&[n(3), n(5)])),
        ("files list", "asked for what is in a/b after c", a(&[n(0), b("a/b"), b("c")])),
        (
            "files entries",
            "a file of 5 bytes, a folder and a link; there are more",
            a(&[
                a(&[a(&[b("d"), n(0), n(5), n(7)]), a(&[b("e"), n(1), n(0), n(8)]), a(&[b("f"), n(2), n(0), n(9)])]),
                n(1),
            ]),
        ),
        ("files import", "asked for the id of what a/b holds", a(&[n(1), b("a/b")])),
        ("files imported", "it holds `hi`", a(&[id.clone(), n(2)])),
        ("files read", "asked for 4096 bytes of that at most, from 1 on", a(&[n(2), b("a/b"), id, n(1), n(4096)])),
        ("files write", "a/b is to hold `hi`", a(&[n(3), b("a/b"), b("hi")])),
        ("files folder", "a/b is to be a folder", a(&[n(4), b("a/b")])),
        ("files remove", "a/b is to be gone", a(&[n(5), b("a/b")])),
    ];
    vectors.into_iter().map(|(name, meaning, value)| explained(name, meaning, value.encode())).collect()
}

#[test]
fn golden_payloads_are_what_they_say_and_all_are_checked() {
    assert_eq!(text(), format::render(FIRST, &vectors()), "docs/golden/ports.txt is stale");
    let mut sources = String::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ports")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => sources += &fs::read_to_string(path).unwrap(),
            }
        }
    }
    for Vector { name, .. } in vectors() {
        assert!(sources.contains(&format!("bytes(\"{name}\")")), "no port checks {name}");
    }
}

/// A request reads as what it means and is written as it is, and nothing less or more is one.
fn check<'a, T: PartialEq + std::fmt::Debug>(
    payload: &'a [u8],
    ask: T,
    decode: fn(&'a [u8]) -> Result<T, CborError>,
    encode: fn(&T) -> Vec<u8>,
) {
    assert_eq!(encode(&ask), payload);
    assert_eq!(decode(payload), Ok(ask));
    for end in 0..payload.len() {
        assert!(decode(&payload[..end]).is_err());
    }
}

#[test]
fn the_clocks_requests_and_answers_in_bytes() {
    use clock::{Ask, EVERY_MIN, encode};
    let every = Ask::Every { first: Nanos(5), every: Nanos(1_000_000_000) };
    let golden =
        [(bytes("clock now"), Ask::Now), (bytes("clock until"), Ask::Until(Nanos(24))), (bytes("clock every"), every)];
    for (payload, ask) in &golden {
        check(payload, *ask, Ask::decode, Ask::encode);
        assert!(Ask::decode(&[payload, &[0][..]].concat()).is_err());
    }
    assert_eq!(encode(Nanos(1_800_000_000_000_000_000)), bytes("clock answer"));
    let why =
        |every| Ask::decode(&Ask::Every { first: Nanos(0), every }.encode()).map_err(|error| error.fault.to_string());
    assert_eq!(why(Nanos(EVERY_MIN.0 - 1)), Err("a timer repeats after 1 ms or more".to_owned()));
    assert!(why(EVERY_MIN).is_ok());
}

#[test]
fn requests_of_files_and_answers_in_bytes() {
    use files::{Ask, Entry, Inside, Kind, encode_import, encode_list};
    let path = Inside::parse(b"a/b").unwrap();
    let id = Id::of(Domain::Object, &seed::object::encode_blob(b"hi"));
    let golden = [
        (bytes("files list"), Ask::List { path, after: "c" }),
        (bytes("files import"), Ask::Import { path }),
        (bytes("files read"), Ask::Read { path, id, from: 1, most: 4096 }),
        (bytes("files write"), Ask::Write { path, bytes: b"hi" }),
        (bytes("files folder"), Ask::MakeFolder { path }),
        (bytes("files remove"), Ask::Remove { path }),
    ];
    for (payload, ask) in &golden {
        check(payload, *ask, Ask::decode, Ask::encode);
        assert!(Ask::decode(&[payload, &[0][..]].concat()).is_err());
    }
    let entry = |name: &str, kind, size, changed| Entry { name: name.to_owned(), kind, size, changed };
    let entries = [entry("d", Kind::File, 5, 7), entry("e", Kind::Folder, 0, 8), entry("f", Kind::Other, 0, 9)];
    assert_eq!(encode_list(&entries, true), bytes("files entries"));
    assert_eq!(encode_import(&id, 2), bytes("files imported"));
    // As it is hashed that comes in pieces.
    let mut hasher = seed::object::blob_hasher(2);
    [b"h", b"i"].iter().for_each(|piece| hasher.update(*piece));
    assert_eq!(hasher.finish(), id);
}

#[test]
fn requests_of_tcp_and_answers_in_bytes() {
    use tcp::{Ask, READ_BYTES_MAX, encode_begun};
    let golden = [
        (bytes("tcp begin"), Ask::Begin),
        (bytes("tcp read"), Ask::Read { connection: 5, most: 4096 }),
        (bytes("tcp write"), Ask::Write { connection: 5, bytes: b"hi" }),
        (bytes("tcp close"), Ask::Close { connection: 5 }),
    ];
    for (payload, ask) in &golden {
        check(payload, *ask, Ask::decode, Ask::encode);
        assert!(Ask::decode(&[payload, &[0][..]].concat()).is_err());
    }
    let most = usize::try_from(READ_BYTES_MAX).unwrap();
    assert!(Ask::decode(&Ask::Read { connection: 5, most }.encode()).is_ok());
    assert_eq!(encode_begun(5, "[::1]:80"), bytes("tcp begun"));
}

/// What a fuzz target does, with its starting points and everything near them.
pub(super) fn fuzz_near(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    for entry in fs::read_dir(folder).unwrap() {
        let seed = fs::read(entry.unwrap().path()).unwrap();
        body(&seed);
        for at in 0..seed.len() {
            body(&seed[..at]);
            for byte in 0..=255 {
                let mut changed = seed.clone();
                changed[at] = byte;
                body(&changed);
                changed.insert(at, 0x18);
                body(&changed);
            }
        }
    }
}

#[test]
fn payloads_near_the_starting_points_of_the_fuzzer_are_read_exactly() {
    fuzz_near("clock_ask", bodies::clock_ask);
    fuzz_near("files_ask", bodies::files_ask);
    fuzz_near("tcp_ask", bodies::tcp_ask);
    fuzz_near("wish", bodies::wish);
}
