//! What programs of the language cost in a machine, beside what they cost without one: `cargo run --release -p tests --example kernel [NAME]`.
//!
//! The suite is texts that are evaluated at the prompt of a machine: natively by the kernel, then by its module in the step loop with a disk in memory.
//! Times are of this thread on a processor, the better of two runs. `events` measures a counter beside a map of a million entries, one of
//! which each event changes: pages that a commit saves, and time. `events 1000000` is a million events.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for people")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "of counts")]

use std::time::Duration;

use kernel::{Command, Genesis, Kernel, MODULE, Source};
use seed::cbor::Reader;
use seed::image::Grant;
use seed::message::{Input, Output};
use seed::{Nanos, PortId, ReplyId};
use tests::lone::{Lone, Said, on_a_guest_thread};
use vm::step_loop::Policy;

const PROGRAM: &str = "
    (def (fib n) (if (lth n 2) n (add (fib (sub n 1)) (fib (sub n 2)))))
    (def (loop n acc) (if n (loop (sub n 1) (add acc n)) acc))
    (def (tak x y z)
      (if (lth y x) (tak (tak (sub x 1) y z) (tak (sub y 1) z x) (tak (sub z 1) x y)) z))
    (def (keep f l) (if (len l) (if (f (idx 0 l)) [(idx 0 l) (keep f (idx 1 l))] (keep f (idx 1 l))) 0))
    (def (from a b) (if (lth a b) [a (from (add a 1) b)] 0))
    (def (total l acc) (if (len l) (total (idx 1 l) (add acc (idx 0 l))) acc))
    (def (sieve l) (if (len l) [(idx 0 l) (sieve (keep (fn (x) (mod x (idx 0 l))) (idx 1 l)))] 0))
    (def (safe q d qs)
      (if (len qs)
        (if (eql q (idx 0 qs)) 0
          (if (eql (add q d) (idx 0 qs)) 0 (if (eql q (add d (idx 0 qs))) 0 (safe q (add d 1) (idx 1 qs)))))
        1))
    (def queens
      (fn queens (n k qs)
        (if k
          (let (place (fn place (i acc)
                        (if (lth i n) (place (add i 1) (if (safe i 1 qs) (add acc (queens n (sub k 1) [i qs])) acc)) acc)))
            (place 0 0))
          1)))
    (def (append a b) (if (len a) [(idx 0 a) (append (idx 1 a) b)] b))
    (def (qsort l)
      (if (len l)
        (append (qsort (keep (gth (idx 0 l)) (idx 1 l))) [(idx 0 l) (qsort (keep (lte (idx 0 l)) (idx 1 l)))])
        0))
    (def (rand n s) (let (t (mod (add (mul s 1103515245) 12345) 2147483648)) (if n [t (rand (sub n 1) t)] 0)))
    (def (fact n) (if n (mul n (fact (sub n 1))) 1))
    (def (text n b) (if n (text (sub n 1) (bytes-weld b \"abc\")) b))
    (def start 0)
    (def (main self input)
      (case (idx 0 input)
        \"message\" (let (n (inc (idx 0 self)))
                    [[n (insert (mod (mul n 7919) 1000000) n (idx 1 self))] [[\"answer\" (idx 3 input) 0 \"\"]]])
        _ [self []]))";

const SUITE: [(&str, &str); 10] = [
    ("fib", "(fib 29)"),
    ("loop", "(loop 5000000 0)"),
    ("tak", "(tak 22 14 7)"),
    ("primes", "(total (sieve (from 2 6000)) 0)"),
    ("queens", "(queens 8 8 0)"),
    ("qsort", "(total (qsort (rand 50000 42)) 0)"),
    ("sort", "(len (sort (gen 30000 (fn (i) (mod (mul i 7919) 30011)))))"),
    ("maps", "(table-len (from-entries (gen 100000 (fn (i) [(mod (mul i 7919) 100003) i]))))"),
    ("fact", "(met (fact 2500))"),
    ("text", "(bytes-len (text 3000 \"\"))"),
];

fn main() {
    on_a_guest_thread(run);
}

fn run() {
    let wanted = std::env::args().nth(1);
    let native = tempfile::tempdir().unwrap();
    let genesis =
        Genesis { program: Source::Text(vec![("suite".to_owned(), PROGRAM.to_owned())]), budget: u64::MAX }.encode();
    let policy = Policy::default();
    let start = cpu();
    let mut machine = Lone::new(MODULE, &genesis, policy, native.path());
    println!("module compiled and opened in {:?} of this thread", cpu() - start);
    let start = cpu();
    machine.settle();
    println!("booted, base library and all, in {:?}; {:?}", cpu() - start, machine.halted);
    drop(machine);
    if wanted.as_deref() == Some("events") {
        return events(&genesis, native.path());
    }
    println!("{:8} {:>10} {:>10} {:>6} {:>22}", "", "native", "machine", "ratio", "M steps/s (machine)");
    let mut product = 1.0f64;
    for (name, source) in SUITE.iter().filter(|(name, _)| wanted.as_ref().is_none_or(|wanted| wanted == name)) {
        let command = Command::Eval { text: (*source).to_owned(), width: 80, depth: 3 }.encode();
        let alone = best(|| {
            let mut kernel = booted(&genesis);
            let start = cpu();
            let answer = asked(&mut kernel, &command);
            (cpu() - start, answer)
        });
        let within = best(|| {
            let mut machine = Lone::new(MODULE, &genesis, policy, native.path());
            machine.settle();
            let start = cpu();
            let said = machine.send(&command);
            let Said::Answer(answer) = said else { panic!("{name}: {said:?}") };
            (cpu() - start, answer)
        });
        assert_eq!(alone.1, within.1, "{name}");
        let mut answer = Reader::new(&alone.1);
        let has_failed = answer.array().and_then(|_| answer.uint()).unwrap();
        assert_eq!(has_failed, 0, "{name}: {}", String::from_utf8_lossy(&alone.1));
        let ratio = within.0.as_secs_f64() / alone.0.as_secs_f64();
        product *= ratio;
        println!("{name:8} {:>10.1?} {:>10.1?} {ratio:>6.2}", alone.0, within.0);
    }
    println!("geometric mean {:.2}", product.powf(1.0 / SUITE.len() as f64));
}

fn best(mut run: impl FnMut() -> (Duration, Vec<u8>)) -> (Duration, Vec<u8>) {
    let (first, answer) = run();
    let (second, _) = run();
    (first.min(second), answer)
}

fn give(kernel: &mut Kernel, input: &Input) -> Vec<Output> {
    let mut outputs = Output::decode_list(&kernel.input(&input.encode())).unwrap();
    while outputs.last() == Some(&Output::Again) {
        outputs.pop();
        let again = Input::Again { budget: Nanos::from_millis(50) };
        outputs.extend(Output::decode_list(&kernel.input(&again.encode())).unwrap());
    }
    outputs
}

fn booted(genesis: &[u8]) -> Kernel {
    let grants = vec![Grant { port: PortId(0), name: "owner".to_owned() }];
    let mut kernel = Kernel::default();
    assert_eq!(give(&mut kernel, &Input::Boot { genesis: genesis.to_vec(), grants, handover: None }), []);
    kernel
}

fn asked(kernel: &mut Kernel, payload: &[u8]) -> Vec<u8> {
    let payload = payload.to_vec();
    let input = Input::Message { port: PortId(0), from: Vec::new(), reply: ReplyId(1), payload };
    match give(kernel, &input).pop() {
        Some(Output::Answer { payload, .. }) => payload,
        other => panic!("{other:?}"),
    }
}

/// What each event does is the same in every run, what the host does meanwhile is not: an event's time is the better of two.
fn events(genesis: &[u8], native: &std::path::Path) {
    let count = std::env::args().nth(2).and_then(|count| count.parse().ok()).unwrap_or(20_000);
    let first = run_of_events(genesis, native, count);
    let second = run_of_events(genesis, native, count);
    let pages = |run: &[(Duration, usize)]| run.iter().map(|(_, pages)| *pages).collect::<Vec<_>>();
    let mut saved = pages(&first);
    assert_eq!(saved, pages(&second));
    saved.sort_unstable();
    let at = |part: f64| ((count - 1) as f64 * part) as usize;
    println!("pages: median {}, 99 % {}, worst {}", saved[at(0.5)], saved[at(0.99)], saved[at(1.0)]);
    let better = first.iter().zip(&second).map(|(first, second)| *first.min(second)).collect();
    for (name, mut run) in [("first", first), ("second", second), ("better of two", better)] {
        run.sort_unstable();
        let [median, most, worst] = [0.5, 0.99, 1.0].map(|part| run[at(part)].0);
        println!("event, commit and checkpoint, {name}: median {median:?}, 99 % {most:?}, worst {worst:?}");
        for (time, pages) in run.iter().rev().take(20) {
            println!("{time:>12.3?}, {pages} pages");
        }
    }
}

/// A machine with a map of a million entries, and so many events: time and pages of each.
fn run_of_events(genesis: &[u8], native: &std::path::Path, count: usize) -> Vec<(Duration, usize)> {
    // Each event is a commit and a checkpoint, which tells what pages it saves.
    let policy = Policy { batch_records_max: 1, checkpoint_records_max: 1, ..Policy::default() };
    let mut machine = Lone::new(MODULE, genesis, policy, native);
    machine.settle();
    let source = "(set! self [0 (from-entries (gen 1000000 (fn (i) [i 0])))])".to_owned();
    let start = cpu();
    let said = machine.send(&Command::Eval { text: source, width: 80, depth: 3 }.encode());
    println!("a million entries in {:?}: {said:?}", cpu() - start);
    machine.forget_commits();
    let send = |machine: &mut Lone| {
        let number = machine.post_without_key(b"x");
        machine.said(number)
    };
    (0..2000).for_each(|_| drop(send(&mut machine)));
    let event = |_| {
        let start = cpu();
        let said = send(&mut machine);
        let time = cpu() - start;
        assert!(matches!(said, Said::Answer(_)), "{said:?}");
        (time, machine.pages)
    };
    (0..count).map(event).collect()
}

/// Time of this thread on a processor: others may be busy.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}
