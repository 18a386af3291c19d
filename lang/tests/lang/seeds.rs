//! Seed files: bytes worked out by hand, a second writer that counts as the rule says, and hostile bytes.

use std::collections::HashMap;

use lang::seedfile::{
    Limits, ReadError, WriteError, read, read_germ, read_pin_file, read_pod, write, write_pin_file, write_pod,
};
use lang::{Nat, Value};
use num_bigint::BigUint;
use proptest::prelude::*;

use crate::common::{Tree, normal, trees};

fn header(counts: [u64; 5]) -> Vec<u8> {
    counts.into_iter().flat_map(u64::to_le_bytes).collect()
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().copied().flat_map(u64::to_le_bytes).collect()
}

fn app(head: u64, args: &[Value]) -> Value {
    Value::app(Value::word(head), args.to_vec())
}

/// Each as the reader must take it and the writer must give it.
#[test]
fn by_hand() {
    let two = |low: u64| Value::Nat(Nat::from_bytes_le(&words(&[low, 1])));
    let cases = [
        // A number is a table of one entry, and the last entry is the value.
        (Value::word(5), [header([0, 0, 0, 1, 0]), vec![5, 0, 0, 0, 0, 0, 0, 0]].concat()),
        (Value::word(256), [header([0, 0, 1, 0, 0]), words(&[256])].concat()),
        // The example in Pallas's description of the format: ((0 1) (0 1)). The table is 1, 0, fragments. The first fragment has
        // places of one bit: `0 1` `0 0`; the second, of two, least bit first: `0 01` `0 01`. (The description writes the bits
        // of a place the other way round; Pallas's code does not.)
        (
            app(0, &[Value::word(1), app(0, &[Value::word(1)])]),
            [header([0, 0, 0, 2, 2]), vec![1, 0, 0b0100_0010, 0b10, 0, 0, 0, 0]].concat(),
        ),
        // (4 7), a pin: the table is 7, 4; `0 1` `0 0`.
        (Value::pin(Value::word(7)).unwrap(), [header([0, 0, 0, 2, 1]), vec![7, 4, 0b0010, 0, 0, 0, 0, 0]].concat()),
        // (0 0): there is one entry, so a place takes no bits at all: `0` `0`.
        (app(0, &[Value::word(0)]), [header([0, 0, 0, 1, 1]), vec![0; 8]].concat()),
        // ((0 2^64+5) 2^64+7): of equal width and equal first word, so the smaller comes first. Places of two bits:
        // `1`, `0 01` (the zero, entry 2), `0 00`, `0 10` (entry 1, least bit first).
        (
            app(0, &[two(5), two(7)]),
            [header([0, 2, 0, 1, 1]), words(&[2, 2, 5, 1, 7, 1]), vec![0, 0b0000_1001, 0b01, 0, 0, 0, 0, 0]].concat(),
        ),
    ];
    for (value, bytes) in cases {
        assert_eq!(write(&value).unwrap(), bytes, "{value:?}");
        assert_eq!(read(&bytes).unwrap(), value);
    }
}

/// The writer's rule as it is told, without its consequence: counts in the fully expanded tree, compared with the parent's.
#[derive(Default)]
struct Plain {
    cells: Vec<(Node, Node)>,
    counts: HashMap<usize, u64>,
    nats: Vec<BigUint>,
    fragments: Vec<usize>,
    bits: Vec<bool>,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Nat(BigUint),
    Cell(usize),
}

impl Plain {
    fn plant(&mut self, tree: &Tree) -> Node {
        match tree {
            Tree::Nat(nat) => {
                if !self.nats.contains(nat) {
                    self.nats.push(nat.clone());
                }
                Node::Nat(nat.clone())
            }
            Tree::Pin(content) => {
                let four = self.plant(&crate::common::n(4));
                let content = self.plant(content);
                self.cell(four, content)
            }
            Tree::Law(name, arity, body) => {
                let parts = [Tree::Nat(name.clone()), Tree::Nat(arity.clone()), body.as_ref().clone()];
                let zero = self.plant(&crate::common::n(0));
                parts.iter().fold(zero, |head, part| {
                    let part = self.plant(part);
                    self.cell(head, part)
                })
            }
            Tree::App(f, x) => {
                let (f, x) = (self.plant(f), self.plant(x));
                self.cell(f, x)
            }
        }
    }

    fn cell(&mut self, head: Node, tail: Node) -> Node {
        let cell = (head, tail);
        Node::Cell(self.cells.iter().position(|known| *known == cell).unwrap_or_else(|| {
            self.cells.push(cell);
            self.cells.len() - 1
        }))
    }

    fn count(&mut self, node: &Node) {
        if let Node::Cell(index) = node {
            *self.counts.entry(*index).or_default() += 1;
            let (head, tail) = self.cells[*index].clone();
            self.count(&head);
            self.count(&tail);
        }
    }

    fn shatter(&mut self, node: &Node, parent: u64) {
        let Node::Cell(index) = node else { return };
        if self.fragments.contains(index) {
            return;
        }
        let count = self.counts[index];
        let (head, tail) = self.cells[*index].clone();
        self.shatter(&head, count);
        self.shatter(&tail, count);
        if count > parent {
            self.fragments.push(*index);
        }
    }

    fn write_tree(&mut self, node: &Node, is_outermost: bool, before: usize, width: usize) {
        let entry = match node {
            Node::Nat(nat) => self.nats.iter().position(|known| known == nat),
            Node::Cell(index) => {
                let place = self.fragments[..before].iter().position(|fragment| fragment == index);
                place.map(|place| self.nats.len() + place)
            }
        };
        if let Some(entry) = entry {
            self.bits.push(false);
            self.bits.extend((0..width).map(|bit| entry >> bit & 1 == 1));
            return;
        }
        let Node::Cell(index) = node else { unreachable!() };
        self.bits.extend((!is_outermost).then_some(true));
        let (head, tail) = self.cells[*index].clone();
        self.write_tree(&head, false, before, width);
        self.write_tree(&tail, false, before, width);
    }
}

fn plainly(tree: &Tree) -> Vec<u8> {
    let mut plain = Plain::default();
    let top = plain.plant(tree);
    plain.count(&top);
    plain.shatter(&top, 0);
    let key = |nat: &BigUint| {
        let mut digits = nat.to_u64_digits();
        let most = digits.pop().unwrap_or(0);
        (usize::MAX - digits.len(), u64::MAX - most, digits.into_iter().rev().collect::<Vec<_>>())
    };
    plain.nats.sort_by_key(key);
    let large: Vec<&BigUint> = plain.nats.iter().filter(|nat| nat.bits() > 64).collect();
    let word: Vec<&BigUint> = plain.nats.iter().filter(|nat| (9..65).contains(&nat.bits())).collect();
    let bytes: Vec<&BigUint> = plain.nats.iter().filter(|nat| nat.bits() < 9).collect();
    let counts = [0, large.len(), word.len(), bytes.len(), plain.fragments.len()];
    let mut out = header(counts.map(|count| count as u64));
    large.iter().for_each(|nat| out.extend(words(&[nat.to_u64_digits().len() as u64])));
    large.iter().chain(&word).for_each(|nat| out.extend(words(&nat.to_u64_digits())));
    bytes.iter().for_each(|nat| out.push(nat.to_bytes_le()[0]));
    for before in 0..plain.fragments.len() {
        let table = plain.nats.len() + before;
        let width = (0..).find(|width| 1usize << width >= table).unwrap();
        let fragment = Node::Cell(plain.fragments[before]);
        plain.write_tree(&fragment, true, before, width);
    }
    for eight in plain.bits.chunks(8) {
        out.push(eight.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit)));
    }
    out.resize(out.len().next_multiple_of(8), 0);
    out
}

proptest! {
    #[test]
    fn a_second_writer_agrees(tree in trees()) {
        if let Ok(bytes) = write(&tree.value()) {
            prop_assert_eq!(bytes, plainly(&tree));
        }
    }

    #[test]
    fn what_is_written_is_read(value in normal()) {
        let bytes = write(&value).unwrap();
        let again = read(&bytes).unwrap();
        prop_assert_eq!(&again, &value);
        prop_assert_eq!(write(&again).unwrap(), bytes);
    }

    #[test]
    fn pins_as_files(value in normal()) {
        let Ok(Value::Pin(pin)) = Value::pin(value) else { panic!("a small pin") };
        let bytes = write_pin_file(&pin).unwrap();
        let file = read_pin_file(&bytes).unwrap();
        let refs = pin.content().refs();
        prop_assert_eq!(&file.refs, &refs.iter().map(|pin| pin.hash()).collect::<Vec<_>>());
        let holes: Vec<Value> = refs.into_iter().map(Value::Pin).collect();
        prop_assert_eq!(file.load(&holes, &mut Limits::of(bytes.len())).unwrap(), Value::Pin(pin.clone()));
        let pod = write_pod(&pin).unwrap();
        prop_assert_eq!(read_pod(&pod).unwrap(), Value::Pin(pin));
    }

    /// Bytes changed here and there: an error, or a value that is written and read like any other.
    #[test]
    fn spoilt(value in normal(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = write(&value).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(value) = read(&bytes) {
            let again = write(&value).unwrap();
            let value_again = read(&again).unwrap();
            prop_assert_eq!(write(&value_again).unwrap(), again);
            prop_assert_eq!(value_again, value);
        }
    }

    #[test]
    fn noise(bits in prop::collection::vec(any::<u8>(), 0..64), counts in prop::collection::vec(0u64..4, 5)) {
        let mut bytes = header(counts.try_into().unwrap());
        bytes.extend(bits);
        let _ = read(&bytes);
    }
}

/// What is refused, and how.
#[test]
fn refused() {
    let seed = |counts, rest: &[u8]| {
        let mut bytes = [header(counts), rest.to_vec()].concat();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    };
    let huge = u64::MAX / 2;
    let ten = [9u8, 8, 7, 6, 5, 4, 3, 2, 1, 0];
    let cases: [(Vec<u8>, ReadError); 20] = [
        (vec![], ReadError::Truncated("header")),
        (vec![0; 39], ReadError::Truncated("header")),
        (seed([0; 5], &[]), ReadError::Empty),
        (seed([3, 0, 0, 0, 0], &[]), ReadError::Holes { holes: 3, given: 0 }),
        (seed([huge, 0, 0, 0, 0], &[]), ReadError::Holes { holes: huge, given: 0 }),
        (seed([0, huge, 0, 0, 0], &[]), ReadError::Truncated("widths")),
        (seed([0, 1, 0, 0, 0], &words(&[huge])), ReadError::Truncated("numbers")),
        (seed([0, 0, huge, 0, 0], &[]), ReadError::Truncated("numbers")),
        (seed([0, 0, 0, u64::MAX, 0], &[]), ReadError::Truncated("numbers")),
        (seed([0, 0, 0, 1, huge], &[0]), ReadError::Truncated("fragments")),
        // A number of two words that is one of one; a word that is a byte; numbers that ascend; a number twice.
        (seed([0, 1, 0, 0, 0], &words(&[2, 5, 0])), ReadError::Number { index: 0 }),
        (seed([0, 1, 0, 0, 0], &words(&[1, 5])), ReadError::Number { index: 0 }),
        (seed([0, 0, 1, 0, 0], &words(&[255])), ReadError::Number { index: 0 }),
        (seed([0, 0, 0, 2, 0], &[1, 2]), ReadError::Number { index: 1 }),
        (seed([0, 0, 0, 2, 0], &[2, 2]), ReadError::Number { index: 1 }),
        // Ones after the end; zeros after the end.
        (seed([0, 0, 0, 1, 0], &[1, 1]), ReadError::Padding),
        (seed([0, 0, 0, 1, 0], &[1, 0, 0, 0, 0, 0, 0, 0, 0]), ReadError::Trailing),
        (seed([0, 0, 0, 1, 0], &[1])[..47].to_vec(), ReadError::Padding),
        // Ten entries, four bits a place: entry 15 is not there.
        (seed([0, 0, 0, 10, 1], &[&ten[..], &[0b11110]].concat()), ReadError::Reference { fragment: 0 }),
        // (7 1): has all its arguments.
        (seed([0, 0, 0, 2, 1], &[7, 1, 0b1000]), ReadError::Computation),
    ];
    for (bytes, error) in cases {
        assert_eq!(read(&bytes), Err(error), "{bytes:?}");
    }
    assert_eq!(write(&app(3, &[Value::word(1)])), Err(WriteError::Computation));
    assert_eq!(write(&Value::pin(app(3, &[Value::word(1)])).unwrap()), Err(WriteError::Computation));
}

/// Two numbers and then `count` fragments, each the one before, twice: 2^count numbers when written out.
fn doubling(count: u8, last: impl FnOnce(&mut Vec<bool>, usize)) -> Vec<u8> {
    let mut bits = Vec::new();
    let put = |bits: &mut Vec<bool>, entry: usize, table: usize| {
        bits.push(false);
        let width = (0..).find(|width| 1usize << width >= table).unwrap();
        bits.extend((0..width).map(|bit| entry >> bit & 1 == 1));
    };
    for fragment in 0..usize::from(count) {
        // (0 x) and then ((0 x) x): the first argument and the second are one before, all partial.
        let table = 2 + fragment;
        bits.push(true);
        put(&mut bits, 1, table);
        let before = if fragment == 0 { 0 } else { table - 1 };
        put(&mut bits, before, table);
        put(&mut bits, before, table);
    }
    last(&mut bits, 2 + usize::from(count));
    let bytes: Vec<u8> =
        bits.chunks(8).map(|eight| eight.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect();
    let mut all = [header([0, 0, 0, 2, u64::from(count) + 1]), vec![4, 0], bytes].concat();
    all.resize(all.len().next_multiple_of(8), 0);
    all
}

/// A hundred and some bytes that stand for 2^100 cells are read; a pin of them, which would have to be hashed, is refused.
#[test]
fn what_doubles_and_doubles() {
    let put = |bits: &mut Vec<bool>, entry: usize, table: usize| {
        bits.push(false);
        let width = (0..).find(|width| 1usize << width >= table).unwrap();
        bits.extend((0..width).map(|bit| entry >> bit & 1 == 1));
    };
    let plain = doubling(100, |bits, table| {
        put(bits, 1, table);
        put(bits, table - 1, table);
    });
    let value = read(&plain).unwrap();
    assert_eq!(read(&write(&value).unwrap()).unwrap(), value);
    let pinned = doubling(100, |bits, table| {
        put(bits, 0, table);
        put(bits, table - 1, table);
    });
    let mut limits = Limits::new(1 << 20, 1 << 20);
    assert!(matches!(read_germ(&pinned, &[], &mut limits), Err(ReadError::Unhashable(_))));
}

/// Applications that share their first arguments are one list of cells in a file, and one each in memory.
#[test]
fn what_is_wide() {
    let law = Value::law(Nat::ZERO, Nat::word(10_000), Value::word(0)).unwrap();
    let common: Vec<Value> = (0..1000).map(Value::word).collect();
    let many = (0..1000).map(|last| Value::app(law.clone(), [common.clone(), vec![Value::word(last)]].concat()));
    let value = Value::row(many.collect());
    let bytes = write(&value).unwrap();
    assert!(bytes.len() < 20_000);
    assert_eq!(read_germ(&bytes, &[], &mut Limits::new(1 << 20, 100_000)), Err(ReadError::TooWide));
    assert_eq!(read(&bytes).unwrap(), value);
}

#[test]
fn a_million_levels() {
    let mut value = Value::word(1);
    for _ in 0..1_000_000 {
        value = app(0, &[value]);
    }
    let row = Value::row((0..1_000_000).map(Value::word).collect());
    for value in [value, row] {
        let bytes = write(&value).unwrap();
        assert_eq!(read(&bytes).unwrap(), value);
    }
    let pins = (0..10_000).fold(Value::word(1), |value, _| Value::pin(value).unwrap());
    let Value::Pin(pin) = &pins else { panic!("a pin") };
    assert_eq!(read_pod(&write_pod(pin).unwrap()).unwrap(), pins);
    assert_eq!(read(&write(&pins).unwrap()).unwrap(), pins);
}

/// A pin of `(0 <7>)`, as a file and as a pod.
#[test]
fn a_pin_by_hand() {
    let Ok(Value::Pin(seven)) = Value::pin(Value::word(7)) else { panic!("a pin") };
    let Ok(Value::Pin(pin)) = Value::pin(app(0, &[Value::Pin(seven.clone())])) else { panic!("a pin") };
    // One hole, one number, one fragment. The table is the hole and 0: `0 1`, `0 0`.
    let germ = [header([1, 0, 0, 1, 1]), vec![0, 0b0010, 0, 0, 0, 0, 0, 0]].concat();
    let file = [words(&[1]), seven.hash().as_bytes().to_vec(), germ.clone()].concat();
    assert_eq!(write_pin_file(&pin).unwrap(), file);

    let entry = |germ: &[u8], refs: Vec<Value>| Value::row(vec![Value::bar(germ), Value::row(refs)]);
    let entries = vec![entry(&write(&Value::word(7)).unwrap(), vec![]), entry(&germ, vec![Value::word(0)])];
    let pod = Value::row(vec![Value::bar(pin.hash().as_bytes()), Value::row(entries)]);
    assert_eq!(write_pod(&pin).unwrap(), [b"SEEDPOD:".to_vec(), write(&pod).unwrap()].concat());
}

/// Pods that are none.
#[test]
fn pods_refused() {
    let pod = |value: &Value| read_pod(&[b"SEEDPOD:".to_vec(), write(value).unwrap()].concat());
    let Ok(Value::Pin(pin)) = Value::pin(Value::word(7)) else { panic!("a pin") };
    let germ = Value::bar(&write(&Value::word(7)).unwrap());
    let entry =
        |refs: &[u64]| Value::row(vec![germ.clone(), Value::row(refs.iter().map(|at| Value::word(*at)).collect())]);
    let hash = Value::bar(pin.hash().as_bytes());
    let list = |hash: &Value, entries| Value::row(vec![hash.clone(), Value::row(entries)]);
    assert_eq!(pod(&list(&hash, vec![entry(&[])])), Ok(Value::Pin(pin)));
    assert_eq!(pod(&list(&hash, vec![entry(&[0])])), Err(ReadError::PodReference(0)));
    assert_eq!(pod(&list(&Value::bar(&[0; 32]), vec![entry(&[])])), Err(ReadError::PodHash));
    assert_eq!(pod(&list(&hash, vec![])), Err(ReadError::PodShape));
    assert_eq!(pod(&hash), Err(ReadError::PodShape));
    assert_eq!(pod(&list(&hash, vec![hash.clone()])), Err(ReadError::PodShape));
    assert_eq!(read_pod(b"SEEDPO"), Err(ReadError::NotAPod));
    assert_eq!(read_pin_file(&[9; 8]), Err(ReadError::Truncated("head")));
    assert_eq!(read_pin_file(&[1, 0, 0, 0, 0, 0, 0, 0, 5]), Err(ReadError::Truncated("head")));
}
