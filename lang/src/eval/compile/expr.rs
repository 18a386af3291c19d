//! The body of a law, read: which slots, constants and applications it is made of.

use std::collections::HashMap;

use crate::eval::Limit;
use crate::eval::heap::Heap;
use crate::eval::word::{Kind, MANY, ONE, ZERO, imm, is_imm, len};

/// How many parts a body may have, and how many slots all of them together may mention.
const PARTS_MAX: usize = 1 << 20;
const MENTIONS_MAX: usize = 1 << 24;

pub(super) type Part = u32;

pub(super) enum Expr {
    Slot(usize),
    Constant(u64),
    /// A function and its arguments, at least one.
    Apply(Box<[Part]>),
}

/// A law's lets and its result.
pub(super) struct Source {
    pub(super) arity: usize,
    /// By part.
    pub(super) parts: Vec<Expr>,
    /// Which slots a part mentions, in ascending order.
    pub(super) slots: Vec<Box<[usize]>>,
    pub(super) lets: Vec<Part>,
    pub(super) result: Part,
}

enum Task {
    Read(u64),
    Apply(usize),
}

/// Reads the body of a law.
pub(super) fn read(heap: &mut Heap, law: u64) -> Result<Source, Limit> {
    let arity = heap.arity(law);
    if arity >= MANY {
        return Err(Limit::Law);
    }
    let mut body = heap.field(law, 2);
    let mut lets = Vec::new();
    while let Some([value, rest]) = quoted(heap, body, ONE) {
        lets.push(value);
        body = rest;
    }
    let slots_max = (arity + lets.len()) as u64;
    let mut source = Source { arity, parts: Vec::new(), slots: Vec::new(), lets: Vec::new(), result: 0 };
    let mut reader = Reader { source: &mut source, leaves: HashMap::new(), mentions: 0, slots_max };
    let mut read = Vec::new();
    for value in lets {
        read.push(reader.part(heap, value)?);
    }
    let result = reader.part(heap, body)?;
    source.lets = read;
    source.result = result;
    Ok(source)
}

/// The two arguments that a number is applied to, if a value is just that.
fn quoted(heap: &Heap, value: u64, head: u64) -> Option<[u64; 2]> {
    let value = heap.resolve(value);
    if heap.kind_of(value) != Some(Kind::APP) {
        return None;
    }
    match heap.fields(value) {
        [first, x, y] if *first == head => Some([*x, *y]),
        _ => None,
    }
}

struct Reader<'a> {
    source: &'a mut Source,
    /// Slots and constants met before.
    leaves: HashMap<(bool, u64), Part>,
    mentions: usize,
    slots_max: u64,
}

impl Reader<'_> {
    fn part(&mut self, heap: &mut Heap, value: u64) -> Result<Part, Limit> {
        let mut tasks = vec![Task::Read(value)];
        let mut done: Vec<Part> = Vec::new();
        while let Some(task) = tasks.pop() {
            match task {
                Task::Read(value) => {
                    if let Some([mut function, argument]) = quoted(heap, value, ZERO) {
                        let mut args = vec![argument];
                        while let Some([inner, argument]) = quoted(heap, function, ZERO) {
                            args.push(argument);
                            function = inner;
                        }
                        tasks.push(Task::Apply(args.len()));
                        // What is done last is on top in the end: the function first, then the arguments in turn.
                        tasks.extend(args.into_iter().map(Task::Read));
                        tasks.push(Task::Read(function));
                    } else {
                        done.push(self.leaf(heap, value)?);
                    }
                }
                Task::Apply(count) => {
                    let parts = done.split_off(done.len() - count - 1);
                    done.push(self.apply(heap, parts)?);
                }
            }
        }
        Ok(done.pop().expect("one part was asked for"))
    }

    fn leaf(&mut self, heap: &Heap, value: u64) -> Result<Part, Limit> {
        let value = heap.resolve(value);
        if is_imm(value) && value >> 1 <= self.slots_max {
            let slot = (value >> 1) as usize;
            return self.add(Expr::Slot(slot), Some((true, value)), Box::new([slot]));
        }
        let literal = match heap.kind_of(value) {
            Some(Kind::APP) => match heap.fields(value) {
                [head, literal] if *head == imm(2) => heap.resolve(*literal),
                _ => value,
            },
            _ => value,
        };
        self.add(Expr::Constant(literal), Some((false, literal)), Box::new([]))
    }

    fn apply(&mut self, heap: &mut Heap, mut parts: Vec<Part>) -> Result<Part, Limit> {
        // What would be an application in the end is one now.
        if let Expr::Constant(function) = self.source.parts[parts[0] as usize] {
            let args: Vec<u64> = parts[1..]
                .iter()
                .map_while(|part| match self.source.parts[*part as usize] {
                    Expr::Constant(value) => Some(value),
                    _ => None,
                })
                .collect();
            if args.len() + 1 == parts.len() && args.len() < heap.arity(function) {
                let value = heap.partial(function, &args);
                return self.add(Expr::Constant(value), None, Box::new([]));
            }
            // A function that was given arguments before, few of them, is known for what it is.
            if heap.kind_of(function) == Some(Kind::APP) && len(heap.head(function)) <= 8 {
                let mut all = Vec::new();
                for value in heap.fields(function).to_vec() {
                    all.push(self.add(Expr::Constant(value), Some((false, value)), Box::new([]))?);
                }
                parts.splice(0..1, all);
            }
        }
        let mut slots: Vec<usize> =
            parts.iter().flat_map(|part| self.source.slots[*part as usize].iter().copied()).collect();
        slots.sort_unstable();
        slots.dedup();
        self.add(Expr::Apply(parts.into()), None, slots.into())
    }

    fn add(&mut self, expr: Expr, leaf: Option<(bool, u64)>, slots: Box<[usize]>) -> Result<Part, Limit> {
        if let Some(part) = leaf.and_then(|leaf| self.leaves.get(&leaf)) {
            return Ok(*part);
        }
        self.mentions += slots.len();
        if self.source.parts.len() >= PARTS_MAX || self.mentions > MENTIONS_MAX {
            return Err(Limit::Law);
        }
        let part = self.source.parts.len() as Part;
        self.source.parts.push(expr);
        self.source.slots.push(slots);
        if let Some(leaf) = leaf {
            self.leaves.insert(leaf, part);
        }
        Ok(part)
    }
}
