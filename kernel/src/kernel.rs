//! The machine as its inputs find it: what is under way, whose turn it is, what is put off.
//!
//! Everything that is evaluated is a job: the boot, an event, an evaluation for the owner, a computation. One event at a time is
//! under way, the others wait in order; evaluations for the owner follow one another, too; computations go round. Events come first,
//! but once they have taken [`pace::TURN`] steps the others have a turn of as many. What is left over when the steps of an input are used up is put
//! off by asking the host for another input, so that all of this lies in the machine's memory between two commits.

mod jobs;
mod query;

use std::collections::VecDeque;

use lang::Value;
use lang::eval::{Limits, Root, Task};
use lang::session::Session;
use seed::ReplyId;
use seed::message::{Code, Input, Output};

use crate::boot::{Boot, Genesis};
use crate::command::{Command, MARK};
use crate::event::{Event, Wanted};
use crate::happening::Happening;
use crate::owed::Owed;
use crate::pace;
use crate::talk::{Program, Talk, What};
use crate::waiting::Waiting;

/// What a machine of the language does with its inputs.
#[derive(Default)]
pub struct Kernel {
    life: Life,
    limits: Option<Limits>,
}

#[derive(Default)]
enum Life {
    #[default]
    Unborn,
    Living(Box<Living>),
    /// The boot was refused.
    Ended,
}

/// The code of what the kernel refuses for itself, and of a program's failures.
const FAILED: Code = Code(64);

impl Kernel {
    /// A kernel whose values may take so much.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        Self { life: Life::Unborn, limits: Some(limits) }
    }

    /// What the machine does with an input: both as in `docs/abi.md`. What is no input is no reason to do anything.
    pub fn input(&mut self, bytes: &[u8]) -> Vec<u8> {
        let outputs = match (Input::decode(bytes), &mut self.life) {
            (Ok(Input::Boot { genesis, grants, handover }), Life::Unborn) => {
                let limits = self.limits.clone().unwrap_or_else(pace::limits);
                match Living::new(&genesis, limits, Happening::Boot { grants, handover }) {
                    Ok(mut living) => {
                        living.work(pace::BOOT_AT_ONCE, true);
                        let outputs = living.let_go();
                        self.life = Life::Living(Box::new(living));
                        outputs
                    }
                    Err(why) => vec![Output::Refuse { reply: ReplyId::NONE, code: FAILED, text: why }],
                }
            }
            (Ok(input), Life::Living(living)) => living.input(input),
            _ => Vec::new(),
        };
        let is_refused = |output: &Output| matches!(output, Output::Refuse { reply: ReplyId::NONE, .. });
        let is_booting = match &self.life {
            Life::Living(living) => !living.is_booted,
            Life::Unborn => true,
            Life::Ended => false,
        };
        if is_booting && outputs.iter().any(is_refused) {
            self.life = Life::Ended;
        }
        Output::encode_list(&outputs)
    }
}

/// What is on the evaluator, not paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Event,
    Talk,
    /// The first of them.
    Computation,
}

/// Something that the program has asked to be computed.
struct Computation {
    key: Root,
    task: Task,
    /// Steps since it came to its turn.
    round: u64,
}

/// A machine that has begun.
struct Living {
    session: Session,
    program: Program,
    budget: u64,
    boot: Option<Boot>,
    is_booted: bool,
    /// The program's function, as a value and in the evaluator.
    main: (Value, Root),
    state: Root,
    owed: Owed,
    event: Option<Event>,
    /// An event that is done, and whose outputs did not fit.
    ready: Option<(Happening, Wanted)>,
    /// An answer to the owner that did not fit.
    held: Option<Output>,
    waiting: Waiting,
    talks: VecDeque<Talk>,
    computations: VecDeque<Computation>,
    on: Option<Who>,
    /// Steps that events have taken since the others had a turn.
    debt: u64,
    /// Whether no event begins until self is set: that waits for the one under way, and has waited for a turn.
    is_set_due: bool,
    /// Whether the next turn of the others is the owner's.
    is_owners_turn: bool,
    outputs: Vec<Output>,
    output_bytes: usize,
}

impl Living {
    fn new(genesis: &[u8], limits: Limits, boot: Happening) -> Result<Self, String> {
        let genesis =
            Genesis::decode(genesis).map_err(|error| format!("the genesis is not one of a program: {error}"))?;
        let nothing = Box::new(|_: &str| Err(String::new()));
        let mut session = Session::bare(limits, nothing).map_err(|limit| limit.to_string())?;
        session.limit_parts(pace::NAMED_PARTS_MAX);
        let zero = Value::default();
        let mut waiting = Waiting::default();
        let is_another = matches!(boot, Happening::Boot { handover: Some(_), .. });
        let (main, state) = (session.machine().load(&zero), session.machine().load(&zero));
        waiting.push(boot);
        Ok(Self {
            budget: if genesis.budget == 0 { pace::BUDGET } else { genesis.budget },
            boot: Some(Boot::new(genesis.program, &mut session)?),
            session,
            program: Program::default(),
            is_booted: false,
            main: (zero, main),
            state,
            owed: if is_another { Owed::inherited() } else { Owed::default() },
            event: None,
            ready: None,
            held: None,
            waiting,
            talks: VecDeque::new(),
            computations: VecDeque::new(),
            on: None,
            debt: 0,
            is_set_due: false,
            is_owners_turn: false,
            outputs: Vec::new(),
            output_bytes: 0,
        })
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        let (steps, is_slice) = match &input {
            Input::Again { budget } => (pace::steps(budget.0), true),
            _ => (pace::AT_ONCE, false),
        };
        if let Input::Message { reply, .. } = &input {
            self.owed.not_owed(*reply);
        }
        match input {
            Input::Query { port, payload } => return vec![self.query(port, payload)],
            Input::Boot { .. } | Input::Again { .. } => {}
            Input::Message { port, reply, payload, .. } if port.0 == 0 && payload.first() == Some(&MARK) => {
                self.command(reply, &payload[1..]);
            }
            Input::Gone { reply } => self.gone(reply),
            input => {
                if let Some(happening) = Happening::of(input) {
                    self.happens(happening);
                }
            }
        }
        self.work(steps, is_slice);
        self.let_go()
    }

    /// Something that the program is told of when its turn comes.
    fn happens(&mut self, happening: Happening) {
        let is_too_much = !self.waiting.has_room(&happening);
        match &happening {
            Happening::Message { reply, .. } if is_too_much => {
                let text = "too much is waiting for the machine: ask again later".to_owned();
                return self.refuse(*reply, Code::LIMIT, text);
            }
            Happening::Message { reply, .. } => self.owed.owe(*reply),
            // Cancelled, or over: what the program is told of that waits already.
            Happening::Answer { request, .. } | Happening::Broken { request, .. } if self.owed.is_settled(*request) => {
                return;
            }
            Happening::Answer { request, more, .. } if is_too_much => {
                let (request, code) = (*request, Code::LIMIT);
                if *more {
                    self.put(Some(Output::Cancel { request }));
                }
                self.owed.settle(request);
                let text = "more was answered than can wait for the machine".to_owned();
                return self.waiting.push(Happening::Broken { request, code, text });
            }
            Happening::Answer { request, more: false, .. } | Happening::Broken { request, .. } => {
                self.owed.settle(*request);
            }
            _ => {}
        }
        self.waiting.push(happening);
    }

    /// The outputs so far, and whether there is more to do.
    fn let_go(&mut self) -> Vec<Output> {
        self.output_bytes = 0;
        let mut outputs = std::mem::take(&mut self.outputs);
        let is_busy = self.boot.is_some()
            || self.event.is_some()
            || self.ready.is_some()
            || self.held.is_some()
            || !self.waiting.is_empty()
            || !self.talks.is_empty()
            || !self.computations.is_empty();
        let is_leaving = outputs.last().is_some_and(|output| matches!(output, Output::Become { .. }));
        if is_busy && !is_leaving {
            outputs.push(Output::Again);
        }
        outputs
    }

    /// Whether it becomes another program with this step: nothing may follow that.
    fn is_leaving(&self) -> bool {
        self.outputs.last().is_some_and(|output| matches!(output, Output::Become { .. }))
    }

    fn command(&mut self, reply: ReplyId, bytes: &[u8]) {
        let what = match Command::decode(bytes) {
            Ok(Command::Eval { text, .. }) if text.len() > pace::TEXT_BYTES_MAX => {
                return self.refuse(reply, Code::LIMIT, too_long(&text));
            }
            Ok(Command::Eval { text, width, depth }) => What::Forms { text, width, depth },
            Ok(Command::Load { files }) => match crate::boot::Bundle::new(files) {
                Ok(bundle) => What::Program(bundle),
                Err(why) => return self.refuse(reply, Code::LIMIT, why),
            },
            // What is only looked at can be asked for in a message, too.
            Ok(command) if self.boot.is_none() => {
                return match self.view(&command) {
                    Ok(payload) => self.put(crate::talk::answer(reply, payload)),
                    Err(why) => self.refuse(reply, FAILED, why),
                };
            }
            Ok(_) => return self.refuse(reply, FAILED, BOOTING.to_owned()),
            Err(error) => return self.refuse(reply, Code::MALFORMED, format!("this is no command: {error}")),
        };
        if self.talks.len() >= TALKS_MAX {
            return self.refuse(reply, Code::LIMIT, "too much is to be evaluated already: ask again later".to_owned());
        }
        self.talks.push_back(Talk::new(reply, what));
    }

    /// An asker has gone.
    fn gone(&mut self, reply: ReplyId) {
        self.held.take_if(|held| matches!(held, Output::Answer { reply: to, .. } if *to == reply));
        if let Some(index) = self.talks.iter().position(|talk| talk.reply == reply) {
            if index == 0 && self.on == Some(Who::Talk) {
                self.pause();
            }
            if let Some(talk) = self.talks.remove(index) {
                self.end_talk(talk);
            }
        } else if self.owed.gone(reply) {
            self.waiting.push(Happening::Gone { reply });
        }
    }

    fn refuse(&mut self, reply: ReplyId, code: Code, text: String) {
        self.put((reply != ReplyId::NONE).then_some(Output::Refuse { reply, code, text }));
    }

    fn put(&mut self, output: Option<Output>) {
        if let Some(output) = output {
            self.output_bytes = self.output_bytes.saturating_add(bytes_of(&output));
            self.outputs.push(output);
        }
    }

    /// Leaves the evaluator to whoever comes next.
    fn pause(&mut self) {
        match self.on.take() {
            None => {}
            Some(Who::Event) => {
                if let Some(event) = &mut self.event {
                    event.pause(self.session.machine());
                }
            }
            Some(Who::Talk) => {
                if let Some(talk) = self.talks.front_mut() {
                    talk.pause(&mut self.session);
                }
            }
            Some(Who::Computation) => {
                if let Some(computation) = self.computations.front_mut() {
                    computation.task.pause(self.session.machine());
                }
            }
        }
    }
}

fn too_long(text: &str) -> String {
    format!("a text of {} bytes is more than the {} there may be", text.len(), pace::TEXT_BYTES_MAX)
}

/// Evaluations for the owner that may wait.
const TALKS_MAX: usize = 1000;

const BOOTING: &str = "the machine is still booting: ask again later";

/// Bytes of an output, at most.
fn bytes_of(output: &Output) -> usize {
    let payload = match output {
        Output::Ask { payload, .. } | Output::Answer { payload, .. } => payload.len(),
        Output::Refuse { text, .. } | Output::Trace { text } => text.len(),
        Output::Become { seed, handover } => seed.len().saturating_add(handover.len()),
        Output::Cancel { .. } | Output::Again => 0,
    };
    payload.saturating_add(40)
}
