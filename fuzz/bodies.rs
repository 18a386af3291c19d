//! What every fuzz target does with its input, in one place: `cargo fuzz` calls these, and so do seed's tests, over `seeds/`.
//!
//! The rule behind each of them: bytes that a decoder accepts are exactly the bytes that the value encodes to.

use std::collections::HashMap;

use seed::cbor::{DEPTH_MAX, Reader, Value};
use seed::image::{Image, Program};
use seed::message::{Input, Output};
use seed::object::{Link, Objects, decode_blob, encode_blob, links};
use seed::record::{Batch, Record};
use seed::tree::{PageTree, TreeNode};
use seed::trie::{Trie, TrieNode};
use seed::{Domain, Id, LoadError, pack};

/// What a target does with its input.
pub type Body = fn(&[u8]);

/// Every target by name; `fuzz_targets/` and `seeds/` use the same names.
pub const TARGETS: [(&str, Body); 14] = [
    ("cbor", cbor),
    ("id", id),
    ("id_hex", id_hex),
    ("tree_node", tree_node),
    ("trie_node", trie_node),
    ("object", object),
    ("image", image),
    ("program", program),
    ("input", input),
    ("output", output),
    ("record", record),
    ("batch", batch),
    ("pack", pack),
    ("pack_stream", pack_stream),
];

/// Any item: the value and the skipping reader must agree.
pub fn cbor(data: &[u8]) {
    let value = Value::decode(data);
    let mut reader = Reader::new(data);
    let skipped = reader.item(DEPTH_MAX).is_ok() && reader.is_at_end();
    assert_eq!(value.is_ok(), skipped);
    if let Ok(value) = value {
        assert_eq!(value.encode(), data);
    }
}

pub fn id(data: &[u8]) {
    if let Some(id) = Id::from_bytes(data) {
        assert_eq!(id.as_bytes(), data);
        assert_eq!(Id::from_hex(&format!("{id:x}")), Some(id));
        let _ = id.verify(Domain::Object, data);
    }
}

pub fn id_hex(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(id) = Id::from_hex(text) {
        assert_eq!(format!("{id:x}"), text);
    }
}

/// A node, and the smallest tree that it can be the root of: what loads must come out of its content again.
pub fn tree_node(data: &[u8]) {
    let Ok(node) = TreeNode::decode(data) else { return };
    assert_eq!(node.encode(), data);
    assert_eq!(links(Domain::Node, data).map(|links| links.len()), Ok(node.kids.len()));
    let shelf = Shelf::of(data);
    let pages = node.kids.last().map_or(0, |(last, _)| (*last as u64 + 1) << (6 * node.level));
    let stored = PageTree::stored(pages, Some(Id::of(Domain::Node, data)));
    let mut rebuilt = PageTree::zero(pages);
    let complete = stored.for_each::<LoadError>(&shelf, &mut |index, id| rebuilt.set(index, Some(id), &shelf));
    if complete.is_ok() {
        assert_eq!(rebuilt.root(), Some(Id::of(Domain::Node, data)));
    }
}

/// The same for tries.
pub fn trie_node(data: &[u8]) {
    let Ok(node) = TrieNode::decode(data) else { return };
    assert_eq!(node.encode(), data);
    let shelf = Shelf::of(data);
    let mut stored = Trie::stored(Some(Id::of(Domain::Node, data)));
    assert_eq!(stored.len(&shelf).ok(), Some(node.entries()));
    let Ok(entries) = stored.entries(&shelf) else { return };
    let mut rebuilt = Trie::default();
    for (key, entry) in &entries {
        assert_eq!(stored.get(key, &shelf).ok().flatten().as_ref(), Some(entry));
        assert!(rebuilt.insert(key, entry.clone(), &shelf).is_ok());
    }
    assert_eq!(rebuilt.root(), Some(Id::of(Domain::Node, data)));
    assert!(entries.keys().all(|key| stored.remove(key, &shelf).is_ok()));
    assert!(stored.is_empty());
}

/// The first byte chooses the domain; whatever has links must be one of the known kinds, and canonical.
pub fn object(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else { return };
    let Some(domain) = Domain::from_number(first) else { return };
    if links(domain, bytes).is_err() {
        return;
    }
    let again = [
        TreeNode::decode(bytes).map(|node| node.encode()),
        TrieNode::decode(bytes).map(|node| node.encode()),
        decode_blob(bytes).map(encode_blob),
        Image::decode(bytes).map(|image| image.encode()),
        Program::decode(bytes).map(|program| program.encode()),
    ];
    let read: Vec<Vec<u8>> = again.into_iter().flatten().collect();
    if domain != Domain::Page {
        assert_eq!(read, [bytes], "an object is of exactly one kind");
    }
}

pub fn image(data: &[u8]) {
    if let Ok(image) = Image::decode(data) {
        assert_eq!(image.encode(), data);
        assert_eq!(links(Domain::Object, data), Ok(image.links()));
    }
}

pub fn program(data: &[u8]) {
    if let Ok(program) = Program::decode(data) {
        assert_eq!(program.encode(), data);
        let image = program.to_image(Vec::new());
        assert_eq!(Image::decode(&image.encode()), Ok(image));
    }
}

pub fn input(data: &[u8]) {
    if let Ok(input) = Input::decode(data) {
        assert_eq!(input.encode(), data);
    }
}

pub fn output(data: &[u8]) {
    if let Ok(outputs) = Output::decode_list(data) {
        assert_eq!(Output::encode_list(&outputs), data);
    }
}

pub fn record(data: &[u8]) {
    let mut reader = Reader::new(data);
    if let Ok(record) = Record::read(&mut reader) {
        let mut writer = seed::cbor::Writer::new();
        record.write(&mut writer);
        assert_eq!(writer.finish(), data[..reader.position()]);
    }
}

pub fn batch(data: &[u8]) {
    if let Ok(batch) = Batch::decode(data) {
        assert_eq!(batch.encode(), data);
        assert!(batch.end() > batch.first);
    }
}

/// A pack may be compressed in many ways, so the objects are compared, not the bytes.
pub fn pack(data: &[u8]) {
    let Ok((root, shelf)) = unpack(data) else { return };
    let has = |link: &Link| !shelf.0.contains_key(link);
    let Ok(again) = pack::write(root, &shelf, &has, Vec::new()) else { panic!("what was read cannot be written") };
    let Ok((found, copy)) = unpack(&again) else { panic!("what was written cannot be read") };
    assert_eq!(found, root);
    assert_eq!(copy.0, shelf.0, "a pack brought something that its root does not need");
}

/// The inside of a pack: a stream of objects, to which a header, compression and a checksum are added, which no mutation would get right.
pub fn pack_stream(data: &[u8]) {
    let mut rest = data;
    let mut root = (Domain::Object, Id::of(Domain::Object, &[]));
    while let [number, l0, l1, l2, l3, tail @ ..] = rest {
        let length = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
        let (Some(domain), Some((object, tail))) = (Domain::from_number(*number), tail.split_at_checked(length)) else {
            break;
        };
        root = (domain, Id::of(domain, object));
        rest = tail;
    }
    let Ok(frame) = zstd::encode_all(data, 1) else { return };
    let id = root.1.as_bytes();
    let mut sealed = [b"abidepk", &[pack::VERSION, root.0.number(), 34][..], id, &frame].concat();
    sealed.extend_from_slice(Id::of(Domain::Object, &sealed).as_bytes());
    pack(&sealed);
}

/// Unpacks for a receiver that has whatever a pack omits.
fn unpack(data: &[u8]) -> Result<(Link, Shelf), pack::ReadError> {
    let mut shelf = Shelf::default();
    let root = pack::read(data, 1 << 20, &|_| true, &mut |link, bytes| {
        shelf.0.insert(link, bytes);
        Ok(())
    })?;
    Ok((root, shelf))
}

#[derive(Debug, Default)]
struct Shelf(HashMap<Link, Vec<u8>>);

impl Shelf {
    fn of(node: &[u8]) -> Self {
        Self(HashMap::from([((Domain::Node, Id::of(Domain::Node, node)), node.to_vec())]))
    }
}

impl Objects for Shelf {
    fn load(&self, domain: Domain, id: &Id) -> Result<Vec<u8>, LoadError> {
        self.0.get(&(domain, *id)).cloned().ok_or(LoadError::Missing { domain, id: *id })
    }
}
