//! How many pages an event writes to, by comparing all of a machine's memory before and after.

use std::collections::HashMap;

use super::heap::Heap;
use super::{Depth, JetTable, Limits, Machine, Progress};
use crate::nat::Nat;
use crate::value::Value;

/// `(0 f x)`, folded.
fn call(parts: Vec<Value>) -> Value {
    parts.into_iter().reduce(|f, x| Value::app(Value::word(0), vec![f, x])).unwrap()
}

fn quote(value: Value) -> Value {
    Value::app(Value::word(2), vec![value])
}

fn law(name: &str, arity: u64, body: Value) -> Value {
    Value::pin(Value::law(Nat::symbol(name), Nat::word(arity), body).unwrap()).unwrap()
}

/// A machine with a counter and a table of so many entries, and the event that counts and changes an entry.
fn counter(entries: u64) -> (Machine, super::Root, super::Root) {
    let mut jets = JetTable::default();
    let mut function = |name: &str, arity: u64| {
        let pin = law(name, arity, Value::word(0));
        let Value::Pin(inner) = &pin else { unreachable!() };
        assert!(jets.bind(name, inner.hash()));
        quote(pin)
    };
    let (idx, inc, tab_ins) = (function("idx", 2), function("inc", 1), function("insert", 3));
    let part = |index: u64| call(vec![idx.clone(), quote(Value::word(index)), Value::word(1)]);
    // (step s k) = [(inc (idx 0 s)) (insert k (idx 0 s) (idx 1 s))]
    let body = call(vec![
        quote(Value::cow(2)),
        call(vec![tab_ins, Value::word(2), part(0), part(1)]),
        call(vec![inc, part(0)]),
    ]);
    let mut machine = Machine::new(Limits::default(), jets).unwrap();
    let step = machine.load(&law("step", 2, body));
    let table = Value::tab((0..entries).map(|key| (Value::word(key), Value::word(0))).collect()).unwrap();
    let state = machine.load(&Value::row(vec![Value::word(0), table]));
    (machine, step, state)
}

/// The memory of a machine, piece by piece.
fn snapshot(machine: &Machine) -> HashMap<&'static str, Vec<u8>> {
    let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let mut pieces: HashMap<&'static str, Vec<u8>> = Heap::pieces(&machine.heap).into_iter().collect();
    pieces.insert("stack", words(machine.stack()));
    pieces
}

fn pages(before: &HashMap<&'static str, Vec<u8>>, after: &HashMap<&'static str, Vec<u8>>) -> usize {
    const PAGE: usize = 4096;
    let changed = |name: &str, piece: &Vec<u8>| {
        let old = &before[name];
        (0..piece.len().div_ceil(PAGE))
            .filter(|page| {
                let range =
                    |bytes: &[u8]| bytes[(page * PAGE).min(bytes.len())..((page + 1) * PAGE).min(bytes.len())].to_vec();
                range(old) != range(piece)
            })
            .count()
    };
    after.iter().map(|(name, piece)| changed(name, piece)).sum()
}

/// The words of a heap of three hundred thousand entries are compared a few dozen times, in the middle of a hundred thousand events.
#[test]
fn a_small_event_in_a_large_heap_writes_few_pages() {
    let entries = 300_000;
    let (mut machine, step, mut state) = counter(entries);
    let mut random = 1u64;
    let mut written = Vec::new();
    for event in 0..60_000u64 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let key = machine.load(&Value::word((random >> 33) % entries));
        let watched = event > 30_000 && event % 997 == 0;
        let before = watched.then(|| snapshot(&machine));
        let next = machine.apply(step, &[state, key]);
        [state, key].into_iter().for_each(|root| machine.release(root));
        machine.start(next, Depth::Normal);
        machine.release(next);
        let Progress::Done(root) = machine.run(1_000_000) else { panic!("event {event}") };
        state = root;
        if let Some(before) = before {
            written.push(pages(&before, &snapshot(&machine)));
        }
    }
    written.sort_unstable();
    assert!(machine.usage().collections.0 > 50 && machine.usage().collections.1 > 0, "{:?}", machine.usage());
    assert!(written[written.len() / 2] <= 10, "{written:?}");
    assert!(machine.usage().heap_words < 3 * 6 * 300_000, "{:?}", machine.usage());
}
