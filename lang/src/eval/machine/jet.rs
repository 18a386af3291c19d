//! Jets and the five operations: their arguments are evaluated as far as they need, then they are done.

use super::{Machine, State, Stop};
use crate::eval::Limit;
use crate::eval::jets::{Need, Outcome};
use crate::eval::machine::frames::Frame;
use crate::eval::word::{Kind, is_lazy, len};

/// Numbers of jets from here on are operations.
pub(super) const OPERATIONS: usize = 1000;
/// Any other number applied.
pub(super) const CRASH: usize = 5;

use Need::{Deep, Elements, Head, IfRow, Nothing, Unless0};

/// What the operations need, and what a crash does.
const NEEDS: [&[Need]; 6] = [
    &[Head, Head, Deep],
    &[Nothing, Nothing, Nothing, Nothing, Head],
    &[Nothing, Nothing, Head],
    &[Head],
    &[Deep],
    &[Deep],
];

/// Room that there is before a jet, for what it makes without asking.
const ROOM: usize = 64;

/// Which argument's turn it is.
fn index_of(turn: usize, count: usize, backwards: bool) -> usize {
    if backwards && turn < count { count - 1 - turn } else { turn % count }
}

impl Machine {
    /// Begins a jet whose pin is at `fp`, its arguments after it.
    pub(super) fn begin_jet(&mut self, jet: usize, count: usize) -> Result<(), Stop> {
        self.ensure(self.fp + count + 2)?;
        self.stack[self.fp + count + 1] = Frame::jet(jet, count, 0, 0);
        self.fp += count + 2;
        self.state = State::Jet;
        Ok(())
    }

    fn needs(&self, jet: usize) -> &'static [Need] {
        if jet >= OPERATIONS { NEEDS[jet - OPERATIONS] } else { self.jets.jet(jet).needs }
    }

    /// Takes the value of an argument, or of an element of one, which stays where it is.
    pub(super) fn jet_given(&mut self) {
        let Frame::Jet { count, arg, .. } = Frame::of(self.stack[self.fp - 1]) else { return };
        let start = self.fp - count - 2;
        self.water = self.water.min(start);
        let Frame::Jet { jet, .. } = Frame::of(self.stack[self.fp - 1]) else { return };
        let backwards = jet < OPERATIONS && self.jets.jet(jet).backwards;
        // Unless it is an element of it, it is the argument itself.
        let index = index_of(arg, count, backwards);
        if is_lazy(self.stack[start + 1 + index]) {
            self.stack[start + 1 + index] = self.value;
        }
    }

    /// Goes on with the jet below `fp`.
    pub(super) fn jet(&mut self) -> Result<(), Stop> {
        let end = self.fp;
        let Frame::Jet { jet, count, mut arg, mut element } = Frame::of(self.stack[end - 1]) else {
            unreachable!("a jet is under way")
        };
        let start = end - count - 2;
        self.water = self.water.min(start);
        let needs = self.needs(jet);
        let backwards = jet < OPERATIONS && self.jets.jet(jet).backwards;
        // First all that are needed at all, then those that are needed at times, or whole.
        while arg < 2 * count {
            let index = index_of(arg, count, backwards);
            let need = needs[index];
            let due = match need {
                Nothing => false,
                Head => arg < count,
                Unless0(other) => {
                    arg >= count
                        && crate::eval::jets::is_true(&self.heap, self.heap.resolve(self.stack[start + 1 + other]))
                }
                IfRow(other) => {
                    let other = self.heap.resolve(self.stack[start + 1 + other]);
                    arg >= count && self.heap.kind_of(other) == Some(Kind::ROW) && len(self.heap.head(other)) > 0
                }
                Elements | Deep => true,
            };
            if !due {
                arg += 1;
                continue;
            }
            let value = self.heap.resolve(self.stack[start + 1 + index]);
            self.stack[start + 1 + index] = value;
            if is_lazy(value) {
                return self.ask_for(value, Frame::jet(jet, count, arg, element));
            }
            if arg >= count && need == Deep && !self.heap.is_normal(value) {
                self.stack[end - 1] = Frame::jet(jet, count, arg, element);
                self.value = value;
                self.push_normal();
                self.state = State::Return;
                return Ok(());
            }
            if arg >= count && need == Elements && self.heap.kind_of(value) == Some(Kind::ROW) {
                let elements = len(self.heap.head(value));
                while element < elements {
                    let part = self.heap.resolve(self.heap.field(value, element));
                    if is_lazy(part) {
                        return self.ask_for(part, Frame::jet(jet, count, arg, element));
                    }
                    element += 1;
                }
                self.charge(elements as u64 / 16);
                element = 0;
            }
            arg += 1;
        }
        if !self.heap.has_room(ROOM) {
            self.stack[end - 1] = Frame::jet(jet, count, arg, 0);
            self.make_room(end, 0, None)?;
        }
        self.fp = start;
        self.water = self.water.min(start);
        self.finish_jet(jet, count)
    }

    /// Has something evaluated for the jet below `fp`.
    fn ask_for(&mut self, value: u64, frame: u64) -> Result<(), Stop> {
        self.stack[self.fp - 1] = frame;
        self.ensure(self.fp + 8)?;
        self.value = value;
        self.state = State::Eval;
        Ok(())
    }

    fn finish_jet(&mut self, jet: usize, count: usize) -> Result<(), Stop> {
        if jet >= OPERATIONS {
            return self.operate(jet - OPERATIONS);
        }
        let fp = self.fp;
        let args: Vec<u64> = self.stack[fp + 1..=fp + count].to_vec();
        let run = self.jets.jet(jet).run;
        let mut outcome = run(&mut self.heap, &args);
        if let Outcome::Room(words) = outcome {
            // As if it had not been begun, should there not be as much.
            self.state = State::Jet;
            self.fp = fp + count + 2;
            if !self.heap.could_hold(words) {
                self.collect_at(self.fp, 0, None, true);
            }
            if !self.heap.could_hold(words) {
                return Err(Limit::Heap.into());
            }
            self.fp = fp;
            self.water = self.water.min(fp);
            let args: Vec<u64> = self.stack[fp + 1..=fp + count].to_vec();
            outcome = run(&mut self.heap, &args);
        }
        self.steps -= 1;
        self.charge_compared();
        match outcome {
            Outcome::Value(value, cost) => {
                self.charge(cost);
                self.value = value;
                self.state = State::Return;
            }
            Outcome::Eval(value) => {
                self.value = value;
                self.state = State::Eval;
            }
            Outcome::Show(text, value) => {
                let root = self.hold(text);
                self.shown.push(root);
                self.value = value;
                self.state = State::Eval;
            }
            Outcome::Decline | Outcome::Room(_) => {
                let pin = self.stack[fp];
                self.state = State::Apply(count);
                return self.apply_law_of(pin, count);
            }
            Outcome::Crash(crash) => return Err(crash.into()),
        }
        Ok(())
    }
}
