//! What the fuzz target of the TCP ports does with its input. `tests` includes this, too: `seed` does not know ports, and the fuzzer not the engine.

#[path = "../boot/src/ports/tcp/payload.rs"]
mod payload;

use payload::{Ask, READ_BYTES_MAX, encode_begun};

/// What is asked of a TCP port: what is accepted is what it encodes to.
pub fn tcp_ask(data: &[u8]) {
    let Ok(ask) = Ask::decode(data) else { return };
    assert_eq!(ask.encode(), data);
    let connection = match ask {
        Ask::Begin => 0,
        Ask::Read { connection, most } => {
            assert!(most > 0 && most as u64 <= READ_BYTES_MAX);
            connection
        }
        Ask::Write { connection, .. } | Ask::Close { connection } => connection,
    };
    assert!(encode_begun(connection, "").len() > 2);
}
