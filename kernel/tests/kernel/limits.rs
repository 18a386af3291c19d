//! What one step may put out, and what may wait for another.

use kernel::{Command, Kernel};
use seed::cbor::Value;
use seed::message::{Code, Input, Output};
use seed::{Nanos, PortId, ReplyId, RequestId};

use crate::common::*;

const OUTPUT_BYTES: usize = 16 << 20;

/// Answers long messages with themselves, at port 5 after a while.
const ECHO: &str = "(def (fib n) (if (lth n 2) n (add (fib (sub n 1)) (fib (sub n 2)))))
    (def start 0)
    (def (main self input)
      (case (idx 0 input)
        \"message\" (let (reply (idx 3 input) payload (idx 4 input))
                     (case (idx 1 input)
                       4 [self [[\"answer\" reply 0 payload]]]
                       5 [self [[\"answer\" reply 0 (if (eql 0 (fib 29)) \"\" payload)]]]
                       6 [self [[\"become\" payload \"bag\"]]]
                       _ [self [[\"trace\" \"after\"]]]))
        _ [self []]))";

/// All outputs, step by step, of what is put off; each within the machine's limit.
fn slices(kernel: &mut Kernel, first: Vec<u8>) -> Vec<Vec<Output>> {
    let mut slices = Vec::new();
    let mut bytes = first;
    loop {
        assert!(bytes.len() <= OUTPUT_BYTES, "a step puts out {} bytes", bytes.len());
        let mut outputs = Output::decode_list(&bytes).unwrap();
        let is_done = outputs.pop_if(|last| *last == Output::Again).is_none();
        slices.push(outputs);
        if is_done {
            return slices;
        }
        assert!(slices.len() < 100_000, "it never ends");
        bytes = kernel.input(&Input::Again { budget: Nanos::from_millis(50) }.encode());
    }
}

fn replies(slices: &[Vec<Output>]) -> Vec<u64> {
    let replied = slices.iter().flatten().filter_map(|output| match output {
        Output::Answer { reply, .. } | Output::Refuse { reply, .. } => Some(reply.0),
        _ => None,
    });
    replied.collect()
}

fn eval_input(reply: u64, text: &str) -> Input {
    message(0, reply, &Command::Eval { text: text.into(), width: 1000, depth: 8 }.encode())
}

/// A kernel with a long event under way, then an evaluation whose answer is long and comes in the step of the event's.
fn with_two_long_answers() -> (Kernel, Vec<u8>) {
    let mut kernel = kernel(ECHO);
    eval(&mut kernel, "(set! self (range 1000))");
    give(&mut kernel, &message(5, 1, &vec![b'x'; 14 << 20]));
    // To set self it waits until the event is done.
    let text = format!("{} (set! self 0)", "self ".repeat(12_000));
    let first = kernel.input(&eval_input(2, &text).encode());
    (kernel, first)
}

#[test]
fn an_answer_to_the_owner_waits_for_room() {
    let (mut kernel, first) = with_two_long_answers();
    let slices = slices(&mut kernel, first);
    assert_eq!(replies(&slices), [1, 2]);
    let bytes: usize = slices.iter().map(|outputs| Output::encode_list(outputs).len()).sum();
    assert!(bytes > OUTPUT_BYTES, "they would have fitted into one step");
    assert_eq!(eval(&mut kernel, "self"), "0");
}

#[test]
fn an_answer_that_waits_for_room_is_dropped_with_its_asker() {
    let (mut kernel, mut bytes) = with_two_long_answers();
    while !Output::decode_list(&bytes).unwrap().iter().any(|output| matches!(output, Output::Answer { .. })) {
        bytes = kernel.input(&Input::Again { budget: Nanos::from_millis(50) }.encode());
    }
    assert_eq!(Output::decode_list(&bytes).unwrap().last(), Some(&Output::Again), "nothing waits");
    assert_eq!(give(&mut kernel, &Input::Gone { reply: ReplyId(2) }), []);
    assert_eq!(eval(&mut kernel, "self"), "0");
}

#[test]
fn a_view_leaves_room_for_events_and_they_for_it() {
    let mut kernel = kernel(ECHO);
    eval(&mut kernel, &format!("(set! self (gen 200 (fn (i) [i \"{}\"])))", "0123456789".repeat(1000)));
    give(&mut kernel, &message(5, 1, &vec![b'x'; 9 << 20]));
    give(&mut kernel, &message(4, 2, &vec![b'x'; 14 << 20]));
    let first = kernel.input(&message(0, 3, &Command::Show { depth: 0 }.encode()).encode());
    let slices = slices(&mut kernel, first);
    assert_eq!(replies(&slices), [3, 1, 2]);
}

#[test]
fn nothing_follows_a_become_that_waited_for_room() {
    let mut kernel = kernel(ECHO);
    for reply in 1..4 {
        assert_eq!(replies(&[give(&mut kernel, &message(5, reply, b""))]).len(), 0, "nothing of it waits");
    }
    give(&mut kernel, &message(4, 4, &vec![b'x'; 9 << 20]));
    give(&mut kernel, &message(6, 0, &vec![b'y'; 9 << 20]));
    let first = kernel.input(&message(3, 0, b"").encode());
    let slices = slices(&mut kernel, first);
    let last = slices.last().unwrap();
    assert!(matches!(&last[..], [Output::Become { .. }]), "{} outputs", last.len());
    assert_eq!(replies(&slices).last(), Some(&4));
}

#[test]
fn what_is_larger_as_text_than_an_answer_may_be_is_not_printed() {
    let why = "as text this would be larger than the 15 MiB that there is room for: look at a part of it, or at self in brief";
    let mut kernel = kernel(ECHO);
    // A small row of texts, a hundred thousand times.
    let set = format!("(set! self (map (const (replicate 3 \"{}\")) (range 100000)))", "0123456789".repeat(100));
    assert_eq!(eval(&mut kernel, &set), "");
    let source = |name: &str| Command::Source { name: name.to_owned() };
    for command in [source("self"), Command::Show { depth: 0 }] {
        assert_eq!(query(&mut kernel, &command.encode()), refuse(0, why), "{command:?}");
        assert_eq!(tell(&mut kernel, 0, 1, &command.encode()), [refuse(1, why)], "{command:?}");
    }
    // A definition that captures it.
    assert_eq!(eval(&mut kernel, "(def all self) (set! self 7) (len all)"), "100000");
    for command in [source("all"), Command::Show { depth: 0 }, Command::Show { depth: 1 }] {
        assert_eq!(query(&mut kernel, &command.encode()), refuse(0, why), "{command:?}");
    }
    assert_eq!(view(&mut kernel, &source("self")), Value::Text("7\n".into()));
}

#[test]
fn what_is_large_is_printed_while_it_fits() {
    let mut kernel = kernel(ECHO);
    eval(&mut kernel, "(set! self (gen 120000 (fn (i) [i (mul i 1000000007)])))");
    let Value::Text(text) = view(&mut kernel, &Command::Show { depth: 0 }) else { panic!() };
    assert!(text.len() > 2 << 20 && text.contains("[119999 119999000839993]"), "{} bytes", text.len());
}

/// Asks at port 2 under 7 and keeps what it hears of that; a message at port 5 takes some time.
const HEARS: &str = "(def (loop n) (loop (inc n)))
    (def start [])
    (def (main self input)
      (case (idx 0 input)
        \"message\" (if (eql 5 (idx 1 input)) [(loop 0) []] [self [[\"ask\" 7 2 \"\"]]])
        \"answer\" [(snoc self (idx 2 input)) []]
        \"broken\" [(snoc self [(idx 1 input) (idx 2 input)]) []]
        _ [self []]))";

/// A kernel that waits for an answer under 7, with an event under way that ends at the budget.
fn busy() -> Kernel {
    let (mut kernel, outputs) = booted(&kernel::Genesis { budget: 20_000_000, ..text(HEARS) });
    rest(&mut kernel, outputs);
    assert_eq!(tell(&mut kernel, 4, 0, b""), [ask(7, 2, b"")]);
    assert_eq!(give(&mut kernel, &message(5, 0, b"")), [Output::Again]);
    kernel
}

fn part(more: bool, bytes: usize) -> Input {
    Input::Answer { request: RequestId(7), more, payload: vec![0; bytes] }
}

#[test]
fn a_stream_that_cannot_wait_is_cancelled_and_said_to_be_broken() {
    let mut kernel = busy();
    for _ in 0..7 {
        assert_eq!(give(&mut kernel, &part(true, 9 << 20)), [Output::Again]);
    }
    let cancel = Output::Cancel { request: RequestId(7) };
    assert_eq!(give(&mut kernel, &part(true, 9 << 20)), [cancel, Output::Again]);
    // The host says no more of it; if it does, that is nothing.
    let outputs = give(&mut kernel, &part(true, 1));
    let outputs = rest(&mut kernel, outputs);
    assert!(matches!(&outputs[..], [Output::Trace { .. }]), "{outputs:?}");
    let parts = "1 ".repeat(7);
    assert_eq!(eval(&mut kernel, "self"), format!("[{parts}[7 5]]"));
    assert_eq!(tell(&mut kernel, 4, 0, b""), [ask(7, 2, b"")], "the number is free");
}

#[test]
fn an_answer_that_cannot_wait_is_a_broken_request() {
    let mut kernel = busy();
    (0..7).for_each(|_| drop(give(&mut kernel, &part(true, 9 << 20))));
    let outputs = give(&mut kernel, &part(false, 9 << 20));
    assert_eq!(outputs, [Output::Again], "the host knows that it is over");
    rest(&mut kernel, outputs);
    assert_eq!(eval(&mut kernel, "(idx 7 self)"), "[7 5]");
}

#[test]
fn who_a_message_is_from_takes_room_too() {
    let mut kernel = busy();
    let from =
        |reply| Input::Message { port: PortId(4), from: vec![0; 10 << 20], reply: ReplyId(reply), payload: vec![] };
    for reply in 1..7 {
        assert_eq!(give(&mut kernel, &from(reply)), [Output::Again]);
    }
    let outputs = give(&mut kernel, &from(7));
    assert!(matches!(&outputs[0], Output::Refuse { reply: ReplyId(7), code: Code(5), .. }), "{outputs:?}");
}
