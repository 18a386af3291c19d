//! Instructions for the parts of a law: what is wanted of a part (its value as the result, its value here, or something that can
//! be evaluated later) decides how it is written.

mod control;
mod later;
mod now;

use std::collections::HashMap;

use super::expr::{Expr, Part, Source};
use super::facts;
use super::lets::{Groups, groups};
use crate::eval::code::{CONST, FIELD, FIELD_MAX, Op, list, word};
use crate::eval::heap::Heap;
use crate::eval::jets::Inline;
use crate::eval::word::{Kind, imm, is_imm};
use crate::eval::{JetTable, Limit};

/// How deep parts of parts are written in one go. Below that they become pieces of their own.
pub(super) const DEPTH: usize = 48;

pub(super) struct Emitted {
    pub(super) code: Vec<u64>,
    pub(super) constants: Vec<u64>,
}

/// Where a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Atom {
    Slot(usize),
    Constant(usize),
}

/// Where the value of a slot of the law is. A let may not be anywhere yet.
#[derive(Clone, Copy)]
enum Place {
    Nowhere,
    Known { atom: Atom, evaluated: bool },
}

/// A field of an instruction.
#[derive(Clone, Copy)]
enum Field {
    Number(usize),
    Atom(Atom),
}

use Field::Number;

impl From<Atom> for Field {
    fn from(atom: Atom) -> Self {
        Self::Atom(atom)
    }
}

/// What an application is, by its function.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// It waits for more arguments: a value.
    Value,
    /// Done by an instruction, or by several.
    Inline(Inline, usize),
    /// A jet, by number: its arguments may be evaluated first.
    Jet(usize),
    /// A call of the law itself, with all its arguments.
    This,
    Call,
}

pub(super) struct Emitter<'a> {
    heap: &'a mut Heap,
    jets: &'a JetTable,
    source: &'a Source,
    groups: Groups,
    /// How often each let is mentioned, and whether a part branches.
    mentions: Vec<usize>,
    branches: Vec<bool>,

    code: Vec<u64>,
    starts: Vec<usize>,
    constants: Vec<u64>,
    known: HashMap<u64, usize>,
    /// Fields that are constants: word, shift, which constant.
    fixes: Vec<(usize, u32, usize)>,
    /// Pieces: which part, where it starts; instructions that are to say so.
    pieces: HashMap<Part, usize>,
    waiting: Vec<Part>,
    entries: Vec<(usize, Part)>,
    backs: Vec<(usize, u32)>,

    /// Of the piece being written: places by slot, changes of them, whether it is the law itself, slots taken and at most.
    places: HashMap<usize, Place>,
    undo: Vec<(usize, Place)>,
    is_law: bool,
    height: usize,
    frame: usize,
}

/// Writes a law and all that it evaluates later.
pub(super) fn emit(heap: &mut Heap, jets: &JetTable, source: &Source) -> Result<Emitted, Limit> {
    let mut emitter = Emitter {
        groups: groups(source),
        mentions: vec![0; source.lets.len()],
        branches: vec![false; source.parts.len()],
        heap,
        jets,
        source,
        code: Vec::new(),
        starts: Vec::new(),
        constants: Vec::new(),
        known: HashMap::new(),
        fixes: Vec::new(),
        pieces: HashMap::new(),
        waiting: Vec::new(),
        entries: Vec::new(),
        backs: Vec::new(),
        places: HashMap::new(),
        undo: Vec::new(),
        is_law: true,
        height: 0,
        frame: 0,
    };
    emitter.survey();
    emitter.law()?;
    while let Some(part) = emitter.waiting.pop() {
        emitter.piece(part)?;
    }
    emitter.finish()
}

impl Emitter<'_> {
    fn expr(&self, part: Part) -> &Expr {
        &self.source.parts[part as usize]
    }

    fn survey(&mut self) {
        let first = self.source.arity + 1;
        let mention = |part: Part, mentions: &mut Vec<usize>| {
            if let Expr::Slot(slot) = &self.source.parts[part as usize]
                && *slot >= first
            {
                mentions[slot - first] += 1;
            }
        };
        let mut mentions = std::mem::take(&mut self.mentions);
        for part in &self.source.lets {
            mention(*part, &mut mentions);
        }
        mention(self.source.result, &mut mentions);
        for index in 0..self.source.parts.len() {
            let Expr::Apply(parts) = &self.source.parts[index] else { continue };
            for part in parts {
                mention(*part, &mut mentions);
            }
            self.branches[index] = parts.iter().any(|part| self.branches[*part as usize])
                || matches!(self.form(parts), Form::Inline(inline, _) if inline.branches());
        }
        self.mentions = mentions;
    }

    fn law(&mut self) -> Result<(), Limit> {
        self.is_law = true;
        let count = self.source.arity + 1;
        for slot in 0..count {
            self.places.insert(slot, Place::Known { atom: Atom::Slot(slot), evaluated: slot == 0 });
        }
        for index in 0..self.source.lets.len() {
            self.places.insert(count + index, Place::Nowhere);
        }
        self.body(count, self.source.result)
    }

    fn piece(&mut self, part: Part) -> Result<(), Limit> {
        self.is_law = false;
        self.pieces.insert(part, self.code.len());
        self.places.clear();
        let slots = &self.source.slots[part as usize];
        for (index, slot) in slots.iter().enumerate() {
            let evaluated = *slot == 0;
            self.places.insert(*slot, Place::Known { atom: Atom::Slot(index + 1), evaluated });
        }
        self.body(slots.len() + 1, part)
    }

    fn body(&mut self, count: usize, part: Part) -> Result<(), Limit> {
        self.undo.clear();
        self.height = count;
        self.frame = count;
        let entry = self.start();
        let op = if self.is_law { Op::ENTRY } else { Op::PIECE };
        self.put(op, [Number(0), Number(0), Number(count - 1)])?;
        self.code.push(0);
        self.result(part, 0)?;
        // What is called writes its function and arguments beyond; so does something to be evaluated.
        let frame = self.frame + 4;
        if frame >= CONST {
            return Err(Limit::Law);
        }
        self.code[entry] |= word(0, frame, 0, 0);
        Ok(())
    }

    fn finish(mut self) -> Result<Emitted, Limit> {
        let count = self.constants.len();
        // Header, name, count, constants, code.
        let lead = 3 + count;
        if lead + self.code.len() >= CONST {
            return Err(Limit::Law);
        }
        for (at, part) in std::mem::take(&mut self.entries) {
            self.code[at] |= word(0, 0, lead + self.pieces[&part], 0);
        }
        for (at, shift) in std::mem::take(&mut self.backs) {
            self.code[at] |= ((lead + at) as u64) << shift;
        }
        for (at, shift, constant) in std::mem::take(&mut self.fixes) {
            let back = lead + at - (3 + constant);
            self.code[at] |= ((back | CONST) as u64) << shift;
        }
        facts::settle(&mut self.code, &self.starts)?;
        Ok(Emitted { code: self.code, constants: self.constants })
    }

    // Words.

    fn start(&mut self) -> usize {
        self.starts.push(self.code.len());
        self.code.len()
    }

    /// A word, of whatever is left of an instruction.
    fn put(&mut self, op: u8, fields: [Field; 3]) -> Result<usize, Limit> {
        let at = self.code.len();
        let mut out = [0; 3];
        for (index, field) in fields.into_iter().enumerate() {
            match field {
                Number(number) | Field::Atom(Atom::Slot(number)) => {
                    if number > FIELD_MAX {
                        return Err(Limit::Law);
                    }
                    out[index] = number;
                }
                Field::Atom(Atom::Constant(constant)) => {
                    self.fixes.push((at, 8 + FIELD * index as u32, constant));
                }
            }
        }
        self.code.push(word(op, out[0], out[1], out[2]));
        Ok(at)
    }

    /// An instruction's first word.
    fn op(&mut self, op: u8, fields: [Field; 3]) -> Result<usize, Limit> {
        self.start();
        self.put(op, fields)
    }

    fn list(&mut self, atoms: &[Atom]) -> Result<(), Limit> {
        debug_assert_eq!(list(atoms.len()), atoms.chunks(3).len());
        for chunk in atoms.chunks(3) {
            let field = |index: usize| chunk.get(index).map_or(Number(0), |atom| Field::Atom(*atom));
            self.put(0, [field(0), field(1), field(2)])?;
        }
        Ok(())
    }

    fn point(&mut self, dest: usize) -> Result<(), Limit> {
        self.op(Op::POINT, [Number(dest), Number(0), Number(0)])?;
        self.code.push(0);
        Ok(())
    }

    /// Sets a jump of the instruction at `from`, in the word `at`, to lead to the next word.
    fn land(&mut self, from: usize, at: usize, field: u32) -> Result<(), Limit> {
        let distance = self.code.len() - from;
        if distance > FIELD_MAX {
            return Err(Limit::Law);
        }
        self.code[at] |= (distance as u64) << (8 + FIELD * field);
        Ok(())
    }

    fn slot(&mut self) -> usize {
        self.height += 1;
        self.frame = self.frame.max(self.height);
        self.height - 1
    }

    /// Room for a call with so many arguments.
    fn reach(&mut self, count: usize) -> usize {
        self.frame = self.frame.max(self.height + count + 2);
        self.height
    }

    fn constant(&mut self, value: u64) -> Atom {
        let next = self.constants.len();
        let index = *self.known.entry(value).or_insert(next);
        if index == next {
            self.constants.push(value);
        }
        Atom::Constant(index)
    }

    // Places.

    fn set_place(&mut self, slot: usize, place: Place) {
        let old = self.places.insert(slot, place).unwrap_or(Place::Nowhere);
        self.undo.push((slot, old));
    }

    fn restore(&mut self, to: usize) {
        while self.undo.len() > to {
            let (slot, place) = self.undo.pop().expect("longer than that");
            self.places.insert(slot, place);
        }
    }

    fn let_part(&self, slot: usize) -> (usize, Part) {
        let index = slot - self.source.arity - 1;
        (index, self.source.lets[index])
    }

    /// Whether a let that is nowhere may be written where it is asked for: it does not need itself, and is not written twice.
    fn may_write_here(&self, slot: usize, depth: usize) -> bool {
        let (index, part) = self.let_part(slot);
        depth < DEPTH
            && self.groups.cycles[self.groups.of[index]].is_none()
            && (self.mentions[index] == 1 || !self.branches[part as usize])
    }

    fn form(&self, parts: &[Part]) -> Form {
        let count = parts.len() - 1;
        match *self.expr(parts[0]) {
            Expr::Constant(function) => match self.form_of(function, count) {
                Form::Inline(Inline::Switch, _) if count != 3 || !self.is_plain_switch(parts[3]) => {
                    let jet = (self.heap.field(function, 2) >> 1) as usize;
                    if count == 3 { Form::Jet(jet) } else { Form::Call }
                }
                form => form,
            },
            Expr::Slot(0) if self.is_law && count == self.source.arity => Form::This,
            _ => Form::Call,
        }
    }

    fn form_of(&self, function: u64, count: usize) -> Form {
        if is_imm(function) {
            if function == imm(3) && count == 1 {
                return Form::Inline(Inline::Op(Op::INC), 1);
            }
            if function == imm(2) && count >= 3 {
                return Form::Inline(Inline::Case, 3);
            }
        }
        let arity = self.heap.arity(function);
        if count < arity {
            return Form::Value;
        }
        if self.heap.kind_of(function) == Some(Kind::PIN) {
            let jet = (self.heap.field(function, 2) >> 1) as usize;
            if jet != 0 {
                return match self.jets.jet(jet).inline {
                    Inline::No if count == arity => Form::Jet(jet),
                    Inline::No => Form::Call,
                    inline => Form::Inline(inline, arity),
                };
            }
        }
        Form::Call
    }
}
