//! Each jet against its law, and sets and tables against a model.

use std::collections::BTreeMap;

use lang::eval::{CrashValue, Machine};
use lang::{Nat, Value};

use crate::basics::{evaluate, limits, machine};
use crate::programs::Dice;
use crate::reader::{Library, base, constant};

fn word(number: u64) -> Value {
    Value::word(number)
}

fn nat(limbs: &[u64]) -> Value {
    let bytes: Vec<u8> = limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect();
    Nat::from_bytes_le(&bytes).into()
}

fn redex(opcode: u64, argument: Value) -> Value {
    Value::app(word(opcode), vec![argument])
}

/// Values of all kinds, evaluated or not, some of which crash.
fn arguments(library: &Library) -> Vec<Value> {
    let cow = |n| Value::cow(n);
    let law = |name, arity, body| Value::law(Nat::word(name), Nat::word(arity), word(body)).unwrap();
    let mut all: Vec<Value> = [0, 1, 2, 3, 7, 8, 63, 64, 255].map(word).to_vec();
    all.extend([word(u64::MAX >> 1), word(1 << 63), nat(&[0, 1]), nat(&[u64::MAX, u64::MAX, 5])]);
    all.extend([vec![], vec![word(1)], vec![word(3), word(1), word(2), word(3)]].map(Value::row));
    all.extend([Value::row(vec![Value::row(vec![word(1)]), Value::bar(b"xy"), word(7)])]);
    all.extend([b"".as_slice(), b"a", b"\0\0", b"abcabcabd", b"bcab"].map(Value::bar));
    all.extend([law(1, 1, 2), law(0, 1, 0), law(7, 2, 1), cow(2), Value::app(cow(2), vec![word(5)])]);
    all.extend([Value::set(vec![word(1), word(2)]).unwrap(), Value::tab(vec![(word(1), word(7))]).unwrap()]);
    all.extend([
        Value::pin(word(1)).unwrap(),
        Value::pin(Value::row(vec![])).unwrap(),
        library.get("inc"),
        library.get("add"),
    ]);
    // Evaluated only when asked for: a number, a row with a crash in it, crashes.
    all.extend([redex(3, word(4)), redex(8, word(1)), redex(9, word(2))]);
    all.extend([Value::row(vec![word(1), redex(8, word(3))]), Value::row(vec![redex(3, word(0)), word(2)])]);
    all
}

/// What a jet and its law give for the same arguments: applied by itself, and by a law that is given them.
fn compare(jet: &mut Machine, law: &mut Machine, library: &Library, name: &str, args: &[Value]) -> bool {
    let apply = |f, x| Value::app(word(0), vec![f, x]);
    let pin = library.get(name);
    let slots = (1..=args.len() as u64).map(word);
    // In a row, so that it is called for its value here; and for the result.
    let called = slots.clone().fold(constant(pin.clone()), apply);
    let strict = apply(apply(constant(library.get("add")), called.clone()), word(1));
    let arity = Nat::word(args.len() as u64);
    let wrapped = [called, strict].map(|body| Value::law(Nat::ZERO, arity.clone(), body).unwrap());
    let mut known = false;
    for function in wrapped.into_iter().chain([pin]) {
        let program = Value::app(function, args.to_vec());
        let Some(expected) = evaluate(law, &program, 50_000) else { continue };
        if expected == Err(CrashValue::NumberTooLarge) {
            continue;
        }
        let found = evaluate(jet, &program, 1_000_000);
        assert_eq!(found, Some(expected), "{name} of {args:?}, as {program:?}");
        known = true;
    }
    known
}

#[test]
fn as_their_laws() {
    let library = Library::new();
    let mut table = lang::eval::JetTable::default();
    let names: Vec<(&str, usize)> = table.names().filter(|(name, _)| library.defined.contains_key(*name)).collect();
    assert!(names.len() > 60, "{} jets have laws", names.len());
    assert!(!table.bind("none", lang::PinHash::from_bytes([0; 32])));
    let pool = arguments(&library);
    let mut dice = Dice(77);
    for (name, arity) in names {
        let mut jet = machine(&library, true, limits());
        // Whatever the law is made of is fast, but not it itself.
        let mut rest = Library { defined: library.defined.clone() };
        rest.defined.remove(name);
        let mut law = machine(&rest, true, limits());
        let mut known = 0;
        let count = pool.len().pow(u32::try_from(arity.min(2)).unwrap());
        for index in 0..count.min(1200) {
            let args: Vec<Value> = match arity {
                1 => vec![pool[index].clone()],
                _ => (0..arity).map(|_| pool[usize::try_from(dice.roll(pool.len() as u64)).unwrap()].clone()).collect(),
            };
            known += usize::from(compare(&mut jet, &mut law, &library, name, &args));
        }
        assert!(known > pool.len() / 3, "{name}: {known} of {count} cases came to an end");
    }
}

#[test]
fn the_base_library_holds_with_and_without_jets() {
    let (_, asserted) = base(true, usize::MAX);
    assert!(asserted > 100, "{asserted}");
    // By counting on and back, what is about bytes takes too long.
    assert_eq!(base(true, 4), base(false, 4));
}

fn with_laws(names: &[(&str, usize)]) -> (Library, Machine) {
    let mut library = Library::new();
    for (name, arity) in names {
        let args: Vec<String> = (0..*arity).map(|index| format!("x{index}")).collect();
        library.define(&format!("{name} {} = (9 x0)", args.join(" ")));
    }
    let machine = machine(&library, true, limits());
    (library, machine)
}

#[test]
fn tables_as_a_model() {
    let (library, mut machine) = with_laws(&[
        ("insert", 3),
        ("delete", 2),
        ("at", 2),
        ("table-len", 1),
        ("is-key", 2),
        ("union", 2),
        ("split-table", 2),
        ("split-entries", 2),
        ("keys", 1),
        ("values", 1),
        ("entries", 1),
        ("from-entries", 1),
        ("entry", 2),
        ("lookup", 2),
        ("map-values", 2),
        ("key-set", 1),
        ("least-key", 1),
    ]);
    let mut call = |name: &str, args: Vec<Value>| {
        evaluate(&mut machine, &Value::app(library.get(name), args), 1_000_000).unwrap().unwrap()
    };
    let tab = |model: &BTreeMap<Value, Value>| Value::tab(model.clone().into_iter().collect()).unwrap();
    let mut dice = Dice(5);
    let mut model: BTreeMap<Value, Value> = BTreeMap::new();
    let mut table = Value::tab(vec![]).unwrap();
    let key = |roll: u64| match roll % 4 {
        0 => word(roll),
        1 => Value::bar(&roll.to_le_bytes()[..2]),
        2 => Value::row(vec![word(roll), word(1)]),
        _ => Value::pin(word(roll)).unwrap(),
    };
    for turn in 0..1500u64 {
        let k = key(dice.roll(120));
        match dice.roll(8) {
            0..=3 => {
                table = call("insert", vec![k.clone(), word(turn), table]);
                model.insert(k, word(turn));
            }
            4 => {
                table = call("delete", vec![k.clone(), table]);
                model.remove(&k);
            }
            5 => {
                let found = call("at", vec![k.clone(), table.clone()]);
                assert_eq!(found, model.get(&k).cloned().unwrap_or_default());
                let found = call("lookup", vec![k.clone(), table.clone()]);
                assert_eq!(found, Value::row(model.get(&k).cloned().into_iter().collect()));
                assert_eq!(call("is-key", vec![k.clone(), table.clone()]), word(u64::from(model.contains_key(&k))));
            }
            6 => {
                let parts = call("split-table", vec![k.clone(), table.clone()]);
                let [below, above] = [0, 1].map(|index| parts.as_row().unwrap().get(index).unwrap().clone());
                let (mut low, mut high) = (model.clone(), model.clone());
                low.retain(|other, _| *other < k);
                high.retain(|other, _| *other >= k);
                assert_eq!([&below, &above], [&tab(&low), &tab(&high)]);
                assert_eq!(call("union", vec![above, below]), table);
            }
            _ => {
                let count = dice.roll(1 + model.len() as u64);
                let parts = call("split-entries", vec![word(count), table.clone()]);
                assert_eq!(call("table-len", vec![parts.as_row().unwrap().get(0).unwrap().clone()]), word(count));
                if let Some((k, v)) = model.iter().nth(usize::try_from(count).unwrap()) {
                    let pair = Value::row(vec![k.clone(), v.clone()]);
                    assert_eq!(call("entry", vec![word(count), table.clone()]), pair);
                }
            }
        }
        if turn % 50 == 0 {
            assert_eq!(table, tab(&model));
            let keys = Value::row(model.keys().cloned().collect());
            let values = Value::row(model.values().cloned().collect());
            assert_eq!(call("keys", vec![table.clone()]), keys);
            assert_eq!(call("values", vec![table.clone()]), values);
            assert_eq!(call("key-set", vec![table.clone()]), Value::set(model.keys().cloned().collect()).unwrap());
            let pairs = call("entries", vec![table.clone()]);
            assert_eq!(call("from-entries", vec![pairs]), table);
            // Applied to anything, it gives its keys.
            let applied = Value::app(table.clone(), vec![word(1)]);
            assert_eq!(evaluate(&mut self::machine(&library, true, limits()), &applied, 100), Some(Ok(keys)));
        }
    }
}

#[test]
fn sets_as_a_model() {
    let (library, mut machine) = with_laws(&[
        ("set-insert", 2),
        ("set-delete", 2),
        ("set-has", 2),
        ("set-union", 2),
        ("set-common", 2),
        ("set-without", 2),
        ("set-len", 1),
        ("set-row", 1),
        ("row-set", 1),
        ("set-take", 2),
        ("set-drop", 2),
    ]);
    let mut call = |name: &str, args: Vec<Value>| {
        evaluate(&mut machine, &Value::app(library.get(name), args), 1_000_000).unwrap().unwrap()
    };
    let mut dice = Dice(6);
    for _ in 0..150 {
        let mut rolls = || -> Vec<Value> { (0..dice.roll(40)).map(|_| word(dice.roll(50))).collect() };
        let [a, b] = [rolls(), rolls()].map(std::collections::BTreeSet::from_iter);
        let set = |from: Vec<&Value>| Value::set(from.into_iter().cloned().collect()).unwrap();
        let [x, y] = [&a, &b].map(|model| call("row-set", vec![Value::row(model.iter().cloned().rev().collect())]));
        assert_eq!([&x, &y], [&set(a.iter().collect()), &set(b.iter().collect())]);
        assert_eq!(call("set-union", vec![x.clone(), y.clone()]), set(a.union(&b).collect()));
        assert_eq!(call("set-common", vec![x.clone(), y.clone()]), set(a.intersection(&b).collect()));
        assert_eq!(call("set-without", vec![x.clone(), y.clone()]), set(a.difference(&b).collect()));
        assert_eq!(call("set-take", vec![word(7), x.clone()]), set(a.iter().take(7).collect()));
        assert_eq!(call("set-drop", vec![word(7), x.clone()]), set(a.iter().skip(7).collect()));
        assert_eq!(call("set-row", vec![y.clone()]), Value::row(b.iter().cloned().collect()));
        for key in [3, 30].map(word) {
            assert_eq!(call("set-has", vec![key.clone(), x.clone()]), word(u64::from(a.contains(&key))));
            let mut more = a.clone();
            more.insert(key.clone());
            assert_eq!(call("set-insert", vec![key.clone(), x.clone()]), set(more.iter().collect()));
            more.remove(&key);
            assert_eq!(call("set-delete", vec![key, x.clone()]), set(more.iter().collect()));
        }
    }
}

/// Whatever form a value has in a heap, it has the hash that it has outside, and is given out as it came in.
#[test]
fn hashes_and_forms() {
    let mut library = Library::new();
    library
        .define("pinhash p = (9 p)\n hash x = (pinhash (4 x))\n part x y = (4 [x (hash y) (4 y)])\n lazy k v = (k v)");
    let mut machine = machine(&library, true, limits());
    for value in arguments(&library).into_iter().filter(Value::is_normal) {
        let root = machine.load(&value);
        assert_eq!(machine.read(root).unwrap(), value);
        let Value::Pin(pin) = Value::pin(value.clone()).unwrap() else { unreachable!() };
        let hash = Value::bar(pin.hash().as_bytes());
        let found = evaluate(&mut machine, &Value::app(library.get("hash"), vec![value.clone()]), 10_000);
        assert_eq!(found, Some(Ok(hash.clone())), "{value:?}");
        let found =
            evaluate(&mut machine, &Value::app(library.get("part"), vec![value.clone(), value.clone()]), 10_000);
        let pinned = Value::pin(value.clone()).unwrap();
        let expected = Value::pin(Value::row(vec![value.clone(), hash, pinned])).unwrap();
        assert_eq!(found, Some(Ok(expected)));
    }
    // A table that is one only once its values are evaluated.
    let keys = Value::set(vec![word(1), word(2)]).unwrap();
    let late = Value::app(
        library.get("lazy"),
        vec![keys.clone(), Value::app(library.get("id"), vec![Value::row(vec![word(5), word(6)])])],
    );
    let tab = Value::tab(vec![(word(1), word(5)), (word(2), word(6))]).unwrap();
    assert_eq!(evaluate(&mut machine, &late, 1000), Some(Ok(tab.clone())));
    let same = Value::app(library.get("eql"), vec![late, tab]);
    assert_eq!(evaluate(&mut machine, &same, 1000), Some(Ok(word(1))));
}
