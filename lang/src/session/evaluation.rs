//! A text on its way through a session: files within files, and what the form at hand is waiting for.

use super::{Exports, Session};
use crate::base;
use crate::compile::{Answer, Code, Environment, Need, Outcome, Run};
use crate::eval::{Depth, Machine, Progress, Root, Task};
use crate::text::TextError;
use crate::value::Value;

/// What comes of going on for a while.
#[derive(Debug)]
pub enum Turn {
    /// The steps are used up.
    More,
    /// The value of a form. What it is answered with, [`Answer::Value`] or nothing, is kept or not.
    Form(Form),
    /// A machine's self, or an entry of it, is to become this, which is normal.
    Set(String, Root),
    /// A name is not defined. It may be [given](Evaluation::give) or, if it is to be captured, answered with its value.
    Name {
        /// The name.
        name: String,
        /// Whether its value becomes part of a definition.
        is_captured: bool,
    },
    /// It is done.
    Done(Outcome),
}

/// The value of a form.
#[derive(Debug)]
pub enum Form {
    /// It was known before anything was evaluated.
    Value(Value),
    /// What it was evaluated to, which is normal and the caller's to release.
    Root(Root),
}

impl Form {
    /// Nobody wants it.
    pub fn release(self, machine: &mut Machine) {
        if let Self::Root(root) = self {
            machine.release(root);
        }
    }
}

/// What a file is run for.
#[derive(Debug)]
enum Home {
    /// To be known and to have its jets.
    Library(&'static str),
    /// The one below it needs it.
    Import(String),
    /// A program: it is alone with the base library.
    Program,
    /// The session: what it defines stays.
    Session,
}

#[derive(Debug)]
struct Level {
    run: Run,
    home: Home,
    /// Of all but the session's.
    environment: Environment,
    answer: Answer,
}

/// What something is evaluated for.
#[derive(Debug)]
enum Aim {
    Value,
    Form,
    Set(String),
}

/// A text that is being run.
#[derive(Debug, Default)]
pub struct Evaluation {
    /// Files that are being run; the last one goes on.
    levels: Vec<Level>,
    task: Option<(Task, Aim)>,
    /// What is given for names, by the form at hand.
    given: Vec<(String, Root)>,
    steps: u64,
}

impl Evaluation {
    /// How many steps it has taken. What is read and compiled counts a step a byte.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Answers what it asked for last.
    pub fn answer(&mut self, answer: Answer) {
        if let Some(level) = self.levels.last_mut() {
            level.answer = answer;
        }
    }

    /// Gives something for the name that it asked for last. The root is its own from now on.
    pub fn give(&mut self, name: String, root: Root) {
        self.given.push((name, root));
        self.answer(Answer::Given);
    }

    /// What has been defined so far, by the text itself.
    #[must_use]
    pub fn defined(&self) -> &[(String, Value)] {
        self.levels.first().map_or(&[], |level| &level.run.outcome().definitions)
    }
}

impl Session {
    /// Begins to run the base library.
    #[must_use]
    pub fn begin_library(&self) -> Evaluation {
        let level = |(name, source): &(&'static str, &'static str)| Level {
            run: Run::new(source, false).unwrap_or_else(|error| unreachable!("{}", error.render(name, source))),
            home: Home::Library(name),
            environment: Environment::default(),
            answer: Answer::None,
        };
        Evaluation { levels: base::FILES.iter().rev().map(level).collect(), ..Evaluation::default() }
    }

    /// Begins to run a text. Within a machine it may look at its self and set it.
    ///
    /// # Errors
    /// If it does not consist of forms.
    pub fn begin(&self, source: &str, has_self: bool) -> Result<Evaluation, TextError> {
        self.begin_at(source, Home::Session, has_self)
    }

    /// Begins to run a program: a text that knows nothing but the base library. [`Session::adopt`] makes what it knows the session's.
    ///
    /// # Errors
    /// If it does not consist of forms.
    pub fn begin_program(&self, source: &str) -> Result<Evaluation, TextError> {
        self.begin_at(source, Home::Program, false)
    }

    fn begin_at(&self, source: &str, home: Home, has_self: bool) -> Result<Evaluation, TextError> {
        let environment = if matches!(home, Home::Program) { self.base.clone() } else { Environment::default() };
        let level = Level { run: Run::new(source, has_self)?, home, environment, answer: Answer::None };
        Ok(Evaluation { levels: vec![level], steps: source.len() as u64, ..Evaluation::default() })
    }

    /// Lets others go on.
    pub fn pause(&mut self, evaluation: &mut Evaluation) {
        if let Some((task, _)) = &mut evaluation.task {
            task.pause(&mut self.machine);
        }
    }

    /// Gives an evaluation up.
    pub fn end(&mut self, evaluation: Evaluation) {
        if let Some((task, _)) = evaluation.task {
            task.end(&mut self.machine);
        }
        evaluation.given.into_iter().for_each(|(_, root)| self.machine.release(root));
    }

    /// Goes on for about so many steps. Whatever else was evaluated must have been paused.
    ///
    /// # Errors
    /// What is wrong with the text, or what went wrong, and where. It cannot go on then.
    pub fn advance(&mut self, evaluation: &mut Evaluation, steps: u64) -> Result<Turn, TextError> {
        let mut left = steps;
        loop {
            if let Some((task, aim)) = evaluation.task.take() {
                match self.work(evaluation, task, aim, &mut left) {
                    Some(turn) => return Ok(turn),
                    None => continue,
                }
            }
            if left == 0 {
                return Ok(Turn::More);
            }
            let Some(level) = evaluation.levels.last_mut() else { return Ok(Turn::Done(Outcome::default())) };
            let answer = std::mem::replace(&mut level.answer, Answer::None);
            let environment = match level.home {
                Home::Session => &mut self.environment,
                _ => &mut level.environment,
            };
            match level.run.go_on(environment, answer) {
                Ok(Need::Turn(bytes)) => {
                    evaluation.given.drain(..).for_each(|(_, root)| self.machine.release(root));
                    evaluation.steps = evaluation.steps.saturating_add(bytes as u64);
                    left = left.saturating_sub(bytes as u64 + 1);
                }
                Ok(Need::Value(code)) => self.evaluate(evaluation, code, Aim::Value),
                Ok(Need::Form(Code::Value(value))) => return Ok(Turn::Form(Form::Value(value))),
                Ok(Need::Form(code)) => self.evaluate(evaluation, code, Aim::Form),
                Ok(Need::Set(name, code)) => self.evaluate(evaluation, code, Aim::Set(name)),
                Ok(Need::Name { name, is_captured }) => return Ok(Turn::Name { name, is_captured }),
                Ok(Need::Import(file)) => {
                    if let Some(answer) = self.import(evaluation, &file) {
                        evaluation.answer(answer);
                    }
                }
                Ok(Need::End) => {
                    if let Some(outcome) = self.end_level(evaluation) {
                        return Ok(Turn::Done(outcome));
                    }
                }
                Err(error) => self.level_failed(evaluation, error)?,
            }
        }
    }

    /// Goes on with what is being evaluated.
    fn work(&mut self, evaluation: &mut Evaluation, mut task: Task, aim: Aim, left: &mut u64) -> Option<Turn> {
        let before = task.steps();
        let progress = task.advance(&mut self.machine, *left);
        let taken = task.steps().wrapping_sub(before);
        evaluation.steps = evaluation.steps.saturating_add(taken);
        *left = left.saturating_sub(taken);
        let answer = match progress {
            Progress::OutOfSteps => {
                evaluation.task = Some((task, aim));
                return Some(Turn::More);
            }
            Progress::Done(root) => match aim {
                Aim::Form => return Some(Turn::Form(Form::Root(root))),
                Aim::Set(name) => return Some(Turn::Set(name, root)),
                Aim::Value => {
                    let value = self.machine.read_within(root, self.parts_max);
                    self.machine.release(root);
                    value.map_or_else(|error| Answer::Failed(error.to_string()), Answer::Value)
                }
            },
            Progress::Crashed(crashed) => Answer::Failed(self.told(&crashed)),
            Progress::Stopped(limit, root) => {
                self.machine.release(root);
                Answer::Failed(limit.to_string())
            }
        };
        evaluation.answer(answer);
        None
    }

    fn evaluate(&mut self, evaluation: &mut Evaluation, code: Code, aim: Aim) {
        let root = match code {
            Code::Value(value) | Code::Redex(value) => self.machine.load(&value),
            Code::Function(function) => {
                let function = self.machine.load(&function);
                let names = evaluation.levels.last().map_or(&[][..], |level| level.run.given());
                let roots = names.iter().filter_map(|name| evaluation.given.iter().find(|(given, _)| given == name));
                let roots: Vec<Root> = roots.map(|(_, root)| *root).collect();
                let root = self.machine.apply(function, &roots);
                self.machine.release(function);
                root
            }
        };
        evaluation.task = Some((Task::new(root, Depth::Normal), aim));
    }

    /// What a file defines, if it is known or cannot be; if not, it is begun.
    fn import(&mut self, evaluation: &mut Evaluation, file: &str) -> Option<Answer> {
        if let Some(known) = self.library.get(file).or_else(|| self.known.get(file)) {
            return Some(Answer::Exports(known.clone()));
        }
        if evaluation.levels.iter().any(|level| matches!(&level.home, Home::Import(name) if name == file)) {
            return Some(Answer::Failed("it imports itself".to_owned()));
        }
        let source = match (self.files)(file) {
            Ok(source) => source,
            Err(why) => return Some(Answer::Failed(why)),
        };
        evaluation.steps = evaluation.steps.saturating_add(source.len() as u64);
        match Run::new(&source, false) {
            Ok(run) => {
                let home = Home::Import(file.to_owned());
                evaluation.levels.push(Level { run, home, environment: self.base.clone(), answer: Answer::None });
                None
            }
            Err(error) => Some(Answer::Failed(format!("\n{}", error.render(file, &source)))),
        }
    }

    /// A file is done. If it was the outermost one, returns what came of it.
    fn end_level(&mut self, evaluation: &mut Evaluation) -> Option<Outcome> {
        let level = evaluation.levels.pop()?;
        let outcome = level.run.into_outcome();
        match level.home {
            Home::Import(file) => {
                self.known.insert(file, outcome.definitions.clone());
                evaluation.answer(Answer::Exports(outcome.definitions));
                None
            }
            Home::Library(name) => {
                self.learn(name, outcome.definitions);
                evaluation.levels.is_empty().then(|| {
                    self.environment.fix_core();
                    self.base = self.environment.clone();
                    Outcome::default()
                })
            }
            Home::Program => {
                self.program = Some(level.environment);
                Some(outcome)
            }
            Home::Session => Some(outcome),
        }
    }

    fn learn(&mut self, name: &str, definitions: Exports) {
        for (name, value) in &definitions {
            if let Value::Pin(pin) = value {
                self.machine.jets_mut().bind(name, pin.hash());
            }
            self.environment.define(name, value.clone());
        }
        self.library.insert(name.to_owned(), definitions);
    }

    /// Something is wrong with a file. Whatever imports it is told.
    fn level_failed(&mut self, evaluation: &mut Evaluation, error: TextError) -> Result<(), TextError> {
        let Some(level) = evaluation.levels.last() else { return Err(error) };
        match &level.home {
            Home::Import(file) => {
                let why = format!("\n{}", error.render(file, level.run.source()));
                evaluation.levels.pop();
                evaluation.answer(Answer::Failed(why));
                Ok(())
            }
            Home::Library(name) => unreachable!("{}", error.render(name, level.run.source())),
            Home::Program | Home::Session => Err(error),
        }
    }
}
