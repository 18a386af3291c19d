//! What the program is told, as it waits for its turn and as the row that the program sees.

use lang::Value;
use lang::eval::{Machine, Root};
use seed::image::Grant;
use seed::message::{Code, Input};
use seed::{PortId, ReplyId, RequestId};

/// Something that happens to the program.
#[derive(Debug)]
pub(crate) enum Happening {
    /// `["boot" grants]`, or with what the program before it handed over `["boot" grants handover]`.
    Boot { grants: Vec<Grant>, handover: Option<Vec<u8>> },
    /// `["message" port from reply payload]`
    Message { port: PortId, from: Vec<u8>, reply: ReplyId, payload: Vec<u8> },
    /// `["answer" request more payload]`
    Answer { request: RequestId, more: bool, payload: Vec<u8> },
    /// `["broken" request code text]`
    Broken { request: RequestId, code: Code, text: String },
    /// `["gone" reply]`
    Gone { reply: ReplyId },
    /// `["grants" grants]`
    Grants { grants: Vec<Grant> },
    /// `["query" port payload]`
    Query { port: PortId, payload: Vec<u8> },
    /// `["computed" key value]`
    Computed { key: Root, value: Root },
    /// `["failed" key why]`
    Failed { key: Root, why: String },
    /// `["loaded" key]`
    Loaded { key: Root },
}

impl Happening {
    /// What is passed on of the host's inputs.
    pub(crate) fn of(input: Input) -> Option<Self> {
        Some(match input {
            Input::Message { port, from, reply, payload } => Self::Message { port, from, reply, payload },
            Input::Answer { request, more, payload } => Self::Answer { request, more, payload },
            Input::Broken { request, code, text } => Self::Broken { request, code, text },
            Input::Gone { reply } => Self::Gone { reply },
            Input::Grants { grants } => Self::Grants { grants },
            Input::Query { port, payload } => Self::Query { port, payload },
            Input::Boot { .. } | Input::Again { .. } => return None,
        })
    }

    /// What is done, for a person.
    pub(crate) fn doing(&self) -> &'static str {
        match self {
            Self::Boot { .. } => "booting",
            Self::Message { .. } => "dealing with a message",
            Self::Answer { .. } => "dealing with an answer",
            Self::Broken { .. } => "dealing with a broken request",
            Self::Gone { .. } => "dealing with an asker's going",
            Self::Grants { .. } => "dealing with new grants",
            Self::Query { .. } => "answering a query",
            Self::Computed { .. } => "dealing with what was computed",
            Self::Failed { .. } => "dealing with a failed computation",
            Self::Loaded { .. } => "beginning as another program",
        }
    }

    /// Bytes that it takes while it waits. What is in the evaluator is not counted: that has its own limit.
    pub(crate) fn bytes(&self) -> usize {
        let held = match self {
            Self::Message { payload, from, .. } => payload.len() + from.len(),
            Self::Answer { payload, .. } => payload.len(),
            Self::Broken { text, .. } | Self::Failed { why: text, .. } => text.len(),
            _ => 0,
        };
        held + OWN_BYTES
    }

    /// The request that it is about.
    pub(crate) fn request(&self) -> Option<RequestId> {
        match self {
            Self::Answer { request, .. } | Self::Broken { request, .. } => Some(*request),
            _ => None,
        }
    }

    /// The row that the program sees.
    pub(crate) fn load(&self, machine: &mut Machine) -> Root {
        let text = |text: &str| Value::bar(text.as_bytes());
        let row = |name: &str, rest: Vec<Value>| {
            Value::row(std::iter::once(Value::bar(name.as_bytes())).chain(rest).collect())
        };
        let value = match self {
            Self::Boot { grants, handover } => {
                let handover = handover.iter().map(|bytes| Value::bar(bytes));
                row("boot", std::iter::once(granted(grants)).chain(handover).collect())
            }
            Self::Message { port, from, reply, payload } => {
                row("message", vec![Value::word(port.0), Value::bar(from), Value::word(reply.0), Value::bar(payload)])
            }
            Self::Answer { request, more, payload } => {
                row("answer", vec![Value::word(request.0), Value::word(u64::from(*more)), Value::bar(payload)])
            }
            Self::Broken { request, code, text: why } => {
                row("broken", vec![Value::word(request.0), Value::word(code.0), text(why)])
            }
            Self::Gone { reply } => row("gone", vec![Value::word(reply.0)]),
            Self::Grants { grants } => row("grants", vec![granted(grants)]),
            Self::Query { port, payload } => row("query", vec![Value::word(port.0), Value::bar(payload)]),
            Self::Computed { key, value } => return keyed(machine, "computed", *key, Ok(*value)),
            Self::Failed { key, why } => return keyed(machine, "failed", *key, Err(why)),
            Self::Loaded { key } => {
                let name = machine.load(&Value::bar(b"loaded"));
                let row = machine.row(&[name, *key]);
                machine.release(name);
                return row;
            }
        };
        machine.load(&value)
    }

    /// Lets go of what it holds.
    pub(crate) fn release(self, machine: &mut Machine) {
        match self {
            Self::Computed { key, value } => [key, value].into_iter().for_each(|root| machine.release(root)),
            Self::Failed { key, .. } | Self::Loaded { key } => machine.release(key),
            _ => {}
        }
    }
}

/// What one takes that says nothing.
const OWN_BYTES: usize = 64;

fn granted(grants: &[Grant]) -> Value {
    let grant = |grant: &Grant| Value::row(vec![Value::word(grant.port.0), Value::bar(grant.name.as_bytes())]);
    Value::row(grants.iter().map(grant).collect())
}

fn keyed(machine: &mut Machine, name: &str, key: Root, what: Result<Root, &String>) -> Root {
    let name = machine.load(&Value::bar(name.as_bytes()));
    let last = match what {
        Ok(value) => machine.share(value),
        Err(why) => machine.load(&Value::bar(why.as_bytes())),
    };
    let row = machine.row(&[name, key, last]);
    [name, last].into_iter().for_each(|root| machine.release(root));
    row
}
