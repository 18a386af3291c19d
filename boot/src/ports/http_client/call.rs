//! What a machine asks for and is answered, as payloads: `[method, url, headers, body, timeout_ms, most_bytes]`, and `[status, headers, body, url]`.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{HOST, HeaderMap};
use hyper::http::response;
use seed::cbor::{CborError, Reader, Writer};

use super::headers::{self, Field};
use super::url::Url;

const TIMEOUT_MS_MAX: u64 = 600_000;
/// Of the body, either way.
pub(super) const BODY_BYTES_MAX: u64 = 8 << 20;

/// A call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// From when it is begun to when all of the answer is there.
    pub(super) timeout: Duration,
    /// Of the answer's body.
    pub(super) bytes_max: usize,
}

impl Call {
    /// Reads what a machine asks for.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn decode(payload: &[u8]) -> Result<Self, String> {
        let parts = read(payload)
            .map_err(|error| format!("a call is [method, url, headers, body, timeout_ms, most_bytes]: {error}"))?;
        let method = Method::from_bytes(parts.method).ok().filter(|method| *method != Method::CONNECT);
        let method =
            method.ok_or_else(|| format!("{:?} is no method of a call", String::from_utf8_lossy(parts.method)))?;
        let url = std::str::from_utf8(parts.url).ok().and_then(Url::parse);
        let url =
            url.ok_or_else(|| format!("{:?} is no address of http or https", String::from_utf8_lossy(parts.url)))?;
        let headers = headers::check(&parts.headers, "port")?;
        if headers.contains_key(HOST) {
            return Err("the header host is the port's to set".to_owned());
        }
        if parts.body.len() as u64 > BODY_BYTES_MAX {
            return Err(format!("its body has more than {BODY_BYTES_MAX} bytes"));
        }
        if !(1..=TIMEOUT_MS_MAX).contains(&parts.timeout_ms) {
            return Err(format!("its time is not from 1 to {TIMEOUT_MS_MAX} ms"));
        }
        let bytes_max = usize::try_from(parts.bytes_max).ok().filter(|_| parts.bytes_max <= BODY_BYTES_MAX);
        Ok(Self {
            method,
            url,
            headers,
            body: Bytes::copy_from_slice(parts.body),
            timeout: Duration::from_millis(parts.timeout_ms),
            bytes_max: bytes_max.ok_or_else(|| format!("it takes more than {BODY_BYTES_MAX} bytes"))?,
        })
    }
}

struct Parts<'a> {
    method: &'a [u8],
    url: &'a [u8],
    headers: Vec<Field<'a>>,
    body: &'a [u8],
    timeout_ms: u64,
    bytes_max: u64,
}

fn read(payload: &[u8]) -> Result<Parts<'_>, CborError> {
    let mut reader = Reader::new(payload);
    reader.array_of(6)?;
    let parts = Parts {
        method: reader.bytes()?,
        url: reader.bytes()?,
        headers: headers::read(&mut reader)?,
        body: reader.bytes()?,
        timeout_ms: reader.uint()?,
        bytes_max: reader.uint()?,
    };
    reader.end()?;
    Ok(parts)
}

/// The payload that tells a machine of a response, and where it came from.
pub(super) fn encode_response(head: &response::Parts, body: &[u8], from: &Url) -> Vec<u8> {
    let mut writer = Writer::with_capacity(body.len() + 1024);
    writer.array(4).uint(u64::from(head.status.as_u16()));
    headers::write(&head.headers, &[], &mut writer);
    writer.bytes(body).bytes(from.to_string().as_bytes());
    writer.finish()
}

#[cfg(test)]
mod tests {
    use hyper::Response;

    use super::*;
    use crate::ports::golden::bytes;

    type Headers<'a> = &'a [(&'a str, &'a str)];

    fn call(method: &str, url: &str, headers: Headers<'_>, body: &[u8], timeout_ms: u64, bytes_max: u64) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.array(6).bytes(method.as_bytes()).bytes(url.as_bytes()).array(headers.len());
        for (name, value) in headers {
            writer.array(2).bytes(name.as_bytes()).bytes(value.as_bytes());
        }
        writer.bytes(body).uint(timeout_ms).uint(bytes_max);
        writer.finish()
    }

    #[test]
    fn a_call_in_bytes() {
        let payload = call("PUT", "http://a/b", &[("X-One", "1")], b"hi", 1000, 65536);
        assert_eq!(payload, bytes("http-client call"));
        let call = Call::decode(&payload).unwrap();
        assert_eq!((call.method.as_str(), call.url.to_string().as_str()), ("PUT", "http://a/b"));
        assert_eq!((call.headers["x-one"].as_bytes(), call.body.as_ref()), (b"1".as_slice(), b"hi".as_slice()));
        assert_eq!((call.timeout, call.bytes_max), (Duration::from_secs(1), 65536));
        for cut in 0..payload.len() {
            Call::decode(&payload[..cut]).unwrap_err();
        }
    }

    #[test]
    fn a_response_to_a_call_in_bytes() {
        let response = Response::builder().status(200).header("X-One", "1").header("content-length", "2");
        let (head, ()) = response.header("connection", "close").body(()).unwrap().into_parts();
        let payload = encode_response(&head, b"hi", &Url::parse("http://a/b").unwrap());
        assert_eq!(payload, bytes("http-client response"));
    }

    #[test]
    fn what_is_no_call_is_told() {
        let why = |payload: Vec<u8>| Call::decode(&payload).unwrap_err();
        let get =
            |url, headers: Headers<'_>, timeout_ms, bytes_max| call("GET", url, headers, b"", timeout_ms, bytes_max);
        assert_eq!(why(call("CONNECT", "http://a/", &[], b"", 1, 0)), "\"CONNECT\" is no method of a call");
        assert_eq!(why(call("G T", "http://a/", &[], b"", 1, 0)), "\"G T\" is no method of a call");
        assert_eq!(why(get("ftp://a/", &[], 1, 0)), "\"ftp://a/\" is no address of http or https");
        assert_eq!(why(get("http://a/", &[("Host", "b")], 1, 0)), "the header host is the port's to set");
        assert_eq!(
            why(get("http://a/", &[("Content-Length", "1")], 1, 0)),
            "the header content-length is the port's to set"
        );
        assert_eq!(why(get("http://a/", &[("a", "b\r\nc: d")], 1, 0)), "the value of its header a is none");
        assert_eq!(why(get("http://a/", &[], 0, 0)), "its time is not from 1 to 600000 ms");
        assert_eq!(why(get("http://a/", &[], 600_001, 0)), "its time is not from 1 to 600000 ms");
        assert_eq!(why(get("http://a/", &[], 1, BODY_BYTES_MAX + 1)), "it takes more than 8388608 bytes");
        let long = vec![0; 8388609];
        assert_eq!(why(call("PUT", "http://a/", &[], &long, 1, 0)), "its body has more than 8388608 bytes");
        let mut spare = get("http://a/", &[], 1, 0);
        spare.push(0);
        assert!(why(spare).starts_with("a call is [method, url, headers, body, timeout_ms, most_bytes]: "));
        assert!(Call::decode(&get("http://a/", &[], 600_000, BODY_BYTES_MAX)).is_ok());
    }
}
