//! **log**: lines in a file. A payload is a line, as an effect or as a request, which is answered when the line is on disk.
//!
//! A line begins with the time at which it was written; what a terminal would take for an order is escaped, as on the console. Lines are written in
//! the order in which they came. Resumed by writing those again whose delivery was not recorded.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use seed::message::Code;
use seed::{EffectId, Nanos};
use tracing::warn;
use vm::port::{Line, Port, Ticket};

use super::Known;
use super::console::printable;
use super::files::{Asked, path_of_grant};
use super::jobs::{Job, Jobs};
use crate::clocks::MachineClock;
use crate::shown;

/// A line has no more of a payload.
const LINE_BYTES_MAX: usize = 64 << 10;
/// A file that has so many bytes becomes `PATH.1`, and the next one is begun.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// What is to be written and is not. What asks for more is not taken.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// Lines of so many bytes are made durable together.
const BATCH_BYTES: usize = 1 << 20;

/// Understands the name of a grant.
pub fn parse(name: &str, folder: &Path) -> Option<Known> {
    let path = path_of_grant(name.strip_prefix("log:")?, folder)?;
    Some(Known::new(format!("log:{path}"), move |_, host| {
        let file = LogFile::open(path.into(), FILE_BYTES_MAX)?;
        Ok(Some(Box::new(Log::new(file, host.line.clone(), Arc::clone(&host.clock), &host.runtime))))
    }))
}

/// A file of lines as a port. Dropped, it writes no more.
pub struct Log {
    line: Line,
    lines: Jobs<Entry>,
}

/// A line to be written.
struct Entry {
    asked: Asked,
    payload: Vec<u8>,
}

impl Job for Entry {
    fn bytes(&self) -> usize {
        self.payload.len() + size_of::<Self>()
    }
}

impl Log {
    fn new(mut file: LogFile, line: Line, clock: Arc<MachineClock>, runtime: &tokio::runtime::Handle) -> Self {
        let told = line.clone();
        let lines = Jobs::new(runtime, BATCH_BYTES, move |entries: Vec<Entry>| {
            let lines: String = entries.iter().map(|entry| format_line(clock.now(), &entry.payload)).collect();
            let written = file.append(lines.as_bytes()).map_err(|error| format!("{}: {error}", file.path.display()));
            for Entry { asked, .. } in entries {
                match (asked, &written) {
                    (Asked::Request(request), Ok(())) => told.answer(request, Vec::new()),
                    (Asked::Request(request), Err(why)) => told.broken(request, Code::FAILED, why.clone()),
                    (Asked::Effect(effect), written) => {
                        if let Err(why) = written {
                            warn!("a line of a log was dropped: {why}");
                        }
                        told.delivered(effect);
                    }
                }
            }
        });
        Self { line, lines }
    }
}

impl Port for Log {
    fn ask(&mut self, request: Ticket, payload: Vec<u8>, _resumed: bool) {
        if payload.len() > LINE_BYTES_MAX {
            let why = format!("a line of a log has {LINE_BYTES_MAX} bytes at most");
            return self.line.broken(request, Code::LIMIT, why);
        }
        if self.lines.bytes() + payload.len() > WAITING_BYTES_MAX {
            return self.line.broken(request, Code::LIMIT, "too much is to be written at a time");
        }
        self.lines.push(Entry { asked: Asked::Request(request), payload });
    }

    fn effect(&mut self, effect: EffectId, mut payload: Vec<u8>) {
        if payload.len() > LINE_BYTES_MAX {
            let length = payload.len();
            payload.truncate(LINE_BYTES_MAX);
            payload.extend_from_slice(format!(" ... ({length} bytes)").as_bytes());
        }
        self.lines.push(Entry { asked: Asked::Effect(effect), payload });
    }

    fn cancel(&mut self, request: Ticket) {
        self.lines.drop_if(|entry| entry.asked == Asked::Request(request));
    }

    fn halt(&mut self) {
        self.lines.halt();
    }
}

fn format_line(time: Nanos, payload: &[u8]) -> String {
    format!("{} {}\n", shown::time(time.0), printable(payload))
}

/// The file that lines go to, which whoever looks after the host may take away.
struct LogFile {
    path: PathBuf,
    file: File,
    bytes_max: u64,
}

impl LogFile {
    /// Opens it, or makes one.
    fn open(path: PathBuf, bytes_max: u64) -> io::Result<Self> {
        let file = open(&path)?;
        Ok(Self { path, file, bytes_max })
    }

    /// Appends whole lines, durably.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let is_there =
            |there: fs::Metadata, ours: &fs::Metadata| (there.dev(), there.ino()) == (ours.dev(), ours.ino());
        let ours = self.file.metadata()?;
        if !fs::metadata(&self.path).is_ok_and(|there| is_there(there, &ours)) {
            self.file = open(&self.path)?;
        } else if ours.len() > 0 && ours.len().saturating_add(lines.len() as u64) > self.bytes_max {
            fs::rename(&self.path, self.path.with_added_extension("1"))?;
            self.file = open(&self.path)?;
        }
        self.file.write_all(lines)?;
        self.file.sync_data()
    }
}

/// Opens a file to be appended to, and ends the line in it that a crash has left without an end.
fn open(path: &Path) -> io::Result<File> {
    // A pipe without a reader is not to be waited for.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let mut file = File::options().read(true).append(true).create(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file"));
    }
    if metadata.len() > 0 {
        let mut last = [0];
        file.read_exact_at(&mut last, metadata.len() - 1)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    } else if let Some(folder) = path.parent() {
        // New, perhaps: its name is to last, too.
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_time_and_no_end_within() {
        let line = format_line(Nanos(951_782_400_000_000_000), b"a\nb \x1b[2J\xff");
        assert_eq!(line, "2000-02-29T00:00:00.000Z a\\nb \\u{1b}[2J\\xff\n");
    }

    #[test]
    fn a_full_file_makes_way_and_a_torn_line_is_ended() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.log");
        let read = |name: &str| fs::read_to_string(place.path().join(name)).unwrap_or_default();
        fs::write(&path, "torn").unwrap();
        let mut file = LogFile::open(path.clone(), 20).unwrap();
        file.append(b"one\n").unwrap();
        assert_eq!(read("a.log"), "torn\none\n");
        file.append(b"two and more\n").unwrap();
        assert_eq!((read("a.log").as_str(), read("a.log.1").as_str()), ("two and more\n", "torn\none\n"));
        file.append(b"three and more\n").unwrap();
        assert_eq!((read("a.log").as_str(), read("a.log.1").as_str()), ("three and more\n", "two and more\n"));
        // Somebody takes it away, with what is in it.
        fs::rename(&path, place.path().join("taken")).unwrap();
        file.append(b"four\n").unwrap();
        assert_eq!((read("a.log").as_str(), read("taken").as_str()), ("four\n", "three and more\n"));
    }
}
