//! What passes between a machine and a client of its HTTP server, as payloads: deterministic CBOR of arrays, byte strings and one number.

use bytes::Bytes;
use hyper::header::UPGRADE;
use hyper::http::request;
use hyper::{Response, StatusCode};
use seed::cbor::{CborError, Reader, Writer};

use super::headers::{self, Field};

/// Of a machine's answer: names and values.
const ANSWER_HEAD_BYTES_MAX: usize = 16 << 10;

/// The payload that tells a machine of a request: `[method, target, headers, body]`; with the header `upgrade` if that is more than a wish.
#[must_use]
pub(super) fn encode_request(head: &request::Parts, body: &[Bytes], is_upgrade: bool) -> Vec<u8> {
    let target = head.uri.path_and_query().map_or("*", |target| target.as_str());
    // Heads and lengths of items are in the room for three words each: a large body is not moved while this grows.
    let headers: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 24).sum();
    let mut writer = Writer::with_capacity(target.len() + headers + body.iter().map(Bytes::len).sum::<usize>() + 64);
    writer.array(4).bytes(head.method.as_str().as_bytes()).bytes(target.as_bytes());
    headers::write(&head.headers, if is_upgrade { &[UPGRADE] } else { &[] }, &mut writer);
    writer.bytes_in_pieces(body);
    writer.finish()
}

/// The response that the first part of a machine's answer, `[status, headers, body]`, begins.
///
/// # Errors
/// What is wrong with it.
pub(super) fn decode_response(payload: &[u8], may_upgrade: bool) -> Result<Response<Bytes>, String> {
    let (status, fields, body) = read_response(payload).map_err(|error| error.to_string())?;
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let is_final = |status: &StatusCode| (200..600).contains(&status.as_u16());
    let is_fine = |status: &StatusCode| is_final(status) || may_upgrade && *status == StatusCode::SWITCHING_PROTOCOLS;
    let status = status.filter(is_fine).ok_or("its status is not from 200 to 599")?;
    if fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > ANSWER_HEAD_BYTES_MAX {
        return Err(format!("its headers have more than {ANSWER_HEAD_BYTES_MAX} bytes"));
    }
    let headers = headers::check(&fields, "server")?;
    let has_none = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED, StatusCode::SWITCHING_PROTOCOLS];
    if has_none.contains(&status) && !body.is_empty() {
        return Err(format!("a response of status {} has no body", status.as_u16()));
    }
    let mut response = Response::new(Bytes::copy_from_slice(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

fn read_response(payload: &[u8]) -> Result<(u64, Vec<Field<'_>>, &[u8]), CborError> {
    let mut reader = Reader::new(payload);
    reader.array_of(3)?;
    let status = reader.uint()?;
    let fields = headers::read(&mut reader)?;
    let body = reader.bytes()?;
    reader.end()?;
    Ok((status, fields, body))
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;
    use crate::ports::golden::bytes;

    fn response(status: u64, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.array(3).uint(status).array(headers.len());
        for (name, value) in headers {
            writer.array(2).bytes(name.as_bytes()).bytes(value.as_bytes());
        }
        writer.bytes(body.as_bytes());
        writer.finish()
    }

    #[test]
    fn a_request_in_bytes() {
        let request = Request::put("http://here/a/b?c=d%20e").header("X-One", "1").header("content-length", "2");
        let (head, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(encode_request(&head, &["h".into(), "i".into()], false), bytes("http request"));
    }

    #[test]
    fn a_response_from_bytes() {
        assert_eq!(response(200, &[("a", "b")], "hi"), bytes("http response"));
        let plain = decode_response(&bytes("http response"), false).unwrap();
        assert_eq!((plain.status().as_u16(), plain.headers()["a"].as_bytes()), (200, b"b".as_slice()));
        assert_eq!(plain.body().as_ref(), b"hi");
        assert_eq!(response(101, &[], ""), bytes("http agreed"));
        assert_eq!(decode_response(&bytes("http agreed"), true).unwrap().status().as_u16(), 101);
        decode_response(&bytes("http agreed"), false).unwrap_err();
        let bytes =
            response(201, &[("Content-Type", "text/plain"), ("set-cookie", "a=1"), ("Set-Cookie", "b=2")], "made");
        let response = decode_response(&bytes, false).unwrap();
        assert_eq!((response.status().as_u16(), response.body().as_ref()), (201, b"made".as_slice()));
        let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        assert_eq!(response.headers()["content-type"], "text/plain");
    }

    #[test]
    fn what_is_no_response_is_told() {
        let why = |payload: Vec<u8>| decode_response(&payload, false).unwrap_err();
        assert_eq!(why(response(199, &[], "")), "its status is not from 200 to 599");
        assert_eq!(why(response(u64::MAX, &[], "")), "its status is not from 200 to 599");
        assert_eq!(why(response(200, &[("a b", "c")], "")), "\"a b\" is no name of a header");
        assert_eq!(why(response(200, &[("a", "b\nc: d")], "")), "the value of its header a is none");
        assert_eq!(
            why(response(200, &[("Content-Length", "7")], "")),
            "the header content-length is the server's to set"
        );
        assert_eq!(why(response(204, &[], "x")), "a response of status 204 has no body");
        let whole = response(200, &[("a", "b")], "body");
        for cut in 0..whole.len() {
            why(whole[..cut].to_vec());
        }
        // A count of headers that no payload could hold is nothing to make room for.
        why([&[0x83, 0x18, 200, 0x9b][..], &u64::MAX.to_be_bytes()].concat());
    }
}
