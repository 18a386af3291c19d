//! One event: `(main self input)` evaluated as far as it matters, and what the program wants taken from it.
//!
//! The outputs are evaluated whole, but for the value of a `compute`, and so is the new self: what goes wrong in it goes wrong in
//! this event. What of it was there before is known to be whole, and is not walked over again.

use lang::eval::{Depth, Limit, Machine, Progress, Root, Task};
use lang::session::Session;
use seed::message::{Code, Output};
use seed::{PortId, ReplyId, RequestId};

use crate::happening::Happening;
use crate::pace;

/// What the program wants.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Of the host.
    pub(crate) outputs: Vec<Output>,
    /// Of the kernel: to compute a value, and to be told of it by a key.
    pub(crate) computes: Vec<(Root, Root)>,
    /// Texts of programs that are to take this one's place, by key.
    pub(crate) loads: Vec<(Root, String)>,
    /// The new self.
    pub(crate) state: Option<Root>,
    /// Bytes of the outputs.
    pub(crate) bytes: usize,
}

impl Wanted {
    /// Lets go of what it holds.
    pub(crate) fn release(self, machine: &mut Machine) {
        let computes = self.computes.into_iter().flat_map(|(key, value)| [key, value]);
        let loads = self.loads.into_iter().map(|(key, _)| key);
        computes.chain(loads).chain(self.state).for_each(|root| machine.release(root));
    }
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// This is wanted.
    Well(Wanted),
    /// It failed, and why.
    Failed(String),
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// `(main self input)`, until it is a row.
    Pair,
    /// The row of outputs.
    Outputs,
    /// An output, until it is a row.
    Output(usize),
    /// A part of an output.
    Part(usize, usize),
    /// The new self.
    State,
}

/// An event under way.
#[derive(Debug)]
pub(crate) struct Event {
    /// What it deals with.
    pub(crate) happening: Happening,
    phase: Phase,
    task: Option<Task>,
    pair: Option<Root>,
    outputs: Option<Root>,
    /// The output at hand.
    output: Option<Root>,
    wanted: Wanted,
    steps: u64,
    /// A query has no new self.
    is_query: bool,
}

impl Event {
    /// Begins.
    pub(crate) fn new(happening: Happening, main: Root, state: Root, machine: &mut Machine) -> Self {
        let input = happening.load(machine);
        let call = machine.apply(main, &[state, input]);
        machine.release(input);
        Self {
            is_query: matches!(happening, Happening::Query { .. }),
            happening,
            phase: Phase::Pair,
            task: Some(Task::new(call, Depth::Head)),
            pair: None,
            outputs: None,
            output: None,
            wanted: Wanted::default(),
            steps: 0,
        }
    }

    /// How many steps it has taken.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// Lets others go on.
    pub(crate) fn pause(&mut self, machine: &mut Machine) {
        if let Some(task) = &mut self.task {
            task.pause(machine);
        }
    }

    /// Lets go of everything but what it deals with.
    pub(crate) fn end(self, machine: &mut Machine) -> Happening {
        if let Some(task) = self.task {
            task.end(machine);
        }
        [self.pair, self.outputs, self.output].into_iter().flatten().for_each(|root| machine.release(root));
        self.wanted.release(machine);
        self.happening
    }

    /// Goes on for about so many steps. Whatever else was evaluated must have been paused.
    pub(crate) fn advance(&mut self, session: &mut Session, steps: u64) -> Option<Ended> {
        let end = self.steps.saturating_add(steps);
        while self.steps < end {
            let mut task = self.task.take()?;
            let before = task.steps();
            let progress = task.advance(session.machine(), end - self.steps);
            // Each phase costs something.
            self.steps = self.steps.saturating_add(task.steps().wrapping_sub(before).saturating_add(1));
            match progress {
                Progress::OutOfSteps => self.task = Some(task),
                Progress::Done(root) => match self.next(root, session.machine()) {
                    Ok(true) => {}
                    Ok(false) => return Some(Ended::Well(std::mem::take(&mut self.wanted))),
                    Err(why) => return Some(Ended::Failed(why)),
                },
                Progress::Crashed(crashed) => return Some(Ended::Failed(session.told(&crashed))),
                Progress::Stopped(limit, root) => {
                    session.machine().release(root);
                    return Some(Ended::Failed(limited(limit)));
                }
            }
        }
        None
    }

    /// Something is evaluated; on to the next. False if there is nothing more.
    fn next(&mut self, root: Root, machine: &mut Machine) -> Result<bool, String> {
        match self.phase {
            Phase::Pair => {
                let is_pair = machine.row_len(root) == Some(2);
                self.pair = Some(root);
                if !is_pair {
                    return Err("main gave something other than a row of the new self and a row of outputs".to_owned());
                }
                self.evaluate(Phase::Outputs, machine.part(root, 1), Depth::Head);
            }
            Phase::Outputs => {
                self.outputs = Some(root);
                match machine.row_len(root) {
                    None => return Err("main gave outputs that are no row".to_owned()),
                    Some(count) if count > pace::OUTPUT_PARTS_MAX => {
                        return Err(format!("main gave {count} outputs, and may give {}", pace::OUTPUT_PARTS_MAX));
                    }
                    Some(_) => return self.output(0, machine),
                }
            }
            Phase::Output(index) => {
                self.output = Some(root);
                if machine.row_len(root).is_none_or(|len| len == 0 || len > PARTS_MAX) {
                    return Err(unknown(index));
                }
                self.evaluate(Phase::Part(index, 0), machine.part(root, 0), Depth::Normal);
            }
            Phase::Part(index, part) => {
                machine.release(root);
                return self.part(index, part + 1, machine);
            }
            Phase::State => {
                self.wanted.state = Some(root);
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn evaluate(&mut self, phase: Phase, root: Option<Root>, depth: Depth) {
        self.phase = phase;
        self.task = root.map(|root| Task::new(root, depth));
    }

    /// Begins an output, or what comes after the last one.
    fn output(&mut self, index: usize, machine: &mut Machine) -> Result<bool, String> {
        if let Some(root) = self.output.take() {
            machine.release(root);
        }
        let output = self.outputs.and_then(|outputs| machine.part(outputs, index));
        if output.is_some() {
            self.evaluate(Phase::Output(index), output, Depth::Head);
        } else if self.is_query {
            return Ok(false);
        } else {
            let state = self.pair.and_then(|pair| machine.part(pair, 0));
            self.evaluate(Phase::State, state, Depth::Normal);
        }
        Ok(true)
    }

    /// Evaluates a part of the output at hand, or takes it in if that was the last one.
    fn part(&mut self, index: usize, part: usize, machine: &mut Machine) -> Result<bool, String> {
        let Some(output) = self.output else { return Ok(false) };
        let is_value = part == 2 && is_named(machine, output, b"compute");
        match machine.part(output, part) {
            Some(root) if !is_value => {
                self.evaluate(Phase::Part(index, part), Some(root), Depth::Normal);
                Ok(true)
            }
            root => {
                if let Some(root) = root {
                    machine.release(root);
                }
                self.take(output, index, machine)?;
                self.output(index + 1, machine)
            }
        }
    }

    /// Takes in an output, all of whose parts but the value of a `compute` are evaluated.
    fn take(&mut self, row: Root, index: usize, machine: &mut Machine) -> Result<(), String> {
        if self.wanted.outputs.last().is_some_and(|output| matches!(output, Output::Become { .. })) {
            return Err("main gave an output after a \"become\", which must be the last one".to_owned());
        }
        let count = machine.row_len(row).unwrap_or_default();
        let mut reader = Reader { row, index, left: pace::OUTPUT_BYTES_MAX - self.wanted.bytes, machine };
        let name = reader.bytes(0).unwrap_or_default();
        let output = match (name.as_slice(), count) {
            (b"ask", 4) => Output::Ask {
                request: RequestId(reader.word(1)?),
                port: PortId(reader.word(2)?),
                payload: reader.bytes(3)?,
            },
            (b"answer", 4) => {
                Output::Answer { reply: ReplyId(reader.word(1)?), more: reader.flag(2)?, payload: reader.bytes(3)? }
            }
            (b"refuse", 4) => {
                Output::Refuse { reply: ReplyId(reader.word(1)?), code: Code(reader.word(2)?), text: reader.text(3)? }
            }
            (b"cancel", 2) => Output::Cancel { request: RequestId(reader.word(1)?) },
            (b"trace", 2) => Output::Trace { text: reader.text(1)? },
            (b"become", 3) => Output::Become { seed: reader.bytes(1)?, handover: reader.bytes(2)? },
            (b"compute", 3) => {
                if let (Some(key), Some(value)) = (machine.part(row, 1), machine.part(row, 2)) {
                    self.wanted.computes.push((key, value));
                }
                return Ok(());
            }
            (b"load", 3) => {
                let text = reader.text(2)?;
                self.wanted.bytes = pace::OUTPUT_BYTES_MAX - reader.left;
                if let Some(key) = machine.part(row, 1) {
                    self.wanted.loads.push((key, text));
                }
                return Ok(());
            }
            _ => return Err(unknown(index)),
        };
        self.wanted.bytes = pace::OUTPUT_BYTES_MAX - reader.left;
        self.wanted.outputs.push(output);
        Ok(())
    }
}

/// No output has more parts.
const PARTS_MAX: usize = 4;

fn unknown(index: usize) -> String {
    format!(
        "output {index} of main is none of [\"ask\" request port payload], [\"answer\" reply more payload], [\"refuse\" reply code text], \
         [\"cancel\" request], [\"trace\" text], [\"become\" seed handover], [\"compute\" key value] and [\"load\" key text]"
    )
}

/// A limit, in the words of somebody whose machine goes on.
pub(crate) fn limited(limit: Limit) -> String {
    limit.to_string()
}

fn is_named(machine: &mut Machine, row: Root, name: &[u8]) -> bool {
    let Some(part) = machine.part(row, 0) else { return false };
    let is_named = machine.bytes_len(part) == Some(name.len()) && machine.as_bytes(part).as_deref() == Some(name);
    machine.release(part);
    is_named
}

/// Reads the parts of an output.
struct Reader<'a> {
    row: Root,
    index: usize,
    /// Bytes that there is still room for.
    left: usize,
    machine: &'a mut Machine,
}

impl Reader<'_> {
    fn part<T>(
        &mut self,
        part: usize,
        what: &str,
        take: impl FnOnce(&Machine, Root) -> Option<T>,
    ) -> Result<T, String> {
        let root = self.machine.part(self.row, part);
        let taken = root.and_then(|root| take(self.machine, root));
        if let Some(root) = root {
            self.machine.release(root);
        }
        taken.ok_or_else(|| format!("part {part} of output {} of main is not {what}", self.index))
    }

    fn word(&mut self, part: usize) -> Result<u64, String> {
        self.part(part, "a number below 2^64", |machine, root| machine.as_word(root))
    }

    fn flag(&mut self, part: usize) -> Result<bool, String> {
        self.part(part, "0 or 1", |machine, root| machine.as_word(root).filter(|word| *word <= 1).map(|word| word == 1))
    }

    fn bytes(&mut self, part: usize) -> Result<Vec<u8>, String> {
        let count = self.part(part, "bytes", |machine, root| machine.bytes_len(root))?;
        self.left = self
            .left
            .checked_sub(count + HEAD_BYTES)
            .ok_or_else(|| format!("main gave more than {} MiB of outputs", pace::OUTPUT_BYTES_MAX >> 20))?;
        self.part(part, "bytes", |machine, root| machine.as_bytes(root))
    }

    fn text(&mut self, part: usize) -> Result<String, String> {
        let bytes = self.bytes(part)?;
        String::from_utf8(bytes).map_err(|_| format!("part {part} of output {} of main is not text", self.index))
    }
}

/// What is around the bytes of an output, at most.
const HEAD_BYTES: usize = 40;
