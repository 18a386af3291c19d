//! The rules once more, written from their text alone: plain recursion over a graph of shared cells. Slow; it has a limit of steps.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use lang::{Nat, PinHash, Value};
use num_bigint::BigUint;

/// Why there is no value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stop {
    Crash,
    /// Out of steps: nothing is known.
    Steps,
}

type Cell = Rc<RefCell<Node>>;
type Res<T> = Result<T, Stop>;

#[derive(Clone)]
enum Node {
    Nat(BigUint),
    Pin(Cell),
    Law(BigUint, BigUint, Cell),
    /// Evaluated: a function that waits for more.
    App(Cell, Cell),
    /// To be evaluated.
    Call(Cell, Cell),
    Busy,
    Same(Cell),
}

use Node::{App, Busy, Call, Law, Pin, Same};

fn cell(node: Node) -> Cell {
    Rc::new(RefCell::new(node))
}

fn nat(number: u64) -> Cell {
    cell(Node::Nat(number.into()))
}

pub(crate) struct Reference {
    pub(crate) steps: u64,
}

impl Reference {
    fn whnf(&mut self, at: &Cell) -> Res<Cell> {
        self.steps = self.steps.checked_sub(1).ok_or(Stop::Steps)?;
        let node = at.borrow().clone();
        match node {
            Same(to) => self.whnf(&to),
            Busy => Err(Stop::Crash),
            Call(f, x) => {
                *at.borrow_mut() = Busy;
                let function = self.whnf(&f)?;
                let result = if arity(&function) == BigUint::from(1u32) {
                    self.run(&function, &x)?
                } else {
                    cell(App(function, x))
                };
                let value = self.whnf(&result)?;
                *at.borrow_mut() = Same(value.clone());
                Ok(value)
            }
            _ => Ok(at.clone()),
        }
    }

    fn run(&mut self, function: &Cell, last: &Cell) -> Res<Cell> {
        let (mut args, mut head) = (vec![last.clone()], function.clone());
        while let App(f, x) = { head.borrow().clone() } {
            args.push(x);
            head = f;
        }
        args.reverse();
        let mut inner = head.clone();
        while let Pin(content) = { inner.borrow().clone() } {
            inner = self.whnf(&content)?;
        }
        let node = inner.borrow().clone();
        match node {
            Law(_, arity, body) if arity == args.len().into() => {
                args.insert(0, head);
                self.body(args, &body)
            }
            Node::Nat(op) => self.op(&op, &args),
            // What is pinned is no law that takes just these: it is applied as it is.
            _ => Ok(args.into_iter().fold(inner, |f, x| cell(Call(f, x)))),
        }
    }

    fn body(&mut self, mut slots: Vec<Cell>, body: &Cell) -> Res<Cell> {
        let (mut body, mut lets) = (body.clone(), Vec::new());
        while let Some((1, v, Some(k))) = shape(&body) {
            lets.push(v);
            body = k;
        }
        let first = slots.len();
        slots.extend(lets.iter().map(|_| cell(Busy)));
        for (index, value) in lets.iter().enumerate() {
            let value = read(&slots, value);
            *slots[first + index].borrow_mut() = Same(value);
        }
        // A let that is nothing but lets in a circle.
        for slot in &slots[first..] {
            let (mut at, mut left) = (slot.clone(), 1 << 14);
            while let Same(to) = { at.borrow().clone() } {
                if left == 0 {
                    *slot.borrow_mut() = Busy;
                    break;
                }
                left -= 1;
                at = to;
            }
        }
        Ok(read(&slots, &body))
    }

    fn cast(&mut self, x: &Cell) -> Res<BigUint> {
        let x = self.whnf(x)?;
        let node = x.borrow().clone();
        Ok(if let Node::Nat(number) = node { number } else { 0u32.into() })
    }

    fn op(&mut self, op: &BigUint, args: &[Cell]) -> Res<Cell> {
        let call = |f: &Cell, xs: &[Cell]| xs.iter().fold(f.clone(), |f, x| cell(Call(f, x.clone())));
        Ok(match u32::try_from(op).unwrap_or(99) {
            0 => {
                let (name, arity) = (self.cast(&args[0])?, self.cast(&args[1])?);
                let body = self.normal(&args[2])?;
                if arity == BigUint::ZERO {
                    return Err(Stop::Crash);
                }
                cell(Law(name, arity, body))
            }
            1 => {
                let x = self.whnf(&args[4])?;
                let node = x.borrow().clone();
                match node {
                    Pin(i) => call(&args[0], &[i]),
                    Law(n, a, b) => call(&args[1], &[cell(Node::Nat(n)), cell(Node::Nat(a)), b]),
                    App(f, y) => call(&args[2], &[f, y]),
                    _ => call(&args[3], &[x]),
                }
            }
            2 => {
                let number = self.cast(&args[2])?;
                if number == BigUint::ZERO {
                    args[0].clone()
                } else {
                    call(&args[1], &[cell(Node::Nat(number - 1u32))])
                }
            }
            3 => cell(Node::Nat(self.cast(&args[0])? + 1u32)),
            4 => cell(Pin(self.normal(&args[0])?)),
            _ => {
                self.normal(&args[0])?;
                return Err(Stop::Crash);
            }
        })
    }

    fn normal(&mut self, x: &Cell) -> Res<Cell> {
        let x = self.whnf(x)?;
        let node = x.borrow().clone();
        if let App(f, y) = node {
            // In which order is not said, and matters only to which of a crash and an endless loop is met: rows go by index.
            return Ok(if is_row(&x) {
                let y = self.normal(&y)?;
                cell(App(self.normal_row(&f)?, y))
            } else {
                cell(App(self.normal(&f)?, self.normal(&y)?))
            });
        }
        Ok(x)
    }

    fn normal_row(&mut self, x: &Cell) -> Res<Cell> {
        let node = x.borrow().clone();
        let App(f, y) = node else { return Ok(x.clone()) };
        let y = self.normal(&y)?;
        Ok(cell(App(self.normal_row(&f)?, y)))
    }

    /// The normal form of a value, if that is found in time.
    pub(crate) fn evaluate(&mut self, value: &Value) -> Result<Value, Stop> {
        let cell = load(value, &mut HashMap::new());
        let cell = self.normal(&cell)?;
        Ok(unload(&cell, &mut HashMap::new()))
    }
}

fn is_row(x: &Cell) -> bool {
    let (mut head, mut count) = (x.clone(), 1u32);
    while let App(f, _) = { head.borrow().clone() } {
        head = f;
        count += 1;
    }
    let node = head.borrow().clone();
    let zero = |x: &Cell| matches!(&*x.borrow(), Node::Nat(n) if *n == BigUint::ZERO);
    matches!(node, Law(name, arity, body) if name == BigUint::ZERO && arity == count.into() && zero(&body))
}

fn arity(x: &Cell) -> BigUint {
    match &*x.borrow() {
        App(f, _) => arity(f) - 1u32,
        Pin(content) | Same(content) => arity(content),
        Law(_, arity, _) => arity.clone(),
        Node::Nat(n) => match u32::try_from(n) {
            Ok(0 | 2) => 3u32.into(),
            Ok(1) => 5u32.into(),
            _ => 1u32.into(),
        },
        Call(..) | Busy => unreachable!("evaluated"),
    }
}

/// `(n x)` or `(n x y)`, for n from 0 to 2.
fn shape(x: &Cell) -> Option<(u32, Cell, Option<Cell>)> {
    let App(f, y) = x.borrow().clone() else { return None };
    let small =
        |f: &Cell| if let Node::Nat(n) = &*f.borrow() { u32::try_from(n).ok().filter(|n| *n < 3) } else { None };
    if let Some(n) = small(&f) {
        return Some((n, y, None));
    }
    let App(g, x) = f.borrow().clone() else { return None };
    small(&g).map(|n| (n, x, Some(y)))
}

fn read(slots: &[Cell], body: &Cell) -> Cell {
    match shape(body) {
        Some((0, f, Some(x))) => return cell(Call(read(slots, &f), read(slots, &x))),
        Some((2, literal, None)) => return literal,
        _ => {}
    }
    if let Node::Nat(n) = &*body.borrow()
        && let Ok(slot) = usize::try_from(n)
        && slot < slots.len()
    {
        return slots[slot].clone();
    }
    body.clone()
}

/// Each pin once, however often it is named: written out, the functions of a library that use each other take hundreds of megabytes.
fn load(value: &Value, pins: &mut HashMap<PinHash, Cell>) -> Cell {
    match value {
        Value::Nat(n) => cell(Node::Nat(n.to_big())),
        Value::Pin(pin) => {
            if let Some(pin) = pins.get(&pin.hash()) {
                return pin.clone();
            }
            let content = load(pin.content(), pins);
            pins.entry(pin.hash()).or_insert_with(|| cell(Pin(content))).clone()
        }
        Value::Law(law) => cell(Law(law.name().to_big(), law.arity().to_big(), load(law.body(), pins))),
        Value::App(app) => {
            let mut f = load(app.head(), pins);
            for x in app.args() {
                let x = load(x, pins);
                // Whether it is to be evaluated is known when it is.
                let waits = !matches!(&*f.borrow(), Call(..)) && arity(&f) > BigUint::from(1u32);
                f = cell(if waits { App(f, x) } else { Call(f, x) });
            }
            f
        }
    }
}

fn unload(x: &Cell, pins: &mut HashMap<*const RefCell<Node>, Value>) -> Value {
    match &*x.borrow() {
        Node::Nat(n) => Nat::from(n.clone()).into(),
        Pin(content) => {
            if let Some(pin) = pins.get(&Rc::as_ptr(x)) {
                return pin.clone();
            }
            let pin = Value::pin(unload(content, pins)).unwrap();
            pins.insert(Rc::as_ptr(x), pin.clone());
            pin
        }
        Law(n, a, b) => Value::law(n.clone().into(), a.clone().into(), unload(b, pins)).unwrap(),
        App(f, y) => Value::app(unload(f, pins), vec![unload(y, pins)]),
        Same(to) => unload(to, pins),
        Call(..) | Busy => unreachable!("normal"),
    }
}

#[test]
fn the_reference_adds() {
    let mut library = crate::reader::Library::new();
    library.define("main x = (mul (add x 4) (sub 10 3))");
    let value = Value::app(library.get("main"), vec![Value::word(2)]);
    assert_eq!(nat(42).borrow().clone().word(), Reference { steps: 100_000 }.evaluate(&value).ok());
}

impl Node {
    fn word(self) -> Option<Value> {
        if let Node::Nat(n) = self { Some(Nat::from(n).into()) } else { None }
    }
}
