//! Hashes of pins: those that Pallas has on record, and those of a second implementation.

use lang::{PinHash, Value};
use num_bigint::BigUint;
use proptest::prelude::*;

use crate::common::{Tree, apply, compare, hashed, law, n, trees};

fn named(name: &str, arity: u64, body: Tree) -> Tree {
    Tree::Law(BigUint::from_bytes_le(name.as_bytes()), arity.into(), body.into())
}

/// `(0 (0 f x) y)`: what a law's body says for `f` applied to `x` and `y`.
fn call(f: Tree, args: impl IntoIterator<Item = Tree>) -> Tree {
    args.into_iter().fold(f, |f, x| apply(n(0), [f, x]))
}

fn quote(literal: Tree) -> Tree {
    apply(n(2), [literal])
}

fn pin_of(tree: &Tree) -> PinHash {
    match Value::pin(tree.value()).unwrap() {
        Value::Pin(pin) => pin.hash(),
        other => panic!("{other:?}"),
    }
}

/// Pallas keeps the hashes of the functions that it has jets for. These need no other function, but for one; their bodies were
/// compiled by hand from the one-line definitions in its library, which stand beside them.
#[test]
fn functions_that_pallas_has_on_record() {
    // (_ & k), of so many arguments.
    let constant = |arity, k: u64| law(0, arity, if k <= arity { quote(n(k)) } else { n(k) });
    let first = law(0, 2, n(1));
    let tag = |pin, law_, app, nat| {
        let cases = [constant(1, pin), constant(3, law_), constant(2, app), constant(1, nat)];
        call(apply(n(1), cases), [n(1)])
    };
    let recorded = [
        // (_Force x) = 0 0 1 (2 x) 0
        ("_Force", 1, call(quote(apply(n(0), [n(0), n(1)])), [call(n(2), [n(1)]), quote(n(0))]), FORCE),
        // (_Seq x y) = 2 y (_ & y) x
        ("_Seq", 2, call(quote(n(2)), [n(2), call(first.clone(), [n(2)]), n(1)]), SEQ),
        // (_If x t e) = 2 e (_ & t) x
        ("_If", 3, call(quote(n(2)), [n(3), call(first, [n(2)]), n(1)]), IF),
        // (_IsPin x) = 1 (_ & 1) (_ _ _ & 0) (_ _ & 0) (_ & 0) x
        ("_IsPin", 1, tag(1, 0, 0, 0), IS_PIN),
        // (_IsNat x) = 1 (_ & 0) (_ _ _ & 0) (_ _ & 0) (_ & 1) x
        ("_IsNat", 1, tag(0, 0, 0, 1), IS_NAT),
        // (_ToNat x) = 2 0 3 x
        ("_ToNat", 1, call(apply(n(2), [n(0), n(3)]), [n(1)]), TO_NAT),
        // (_Dec x) = 2 0 id x, with (id x) = x pinned
        ("_Dec", 1, call(apply(n(2), [n(0), Tree::Pin(named("id", 1, n(1)).into())]), [n(1)]), DEC),
    ];
    for (name, arity, body, hash) in recorded {
        assert_eq!(pin_of(&named(name, arity, body)).to_string(), hash, "{name}");
    }
}

const FORCE: &str = "A7ZtnajpFHHJ29VVzZoZ4BENtqNio1LZcG7Pdc9nMFvf";
const SEQ: &str = "7fPzp1b5QXpDDkvpt2oBGUm3w6eCPVKjDnUQ8i8w8mj5";
const IF: &str = "CGWi51frV26N7KUBbso2WzBad8W2mbix6HaejVem5YaZ";
const TO_NAT: &str = "HedgTAZEjCCShX97HZNsm4gGGWyxhRf9jepYzrtMR6RW";
const DEC: &str = "CQono44WNJmmGYhDL1zTmF38VwyZ2oUbhbeZxnyXcVhg";
const IS_PIN: &str = "9yKhatzX3nmiaJuvt9k4vC15TFpfLrdAJgBYAHbsNNLR";
const IS_NAT: &str = "UUg4gA355ySzHkLR9uyNbH667o6b4NkAv4rQ3pwJYqj";

/// What is hashed, byte by byte, for one value of each shape.
#[test]
fn what_is_hashed() {
    let cases: [(Tree, &[u8]); 8] = [
        (n(0), &[3, 0, 0, 0, 0, 0, 0, 0, 0]),
        (n(7), &[3, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]),
        (crate::common::bar(b"ab"), &[4, 2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b']),
        (crate::common::bar(b""), &[4, 0, 0, 0, 0, 0, 0, 0, 0]),
        // Three cells of which one is missing: a constructor that waits.
        (law(0, 3, n(0)), &[5, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]),
        (crate::common::row(vec![]), &[6, 0, 0, 0, 0, 0, 0, 0, 0]),
        (crate::common::row(vec![n(0)]), &[6, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0]),
        (crate::common::set(vec![n(0)]), &[7, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0]),
    ];
    for (tree, bytes) in cases {
        assert_eq!(pin_of(&tree), PinHash::from_bytes(*blake3::hash(bytes).as_bytes()), "{tree:?}");
    }
}

proptest! {
    #[test]
    fn a_second_implementation_agrees(tree in trees()) {
        let expected = PinHash::from_bytes(*blake3::hash(&hashed(&tree)).as_bytes());
        prop_assert_eq!(pin_of(&tree), expected);
        prop_assert_eq!(PinHash::from_text(&expected.to_string()), Some(expected));
    }

    #[test]
    fn equal_values_have_equal_hashes_and_others_do_not(a in trees(), b in trees()) {
        prop_assert_eq!(pin_of(&a) == pin_of(&b), compare(&a, &b).is_eq());
    }
}

/// Content that is small in memory and endless when written out is refused, soon.
#[test]
fn hashing_has_a_budget() {
    let mut value = Value::word(5);
    for _ in 0..100 {
        value = Value::row(vec![value.clone(), value]);
    }
    assert!(Value::pin(value).is_err());
}
