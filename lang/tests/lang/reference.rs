//! The rules of evaluation, as directly as they can be told: by recursion, without regard for time or depth. A few laws of
//! known names are done here and not by their bodies, as a machine may do them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use lang::compile::{Environment, Host, Outcome};
use lang::{Nat, Value};
use num_bigint::BigUint;

thread_local! {
    static NATIVELY: Cell<Natively> = const { Cell::new(Natively::All) };
}

/// Which laws of known names are not run by their bodies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Natively {
    None,
    /// Those of the base library's `numbers`. By the rules alone a number takes as many steps as it says.
    Numbers,
    All,
}

type Node = Rc<RefCell<Graph>>;

#[derive(Clone)]
enum Graph {
    /// A number, a pin or a law.
    Value(Value),
    App(Node, Node),
    Same(Node),
}

fn node(graph: Graph) -> Node {
    Rc::new(RefCell::new(graph))
}

fn of(value: &Value) -> Node {
    match value {
        Value::App(app) => app.args().iter().fold(of(app.head()), |f, x| apply(f, of(x))),
        other => node(Graph::Value(other.clone())),
    }
}

fn apply(f: Node, x: Node) -> Node {
    node(Graph::App(f, x))
}

fn word(value: u64) -> Node {
    of(&Value::word(value))
}

/// Evaluates until the outermost part is known. Gives head and arguments.
fn eval(at: &Node) -> Result<(Value, Vec<Node>), String> {
    loop {
        let here = at.borrow().clone();
        let (f, x) = match here {
            Graph::Value(value) => return Ok((value, vec![])),
            Graph::Same(other) => {
                let known = eval(&other)?;
                *at.borrow_mut() = other.borrow().clone();
                return Ok(known);
            }
            Graph::App(f, x) => (f, x),
        };
        let (head, mut args) = eval(&f)?;
        args.push(x);
        if head.arity() > Nat::word(args.len() as u64) {
            return Ok((head, args));
        }
        let result = step(&head, &args)?;
        *at.borrow_mut() = Graph::Same(result);
    }
}

fn nat(at: &Node) -> Result<Nat, String> {
    Ok(match eval(at)? {
        (Value::Nat(nat), args) if args.is_empty() => nat,
        _ => Nat::ZERO,
    })
}

fn force(at: &Node) -> Result<Value, String> {
    let (head, args) = eval(at)?;
    Ok(Value::app(head, args.iter().map(force).collect::<Result<_, _>>()?))
}

fn step(head: &Value, args: &[Node]) -> Result<Node, String> {
    let number = match head {
        Value::Pin(pin) => match pin.content() {
            Value::Law(law) => {
                let native = match NATIVELY.get() {
                    Natively::None => None,
                    Natively::Numbers => numbers(law, args),
                    Natively::All => native(law, args),
                };
                return native.unwrap_or_else(|| Ok(run(head, law, args)));
            }
            other => return Ok(args.iter().fold(of(other), |f, x| apply(f, x.clone()))),
        },
        Value::Law(law) => return Ok(run(head, law, args)),
        Value::Nat(nat) => nat.to_word(),
        Value::App(_) => unreachable!(),
    };
    match number {
        Some(0) => {
            let law = Value::law(nat(&args[0])?, nat(&args[1])?, force(&args[2])?);
            law.map(|law| of(&law)).ok_or_else(|| "0 0".to_owned())
        }
        Some(1) => {
            let (head, mut inner) = eval(&args[4])?;
            Ok(match (head, inner.pop()) {
                (head, Some(last)) => {
                    let f = inner.into_iter().fold(of(&head), apply);
                    apply(apply(args[2].clone(), f), last)
                }
                (Value::Pin(pin), None) => apply(args[0].clone(), of(pin.content())),
                (Value::Law(law), None) => {
                    let parts = [Value::Nat(law.name().clone()), Value::Nat(law.arity().clone()), law.body().clone()];
                    parts.iter().fold(args[1].clone(), |f, part| apply(f, of(part)))
                }
                (value, None) => apply(args[3].clone(), of(&value)),
            })
        }
        Some(2) => match nat(&args[2])? {
            zero if zero.is_zero() => Ok(args[0].clone()),
            more => Ok(apply(args[1].clone(), of(&more.less(1).into()))),
        },
        Some(3) => Ok(of(&nat(&args[0])?.next().into())),
        Some(4) => Ok(of(&Value::pin(force(&args[0])?).map_err(|error| error.to_string())?)),
        _ => Err(format!("crash {head:?} {:?}", force(&args[0])?)),
    }
}

fn run(itself: &Value, law: &lang::value::Law, args: &[Node]) -> Node {
    let mut slots: Vec<Node> = std::iter::once(of(itself)).chain(args.iter().cloned()).collect();
    let (mut lets, mut body) = (Vec::new(), law.body());
    while let Some([value, rest]) = operation(body, 1) {
        lets.push(value);
        body = rest;
    }
    let first = slots.len();
    slots.extend(lets.iter().map(|_| word(0)));
    for (slot, value) in (first..).zip(lets) {
        let meaning = term(value, &slots);
        *slots[slot].borrow_mut() = Graph::Same(meaning);
    }
    term(body, &slots)
}

fn operation(value: &Value, code: u64) -> Option<&[Value; 2]> {
    match value {
        Value::App(app) if *app.head() == Value::word(code) => app.args().as_array(),
        _ => None,
    }
}

fn term(value: &Value, slots: &[Node]) -> Node {
    if let Some([f, x]) = operation(value, 0) {
        return apply(term(f, slots), term(x, slots));
    }
    match value {
        Value::Nat(nat) => match nat.to_word().and_then(|at| slots.get(usize::try_from(at).ok()?)) {
            Some(slot) => slot.clone(),
            None => of(value),
        },
        Value::App(app) if *app.head() == Value::word(2) && app.args().len() == 1 => of(&app.args()[0]),
        other => of(other),
    }
}

const NATIVE: [(&str, u64); 10] = [
    ("eql", 2),
    ("is-row", 1),
    ("len", 1),
    ("idx", 2),
    ("add", 2),
    ("sub", 2),
    ("mul", 2),
    ("lth", 2),
    ("inc", 1),
    ("is-nat", 1),
];

fn native(law: &lang::value::Law, args: &[Node]) -> Option<Result<Node, String>> {
    let (name, _) = NATIVE.iter().find(|(name, _)| *law.name() == Nat::symbol(name))?;
    if ["is-row", "len", "idx"].contains(name) {
        return Some(row(name, args));
    }
    let values: Result<Vec<Value>, String> = args.iter().map(force).collect();
    let values = match values {
        Ok(values) => values,
        Err(error) => return Some(Err(error)),
    };
    let big = |at: usize| match &values[at] {
        Value::Nat(nat) => nat.to_big(),
        _ => BigUint::ZERO,
    };
    let bit = |is: bool| Value::word(u64::from(is));
    let number = |number: BigUint| Value::Nat(number.into());
    Some(Ok(of(&match *name {
        "eql" => bit(values[0] == values[1]),
        "is-nat" => bit(matches!(values[0], Value::Nat(_))),
        "add" => number(big(0) + big(1)),
        "sub" => number(if big(0) > big(1) { big(0) - big(1) } else { BigUint::ZERO }),
        "mul" => number(big(0) * big(1)),
        "lth" => bit(big(0) < big(1)),
        _ => number(big(0) + 1u32),
    })))
}

fn numbers(law: &lang::value::Law, args: &[Node]) -> Option<Result<Node, String>> {
    let is = |name: &str| *law.name() == Nat::symbol(name);
    let known = ["add", "sub", "mul", "lth", "inc", "dec", "div", "mod", "bex", "lsh", "rsh", "met"];
    let name = known.iter().find(|name| is(name))?;
    let big = |at: usize| args.get(at).map_or(Ok::<_, String>(BigUint::ZERO), |arg| Ok(nat(arg)?.to_big()));
    let run = || -> Result<Node, String> {
        let (a, b) = (big(0)?, big(1)?);
        let places = |n: &BigUint| u64::try_from(n).map_err(|_| "too many places".to_owned());
        Ok(of(&Value::Nat(Nat::from(match *name {
            "add" => a + b,
            "sub" if a > b => a - b,
            "sub" => BigUint::ZERO,
            "mul" => a * b,
            "lth" => BigUint::from(u8::from(a < b)),
            "inc" => a + 1u32,
            "dec" if a == BigUint::ZERO => a,
            "dec" => a - 1u32,
            "div" | "mod" if b == BigUint::ZERO => b,
            "div" => a / b,
            "mod" => a % b,
            "bex" => BigUint::from(1u32) << places(&a)?,
            "lsh" => a << places(&b)?,
            "rsh" => a >> places(&b)?,
            _ => BigUint::from(a.bits()),
        }))))
    };
    Some(run())
}

/// Those that look at a row and not into its elements.
fn row(name: &str, args: &[Node]) -> Result<Node, String> {
    let (head, mut elements) = eval(&args[args.len() - 1])?;
    elements.reverse();
    let shape = Value::app(head, vec![Value::word(0); elements.len()]);
    let is_row = shape.as_row().is_some();
    Ok(match name {
        "is-row" => word(u64::from(is_row)),
        "len" => word(if is_row { elements.len() as u64 } else { 0 }),
        _ => {
            let index = nat(&args[0])?.to_word().and_then(|index| usize::try_from(index).ok());
            index.and_then(|index| elements.get(index)).filter(|_| is_row).cloned().unwrap_or_else(|| word(0))
        }
    })
}

/// Names that programs in tests use.
pub(crate) fn environment() -> Environment {
    let mut environment = Environment::default();
    for (name, arity) in NATIVE {
        // Of a body that nothing looks at.
        let law = Value::law(Nat::symbol(name), Nat::word(arity), Value::symbol("native")).unwrap();
        environment.define(name, Value::pin(law).unwrap());
    }
    // (if c t e) = (2 e (fn (_) t) c)
    let source = "(def (if c t e) (2 e (fn (_) t) c))";
    lang::compile::run(source, &mut environment, &mut Reference).unwrap();
    environment.fix_core();
    environment
}

/// Evaluates by the rules; files are what they define.
pub(crate) struct Reference;

impl Host for Reference {
    fn evaluate(&mut self, redex: Value) -> Result<Value, String> {
        force(&of(&redex))
    }

    fn import(&mut self, file: &str) -> Result<Vec<(String, Value)>, String> {
        match file {
            "pair" => Ok(vec![("first".to_owned(), Value::word(1)), ("second".to_owned(), Value::word(2))]),
            _ => Err("there is no such file".to_owned()),
        }
    }
}

/// Evaluates by the rules and what is said to be native; files are those of the base library.
pub(crate) struct Base(pub(crate) Natively, pub(crate) HashMap<String, Outcome>);

impl Base {
    /// What a file of the base library defines, and how many assertions held.
    pub(crate) fn file(&mut self, name: &str) -> Outcome {
        if let Some(known) = self.1.get(name) {
            return known.clone();
        }
        let path = format!("{}/base/{name}.abide", env!("CARGO_MANIFEST_DIR"));
        let source = std::fs::read_to_string(path).unwrap();
        let outcome = lang::compile::run(&source, &mut Environment::default(), self);
        let outcome = outcome.unwrap_or_else(|error| panic!("{}", error.render(name, &source)));
        self.1.insert(name.to_owned(), outcome.clone());
        outcome
    }
}

impl Host for Base {
    fn evaluate(&mut self, redex: Value) -> Result<Value, String> {
        NATIVELY.set(self.0);
        let value = force(&of(&redex));
        NATIVELY.set(Natively::All);
        value
    }

    fn import(&mut self, file: &str) -> Result<Vec<(String, Value)>, String> {
        Ok(self.file(file).definitions)
    }
}
