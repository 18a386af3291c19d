//! **clock**: `[0]` answers the time, `[1, t]` answers at time `t`. Times are nanoseconds since 1970, answers are one CBOR integer.
//!
//! A wait is for an absolute time, so a machine that was stopped meanwhile is answered at once, and a host's clock that is set forward ends waits;
//! one that is set back does not prolong them ([`MachineClock`]). Resumed by waiting for the same time.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use seed::cbor::{CborError, Reader, Writer};
use seed::message::Code;
use seed::{EffectId, Nanos, RequestId};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use vm::port::{Line, Port};

use super::Known;
use crate::clocks::MachineClock;

/// The host's clock may be set while somebody waits; this is how soon that is noticed.
const NAP_MAX: Duration = Duration::from_secs(1);

/// Understands the name of a grant.
pub fn parse(name: &str, _folder: &Path) -> Option<Known> {
    (name == "clock").then(|| {
        Known::new(name, |_, host| {
            Ok(Some(Box::new(Clock::new(host.line.clone(), host.runtime.clone(), Arc::clone(&host.clock)))))
        })
    })
}

/// The machine's clock as a port.
pub struct Clock {
    line: Line,
    runtime: Handle,
    waits: HashMap<RequestId, AbortHandle>,
    clock: Arc<MachineClock>,
}

enum Ask {
    Now,
    Until(Nanos),
}

impl Clock {
    /// A clock whose waits run on `runtime`.
    #[must_use]
    pub fn new(line: Line, runtime: Handle, clock: Arc<MachineClock>) -> Self {
        Self { line, runtime, waits: HashMap::new(), clock }
    }
}

impl Port for Clock {
    fn ask(&mut self, request: RequestId, payload: Vec<u8>, _resumed: bool) {
        let time = match decode(&payload) {
            Ok(Ask::Now) => Nanos(0),
            Ok(Ask::Until(time)) => time,
            Err(error) => {
                return self.line.broken(
                    request,
                    Code::MALFORMED,
                    format!("the clock takes [0] or [1, time]: {error}"),
                );
            }
        };
        if time <= self.clock.now() {
            return self.line.answer(request, encode(self.clock.now()));
        }
        self.waits.retain(|_, wait| !wait.is_finished());
        let (line, clock) = (self.line.clone(), Arc::clone(&self.clock));
        let wait = self.runtime.spawn(async move {
            while let Some(left) = time.0.checked_sub(clock.now().0).filter(|left| *left > 0) {
                tokio::time::sleep(Duration::from_nanos(left).min(NAP_MAX)).await;
            }
            line.answer(request, encode(clock.now()));
        });
        self.waits.insert(request, wait.abort_handle());
    }

    fn effect(&mut self, effect: EffectId, _payload: Vec<u8>) {
        // Nothing a clock can be told; it counts as told.
        self.line.delivered(effect);
    }

    fn cancel(&mut self, request: RequestId) {
        if let Some(wait) = self.waits.remove(&request) {
            wait.abort();
        }
    }
}

fn decode(payload: &[u8]) -> Result<Ask, CborError> {
    let mut reader = Reader::new(payload);
    let items = reader.array()?;
    let ask = match (reader.uint_max(1, "the clock's request")?, items) {
        (0, 1) => Ask::Now,
        (1, 2) => Ask::Until(Nanos(reader.uint()?)),
        _ => return Err(reader.fault(seed::cbor::Fault::Rule("wrong number of items"))),
    };
    reader.end()?;
    Ok(ask)
}

fn encode(time: Nanos) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.uint(time.0);
    writer.finish()
}
