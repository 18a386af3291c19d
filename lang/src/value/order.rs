//! Equality and order of values: structural, independent of how a value is held in memory.
//!
//! Numbers come before pins, pins before laws, laws before applications. Laws go by name, arity, body; applications by the
//! number of arguments, then by head and arguments in turn; pins of equal hash are equal, and others go by their contents.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::Value;

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self, other, |_, _| None)
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Value {}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        // Pins that differ need not be looked into to know that they do.
        compare(self, other, |a, b| Some(a.hash().cmp(&b.hash()))).is_eq()
    }
}

/// Compares part by part with a stack of what is left. Returns at the first difference: whatever has been met was equal.
fn compare(a: &Value, b: &Value, pins: impl Fn(&super::Pin, &super::Pin) -> Option<Ordering>) -> Ordering {
    let mut left = vec![(a, b)];
    // Pairs that are shared on both sides are met again and again; there are no cycles, so one met before is done with.
    let mut met = HashSet::new();
    while let Some((a, b)) = left.pop() {
        if let (Some(at), Some(bt)) = (a.shared_at(), b.shared_at())
            && (at == bt || !met.insert((at, bt)))
        {
            continue;
        }
        let here = match (a, b) {
            (Value::Nat(a), Value::Nat(b)) => a.cmp(b),
            (Value::Pin(a), Value::Pin(b)) if a.hash() == b.hash() => Ordering::Equal,
            (Value::Pin(a), Value::Pin(b)) => pins(a, b).unwrap_or_else(|| {
                left.push((a.content(), b.content()));
                Ordering::Equal
            }),
            (Value::Law(a), Value::Law(b)) => {
                left.push((a.body(), b.body()));
                a.name().cmp(b.name()).then_with(|| a.arity().cmp(b.arity()))
            }
            (Value::App(a), Value::App(b)) => {
                let by_length = a.args().len().cmp(&b.args().len());
                if by_length.is_eq() {
                    left.extend(a.args().iter().zip(b.args()).rev());
                    left.push((a.head(), b.head()));
                }
                by_length
            }
            _ => rank(a).cmp(&rank(b)),
        };
        if here.is_ne() {
            return here;
        }
    }
    Ordering::Equal
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Nat(_) => 0,
        Value::Pin(_) => 1,
        Value::Law(_) => 2,
        Value::App(_) => 3,
    }
}
