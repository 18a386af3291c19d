//! Whose turn it is: events in order, computations beside them, and ends to what never ends.

use kernel::{Command, Genesis, Kernel};
use seed::cbor::Value;
use seed::message::{Input, Output};
use seed::{Nanos, ReplyId};

use crate::common::*;

const FIB: &str = "(def (fib n) (if (lth n 2) n (add (fib (sub n 1)) (fib (sub n 2)))))
    (def (loop n) (loop (inc n)))
    (def start [0])
    (def (main self input)
      (case (idx 0 input)
        \"message\" (case (idx 4 input)
                     \"count\" (let (n (inc (idx 0 self))) [(put 0 n self) [[\"answer\" (idx 3 input) 0 (show-nat n)]]])
                     \"fib\" [self [[\"compute\" (idx 3 input) (fib 24)]]]
                     \"loop\" [self [[\"compute\" (idx 3 input) (loop 0)]]]
                     \"crash\" [self [[\"compute\" (idx 3 input) [1 (die \"no\")]]]]
                     \"slow\" [self [[\"answer\" (idx 3 input) 0 (show-nat (fib 27))]]]
                     \"stuck\" [(loop 0) []])
        \"query\" [self [[\"answer\" 0 0 (show-nat (idx 0 self))]]]
        \"computed\" [self [[\"answer\" (idx 1 input) 0 (show-nat (idx 2 input))]]]
        \"failed\" [self [[\"refuse\" (idx 1 input) 64 (idx 2 input)]]]
        _ [self []]))";

fn again(kernel: &mut Kernel) -> Vec<Output> {
    give(kernel, &Input::Again { budget: Nanos::from_millis(2) })
}

fn with_budget(budget: u64) -> Kernel {
    let (mut kernel, outputs) = booted(&Genesis { budget, ..text(FIB) });
    rest(&mut kernel, outputs);
    kernel
}

#[test]
fn the_counter_counts_while_fib_computes() {
    let mut kernel = kernel(FIB);
    assert_eq!(give(&mut kernel, &message(0, 1, b"fib")), [Output::Again]);
    let mut counted = 0;
    let mut reply = 10;
    loop {
        // A slice, then somebody who wants to count, then somebody who looks.
        let slice = again(&mut kernel);
        if slice == [answer(1, b"46368")] {
            break;
        }
        assert_eq!(slice, [Output::Again]);
        reply += 1;
        counted += 1;
        let expected = counted.to_string();
        let outputs = give(&mut kernel, &message(0, reply, b"count"));
        assert_eq!(outputs[0], answer(reply, expected.as_bytes()));
        assert_eq!(query(&mut kernel, b""), answer(0, expected.as_bytes()));
        let Value::Array(jobs) = view(&mut kernel, &Command::Jobs) else { panic!() };
        assert!(jobs.len() == 1 && counted < 10_000, "{jobs:?}");
    }
    assert!(counted > 1, "it was done at once");
}

#[test]
fn events_alone_do_not_starve_a_computation() {
    let mut kernel = kernel(FIB);
    give(&mut kernel, &message(0, 1, b"fib"));
    let mut reply = 10;
    let mut outputs = Vec::new();
    // Never a slice: only messages, each of some thousand steps.
    while !outputs.contains(&answer(1, b"46368")) {
        reply += 1;
        assert!(reply < 100_000, "it starves");
        outputs = give(&mut kernel, &message(0, reply, b"count"));
    }
    assert!(reply > 20, "events had no turns");
}

#[test]
fn events_keep_their_order() {
    let mut kernel = kernel(FIB);
    // The first is not done at once, and the others wait for it.
    assert_eq!(give(&mut kernel, &message(0, 1, b"slow")), [Output::Again]);
    let outputs = give(&mut kernel, &message(0, 2, b"count"));
    assert_eq!(query(&mut kernel, b""), answer(0, b"0"), "the last self answers");
    let outputs = rest(&mut kernel, outputs);
    let answers: Vec<u64> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Answer { reply, .. } => Some(reply.0),
            _ => None,
        })
        .collect();
    assert!(answers.is_sorted() && answers[0] == 1, "{outputs:?}");
}

#[test]
fn a_budget_ends_what_never_ends() {
    let mut kernel = with_budget(3_000_000);
    let words = "it took more than 3000000 steps, which is the budget for one thing: do less at once, or boot with a larger budget";
    let outputs = tell(&mut kernel, 0, 1, b"stuck");
    assert_eq!(outputs, [refuse(1, &format!("dealing with a message failed: {words}"))]);
    assert_eq!(tell(&mut kernel, 0, 2, b"count"), [answer(2, b"1")]);
    assert_eq!(tell(&mut kernel, 0, 3, b"loop"), [refuse(3, words)]);
    assert_eq!(tell(&mut kernel, 0, 4, b"crash"), [refuse(4, "it crashed: die \"no\"")]);
    assert_eq!(eval(&mut kernel, "(loop 0)"), words);
    assert_eq!(tell(&mut kernel, 0, 5, b"count"), [answer(5, b"2")]);
}

#[test]
fn what_is_under_way_together_ends_together() {
    let mut kernel = with_budget(40_000_000);
    let mut outputs = Vec::new();
    for (reply, payload) in [(1, "fib"), (2, "loop"), (3, "fib"), (4, "slow"), (5, "count")] {
        outputs.extend(give(&mut kernel, &message(0, reply, payload.as_bytes())));
    }
    let command = Command::Eval { text: "(fib 20) (set! self [100]) self".into(), width: 80, depth: 5 };
    outputs.extend(give(&mut kernel, &message(0, 6, &command.encode())));
    outputs.retain(|output| *output != Output::Again);
    outputs.push(Output::Again);
    let outputs = rest(&mut kernel, outputs);
    let has = |output: Output| assert!(outputs.contains(&output), "{output:?} in {outputs:?}");
    [1, 3].into_iter().for_each(|reply| has(answer(reply, b"46368")));
    has(answer(4, b"196418"));
    // Self was set between the long event and this one.
    has(answer(5, b"101"));
    assert!(outputs.iter().any(|output| matches!(output, Output::Refuse { reply: ReplyId(2), .. })));
    let answered = outputs.iter().find_map(|output| match output {
        Output::Answer { reply: ReplyId(6), payload, .. } => Some(evaluated(payload).unwrap().0),
        _ => None,
    });
    assert_eq!(answered.unwrap(), ["6765", "[100]"]);
    assert_eq!(outputs.len(), 6, "{outputs:?}");
}

#[test]
fn nothing_is_done_for_askers_who_have_gone() {
    let mut kernel = kernel(FIB);
    let command = Command::Eval { text: "(loop 0)".into(), width: 80, depth: 5 };
    assert_eq!(give(&mut kernel, &message(0, 1, &command.encode())), [Output::Again]);
    assert_eq!(give(&mut kernel, &Input::Gone { reply: ReplyId(1) }), []);
    assert_eq!(view(&mut kernel, &Command::Jobs), Value::Array(vec![]));
    // An answer to somebody who has gone is for nobody.
    assert_eq!(give(&mut kernel, &message(0, 2, b"fib")), [Output::Again]);
    let outputs = give(&mut kernel, &Input::Gone { reply: ReplyId(2) });
    let outputs = rest(&mut kernel, outputs);
    // The program has been told, and answers all the same: that is its mistake.
    assert!(matches!(&outputs[..], [Output::Trace { text }] if text.contains("not owed")), "{outputs:?}");
    assert_eq!(tell(&mut kernel, 0, 3, b"count"), [answer(3, b"1")]);
}

#[test]
fn setting_self_waits_for_the_event_under_way() {
    let mut kernel = kernel(FIB);
    assert_eq!(give(&mut kernel, &message(0, 1, b"slow")), [Output::Again]);
    // The event's new self is the old one: it must not take this one's place.
    let command = Command::Eval { text: "(set! self [7])".into(), width: 80, depth: 5 };
    let outputs = give(&mut kernel, &message(0, 2, &command.encode()));
    let outputs = rest(&mut kernel, outputs);
    let replies: Vec<_> = outputs
        .iter()
        .map(|output| match output {
            Output::Answer { reply, .. } => reply.0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(replies, [1, 2]);
    assert_eq!(eval(&mut kernel, "self"), "[7]");
}

/// The replies in the order in which they were answered.
fn order(outputs: &[Output]) -> Vec<u64> {
    let replies = outputs.iter().filter_map(|output| match output {
        Output::Answer { reply, .. } => Some(reply.0),
        _ => None,
    });
    replies.collect()
}

#[test]
fn setting_self_does_not_wait_for_one_event_after_another() {
    for computed in [false, true] {
        let mut kernel = kernel(FIB);
        let mut outputs = Vec::new();
        if computed {
            // Computations have turns, too, but not its turn.
            outputs.extend(give(&mut kernel, &message(0, 50, b"loop")));
            outputs.extend(give(&mut kernel, &message(0, 51, b"fib")));
        }
        outputs.extend(give(&mut kernel, &message(0, 1, b"slow")));
        let command = Command::Eval { text: "(set! self [7])".into(), width: 80, depth: 5 };
        outputs.extend(give(&mut kernel, &message(0, 1000, &command.encode())));
        for reply in 2..8 {
            outputs.extend(give(&mut kernel, &message(0, reply, b"slow")));
        }
        while !order(&outputs).contains(&7) {
            outputs.extend(again(&mut kernel));
        }
        let mut order = order(&outputs);
        order.retain(|reply| *reply < 50 || *reply == 1000);
        let at = order.iter().position(|reply| *reply == 1000).unwrap();
        assert!(at <= 2, "{order:?}");
        order.remove(at);
        assert_eq!(order, (1..8).collect::<Vec<_>>());
    }
}

#[test]
fn nothing_follows_a_become() {
    let source = "(def start 0)
        (def (main self input)
          (case (idx 0 input)
            \"message\" (case (idx 4 input) \"go\" [self [[\"become\" \"seed\" \"bag\"]]] _ [self [[\"compute\" 1 (sum (range 1000))]]])
            \"computed\" [self [[\"trace\" \"computed\"]]]
            _ [self []]))";
    let mut kernel = kernel(source);
    assert_eq!(give(&mut kernel, &message(0, 0, b"compute")), [Output::Again]);
    let outputs = give(&mut kernel, &message(0, 0, b"go"));
    assert!(matches!(outputs.last(), Some(Output::Become { .. })), "{outputs:?}");
}

/// Whoever waited for what was computed waited for ever.
#[test]
fn who_fails_to_deal_with_what_was_computed_is_told_so() {
    let source = "(def start 0)
        (def (main self input)
          (case (idx 0 input)
            \"message\" [self [[\"compute\" (idx 3 input) 7]]]
            \"computed\" (die (idx 2 input))
            \"failed\" [self [[\"refuse\" (idx 1 input) 64 (idx 2 input)]]]
            _ [self []]))";
    let mut kernel = kernel(source);
    let outputs = give(&mut kernel, &message(0, 1, b""));
    let outputs = rest(&mut kernel, outputs);
    let Some(Output::Refuse { reply: ReplyId(1), text, .. }) = outputs.last() else { panic!("{outputs:?}") };
    assert!(text.contains("dealing with what was computed failed") && text.contains("die 7"), "{text}");
}
