//! The control socket: how other processes of the same user talk to a running machine.
//!
//! It lives in the user's runtime folder under a name made from the machine folder's device and inode, since a machine's path may be longer than a
//! socket's may be. Folder 0700, socket 0600, and the peer's user is checked. Both sides send frames: length (4 bytes,
//! little-endian), then CBOR:
//!
//! | frame | from | meaning |
//! |---|---|---|
//! | `[0, version]` | both, first | hello |
//! | `[1, id, key, payload]` | client | send a message to the owner's port; id is the client's own |
//! | `[2, id, more, payload]` | machine | an answer, or a part of one |
//! | `[3, id, code, text]` | machine | refused |
//! | `[4, id]` | machine | durable, and no answer will come |
//! | `[5]` | machine, last | whatever has not been answered above never reached the machine |
//! | `[6]` | machine, after hello | it is starting; more will be heard when it is up, or not |
//! | `[7, tracker, why, scrub]` | machine, after hello | it is up and takes messages; how it finds written pages, and why so; its background check |
//! | `[8, exit, [text..]]` | machine, last | it could not be started: the exit code, and why, each text the cause of the one before |
//! | `[9, id, revoke, [name..]]` | client | grant ports of these names, or with revoke = 1 no longer those of these names or numbers |
//! | `[10, id, grants, changed]` | machine | done, and durable: all grants, and those that have come or gone |
//! | `[11, id, exit, [text..], hint]` | machine | not done, and why; what to type next, or nothing |
//! | `[12, id, port, payload]` | client | ask something that changes nothing; the answer is as to a message, in one part |
//!
//! A frame is at most 1 GiB and 64 KiB. At most 64 clients are served at a time; a client has at most 256 messages under way, and all clients
//! together 256 MiB of them (or one message, if it is larger): the next is read when one is answered.
//!
//! `scrub` is `[mib_per_s, done, total, passes, last_pass, [finding..]]`: the pace, 0 if there is no check; entries checked in the present pass, and
//! of how many, 0 between passes; whole passes, and when the last one ended, in nanoseconds since 1970; what was found, in words.

mod client;
mod regrant;
mod scrubbing;
mod server;
pub mod wish;

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;

use persist::folder::Folder;
use seed::ReplyId;
use seed::cbor::{CborError, Reader, Writer};
use seed::message::Code;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vm::step_loop::AskerNews;

use crate::ports::{GRANTS_MAX, NAME_BYTES_MAX};
pub use client::{Client, ConnectError, Said};
pub use regrant::Refused;
pub use scrubbing::Scrubbing;
pub use server::Service;

/// The version of the protocol.
pub const VERSION: u64 = 5;
const FRAME_OVERHEAD: u64 = 64 << 10;
const FRAME_BYTES_MAX: u64 = (1 << 30) + FRAME_OVERHEAD;
const UNDER_WAY_MAX: usize = 256;
const CLIENTS_MAX: usize = 64;
/// In KiB, so that it fits a semaphore.
const UNDER_WAY_KIB_MAX: u32 = 256 << 10;

/// Where the control socket of a machine is.
///
/// # Errors
/// If there is no folder for it that belongs to this user alone.
pub fn socket_path(folder: &Folder) -> io::Result<PathBuf> {
    let identity = folder.identity();
    let name = blake3::hash(&[identity.device.to_le_bytes(), identity.inode.to_le_bytes()].concat()).to_hex();
    Ok(runtime_folder()?.join(format!("{}.sock", &name[..16])))
}

fn runtime_folder() -> io::Result<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let path = match std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()) {
        Some(given) => PathBuf::from(given).join("abide"),
        None => std::env::temp_dir().join(format!("abide-{user}")),
    };
    match std::fs::DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = std::fs::symlink_metadata(&path)?;
    if !found.is_dir() || found.uid() != user || found.mode() & 0o077 != 0 {
        let text = format!("{} is not a folder that belongs to this user alone", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(path)
}

async fn greet(reader: &mut (impl AsyncReadExt + Unpin), writer: &mut (impl AsyncWriteExt + Unpin)) -> io::Result<()> {
    let mut hello = Writer::new();
    hello.array(2).uint(0).uint(VERSION);
    write_frame(writer, &hello.finish()).await?;
    let frame = read_frame(reader, FRAME_OVERHEAD).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let version = decode_hello(&frame).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    if version == VERSION {
        return Ok(());
    }
    let text = format!("the other side speaks version {version} of the control protocol, this one {VERSION}");
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

async fn read_frame(reader: &mut (impl AsyncReadExt + Unpin), bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match reader.read_exact(&mut length).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let length = u64::from(u32::from_le_bytes(length));
    if length > bytes_max {
        let text = format!("a frame of {length} bytes, more than {bytes_max}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    // Grows with what really comes, not with what is claimed.
    let mut frame = Vec::new();
    reader.take(length).read_to_end(&mut frame).await?;
    if frame.len() as u64 == length { Ok(Some(frame)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

async fn write_frame(writer: &mut (impl AsyncWriteExt + Unpin), frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(|_| io::Error::other("a frame over 4 GiB"))?;
    writer.write_all(&length.to_le_bytes()).await?;
    writer.write_all(frame).await?;
    writer.flush().await
}

fn decode_hello(frame: &[u8]) -> Result<u64, CborError> {
    let mut reader = Reader::new(frame);
    reader.array_of(2)?;
    reader.uint_max(0, "a hello's kind")?;
    let version = reader.uint()?;
    reader.end()?;
    Ok(version)
}

/// What one change of grants may name.
const WISH_BOUNDS: wish::Bounds = wish::Bounds { names: GRANTS_MAX, name_bytes: NAME_BYTES_MAX };

fn encode_news(id: u64, news: &AskerNews) -> (Vec<u8>, bool) {
    let mut frame = Writer::new();
    let is_last = match news {
        AskerNews::Answer { more, payload, .. } => {
            frame.array(4).uint(2).uint(id).flag(*more).bytes(payload);
            !more
        }
        AskerNews::Refused { code, text } => {
            frame.array(4).uint(3).uint(id).uint(code.0).text(text);
            true
        }
        AskerNews::Accepted => {
            frame.array(2).uint(4).uint(id);
            true
        }
    };
    (frame.finish(), is_last)
}

fn encode_end() -> Vec<u8> {
    let mut frame = Writer::new();
    frame.array(1).uint(5);
    frame.finish()
}

/// How far a machine is, as its clients are told after hello.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Starting,
    Up { tracker: String, why: String, scrub: Scrubbing },
    Failed { exit: u8, causes: Vec<String> },
    Ended,
}

impl Phase {
    fn encode(&self) -> Vec<u8> {
        let mut frame = Writer::new();
        match self {
            Self::Ended => return encode_end(),
            Self::Starting => frame.array(1).uint(6),
            Self::Up { tracker, why, scrub } => scrub.write(frame.array(4).uint(7).text(tracker).text(why)),
            Self::Failed { exit, causes } => {
                frame.array(3).uint(8).uint(u64::from(*exit)).array(causes.len());
                causes.iter().fold(&mut frame, |frame, cause| frame.text(cause))
            }
        };
        frame.finish()
    }

    fn decode(frame: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(frame);
        let items = reader.array()?;
        let phase = match (reader.uint_max(8, "a phase's kind")?, items) {
            (5, 1) => Self::Ended,
            (6, 1) => Self::Starting,
            (7, 4) => {
                let (tracker, why) = (reader.text()?.to_owned(), reader.text()?.to_owned());
                Self::Up { tracker, why, scrub: Scrubbing::read(&mut reader)? }
            }
            (8, 3) => {
                let exit = u8::try_from(reader.uint_max(u64::from(u8::MAX), "an exit code")?).unwrap_or(u8::MAX);
                let causes = reader.array()?;
                Self::Failed {
                    exit,
                    causes: (0..causes).map(|_| Ok(reader.text()?.to_owned())).collect::<Result<_, _>>()?,
                }
            }
            _ => return Err(reader.fault(seed::cbor::Fault::Rule("an unknown phase"))),
        };
        reader.end()?;
        Ok(phase)
    }
}

/// What a client hears.
enum Heard {
    News { id: u64, news: AskerNews, is_last: bool },
    End,
}

fn decode_news(frame: &[u8]) -> Result<Heard, CborError> {
    let mut reader = Reader::new(frame);
    let items = reader.array()?;
    let kind = reader.uint_max(5, "a frame's kind")?;
    if (kind, items) == (5, 1) {
        reader.end()?;
        return Ok(Heard::End);
    }
    let id = reader.uint()?;
    let news = match (kind, items) {
        (2, 4) => {
            let (more, payload) = (reader.flag()?, reader.bytes()?.to_vec());
            AskerNews::Answer { reply: ReplyId::NONE, more, payload }
        }
        (3, 4) => AskerNews::Refused { code: Code(reader.uint()?), text: reader.text()?.to_owned() },
        (4, 2) => AskerNews::Accepted,
        _ => return Err(reader.fault(seed::cbor::Fault::Rule("an unknown kind of frame"))),
    };
    reader.end()?;
    let is_last = !matches!(news, AskerNews::Answer { more: true, .. });
    Ok(Heard::News { id, news, is_last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_read_as_they_were_written() {
        let text = str::to_owned;
        let findings = vec![text("object 12 is damaged"), text("another")];
        let scrub = Scrubbing { mib_per_s: 4, done: 1, total: 2, passes: 3, last_pass: 1 << 60, findings };
        let phases = [
            Phase::Starting,
            Phase::Up { tracker: text("compare"), why: text("asked for"), scrub: Scrubbing::default() },
            Phase::Up { tracker: text("compare"), why: text("asked for"), scrub },
            Phase::Failed { exit: 3, causes: vec![text("recovering failed"), text("a page is missing")] },
            Phase::Failed { exit: 1, causes: Vec::new() },
            Phase::Ended,
        ];
        for phase in phases {
            assert_eq!(Phase::decode(&phase.encode()).unwrap(), phase);
        }
        for malformed in
            [&[0x81, 0x09][..], &[0x82, 0x06, 0x00], &[0x83, 0x08, 0x19, 0x01, 0x00, 0x80], &[0x81, 0x06, 0x00]]
        {
            assert!(Phase::decode(malformed).is_err(), "{malformed:?}");
        }
    }
}
