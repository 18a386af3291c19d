//! **files-read**, **files-write**: a granted folder. `[0, path, after]` lists, `[1, path]` imports, `[2, path, id, from, most]` reads; `[3, path, bytes]` writes a
//! file whole, `[4, path]` makes a folder, `[5, path]` removes.
//!
//! What a file holds has an id, the one that it would have in a store. A read names it, so that nobody puts halves of two versions together. Everything is
//! resumed by doing it again: a read finds the version that it names or is broken, and a write writes the same bytes under the same name. Writes are done one
//! after the other, in the order in which they came.

mod folder;
pub mod payload;

use std::collections::HashMap;
use std::io;
use std::path::{Component, Path};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seed::EffectId;
use seed::message::Code;
use tokio::runtime::Handle as Runtime;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tracing::warn;
use vm::port::{Line, Port, Ticket};
use vm::step_loop::Room;

use self::folder::{Failed, Folder, Wanted};
use self::payload::{Ask, UNFINISHED, encode_import, encode_list};
use super::jobs::{Job, Jobs};
use super::{Known, absolute};

/// Reads at a time, answers that the machine has not taken included. More wait in order.
const READS_MAX: usize = 16;
/// What is to be written and is not. What asks for more is not taken.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// What a grant gives of its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Read,
    Write,
}

/// What a name grants, and its path; none for a seed that asks for any folder.
fn split(name: &str) -> Option<(Use, Option<&str>)> {
    let (kind, path) = name.split_once(':').map_or((name, None), |(kind, path)| (kind, Some(path)));
    match kind {
        "files-read" => Some((Use::Read, path)),
        "files-write" => Some((Use::Write, path)),
        _ => None,
    }
}

/// Understands the name of a grant.
pub fn parse(name: &str, folder: &Path) -> Option<Known> {
    let (used, path) = split(name)?;
    let path = path_of_grant(path?, folder)?;
    match used {
        Use::Read => Some(Known::new(format!("files-read:{path}"), move |_, host| {
            Ok(Some(Box::new(FilesRead::new(&path, host.line.clone(), &host.runtime)?)))
        })),
        Use::Write => Some(Known::new(format!("files-write:{path}"), move |port, host| {
            let unfinished = format!("{UNFINISHED}{}", host.caller.name_for(port));
            Ok(Some(Box::new(FilesWrite::new(&path, unfinished, host.line.clone(), &host.runtime)?)))
        })),
    }
}

/// The path in the name of a grant, from anywhere.
pub(super) fn path_of_grant(path: &str, folder: &Path) -> Option<String> {
    let is_plain = !path.is_empty() && !path.contains(char::is_control);
    absolute(path, folder).filter(|path| is_plain && !path.contains(char::is_control))
}

/// Whether a grant of this port is what a seed has asked for, or less: the same folder, or one in it. Nothing if one of them is no such grant.
#[must_use]
pub fn is_within(asked: &str, granted: &str) -> Option<bool> {
    let ((asked_use, asked), (granted_use, granted)) = (split(asked)?, split(granted)?);
    let Some(asked) = asked else { return Some(asked_use == granted_use) };
    let (asked, granted) = (Path::new(asked), Path::new(granted?));
    // Where `..` leads is known to whoever follows links.
    let is_plain = |path: &Path| path.is_absolute() && !path.components().any(|part| part == Component::ParentDir);
    Some(asked_use == granted_use && is_plain(asked) && is_plain(granted) && granted.starts_with(asked))
}

/// A folder to be read, as a port. Dropped, it reads no more.
pub struct FilesRead {
    runtime: Runtime,
    shared: Arc<Reading>,
}

struct Reading {
    line: Line,
    folder: Folder,
    places: Arc<Semaphore>,
    under_way: Mutex<HashMap<Ticket, UnderWay>>,
}

struct UnderWay {
    wanted: Arc<Wanted>,
    task: AbortHandle,
}

impl UnderWay {
    fn end(&self) {
        self.wanted.store(false, Ordering::Relaxed);
        self.task.abort();
    }
}

impl FilesRead {
    fn new(path: &str, line: Line, runtime: &Runtime) -> io::Result<Self> {
        let places = Arc::new(Semaphore::new(READS_MAX));
        let shared = Reading { line, folder: Folder::new(path)?, places, under_way: Mutex::default() };
        Ok(Self { runtime: runtime.clone(), shared: Arc::new(shared) })
    }
}

impl Drop for FilesRead {
    fn drop(&mut self) {
        self.shared.under_way().drain().for_each(|(_, read)| read.end());
    }
}

impl Port for FilesRead {
    fn ask(&mut self, request: Ticket, payload: Vec<u8>, _resumed: bool) {
        match Ask::decode(&payload) {
            Ok(ask) if ask.writes() => {
                return self.shared.line.broken(request, Code::REFUSED, "this folder is granted to be read");
            }
            Ok(_) => {}
            Err(error) => return self.shared.line.broken(request, Code::MALFORMED, malformed(&error)),
        }
        let (shared, wanted) = (Arc::clone(&self.shared), Arc::new(AtomicBool::new(true)));
        let is_wanted = Arc::clone(&wanted);
        // Locked until it is entered, so that it cannot be over before.
        let mut under_way = self.shared.under_way();
        let task = self.runtime.spawn(async move {
            let Ok(place) = Arc::clone(&shared.places).acquire_owned().await else { return };
            let (reading, wanted) = (Arc::clone(&shared), Arc::clone(&is_wanted));
            let read = tokio::task::spawn_blocking(move || reading.read(&payload, &wanted)).await;
            let read = read.unwrap_or_else(|error| Err(Failed { code: Code::FAILED, why: error.to_string() }));
            let mut under_way = shared.under_way();
            if !is_wanted.load(Ordering::Relaxed) {
                return;
            }
            under_way.remove(&request);
            match read {
                Ok(answer) => shared.line.answer_from(request, answer, Room::of(place)),
                Err(Failed { code, why }) => shared.line.broken(request, code, why),
            }
        });
        under_way.insert(request, UnderWay { wanted, task: task.abort_handle() });
    }

    fn effect(&mut self, effect: EffectId, _payload: Vec<u8>) {
        // Nobody would hear what it has read.
        self.shared.line.delivered(effect);
    }

    fn cancel(&mut self, request: Ticket) {
        if let Some(read) = self.shared.under_way().remove(&request) {
            read.end();
        }
    }
}

impl Reading {
    fn under_way(&self) -> MutexGuard<'_, HashMap<Ticket, UnderWay>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, payload: &[u8], wanted: &Wanted) -> Result<Vec<u8>, Failed> {
        let ask = Ask::decode(payload).map_err(|error| Failed { code: Code::MALFORMED, why: malformed(&error) })?;
        match ask {
            Ask::List { path, after } => {
                self.folder.list(path, after, wanted).map(|(entries, has_more)| encode_list(&entries, has_more))
            }
            Ask::Import { path } => self.folder.import(path, wanted).map(|(id, size)| encode_import(&id, size)),
            Ask::Read { path, id, from, most } => self.folder.read(path, &id, (from, most), wanted),
            Ask::Write { .. } | Ask::MakeFolder { .. } | Ask::Remove { .. } => {
                Err(Failed { code: Code::REFUSED, why: "this folder is granted to be read".to_owned() })
            }
        }
    }
}

/// A folder to be written, as a port. Dropped, it writes no more.
pub struct FilesWrite {
    line: Line,
    writes: Jobs<Write>,
}

/// Something to be written.
struct Write {
    asked: Asked,
    payload: Vec<u8>,
}

/// Who wants to know when it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// The machine.
    Request(Ticket),
    /// Its log.
    Effect(EffectId),
}

impl Job for Write {
    fn bytes(&self) -> usize {
        self.payload.len()
    }
}

impl FilesWrite {
    fn new(path: &str, unfinished: String, line: Line, runtime: &Runtime) -> io::Result<Self> {
        let (folder, told) = (Folder::new(path)?, line.clone());
        let writes = Jobs::new(runtime, 0, move |writes: Vec<Write>| {
            for Write { asked, payload } in writes {
                let written = write(&folder, &payload, &unfinished);
                match (asked, written) {
                    (Asked::Request(request), Ok(())) => told.answer(request, Vec::new()),
                    (Asked::Request(request), Err(Failed { code, why })) => told.broken(request, code, why),
                    (Asked::Effect(effect), written) => {
                        if let Err(Failed { why, .. }) = written {
                            warn!("an effect on files came to nothing: {why}");
                        }
                        told.delivered(effect);
                    }
                }
            }
        });
        Ok(Self { line, writes })
    }
}

impl Port for FilesWrite {
    fn ask(&mut self, request: Ticket, payload: Vec<u8>, _resumed: bool) {
        match Ask::decode(&payload) {
            Ok(ask) if !ask.writes() => {
                self.line.broken(request, Code::REFUSED, "this folder is granted to be written");
            }
            Ok(_) if self.writes.bytes() + payload.len() > WAITING_BYTES_MAX => {
                self.line.broken(request, Code::LIMIT, "too much is to be written at a time");
            }
            Ok(_) => self.writes.push(Write { asked: Asked::Request(request), payload }),
            Err(error) => self.line.broken(request, Code::MALFORMED, malformed(&error)),
        }
    }

    fn effect(&mut self, effect: EffectId, payload: Vec<u8>) {
        match Ask::decode(&payload) {
            Ok(ask) if ask.writes() => return self.writes.push(Write { asked: Asked::Effect(effect), payload }),
            Ok(_) => warn!("an effect on files was dropped: nobody would hear its answer"),
            Err(error) => warn!("an effect on files was dropped: {error}"),
        }
        self.line.delivered(effect);
    }

    fn cancel(&mut self, request: Ticket) {
        self.writes.drop_if(|write| write.asked == Asked::Request(request));
    }

    fn halt(&mut self) {
        self.writes.halt();
    }
}

fn write(folder: &Folder, payload: &[u8], unfinished: &str) -> Result<(), Failed> {
    match Ask::decode(payload).map_err(|error| Failed { code: Code::MALFORMED, why: malformed(&error) })? {
        Ask::Write { path, bytes } => folder.write(path, bytes, unfinished),
        Ask::MakeFolder { path } => folder.make_folder(path),
        Ask::Remove { path } => folder.remove(path),
        Ask::List { .. } | Ask::Import { .. } | Ask::Read { .. } => {
            Err(Failed { code: Code::REFUSED, why: "this folder is granted to be written".to_owned() })
        }
    }
}

fn malformed(error: &seed::cbor::CborError) -> String {
    let read = "[0, path, after], [1, path], [2, path, id, from, most]";
    format!("a port of files takes {read}, [3, path, bytes], [4, path] or [5, path]: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_within_by_whole_names() {
        for (asked, granted) in [
            ("files-read", "files-read:/srv"),
            ("files-read:/srv", "files-read:/srv"),
            ("files-read:/srv", "files-read:/srv/a/b"),
            ("files-read:/", "files-read:/srv"),
            ("files-write:/out/", "files-write:/out/a"),
        ] {
            assert_eq!(is_within(asked, granted), Some(true), "{asked} {granted}");
        }
        for (asked, granted) in [
            ("files-read:/srv", "files-read:/srvx"),
            ("files-read:/srv/a", "files-read:/srv"),
            ("files-read:/srv", "files-write:/srv"),
            ("files-read", "files-write:/srv"),
            ("files-read:/srv", "files-read:/srv/../etc"),
            ("files-read:/srv/..", "files-read:/srv/.."),
            ("files-read:srv", "files-read:/srv"),
        ] {
            assert_eq!(is_within(asked, granted), Some(false), "{asked} {granted}");
        }
        assert_eq!(is_within("files", "files-read:/srv"), None);
    }

    #[test]
    fn names_have_a_path_that_is_absolute_once_granted() {
        let named = |name| parse(name, Path::new("/srv")).map(|known| known.name);
        assert_eq!(named("files-read:./site/").as_deref(), Some("files-read:/srv/site"));
        assert_eq!(named("files-write:/out").as_deref(), Some("files-write:/out"));
        for none in ["files-read", "files-read:", "files:/srv", "files-write:a\nb"] {
            assert_eq!(named(none), None, "{none}");
        }
    }
}
