//! Values for tests, and the rules about them once more: by plain recursion over a plain tree, sharing no code with the crate.

use std::cmp::Ordering;

use lang::{Nat, Value};
use num_bigint::BigUint;
use proptest::prelude::*;

/// A value as the rules speak of it: an application has one argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tree {
    Nat(BigUint),
    Pin(Box<Tree>),
    Law(BigUint, BigUint, Box<Tree>),
    App(Box<Tree>, Box<Tree>),
}

use Tree::{App, Law, Pin};

pub(crate) fn n(word: u64) -> Tree {
    Tree::Nat(word.into())
}

pub(crate) fn apply(head: Tree, args: impl IntoIterator<Item = Tree>) -> Tree {
    args.into_iter().fold(head, |head, arg| App(head.into(), arg.into()))
}

pub(crate) fn law(name: u64, arity: u64, body: Tree) -> Tree {
    Law(name.into(), arity.into(), body.into())
}

pub(crate) fn bar(bytes: &[u8]) -> Tree {
    let mut number = BigUint::from(1u32);
    for byte in bytes.iter().rev() {
        number = number * 256u32 + u32::from(*byte);
    }
    law(1, 1, Tree::Nat(number))
}

pub(crate) fn row(elements: Vec<Tree>) -> Tree {
    apply(law(0, elements.len() as u64 + 1, n(0)), elements.into_iter().rev())
}

pub(crate) fn set(mut keys: Vec<Tree>) -> Tree {
    keys.sort_by(compare);
    keys.dedup();
    law(1, 2, row(keys))
}

pub(crate) fn tab(keys: Vec<Tree>, value: &Tree) -> Tree {
    let keys = set(keys);
    let Law(_, _, body) = &keys else { unreachable!() };
    let values = vec![value.clone(); spine(body).1.len()];
    apply(keys, [row(values)])
}

/// Head and arguments.
pub(crate) fn spine(tree: &Tree) -> (&Tree, Vec<&Tree>) {
    match tree {
        App(f, x) => {
            let (head, mut args) = spine(f);
            args.push(x);
            (head, args)
        }
        _ => (tree, Vec::new()),
    }
}

pub(crate) fn compare(a: &Tree, b: &Tree) -> Ordering {
    let rank = |tree: &Tree| match tree {
        Tree::Nat(_) => 0,
        Pin(_) => 1,
        Law(..) => 2,
        App(..) => 3,
    };
    match (a, b) {
        (Tree::Nat(a), Tree::Nat(b)) => a.cmp(b),
        (Pin(a), Pin(b)) => compare(a, b),
        (Law(n, k, a), Law(m, l, b)) => (n, k).cmp(&(m, l)).then_with(|| compare(a, b)),
        (App(..), App(..)) => {
            let ((f, xs), (g, ys)) = (spine(a), spine(b));
            let parts = || xs.iter().zip(&ys).map(|(x, y)| compare(x, y)).find(|order| order.is_ne());
            xs.len().cmp(&ys.len()).then_with(|| compare(f, g)).then_with(|| parts().unwrap_or(Ordering::Equal))
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

fn nat_bytes(nat: &BigUint) -> Vec<u8> {
    let words = nat.to_u64_digits();
    let count = words.len() as u64;
    [count].into_iter().chain(words).flat_map(u64::to_le_bytes).collect()
}

/// What the hash of a pin is taken of.
pub(crate) fn hashed(tree: &Tree) -> Vec<u8> {
    let all = |tag: u8, parts: &[&Tree], count: usize| {
        let mut bytes = vec![tag];
        bytes.extend((count as u64).to_le_bytes());
        bytes.extend(parts.iter().flat_map(|part| hashed(part)));
        bytes
    };
    let elements = |tree: &Tree| -> Option<Vec<Tree>> {
        let elements: Vec<Tree> = spine(tree).1.into_iter().rev().cloned().collect();
        (*tree == row(elements.clone())).then_some(elements)
    };
    let keys = |tree: &Tree| -> Option<Vec<Tree>> {
        let Law(_, _, body) = tree else { return None };
        let keys = elements(body)?;
        (*tree == set(keys.clone())).then_some(keys)
    };
    if let Some(parts) = elements(tree) {
        return all(6, &parts.iter().collect::<Vec<_>>(), parts.len());
    }
    if let Some(parts) = keys(tree) {
        return all(7, &parts.iter().collect::<Vec<_>>(), parts.len());
    }
    match tree {
        Tree::Nat(nat) => [vec![3], nat_bytes(nat)].concat(),
        Pin(content) => [vec![0], blake3::hash(&hashed(content)).as_bytes().to_vec()].concat(),
        Law(name, arity, body) => {
            if let Tree::Nat(number) = body.as_ref() {
                let mut bytes = number.to_bytes_le();
                bytes.pop();
                if *tree == bar(&bytes) {
                    return [vec![4], (bytes.len() as u64).to_le_bytes().to_vec(), bytes].concat();
                }
                if *name == BigUint::ZERO && *number == BigUint::ZERO {
                    return [vec![5], nat_bytes(&(arity - 1u32))].concat();
                }
            }
            [vec![1], nat_bytes(name), nat_bytes(arity), hashed(body)].concat()
        }
        App(f, x) => {
            if let (Some(keys), Some(values)) = (keys(f), elements(x))
                && keys.len() == values.len()
            {
                return all(8, &keys.iter().chain(&values).collect::<Vec<_>>(), keys.len());
            }
            let (head, args) = spine(tree);
            all(2, &[vec![head], args.clone()].concat(), args.len())
        }
    }
}

impl Tree {
    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Nat(nat) => Nat::from(nat.clone()).into(),
            Pin(content) => Value::pin(content.value()).unwrap(),
            Law(name, arity, body) => Value::law(name.clone().into(), arity.clone().into(), body.value()).unwrap(),
            App(..) => {
                let (head, args) = spine(self);
                Value::app(head.value(), args.into_iter().map(Tree::value).collect())
            }
        }
    }
}

fn nats() -> impl Strategy<Value = BigUint> {
    prop_oneof![
        4 => (0u64..6).prop_map(BigUint::from),
        2 => any::<u64>().prop_map(BigUint::from),
        1 => prop::collection::vec(any::<u32>(), 0..8).prop_map(BigUint::new),
        1 => prop::sample::select(vec!["foo", "fib", "x", "is-row"]).prop_map(|name| BigUint::from_bytes_le(name.as_bytes())),
    ]
}

/// Laws whose bodies are such as compiling makes, nearly.
fn laws(constants: BoxedStrategy<Tree>) -> impl Strategy<Value = Tree> {
    let leaves = prop_oneof![6 => (0u64..5).prop_map(n), 1 => constants];
    let terms = leaves.prop_recursive(4, 30, 3, |inner| {
        let call = (inner.clone(), prop::collection::vec(inner.clone(), 1..4))
            .prop_map(|(f, args)| args.into_iter().fold(f, |f, x| apply(n(0), [f, x])));
        prop_oneof![8 => call, 1 => inner.prop_map(|literal| apply(n(2), [literal]))]
    });
    let names = prop::sample::select(vec!["", "", "fib", "a", "x", "let", "add"]);
    (names, 1u64..4, prop::collection::vec(terms.clone(), 0..3), terms).prop_map(|(name, arity, lets, body)| {
        let body = lets.into_iter().fold(body, |body, value| apply(n(1), [value, body]));
        Law(BigUint::from_bytes_le(name.as_bytes()), arity.into(), body.into())
    })
}

/// Any values, data among them more often than chance would have it.
pub(crate) fn trees() -> impl Strategy<Value = Tree> {
    let leaves = prop_oneof![
        4 => nats().prop_map(Tree::Nat),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| bar(&bytes)),
        1 => "[a-z\\\\\"\n é]{0,12}".prop_map(|text| bar(text.as_bytes())),
        1 => (0u64..4).prop_map(|len| law(0, len + 1, n(0))),
    ];
    leaves.prop_recursive(5, 60, 5, |inner| {
        let many = prop::collection::vec(inner.clone(), 0..5);
        prop_oneof![
            inner.clone().prop_map(|content| Pin(content.into())),
            (nats(), nats(), inner.clone()).prop_map(|(name, arity, body)| Law(name, arity + 1u32, body.into())),
            laws(inner.clone().boxed()),
            laws(inner.clone().boxed()).prop_map(|law| Pin(law.into())),
            (inner.clone(), many.clone()).prop_map(|(head, args)| apply(head, args)),
            many.clone().prop_map(row),
            many.clone().prop_map(set),
            (many, inner).prop_map(|(keys, value)| tab(keys, &value)),
        ]
    })
}
/// Any values that evaluation leaves as they are.
pub(crate) fn normal() -> impl Strategy<Value = Value> {
    trees().prop_map(|tree| tree.value()).prop_filter("normal", |value| {
        let mut left = vec![value.clone()];
        // Pins too: their content is what evaluation left.
        while let Some(value) = left.pop() {
            if !value.is_normal() {
                return false;
            }
            left.extend(value.refs().iter().map(|pin| pin.content().clone()));
        }
        true
    })
}
