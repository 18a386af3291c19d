//! Random programs against an interpreter of their own: scopes, functions within functions and what they use, lets, cases.

use lang::Value;
use lang::compile::run;
use proptest::prelude::*;

use crate::reference::{Reference, environment};

/// A program that is a number. A variable is one of those in scope, counted round.
#[derive(Debug, Clone)]
enum Program {
    Number(u64),
    Variable(usize),
    Add(Box<[Program; 2]>),
    If(Box<[Program; 3]>),
    /// `(let (x e) ..)`
    Let(Box<[Program; 2]>),
    /// `((fn (x y) ..) e f)`
    Call(Box<[Program; 3]>),
    /// A function that is let be, called twice: its body, and what it is given.
    Function(Box<[Program; 3]>),
    /// One of two functions, given something.
    Choice(Box<[Program; 4]>),
    /// A function that gives a function.
    Nested(Box<[Program; 3]>),
    /// `(case e 0 .. x ..)`
    Case(Box<[Program; 3]>),
    /// `(case [e f] .. [x y] ..)`
    Row(Box<[Program; 3]>),
    /// A function that calls itself so many times, adding.
    Loop(u64, Box<Program>),
}

use Program::{Add, Call, Case, Choice, Function, If, Let, Loop, Nested, Number, Row, Variable};

fn programs() -> impl Strategy<Value = Program> {
    let leaves =
        prop_oneof![(0u64..5).prop_map(Number), (0usize..8).prop_map(Variable), (0usize..8).prop_map(Variable)];
    leaves.prop_recursive(6, 40, 4, |inner| {
        let two = || [inner.clone(), inner.clone()].prop_map(Box::new);
        let three = || [inner.clone(), inner.clone(), inner.clone()].prop_map(Box::new);
        let four = [inner.clone(), inner.clone(), inner.clone(), inner.clone()].prop_map(Box::new);
        prop_oneof![
            two().prop_map(Add),
            three().prop_map(If),
            two().prop_map(Let),
            three().prop_map(Call),
            three().prop_map(Function),
            four.prop_map(Choice),
            three().prop_map(Nested),
            three().prop_map(Case),
            three().prop_map(Row),
            (0u64..4, inner.clone()).prop_map(|(times, step)| Loop(times, step.into())),
        ]
    })
}

/// What is in scope: names and what they mean. Names return after some time, so that they hide one another.
#[derive(Default)]
struct Scope {
    names: Vec<(String, u64)>,
    made: usize,
}

impl Scope {
    fn fresh(&mut self) -> String {
        self.made += 1;
        format!("v{}", self.made)
    }

    fn parameter(&mut self) -> String {
        self.made += 1;
        ["a", "b", "c", "d"][self.made % 4].to_owned()
    }

    fn within<T>(&mut self, bound: &[(&String, u64)], what: impl FnOnce(&mut Self) -> T) -> T {
        let outside = self.names.len();
        self.names.extend(bound.iter().map(|(name, value)| ((*name).clone(), *value)));
        let result = what(self);
        self.names.truncate(outside);
        result
    }
}

impl Program {
    /// Its text, and its value if the variables have theirs.
    fn tell(&self, scope: &mut Scope) -> (String, u64) {
        match self {
            Number(number) => (number.to_string(), *number),
            Variable(index) => {
                let Some((name, _)) = scope.names.get(index % scope.names.len().max(1)).cloned() else {
                    return ("1".to_owned(), 1);
                };
                // The last one of this name.
                let (_, value) = scope.names.iter().rev().find(|(other, _)| *other == name).unwrap();
                (name, *value)
            }
            Add(parts) => {
                let [(a, x), (b, y)] = parts.each_ref().map(|part| part.tell(scope));
                (format!("(add {a} {b})"), x + y)
            }
            If(parts) => {
                let [(c, z), (a, x), (b, y)] = parts.each_ref().map(|part| part.tell(scope));
                (format!("(if {c} {a} {b})"), if z > 0 { x } else { y })
            }
            Let(parts) => {
                let (value, x) = parts[0].tell(scope);
                let name = scope.fresh();
                let (body, y) = scope.within(&[(&name, x)], |scope| parts[1].tell(scope));
                (format!("(let ({name} {value}) {body})"), y)
            }
            Call(parts) => {
                let [(a, x), (b, y)] = [&parts[0], &parts[1]].map(|part| part.tell(scope));
                let (p, q) = (scope.parameter(), scope.parameter());
                let (body, z) = scope.within(&[(&p, x), (&q, y)], |scope| parts[2].tell(scope));
                (format!("((fn ({p} {q}) {body}) {a} {b})"), z)
            }
            Function(parts) => {
                let [(a, x), (b, y)] = [&parts[0], &parts[1]].map(|part| part.tell(scope));
                let (f, p) = (scope.fresh(), scope.parameter());
                let made = scope.made;
                let (body, u) = scope.within(&[(&p, x)], |scope| parts[2].tell(scope));
                scope.made = made;
                let (_, v) = scope.within(&[(&p, y)], |scope| parts[2].tell(scope));
                (format!("(let ({f} (fn ({p}) {body})) (add ({f} {a}) ({f} {b})))"), u + v)
            }
            Choice(parts) => {
                let [(c, z), (a, x)] = [&parts[0], &parts[1]].map(|part| part.tell(scope));
                let p = scope.parameter();
                let (f, u) = scope.within(&[(&p, x)], |scope| parts[2].tell(scope));
                let (g, v) = scope.within(&[(&p, x)], |scope| parts[3].tell(scope));
                (format!("((if {c} (fn ({p}) {f}) (fn ({p}) {g})) {a})"), if z > 0 { u } else { v })
            }
            Nested(parts) => {
                let [(a, x), (b, y)] = [&parts[0], &parts[1]].map(|part| part.tell(scope));
                let (p, q) = (scope.parameter(), scope.parameter());
                let (body, z) = scope.within(&[(&p, x), (&q, y)], |scope| parts[2].tell(scope));
                (format!("(((fn ({p}) (fn ({q}) {body})) {a}) {b})"), z)
            }
            Case(parts) => {
                let [(a, x), (zero, y)] = [&parts[0], &parts[1]].map(|part| part.tell(scope));
                let p = scope.parameter();
                let (other, z) = scope.within(&[(&p, x)], |scope| parts[2].tell(scope));
                (format!("(case {a} 0 {zero} {p} {other})"), if x == 0 { y } else { z })
            }
            Row(parts) => {
                let [(a, x), (b, y)] = [&parts[0], &parts[1]].map(|part| part.tell(scope));
                let (p, q) = (scope.parameter(), scope.parameter());
                let (body, z) = scope.within(&[(&p, x), (&q, y)], |scope| parts[2].tell(scope));
                (format!("(case [{a} {b}] [_] 7 [{p} {q}] {body} _ 8)"), z)
            }
            Loop(times, step) => {
                let (go, i) = (scope.fresh(), scope.fresh());
                let made = scope.made;
                let mut told = String::new();
                let mut sum = 0;
                for index in 0..=*times {
                    scope.made = made;
                    let (body, x) = scope.within(&[(&i, index)], |scope| step.tell(scope));
                    told = body;
                    sum += if index > 0 { x } else { 0 };
                }
                (format!("(let ({go} (fn ({i}) (if {i} (add {told} ({go} (sub {i} 1))) 0))) ({go} {times}))"), sum)
            }
        }
    }
}

proptest! {
    #[test]
    fn programs_mean_what_they_say(program in programs()) {
        let (text, value) = program.tell(&mut Scope::default());
        let outcome = run(&text, &mut environment(), &mut Reference);
        let values = outcome.map(|outcome| outcome.values).map_err(|error| error.render("t", &text));
        prop_assert_eq!(values, Ok(vec![Value::word(value)]), "{}", text);
        // As a function of nothing, and of something that is given.
        let (text, value) = scope_of_two(&program);
        let outcome = run(&text, &mut environment(), &mut Reference);
        let values = outcome.map(|outcome| outcome.values).map_err(|error| error.render("t", &text));
        prop_assert_eq!(values, Ok(vec![Value::word(value)]), "{}", text);
    }
}

fn scope_of_two(program: &Program) -> (String, u64) {
    let mut scope = Scope::default();
    let (a, b) = ("a".to_owned(), "outer".to_owned());
    let (body, value) = scope.within(&[(&a, 3), (&b, 4)], |scope| program.tell(scope));
    (format!("(def (f a outer) {body}) (f 3 4)"), value)
}
