//! What the fuzz target of the TCP ports does with its input. `tests` includes this, too: `seed` does not know ports, and the fuzzer not the engine.

#[path = "../boot/src/ports/tcp/payload.rs"]
mod payload;

use payload::{Ask, READ_BYTES_MAX, encode_begun};
use seed::cbor::Writer;

/// What is asked of a TCP port: what is accepted is what it encodes to.
pub fn tcp_ask(data: &[u8]) {
    let Ok(ask) = Ask::decode(data) else { return };
    let mut writer = Writer::new();
    let connection = match ask {
        Ask::Begin => {
            writer.array(1).uint(0);
            0
        }
        Ask::Read { connection, most } => {
            assert!(most > 0 && most as u64 <= READ_BYTES_MAX);
            writer.array(3).uint(1).uint(connection).uint(most as u64);
            connection
        }
        Ask::Write { connection, bytes } => {
            writer.array(3).uint(2).uint(connection).bytes(bytes);
            connection
        }
        Ask::Close { connection } => {
            writer.array(2).uint(3).uint(connection);
            connection
        }
    };
    assert_eq!(writer.finish(), data);
    assert!(encode_begun(connection, "").len() > 2);
}
