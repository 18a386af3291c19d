//! From values to text.
//!
//! [`show`] writes all of a value, as a text of definitions and a last form that is the value: each pin that has no name yet is
//! defined before it is used, under the name of its law or else its hash; so is any part that is large and occurs more than
//! once, as `$1`, `$2` and so on. Laws are told as functions where that is exact.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use super::function::{Token, function, is_free};
use super::layout::format;
use super::literal::{symbol_of, write_bytes, write_nat};
use super::unique::{PartId, Parts, Raw, View};
use crate::hash::PinHash;
use crate::nat::Nat;
use crate::value::{Pin, Value};

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

    /// What a pin is called, if it has a name, or else its hash.
    pub(super) fn write_pin(&self, hash: PinHash, out: &mut String) {
        let _ = match self.by_hash.get(&hash) {
            Some(name) => write!(out, "{name}"),
            None => write!(out, "#pin{{{hash}}}"),
        };
    }

    /// Whether a name can be given to something that has none.
    pub(super) fn is_untaken(&self, name: &str) -> bool {
        is_free(name) && !self.taken.contains(name)
    }

    /// A name that is not taken, which is taken then.
    fn take(&mut self, name: &str) -> bool {
        is_free(name) && self.taken.insert(name.to_owned())
    }
}

/// All of a value, as a text that reads back as it.
#[must_use]
pub fn show(value: &Value, names: &Names, width: usize) -> String {
    let mut writer = Writer::of(names);
    writer.define_unnamed(value);
    let (form, _) = writer.parts(value, None);
    writer.out.push_str(&form);
    format(&writer.out, width).unwrap_or(writer.out)
}

/// All of these values, as a text that defines them by their names, in this order.
#[must_use]
pub fn show_definitions(definitions: &[(String, Value)], names: &Names, width: usize) -> String {
    let mut writer = Writer::of(names);
    // None of these can be the name of anything else.
    writer.names.taken.extend(definitions.iter().map(|(name, _)| name.clone()));
    for (name, value) in definitions {
        let (form, is_definition) = match value {
            Value::Pin(pin) if !writer.names.by_hash.contains_key(&pin.hash()) => {
                writer.define_unnamed(pin.content());
                let (form, is_definition) = writer.parts(pin.content(), Some(name));
                if is_definition { (form, true) } else { (format!("(pin {form})"), false) }
            }
            value => {
                writer.define_unnamed(value);
                (writer.parts(value, None).0, false)
            }
        };
        if is_definition {
            writer.line(&form);
        } else {
            writer.define(name, &form);
        }
        // From here on, what had this name has it no more.
        writer.names.by_hash.retain(|_, known| known != name);
        if let Value::Pin(pin) = value
            && is_free(name)
        {
            writer.names.by_hash.entry(pin.hash()).or_insert_with(|| name.clone());
        }
    }
    format(&writer.out, width).unwrap_or(writer.out)
}

impl Writer {
    /// Defines the pins in a value that have no name, and were not defined before.
    fn define_unnamed(&mut self, value: &Value) {
        for pin in self.unnamed(value) {
            let law_name = match pin.content() {
                Value::Law(law) => symbol_of(law.name()),
                _ => None,
            };
            let name = law_name.filter(|name| self.names.take(name));
            let (form, is_definition) = self.parts(pin.content(), name.as_deref());
            match &name {
                Some(_) if is_definition => self.line(&form),
                Some(name) => self.define(name, &format!("(pin {form})")),
                None => {
                    self.define(&format!("#pin{{{}}}", pin.hash()), &form);
                    self.hashes.insert(pin.hash());
                }
            }
            self.names.by_hash.extend(name.map(|name| (pin.hash(), name)));
        }
    }

    /// The pins in a value that a reader does not know, those within a pin before it.
    fn unnamed(&self, value: &Value) -> Vec<Arc<Pin>> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        // Pins to look into, the next one last, and pins that were looked into.
        let mut left: Vec<(Arc<Pin>, bool)> = value.refs().into_iter().rev().map(|pin| (pin, false)).collect();
        while let Some((pin, is_done)) = left.pop() {
            if is_done {
                found.push(pin);
            } else if !self.is_known(pin.hash()) && seen.insert(pin.hash()) {
                let refs = pin.content().refs();
                left.push((pin, true));
                left.extend(refs.into_iter().rev().map(|pin| (pin, false)));
            }
        }
        found
    }

    /// Whether a reader knows a pin by what was written, or by a name.
    fn is_known(&self, hash: PinHash) -> bool {
        self.names.by_hash.contains_key(&hash) || self.hashes.contains(&hash)
    }
}

struct Writer {
    names: Names,
    out: String,
    repeated: usize,
    /// What was defined by its hash: a reader knows it from there on.
    hashes: HashSet<PinHash>,
}

impl Writer {
    fn of(names: &Names) -> Self {
        Self { names: names.clone(), out: String::new(), repeated: 0, hashes: HashSet::new() }
    }

    fn line(&mut self, form: &str) {
        self.out.push_str(form);
        self.out.push('\n');
    }

    fn define(&mut self, name: &str, form: &str) {
        let _ = writeln!(self.out, "(def {name} {form})");
    }

    /// The form of a value, after the definitions of what it repeats. If it is a function of the name that is to be defined, the
    /// form is its definition.
    fn parts(&mut self, value: &Value, defined: Option<&str>) -> (String, bool) {
        let mut page = Page::of(value, &self.names, defined);
        for part in page.repeated(&self.names) {
            // A definition of a function would pin it.
            let form = page.form(page.told_by_parts(part, &self.names), &self.names);
            let name = loop {
                self.repeated += 1;
                let name = format!("${}", self.repeated);
                if self.names.take(&name) {
                    break name;
                }
            };
            self.define(&name, &form);
            page.known.insert(part, name);
        }
        (page.form(page.tokens(page.parts.top(), &self.names), &self.names), page.is_definition())
    }
}

/// Functions told as functions nest no deeper: they could not be read.
const NESTED_MAX: u16 = 200;

#[derive(Debug, Clone, Copy, Default)]
struct Level {
    is_function: bool,
    /// How deep functions nest in it.
    depth: u16,
}

/// The parts of one value, on their way to being text.
struct Page<'a> {
    parts: Parts<'a>,
    levels: Vec<Level>,
    /// The name that the value, as a function, is defined by.
    defined: Option<&'a str>,
    /// What was defined already.
    known: HashMap<PartId, String>,
}

impl<'a> Page<'a> {
    fn of(value: &'a Value, names: &Names, defined: Option<&'a str>) -> Self {
        let parts = Parts::of(value);
        let mut page = Self { levels: Vec::with_capacity(parts.len()), parts, defined, known: HashMap::new() };
        for id in 0..page.parts.len() {
            let depth_of = |id: &PartId| page.levels[*id].depth;
            let inner = match page.parts.raw(id) {
                Raw::Nat(_) | Raw::Pin => 0,
                Raw::Law(_, _, body) => depth_of(&body),
                Raw::App(parts) => parts.iter().map(depth_of).max().unwrap_or(0),
            };
            let is_function = inner < NESTED_MAX && page.function(id, names).is_some();
            page.levels.push(Level { is_function, depth: inner + u16::from(is_function) });
        }
        page
    }

    fn is_definition(&self) -> bool {
        self.defined.is_some() && self.levels[self.parts.top()].is_function
    }

    fn function(&self, id: PartId, names: &Names) -> Option<Vec<Token>> {
        function(&self.parts, id, names, self.defined.filter(|_| id == self.parts.top()))
    }

    /// What a part is written as.
    fn tokens(&self, id: PartId, names: &Names) -> Vec<Token> {
        if self.levels[id].is_function
            && let Some(tokens) = self.function(id, names)
        {
            return tokens;
        }
        self.told_by_parts(id, names)
    }

    /// What a part is written as that is no function.
    fn told_by_parts(&self, id: PartId, names: &Names) -> Vec<Token> {
        let view = self.parts.view(id);
        let mut mark = String::new();
        let close = match &view {
            View::Nat(nat) => {
                write_nat(nat, &mut mark);
                ""
            }
            View::Bar(bytes) => {
                write_bytes(bytes, &mut mark);
                ""
            }
            View::Pin(hash) => {
                names.write_pin(*hash, &mut mark);
                ""
            }
            View::Law(name, arity, _) => {
                write_law(name, arity, &mut mark);
                ")"
            }
            View::Row(_) => open(&mut mark, "[", "]"),
            View::Set(_) => open(&mut mark, "#{", "}"),
            View::Tab(_) => open(&mut mark, "{", "}"),
            View::App(_) => open(&mut mark, "#(", ")"),
        };
        let mut tokens = vec![Token::Text(mark.into())];
        for (index, part) in view.parts().iter().enumerate() {
            tokens.extend((index > 0).then_some(Token::Text(" ".into())));
            tokens.push(Token::Part(*part));
        }
        tokens.push(Token::Text(close.into()));
        tokens
    }

    fn form(&self, tokens: Vec<Token>, names: &Names) -> String {
        let mut out = String::new();
        let mut left = tokens;
        left.reverse();
        while let Some(token) = left.pop() {
            match token {
                Token::Text(text) => out.push_str(&text),
                Token::Part(id) => match self.known.get(&id) {
                    Some(name) => out.push_str(name),
                    None => left.extend(self.tokens(id, names).into_iter().rev()),
                },
            }
        }
        out
    }

    /// The large parts that are written in more than one place, each after those in it.
    fn repeated(&self, names: &Names) -> Vec<PartId> {
        let mut places = vec![0u8; self.parts.len()];
        // Only what is written counts: a row's constructor is not.
        let mut written: Vec<(PartId, u64, Vec<PartId>)> = Vec::new();
        let mut left = vec![self.parts.top()];
        while let Some(id) = left.pop() {
            if places[id] == 0 {
                let tokens = self.tokens(id, names);
                let own = if self.levels[id].is_function { tokens.len() as u64 } else { 1 };
                let inner = tokens.into_iter().filter_map(|token| match token {
                    Token::Part(part) => Some(part),
                    Token::Text(_) => None,
                });
                let inner: Vec<PartId> = inner.collect();
                left.extend(&inner);
                written.push((id, own, inner));
            }
            places[id] = places[id].saturating_add(1);
        }
        // Parts come after those in them.
        written.sort_unstable_by_key(|(id, ..)| *id);
        let mut sizes = vec![0u64; self.parts.len()];
        for (id, own, inner) in &written {
            sizes[*id] = inner.iter().fold(*own, |sum, part| sum.saturating_add(sizes[*part]));
        }
        let is_repeated = |id: &PartId| places[*id] > 1 && sizes[*id] >= REPEATED_PARTS_MIN;
        written.into_iter().map(|(id, ..)| id).filter(is_repeated).collect()
    }
}

fn open(out: &mut String, open: &str, close: &'static str) -> &'static str {
    out.push_str(open);
    close
}

/// A law up to its body.
pub(super) fn write_law(name: &Nat, arity: &Nat, out: &mut String) {
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
