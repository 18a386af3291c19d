//! What the fuzz target of the kernel does with its input. `kernel`'s tests include this, too.

use std::cell::RefCell;

use kernel::{Command, Genesis, Kernel, Source};
use lang::eval::Limits;
use seed::image::Grant;
use seed::message::{Code, Input, Output};
use seed::{Nanos, PortId, ReplyId, RequestId};

/// It asks, computes, and has a table for its self.
const PROGRAM: &str = "(def start {'count 0 'last \"\"})
    (def (main self input)
      (case (idx 0 input)
        \"message\" (case (byte 0 (idx 4 input))
                     97 [self [[\"ask\" (idx 3 input) 2 (idx 4 input)]]]
                     99 [self [[\"compute\" (idx 3 input) (sum (range (bytes-len (idx 4 input))))]]]
                     _ [self [[\"answer\" (idx 3 input) 0 (idx 4 input)]]])
        \"computed\" [self [[\"answer\" (idx 1 input) 0 (show-nat (idx 2 input))]]]
        \"query\" [self [[\"answer\" 0 0 (idx 2 input)]]]
        _ [self []]))";

/// A boot takes long: one kernel is given so many inputs.
const INPUTS_MAX: usize = 256;

thread_local! {
    static KERNEL: RefCell<(Kernel, usize)> = RefCell::new((booted(), 0));
}

fn booted() -> Kernel {
    let limits = Limits { heap_words: 1 << 20, stack_words: 1 << 18, ..Limits::default() };
    let program = Source::Text(vec![("fuzzed".to_owned(), PROGRAM.to_owned())]);
    let genesis = Genesis { program, budget: 100_000 }.encode();
    let grants = vec![Grant { port: PortId(0), name: "owner".to_owned() }];
    let mut kernel = Kernel::with_limits(limits);
    let outputs = rest(&mut kernel, &Input::Boot { genesis, grants, handover: None });
    assert_eq!(outputs, []);
    kernel
}

/// An input and the slices after it. What comes out is a list of outputs, and comes to an end.
fn rest(kernel: &mut Kernel, input: &Input) -> Vec<Output> {
    let mut all = Vec::new();
    let mut bytes = kernel.input(&input.encode());
    for _ in 0..100_000 {
        let Ok(mut outputs) = Output::decode_list(&bytes) else { panic!("this is no output") };
        let is_last = outputs.pop_if(|output| *output == Output::Again).is_none();
        all.extend(outputs);
        if is_last {
            return all;
        }
        bytes = kernel.input(&Input::Again { budget: Nanos::from_millis(20) }.encode());
    }
    panic!("it does not end");
}

/// Anything to a kernel that lives: an input as it is, or what its parts may be.
pub fn kernel(data: &[u8]) {
    KERNEL.with_borrow_mut(|(kernel, count)| {
        *count += 1;
        if *count > INPUTS_MAX {
            (*kernel, *count) = (booted(), 0);
        }
        let Some((first, rest_of)) = data.split_first() else { return };
        let (reply, port) = (ReplyId(*count as u64 + 1), PortId(0));
        let payload = rest_of.to_vec();
        let message = |payload: Vec<u8>| Input::Message { port, from: Vec::new(), reply, payload };
        let outputs = match first % 8 {
            0 => {
                let outputs = kernel.input(rest_of);
                assert!(Output::decode_list(&outputs).is_ok());
                rest(kernel, &Input::Again { budget: Nanos(0) })
            }
            1 => rest(kernel, &message([&[0], rest_of].concat())),
            2 => {
                let Ok(text) = String::from_utf8(payload) else { return };
                rest(kernel, &message(Command::Eval { text, width: 40, depth: 4 }.encode()))
            }
            3 => rest(kernel, &Input::Query { port, payload }),
            4 => rest(kernel, &Input::Query { port, payload: [&[0], rest_of].concat() }),
            5 => rest(kernel, &Input::Answer { request: RequestId(reply.0 - 1), more: *first & 8 != 0, payload }),
            6 => rest(kernel, &Input::Broken { request: RequestId(reply.0 - 1), code: Code(2), text: String::new() }),
            _ => rest(kernel, &message(payload)),
        };
        // Nobody is answered twice.
        let answers = outputs.iter().filter(|output| match output {
            Output::Answer { reply: to, more: false, .. } | Output::Refuse { reply: to, .. } => *to == reply,
            _ => false,
        });
        assert!(answers.count() <= 1);
    });
}
