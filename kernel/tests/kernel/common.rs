//! A machine of the language without the machine: inputs in, outputs out.

use kernel::{Command, Genesis, Kernel, Source};
use lang::eval::Limits;
use seed::cbor::Value;
use seed::image::Grant;
use seed::message::{Code, Input, Output};
use seed::{Nanos, PortId, ReplyId, RequestId};

/// What a kernel did with an input.
pub(crate) fn give(kernel: &mut Kernel, input: &Input) -> Vec<Output> {
    Output::decode_list(&kernel.input(&input.encode())).expect("an output is a list of outputs")
}

pub(crate) fn limits() -> Limits {
    Limits { heap_words: 4 << 20, stack_words: 1 << 20, ..Limits::default() }
}

pub(crate) fn grants() -> Vec<Grant> {
    [(0, "owner"), (1, "console"), (2, "clock")]
        .map(|(port, name)| Grant { port: PortId(port), name: name.to_owned() })
        .to_vec()
}

pub(crate) fn boot_input(genesis: &Genesis) -> Input {
    Input::Boot { genesis: genesis.encode(), grants: grants(), handover: None }
}

pub(crate) fn text(source: &str) -> Genesis {
    Genesis { program: Source::Text(vec![("program".to_owned(), source.to_owned())]), budget: 0 }
}

/// A kernel that has booted, and what that did.
pub(crate) fn booted(genesis: &Genesis) -> (Kernel, Vec<Output>) {
    let mut kernel = Kernel::with_limits(limits());
    let outputs = give(&mut kernel, &boot_input(genesis));
    (kernel, outputs)
}

pub(crate) fn kernel(source: &str) -> Kernel {
    let (mut kernel, outputs) = booted(&text(source));
    let refused = outputs.iter().find(|output| matches!(output, Output::Refuse { .. }));
    assert!(refused.is_none(), "{refused:?}");
    rest(&mut kernel, outputs);
    kernel
}

/// What a boot is refused for.
pub(crate) fn refusal(genesis: &Genesis) -> String {
    match &booted(genesis).1[..] {
        [Output::Refuse { reply: ReplyId::NONE, code: Code(64), text }] => text.clone(),
        other => panic!("{other:?}"),
    }
}

/// Slices until nothing is put off. Returns all outputs.
pub(crate) fn rest(kernel: &mut Kernel, mut outputs: Vec<Output>) -> Vec<Output> {
    let mut slices = 0;
    while outputs.last() == Some(&Output::Again) {
        outputs.pop();
        outputs.extend(give(kernel, &Input::Again { budget: Nanos::from_millis(20) }));
        slices += 1;
        assert!(slices < 100_000, "it never ends");
    }
    outputs
}

/// A message at a port, and all that comes of it.
pub(crate) fn tell(kernel: &mut Kernel, port: u64, reply: u64, payload: &[u8]) -> Vec<Output> {
    let outputs = give(kernel, &message(port, reply, payload));
    rest(kernel, outputs)
}

pub(crate) fn message(port: u64, reply: u64, payload: &[u8]) -> Input {
    Input::Message { port: PortId(port), from: b"me".to_vec(), reply: ReplyId(reply), payload: payload.to_vec() }
}

pub(crate) fn query(kernel: &mut Kernel, payload: &[u8]) -> Output {
    let outputs = give(kernel, &Input::Query { port: PortId(0), payload: payload.to_vec() });
    let [output] = <[Output; 1]>::try_from(outputs).expect("one answer");
    output
}

pub(crate) fn answer(reply: u64, payload: &[u8]) -> Output {
    Output::Answer { reply: ReplyId(reply), more: false, payload: payload.to_vec() }
}

pub(crate) fn refuse(reply: u64, text: &str) -> Output {
    Output::Refuse { reply: ReplyId(reply), code: Code(64), text: text.to_owned() }
}

pub(crate) fn ask(request: u64, port: u64, payload: &[u8]) -> Output {
    Output::Ask { request: RequestId(request), port: PortId(port), payload: payload.to_vec() }
}

pub(crate) fn trace(text: &str) -> Output {
    Output::Trace { text: text.to_owned() }
}

/// What an evaluation for the owner gives: what is printed and what is defined, or the error.
pub(crate) type Evaluated = Result<(Vec<String>, Vec<String>), String>;

pub(crate) fn evaluated(payload: &[u8]) -> Evaluated {
    let texts = |value: &Value| match value {
        Value::Array(items) => items
            .iter()
            .map(|item| match item {
                Value::Text(text) => text.clone(),
                other => panic!("{other:?}"),
            })
            .collect(),
        other => panic!("{other:?}"),
    };
    match Value::decode(payload).expect("an answer is CBOR") {
        Value::Array(items) => match &items[..] {
            [Value::Uint(0), printed, defined] => Ok((texts(printed), texts(defined))),
            [Value::Uint(1), Value::Text(error)] => Err(error.clone()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// Forms evaluated in a machine, with whatever else that caused.
pub(crate) fn eval_with(kernel: &mut Kernel, source: &str) -> (Evaluated, Vec<Output>) {
    let command = Command::Eval { text: source.to_owned(), width: 100, depth: 8 };
    let mut outputs = tell(kernel, 0, 77, &command.encode());
    let at = outputs.iter().position(|output| matches!(output, Output::Answer { reply: ReplyId(77), .. }));
    match outputs.remove(at.unwrap_or_else(|| panic!("no answer in {outputs:?}"))) {
        Output::Answer { payload, .. } => (evaluated(&payload), outputs),
        other => panic!("{other:?}"),
    }
}

/// Forms evaluated in a machine: the text of the last one's value, or the error.
pub(crate) fn eval(kernel: &mut Kernel, source: &str) -> String {
    match eval_with(kernel, source).0 {
        Ok((printed, _)) => printed.last().cloned().unwrap_or_default(),
        Err(error) => error,
    }
}

/// What a command that is a query answers.
pub(crate) fn view(kernel: &mut Kernel, command: &Command) -> Value {
    match query(kernel, &command.encode()) {
        Output::Answer { payload, .. } => Value::decode(&payload).expect("an answer is CBOR"),
        other => panic!("{other:?}"),
    }
}
