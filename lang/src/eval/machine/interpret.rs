//! Instructions, one after another, until something is to be done that they cannot do.

use super::{Frame, Machine, State, Stop};
use crate::eval::Crash;
use crate::eval::code::{CONST, Op, POINT, a, b, c, list, op};
use crate::eval::compile::TRACKED;
use crate::eval::number::{compute, small, verdict};
use crate::eval::word::{IMM_MAX, Kind, ONE, ZERO, at, extra, header, imm, is_imm, is_lazy, kind, lazy, len, object};

/// What an instruction that calls has put in place.
enum Next {
    /// The next instruction is here.
    Go(usize),
    /// Something else is to be done first.
    Leave,
}

/// Parts compared that count as one step.
const PARTS_PER_STEP: u64 = 8;

impl Machine {
    #[inline(always)]
    fn operand(&self, fp: usize, pc: usize, operand: usize) -> u64 {
        if operand & CONST == 0 { self.stack[fp + operand] } else { self.heap.mem[pc - (operand & (CONST - 1))] }
    }

    /// Writes a list of operands to the stack.
    #[inline(always)]
    fn list_to_stack(&mut self, fp: usize, mut pc: usize, count: usize, to: usize) {
        let mut index = 0;
        while index < count {
            let packed = self.heap.mem[pc];
            self.stack[to + index] = self.operand(fp, pc, a(packed));
            if index + 1 < count {
                self.stack[to + index + 1] = self.operand(fp, pc, b(packed));
                if index + 2 < count {
                    self.stack[to + index + 2] = self.operand(fp, pc, c(packed));
                }
            }
            index += 3;
            pc += 1;
        }
    }

    /// Writes a list of operands to the heap.
    #[inline(always)]
    fn list_to_heap(&mut self, fp: usize, mut pc: usize, count: usize, to: usize) {
        let mut index = 0;
        while index < count {
            let packed = self.heap.mem[pc];
            self.heap.mem[to + index] = self.operand(fp, pc, a(packed));
            if index + 1 < count {
                self.heap.mem[to + index + 1] = self.operand(fp, pc, b(packed));
                if index + 2 < count {
                    self.heap.mem[to + index + 2] = self.operand(fp, pc, c(packed));
                }
            }
            index += 3;
            pc += 1;
        }
    }

    /// Calls what is at `fp` with so many arguments.
    #[inline(always)]
    fn call_at(&mut self, fp: usize, count: usize) -> Next {
        self.fp = fp;
        let function = self.stack[fp];
        if function & 3 == 0 {
            let index = at(function);
            let head = self.heap.mem[index];
            if extra(head) == count {
                let entry = match kind(head) {
                    Kind::LAW => self.heap.mem[index + 5],
                    Kind::PIN => self.heap.mem[index + 2],
                    _ => ZERO,
                };
                if entry != ZERO {
                    return Next::Go((entry >> 1) as usize);
                }
            }
        }
        self.state = State::Apply(count);
        Next::Leave
    }

    /// Evaluates something lazy in the empty frame at `fp`.
    #[inline(always)]
    fn eval_at(&mut self, fp: usize, value: u64) -> Next {
        self.fp = fp;
        let thunk = at(value);
        let head = self.heap.mem[thunk];
        let count = len(head);
        if count + fp + 3 <= self.stack.len() {
            if kind(head) == Kind::THUNK {
                let pc = self.heap.entry(thunk);
                self.push_update(value);
                let fp = self.fp;
                for offset in 0..count {
                    self.stack[fp + offset] = self.heap.mem[thunk + 1 + offset];
                }
                self.heap.enter(thunk);
                return Next::Go(pc);
            }
            if kind(head) == Kind::APTHUNK {
                self.push_update(value);
                let fp = self.fp;
                for offset in 0..count {
                    self.stack[fp + offset] = self.heap.mem[thunk + 1 + offset];
                }
                self.heap.enter(thunk);
                return self.call_at(fp, count - 1);
            }
        }
        self.value = value;
        self.state = State::Eval;
        Next::Leave
    }

    /// Gives a value to frames of code, and to what they are to update on the way.
    #[inline(always)]
    fn return_to(&mut self, mut fp: usize, value: u64) -> Next {
        loop {
            let word = self.stack[fp - 1];
            if Frame::is_code(word) {
                let pc = Frame::code_pc(word);
                let first = self.heap.mem[pc];
                let to = fp - Frame::code_size(word);
                if !self.heap.has_room(b(first)) {
                    break;
                }
                self.water = self.water.min(to);
                self.stack[to + a(first)] = value;
                self.fp = to;
                return Next::Go(pc + POINT);
            }
            if word != Frame::UPDATE {
                break;
            }
            let thunk = self.stack[fp - 2];
            self.heap.update(at(thunk), value);
            fp -= 2;
        }
        self.fp = fp;
        self.value = value;
        self.state = State::Return;
        Next::Leave
    }

    /// Runs instructions from `pc` in the frame at `fp`.
    pub(super) fn interpret(&mut self, mut pc: usize) -> Result<(), Stop> {
        let mut fp = self.fp;
        macro_rules! follow {
            ($next:expr) => {
                match $next {
                    Next::Go(to) => {
                        pc = to;
                        fp = self.fp;
                        continue;
                    }
                    Next::Leave => return Ok(()),
                }
            };
        }
        loop {
            let word = self.heap.mem[pc];
            match op(word) {
                Op::ENTRY | Op::PIECE => {
                    let (frame, need) = (a(word), b(word));
                    if op(word) == Op::ENTRY {
                        if self.steps <= 0 {
                            self.state = State::Code(pc);
                            self.fp = fp;
                            return Err(Stop::Steps);
                        }
                        self.steps -= 1;
                    }
                    if fp + frame > self.stack.len() || !self.heap.has_room(need) {
                        self.state = State::Code(pc);
                        self.fp = fp;
                        self.settle_in(pc, fp, frame, need)?;
                    }
                    if frame > TRACKED {
                        self.stack[fp + c(word) + 1..fp + frame].fill(ZERO);
                    }
                    pc += 2;
                }
                Op::MOVE => {
                    self.stack[fp + a(word)] = self.operand(fp, pc, b(word));
                    pc += 1;
                }
                Op::EVAL => {
                    let value = self.heap.resolve(self.operand(fp, pc, b(word)));
                    if is_lazy(value) {
                        let height = c(word);
                        self.stack[fp + height] = Frame::code(pc + 1, height + 1);
                        follow!(self.eval_at(fp + height + 1, value));
                    }
                    self.stack[fp + a(word)] = value;
                    pc += 1 + POINT;
                }
                Op::RETURN => {
                    let value = self.operand(fp, pc, b(word));
                    follow!(self.return_to(fp, value));
                }
                Op::RETURN_EVAL => {
                    let value = self.heap.resolve(self.operand(fp, pc, b(word)));
                    if is_lazy(value) {
                        follow!(self.eval_at(fp, value));
                    }
                    follow!(self.return_to(fp, value));
                }
                Op::CALL => {
                    let (height, count) = (a(word), b(word));
                    self.list_to_stack(fp, pc + 1, count + 1, fp + height + 1);
                    self.stack[fp + height] = Frame::code(pc + 1 + list(count + 1), height + 1);
                    follow!(self.call_at(fp + height + 1, count));
                }
                Op::SELF_CALL => {
                    let (height, count) = (a(word), b(word));
                    let back = c(word);
                    self.list_to_stack(fp, pc + 1, count, fp + height + 2);
                    self.stack[fp + height] = Frame::code(pc + 1 + list(count), height + 1);
                    self.stack[fp + height + 1] = self.stack[fp];
                    let code = pc - back;
                    fp += height + 1;
                    pc = self.entry_of(code);
                }
                Op::TAIL_CALL => {
                    let (height, count) = (a(word), b(word));
                    self.list_to_stack(fp, pc + 1, count + 1, fp + height);
                    for offset in 0..=count {
                        self.stack[fp + offset] = self.stack[fp + height + offset];
                    }
                    follow!(self.call_at(fp, count));
                }
                Op::SELF_TAIL_CALL => {
                    let (height, count) = (a(word), b(word));
                    self.list_to_stack(fp, pc + 1, count, fp + height);
                    for offset in 0..count {
                        self.stack[fp + 1 + offset] = self.stack[fp + height + offset];
                    }
                    pc = self.entry_of(pc - c(word));
                }
                Op::THUNK => {
                    let (entry, count) = (b(word), c(word));
                    let code = pc + 1 - a(self.heap.mem[pc + 1]);
                    let index = self.heap.alloc(header(Kind::THUNK, entry, count + 1));
                    self.heap.mem[index + 1] = object(code);
                    self.list_to_heap(fp, pc + 2, count, index + 2);
                    self.stack[fp + a(word)] = lazy(index);
                    pc += 2 + list(count);
                }
                Op::APTHUNK => {
                    let count = b(word);
                    let index = self.heap.alloc(header(Kind::APTHUNK, 0, count));
                    self.list_to_heap(fp, pc + 1, count, index + 1);
                    self.stack[fp + a(word)] = lazy(index);
                    pc += 1 + list(count);
                }
                Op::APP | Op::ROW => {
                    let count = b(word);
                    let head = if op(word) == Op::APP {
                        header(Kind::APP, c(word), count)
                    } else {
                        header(Kind::ROW, 0, count)
                    };
                    let index = self.heap.alloc(head);
                    self.list_to_heap(fp, pc + 1, count, index + 1);
                    self.stack[fp + a(word)] = object(index);
                    pc += 1 + list(count);
                }
                Op::PARTIAL => {
                    let count = b(word);
                    let words: Vec<u64> = (0..count).map(|index| self.listed(fp, pc + 1, index)).collect();
                    let value = self.heap.partial(words[0], &words[1..]);
                    self.stack[fp + a(word)] = value;
                    pc += 1 + list(count);
                }
                Op::PATCH => {
                    let (thunk, value) = (self.stack[fp + a(word)], self.operand(fp, pc, c(word)));
                    // It was made just now: in the nursery, or remembered.
                    self.heap.mem[at(thunk) + 2 + b(word)] = value;
                    pc += 1;
                }
                Op::JUMP => pc += a(word),
                Op::JUMP_ZERO => {
                    let value = self.operand(fp, pc, b(word));
                    let zero = value == ZERO || !is_imm(value) && kind(self.heap.mem[at(value)]) != Kind::BIG;
                    pc += if zero { a(word) } else { 1 };
                }
                Op::SWITCH => {
                    let value = self.operand(fp, pc, b(word));
                    let value = self.heap.cast(value);
                    self.steps -= 1;
                    pc += if is_imm(value) && value >> 1 < c(word) as u64 {
                        a(self.heap.mem[pc + 1 + (value >> 1) as usize])
                    } else {
                        a(word)
                    };
                }
                Op::ADD => {
                    let (x, y) = (self.operand(fp, pc, b(word)), self.operand(fp, pc, c(word)));
                    self.steps -= 1;
                    let sum = (x >> 1) + (y >> 1);
                    if x & y & 1 == 1 && sum <= IMM_MAX {
                        self.stack[fp + a(word)] = imm(sum);
                    } else {
                        self.number(fp, Op::ADD, a(word), x, y)?;
                    }
                    pc += 1;
                }
                Op::SUB => {
                    let (x, y) = (self.operand(fp, pc, b(word)), self.operand(fp, pc, c(word)));
                    self.steps -= 1;
                    if x & y & 1 == 1 {
                        self.stack[fp + a(word)] = imm((x >> 1).saturating_sub(y >> 1));
                    } else {
                        self.number(fp, Op::SUB, a(word), x, y)?;
                    }
                    pc += 1;
                }
                Op::EQL..=Op::CMP_NAT => {
                    let (x, y) = (self.operand(fp, pc, b(word)), self.operand(fp, pc, c(word)));
                    match self.ask(op(word), x, y) {
                        Some(value) => {
                            self.steps -= 1;
                            self.stack[fp + a(word)] = value;
                            pc += 3 + POINT;
                        }
                        None => {
                            let height = a(self.heap.mem[pc + 1]);
                            self.list_to_stack(fp, pc + 2, 3, fp + height + 1);
                            self.stack[fp + height] = Frame::code(pc + 3, height + 1);
                            follow!(self.call_at(fp + height + 1, 2));
                        }
                    }
                }
                Op::IS_NAT..=Op::IS_FULL => {
                    let value = self.operand(fp, pc, b(word));
                    self.steps -= 1;
                    self.stack[fp + a(word)] = self.inspect(op(word), value);
                    pc += 1;
                }
                Op::IDX => {
                    let (index, row) = (self.operand(fp, pc, b(word)), self.operand(fp, pc, c(word)));
                    self.steps -= 1;
                    self.stack[fp + a(word)] = self.element(index, row);
                    pc += 1;
                }
                operation if operation < Op::EQL => {
                    let x = self.operand(fp, pc, b(word));
                    let y = if Op::is_binary(operation) { self.operand(fp, pc, c(word)) } else { ZERO };
                    self.steps -= 1;
                    self.number(fp, operation, a(word), x, y)?;
                    pc += 1;
                }
                operation if operation < Op::BRANCH => {
                    let operation = operation - Op::TRY;
                    let mut x = self.operand(fp, pc, b(word));
                    let mut y = if operation >= Op::ADD { self.operand(fp, pc, c(word)) } else { ZERO };
                    if x & y & 1 == 0 {
                        x = self.heap.resolve(x);
                        y = self.heap.resolve(y);
                    }
                    let second = self.heap.mem[pc + 1];
                    let result = if operation == Op::IDX {
                        (is_imm(x) && !is_lazy(y)).then(|| self.element(x, y))
                    } else if (Op::IS_NAT..=Op::IS_FULL).contains(&operation) {
                        (!is_lazy(x)).then(|| self.inspect(operation, x))
                    } else if x & y & 1 == 1 {
                        small(operation, x, y)
                    } else {
                        None
                    };
                    if let Some(value) = result {
                        self.steps -= 1;
                        self.stack[fp + a(word)] = value;
                        pc += a(second);
                    } else {
                        pc += b(second);
                    }
                }
                operation => {
                    let (x, y) = (self.operand(fp, pc, b(word)), self.operand(fp, pc, c(word)));
                    if x & y & 1 == 1 {
                        let yes = match operation - Op::BRANCH {
                            Op::EQL | Op::SAME => x == y,
                            Op::NEQ => x != y,
                            Op::LTH => x < y,
                            Op::LTE => x <= y,
                            Op::GTH => x > y,
                            _ => x >= y,
                        };
                        self.steps -= 1;
                        let second = self.heap.mem[pc + 1];
                        pc += if yes { a(second) } else { b(second) };
                    } else {
                        pc += 2;
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn entry_of(&self, code: usize) -> usize {
        code + 3 + (self.heap.mem[code + 2] >> 1) as usize
    }

    fn listed(&self, fp: usize, pc: usize, index: usize) -> u64 {
        let at = pc + index / 3;
        let packed = self.heap.mem[at];
        self.operand(fp, at, [a(packed), b(packed), c(packed)][index % 3])
    }

    /// An operation on numbers that an instruction did not do itself.
    #[inline]
    fn number(&mut self, fp: usize, operation: u8, dest: usize, x: u64, y: u64) -> Result<(), Stop> {
        let value = match if x & y & 1 == 1 { small(operation, x, y) } else { None } {
            Some(value) => value,
            None => {
                self.fp = fp;
                let (value, cost) = compute(&mut self.heap, operation, x, y).map_err(|_| Crash::NUMBER)?;
                self.charge(cost);
                self.charge_compared();
                self.within()?;
                value
            }
        };
        self.stack[fp + dest] = value;
        Ok(())
    }

    /// Counts steps beyond one.
    pub(super) fn charge(&mut self, cost: u64) {
        self.steps = self.steps.saturating_sub_unsigned(cost);
    }

    /// Counts what was compared.
    #[inline]
    pub(super) fn charge_compared(&mut self) {
        let work = std::mem::take(&mut self.heap.compared);
        self.charge(work / PARTS_PER_STEP);
    }

    /// What there is no need to ask a jet for.
    #[inline(always)]
    fn ask(&mut self, operation: u8, x: u64, y: u64) -> Option<u64> {
        if x & y & 1 == 1 {
            return small(operation, x, y);
        }
        let of_any = matches!(operation, Op::EQL | Op::NEQ | Op::CMP);
        let (x_is_nat, y_is_nat) = (self.heap.is_nat(x), self.heap.is_nat(y));
        if of_any && x_is_nat != y_is_nat {
            return Some(verdict(operation, y_is_nat.cmp(&x_is_nat)));
        }
        if of_any && !x_is_nat {
            return None;
        }
        let (x, y) = (self.heap.cast(x), self.heap.cast(y));
        let order = crate::eval::order::compare(&mut self.heap, x, y);
        self.charge_compared();
        Some(verdict(operation, order))
    }

    /// An element of what is a row.
    #[inline(always)]
    fn element(&self, index: u64, row: u64) -> u64 {
        if is_imm(row) || kind(self.heap.head(row)) != Kind::ROW {
            return ZERO;
        }
        let (index, count) = (self.heap.cast(index), len(self.heap.head(row)) as u64);
        if is_imm(index) && index >> 1 < count { self.heap.field(row, (index >> 1) as usize) } else { ZERO }
    }

    /// What kind of value it is.
    #[inline(always)]
    fn inspect(&self, operation: u8, value: u64) -> u64 {
        let (kind, count) = match self.heap.kind_of(value) {
            None => (Kind::BIG, 0),
            Some(kind) => (kind, len(self.heap.head(value))),
        };
        let is_law = matches!(kind, Kind::LAW | Kind::BAR | Kind::SET) || kind == Kind::ROW && count == 0;
        let yes = match operation {
            Op::IS_NAT => kind == Kind::BIG,
            Op::IS_PIN => kind == Kind::PIN,
            Op::IS_LAW => is_law,
            Op::IS_APP => !is_law && kind != Kind::BIG && kind != Kind::PIN,
            Op::IS_ROW => kind == Kind::ROW,
            Op::IS_FULL => kind == Kind::ROW && count > 0,
            _ => return if kind == Kind::ROW { imm(count as u64) } else { ZERO },
        };
        if yes { ONE } else { ZERO }
    }

    /// Makes room for a frame whose code starts at `pc`.
    #[cold]
    fn settle_in(&mut self, pc: usize, fp: usize, frame: usize, need: usize) -> Result<(), Stop> {
        self.ensure(fp + frame)?;
        if !self.heap.has_room(need) {
            let word = self.heap.mem[pc];
            self.make_room(fp, c(word) + 1, Some(self.heap.mem[pc + 1]))?;
        }
        Ok(())
    }
}
