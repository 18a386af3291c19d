//! A value as its distinct parts: what is equal is one, wherever it is in memory, so that what is made of it depends on the
//! value alone. Pins are parts that are not looked into.

use std::collections::HashMap;

use crate::hash::PinHash;
use crate::nat::Nat;
use crate::value::{Shape, Value};

/// A part.
pub(super) type PartId = usize;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Nat(Nat),
    Pin(PinHash),
    Law(Nat, Nat, PartId),
    /// Head and arguments.
    App(Vec<PartId>),
}

/// The parts of a value. Parts come after those that they are made of.
pub(super) struct Parts<'a> {
    keys: Vec<Key>,
    samples: Vec<&'a Value>,
}

/// A part as it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Raw<'a> {
    Nat(&'a Nat),
    Pin,
    Law(&'a Nat, &'a Nat, PartId),
    /// Head and arguments.
    App(&'a [PartId]),
}

/// A part as it is written.
pub(super) enum View<'a> {
    Nat(&'a Nat),
    Pin(PinHash),
    Bar(Vec<u8>),
    Row(Vec<PartId>),
    Set(Vec<PartId>),
    /// Keys and values in turn.
    Tab(Vec<PartId>),
    Law(&'a Nat, &'a Nat, PartId),
    App(Vec<PartId>),
}

impl<'a> Parts<'a> {
    /// Takes a value apart. The last part is the value.
    pub(super) fn of(value: &'a Value) -> Self {
        let mut parts = Self { keys: Vec::new(), samples: Vec::new() };
        let mut ids: HashMap<Key, PartId> = HashMap::new();
        let mut known: HashMap<usize, PartId> = HashMap::new();
        let mut done: Vec<PartId> = Vec::new();
        // A value to take apart, or one whose parts are done.
        let mut left = vec![(value, false)];
        while let Some((value, is_taken_apart)) = left.pop() {
            let at = value.shared_at();
            if !is_taken_apart {
                if let Some(id) = at.and_then(|at| known.get(&at)) {
                    done.push(*id);
                    continue;
                }
                left.push((value, true));
                match value {
                    Value::Nat(_) | Value::Pin(_) => {}
                    Value::Law(law) => left.push((law.body(), false)),
                    Value::App(app) => {
                        left.extend(app.args().iter().rev().map(|arg| (arg, false)));
                        left.push((app.head(), false));
                    }
                }
                continue;
            }
            let key = match value {
                Value::Nat(nat) => Key::Nat(nat.clone()),
                Value::Pin(pin) => Key::Pin(pin.hash()),
                Value::Law(law) => Key::Law(law.name().clone(), law.arity().clone(), done.pop().unwrap_or_default()),
                Value::App(app) => Key::App(done.split_off(done.len() - app.args().len() - 1)),
            };
            let next = parts.keys.len();
            let id = *ids.entry(key).or_insert_with_key(|key| {
                parts.keys.push(key.clone());
                parts.samples.push(value);
                next
            });
            known.extend(at.map(|at| (at, id)));
            done.push(id);
        }
        parts
    }

    /// The value itself.
    pub(super) fn top(&self) -> PartId {
        self.keys.len() - 1
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// A part as it is.
    pub(super) fn raw(&self, id: PartId) -> Raw<'_> {
        match &self.keys[id] {
            Key::Nat(nat) => Raw::Nat(nat),
            Key::Pin(_) => Raw::Pin,
            Key::Law(name, arity, body) => Raw::Law(name, arity, *body),
            Key::App(parts) => Raw::App(parts),
        }
    }

    /// A value that is this part.
    pub(super) fn sample(&self, id: PartId) -> &'a Value {
        self.samples[id]
    }

    /// Whether a law is data, a constructor of rows included.
    pub(super) fn is_data(&self, id: PartId) -> bool {
        self.samples[id].shape().is_some()
    }

    /// Whether a part makes rows of one element or more.
    pub(super) fn is_constructor(&self, id: PartId) -> bool {
        matches!(self.samples[id].shape(), Some(Shape::Cow(_)))
    }

    /// A part as it is written.
    pub(super) fn view(&self, id: PartId) -> View<'_> {
        let args = |id: PartId| match &self.keys[id] {
            // As elements of a row: the last argument is the first.
            Key::App(parts) => parts[1..].iter().rev().copied().collect(),
            _ => Vec::new(),
        };
        match (&self.keys[id], self.samples[id].shape()) {
            (Key::Nat(nat), _) => View::Nat(nat),
            (Key::Pin(hash), _) => View::Pin(*hash),
            (_, Some(Shape::Bar(bytes))) => View::Bar(bytes),
            (_, Some(Shape::Row(_))) => View::Row(args(id)),
            (Key::Law(_, _, body), Some(Shape::Set(_))) => View::Set(args(*body)),
            (Key::App(parts), Some(Shape::Tab(..))) => {
                let Key::Law(_, _, keys) = self.keys[parts[0]] else { return View::App(parts.clone()) };
                View::Tab(args(keys).into_iter().zip(args(parts[1])).flat_map(|(key, value)| [key, value]).collect())
            }
            (Key::Law(name, arity, body), _) => View::Law(name, arity, *body),
            (Key::App(parts), _) => View::App(parts.clone()),
        }
    }
}

impl View<'_> {
    /// The parts that are written in it.
    pub(super) fn parts(&self) -> &[PartId] {
        match self {
            Self::Nat(_) | Self::Pin(_) | Self::Bar(_) => &[],
            Self::Law(_, _, body) => std::slice::from_ref(body),
            Self::Row(parts) | Self::Set(parts) | Self::Tab(parts) | Self::App(parts) => parts,
        }
    }
}
