//! Packs: what one writes another reads, and what a stranger made is refused before it does harm.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod common;

use common::{Shelf, from_hex, samples, to_hex};
use seed::image::Program;
use seed::object::{Link, encode_blob};
use seed::pack::{self, ReadError};
use seed::trie::{TrieKid, TrieNode};
use seed::{Domain, Id};

const ROOM: u64 = 1 << 24;

fn write(root: Link, shelf: &Shelf) -> Vec<u8> {
    pack::write(root, shelf, &|_| false, Vec::new()).unwrap()
}

fn read(pack: &[u8], bytes_max: u64) -> Result<(Link, Shelf), ReadError> {
    let mut shelf = Shelf::default();
    let root = pack::read(pack, bytes_max, &|_| false, &mut |link, bytes| {
        shelf.0.insert(link, bytes);
        Ok(())
    })?;
    Ok((root, shelf))
}

/// A pack of whatever objects, in whatever order, with a right checksum.
fn forge(root: Link, objects: &[(Domain, &[u8])]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (domain, bytes) in objects {
        stream.push(domain.number());
        stream.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
        stream.extend_from_slice(bytes);
    }
    seal(root, &zstd::encode_all(&stream[..], 3).unwrap())
}

fn seal((domain, id): Link, frame: &[u8]) -> Vec<u8> {
    let id = id.as_bytes();
    let head = [pack::VERSION, domain.number(), u8::try_from(id.len()).unwrap()];
    let mut pack = [b"abidepk", &head[..], id, frame].concat();
    pack.extend_from_slice(Id::of(Domain::Object, &pack).as_bytes());
    pack
}

#[test]
fn packs_read_back_the_same() {
    let (root, shelf) = samples::program_objects();
    let pack = write(root, &shelf);
    assert_eq!(pack, write(root, &shelf));
    assert_eq!(pack::root(&pack).unwrap(), root);
    let (found, copy) = read(&pack, ROOM).unwrap();
    assert_eq!(found, root);
    assert_eq!(copy.0, shelf.0);
}

#[test]
fn damage_is_noticed_at_every_byte_and_length() {
    let (root, shelf) = samples::program_objects();
    let pack = write(root, &shelf);
    for position in 0..pack.len() {
        let mut altered = pack.clone();
        altered[position] ^= 1;
        assert!(read(&altered, ROOM).is_err(), "byte {position}");
        assert!(read(&pack[..position], ROOM).is_err(), "length {position}");
    }
    assert!(read(&[pack, vec![0]].concat(), ROOM).is_err());
}

#[test]
fn a_pack_holds_no_more_than_the_reader_takes() {
    let mut shelf = Shelf::default();
    let root = (Domain::Object, shelf.keep(Domain::Object, encode_blob(&[7; 100_000])));
    let pack = write(root, &shelf);
    assert!(pack.len() < 200, "a bomb of a kind");
    assert!(matches!(read(&pack, 1000), Err(ReadError::TooLarge { bytes_max: 1000 })));
}

#[test]
fn what_the_receiver_has_may_be_omitted_and_nothing_else() {
    let (root, shelf) = samples::program_objects();
    let omitted = Program::decode(&shelf.0[&root]).unwrap().code;
    let omits = |link: &Link| link.1 == omitted;
    let pack = pack::write(root, &shelf, &omits, Vec::new()).unwrap();
    assert!(matches!(read(&pack, ROOM), Err(ReadError::Order { .. })));
    let mut count = 0;
    let read = pack::read(&pack, ROOM, &omits, &mut |_, _| {
        count += 1;
        Ok(())
    });
    assert_eq!(read.unwrap(), root);
    assert_eq!(count, 2);
}

/// For a receiver that had everything, a pack without any object was written, which no reader accepts: sending a machine to a place
/// that has it already failed. The root is now always in.
#[test]
fn a_receiver_that_has_everything_still_gets_the_root() {
    let (root, shelf) = samples::program_objects();
    let pack = pack::write(root, &shelf, &|_| true, Vec::new()).unwrap();
    let mut came = Vec::new();
    let read = pack::read(&pack, ROOM, &|_| true, &mut |link, _| {
        came.push(link);
        Ok(())
    });
    assert_eq!(read.unwrap(), root);
    assert_eq!(came, [root]);
}

/// A pack could bring any number of small objects that nobody asked for; they would have been stored, and nothing would ever have led to
/// them. Every object but the root must now be linked by a later one.
#[test]
fn objects_that_nothing_needs_are_refused() {
    let (root, shelf) = samples::program_objects();
    let program = Program::decode(&shelf.0[&root]).unwrap();
    let object = |id: Id| (Domain::Object, &shelf.0[&(Domain::Object, id)][..]);
    let junk = encode_blob(b"junk");
    let (code, genesis, last) = (object(program.code), object(program.genesis), object(root.1));
    let why = |objects: &[_]| match read(&forge(root, objects), ROOM) {
        Err(ReadError::Order { why, .. }) => why,
        other => panic!("{:?}", other.map(|(root, _)| root)),
    };
    assert!(read(&forge(root, &[genesis, code, last]), ROOM).is_ok());
    assert_eq!(why(&[code, (Domain::Object, &junk), genesis, last]), "nothing after it needs it");
    assert_eq!(why(&[code, code, genesis, last]), "it came before");
    assert_eq!(why(&[code, last, genesis]), "it needs an object that has not come");
    let pack = forge(root, &[code, genesis, last, (Domain::Object, &junk)]);
    assert!(matches!(read(&pack, ROOM), Err(ReadError::Trailing)));
    assert!(matches!(read(&forge(root, &[code, genesis]), ROOM), Err(ReadError::NoRoot { .. })));
}

#[test]
fn headers_and_frames_are_held_to_their_form() {
    let (root, shelf) = samples::program_objects();
    let pack = write(root, &shelf);
    let frame = &pack[10 + root.1.as_bytes().len()..pack.len() - 34];
    assert_eq!(seal(root, frame), pack);
    let check = |body: &[u8], expected: &str| {
        let pack = [body, Id::of(Domain::Object, body).as_bytes()].concat();
        assert_eq!(read(&pack, ROOM).map(|(root, _)| root).unwrap_err().to_string(), expected, "{}", to_hex(body));
    };
    let body = &pack[..pack.len() - 34];
    let with = |position: usize, byte: u8| {
        let mut body = body.to_vec();
        body[position] = byte;
        body
    };
    check(&with(0, b'A'), "not a seed: it does not start with the mark of one");
    check(&with(7, 0), "not a seed: it does not start with the mark of one");
    check(&with(7, 2), "this seed has format 2; this version reads up to 1");
    check(&with(8, 3), "the seed's header is malformed");
    check(&with(9, 33), "the seed's header is malformed");
    check(&with(9, 255), "the seed's header is malformed");
    check(&body[..10], "the seed's header is malformed");
    check(&body[..body.len() - 3], "decompressing a seed failed");
    check(&[body, frame].concat(), "the seed has data after its root object");
    check(&[body, &[0]].concat(), "the seed has data after its root object");
    // A skippable frame would be a place to hide bytes in.
    let skippable = [&from_hex("502a4d18 04000000 00000000".replace(' ', "").as_str()), frame].concat();
    assert!(read(&seal(root, &skippable), ROOM).is_err());
    assert!(read(&forge(root, &[]), ROOM).is_err());
}

/// Objects may be linked in chains as long as memory lasts; walking them must not take stack for each link.
#[test]
fn long_chains_of_links_are_walked_without_recursion() {
    let mut shelf = Shelf::default();
    let mut id = Id::of(Domain::Node, b"the receiver has this");
    let bottom = id;
    for _ in 0..50_000 {
        id = shelf.keep(Domain::Node, TrieNode::Branch(vec![TrieKid { digit: 0, entries: 17, id }]).encode());
    }
    let has = |link: &Link| link.1 == bottom;
    let pack = pack::write((Domain::Node, id), &shelf, &has, Vec::new()).unwrap();
    let mut count = 0;
    let root = pack::read(&pack, ROOM, &has, &mut |_, _| {
        count += 1;
        Ok(())
    });
    assert_eq!(root.unwrap(), (Domain::Node, id));
    assert_eq!(count, 50_000);
}
