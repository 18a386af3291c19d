//! Questions, which change nothing: whatever a query's step writes the host throws away.

use seed::message::{Code, Output};
use seed::{PortId, ReplyId};

use super::{BOOTING, FAILED, Living, too_long};
use crate::command::{Command, MARK};
use crate::event::{Ended, Event};
use crate::happening::Happening;
use crate::pace;
use crate::talk::{Around, Spoken, Talk, What, over};
use crate::views::{Job, View};

fn refused(code: Code, text: String) -> Output {
    Output::Refuse { reply: ReplyId::NONE, code, text }
}

impl Living {
    /// Answers a query by the last self, whatever is under way.
    pub(super) fn query(&mut self, port: PortId, payload: Vec<u8>) -> Output {
        if self.boot.is_some() || !self.is_booted {
            return refused(FAILED, BOOTING.to_owned());
        }
        self.pause();
        if port.0 == 0 && payload.first() == Some(&MARK) {
            return match Command::decode(&payload[1..]) {
                Ok(Command::Eval { text, .. }) if text.len() > pace::TEXT_BYTES_MAX => {
                    refused(Code::LIMIT, too_long(&text))
                }
                Ok(Command::Eval { text, width, depth }) => self.evaluate(What::Forms { text, width, depth }),
                Ok(command) => match self.view(&command) {
                    Ok(payload) => Output::Answer { reply: ReplyId::NONE, more: false, payload },
                    Err(why) => refused(FAILED, why),
                },
                Err(error) => refused(Code::MALFORMED, format!("this is no command: {error}")),
            };
        }
        let happening = Happening::Query { port, payload };
        let mut event = Event::new(happening, self.main.1, self.state, self.session.machine());
        let ended = event.advance(&mut self.session, pace::QUERY.min(self.budget));
        let doing = event.end(self.session.machine()).doing();
        let why = match ended {
            None => over(pace::QUERY.min(self.budget)),
            Some(Ended::Failed(why)) => why,
            Some(Ended::Well(mut wanted)) => {
                let outputs = std::mem::take(&mut wanted.outputs);
                let is_alone = wanted.computes.is_empty() && wanted.loads.is_empty();
                wanted.release(self.session.machine());
                match <[Output; 1]>::try_from(outputs) {
                    Ok([answer @ Output::Answer { reply: ReplyId::NONE, more: false, .. }]) if is_alone => {
                        return answer;
                    }
                    Ok([refusal @ Output::Refuse { reply: ReplyId::NONE, .. }]) if is_alone => return refusal,
                    _ => "main gave something other than one [\"answer\" 0 0 payload]".to_owned(),
                }
            }
        };
        refused(FAILED, format!("{doing} failed: {why}"))
    }

    /// Forms evaluated for their values: what they define and set is forgotten with the query.
    fn evaluate(&mut self, what: What) -> Output {
        let mut talk = Talk::new(ReplyId::NONE, what);
        let mut around = Around {
            session: &mut self.session,
            program: &mut self.program,
            state: &mut self.state,
            is_busy: false,
            budget: pace::QUERY.min(self.budget),
        };
        let spoken = talk.advance(&mut around, pace::QUERY);
        talk.end(&mut self.session, &mut self.program);
        match spoken {
            Spoken::Done(payload) => Output::Answer { reply: ReplyId::NONE, more: false, payload },
            Spoken::More => refused(FAILED, over(pace::QUERY)),
        }
    }

    /// What the owner looks at.
    pub(super) fn view(&mut self, command: &Command) -> Result<Vec<u8>, String> {
        let jobs = self.jobs();
        let mut view =
            View { session: &mut self.session, program: &self.program, state: self.state, budget: self.budget, jobs };
        view.answer(command)
    }

    fn jobs(&self) -> Vec<Job> {
        let event = self.event.iter().map(|event| (event.happening.doing(), event.steps()));
        let talks = self.talks.iter().map(|talk| (talk.what(), talk.steps()));
        let computations = self.computations.iter().map(|computation| ("computing", computation.task.steps()));
        let jobs = event.chain(talks).chain(computations);
        jobs.take(JOBS_MAX).map(|(what, steps)| Job { what: what.to_owned(), steps }).collect()
    }
}

/// Jobs that are told of.
const JOBS_MAX: usize = 1000;
