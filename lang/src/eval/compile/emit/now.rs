//! Parts whose value is asked for: here, or as the result.

use super::{Atom, Emitter, Field, Form, Number, Place};
use crate::eval::Limit;
use crate::eval::code::Op;
use crate::eval::compile::expr::{Expr, Part};
use crate::eval::jets::{Inline, Need};

impl Emitter<'_> {
    /// Makes the value of a part the result.
    pub(super) fn result(&mut self, part: Part, depth: usize) -> Result<(), Limit> {
        match self.expr(part) {
            Expr::Constant(value) => {
                let value = *value;
                let atom = self.constant(value);
                self.return_it(atom)
            }
            Expr::Slot(slot) => {
                let slot = *slot;
                match self.places[&slot] {
                    Place::Known { atom, evaluated: true } => self.return_it(atom),
                    Place::Nowhere if self.may_write_here(slot, depth) => {
                        let (_, part) = self.let_part(slot);
                        self.result(part, depth + 1)
                    }
                    _ => {
                        let atom = self.slot_later(slot)?;
                        self.return_eval(atom)
                    }
                }
            }
            Expr::Apply(parts) => {
                let parts = parts.clone();
                self.result_apply(part, &parts, depth)
            }
        }
    }

    pub(super) fn return_it(&mut self, atom: Atom) -> Result<(), Limit> {
        self.op(Op::RETURN, [Number(0), atom.into(), Number(0)]).map(drop)
    }

    pub(super) fn return_eval(&mut self, atom: Atom) -> Result<(), Limit> {
        self.op(Op::RETURN_EVAL, [Number(0), atom.into(), Number(0)]).map(drop)
    }

    fn result_apply(&mut self, part: Part, parts: &[Part], depth: usize) -> Result<(), Limit> {
        if depth >= super::DEPTH {
            let atom = self.later(part, depth)?;
            return self.return_eval(atom);
        }
        match self.form(parts) {
            Form::Value => {
                let atom = self.value(parts, depth)?;
                self.return_it(atom)
            }
            Form::This => {
                let atoms = self.all_later(&parts[1..], depth)?;
                let height = self.reach(atoms.len());
                let at = self.op(Op::SELF_TAIL_CALL, [Number(height), Number(atoms.len()), Number(0)])?;
                self.backs.push((at, 8 + 2 * crate::eval::code::FIELD));
                self.list(&atoms)
            }
            Form::Jet(jet) => {
                let atoms = self.jet_args(jet, parts, depth)?;
                self.tail_call(&atoms)
            }
            Form::Call => {
                let atoms = self.all_later(parts, depth)?;
                self.tail_call(&atoms)
            }
            Form::Inline(inline, arity) if parts.len() > arity + 1 => {
                // What the operation gives is applied to the rest.
                let function = self.inline(inline, &parts[..=arity], depth)?;
                let mut atoms = vec![function];
                atoms.extend(self.all_later(&parts[arity + 1..], depth)?);
                self.tail_call(&atoms)
            }
            Form::Inline(inline, _) if inline.branches() || inline == Inline::Seq => {
                self.control_result(inline, parts, depth)
            }
            Form::Inline(Inline::Idx | Inline::Get, _) => {
                let dest = self.element(parts, depth)?;
                self.return_eval(dest)
            }
            Form::Inline(inline, _) => {
                let atom = self.inline(inline, parts, depth)?;
                self.return_it(atom)
            }
        }
    }

    pub(super) fn tail_call(&mut self, atoms: &[Atom]) -> Result<(), Limit> {
        let height = self.reach(atoms.len());
        self.op(Op::TAIL_CALL, [Number(height), Number(atoms.len() - 1), Number(0)])?;
        self.list(atoms)
    }

    /// The arguments of a jet: those that it needs are evaluated first.
    fn jet_args(&mut self, jet: usize, parts: &[Part], depth: usize) -> Result<Vec<Atom>, Limit> {
        let mut atoms = vec![self.later(parts[0], depth)?];
        let needs = self.jets.jet(jet).needs;
        for (part, need) in parts[1..].iter().zip(needs) {
            atoms.push(if *need == Need::Nothing {
                self.later(*part, depth + 1)?
            } else {
                self.now(*part, depth + 1)?
            });
        }
        Ok(atoms)
    }

    /// The value of a part, evaluated.
    pub(super) fn now(&mut self, part: Part, depth: usize) -> Result<Atom, Limit> {
        match self.expr(part) {
            Expr::Constant(value) => {
                let value = *value;
                Ok(self.constant(value))
            }
            Expr::Slot(slot) => {
                let slot = *slot;
                match self.places[&slot] {
                    Place::Known { atom, evaluated: true } => Ok(atom),
                    Place::Nowhere if self.may_write_here(slot, depth) => {
                        let (_, part) = self.let_part(slot);
                        let atom = self.now(part, depth + 1)?;
                        self.set_place(slot, Place::Known { atom, evaluated: true });
                        Ok(atom)
                    }
                    _ => {
                        let atom = self.slot_later(slot)?;
                        let atom = self.eval(atom)?;
                        self.set_place(slot, Place::Known { atom, evaluated: true });
                        Ok(atom)
                    }
                }
            }
            Expr::Apply(parts) => {
                let parts = parts.clone();
                self.apply_now(part, &parts, depth)
            }
        }
    }

    /// Evaluates what is in a slot, there.
    pub(super) fn eval(&mut self, atom: Atom) -> Result<Atom, Limit> {
        let Atom::Slot(slot) = atom else { return Ok(atom) };
        let height = self.reach(2);
        self.op(Op::EVAL, [Number(slot), atom.into(), Number(height)])?;
        self.point(slot)?;
        Ok(atom)
    }

    fn apply_now(&mut self, part: Part, parts: &[Part], depth: usize) -> Result<Atom, Limit> {
        if depth >= super::DEPTH {
            let atom = self.later(part, depth)?;
            return self.eval(atom);
        }
        match self.form(parts) {
            Form::Value => self.value(parts, depth),
            Form::This => {
                let atoms = self.all_later(&parts[1..], depth)?;
                let dest = self.slot();
                let height = self.reach(atoms.len());
                let at = self.op(Op::SELF_CALL, [Number(height), Number(atoms.len()), Number(0)])?;
                self.backs.push((at, 8 + 2 * crate::eval::code::FIELD));
                self.list(&atoms)?;
                self.point(dest)?;
                Ok(Atom::Slot(dest))
            }
            Form::Jet(jet) => {
                let atoms = self.jet_args(jet, parts, depth)?;
                self.call(&atoms)
            }
            Form::Call => {
                let atoms = self.all_later(parts, depth)?;
                self.call(&atoms)
            }
            Form::Inline(inline, arity) if parts.len() > arity + 1 => {
                let function = self.inline(inline, &parts[..=arity], depth)?;
                let mut atoms = vec![function];
                atoms.extend(self.all_later(&parts[arity + 1..], depth)?);
                self.call(&atoms)
            }
            Form::Inline(inline, _) => self.inline(inline, parts, depth),
        }
    }

    pub(super) fn call(&mut self, atoms: &[Atom]) -> Result<Atom, Limit> {
        let dest = self.slot();
        let height = self.reach(atoms.len());
        self.op(Op::CALL, [Number(height), Number(atoms.len() - 1), Number(0)])?;
        self.list(atoms)?;
        self.point(dest)?;
        Ok(Atom::Slot(dest))
    }

    /// An operation with just its arguments, here.
    fn inline(&mut self, inline: Inline, parts: &[Part], depth: usize) -> Result<Atom, Limit> {
        match inline {
            Inline::Op(op) if Op::is_order(op) => {
                let (x, y) = (self.now(parts[1], depth + 1)?, self.now(parts[2], depth + 1)?);
                let function = self.later(parts[0], depth)?;
                self.order(op, function, x, y)
            }
            Inline::Op(op) => {
                let x = self.now(parts[1], depth + 1)?;
                let y = match parts.get(2) {
                    Some(part) => Field::Atom(self.now(*part, depth + 1)?),
                    None => Number(0),
                };
                let dest = self.slot();
                self.op(op, [Number(dest), x.into(), y])?;
                Ok(Atom::Slot(dest))
            }
            Inline::Idx | Inline::Get => {
                let dest = self.element(parts, depth)?;
                self.eval(dest)
            }
            _ => self.control_now(inline, parts, depth),
        }
    }

    /// An order of two evaluated values.
    pub(super) fn order(&mut self, op: u8, function: Atom, x: Atom, y: Atom) -> Result<Atom, Limit> {
        let dest = self.slot();
        let height = self.reach(2);
        self.op(op, [Number(dest), x.into(), y.into()])?;
        self.put(0, [Number(height), Number(0), Number(0)])?;
        self.list(&[function, x, y])?;
        self.point(dest)?;
        Ok(Atom::Slot(dest))
    }

    /// An element of a row, perhaps to be evaluated.
    fn element(&mut self, parts: &[Part], depth: usize) -> Result<Atom, Limit> {
        let (x, y) = (self.now(parts[1], depth + 1)?, self.now(parts[2], depth + 1)?);
        let function = self.later(parts[0], depth)?;
        let op = match self.form(parts) {
            Form::Inline(Inline::Get, _) => Op::GET,
            _ => Op::IDX,
        };
        self.order(op, function, x, y)
    }
}
