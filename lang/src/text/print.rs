//! From values to text.
//!
//! [`show`] writes all of a value, as a text of definitions and a last form that is the value: each pin that has no name yet is
//! defined before it is used, under the name of its law or else its hash; so is any part that is large and occurs more than
//! once, as `$1`, `$2` and so on. [`brief`] writes one form, of what there is room for, and marks with `…` what it leaves out.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use super::layout::format;
use super::literal::{CUT, is_name, symbol_of, write_bytes, write_nat};
use super::unique::{PartId, Parts, View};
use crate::compile::is_keyword;
use crate::hash::PinHash;
use crate::nat::Nat;
use crate::value::{Pin, Shape, Value};

/// What occurs more than once is written once if it has at least so many parts.
const REPEATED_PARTS_MIN: u64 = 32;

/// The names that a reader of the text will know.
#[derive(Debug, Clone, Default)]
pub struct Names {
    by_hash: HashMap<PinHash, String>,
    taken: HashSet<String>,
}

impl Names {
    /// Makes a name known. Of the names of one pin, the first counts.
    pub fn add(&mut self, name: &str, value: &Value) {
        self.taken.insert(name.to_owned());
        if let Value::Pin(pin) = value
            && is_free(name)
        {
            self.by_hash.entry(pin.hash()).or_insert_with(|| name.to_owned());
        }
    }

    /// A name that is not taken, which is taken then.
    fn take(&mut self, name: &str) -> bool {
        is_free(name) && self.taken.insert(name.to_owned())
    }
}

/// Whether a text can be the name of a value.
fn is_free(name: &str) -> bool {
    is_name(name) && name != "_" && !is_keyword(name)
}

/// All of a value, as a text that reads back as it.
#[must_use]
pub fn show(value: &Value, names: &Names, width: usize) -> String {
    let mut writer = Writer { names: names.clone(), out: String::new(), repeated: 0 };
    for pin in unnamed(value, names) {
        let law_name = match pin.content() {
            Value::Law(law) => symbol_of(law.name()),
            _ => None,
        };
        let name = law_name.filter(|name| writer.names.take(name));
        let form = writer.parts(pin.content());
        match &name {
            Some(name) => writer.define(name, &format!("(pin {form})")),
            None => writer.define(&format!("#pin{{{}}}", pin.hash()), &form),
        }
        writer.names.by_hash.extend(name.map(|name| (pin.hash(), name)));
    }
    let form = writer.parts(value);
    writer.out.push_str(&form);
    format(&writer.out, width).unwrap_or(writer.out)
}

/// The pins in a value that have no name, those within a pin before it.
fn unnamed(value: &Value, names: &Names) -> Vec<Arc<Pin>> {
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    // Pins to look into, the next one last, and pins that were looked into.
    let mut left: Vec<(Arc<Pin>, bool)> = value.refs().into_iter().rev().map(|pin| (pin, false)).collect();
    while let Some((pin, is_done)) = left.pop() {
        if is_done {
            found.push(pin);
        } else if !names.by_hash.contains_key(&pin.hash()) && seen.insert(pin.hash()) {
            let refs = pin.content().refs();
            left.push((pin, true));
            left.extend(refs.into_iter().rev().map(|pin| (pin, false)));
        }
    }
    found
}

struct Writer {
    names: Names,
    out: String,
    repeated: usize,
}

enum Step {
    Part(PartId),
    Text(&'static str),
}

impl Writer {
    fn define(&mut self, name: &str, form: &str) {
        let _ = writeln!(self.out, "(def {name} {form})");
    }

    /// The form of a value, after the definitions of what it repeats.
    fn parts(&mut self, value: &Value) -> String {
        let parts = Parts::of(value);
        let mut known: HashMap<PartId, String> = HashMap::new();
        for part in repeated(&parts) {
            let form = self.form(&parts, part, &known);
            let name = loop {
                self.repeated += 1;
                let name = format!("${}", self.repeated);
                if self.names.take(&name) {
                    break name;
                }
            };
            self.define(&name, &form);
            known.insert(part, name);
        }
        self.form(&parts, parts.top(), &known)
    }

    fn form(&self, parts: &Parts<'_>, part: PartId, known: &HashMap<PartId, String>) -> String {
        let mut out = String::new();
        let mut steps = vec![Step::Part(part)];
        while let Some(step) = steps.pop() {
            let id = match step {
                Step::Text(text) => {
                    out.push_str(text);
                    continue;
                }
                Step::Part(id) => id,
            };
            if let Some(name) = known.get(&id) {
                out.push_str(name);
                continue;
            }
            let view = parts.view(id);
            let close = match &view {
                View::Nat(nat) => {
                    write_nat(nat, &mut out);
                    continue;
                }
                View::Bar(bytes) => {
                    write_bytes(bytes, &mut out);
                    continue;
                }
                View::Pin(hash) => {
                    write_pin(*hash, &self.names, &mut out);
                    continue;
                }
                View::Row(_) => open(&mut out, "[", "]"),
                View::Set(_) => open(&mut out, "#{", "}"),
                View::Tab(_) => open(&mut out, "{", "}"),
                View::App(_) => open(&mut out, "#(", ")"),
                View::Law(name, arity, _) => {
                    write_law(name, arity, &mut out);
                    ")"
                }
            };
            steps.push(Step::Text(close));
            for (index, part) in view.parts().iter().enumerate().rev() {
                steps.push(Step::Part(*part));
                steps.extend((index > 0).then_some(Step::Text(" ")));
            }
        }
        out
    }
}

fn open(out: &mut String, open: &str, close: &'static str) -> &'static str {
    out.push_str(open);
    close
}

fn write_pin(hash: PinHash, names: &Names, out: &mut String) {
    let _ = match names.by_hash.get(&hash) {
        Some(name) => write!(out, "{name}"),
        None => write!(out, "#pin{{{hash}}}"),
    };
}

/// A law up to its body.
fn write_law(name: &Nat, arity: &Nat, out: &mut String) {
    out.push_str("(law ");
    match symbol_of(name) {
        Some(symbol) => {
            let _ = write!(out, "'{symbol}");
        }
        None => write_nat(name, out),
    }
    out.push(' ');
    write_nat(arity, out);
    out.push(' ');
}

/// The large parts that are written in more than one place, each after those in it.
fn repeated(parts: &Parts<'_>) -> Vec<PartId> {
    let mut places = vec![0u8; parts.len()];
    let mut sizes = vec![0u64; parts.len()];
    // Only what is written counts: a row's constructor is not.
    let mut left = vec![parts.top()];
    let mut written = Vec::new();
    while let Some(id) = left.pop() {
        if places[id] == 0 {
            written.push(id);
            left.extend(parts.view(id).parts());
        }
        places[id] = places[id].saturating_add(1);
    }
    // Parts come after those in them.
    written.sort_unstable();
    for id in &written {
        sizes[*id] = parts.view(*id).parts().iter().fold(1, |sum: u64, part| sum.saturating_add(sizes[*part]));
    }
    written.retain(|id| places[*id] > 1 && sizes[*id] >= REPEATED_PARTS_MIN);
    written
}

/// The beginning of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    /// One form. If something is left out, it cannot be read back.
    pub text: String,
    /// Whether something is left out.
    pub is_cut: bool,
}

/// How many elements of a row, and bytes of a text or number, are shown.
const ELEMENTS_MAX: usize = 100;
const BYTES_MAX: usize = 1000;
/// How many parts are shown in all.
const PARTS_MAX: usize = 2000;

enum Piece<'a> {
    Part(&'a Value, usize),
    Text(&'static str),
}

/// What there is room for of a value, as one form, not deeper than so many levels.
#[must_use]
pub fn brief(value: &Value, names: &Names, width: usize, depth: usize) -> Brief {
    let mut out = String::new();
    let mut is_cut = false;
    let mut parts = 0;
    let mut left = vec![Piece::Part(value, 0)];
    while let Some(piece) = left.pop() {
        let (part, level) = match piece {
            Piece::Part(part, level) => (part, level),
            Piece::Text(text) => {
                is_cut |= text == CUT;
                out.push_str(text);
                continue;
            }
        };
        parts += 1;
        let bytes = match part {
            Value::Nat(nat) => nat.byte_count(),
            Value::Law(law) if part.as_bar().is_none() => law.name().byte_count().max(law.arity().byte_count()),
            _ => 0,
        };
        let is_inner = matches!(part, Value::Law(_) | Value::App(_));
        if parts > PARTS_MAX || bytes > BYTES_MAX || (is_inner && level > depth) {
            left.push(Piece::Text(CUT));
            continue;
        }
        let (mark, close, elements): (_, _, Vec<&Value>) = match (part, part.shape()) {
            (Value::Nat(nat), _) => {
                write_nat(nat, &mut out);
                continue;
            }
            (Value::Pin(pin), _) => {
                write_pin(pin.hash(), names, &mut out);
                continue;
            }
            (_, Some(Shape::Bar(bytes))) => {
                let mut shown = bytes.as_slice();
                if bytes.len() > BYTES_MAX {
                    // Not in the middle of a character.
                    let end = (BYTES_MAX - 3..=BYTES_MAX).rev().find(|end| bytes[*end] & 0xc0 != 0x80);
                    shown = &bytes[..end.unwrap_or(BYTES_MAX)];
                    left.extend([Piece::Text(CUT), Piece::Text(" ")]);
                }
                write_bytes(shown, &mut out);
                continue;
            }
            (_, Some(Shape::Row(row))) => ("[", "]", row.iter().take(ELEMENTS_MAX + 1).collect()),
            (_, Some(Shape::Set(keys))) => ("#{", "}", keys.iter().take(ELEMENTS_MAX + 1).collect()),
            (_, Some(Shape::Tab(keys, values))) => {
                let pairs = keys.iter().zip(values.iter()).flat_map(|(key, value)| [key, value]);
                ("{", "}", pairs.take(ELEMENTS_MAX + 1).collect())
            }
            (Value::Law(law), _) => {
                write_law(law.name(), law.arity(), &mut out);
                ("", ")", vec![law.body()])
            }
            (Value::App(app), _) => {
                let parts = std::iter::once(app.head()).chain(app.args());
                ("#(", ")", parts.take(ELEMENTS_MAX + 1).collect())
            }
        };
        out.push_str(mark);
        left.push(Piece::Text(close));
        for (index, element) in elements.into_iter().enumerate().rev() {
            let piece = if index == ELEMENTS_MAX { Piece::Text(CUT) } else { Piece::Part(element, level + 1) };
            left.push(piece);
            left.extend((index > 0).then_some(Piece::Text(" ")));
        }
    }
    let text = format(&out, width).map(|text| text.trim_end().to_owned()).unwrap_or(out);
    Brief { text, is_cut }
}
