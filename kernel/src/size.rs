//! How large values are as text, told before any of it is made: what is written in more than one place can be far larger as text
//! than it is in memory.
//!
//! It is counted as `lang::text` writes: a pin once, and so a part that is shared and not small; all else wherever it occurs. What
//! the layout adds is not counted, so a text that is made has to be measured, too.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lang::Value;
use lang::hash::PinHash;
use lang::value::{App, Law, Pin};

use crate::pace;

/// Atoms and brackets of a text that is laid out: each takes memory while that is done.
const FORMS_MAX: u64 = 2 * pace::NAMED_PARTS_MAX as u64;

/// What is shared is written once if it has at least so many forms.
const REPEATED_MIN: u64 = 32;
/// The name of what is written once, wherever it occurs.
const REPEATED: Size = Size { forms: 1, bytes: 16 };

/// A law of more terms is not told as a function, in which nothing is written once.
const FUNCTION_FORMS_MAX: u64 = 3 * 4096;

/// The hash of a pin, as it is written.
const HASH_BYTES: u64 = 60;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Size {
    forms: u64,
    bytes: u64,
}

impl Size {
    fn add(&mut self, other: Self) {
        self.forms = self.forms.saturating_add(other.forms);
        // And a space.
        self.bytes = self.bytes.saturating_add(other.bytes).saturating_add(1);
    }
}

/// A part: as it is written, and if nothing were written but once.
#[derive(Debug, Clone, Copy)]
struct Counted {
    written: Size,
    tree: Size,
}

impl Counted {
    fn atom(bytes: u64) -> Self {
        let size = Size { forms: 1, bytes };
        Self { written: size, tree: size }
    }
}

/// Counts texts.
#[derive(Default)]
pub(crate) struct Sizes {
    /// Pins that are written by name, and how long that is.
    names: HashMap<PinHash, u64>,
    /// Pins that are to be defined, too.
    left: Vec<Arc<Pin>>,
    total: Size,
}

impl Sizes {
    /// For texts whose reader knows these names.
    pub(crate) fn new<'a>(names: impl Iterator<Item = (&'a str, &'a Value)>) -> Self {
        let mut sizes = Self::default();
        names.for_each(|(name, value)| sizes.name(name, value));
        sizes
    }

    fn name(&mut self, name: &str, value: &Value) {
        if let Value::Pin(pin) = value {
            let known = self.names.entry(pin.hash()).or_default();
            *known = (*known).max(name.len() as u64);
        }
    }

    /// A definition more.
    pub(crate) fn define(&mut self, name: &str, value: &Value) {
        self.total.add(Size { forms: 3, bytes: name.len() as u64 + 10 });
        match value {
            Value::Pin(pin) if !self.names.contains_key(&pin.hash()) => {
                self.name(name, value);
                self.value(pin.content());
            }
            value => self.value(value),
        }
    }

    /// A value more, after the pins in it that have no name.
    pub(crate) fn value(&mut self, value: &Value) {
        let size = self.count(value);
        self.total.add(size);
        while let Some(pin) = self.left.pop() {
            self.total.add(Size { forms: 3, bytes: HASH_BYTES + 10 });
            let size = self.count(pin.content());
            self.total.add(size);
        }
    }

    /// Whether all of that can be made into text, and put out.
    pub(crate) fn is_within(&self) -> bool {
        self.total.forms <= FORMS_MAX && self.total.bytes <= pace::OUTPUT_BYTES_MAX as u64
    }

    /// One value, without the pins in it. No deeper than the value: nothing recurses.
    fn count(&mut self, value: &Value) -> Size {
        let mut met: BTreeMap<usize, Counted> = BTreeMap::new();
        let mut done: Vec<Counted> = Vec::new();
        let mut left = vec![(value, false)];
        while let Some((value, is_taken_apart)) = left.pop() {
            let at = shared_at(value);
            if is_taken_apart {
                let counted = sum(value, &mut done);
                met.extend(at.map(|at| (at, counted)));
                done.push(counted);
            } else if let Some(counted) = at.and_then(|at| met.get(&at)) {
                let is_small = counted.written.forms < REPEATED_MIN;
                done.push(if is_small { *counted } else { Counted { written: REPEATED, ..*counted } });
            } else if let Some(bytes) = value.as_bar() {
                let counted = Counted::atom(text_bytes(&bytes));
                met.extend(at.map(|at| (at, counted)));
                done.push(counted);
            } else {
                match value {
                    Value::Nat(nat) => done.push(Counted::atom(digits(nat.bit_count()))),
                    Value::Pin(pin) => done.push(Counted::atom(self.pin(pin))),
                    Value::Law(law) => left.extend([(value, true), (law.body(), false)]),
                    Value::App(app) => {
                        left.push((value, true));
                        left.extend(parts(app, value).map(|part| (part, false)));
                    }
                }
            }
        }
        done.pop().map_or(Size::default(), |counted| counted.written)
    }

    /// How long the name of a pin is, which is to be defined if it has none.
    fn pin(&mut self, pin: &Arc<Pin>) -> u64 {
        *self.names.entry(pin.hash()).or_insert_with(|| {
            self.left.push(Arc::clone(pin));
            HASH_BYTES
        })
    }
}

/// What is written of an application: of a row not its head.
fn parts<'a>(app: &'a App, value: &Value) -> impl Iterator<Item = &'a Value> {
    let head = value.as_row().is_none().then_some(app.head());
    head.into_iter().chain(app.args())
}

/// Adds up the parts that are done, of which it is made.
fn sum(value: &Value, done: &mut Vec<Counted>) -> Counted {
    let (count, own) = match value {
        Value::Law(law) => (1, 12 + digits(law.name().bit_count()) + digits(law.arity().bit_count())),
        Value::App(app) => (parts(app, value).count(), 3),
        Value::Nat(_) | Value::Pin(_) => (0, 0),
    };
    let mut counted = Counted::atom(own);
    for part in done.drain(done.len().saturating_sub(count)..) {
        counted.written.add(part.written);
        counted.tree.add(part.tree);
    }
    if matches!(value, Value::Law(_)) && counted.tree.forms <= FUNCTION_FORMS_MAX {
        counted.written = counted.tree;
    }
    counted
}

/// Where it is in memory, if others may point there, too.
fn shared_at(value: &Value) -> Option<usize> {
    let (count, at) = match value {
        Value::Law(law) => (Arc::strong_count(law), Arc::as_ptr(law).cast::<Law>().addr()),
        Value::App(app) => (Arc::strong_count(app), Arc::as_ptr(app).cast::<App>().addr()),
        Value::Nat(_) | Value::Pin(_) => return None,
    };
    (count > 1).then_some(at)
}

/// Digits of a number of so many bits, at most.
fn digits(bits: u64) -> u64 {
    bits.saturating_mul(4) / 13 + 1
}

/// Bytes as they are printed.
fn text_bytes(bytes: &[u8]) -> u64 {
    let is_text = std::str::from_utf8(bytes)
        .is_ok_and(|text| text.chars().all(|character| !character.is_control() || "\n\r\t".contains(character)));
    let escaped = bytes.iter().filter(|byte| b"\n\r\t\"\\".contains(byte)).count();
    (if is_text { bytes.len() + escaped + 2 } else { 2 * bytes.len() + 4 }) as u64
}

#[cfg(test)]
mod tests {
    use lang::text::{Names, WIDTH, show};

    use super::*;

    fn counted(value: &Value) -> Size {
        let mut sizes = Sizes::default();
        sizes.value(value);
        sizes.total
    }

    /// Values made of ever more of themselves.
    fn doubled(value: Value, times: usize) -> Value {
        (0..times).fold(value, |value, _| Value::row(vec![value.clone(), value]))
    }

    #[test]
    fn it_is_about_what_is_printed() {
        let words = Value::row((0..1000).map(Value::word).collect());
        let text = Value::bar(&[b'"'; 5000]);
        let bytes = Value::bar(&[0; 5000]);
        let law = Value::law(lang::Nat::symbol("f"), lang::Nat::word(2), Value::word(1)).unwrap();
        let shared = doubled(Value::bar(b"0123456789"), 4);
        let large = Value::Nat(lang::Nat::from_bytes_le(&[0xff; 3000]));
        let pins = Value::row(vec![Value::pin(words.clone()).unwrap(), Value::pin(words.clone()).unwrap()]);
        for value in [words, text, bytes, law, shared, large, pins] {
            let printed = show(&value, &Names::default(), WIDTH).len() as u64;
            let counted = counted(&value).bytes;
            assert!(counted >= printed / 2 && counted <= 2 * printed + 40, "{counted} for {printed}: {value:?}");
        }
    }

    #[test]
    fn what_is_written_often_counts_often_and_what_is_written_once_counts_once() {
        let small = Value::row(vec![Value::bar(&[b'x'; 1000]); 20]);
        let much = Value::row(vec![small; 1000]);
        assert!(counted(&much).bytes > 20_000_000);
        let mut sizes = Sizes::default();
        sizes.value(&much);
        assert!(!sizes.is_within());
        // However often that doubles, it is a definition more.
        assert!(counted(&doubled(Value::row((0..40).map(Value::word).collect()), 60)).bytes < 10_000);
        // But a function is told whole.
        let term = doubled(Value::word(1), 10);
        let law = Value::law(lang::Nat::ZERO, lang::Nat::word(1), term).unwrap();
        assert!(counted(&law).forms > 1000);
        // Nothing recurses.
        let deep = (0..200_000).fold(Value::word(1), |value, _| Value::row(vec![value]));
        assert!(counted(&deep).forms > 200_000);
    }
}
