//! A text evaluated within bounds: no more than so many steps, and not beyond an interrupt. What was defined before stays.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use lang::compile::{Answer, Outcome};
use lang::session::{Form, Session, Turn};
use lang::text::TextError;
use tokio::signal::unix::{SignalKind, signal};

/// Steps between two looks at what else there is: some hundredth of a second.
const SLICE: u64 = 1 << 18;

/// Why there is no outcome.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Something is wrong with the text.
    Text(TextError),
    /// It took so many steps, which is all it may.
    Steps(u64),
    /// Somebody wants no more of it.
    Interrupted,
}

/// What a person allows.
pub(crate) struct Bounds {
    /// How many steps. What is read counts a step a byte.
    pub(crate) steps: Option<u64>,
    is_interrupted: Arc<AtomicBool>,
}

impl Bounds {
    /// So many steps, and nobody interrupts but by ending the process.
    pub(crate) fn of(steps: Option<u64>) -> Self {
        Self { steps, is_interrupted: Arc::default() }
    }

    /// From now on an interrupt ends what is evaluated and not the process.
    pub(crate) fn catch_interrupts(&mut self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let mut interrupts = {
            let _inside = runtime.enter();
            signal(SignalKind::interrupt())?
        };
        let is_interrupted = Arc::clone(&self.is_interrupted);
        let watch = move || {
            runtime.block_on(async {
                while interrupts.recv().await.is_some() {
                    is_interrupted.store(true, Ordering::Relaxed);
                }
            });
        };
        thread::Builder::new().name("abide-interrupts".to_owned()).spawn(watch)?;
        Ok(())
    }

    /// Runs a text.
    pub(crate) fn run(&self, session: &mut Session, source: &str) -> Result<Outcome, Ended> {
        self.is_interrupted.store(false, Ordering::Relaxed);
        let mut evaluation = session.begin(source, false).map_err(Ended::Text)?;
        loop {
            let left = self.steps.map_or(SLICE, |steps| steps.saturating_sub(evaluation.steps()));
            let why = match self.steps {
                Some(steps) if left == 0 => Some(Ended::Steps(steps)),
                _ => self.is_interrupted.load(Ordering::Relaxed).then_some(Ended::Interrupted),
            };
            if let Some(why) = why {
                session.end(evaluation);
                return Err(why);
            }
            match session.advance(&mut evaluation, left.min(SLICE)) {
                Ok(Turn::More) => {}
                Ok(Turn::Done(outcome)) => return Ok(outcome),
                Ok(Turn::Form(Form::Value(value))) => evaluation.answer(Answer::Value(value)),
                Ok(Turn::Form(Form::Root(root)) | Turn::Set(_, root)) => {
                    let value = session.machine().read(root);
                    session.machine().release(root);
                    evaluation.answer(value.map_or_else(|error| Answer::Failed(error.to_string()), Answer::Value));
                }
                Ok(Turn::Name { .. }) => evaluation.answer(Answer::None),
                Err(error) => {
                    session.end(evaluation);
                    return Err(Ended::Text(error));
                }
            }
        }
    }
}
