//! Parts whose value is asked for: here, or as the result.

use super::{Atom, Emitter, Form, Number, Place};
use crate::eval::Limit;
use crate::eval::code::Op;
use crate::eval::compile::expr::{Expr, Part};
use crate::eval::jets::{Inline, Need};
use crate::eval::word::{ONE, ZERO};

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
        let jet = self.jets.jet(jet);
        let mut atoms = vec![self.later(parts[0], depth)?; parts.len()];
        let count = jet.needs.len();
        for turn in 0..count {
            let index = if jet.backwards { count - 1 - turn } else { turn };
            if matches!(jet.needs[index], Need::Head | Need::Elements | Need::Deep) {
                atoms[index + 1] = self.now(parts[index + 1], depth + 1)?;
            }
        }
        // What is evaluated has not changed: nothing that is made from here on is asked for before.
        for index in 0..count {
            if matches!(jet.needs[index], Need::Nothing | Need::Unless0(_) | Need::IfRow(_)) {
                atoms[index + 1] = self.later(parts[index + 1], depth + 1)?;
            }
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
            Inline::Op(op) | Inline::Back(op) if Op::is_order(op) => {
                let (x, y) = self.both_now(inline, parts, depth)?;
                let function = self.later(parts[0], depth)?;
                self.order(op, function, x, y)
            }
            Inline::Op(op) if parts.len() == 2 => {
                let x = self.now(parts[1], depth + 1)?;
                let dest = self.slot();
                self.op(op, [Number(dest), x.into(), Number(0)])?;
                Ok(Atom::Slot(dest))
            }
            Inline::Op(op) | Inline::Back(op) => {
                let (x, y) = self.both_now(inline, parts, depth)?;
                let dest = self.slot();
                self.op(op, [Number(dest), x.into(), y.into()])?;
                Ok(Atom::Slot(dest))
            }
            Inline::Guard(op, guard) => {
                let test = self.now(parts[1 + guard], depth + 1)?;
                let zero = if op == Op::POW { ONE } else { ZERO };
                self.guarded(op, [test, test], guard == 0, parts[2 - guard], zero, depth)
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

    /// Two arguments, in the order in which they are evaluated.
    pub(super) fn both_now(&mut self, inline: Inline, parts: &[Part], depth: usize) -> Result<(Atom, Atom), Limit> {
        if let Inline::Back(_) = inline {
            let y = self.now(parts[2], depth + 1)?;
            return Ok((self.now(parts[1], depth + 1)?, y));
        }
        let x = self.now(parts[1], depth + 1)?;
        Ok((x, self.now(parts[2], depth + 1)?))
    }

    /// An element of a row, perhaps to be evaluated. Which one is asked only if there are any.
    fn element(&mut self, parts: &[Part], depth: usize) -> Result<Atom, Limit> {
        let (index, row) = match self.form(parts) {
            Form::Inline(Inline::Get, _) => (parts[2], parts[1]),
            _ => (parts[1], parts[2]),
        };
        let row = self.now(row, depth + 1)?;
        if self.is_there(index) {
            return self.guarded(Op::IDX, [row, row], false, index, ZERO, depth);
        }
        let full = self.slot();
        self.op(Op::IS_FULL, [Number(full), row.into(), Number(0)])?;
        self.guarded(Op::IDX, [Atom::Slot(full), row], false, index, ZERO, depth)
    }

    /// Whether a part is evaluated already.
    fn is_there(&self, part: Part) -> bool {
        match self.expr(part) {
            Expr::Constant(_) => true,
            Expr::Slot(slot) => matches!(self.places[slot], Place::Known { evaluated: true, .. }),
            Expr::Apply(_) => false,
        }
    }

    /// An operation whose other argument is evaluated only if a test is not zero; else a constant.
    fn guarded(
        &mut self,
        op: u8,
        [test, known]: [Atom; 2],
        known_first: bool,
        other: Part,
        zero: u64,
        depth: usize,
    ) -> Result<Atom, Limit> {
        let fields = |known: Atom, other: Atom| if known_first { (known, other) } else { (other, known) };
        if self.is_there(other) {
            let other = self.now(other, depth + 1)?;
            let dest = self.slot();
            let (x, y) = fields(known, other);
            self.op(op, [Number(dest), x.into(), y.into()])?;
            return Ok(Atom::Slot(dest));
        }
        self.bring_shared(&[other])?;
        let dest = self.slot();
        let jump = self.op(Op::JUMP_ZERO, [Number(0), test.into(), Number(0)])?;
        let undo = self.undo.len();
        let other = self.now(other, depth + 1)?;
        let (x, y) = fields(known, other);
        self.op(op, [Number(dest), x.into(), y.into()])?;
        let end = self.op(Op::JUMP, [Number(0); 3])?;
        self.restore(undo);
        self.land(jump, jump, 0)?;
        let zero = self.constant(zero);
        self.op(Op::MOVE, [Number(dest), zero.into(), Number(0)])?;
        self.land(end, end, 0)?;
        Ok(Atom::Slot(dest))
    }
}
