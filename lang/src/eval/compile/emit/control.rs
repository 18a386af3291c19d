//! Parts that branch: only what is chosen is evaluated.

use super::{Atom, Emitter, Form, Number, Place};
use crate::eval::Limit;
use crate::eval::code::Op;
use crate::eval::compile::expr::{Expr, Part};
use crate::eval::jets::Inline;
use crate::eval::word::{Kind, ONE, ZERO};

/// Jumps to be set: instruction, word, field.
type Jumps = Vec<(usize, usize, u32)>;

/// What a branch gives.
#[derive(Clone)]
enum Arm {
    Part(Part),
    /// One if the part is a number other than zero, else zero.
    Truth(Part),
    Constant(u64),
    /// A function applied to the number before a number that is there.
    Before(Part, Atom),
}

impl Emitter<'_> {
    /// Makes what is chosen the result.
    pub(super) fn control_result(&mut self, inline: Inline, parts: &[Part], depth: usize) -> Result<(), Limit> {
        if inline == Inline::Seq {
            self.now(parts[1], depth + 1)?;
            return self.result(parts[2], depth + 1);
        }
        let (jumps, arms) = self.choose(inline, parts, depth)?;
        let (undo, height) = (self.undo.len(), self.height);
        for (jumps, arm) in jumps.into_iter().zip(arms) {
            self.land_all(&jumps)?;
            self.arm_result(&arm, depth)?;
            self.restore(undo);
            self.height = height;
        }
        Ok(())
    }

    fn arm_result(&mut self, arm: &Arm, depth: usize) -> Result<(), Limit> {
        match arm {
            Arm::Part(part) => self.result(*part, depth + 1),
            Arm::Before(part, number) => {
                let atoms = self.before(*part, *number, depth)?;
                self.tail_call(&atoms)
            }
            arm => {
                let atom = self.arm_now(arm, depth)?;
                self.return_it(atom)
            }
        }
    }

    /// The value that is chosen, here.
    pub(super) fn control_now(&mut self, inline: Inline, parts: &[Part], depth: usize) -> Result<Atom, Limit> {
        if inline == Inline::Seq {
            self.now(parts[1], depth + 1)?;
            return self.now(parts[2], depth + 1);
        }
        self.bring_shared(&parts[1..])?;
        let dest = self.slot();
        let (jumps, arms) = self.choose(inline, parts, depth)?;
        let (undo, height) = (self.undo.len(), self.height);
        let mut ends = Jumps::new();
        let last = arms.len() - 1;
        let mut most = height;
        for (index, (jumps, arm)) in jumps.into_iter().zip(arms).enumerate() {
            self.land_all(&jumps)?;
            let atom = self.arm_now(&arm, depth)?;
            self.op(Op::MOVE, [Number(dest), atom.into(), Number(0)])?;
            if index != last {
                let at = self.op(Op::JUMP, [Number(0); 3])?;
                ends.push((at, at, 0));
            }
            self.restore(undo);
            most = most.max(self.height);
            self.height = height;
        }
        self.height = most;
        self.land_all(&ends)?;
        Ok(Atom::Slot(dest))
    }

    /// Makes lets that a branch is not alone in making use of, before, and once.
    pub(super) fn bring_shared(&mut self, parts: &[Part]) -> Result<(), Limit> {
        let mut shared: Vec<usize> = Vec::new();
        for part in parts {
            for slot in &self.source.slots[*part as usize] {
                if matches!(self.places[slot], Place::Nowhere) && self.is_shared(*slot) {
                    shared.push(*slot);
                }
            }
        }
        self.bring(&shared)
    }

    /// Whether a let is mentioned more than once, or by one that is.
    fn is_shared(&self, slot: usize) -> bool {
        let (index, _) = self.let_part(slot);
        self.mentions[index] > 1 || crate::eval::compile::lets::mentioned(self.source, index).next().is_some()
    }

    fn arm_now(&mut self, arm: &Arm, depth: usize) -> Result<Atom, Limit> {
        match arm {
            Arm::Part(part) => self.now(*part, depth + 1),
            Arm::Constant(value) => Ok(self.constant(*value)),
            Arm::Truth(part) => {
                let atom = self.now(*part, depth + 1)?;
                let dest = self.slot();
                self.op(Op::TRUTH, [Number(dest), atom.into(), Number(0)])?;
                Ok(Atom::Slot(dest))
            }
            Arm::Before(part, number) => {
                let atoms = self.before(*part, *number, depth)?;
                self.call(&atoms)
            }
        }
    }

    fn before(&mut self, part: Part, number: Atom, depth: usize) -> Result<Vec<Atom>, Limit> {
        let dest = self.slot();
        self.op(Op::DEC, [Number(dest), number.into(), Number(0)])?;
        // A function that waits for one more argument is called with all.
        let mut atoms = match self.expr(part) {
            Expr::Apply(parts) => {
                let parts = parts.clone();
                match self.form(&parts) {
                    Form::Value => self.all_later(&parts, depth)?,
                    _ => vec![self.later(part, depth + 1)?],
                }
            }
            _ => vec![self.later(part, depth + 1)?],
        };
        atoms.push(Atom::Slot(dest));
        Ok(atoms)
    }

    /// Evaluates what decides, and gives the branches, each with the jumps that lead to it.
    fn choose(&mut self, inline: Inline, parts: &[Part], depth: usize) -> Result<(Vec<Jumps>, Vec<Arm>), Limit> {
        let part = |index: usize| Arm::Part(parts[index]);
        Ok(match inline {
            Inline::If => (self.test(parts[1], depth)?, vec![part(2), part(3)]),
            Inline::And => (self.test(parts[1], depth)?, vec![Arm::Truth(parts[2]), Arm::Constant(ZERO)]),
            Inline::Or => (self.test(parts[1], depth)?, vec![Arm::Constant(ONE), Arm::Truth(parts[2])]),
            Inline::Case | Inline::Ifz => {
                let [zero, more, number] = if inline == Inline::Case { [1, 2, 3] } else { [2, 3, 1] };
                let number = self.now(parts[number], depth + 1)?;
                let at = self.op(Op::JUMP_ZERO, [Number(0), number.into(), Number(0)])?;
                (vec![vec![], vec![(at, at, 0)]], vec![Arm::Before(parts[more], number), part(zero)])
            }
            Inline::Switch => return self.switch(parts, depth),
            _ => unreachable!("it does not branch"),
        })
    }

    /// Jumps to the branch for a number other than zero, and to the other one; the first is fallen into as well.
    fn test(&mut self, part: Part, depth: usize) -> Result<Vec<Jumps>, Limit> {
        if let Expr::Apply(parts) = self.expr(part)
            && depth < super::DEPTH
        {
            let parts = parts.clone();
            match self.form(&parts) {
                Form::Inline(inline @ (Inline::Op(op) | Inline::Back(op)), 2)
                    if parts.len() == 3 && Op::is_question(op) =>
                {
                    let (x, y) = self.both_now(inline, &parts, depth)?;
                    let function = self.later(parts[0], depth)?;
                    let from = self.op(Op::BRANCH + op, [Number(0), x.into(), y.into()])?;
                    let at = self.put(0, [Number(0); 3])?;
                    let value = self.order(op, function, x, y)?;
                    let zero = self.op(Op::JUMP_ZERO, [Number(0), value.into(), Number(0)])?;
                    return Ok(vec![vec![(from, at, 0)], vec![(from, at, 1), (zero, zero, 0)]]);
                }
                _ => {}
            }
        }
        let value = self.now(part, depth + 1)?;
        let at = self.op(Op::JUMP_ZERO, [Number(0), value.into(), Number(0)])?;
        Ok(vec![vec![], vec![(at, at, 0)]])
    }

    /// By number, if the branches stand there one by one.
    fn switch(&mut self, parts: &[Part], depth: usize) -> Result<(Vec<Jumps>, Vec<Arm>), Limit> {
        let arms = self.switch_arms(parts[3]).expect("asked before");
        let number = self.now(parts[1], depth + 1)?;
        let from = self.op(Op::SWITCH, [Number(0), number.into(), Number(arms.len())])?;
        let mut jumps = vec![vec![(from, from, 0)]];
        for _ in &arms {
            let at = self.put(0, [Number(0); 3])?;
            jumps.push(vec![(from, at, 0)]);
        }
        let mut all = vec![Arm::Part(parts[2])];
        all.extend(arms);
        Ok((jumps, all))
    }

    fn switch_arms(&self, part: Part) -> Option<Vec<Arm>> {
        match self.expr(part) {
            Expr::Constant(row) if self.heap.kind_of(*row) == Some(Kind::ROW) => {
                Some(self.heap.fields(*row).iter().map(|value| Arm::Constant(self.heap.resolve(*value))).collect())
            }
            Expr::Apply(parts) => match self.expr(parts[0]) {
                Expr::Constant(cow) if self.heap.is_cow(*cow) && self.heap.arity(*cow) == parts.len() => {
                    Some(parts[1..].iter().rev().map(|part| Arm::Part(*part)).collect())
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether a switch's branches stand there one by one.
    pub(super) fn is_plain_switch(&self, part: Part) -> bool {
        self.switch_arms(part).is_some()
    }

    fn land_all(&mut self, jumps: &Jumps) -> Result<(), Limit> {
        jumps.iter().try_for_each(|(from, at, field)| self.land(*from, *at, *field))
    }
}
