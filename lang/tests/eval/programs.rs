//! Random programs: the evaluator, with jets and without, against the rules written once more.

use lang::eval::{CrashValue, Limits};
use lang::{Nat, Value};

use crate::basics::{evaluate, limits, machine};
use crate::reader::{Library, constant};
use crate::reference::{Reference, Stop};

/// Numbers that are the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.roll(count as u64)).unwrap()
    }

    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// Functions that programs are made of, and how many arguments each takes.
const FUNCTIONS: &[(&str, u64)] = &[
    ("if", 3),
    ("ifz", 3),
    ("add", 2),
    ("sub", 2),
    ("mul", 2),
    ("dec", 1),
    ("inc", 1),
    ("not", 1),
    ("and", 2),
    ("or", 2),
    ("seq", 2),
    ("cmp", 2),
    ("lth", 2),
    ("eql", 2),
    ("neq", 2),
    ("gte", 2),
    ("gth", 2),
    ("lte", 2),
    ("is-nat", 1),
    ("is-law", 1),
    ("is-app", 1),
    ("is-pin", 1),
    ("is-row", 1),
    ("len", 1),
    ("idx", 2),
    ("get", 2),
    ("put", 3),
    ("weld", 2),
    ("map", 2),
    ("div", 2),
    ("mod", 2),
    ("id", 1),
    ("const", 2),
    ("min", 2),
    ("max", 2),
    ("same-nat", 2),
    ("gen", 2),
    ("take", 2),
    ("drop", 2),
    ("rev", 1),
    ("nat", 1),
    ("pow", 2),
    ("bit-or", 2),
    ("bit-and", 2),
    ("low-bits", 2),
    ("cmp-nat", 2),
    ("cat", 1),
    ("fold", 3),
    ("byte", 2),
    ("bytes-len", 1),
    ("is-bytes", 1),
    ("sized-bytes", 2),
    ("bytes-weld", 2),
    ("bytes-take", 2),
    ("lsh", 2),
    ("rsh", 2),
    ("bit", 2),
    ("met", 1),
    ("sort", 1),
];

struct Maker<'a> {
    dice: Dice,
    library: &'a Library,
    made: Vec<(Value, u64)>,
}

impl Maker<'_> {
    fn datum(&mut self) -> Value {
        match self.dice.roll(10) {
            0..=4 => Value::word(self.dice.roll(7)),
            5 => Value::bar(b"a"),
            6 => Value::row((0..self.dice.roll(4)).map(|n| Value::word(n + 5)).collect()),
            7 => Value::set(vec![Value::word(1), Value::word(2)]).unwrap(),
            8 => Value::tab(vec![(Value::word(1), Value::word(7))]).unwrap(),
            _ => self.function().0,
        }
    }

    fn function(&mut self) -> (Value, u64) {
        match self.dice.roll(8) {
            0 if !self.made.is_empty() => {
                let index = self.dice.pick(self.made.len());
                self.made[index].clone()
            }
            1 => [
                (Value::word(0), 3),
                (Value::word(1), 5),
                (Value::word(2), 3),
                (Value::word(3), 1),
                (Value::word(4), 1),
            ][self.dice.pick(5)]
            .clone(),
            2 => (Value::cow(2), 2),
            _ => {
                let (name, arity) = FUNCTIONS[self.dice.pick(FUNCTIONS.len())];
                (self.library.get(name), arity)
            }
        }
    }

    fn expr(&mut self, slots: u64, depth: u64) -> Value {
        let apply = |f, x| Value::app(Value::word(0), vec![f, x]);
        match self.dice.roll(if depth == 0 { 4 } else { 12 }) {
            0..=2 => Value::word(self.dice.roll(slots)),
            3 => constant(self.datum()),
            4 => {
                let function = self.expr(slots, depth - 1);
                let argument = self.expr(slots, depth - 1);
                apply(function, argument)
            }
            5 => {
                let parts: Vec<Value> = (0..self.dice.roll(3)).map(|_| self.expr(slots, depth - 1)).collect();
                parts.iter().rev().fold(constant(Value::cow(parts.len() as u64)), |f, x| apply(f, x.clone()))
            }
            _ => {
                let (function, arity) = self.function();
                // Now and then with one more or one less.
                let count = arity + u64::from(self.dice.roll(12) == 0) - u64::from(arity > 1 && self.dice.roll(8) == 0);
                (0..count).fold(constant(function), |f, _| {
                    let argument = self.expr(slots, depth - 1);
                    apply(f, argument)
                })
            }
        }
    }

    fn law(&mut self) -> (Value, u64) {
        let arity = 1 + self.dice.roll(3);
        let lets = self.dice.roll(4);
        let slots = 1 + arity + lets;
        let bound: Vec<Value> = (0..lets).map(|_| self.expr(slots, 2)).collect();
        let body = self.expr(slots, 4);
        let body = bound.into_iter().rev().fold(body, |body, value| Value::app(Value::word(1), vec![value, body]));
        let law = Value::law(Nat::symbol("made"), Nat::word(arity), body).unwrap();
        (if self.dice.roll(2) == 0 { Value::pin(law).unwrap() } else { law }, arity)
    }

    fn program(&mut self) -> Value {
        self.made.clear();
        for _ in 0..3 {
            let made = self.law();
            self.made.push(made);
        }
        let (main, arity) = self.made[2].clone();
        let args = (0..arity).map(|_| self.datum()).collect();
        Value::app(main, args)
    }
}

/// Text with the names of pins in place of their hashes.
fn names(library: &Library, text: &str) -> String {
    library.defined.iter().fold(text.to_owned(), |text, (name, pin)| text.replace(&format!("{pin:?}"), name))
}

/// Runs programs from a seed. Returns how many gave a value, and how many crashed.
fn compare(seed: u64, count: usize, jets: bool, limits: &Limits) -> (usize, usize) {
    let library = Library::new();
    let mut maker = Maker { dice: Dice(seed), library: &library, made: Vec::new() };
    let mut machine = machine(&library, jets, limits.clone());
    let (mut values, mut crashes) = (0, 0);
    for index in 0..count {
        let program = maker.program();
        let expected = Reference { steps: 30_000 }.evaluate(&program);
        if expected == Err(Stop::Steps) {
            continue;
        }
        let found = evaluate(&mut machine, &program, 10_000_000);
        match (&expected, &found) {
            (Ok(expected), Some(Ok(found))) if expected == found => values += 1,
            (Err(Stop::Crash), Some(Err(_))) => crashes += 1,
            // A number that the rules would give, given time.
            (_, Some(Err(CrashValue::NumberTooLarge))) => {}
            _ => {
                let pins: Vec<Value> = program.refs().iter().map(|pin| pin.content().clone()).collect();
                let text = names(&library, &format!("{program:?}\n gave {found:?}\n not {expected:?}\n of {pins:?}"));
                panic!("seed {seed}, program {index}: {text}")
            }
        }
    }
    (values, crashes)
}

fn on_a_large_stack(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(1 << 30).spawn(run).unwrap().join().unwrap();
}

#[test]
fn as_the_rules_say() {
    on_a_large_stack(|| {
        let (mut values, mut crashes) = (0, 0);
        for (seed, jets) in [(1, false), (2, true), (3, true), (4, true)] {
            let (some, more) = compare(seed, 1500, jets, &limits());
            values += some;
            crashes += more;
        }
        // Enough of both to mean something.
        assert!(values > 2000 && crashes > 100, "{values} values, {crashes} crashes");
    });
}

#[test]
fn collected_at_every_chance() {
    on_a_large_stack(|| {
        for (seed, nursery, stress) in [(10, 512, true), (11, 0, false), (12, 64, false), (13, 16, true)] {
            compare(seed, 500, seed % 2 == 0, &Limits { nursery_words: nursery, stress, ..limits() });
        }
    });
}
