//! What the fuzz target of the evaluator does: programs made of its input, evaluated with jets, and by the rules as `lang`'s tests have them.

#[path = "../lang/tests/eval/reference.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod reference;

use std::cell::RefCell;

use lang::eval::{CrashValue, Depth, Limits, Progress};
use lang::session::Session;
use lang::{Nat, Value};
use reference::{Reference, Stop};

/// Functions of the base library, and how many arguments each takes.
const FUNCTIONS: [(&str, u64); 40] = [
    ("if", 3),
    ("ifz", 3),
    ("seq", 2),
    ("add", 2),
    ("sub", 2),
    ("mul", 2),
    ("div", 2),
    ("mod", 2),
    ("inc", 1),
    ("dec", 1),
    ("not", 1),
    ("and", 2),
    ("or", 2),
    ("cmp", 2),
    ("eql", 2),
    ("lth", 2),
    ("gte", 2),
    ("nat", 1),
    ("is-nat", 1),
    ("is-row", 1),
    ("is-bytes", 1),
    ("len", 1),
    ("idx", 2),
    ("get", 2),
    ("put", 3),
    ("weld", 2),
    ("map", 2),
    ("fold", 3),
    ("gen", 2),
    ("take", 2),
    ("drop", 2),
    ("rev", 1),
    ("sort", 1),
    ("byte", 2),
    ("bytes-len", 1),
    ("bytes-weld", 2),
    ("lsh", 2),
    ("rsh", 2),
    ("met", 1),
    ("insert", 3),
];

/// Few, as the reference goes by the rules alone, and by recursion.
const REFERENCE_STEPS: u64 = 3_000;
const STEPS: u64 = 30_000;
const REFERENCE_STACK_BYTES: usize = 64 << 20;
/// A session begins slowly: one is given so many programs.
const PROGRAMS_MAX: usize = 20_000;

thread_local! {
    static SESSION: RefCell<(Session, usize)> = RefCell::new((session(), 0));
}

fn session() -> Session {
    let limits = Limits { heap_words: 1 << 22, stack_words: 1 << 20, ..Limits::default() };
    let files = Box::new(|_: &str| Err("there are no files here".to_owned()));
    Session::new(limits, files).unwrap_or_else(|limit| panic!("{limit}"))
}

/// Makes a program of bytes, and what is left out is zero.
struct Maker<'a> {
    bytes: std::slice::Iter<'a, u8>,
    session: &'a Session,
    made: Vec<(Value, u64)>,
}

impl Maker<'_> {
    fn below(&mut self, limit: u64) -> u64 {
        u64::from(self.bytes.next().copied().unwrap_or(0)) % limit
    }

    fn datum(&mut self) -> Value {
        match self.below(8) {
            0..=3 => Value::word(self.below(9)),
            4 => Value::bar(&[97, 0, 98][..usize::try_from(self.below(4)).unwrap_or(0)]),
            5 => Value::row((0..self.below(4)).map(|n| Value::word(n + 5)).collect()),
            6 => Value::tab(vec![(Value::word(1), Value::word(7))]).unwrap_or_default(),
            _ => self.function().0,
        }
    }

    fn function(&mut self) -> (Value, u64) {
        match self.below(4) {
            0 if !self.made.is_empty() => {
                let made = self.below(self.made.len() as u64);
                self.made[usize::try_from(made).unwrap_or(0)].clone()
            }
            1 => {
                let opcode = self.below(5);
                (Value::word(opcode), [3, 5, 3, 1, 1][usize::try_from(opcode).unwrap_or(0)])
            }
            _ => {
                let (name, arity) = FUNCTIONS[usize::try_from(self.below(FUNCTIONS.len() as u64)).unwrap_or(0)];
                let known = self.session.environment().get(name).cloned();
                (known.unwrap_or_else(|| panic!("the library has no {name}")), arity)
            }
        }
    }

    fn expr(&mut self, slots: u64, depth: u64) -> Value {
        let apply = |f, x| Value::app(Value::word(0), vec![f, x]);
        let constant = |value| Value::app(Value::word(2), vec![value]);
        match self.below(if depth == 0 { 4 } else { 10 }) {
            0..=2 => Value::word(self.below(slots)),
            3 => constant(self.datum()),
            4 => {
                let function = self.expr(slots, depth - 1);
                let argument = self.expr(slots, depth - 1);
                apply(function, argument)
            }
            _ => {
                let (function, arity) = self.function();
                let count = (arity + self.below(8) / 6).saturating_sub(self.below(8) / 7);
                (0..count).fold(constant(function), |f, _| {
                    let argument = self.expr(slots, depth - 1);
                    apply(f, argument)
                })
            }
        }
    }

    fn law(&mut self) -> Option<(Value, u64)> {
        let (arity, lets) = (1 + self.below(3), self.below(3));
        let slots = 1 + arity + lets;
        let bound: Vec<Value> = (0..lets).map(|_| self.expr(slots, 2)).collect();
        let body = self.expr(slots, 3);
        let body = bound.into_iter().rev().fold(body, |body, value| Value::app(Value::word(1), vec![value, body]));
        let law = Value::law(Nat::symbol("made"), Nat::word(arity), body)?;
        let value = if self.below(2) == 0 { Value::pin(law).ok()? } else { law };
        Some((value, arity))
    }

    fn program(mut self) -> Option<Value> {
        for _ in 0..2 {
            let made = self.law()?;
            self.made.push(made);
        }
        let (main, arity) = self.made.pop()?;
        let args = (0..arity).map(|_| self.datum()).collect();
        Some(Value::app(main, args))
    }
}

/// A program: what the evaluator makes of it is what the rules do, where those come to an end in time.
pub fn evaluator(data: &[u8]) {
    SESSION.with_borrow_mut(|(session, count)| {
        *count += 1;
        if *count > PROGRAMS_MAX {
            (*session, *count) = (self::session(), 0);
        }
        let maker = Maker { bytes: data.iter(), session, made: Vec::new() };
        let Some(program) = maker.program() else { return };
        let given = program.clone();
        let by_the_rules = move || Reference { steps: REFERENCE_STEPS }.evaluate(&given);
        let thread = std::thread::Builder::new().stack_size(REFERENCE_STACK_BYTES).spawn(by_the_rules);
        let Ok(Ok(expected)) = thread.map(std::thread::JoinHandle::join) else { panic!("the reference panicked") };
        let machine = session.machine();
        let root = machine.load(&program);
        machine.start(root, Depth::Normal);
        machine.release(root);
        match (machine.run(STEPS), expected) {
            // It shares what the rules do again and again, and may be given more time; or it is not, and only must not fail.
            (Progress::Done(root), expected) => {
                let found = machine.read(root);
                machine.release(root);
                match expected {
                    Ok(expected) => assert_eq!(found.as_ref().ok(), Some(&expected), "{program:?}"),
                    Err(Stop::Crash) => panic!("{program:?} crashes by the rules, and gave {found:?}"),
                    Err(Stop::Steps) => {}
                }
            }
            (Progress::Crashed(crashed), Ok(expected)) => {
                let is_limit = matches!(crashed.crash, CrashValue::NumberTooLarge | CrashValue::HashTooLarge);
                assert!(is_limit, "{program:?} is {expected:?} by the rules, and crashed: {:?}", crashed.crash);
            }
            (Progress::OutOfSteps, Ok(expected)) => panic!("{program:?} is {expected:?} by the rules, and did not end"),
            (Progress::OutOfSteps, Err(_)) => {
                if let Some(paused) = machine.pause() {
                    machine.release(paused);
                }
            }
            (Progress::Stopped(_, root), _) => machine.release(root),
            (Progress::Crashed(_), Err(_)) => {}
        }
    });
}
