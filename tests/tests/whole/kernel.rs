//! Machines whose program is a text of the language: the kernel's module as it is committed, run by the step loop.

use std::path::Path;
use std::sync::OnceLock;

use kernel::{Command, Genesis, MODULE, Source};
use seed::Nanos;
use seed::cbor::Value;
use tests::lone::{Lone, Said, on_a_guest_thread};
use vm::step_loop::Policy;

/// Compiled once for all tests of this process.
fn native() -> &'static Path {
    static NATIVE: OnceLock<tempfile::TempDir> = OnceLock::new();
    NATIVE.get_or_init(|| tempfile::tempdir().expect("a temporary folder can be made")).path()
}

/// Slices of some 150,000 steps, each of them a commit. A host's hint depends on what waits there: here it is always the same, and so is
/// the log.
fn slices() -> Policy {
    let hint = Nanos::from_millis(5);
    Policy {
        again_budget_alone: hint,
        again_budget_busy: hint,
        batch_records_max: 1,
        checkpoint_records_max: 6,
        ..Policy::default()
    }
}

fn booted_with(source: &str, budget: u64, policy: Policy) -> Lone {
    let genesis = Genesis { program: Source::Text(vec![("program".to_owned(), source.to_owned())]), budget };
    let mut machine = Lone::new(MODULE, &genesis.encode(), policy, native());
    machine.settle();
    machine
}

fn booted(source: &str) -> Lone {
    let machine = booted_with(source, 0, slices());
    assert_eq!(machine.halted, None);
    machine
}

fn evaluation(source: &str) -> Vec<u8> {
    Command::Eval { text: source.to_owned(), width: 100, depth: 8 }.encode()
}

/// The last value of an evaluation, or why there is none.
fn shown(said: Said) -> String {
    let Said::Answer(payload) = said else { panic!("{said:?}") };
    match Value::decode(&payload) {
        Ok(Value::Array(items)) => match &items[..] {
            [Value::Uint(0), Value::Array(printed), _] => match printed.last() {
                Some(Value::Text(text)) => text.clone(),
                _ => String::new(),
            },
            [Value::Uint(1), Value::Text(error)] => error.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn eval(machine: &mut Lone, source: &str) -> String {
    shown(machine.send(&evaluation(source)))
}

fn text(said: &str) -> Said {
    Said::Answer(said.as_bytes().to_vec())
}

const FIB: &str = "(def (fib n) (if (lth n 2) n (add (fib (sub n 1)) (fib (sub n 2)))))
    (def (loop n) (loop (inc n)))
    (def start [0])
    (def (main self input)
      (case (idx 0 input)
        \"message\" (case (idx 4 input)
                     \"count\" (let (n (inc (idx 0 self))) [(put 0 n self) [[\"answer\" (idx 3 input) 0 (show-nat n)]]])
                     \"fib\" [self [[\"compute\" (idx 3 input) (fib 32)]]]
                     \"loop\" [(loop 0) []]
                     \"crash\" [self [[\"trace\" \"lost\"] [\"answer\" (idx 3 input) 0 (die \"no\")]]])
        \"computed\" [self [[\"answer\" (idx 1 input) 0 (show-nat (idx 2 input))]]]
        \"failed\" [self [[\"refuse\" (idx 1 input) 64 (idx 2 input)]]]
        _ [self []]))";

#[test]
fn a_program_boots_in_a_machine_and_is_there_after_a_kill() {
    on_a_guest_thread(|| {
        // Its boot has run the base library, assertions and all.
        let mut machine = booted(FIB);
        assert_eq!(machine.send(b"count"), text("1"));
        assert_eq!(machine.send(b"count"), text("2"));
        assert_eq!(eval(&mut machine, "(add 2 (mul 3 100000000000000000000))"), "300000000000000000002");
        assert_eq!(eval(&mut machine, "(def (twice n) (mul 2 n)) (set! self [(twice 21)]) self"), "[42]");
        machine.kill();
        assert_eq!(machine.send(b"count"), text("43"));
        assert_eq!(eval(&mut machine, "(twice 4)"), "8");
    });
}

#[test]
fn a_program_that_cannot_boot_says_why() {
    on_a_guest_thread(|| {
        let halted = |source: &str| booted_with(source, 0, slices()).halted.expect("it has halted");
        let why = halted("(def start 0)\n(def (main self input) (nonsense))");
        assert!(why.contains("the machine refused: program:2:") && why.contains("nonsense"), "{why}");
        let why = halted("(def start 0) (assert-eq 1 2) (def (main self input) [0 []])");
        assert!(why.contains("these are not equal"), "{why}");
        let why = halted("(def start 0) (def (main self input) (die \"not today\"))");
        assert!(why.contains("die \"not today\""), "{why}");
        let why = booted_with("(def (f n) (f (inc n))) (def start (f 0))", 5_000_000, slices()).halted.unwrap();
        assert!(why.contains("5000000 steps"), "{why}");
    });
}

const KILLS: usize = 100;

/// What the machine says and what it is, after it has computed something over many slices.
fn computed(kill_every: Option<usize>) -> (Said, String, Option<seed::Id>, usize) {
    let mut machine = booted(FIB);
    let number = machine.post(b"fib");
    let mut kills = 0;
    let mut turns = 0;
    let before = machine.commits;
    let said = loop {
        if let Some(index) = machine.news.iter().position(|(news, _)| *news == number) {
            break machine.news.remove(index).1;
        }
        assert!(machine.turn(), "it stopped: {:?}", machine.halted);
        turns += 1;
        // Once the message is durable: before that, there is nothing to go on with.
        let is_durable = machine.commits > before;
        if kill_every.is_some_and(|every| is_durable && turns % every == 0) && kills < KILLS {
            machine.kill();
            machine.post_again(number);
            kills += 1;
        }
    };
    machine.settle();
    (said, eval(&mut machine, "self"), machine.root(), kills)
}

#[test]
fn a_long_evaluation_killed_in_its_slices_comes_to_the_same_value_and_root() {
    on_a_guest_thread(|| {
        let (said, state, root, _) = computed(None);
        assert_eq!(said, text("2178309"));
        let killed = computed(Some(3));
        assert_eq!(killed, (said, state, root, KILLS));
    });
}

#[test]
fn the_counter_counts_while_fib_computes() {
    on_a_guest_thread(|| {
        let mut machine = booted(FIB);
        let fib = machine.post(b"fib");
        let mut counted = 0;
        while !machine.news.iter().any(|(number, _)| *number == fib) {
            counted += 1;
            assert_eq!(machine.send(b"count"), text(&counted.to_string()));
            assert_eq!(eval(&mut machine, "(add 1 (idx 0 self))"), (counted + 1).to_string());
        }
        assert!(counted > 5, "{counted}");
        assert_eq!(machine.said(fib), text("2178309"));
    });
}

#[test]
fn what_goes_wrong_leaves_the_machine_as_it_was() {
    on_a_guest_thread(|| {
        let mut machine = booted_with(FIB, 3_000_000, slices());
        assert_eq!(machine.send(b"count"), text("1"));
        let refused = |said: Said| match said {
            Said::Refused(64, why) => why,
            other => panic!("{other:?}"),
        };
        assert!(refused(machine.send(b"loop")).contains("it took more than 3000000 steps"));
        let why = refused(machine.send(b"crash"));
        assert_eq!(why, "dealing with a message failed: it crashed: die \"no\"");
        assert!(refused(machine.send(b"nonsense")).contains("it crashed: case"));
        assert!(eval(&mut machine, "(loop 0)").contains("3000000 steps"));
        assert!(eval(&mut machine, "(let (deep (fn deep (n) (inc (deep (inc n))))) (deep 0))").contains("steps"));
        assert_eq!(machine.send(b"count"), text("2"));
        assert_eq!((machine.traces.clone(), machine.halted.clone()), (vec![], None));
    });
}
