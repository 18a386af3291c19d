//! How many reductions a second: `cargo run --release -p lang --example reductions [NAME]`.
//!
//! A reduction is a law's body entered, or a jet. Times are of this thread on a processor. Programs are in the notation of the
//! evaluator's tests. `events` is another measurement: a counter beside a table of a million entries, one of which each event changes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for people")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "of times and counts"
)]

#[path = "../tests/eval/reader.rs"]
mod reader;

use std::time::Duration;

use lang::Value;
use lang::eval::{Depth, JetTable, Limits, Machine, Progress};
use reader::Library;

const MORE: &str = r#"
    fib n = (if (lth n 2) n (add (fib (sub n 1)) (fib (sub n 2))))

    loop n acc = (if n (loop (sub n 1) (add acc n)) acc)

    tak x y z = (if (lth y x) (tak (tak (sub x 1) y z) (tak (sub y 1) z x) (tak (sub z 1) x y)) z)

    foldl f z l = (if (len l) (foldl f (f z (idx 0 l)) (idx 1 l)) z)
    foldr f z l = (if (len l) (f (idx 0 l) (foldr f z (idx 1 l))) z)
    lmap f l = (if (len l) [(f (idx 0 l)) (lmap f (idx 1 l))] 0)
    filter f l = (if (len l) (filter2 filter f (idx 0 l) (idx 1 l)) 0)
    range a b = (if (lth a b) [a (range (add a 1) b)] 0)
    suml l = (foldl add 0 l)

    nodiv p x = (mod x p)
    sieve l = (if (len l) [(idx 0 l) (sieve (filter (nodiv (idx 0 l)) (idx 1 l)))] 0)
    primes n = (suml (sieve (range 2 n)))

    safe q d qs = (if (len qs) (if (eql q (idx 0 qs)) 0 (if (eql (add q d) (idx 0 qs)) 0 (if (eql q (add d (idx 0 qs))) 0 (safe q (add d 1) (idx 1 qs))))) 1)
    place f n k qs i acc = (if (lth i n) (place f n k qs (add i 1) (if (safe i 1 qs) (add acc (f n (sub k 1) [i qs])) acc)) acc)
    queens n k qs = (if k (place queens n k qs 0 0) 1)
    nqueens n = (queens n n 0)

    append a b = (if (len a) [(idx 0 a) (append (idx 1 a) b)] b)
    qsort l = (if (len l) (append (qsort (filter (gth (idx 0 l)) (idx 1 l))) [(idx 0 l) (qsort (filter (lte (idx 0 l)) (idx 1 l)))]) 0)
    rand n s = (let t (mod (add (mul s 1103515245) 12345) 2147483648) (if n [t (rand (sub n 1) t)] 0))
    sortit n = (suml (qsort (rand n 42)))

    fill n s t = (let k (mod (add (mul s 1103515245) 12345) 2147483648) (if n (fill (sub n 1) k (insert k n t)) t))
    look n s acc t = (let k (mod (add (mul s 1103515245) 12345) 2147483648) (if n (look (sub n 1) k (add acc (at k t)) t) acc))
    step s k = (let n (inc (idx 0 s)) [n (insert k n (idx 1 s))])
    maps n = (let t (fill n 42 (insert 0 0 0)) (look n 42 0 t))

    fact n = (if n (mul n (fact (sub n 1))) 1)
    facts n = (met (fact n))
    text n b = (if n (text (sub n 1) (bytes-weld b "abc")) b)
"#;

fn main() {
    let wanted = std::env::args().nth(1);
    let mut library = Library::new();
    let order = "filter2 f p h t = (if (p h) [h (f p t)] (f p t))";
    library.define(order).define(MORE);
    if wanted.as_deref() == Some("events") {
        return events(&library);
    }
    let programs: [(&str, &[u64]); 10] = [
        ("fib", &[30]),
        ("loop", &[10_000_000, 0]),
        ("tak", &[24, 16, 8]),
        ("primes", &[8000]),
        ("nqueens", &[9]),
        ("sortit", &[100_000]),
        ("maps", &[1_000_000]),
        ("facts", &[3000]),
        ("text", &[3000]),
        ("suml", &[0]),
    ];
    for (name, args) in programs {
        if wanted.as_ref().is_some_and(|wanted| wanted != name) || name == "suml" {
            continue;
        }
        let mut args: Vec<Value> = args.iter().copied().map(Value::word).collect();
        if name == "text" {
            args.push(Value::bar(b""));
        }
        let value = Value::app(library.get(name), args);
        let mut machine = machine(&library);
        let root = machine.load(&value);
        machine.start(root, Depth::Normal);
        let start = cpu();
        let progress = machine.run(u64::MAX);
        let seconds = (cpu() - start).as_secs_f64();
        let Progress::Done(root) = progress else { panic!("{name}: {progress:?}") };
        let usage = machine.usage();
        println!(
            "{name:8} {:7.1} M reductions/s {seconds:7.3} s {:>11} reductions, {:>9} words old, collections {:?}, {:?}",
            usage.steps as f64 / seconds / 1e6,
            usage.steps,
            usage.heap_words,
            usage.collections,
            machine.read(root).unwrap(),
        );
    }
}

fn machine(library: &Library) -> Machine {
    let mut table = JetTable::default();
    let names: Vec<&str> = table.names().map(|(name, _)| name).collect();
    for name in names {
        if let Some(Value::Pin(pin)) = library.defined.get(name) {
            table.bind(name, pin.hash());
        }
    }
    Machine::new(Limits::default(), table).unwrap()
}

/// Time of this thread on a processor: others may be busy.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

fn events(library: &Library) {
    const ENTRIES: u64 = 1_000_000;
    let mut machine = machine(library);
    let table = Value::tab((0..ENTRIES).map(|key| (Value::word(key), Value::word(0))).collect()).unwrap();
    let step = machine.load(&library.get("step"));
    let mut state = machine.load(&Value::row(vec![Value::word(0), table]));
    // What taking in a million entries leaves to do is no event's.
    machine.collect(true);
    let mut random = 1u64;
    let mut times = Vec::new();
    for _ in 0..1_000_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let key = machine.load(&Value::word((random >> 33) % ENTRIES));
        let start = cpu();
        let next = machine.apply(step, &[state, key]);
        machine.release(key);
        machine.release(state);
        machine.start(next, Depth::Normal);
        machine.release(next);
        let Progress::Done(root) = machine.run(u64::MAX) else { panic!("it ends") };
        state = root;
        times.push(cpu() - start);
    }
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    let usage = machine.usage();
    println!("median {:?}, 99 % {:?}, 99.99 % {:?}, worst {:?}; {usage:?}", at(0.5), at(0.99), at(0.9999), at(1.0));
}
