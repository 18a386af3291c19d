//! What names mean outside the text at hand, and which pins are known by their hashes.

use std::collections::{BTreeMap, HashMap};

use crate::hash::PinHash;
use crate::value::Value;

/// The functions that forms of the language are made of, to be found in the environment:
/// `(if c t e)`; `(eql a b)`, 1 if two values are equal, else 0; `(is-row x)`, 1 or 0; `(len row)`; `(idx i row)`.
pub const CORE: [&str; 5] = ["if", "eql", "is-row", "len", "idx"];

/// Names and pins.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    values: BTreeMap<String, Value>,
    core: BTreeMap<&'static str, Value>,
    pins: HashMap<PinHash, Value>,
}

impl Environment {
    /// Gives a name a meaning, in place of any that it had.
    pub fn define(&mut self, name: &str, value: Value) {
        self.add_pin(&value);
        self.values.insert(name.to_owned(), value);
    }

    /// Makes a pin known by its hash.
    pub fn add_pin(&mut self, value: &Value) {
        if let Value::Pin(pin) = value {
            self.pins.insert(pin.hash(), value.clone());
        }
    }

    /// From now on, forms use the functions of [`CORE`] that have their names now, whatever is defined under these names later.
    pub fn fix_core(&mut self) {
        self.core = CORE.iter().filter_map(|name| Some((*name, self.values.get(*name)?.clone()))).collect();
    }

    /// What a name means.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// All names, and what they mean.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// A pin by its hash.
    #[must_use]
    pub fn pin(&self, hash: PinHash) -> Option<&Value> {
        self.pins.get(&hash)
    }

    pub(super) fn core(&self, name: &'static str) -> Option<&Value> {
        self.core.get(name).or_else(|| self.values.get(name))
    }
}

/// The name that is most like one that was not found, if any is like it.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let wanted: Vec<char> = name.chars().take(LENGTH_MAX + 1).collect();
    let far = wanted.len() / 3 + 1;
    known
        .filter(|known| known.len() <= 4 * LENGTH_MAX && wanted.len() <= LENGTH_MAX && *known != name)
        .map(|known| (distance(&wanted, known), known))
        .filter(|(distance, _)| *distance <= far.min(3))
        .min()
        .map(|(_, known)| known.to_owned())
}

/// Nobody mistypes longer names.
const LENGTH_MAX: usize = 64;

/// How many characters must be changed, added or left out.
fn distance(a: &[char], b: &str) -> usize {
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (line, b) in b.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, a) in a.iter().enumerate() {
            let changed = diagonal + usize::from(*a != b);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[a.len()]
}
