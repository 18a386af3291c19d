//! Queries, asked of a reader beside the machine: whatever they do, the reader stands where the last durable batch ended, page for page.

use std::time::Duration;

use seed::message::Code;
use seed::{Nanos, PortId};
use vm::reader::Reader;
use vm::released::Released;

use super::Life;
use crate::sim::host::lost;
use crate::sim::random::Random;
use crate::sim::{Failure, chain, ensure, ops};

const PROMISE: &str = "a reader sees what has been released";

impl Life<'_> {
    /// A batch was just reported as durable: nothing is in flight, and the body's last boundary is that batch's end.
    pub(super) fn read(&mut self, random: &mut Random) -> Result<(), Failure> {
        let may_misread = self.may_misread();
        let Some(host) = &mut self.host else { return Ok(()) };
        if host.reader.is_none() && random.one_in(8) {
            let released = Released::keeping(random.pick(&[0, 3, 1 << 14]));
            host.machine.admit_readers(&released);
            let reader = Reader::new(released.clone(), Nanos::from_millis(1000), Duration::ZERO, lost());
            host.reader = Some((released, reader));
        }
        // At times it comes from far behind.
        if random.one_in(3) {
            return Ok(());
        }
        let Some((_, reader)) = &mut host.reader else { return Ok(()) };
        for _ in 0..random.below(4) {
            let mut payload = vec![0; 8];
            payload.extend(ops::operations(random));
            self.cpu.begin(20_000, false);
            let at_once = if random.one_in(2) { None } else { Some(Nanos::from_millis(1)) };
            let answer = at_once.and_then(|cpu| reader.query_at_once(PortId::OWNER, &payload, cpu));
            self.checker.coverage.hit_if(answer.is_some(), "query answered at once");
            // The clock of the first try is over.
            self.cpu.begin(20_000, false);
            let answer = answer.unwrap_or_else(|| reader.query(PortId::OWNER, payload));
            self.checker.coverage.hit_if(matches!(answer, Err((Code::ABORTED, _))), "query aborted");
            if random.one_in(2) {
                reader.settle();
            }
        }
        self.cpu.begin(20_000, false);
        let body = host.machine.body();
        let known = match &body.image().processes[0].state {
            Some(state) => {
                body.page_ids().map(|pages| Some((pages, state.globals.clone()))).map_err(|error| chain(&error))
            }
            None => Ok(None),
        };
        match (reader.contents().map_err(|error| chain(&error)), known) {
            (Err(why), _) | (_, Err(why)) => ensure(may_misread, PROMISE, || why)?,
            (Ok(found), Ok(known)) => {
                ensure(found == known, PROMISE, || format!("{found:?} against {known:?}"))?;
                self.checker.coverage.hit_if(found.is_some(), "reader compared");
            }
        }
        if random.one_in(16) {
            host.machine.dismiss_readers();
            host.reader = None;
        }
        Ok(())
    }
}
