//! **http-client**: requests of HTTP/1.1 to others, within what a person has granted: an origin, perhaps under a path, or all there is.
//!
//! Each call is one connection. Nothing comes from the environment but the roots of trust: no proxies. No cookies are kept, and bodies are what came.
//! Resumed by calling again, under the same key: whoever keeps keys does once what is asked twice.

mod call;
mod caller;
mod exchange;
mod url;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::Method;
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, COOKIE, HeaderName, HeaderValue, LOCATION,
    PROXY_AUTHORIZATION,
};
use seed::message::Code;
use seed::{CallId, EffectId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use vm::port::{Line, Port, Ticket};

use self::call::{Call, encode_response};
pub use self::caller::Caller;
use self::exchange::{Exchange, Failed, Received, Trust};
use self::url::{Reach, Url};
use super::{Known, headers};

/// Calls at a time; more wait in order.
const CALLS_MAX: usize = 64;
/// What the bodies of their answers may have, together.
const ANSWERS_KIB_MAX: usize = 64 << 10;
/// What machines have asked for and has not been answered. More is not taken.
const ASKED_KIB_MAX: usize = 64 << 10;
const REDIRECTS_MAX: usize = 10;
const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What a grant of this port reaches: `http-client:https://example.org`, or one with a path, or `http-client:*`.
fn reach(grant: &str) -> Option<Reach> {
    Reach::parse(grant.strip_prefix("http-client:")?)
}

/// Understands the name of a grant.
pub fn parse(name: &str, _folder: &Path) -> Option<Known> {
    let reach = reach(name)?;
    Some(Known::new(name, move |_, host| {
        let client = HttpClient::new(reach, host.line.clone(), Arc::clone(&host.caller), host.runtime.clone());
        Ok(Some(Box::new(client)))
    }))
}

/// Whether a grant of this port is what a seed has asked for, or less; nothing if one of them is no such grant.
#[must_use]
pub fn is_within(asked: &str, granted: &str) -> Option<bool> {
    Some(reach(asked)?.contains(&reach(granted)?))
}

/// A client of HTTP as a port. Dropped, it ends its calls.
pub struct HttpClient {
    runtime: tokio::runtime::Handle,
    shared: Arc<Shared>,
}

struct Shared {
    line: Line,
    reach: Reach,
    caller: Arc<Caller>,
    trust: Trust,
    under_way: Mutex<HashMap<Ticket, AbortHandle>>,
    places: Arc<Semaphore>,
    room: Arc<Semaphore>,
    asked: Arc<Semaphore>,
}

impl HttpClient {
    /// A client that reaches so far.
    #[must_use]
    fn new(reach: Reach, line: Line, caller: Arc<Caller>, runtime: tokio::runtime::Handle) -> Self {
        let shared = Shared {
            line,
            reach,
            caller,
            trust: Trust::default(),
            under_way: Mutex::default(),
            places: Arc::new(Semaphore::new(CALLS_MAX)),
            room: Arc::new(Semaphore::new(ANSWERS_KIB_MAX)),
            asked: Arc::new(Semaphore::new(ASKED_KIB_MAX)),
        };
        Self { runtime, shared: Arc::new(shared) }
    }
}

impl Drop for HttpClient {
    fn drop(&mut self) {
        self.shared.under_way().drain().for_each(|(_, call)| call.abort());
    }
}

impl Port for HttpClient {
    fn ask(&mut self, request: Ticket, _payload: Vec<u8>, _resumed: bool) {
        // What a machine asks this port for is a call, by its grant's name.
        self.shared.line.broken(request, Code::FAILED, "a call has no number");
    }

    fn call(&mut self, number: CallId, request: Ticket, payload: Vec<u8>, _resumed: bool) {
        let shared = Arc::clone(&self.shared);
        let call = match shared.admit(&payload) {
            Ok(call) => call,
            Err(Failed { code, why }) => return shared.line.broken(request, code, why),
        };
        // Locked until it is entered, so that it cannot be over before.
        let mut under_way = self.shared.under_way();
        let task = self.runtime.spawn(async move {
            let outcome = shared.carry_out(call, number, &payload).await;
            shared.under_way().remove(&request);
            match outcome {
                Ok(answer) => shared.line.answer(request, answer),
                Err(Failed { code, why }) => shared.line.broken(request, code, why),
            }
        });
        under_way.insert(request, task.abort_handle());
    }

    fn effect(&mut self, effect: EffectId, _payload: Vec<u8>) {
        // Nobody would hear how it went.
        self.shared.line.delivered(effect);
    }

    fn cancel(&mut self, request: Ticket) {
        if let Some(call) = self.shared.under_way().remove(&request) {
            call.abort();
        }
    }
}

/// A call with its share of what may be asked at a time.
type Admitted = (Call, OwnedSemaphorePermit);

impl Shared {
    fn under_way(&self) -> MutexGuard<'_, HashMap<Ticket, AbortHandle>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, payload: &[u8]) -> Result<Admitted, Failed> {
        let call = Call::decode(payload).map_err(|why| Failed { code: Code::MALFORMED, why })?;
        if !self.reach.has(&call.url) {
            return Err(Failed { code: Code::NOT_GRANTED, why: format!("{} is not granted", call.url.origin) });
        }
        // The payload itself is kept for its key.
        let asked = Arc::clone(&self.asked).try_acquire_many_owned(kib(payload.len() + call.body.len()));
        let too_much = |_| Failed { code: Code::LIMIT, why: "too much is asked for at a time".to_owned() };
        Ok((call, asked.map_err(too_much)?))
    }

    async fn carry_out(&self, (call, _asked): Admitted, number: CallId, payload: &[u8]) -> Result<Vec<u8>, Failed> {
        let closed = |_| Failed { code: Code::LOST, why: "the machine stops".to_owned() };
        let _place = self.places.acquire().await.map_err(closed)?;
        let _room = self.room.acquire_many(kib(call.bytes_max)).await.map_err(closed)?;
        let key = self.caller.key(number, payload).await;
        let key = key.map_err(|error| Failed {
            code: Code::LOST,
            why: format!("which incarnation has made this call cannot be told: {error}"),
        })?;
        let (url, timeout) = (call.url.clone(), call.timeout);
        let exchange = Exchange::new(&self.trust, call.bytes_max);
        let followed = tokio::time::timeout(timeout, self.follow(call, &key, &exchange)).await;
        let (received, url) = followed.unwrap_or_else(|_| {
            Err(exchange.failed(format!("no answer came from {} within {} ms", url.origin, timeout.as_millis())))
        })?;
        Ok(encode_response(&received.head, &received.body, &url))
    }

    /// Makes a call, and those that its answers redirect to within reach. Where one leads elsewhere, it is the answer.
    async fn follow(&self, mut call: Call, key: &str, exchange: &Exchange<'_>) -> Result<(Received, Url), Failed> {
        if !call.headers.contains_key(KEY)
            && let Ok(key) = HeaderValue::from_str(key)
        {
            call.headers.insert(KEY, key);
        }
        for _ in 0..=REDIRECTS_MAX {
            let received = exchange.with(&call, |head| self.next(&call, head).is_some()).await?;
            match self.next(&call, &received.head) {
                Some(next) => call = next,
                None => return Ok((received, call.url)),
            }
        }
        Err(exchange.failed(format!("it was redirected more than {REDIRECTS_MAX} times")))
    }

    /// The call that a response redirects to, if it may be made.
    fn next(&self, call: &Call, head: &hyper::http::response::Parts) -> Option<Call> {
        let status = head.status.as_u16();
        let location = head.headers.get(LOCATION).filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308))?;
        let url = call.url.join(location.to_str().ok()?)?;
        if !self.reach.has(&url) || call.url.origin.is_secure && !url.origin.is_secure {
            return None;
        }
        let mut next = Call { url, ..call.clone() };
        // As browsers have it: what was sent is not sent on, unless the status says so.
        let is_read = [Method::GET, Method::HEAD].contains(&call.method);
        if status == 303 && !is_read || matches!(status, 301 | 302) && call.method == Method::POST {
            next.method = Method::GET;
            next.body = hyper::body::Bytes::new();
            [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE].iter().for_each(|name| drop(next.headers.remove(name)));
        }
        if next.url.origin != call.url.origin {
            [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].iter().for_each(|name| drop(next.headers.remove(name)));
        }
        Some(next)
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "../../../fuzz/http_client_bodies.rs"]
#[allow(unreachable_pub, reason = "the fuzzer's target includes it, too")]
mod bodies;

#[cfg(test)]
mod tests {
    #[test]
    fn payloads_near_the_starting_points_of_the_fuzzer_are_what_they_may_be() {
        crate::ports::golden::fuzz_near("http_call", super::bodies::http_call);
    }
}
