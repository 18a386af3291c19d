//! Applying what is not known to be a compiled law with just its arguments.

use super::{Machine, State, Stop};
use crate::eval::Crash;
use crate::eval::machine::frames::Frame;
use crate::eval::word::{Kind, MANY, ZERO, at, extra, imm, is_imm, is_lazy, kind, len};

/// Steps are looked at again after so many pins in pins.
const WORDS: usize = 16;

impl Machine {
    /// Applies what is at `fp` to the `count` arguments after it.
    pub(super) fn apply_frame(&mut self, count: usize) -> Result<(), Stop> {
        let fp = self.fp;
        let function = self.heap.resolve(self.stack[fp]);
        self.stack[fp] = function;
        if count == 0 {
            self.value = function;
            self.state = State::Eval;
            return Ok(());
        }
        if is_lazy(function) {
            self.ensure(fp + count + 2)?;
            self.stack[fp + count + 1] = Frame::apply(count);
            self.fp = fp + count + 2;
            self.value = function;
            self.state = State::Eval;
            return Ok(());
        }
        let arity = self.heap.arity(function);
        if count < arity || arity == MANY {
            if !self.heap.has_room(count + WORDS) {
                self.make_room(fp, count + 1, None)?;
            }
            let (function, args) = (self.stack[fp], self.stack[fp + 1..=fp + count].to_vec());
            self.value = self.heap.partial(function, &args);
            self.state = State::Return;
            return Ok(());
        }
        if count > arity {
            return self.split(arity, count);
        }
        self.apply_all(function, count)
    }

    /// Keeps what is more than the function takes for what comes of it.
    fn split(&mut self, arity: usize, count: usize) -> Result<(), Stop> {
        let fp = self.fp;
        let more = count - arity;
        self.ensure(fp + count + 3)?;
        let function = self.stack[fp];
        let args = self.stack[fp + 1..=fp + count].to_vec();
        self.stack[fp] = ZERO;
        self.stack[fp + 1..=fp + more].copy_from_slice(&args[arity..]);
        self.stack[fp + more + 1] = Frame::apply(more);
        let to = fp + more + 2;
        self.stack[to] = function;
        self.stack[to + 1..=to + arity].copy_from_slice(&args[..arity]);
        self.fp = to;
        self.state = State::Apply(arity);
        Ok(())
    }

    /// Applies an evaluated function to as many arguments as it takes.
    fn apply_all(&mut self, function: u64, count: usize) -> Result<(), Stop> {
        let fp = self.fp;
        if is_imm(function) {
            return self.operation(function, count);
        }
        let head = self.heap.head(function);
        match kind(head) {
            Kind::BIG => self.operation(function, count),
            Kind::APP => {
                let inner = len(head);
                self.ensure(fp + inner + count + 1)?;
                self.stack.copy_within(fp + 1..=fp + count, fp + inner);
                self.stack[fp..fp + inner].copy_from_slice(&self.heap.mem[at(function) + 1..=at(function) + inner]);
                self.state = State::Apply(count + inner - 1);
                Ok(())
            }
            Kind::PIN => self.apply_pin(function, count),
            Kind::LAW => {
                let entry = self.entry(function)?;
                self.state = State::Code(entry);
                Ok(())
            }
            // The constructor, of a row.
            Kind::ROW => {
                let count = len(head);
                self.value = if count == 0 { function } else { self.heap.cow(count) };
                self.state = State::Return;
                Ok(())
            }
            // Its body is slot 1, if there are no bytes; else the number that they are.
            Kind::BAR => {
                let limbs = self.heap.bar_limbs(function);
                self.value = if limbs == [1] { self.stack[fp + 1] } else { self.heap.nat_of(&limbs) };
                self.state = State::Eval;
                Ok(())
            }
            Kind::SET | Kind::TAB => {
                self.value = self.heap.keys_row(function);
                self.state = State::Return;
                Ok(())
            }
            other => unreachable!("no function: {other}"),
        }
    }

    fn apply_pin(&mut self, pin: u64, count: usize) -> Result<(), Stop> {
        let jet = self.jet_of(pin);
        if jet != 0 {
            return self.begin_jet(jet, count);
        }
        self.apply_law_of(pin, count)
    }

    /// The law that is pinned, with the pin for itself; or else what is pinned.
    pub(super) fn apply_law_of(&mut self, pin: u64, count: usize) -> Result<(), Stop> {
        let mut content = self.heap.field(pin, 0);
        while self.heap.kind_of(content) == Some(Kind::PIN) && self.jet_of(content) == 0 {
            content = self.heap.field(content, 0);
        }
        if self.heap.kind_of(content) == Some(Kind::LAW) && extra(self.heap.head(content)) == count {
            let entry = self.entry(content)?;
            if self.jet_of(pin) == 0 {
                self.heap.mem[at(pin) + 2] = imm(entry as u64);
            }
            self.state = State::Code(entry);
            return Ok(());
        }
        // The constructor of empty rows, which is one, gives itself: what was applied.
        if self.heap.kind_of(content) == Some(Kind::ROW) && len(self.heap.head(content)) == 0 {
            self.value = pin;
            self.state = State::Return;
            return Ok(());
        }
        self.stack[self.fp] = content;
        self.state = State::Apply(count);
        Ok(())
    }

    /// A number applied: one of the five operations, or a crash.
    fn operation(&mut self, opcode: u64, count: usize) -> Result<(), Stop> {
        let number = if is_imm(opcode) { (opcode >> 1) as usize } else { usize::MAX };
        self.begin_jet(super::jet::OPERATIONS + number.min(super::jet::CRASH), count)
    }

    /// What an operation gives, its arguments evaluated as far as it needs.
    pub(super) fn operate(&mut self, number: usize) -> Result<(), Stop> {
        let fp = self.fp;
        let arg = |machine: &Self, index: usize| machine.heap.resolve(machine.stack[fp + 1 + index]);
        self.state = State::Return;
        match number {
            0 => {
                let (name, arity) = (self.heap.cast(arg(self, 0)), self.heap.cast(arg(self, 1)));
                if arity == ZERO {
                    return Err(Crash { opcode: ZERO, argument: ZERO }.into());
                }
                let body = arg(self, 2);
                self.value = self.heap.law(name, arity, body);
            }
            1 => self.reflect()?,
            2 => {
                let number = self.heap.cast(arg(self, 2));
                if number == ZERO {
                    self.value = self.stack[fp + 1];
                    self.state = State::Eval;
                } else {
                    let (less, _) =
                        crate::eval::number::compute(&mut self.heap, crate::eval::code::Op::DEC, number, ZERO)
                            .map_err(|_| Crash::NUMBER)?;
                    self.within()?;
                    self.stack[fp] = self.stack[fp + 2];
                    self.stack[fp + 1] = less;
                    self.state = State::Apply(1);
                }
            }
            3 => {
                let number = arg(self, 0);
                let (more, _) = crate::eval::number::compute(&mut self.heap, crate::eval::code::Op::INC, number, ZERO)
                    .map_err(|_| Crash::NUMBER)?;
                self.within()?;
                self.value = more;
            }
            4 => {
                let content = arg(self, 0);
                let pin = self.heap.pin(content);
                self.attach_jet(pin).map_err(|_| Crash::HASH)?;
                self.value = pin;
            }
            _ => return Err(Crash { opcode: self.stack[fp], argument: arg(self, 0) }.into()),
        }
        Ok(())
    }

    /// What a value is made of: `p i`, `l name arity body`, `a f y` or `n x`.
    fn reflect(&mut self) -> Result<(), Stop> {
        let fp = self.fp;
        let value = self.heap.resolve(self.stack[fp + 5]);
        let (choice, parts) = if self.heap.is_nat(value) {
            (4, vec![value])
        } else if self.heap.kind_of(value) == Some(Kind::PIN) {
            (1, vec![self.heap.field(value, 0)])
        } else if let Some((name, arity, body)) = self.heap.law_parts(value) {
            (2, vec![name, arity, body])
        } else {
            let (function, argument) = self.heap.app_split(value).expect("an application");
            (3, vec![function, argument])
        };
        self.within()?;
        self.stack[fp] = self.stack[fp + choice];
        self.stack[fp + 1..=fp + parts.len()].copy_from_slice(&parts);
        self.state = State::Apply(parts.len());
        Ok(())
    }
}
