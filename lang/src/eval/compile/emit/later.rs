//! Parts whose value is not asked for yet: arguments, elements, lets.

use super::{Atom, Emitter, Field, Form, Number, Place};
use crate::eval::Limit;
use crate::eval::code::Op;
use crate::eval::compile::expr::{Expr, Part};
use crate::eval::compile::lets::mentioned;
use crate::eval::jets::Inline;
use crate::eval::word::{Kind, ONE};

/// How deep arithmetic is tried at once.
const TRIED: usize = 3;

/// Arithmetic whose operands are at hand.
enum Trial {
    Atom(Atom),
    Op(u8, Vec<Trial>),
}

impl Emitter<'_> {
    /// Something that has the value of a part, or will have when it is evaluated.
    pub(super) fn later(&mut self, part: Part, depth: usize) -> Result<Atom, Limit> {
        match self.expr(part) {
            Expr::Constant(value) => {
                let value = *value;
                Ok(self.constant(value))
            }
            Expr::Slot(slot) => {
                let slot = *slot;
                self.slot_later(slot)
            }
            Expr::Apply(parts) => {
                let parts = parts.clone();
                self.apply_later(part, &parts, depth)
            }
        }
    }

    pub(super) fn slot_later(&mut self, slot: usize) -> Result<Atom, Limit> {
        if let Place::Known { atom, .. } = self.places[&slot] {
            return Ok(atom);
        }
        self.bring(&[slot])?;
        match self.places[&slot] {
            Place::Known { atom, .. } => Ok(atom),
            Place::Nowhere => unreachable!("it was made just now"),
        }
    }

    fn apply_later(&mut self, part: Part, parts: &[Part], depth: usize) -> Result<Atom, Limit> {
        let form = self.form(parts);
        if form == Form::Value && depth < super::DEPTH {
            return self.value(parts, depth);
        }
        // All that it will need must be somewhere.
        let slots = self.source.slots[part as usize].clone();
        self.bring(&slots)?;
        let leaves = parts.iter().all(|part| !matches!(self.expr(*part), Expr::Apply(_)));
        if matches!(form, Form::Call | Form::This | Form::Jet(_)) && leaves {
            let atoms = self.all_later(parts, depth)?;
            let dest = self.slot();
            self.op(Op::APTHUNK, [Number(dest), Number(atoms.len()), Number(0)])?;
            self.list(&atoms)?;
            return Ok(Atom::Slot(dest));
        }
        if let Some(trial) = self.trial(part, TRIED)? {
            return self.tried(part, trial);
        }
        let dest = self.slot();
        self.thunk(part, dest)?;
        Ok(Atom::Slot(dest))
    }

    pub(super) fn all_later(&mut self, parts: &[Part], depth: usize) -> Result<Vec<Atom>, Limit> {
        parts.iter().map(|part| self.later(*part, depth + 1)).collect()
    }

    /// An application that waits for more arguments, or a row.
    pub(super) fn value(&mut self, parts: &[Part], depth: usize) -> Result<Atom, Limit> {
        let Expr::Constant(function) = *self.expr(parts[0]) else { unreachable!("its function is known") };
        let count = parts.len() - 1;
        let row = self.heap.is_cow(function) && self.heap.arity(function) == count + 1;
        let mut atoms = self.all_later(parts, depth)?;
        if row {
            atoms.remove(0);
            atoms.reverse();
            let dest = self.slot();
            self.op(Op::ROW, [Number(dest), Number(count), Number(0)])?;
            self.list(&atoms)?;
            return Ok(Atom::Slot(dest));
        }
        let kind = self.heap.kind_of(function);
        let left = self.heap.arity(function) - count;
        // A set may become a table, and what has arguments already gets more.
        let plain = kind != Some(Kind::SET) && kind != Some(Kind::APP) && left <= crate::eval::code::FIELD_MAX;
        let dest = self.slot();
        self.op(
            if plain { Op::APP } else { Op::PARTIAL },
            [Number(dest), Number(atoms.len()), Number(if plain { left } else { 0 })],
        )?;
        self.list(&atoms)?;
        Ok(Atom::Slot(dest))
    }

    /// A piece of code of its own, with all that it mentions, which is somewhere.
    fn thunk(&mut self, part: Part, dest: usize) -> Result<(), Limit> {
        let slots = self.source.slots[part as usize].clone();
        let atoms: Vec<Atom> = slots.iter().map(|slot| self.slot_later(*slot)).collect::<Result<_, _>>()?;
        let at = self.op(Op::THUNK, [Number(dest), Number(0), Number(atoms.len())])?;
        self.entries.push((at, part));
        let back = self.put(0, [Number(0); 3])?;
        self.backs.push((back, 8));
        self.list(&atoms)?;
        if let std::collections::hash_map::Entry::Vacant(vacant) = self.pieces.entry(part) {
            vacant.insert(0);
            self.waiting.push(part);
        }
        Ok(())
    }

    /// The arithmetic that a part is, if it may be tried at once.
    fn trial(&mut self, part: Part, depth: usize) -> Result<Option<Trial>, Limit> {
        let Expr::Apply(parts) = self.expr(part) else { return Ok(Some(Trial::Atom(self.later(part, 0)?))) };
        let parts = parts.clone();
        let Form::Inline(inline, count) = self.form(&parts) else { return Ok(None) };
        let op = match inline {
            Inline::Idx | Inline::Get => Op::IDX,
            inline => match inline.op() {
                Some(op) => op,
                None => return Ok(None),
            },
        };
        if depth == 0 || !Op::is_cheap(op) || parts.len() != count + 1 {
            return Ok(None);
        }
        let mut args = parts[1..].to_vec();
        if inline == Inline::Get {
            args.reverse();
        }
        let mut operands = Vec::new();
        for part in &args {
            match self.trial(*part, depth - 1)? {
                Some(operand) => operands.push(operand),
                None => return Ok(None),
            }
        }
        Ok(Some(Trial::Op(op, operands)))
    }

    fn tried(&mut self, part: Part, trial: Trial) -> Result<Atom, Limit> {
        let mut failed = Vec::new();
        let dest = self.slot();
        self.try_one(&trial, Some(dest), &mut failed)?;
        let (last, done) = *failed.last().expect("it is an operation");
        for (from, at) in &failed {
            self.land(*from, *at, 1)?;
        }
        self.thunk(part, dest)?;
        self.land(last, done, 0)?;
        Ok(Atom::Slot(dest))
    }

    /// Tries one operation after its operands. All but the last one go on with the next word.
    fn try_one(&mut self, trial: &Trial, dest: Option<usize>, failed: &mut Vec<(usize, usize)>) -> Result<Atom, Limit> {
        match trial {
            Trial::Atom(atom) => Ok(*atom),
            Trial::Op(op, operands) => {
                let atoms: Vec<Atom> =
                    operands.iter().map(|operand| self.try_one(operand, None, failed)).collect::<Result<_, _>>()?;
                let to = dest.unwrap_or_else(|| self.slot());
                let second = atoms.get(1).copied().map_or(Number(0), Field::Atom);
                let from = self.op(Op::TRY + op, [Number(to), atoms[0].into(), second])?;
                let done = if dest.is_some() { 0 } else { 2 };
                let at = self.put(0, [Number(done), Number(0), Number(0)])?;
                failed.push((from, at));
                Ok(Atom::Slot(to))
            }
        }
    }

    /// Makes lets that are nowhere, and those they need, in an order in which each finds what it needs.
    pub(super) fn bring(&mut self, slots: &[usize]) -> Result<(), Limit> {
        let first = self.source.arity + 1;
        let nowhere = |emitter: &Self, slot: usize| matches!(emitter.places.get(&slot), Some(Place::Nowhere));
        let mut open: Vec<usize> = slots.iter().copied().filter(|slot| nowhere(self, *slot)).collect();
        if open.is_empty() {
            return Ok(());
        }
        let mut needed = std::collections::BTreeSet::new();
        while let Some(slot) = open.pop() {
            let index = slot - first;
            if needed.insert((self.groups.of[index], index)) {
                open.extend(
                    mentioned(self.source, index).map(|index| index + first).filter(|slot| nowhere(self, *slot)),
                );
            }
        }
        let mut done = None;
        for (group, index) in needed {
            match self.groups.cycles[group].clone() {
                None => {
                    let atom = self.later(self.source.lets[index], 0)?;
                    self.set_place(index + first, Place::Known { atom, evaluated: false });
                }
                Some(members) if done != Some(group) => {
                    done = Some(group);
                    self.cycle(&members)?;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Lets that need one another: each is a piece, and gets what was not there yet afterwards.
    fn cycle(&mut self, members: &[usize]) -> Result<(), Limit> {
        let first = self.source.arity + 1;
        for index in members {
            // Until it is made, a number stands for it.
            let atom = self.constant(ONE);
            self.set_place(index + first, Place::Known { atom, evaluated: false });
        }
        let mut made: Vec<usize> = Vec::new();
        let mut patches = Vec::new();
        for index in members {
            let part = self.source.lets[*index];
            let slots = self.source.slots[part as usize].clone();
            for (at, slot) in slots.iter().enumerate() {
                if *slot >= first && members.contains(&(slot - first)) && !made.contains(slot) {
                    patches.push((*index + first, at, *slot));
                }
            }
            let dest = self.slot();
            self.thunk(part, dest)?;
            self.set_place(index + first, Place::Known { atom: Atom::Slot(dest), evaluated: false });
            made.push(index + first);
        }
        for (of, at, slot) in patches {
            let (of, from) = (self.slot_later(of)?, self.slot_later(slot)?);
            self.op(Op::PATCH, [of.into(), Number(at), from.into()])?;
        }
        Ok(())
    }
}
