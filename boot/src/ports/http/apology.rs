//! What a client is told where its machine has not answered it, in plain text.

use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use seed::message::Code;

use super::answer::Answer;

/// A response of the server's own.
pub(super) struct Apology {
    status: StatusCode,
    text: String,
    /// Whether the same request may be made again, and then be answered.
    is_passing: bool,
    /// A header that says what would do.
    with: Option<(&'static str, &'static str)>,
}

impl Apology {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), is_passing: false, with: None }
    }

    pub(super) fn with(self, name: &'static str, value: &'static str) -> Self {
        Self { with: Some((name, value)), ..self }
    }

    /// The machine has not heard of the request.
    pub(super) fn unheard(text: &str) -> Self {
        Self { is_passing: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, text) }
    }

    /// The machine may have done what was asked, and its answer cannot be had: with a key by asking again.
    pub(super) fn unanswered(text: &str, has_key: bool) -> Self {
        let text = match has_key {
            true => format!("{text}: the same request with its Idempotency-Key gets the answer"),
            false => format!("{text}: whether it did what was asked is not known"),
        };
        Self { is_passing: has_key, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, text) }
    }

    /// The machine, or its host, has refused.
    pub(super) fn refused(code: Code, text: &str) -> Self {
        let status = match code {
            Code::MALFORMED => StatusCode::BAD_REQUEST,
            Code::REFUSED => StatusCode::NOT_IMPLEMENTED,
            // Of the host: the message never got in.
            Code::LIMIT => return Self::unheard(text),
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, format!("{}: {text}", code.word()))
    }

    pub(super) fn response(self) -> Response<Answer> {
        let mut response = Response::new(Answer::whole((self.text + "\n").into(), None));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if self.is_passing {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some((name, value)) = self.with {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
