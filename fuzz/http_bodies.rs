//! What the fuzz target of a machine's answers to clients of HTTP does with its input. `boot` runs the same.

use bytes::Bytes;
use seed::RequestId;
use seed::cbor::Writer;
use tokio_tungstenite::tungstenite::Message;

use super::exchange::decode_response;
use super::pure::Routes;
use super::spoken::{Said, decode};

/// Headers that are the server's to set.
const OWN: [&str; 7] = ["connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

/// A response, or what is said over a websocket: nothing in it can end a head, or frame a body, of its own accord.
pub fn http_answer(data: &[u8]) {
    for may_upgrade in [false, true] {
        let Ok(response) = decode_response(data, may_upgrade) else { continue };
        let status = response.status().as_u16();
        assert!((200..600).contains(&status) || may_upgrade && status == 101);
        assert!(OWN.iter().all(|name| !response.headers().contains_key(*name)));
        assert!(response.headers().values().all(|value| !value.as_bytes().iter().any(|byte| b"\r\n\0".contains(byte))));
        assert!(response.body().is_empty() || ![101, 204, 304].contains(&status));
    }
    routes(data);
    let Ok(said) = decode(&Bytes::copy_from_slice(data)) else { return };
    let mut writer = Writer::new();
    match &said {
        Said::Message(Message::Text(text)) => writer.array(2).uint(1).bytes(text.as_bytes()),
        Said::Message(Message::Binary(bytes)) => writer.array(2).uint(2).bytes(bytes),
        Said::Message(other) => panic!("{other:?} is the server's to say"),
        Said::Close(last) => writer.array(3).uint(8).uint(u16::from(last.code).into()).bytes(last.reason.as_bytes()),
    };
    assert_eq!(writer.finish(), data);
}

/// Routes that are marked as pure: those and no others, for as long as they are marked.
fn routes(data: &[u8]) {
    let (routes, request) = (Routes::default(), RequestId(1));
    if routes.mark(request, data).is_ok() {
        assert!(!routes.has("") && !routes.has("nowhere"), "a path begins with a slash");
        routes.unmark(request);
    }
    assert!(["", "/", "/a", "/a/b", "*"].iter().all(|path| !routes.has(path)));
}
