//! What the fuzz targets of payloads do with their input: of the ports whose codecs are files of their own, and of the control socket. `boot` runs the same
//! beside the golden vectors. The rule is that of all decoders: what is accepted is what it encodes to.

use super::{clock, files, tcp, wish};

/// What is asked of a clock.
pub fn clock_ask(data: &[u8]) {
    let Ok(ask) = clock::Ask::decode(data) else { return };
    assert_eq!(ask.encode(), data);
    if let clock::Ask::Every { every, .. } = ask {
        assert!(every >= clock::EVERY_MIN);
    }
}

/// What is asked of a port of files: no path leads out of the folder.
pub fn files_ask(data: &[u8]) {
    let Ok(ask) = files::Ask::decode(data) else { return };
    assert_eq!(ask.encode(), data);
    use files::Ask::{Import, List, MakeFolder, Read, Remove, Write};
    let (List { path, .. }
    | Import { path }
    | Read { path, .. }
    | Write { path, .. }
    | MakeFolder { path }
    | Remove { path }) = ask;
    assert!(path.as_str().len() <= files::PATH_BYTES_MAX && !path.as_str().starts_with('/'));
    for name in path.names() {
        assert!(files::is_name(name) && name != ".." && !name.contains(['/', '\0']));
        assert!(!ask.writes() || matches!(ask, Remove { .. }) || !name.contains(char::is_control));
    }
    if let Read { most, .. } = ask {
        assert!(most > 0 && most as u64 <= files::READ_BYTES_MAX);
    }
}

/// What is asked of a TCP port.
pub fn tcp_ask(data: &[u8]) {
    let Ok(ask) = tcp::Ask::decode(data) else { return };
    assert_eq!(ask.encode(), data);
    if let tcp::Ask::Read { most, .. } = ask {
        assert!(most > 0 && most as u64 <= tcp::READ_BYTES_MAX);
    }
}

/// A frame of a client of the control socket.
pub fn wish(data: &[u8]) {
    let bounds = wish::Bounds { names: 256, name_bytes: 4160 };
    match wish::decode(data, bounds) {
        Ok((id, wish::Wish::Send { key, payload })) => assert_eq!(wish::encode_send(id, &key, &payload), data),
        Ok((id, wish::Wish::Query { port, payload })) => assert_eq!(wish::encode_query(id, port, &payload), data),
        Ok((id, wish::Wish::Regrant { revokes, names })) => {
            assert!(names.len() <= bounds.names && names.iter().all(|name| name.len() <= bounds.name_bytes));
            assert_eq!(wish::encode_regrant(id, revokes, &names), data);
        }
        Err(_) => {}
    }
}
