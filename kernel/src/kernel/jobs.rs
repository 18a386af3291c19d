//! Whose turn it is, and what comes of it.

use lang::eval::{Depth, Progress, Task};
use lang::text::WIDTH;
use seed::ReplyId;
use seed::message::{Code, Output};

use super::{Computation, FAILED, Living, TALKS_MAX, Who, bytes_of};
use crate::boot::Bundle;
use crate::event::{Ended, Event, Wanted, limited};
use crate::happening::Happening;
use crate::pace;
use crate::talk::{Around, Program, Spoken, Talk, answer, over, sampled, why_not};

/// What a text that the program loads is called in errors.
const LOADED: &str = "the text";

/// Values shown in one step, and how deep.
const SHOWN_MAX: usize = 1000;
const SHOWN_BYTES_MAX: usize = 1 << 20;
const SHOWN_DEPTH: usize = 8;

/// Words of a failure that are told: an argument of a crash may be long.
const WHY_BYTES_MAX: usize = 4000;

impl Living {
    /// Works for about so many steps. Computations have more than their turns only in a slice that was asked for.
    pub(super) fn work(&mut self, steps: u64, is_slice: bool) {
        let mut left = steps;
        while left > 0 && self.has_room() {
            if let Some(held) = self.held.take() {
                if !self.fits(bytes_of(&held), 1) {
                    self.held = Some(held);
                    return;
                }
                self.put(Some(held));
                continue;
            }
            if let Some((happening, wanted)) = self.ready.take() {
                if !self.fits(wanted.bytes, wanted.outputs.len()) {
                    self.ready = Some((happening, wanted));
                    return;
                }
                self.carry_out(happening, wanted);
                // Nothing may follow it, if it becomes another program.
                continue;
            }
            let used = if self.boot.is_some() {
                self.boot(left)
            } else {
                let is_event = self.event.is_some() || !self.waiting.is_empty();
                let is_set = self.talks.front().is_some_and(Talk::waits);
                let is_talk = if is_set { self.event.is_none() } else { !self.talks.is_empty() };
                let is_other = is_talk || !self.computations.is_empty();
                // To set self is nobody's turn while an event is under way, but it must not wait for the next one, too.
                self.is_set_due = is_set && (self.is_set_due || (!is_talk && self.debt >= pace::TURN));
                let is_turn = is_other && (self.debt >= pace::TURN || (is_talk && self.is_set_due));
                if is_event && !is_turn {
                    let is_awaited = is_other || is_set;
                    let used = self.event(if is_awaited { left.min(pace::TURN) } else { left });
                    self.debt = if is_awaited { self.debt.saturating_add(used) } else { 0 };
                    used
                } else if is_other && (is_turn || is_slice || is_talk) {
                    self.debt = 0;
                    self.other(if is_event { left.min(pace::TURN) } else { left.min(pace::ROUND) }, is_talk)
                } else {
                    return;
                }
            };
            self.let_out_shown();
            // Everything costs something.
            left = left.saturating_sub(used.max(1));
        }
    }

    /// What was shown while something was evaluated, by `trace`, is told to the owner: so many of them in a step.
    fn let_out_shown(&mut self) {
        for root in self.session.machine().shown() {
            let is_room = self.outputs.len() < SHOWN_MAX && self.output_bytes < SHOWN_BYTES_MAX && !self.is_leaving();
            if is_room {
                let names = self.session.names();
                let text = sampled(root, &names, &mut self.session, WIDTH, SHOWN_DEPTH);
                self.put(Some(Output::Trace { text }));
            }
            self.session.machine().release(root);
        }
    }

    fn switch(&mut self, who: Who) {
        if self.on != Some(who) {
            self.pause();
            self.on = Some(who);
        }
    }

    fn boot(&mut self, steps: u64) -> u64 {
        let Some(mut boot) = self.boot.take() else { return 0 };
        let before = boot.all_steps();
        let progress = boot.advance(&mut self.session, steps);
        let used = boot.all_steps().saturating_sub(before);
        match progress {
            Ok(None) if boot.steps() >= self.budget => self.refuse_boot(over(self.budget)),
            Ok(None) => self.boot = Some(boot),
            Ok(Some(begun)) => {
                self.program = Program::new(begun.bundle, begun.definitions);
                let machine = self.session.machine();
                let main = machine.load(&begun.main);
                machine.release(std::mem::replace(&mut self.main, (begun.main, main)).1);
                let start = machine.load(&begun.start);
                machine.release(std::mem::replace(&mut self.state, start));
            }
            Err(why) => self.refuse_boot(why),
        }
        used
    }

    /// There will be no machine.
    fn refuse_boot(&mut self, text: String) {
        self.outputs.push(Output::Refuse { reply: ReplyId::NONE, code: FAILED, text });
        self.waiting.clear();
        self.talks.clear();
    }

    /// Goes on with the event, or the next one.
    fn event(&mut self, steps: u64) -> u64 {
        self.switch(Who::Event);
        let mut event = match self.event.take() {
            Some(event) => event,
            None => match self.next_event() {
                Some(event) => event,
                None => return 0,
            },
        };
        let before = event.steps();
        let left = steps.min(self.budget.saturating_sub(before)).max(1);
        let ended = event.advance(&mut self.session, left);
        let used = event.steps().saturating_sub(before);
        match ended {
            None if event.steps() < self.budget => self.event = Some(event),
            None => {
                let happening = self.end_event(event);
                self.fail(happening, &over(self.budget));
            }
            Some(Ended::Well(wanted)) => {
                let happening = self.end_event(event);
                if self.fits(wanted.bytes, wanted.outputs.len()) {
                    self.carry_out(happening, wanted);
                } else {
                    self.ready = Some((happening, wanted));
                }
            }
            Some(Ended::Failed(why)) => {
                let happening = self.end_event(event);
                self.fail(happening, &why);
            }
        }
        used
    }

    fn next_event(&mut self) -> Option<Event> {
        loop {
            let happening = self.waiting.pop()?;
            match &happening {
                // Cancelled since it came.
                Happening::Answer { request, .. } | Happening::Broken { request, .. } if !self.owed.waits(*request) => {
                    continue;
                }
                Happening::Answer { request, more: false, .. } | Happening::Broken { request, .. } => {
                    self.owed.close(*request);
                }
                _ => {}
            }
            return Some(Event::new(happening, self.main.1, self.state, self.session.machine()));
        }
    }

    fn end_event(&mut self, event: Event) -> Happening {
        let happening = event.end(self.session.machine());
        self.on = None;
        happening
    }

    /// Whether the outputs of this step may become so many more.
    fn fits(&self, bytes: usize, parts: usize) -> bool {
        let is_first = self.outputs.is_empty();
        let bytes = self.output_bytes.saturating_add(bytes);
        let parts = self.outputs.len() + parts;
        is_first || (bytes <= pace::OUTPUT_BYTES_MAX && parts <= pace::OUTPUT_PARTS_MAX)
    }

    /// Whether anything at all may follow in this step. Words of a failure are let out wherever there is room: they are few.
    fn has_room(&self) -> bool {
        self.outputs.len() < pace::OUTPUT_PARTS_MAX && self.output_bytes < pace::OUTPUT_BYTES_MAX && !self.is_leaving()
    }

    /// The event has ended well: what it wants is done, and its self is the machine's.
    fn carry_out(&mut self, happening: Happening, mut wanted: Wanted) {
        if self.talks.len() + wanted.loads.len() > TALKS_MAX {
            wanted.release(self.session.machine());
            return self.fail(happening, "too much is to be evaluated already");
        }
        if self.computations.len() + wanted.computes.len() > pace::COMPUTATIONS_MAX {
            wanted.release(self.session.machine());
            return self.fail(happening, &format!("more than {} computations are under way", pace::COMPUTATIONS_MAX));
        }
        let cancelled = wanted.outputs.iter().filter_map(|output| match output {
            Output::Cancel { request } => Some(*request),
            _ => None,
        });
        let cancelled: Vec<_> = cancelled.collect();
        let outputs = match self.owed.carry_out(std::mem::take(&mut wanted.outputs)) {
            Ok(outputs) => outputs,
            Err(why) => {
                wanted.release(self.session.machine());
                return self.fail(happening, &why);
            }
        };
        if !cancelled.is_empty() {
            self.waiting.forget(&cancelled);
        }
        outputs.into_iter().for_each(|output| self.put(Some(output)));
        let machine = self.session.machine();
        for (key, value) in wanted.computes {
            self.computations.push_back(Computation { key, task: Task::new(value, Depth::Normal), round: 0 });
        }
        for (key, text) in wanted.loads {
            let bundle = Bundle::new(vec![(LOADED.to_owned(), text)]);
            match bundle {
                Ok(bundle) => self.talks.push_back(Talk::wanted(key, bundle)),
                Err(why) => self.waiting.push(Happening::Failed { key, why }),
            }
        }
        if let Some(state) = wanted.state {
            machine.release(std::mem::replace(&mut self.state, state));
        }
        match &happening {
            Happening::Gone { reply } => self.owed.forget(*reply),
            Happening::Boot { .. } => self.is_booted = true,
            _ => {}
        }
        happening.release(self.session.machine());
    }

    /// The event has failed: it has not been, but that it is told.
    fn fail(&mut self, happening: Happening, why: &str) {
        let mut text = format!("{} failed: {why}", happening.doing());
        if text.len() > WHY_BYTES_MAX {
            text.truncate(text.floor_char_boundary(WHY_BYTES_MAX));
            text.push('…');
        }
        if let Happening::Computed { key, value } = happening {
            // As an answer: whoever waited for it would wait for ever otherwise.
            self.session.machine().release(value);
            self.waiting.push_first(Happening::Failed { key, why: text });
            return;
        }
        match &happening {
            Happening::Boot { .. } => self.refuse_boot(text),
            Happening::Message { reply, .. } if *reply != ReplyId::NONE => {
                let refusal = self.owed.refuse(*reply, FAILED, text);
                self.put(refusal);
            }
            Happening::Answer { request, more, .. } => {
                // As the host does it for a step that is aborted: the request is broken.
                if *more && !self.owed.is_settled(*request) {
                    self.put(Some(Output::Cancel { request: *request }));
                }
                self.waiting.forget(&[*request]);
                self.owed.reopen(*request);
                let code = Code::ABORTED;
                self.waiting.push_first(Happening::Broken { request: *request, code, text });
            }
            _ => {
                if let Happening::Gone { reply } = &happening {
                    self.owed.forget(*reply);
                }
                self.put(Some(Output::Trace { text }));
            }
        }
        happening.release(self.session.machine());
    }

    /// A turn of those that are no events.
    fn other(&mut self, steps: u64, is_talk: bool) -> u64 {
        let is_owners = is_talk && (self.is_owners_turn || self.computations.is_empty());
        self.is_owners_turn = !is_owners;
        if is_owners { self.talk(steps) } else { self.compute(steps) }
    }

    fn talk(&mut self, steps: u64) -> u64 {
        self.switch(Who::Talk);
        let Some(mut talk) = self.talks.pop_front() else { return 0 };
        let before = talk.steps();
        let mut around = Around {
            session: &mut self.session,
            program: &mut self.program,
            state: &mut self.state,
            is_busy: self.event.is_some() || self.ready.is_some(),
            budget: self.budget,
        };
        let spoken = talk.advance(&mut around, steps);
        let used = talk.steps().saturating_sub(before);
        match spoken {
            Spoken::More => self.talks.push_front(talk),
            Spoken::Done(payload) => {
                if let Some(key) = talk.key.take() {
                    match why_not(&payload) {
                        // What else waits is for the new program, which hears of this first.
                        None => self.waiting.push_first(Happening::Loaded { key }),
                        Some(why) => self.waiting.push(Happening::Failed { key, why }),
                    }
                }
                // Room is made for it in the next step, if there is none: nothing else is done before.
                match answer(talk.reply, payload) {
                    Some(answer) if !self.fits(bytes_of(&answer), 1) => self.held = Some(answer),
                    answer => self.put(answer),
                }
                self.on = None;
                self.end_talk(talk);
            }
        }
        used
    }

    /// It is over, however it ended.
    pub(super) fn end_talk(&mut self, talk: Talk) {
        talk.end(&mut self.session, &mut self.program);
        self.renew();
    }

    /// The program's function may have been defined anew.
    fn renew(&mut self) {
        let Some(main) = self.session.environment().get("main").cloned() else { return };
        if main != self.main.0 {
            let machine = self.session.machine();
            let root = machine.load(&main);
            machine.release(std::mem::replace(&mut self.main, (main, root)).1);
        }
    }

    fn compute(&mut self, steps: u64) -> u64 {
        self.switch(Who::Computation);
        let Some(mut computation) = self.computations.pop_front() else { return 0 };
        let before = computation.task.steps();
        let left = steps.min(self.budget.saturating_sub(before)).max(1);
        let progress = computation.task.advance(self.session.machine(), left);
        let used = computation.task.steps().wrapping_sub(before);
        let key = computation.key;
        let happening = match progress {
            Progress::OutOfSteps if computation.task.steps() >= self.budget => {
                computation.task.end(self.session.machine());
                Happening::Failed { key, why: over(self.budget) }
            }
            Progress::OutOfSteps => {
                computation.round = computation.round.saturating_add(used);
                if computation.round >= pace::ROUND && !self.computations.is_empty() {
                    computation.round = 0;
                    computation.task.pause(self.session.machine());
                    self.on = None;
                    self.computations.push_back(computation);
                } else {
                    self.computations.push_front(computation);
                }
                return used;
            }
            Progress::Done(value) => Happening::Computed { key, value },
            Progress::Crashed(crashed) => Happening::Failed { key, why: self.session.told(&crashed) },
            Progress::Stopped(limit, root) => {
                self.session.machine().release(root);
                Happening::Failed { key, why: limited(limit) }
            }
        };
        self.on = None;
        self.waiting.push(happening);
        used
    }
}
