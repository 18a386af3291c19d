//! What the owner has the machine evaluate: forms typed at a prompt, or another program.

use lang::Value;
use lang::compile::Answer;
use lang::eval::{Machine, Root};
use lang::session::{Evaluation, Form, Session, Turn};
use lang::text::{Names, TextError, brief};
use seed::ReplyId;
use seed::cbor::{Reader, Writer};
use seed::message::Output;

use crate::boot::{Bundle, MAIN};
use crate::pace;

/// What is to be evaluated.
#[derive(Debug)]
pub(crate) enum What {
    /// Forms, whose values are shown.
    Forms { text: String, width: usize, depth: usize },
    /// A program that takes this one's place.
    Program(Bundle),
}

/// An evaluation for the owner.
#[derive(Debug)]
pub(crate) struct Talk {
    /// Where the answer goes.
    pub(crate) reply: ReplyId,
    /// Under which key the program is told, if it is the program that wants it.
    pub(crate) key: Option<Root>,
    what: What,
    evaluation: Option<Evaluation>,
    /// What forms have defined, once all of them are done.
    defined: Vec<(String, Value)>,
    /// Whether the session has the files of a program that has not taken this one's place.
    has_files: bool,
    shown: Vec<String>,
    shown_bytes: usize,
    /// What self, or an entry of it, is to become once no event is under way.
    set: Option<(String, Root)>,
}

/// The program as the owner sees it.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub(crate) bundle: Bundle,
    /// What it defines, in order, and what has been defined at the prompt since.
    pub(crate) definitions: Vec<(String, Value)>,
    /// What was defined at the prompt.
    own: Vec<String>,
}

/// How a turn of it ended.
pub(crate) enum Spoken {
    /// It goes on later.
    More,
    /// It is done: this is the answer.
    Done(Vec<u8>),
}

/// Bytes of an answer.
const SHOWN_BYTES_MAX: usize = 4 << 20;

impl Talk {
    pub(crate) fn new(reply: ReplyId, what: What) -> Self {
        let (evaluation, defined, shown) = (None, Vec::new(), Vec::new());
        Self { reply, key: None, what, evaluation, defined, has_files: false, shown, shown_bytes: 0, set: None }
    }

    /// A text that the program wants in its place.
    pub(crate) fn wanted(key: Root, bundle: Bundle) -> Self {
        Self { key: Some(key), ..Self::new(ReplyId::NONE, What::Program(bundle)) }
    }

    /// What it is, for a person.
    pub(crate) fn what(&self) -> &'static str {
        match self.what {
            What::Forms { .. } => "evaluating",
            What::Program(_) => "loading a program",
        }
    }

    /// Steps that it has taken.
    pub(crate) fn steps(&self) -> u64 {
        self.evaluation.as_ref().map_or(0, Evaluation::steps)
    }

    /// Whether it waits until no event is under way.
    pub(crate) fn waits(&self) -> bool {
        self.set.is_some()
    }

    /// Lets others go on.
    pub(crate) fn pause(&mut self, session: &mut Session) {
        if let Some(evaluation) = &mut self.evaluation {
            session.pause(evaluation);
        }
    }

    /// It is over, whether it is done, has failed or is given up: what forms have defined by then is defined, and of a program
    /// that has not taken this one's place nothing stays.
    pub(crate) fn end(mut self, session: &mut Session, program: &mut Program) {
        if let Some(evaluation) = self.evaluation {
            if matches!(self.what, What::Forms { .. }) {
                self.defined.extend_from_slice(evaluation.defined());
            }
            session.end(evaluation);
        }
        program.define(self.defined);
        if self.has_files {
            session.set_files(program.bundle.files());
        }
        let roots = self.set.map(|(_, root)| root).into_iter().chain(self.key);
        roots.for_each(|root| session.machine().release(root));
    }

    /// Goes on for about so many steps. While an event is under way, self is not set.
    pub(crate) fn advance(&mut self, around: &mut Around<'_>, steps: u64) -> Spoken {
        let end = self.steps().saturating_add(steps).min(around.budget);
        loop {
            if let Some((name, root)) = self.set.take() {
                if around.is_busy {
                    self.set = Some((name, root));
                    return Spoken::More;
                }
                if let (Err(why), Some(evaluation)) = (around.set(&name, root), &mut self.evaluation) {
                    evaluation.answer(Answer::Failed(why));
                }
            }
            let mut evaluation = match self.evaluation.take() {
                Some(evaluation) => evaluation,
                None => match self.begin(around.session) {
                    Ok(evaluation) => evaluation,
                    Err(why) => return Spoken::Done(failed(&why)),
                },
            };
            let left = end.saturating_sub(evaluation.steps());
            if left == 0 {
                let is_over = evaluation.steps() >= around.budget;
                self.evaluation = Some(evaluation);
                return if is_over { Spoken::Done(failed(&over(around.budget))) } else { Spoken::More };
            }
            match around.session.advance(&mut evaluation, left) {
                Ok(Turn::More) => {}
                Ok(Turn::Form(form)) => self.show(form, around.session),
                Ok(Turn::Set(name, root)) => self.set = Some((name, root)),
                Ok(Turn::Name { name, is_captured }) => around.name(&mut evaluation, name, is_captured),
                Ok(Turn::Done(outcome)) => {
                    let names = outcome.definitions.iter().map(|(name, _)| name.clone()).collect();
                    let done = match &self.what {
                        What::Forms { .. } => {
                            self.defined = outcome.definitions;
                            Ok(())
                        }
                        What::Program(bundle) => around.replace(bundle, outcome.definitions),
                    };
                    self.has_files &= done.is_err();
                    return Spoken::Done(match done {
                        Ok(()) => self.succeeded(names),
                        Err(why) => failed(&why),
                    });
                }
                Err(error) => {
                    self.evaluation = Some(evaluation);
                    return Spoken::Done(failed(&self.render(&error)));
                }
            }
            self.evaluation = Some(evaluation);
        }
    }

    fn begin(&mut self, session: &mut Session) -> Result<Evaluation, String> {
        let begun = match &self.what {
            What::Forms { text, .. } => session.begin(text, true),
            What::Program(bundle) => {
                session.set_files(bundle.files());
                self.has_files = true;
                session.begin_program(&bundle.first.1)
            }
        };
        begun.map_err(|error| self.render(&error))
    }

    fn render(&self, error: &TextError) -> String {
        match &self.what {
            What::Forms { text, .. } => error.render("typed", text),
            What::Program(bundle) => bundle.render(error),
        }
    }

    fn show(&mut self, form: Form, session: &mut Session) {
        let (What::Forms { width, depth, .. }, true) = (&self.what, self.shown_bytes < SHOWN_BYTES_MAX) else {
            return form.release(session.machine());
        };
        let text = shown(&form, session, *width, *depth);
        form.release(session.machine());
        self.shown_bytes += text.len();
        self.shown.push(text);
    }

    fn succeeded(&mut self, names: Vec<String>) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.array(3).uint(0);
        for texts in [&std::mem::take(&mut self.shown), &names] {
            writer.array(texts.len());
            for text in texts {
                writer.text(text);
            }
        }
        writer.finish()
    }
}

/// What is left out where a value is shown.
const LEFT_OUT: &str = "…";

/// A value in brief.
pub(crate) fn shown(form: &Form, session: &mut Session, width: usize, depth: usize) -> String {
    let names = session.names();
    match form {
        Form::Value(value) => brief(value, &names, width, depth).text,
        Form::Root(root) => sampled(*root, &names, session, width, depth),
    }
}

/// What a root holds in brief.
pub(crate) fn sampled(root: Root, names: &Names, session: &mut Session, width: usize, depth: usize) -> String {
    let sample = session.machine().sample(root, depth);
    sample.map_or_else(|_| LEFT_OUT.to_owned(), |value| brief(&value, names, width, depth).text)
}

/// Why nothing came of it, if that is the answer.
pub(crate) fn why_not(answer: &[u8]) -> Option<String> {
    let mut reader = Reader::new(answer);
    reader.array().ok()?;
    let is_failed = reader.uint().ok()? != 0;
    is_failed.then(|| reader.text().map(str::to_owned).unwrap_or_default())
}

fn failed(why: &str) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(2).uint(1).text(why);
    writer.finish()
}

/// More than the budget, in words.
pub(crate) fn over(budget: u64) -> String {
    format!(
        "it took more than {budget} steps, which is the budget for one thing: do less at once, or boot with a larger budget"
    )
}

/// What an evaluation for the owner sees of the machine.
pub(crate) struct Around<'a> {
    pub(crate) session: &'a mut Session,
    pub(crate) program: &'a mut Program,
    /// The machine's self.
    pub(crate) state: &'a mut Root,
    /// Whether an event is under way.
    pub(crate) is_busy: bool,
    pub(crate) budget: u64,
}

/// The key of self's table that a name means: the symbol where that is one, else the text.
pub(crate) fn key_of(machine: &mut Machine, state: Root, name: &str) -> Value {
    let symbol = Value::symbol(name);
    match machine.table_get(state, &symbol) {
        Some(entry) => {
            machine.release(entry);
            symbol
        }
        None => Value::bar(name.as_bytes()),
    }
}

impl Around<'_> {
    /// Sets self, or an entry of it. The root is taken.
    fn set(&mut self, name: &str, root: Root) -> Result<(), String> {
        let machine = self.session.machine();
        let state = if name == "self" {
            root
        } else {
            let key = key_of(machine, *self.state, name);
            let state = machine.table_put(*self.state, &key, root);
            machine.release(root);
            state.ok_or_else(|| {
                format!("self is no table that `{name}` could be an entry of: (set! self ..) replaces all of it")
            })?
        };
        machine.release(std::mem::replace(self.state, state));
        Ok(())
    }

    /// A name that is not defined may be self, or an entry of it.
    fn name(&mut self, evaluation: &mut Evaluation, name: String, is_captured: bool) {
        let machine = self.session.machine();
        let root = if name == "self" {
            Some(machine.share(*self.state))
        } else {
            let key = key_of(machine, *self.state, &name);
            machine.table_get(*self.state, &key)
        };
        match root {
            None => evaluation.answer(Answer::None),
            Some(root) if is_captured => {
                let value = machine.read_within(root, pace::NAMED_PARTS_MAX);
                machine.release(root);
                evaluation.answer(value.map_or_else(|error| Answer::Failed(error.to_string()), Answer::Value));
            }
            Some(root) => evaluation.give(name, root),
        }
    }

    /// Another program takes this one's place. What was defined at the prompt and is not defined by it stays.
    fn replace(&mut self, bundle: &Bundle, definitions: Vec<(String, Value)>) -> Result<(), String> {
        if !definitions.iter().any(|(name, _)| name == "main") {
            return Err(format!(
                "{} defines no `main`, which is {MAIN}: the machine goes on with its program\n",
                bundle.first.0
            ));
        }
        self.session.adopt();
        let own = std::mem::take(&mut self.program.own);
        let kept: Vec<(String, Value)> = std::mem::take(&mut self.program.definitions)
            .into_iter()
            .filter(|(name, _)| own.contains(name) && !definitions.iter().any(|(other, _)| other == name))
            .collect();
        for (name, value) in &kept {
            self.session.environment_mut().define(name, value.clone());
        }
        *self.program = Program { bundle: bundle.clone(), definitions, own: Vec::new() };
        self.program.define(kept);
        Ok(())
    }
}

impl Program {
    /// As a boot leaves it.
    pub(crate) fn new(bundle: Bundle, definitions: Vec<(String, Value)>) -> Self {
        Self { bundle, definitions, own: Vec::new() }
    }

    /// Definitions typed at the prompt.
    fn define(&mut self, definitions: Vec<(String, Value)>) {
        for (name, value) in definitions {
            self.definitions.retain(|(other, _)| *other != name);
            if !self.own.contains(&name) {
                self.own.push(name.clone());
            }
            self.definitions.push((name, value));
        }
    }
}

/// The answer of an evaluation, if anybody wants it.
pub(crate) fn answer(reply: ReplyId, payload: Vec<u8>) -> Option<Output> {
    (reply != ReplyId::NONE).then_some(Output::Answer { reply, more: false, payload })
}
