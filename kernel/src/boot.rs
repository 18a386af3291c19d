//! What a machine begins with: the base library run, then its program.

use std::collections::BTreeMap;
use std::rc::Rc;

use lang::Value;
use lang::seedfile;
use lang::session::{Evaluation, Files, Session, Turn};
use lang::text::TextError;
use seed::cbor::{CborError, Fault, Reader, Writer};

use crate::command::{read_files, write_files};
use crate::pace;

/// What a seed of the language has as its genesis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    /// What the machine runs.
    pub program: Source,
    /// Steps for any one thing that it does; 0 for as many as the kernel thinks right.
    pub budget: u64,
}

/// Where a program comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `["abide-lang", 1, [[name, text], ...], budget]`: a file, then those that it imports.
    Text(Vec<(String, String)>),
    /// `["abide-plan", 1, seed, budget]`: a PLAN seed, whose value is the function, or the row of the function and the first self.
    Plan(Vec<u8>),
}

const TEXT: &str = "abide-lang";
const PLAN: &str = "abide-plan";
const VERSION: u64 = 1;

impl Genesis {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        match &self.program {
            Source::Text(files) => {
                writer.array(4).text(TEXT).uint(VERSION);
                write_files(files, &mut writer);
            }
            Source::Plan(seed) => drop(writer.array(4).text(PLAN).uint(VERSION).bytes(seed)),
        }
        writer.uint(self.budget);
        writer.finish()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// If they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(bytes);
        reader.array_of(4)?;
        let kind = reader.text()?;
        reader.uint_max(VERSION, "the version of a genesis")?;
        let program = match kind {
            TEXT => Source::Text(read_files(&mut reader)?),
            PLAN => Source::Plan(reader.bytes()?.to_vec()),
            _ => return Err(reader.fault(Fault::Rule("a genesis is of \"abide-lang\" or \"abide-plan\""))),
        };
        let budget = reader.uint()?;
        reader.end()?;
        Ok(Self { program, budget })
    }
}

/// The files of a program.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bundle {
    /// The program's own, and its text.
    pub(crate) first: (String, Rc<str>),
    all: Rc<BTreeMap<String, String>>,
}

impl Bundle {
    /// Of these, the first of which is the program's.
    pub(crate) fn new(files: Vec<(String, String)>) -> Result<Self, String> {
        let bytes = files.iter().fold(0usize, |sum, (_, text)| sum.saturating_add(text.len()));
        if bytes > pace::TEXT_BYTES_MAX {
            return Err(format!("the files have {bytes} bytes, and may have {}", pace::TEXT_BYTES_MAX));
        }
        let first = files.first().map(|(name, text)| (name.clone(), Rc::from(text.as_str())));
        let first = first.unwrap_or_else(|| (String::new(), Rc::from("")));
        Ok(Self { first, all: Rc::new(files.into_iter().collect()) })
    }

    /// As a session asks for them.
    pub(crate) fn files(&self) -> Files {
        let all = Rc::clone(&self.all);
        Box::new(move |name| all.get(name).cloned().ok_or_else(|| "there is no such file with the program".to_owned()))
    }

    /// What is wrong with the program's text, for a person.
    pub(crate) fn render(&self, error: &TextError) -> String {
        let (name, text) = &self.first;
        error.render(name, text)
    }
}

/// What a boot comes to.
#[derive(Debug, Default)]
pub(crate) struct Begun {
    /// The program's function.
    pub(crate) main: Value,
    /// Its first self.
    pub(crate) start: Value,
    pub(crate) bundle: Bundle,
    pub(crate) definitions: Vec<(String, Value)>,
}

/// A boot under way.
#[derive(Debug)]
pub(crate) struct Boot {
    source: Source,
    bundle: Bundle,
    /// The base library, then the program.
    evaluation: Evaluation,
    is_program: bool,
    library_steps: u64,
}

impl Boot {
    pub(crate) fn new(source: Source, session: &mut Session) -> Result<Self, String> {
        let bundle = match &source {
            Source::Text(files) => Bundle::new(files.clone())?,
            Source::Plan(_) => Bundle::default(),
        };
        session.set_files(bundle.files());
        let evaluation = session.begin_library();
        Ok(Self { source, bundle, evaluation, is_program: false, library_steps: 0 })
    }

    /// Steps that it has taken, those for the base library not counted.
    pub(crate) fn steps(&self) -> u64 {
        if self.is_program { self.evaluation.steps() } else { 0 }
    }

    /// Steps that it has taken in all.
    pub(crate) fn all_steps(&self) -> u64 {
        self.library_steps.saturating_add(self.evaluation.steps())
    }

    /// Goes on for about so many steps.
    pub(crate) fn advance(&mut self, session: &mut Session, steps: u64) -> Result<Option<Begun>, String> {
        let end = self.all_steps().saturating_add(steps);
        loop {
            let left = end.saturating_sub(self.all_steps());
            if left == 0 {
                return Ok(None);
            }
            match session.advance(&mut self.evaluation, left) {
                Ok(Turn::More) => return Ok(None),
                Ok(Turn::Done(_)) if !self.is_program => {
                    self.library_steps = self.evaluation.steps();
                    self.is_program = true;
                    match &self.source {
                        Source::Plan(seed) => return Ok(Some(planned(seed)?)),
                        Source::Text(_) => {
                            let begun = session.begin_program(&self.bundle.first.1);
                            self.evaluation = begun.map_err(|error| self.bundle.render(&error))?;
                        }
                    }
                }
                Ok(Turn::Done(outcome)) => {
                    session.adopt();
                    let value = |name: &str| session.environment().get(name).cloned();
                    let missing = |name, what| format!("{} defines no `{name}`, which is {what}", self.bundle.first.0);
                    return Ok(Some(Begun {
                        main: value("main").ok_or_else(|| missing("main", MAIN))?,
                        start: value("start").ok_or_else(|| missing("start", "the first self"))?,
                        bundle: self.bundle.clone(),
                        definitions: outcome.definitions,
                    }));
                }
                // The values of a program's forms are nobody's.
                Ok(Turn::Form(form)) => form.release(session.machine()),
                Ok(Turn::Set(_, root)) => session.machine().release(root),
                Ok(Turn::Name { .. }) => {}
                Err(error) => return Err(self.bundle.render(&error)),
            }
        }
    }
}

/// What `main` is, where there is none.
pub(crate) const MAIN: &str = "the function of self and an input";

fn planned(bytes: &[u8]) -> Result<Begun, String> {
    let value = seedfile::read(bytes).map_err(|error| format!("the PLAN seed cannot be read: {error}"))?;
    let pair = value.as_row().filter(|row| row.len() == 2);
    let parts = pair.and_then(|row| Some((row.get(0)?.clone(), row.get(1)?.clone())));
    let (main, start) = parts.unwrap_or_else(|| (value.clone(), Value::default()));
    Ok(Begun { main, start, ..Begun::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_genesis_reads_back_and_nothing_else_does() {
        let texts = Source::Text(vec![("a".into(), "b".into())]);
        for program in [texts, Source::Plan(vec![1, 2])] {
            let genesis = Genesis { program, budget: 7 };
            let bytes = genesis.encode();
            assert_eq!(Genesis::decode(&bytes), Ok(genesis));
            for length in 0..bytes.len() {
                assert!(Genesis::decode(&bytes[..length]).is_err());
            }
        }
        assert!(Genesis::decode(&Genesis { program: Source::Text(Vec::new()), budget: 0 }.encode()).is_err());
        let mut writer = Writer::new();
        writer.array(4).text("other").uint(1).bytes(b"").uint(0);
        assert!(Genesis::decode(&writer.finish()).unwrap_err().to_string().contains("abide-lang"));
    }
}
