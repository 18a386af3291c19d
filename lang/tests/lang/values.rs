//! Values: order, shapes, arity, and that depth and sharing cost nothing.

use lang::value::Shape;
use lang::{Nat, Value};
use proptest::prelude::*;

use crate::common::{compare, spine, trees};

const DEEP: usize = 1_000_000;

proptest! {
    #[test]
    fn order_is_that_of_the_rules(a in trees(), b in trees()) {
        let (x, y) = (a.value(), b.value());
        prop_assert_eq!(x.cmp(&y), compare(&a, &b));
        prop_assert_eq!(x == y, compare(&a, &b).is_eq());
        prop_assert!(x.cmp(&x.clone()).is_eq());
        prop_assert_eq!(&x, &a.value());
    }

    #[test]
    fn what_is_made_is_recognised(trees in prop::collection::vec(trees(), 0..6), bytes in prop::collection::vec(any::<u8>(), 0..30)) {
        let parts: Vec<Value> = trees.iter().map(|tree| tree.value()).collect();
        let row = Value::row(parts.clone());
        prop_assert_eq!(row.as_row().unwrap().iter().cloned().collect::<Vec<_>>(), parts.clone());
        prop_assert_eq!(row.as_row().unwrap().get(0), parts.first());
        prop_assert_eq!(&row, &crate::common::row(trees.clone()).value());
        prop_assert_eq!(Value::bar(&bytes).as_bar().unwrap(), bytes.clone());
        prop_assert_eq!(&Value::bar(&bytes), &crate::common::bar(&bytes).value());
        let mut distinct = parts.clone();
        distinct.sort();
        distinct.dedup();
        prop_assert_eq!(Value::set(parts.clone()).is_ok(), distinct.len() == parts.len());
        let set = Value::set(distinct.clone()).unwrap();
        prop_assert_eq!(set.as_set().unwrap().iter().cloned().collect::<Vec<_>>(), distinct.clone());
        let tab = Value::tab(distinct.iter().rev().map(|key| (key.clone(), Value::word(1))).collect()).unwrap();
        prop_assert!(matches!(tab.shape(), Some(Shape::Tab(keys, values)) if keys.len() == distinct.len() && values.len() == keys.len()));
    }

    #[test]
    fn applications_are_flat(a in trees(), b in trees()) {
        let tree = crate::common::apply(a.clone(), [b.clone()]);
        let (head, args) = spine(&tree);
        let Value::App(app) = Value::app(a.value(), vec![b.value()]) else { panic!("applied to one") };
        prop_assert_eq!(app.head(), &head.value());
        prop_assert_eq!(app.args().len(), args.len());
    }

    #[test]
    fn numbers(a in any::<u128>(), b in any::<u128>(), by in any::<u64>()) {
        let nat = |number: u128| Nat::from_bytes_le(&number.to_le_bytes());
        prop_assert_eq!(nat(a).cmp(&nat(b)), a.cmp(&b));
        prop_assert_eq!(nat(a).to_string(), a.to_string());
        prop_assert_eq!(nat(a).less(by), nat(a.saturating_sub(u128::from(by))));
        prop_assert_eq!(nat(a >> 1).next(), nat((a >> 1) + 1));
        prop_assert_eq!(Nat::from_bytes_le(&nat(a).to_bytes_le()), nat(a));
        prop_assert_eq!(nat(a).bit_count(), u64::from(128 - a.leading_zeros()));
    }
}

#[test]
fn near_the_end_of_a_word() {
    let (last, first) = (Nat::word(u64::MAX), Nat::from_bytes_le(&[0, 0, 0, 0, 0, 0, 0, 0, 1]));
    assert_eq!(last.next(), first);
    assert_eq!(first.less(1), last);
    assert_eq!((last.to_word(), first.to_word()), (Some(u64::MAX), None));
    assert_eq!(Nat::from_bytes_le(&[7, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Nat::word(7));
    assert_eq!((Nat::ZERO.to_words(), Nat::ZERO.to_bytes_le()), (vec![], vec![]));
}

#[test]
fn arities() {
    let law = Value::law(Nat::ZERO, Nat::word(4), Value::word(0)).unwrap();
    let partial = Value::app(law.clone(), vec![Value::word(9)]);
    let cases = [
        (Value::word(0), 3),
        (Value::word(1), 5),
        (Value::word(2), 3),
        (Value::word(3), 1),
        (Value::word(77), 1),
        (law, 4),
        (partial.clone(), 3),
        (Value::pin(partial.clone()).unwrap(), 3),
        (Value::app(Value::pin(partial).unwrap(), vec![Value::word(1); 2]), 1),
        (Value::app(Value::word(3), vec![Value::word(1)]), 0),
        (Value::row(vec![Value::word(1); 5]), 1),
    ];
    for (value, arity) in cases {
        assert_eq!(value.arity(), Nat::word(arity), "{value:?}");
        assert_eq!(value.is_normal(), arity > 0);
    }
    assert!(Value::law(Nat::ZERO, Nat::ZERO, Value::word(0)).is_none());
}

/// What looks like data and is not.
#[test]
fn near_shapes() {
    let law = |name, arity, body| Value::law(Nat::word(name), Nat::word(arity), body).unwrap();
    // No last byte of one; a last byte of two; another arity; another name.
    for (name, arity, body) in [(1, 1, 0), (1, 1, 2), (1, 1, 0x0203), (1, 2, 0x0161), (0, 1, 0x0161)] {
        assert!(law(name, arity, Value::word(body)).shape().is_none(), "{name} {arity} {body}");
    }
    let three = |a: u64, b: u64, c: u64| Value::row([a, b, c].map(Value::word).to_vec());
    // Keys that do not ascend, or not strictly; as many values as keys, or not; a row with an element missing.
    assert!(law(1, 2, three(1, 3, 2)).shape().is_none());
    assert!(law(1, 2, three(1, 2, 2)).shape().is_none());
    assert!(matches!(law(1, 2, three(1, 2, 3)).shape(), Some(Shape::Set(_))));
    assert!(Value::app(law(1, 2, three(1, 2, 3)), vec![Value::row(vec![])]).shape().is_none());
    assert!(Value::app(Value::cow(3), vec![Value::word(1); 2]).shape().is_none());
    assert!(matches!(Value::cow(3).shape(), Some(Shape::Cow(len)) if len == 3));
    assert!(matches!(Value::cow(0).shape(), Some(Shape::Row(row)) if row.is_empty()));
}

type Wrap = fn(Value) -> Value;

fn deep(levels: usize, wrap: impl Fn(Value) -> Value, bottom: u64) -> Value {
    (0..levels).fold(Value::word(bottom), |value, _| wrap(value))
}

/// Whatever way a value is deep, it is compared, hashed, walked, shown and dropped.
#[test]
fn a_million_levels() {
    let pin = |value| Value::pin(value).unwrap();
    let wraps: [(usize, Wrap); 3] = [
        (DEEP, |value| Value::app(Value::word(0), vec![value])),
        (DEEP, |value| Value::law(Nat::ZERO, Nat::word(1), value).unwrap()),
        (DEEP / 10, |value| Value::tab(vec![(value, Value::word(1))]).unwrap()),
    ];
    for (levels, wrap) in wraps {
        let (a, b, c) = (deep(levels, wrap, 1), deep(levels, wrap, 1), deep(levels, wrap, 2));
        assert!(a == b && a < c);
        assert!(a.is_normal());
        assert!(a.refs().is_empty());
        assert!(format!("{a:?}").len() < 10_000);
        assert!(pin(a) == pin(b));
    }
    let (a, b) = (deep(DEEP, pin, 1), deep(DEEP, pin, 2));
    assert!(a != b && a < b);
    assert_eq!(a.arity(), Nat::word(5));
}

/// A value that has 2^200 parts when written out and 200 in memory.
#[test]
fn sharing_is_walked_once() {
    let shared = |bottom| (0..200).fold(Value::word(bottom), |value, _| Value::row(vec![value.clone(), value]));
    let (a, b, c) = (shared(1), shared(1), shared(2));
    assert!(a == b && a < c);
    assert!(a.is_normal() && a.refs().is_empty());
}

/// In the order in which they are met: heads first, rows by index, keys before values, each once; not what is within them.
#[test]
fn direct_pins() {
    let pin = |word| Value::pin(Value::word(word)).unwrap();
    let outer = Value::pin(Value::row(vec![pin(7)])).unwrap();
    let law = Value::law(Nat::ZERO, Nat::word(9), pin(4)).unwrap();
    let tab = Value::tab(vec![(pin(2), pin(3)), (pin(1), pin(4))]).unwrap();
    let value = Value::app(law, vec![Value::row(vec![outer.clone(), pin(5)]), tab, outer.clone(), pin(6)]);
    let found: Vec<Value> = value.refs().iter().map(|pin| pin.content().clone()).collect();
    let outer = Value::row(vec![pin(7)]);
    let rest = [5, 1, 2, 3, 6].map(Value::word);
    assert_eq!(found, [vec![Value::word(4), outer], rest.to_vec()].concat());
}
