//! A granted folder on disk: what is in it, and what is written to it.
//!
//! Every path is gone along name by name, each opened within the one before, and links are never followed: so nothing outside can be reached, whatever
//! somebody else does to the folder meanwhile. The folder itself is opened anew each time, as it may be taken away and made again under its name.
//! Only plain files are opened for what they hold: a pipe would be waited for, and a device may do anything.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, fchmod, fstat, fsync, mkdirat, open, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use seed::Id;
use seed::message::Code;
use seed::object::blob_hasher;

use super::payload::{Entry, Inside, Kind, READ_BYTES_MAX, UNFINISHED, is_name};
use crate::clocks::wall_clock;

/// How many entries one list has.
const ENTRIES_MAX: usize = 1000;
/// What is hashed between two looks at whether that is still wanted.
const CHUNK_BYTES: usize = 256 << 10;
/// Stamps that are remembered.
const KNOWN_MAX: usize = 4096;
/// A file that was changed so recently may change again without that its times show it: those of some file systems have two seconds.
const SETTLED_NANOS: u64 = 3_000_000_000;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Why something was not done.
#[derive(Debug)]
pub(super) struct Failed {
    /// Which kind of reason.
    pub(super) code: Code,
    /// In words.
    pub(super) why: String,
}

/// Something that is still wanted, until it is not.
pub(super) type Wanted = AtomicBool;

/// A folder that was granted.
pub(super) struct Folder {
    path: PathBuf,
    /// What files with these stamps hold.
    known: Mutex<HashMap<Stamp, Id>>,
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    written: (i64, u64),
    changed: (i64, u64),
}

impl Folder {
    /// The folder at a path, which is there.
    ///
    /// # Errors
    /// If it is not, or is none.
    pub(super) fn new(path: &str) -> std::io::Result<Self> {
        let folder = Self { path: path.into(), known: Mutex::default() };
        let _ = folder.open(OFlags::RDONLY)?;
        Ok(folder)
    }

    /// What is in a folder by names after `after`, in the order of their bytes, and whether there is more.
    ///
    /// # Errors
    /// Why that is not known.
    pub(super) fn list(&self, path: Inside<'_>, after: &str, wanted: &Wanted) -> Result<(Vec<Entry>, bool), Failed> {
        let failed = failed("listing", path);
        let folder = self.go(path.names(), OFlags::RDONLY).map_err(&failed)?;
        let (mut names, mut has_more) = (BTreeSet::new(), false);
        for entry in Dir::read_from(&folder).map_err(&failed)? {
            still(wanted)?;
            let entry = entry.map_err(&failed)?;
            let Some(name) = entry.file_name().to_str().ok().filter(|name| is_name(name) && *name > after) else {
                continue;
            };
            names.insert(name.to_owned());
            if names.len() > ENTRIES_MAX {
                names.pop_last();
                has_more = true;
            }
        }
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            match statat(&folder, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => entries.push(entry(name, &stat)),
                // It has gone meanwhile.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok((entries, has_more))
    }

    /// The id of what a file holds, and how many bytes that is.
    ///
    /// # Errors
    /// Why that is not known.
    pub(super) fn import(&self, path: Inside<'_>, wanted: &Wanted) -> Result<(Id, u64), Failed> {
        let (file, stamp) = self.open_file(path)?;
        let (id, _) = self.digest(path, &file, stamp, (0, 0), wanted)?;
        Ok((id, stamp.size))
    }

    /// Some of what a file holds, if that is what `id` names.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn read(
        &self,
        path: Inside<'_>,
        id: &Id,
        (from, most): (u64, usize),
        wanted: &Wanted,
    ) -> Result<Vec<u8>, Failed> {
        let (file, stamp) = self.open_file(path)?;
        let other = || Failed { code: Code::CLOSED, why: format!("{:?} does not hold {id} any more", path.as_str()) };
        // A small file is read as a whole: what is answered is certainly of it.
        if stamp.size > READ_BYTES_MAX && self.known(&stamp) == Some(*id) {
            let failed = failed("reading", path);
            let mut bytes = vec![0; within(from, most, stamp.size)];
            let read = file.read_exact_at(&mut bytes, from);
            if Stamp::of(&fstat(&file).map_err(&failed)?) != stamp {
                return Err(other());
            }
            read.map_err(|error| Failed {
                code: Code::FAILED,
                why: format!("reading {:?} failed: {error}", path.as_str()),
            })?;
            return Ok(bytes);
        }
        let (found, bytes) = self.digest(path, &file, stamp, (from, most), wanted)?;
        if found == *id { Ok(bytes) } else { Err(other()) }
    }

    /// Makes a file hold these bytes, whole and durably. `name` is that of the file until it has them.
    ///
    /// # Errors
    /// Why it holds what it did, or does not exist.
    pub(super) fn write(&self, path: Inside<'_>, bytes: &[u8], name: &str) -> Result<(), Failed> {
        let failed = failed("writing", path);
        let (folder, last) = self.above(path, true).map_err(&failed)?;
        let mode = match statat(&folder, last, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_file(&stat) => Some(Mode::from_raw_mode(stat.st_mode)),
            Ok(_) => return Err(no_file(path)),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(failed(error)),
        };
        let written = write_new(&folder, name, bytes, mode).and_then(|()| Ok(renameat(&folder, name, &folder, last)?));
        if let Err(error) = written {
            let _ = unlinkat(&folder, name, AtFlags::empty());
            let why = format!("writing {:?} failed: {error}", path.as_str());
            return Err(Failed { code: Code::FAILED, why });
        }
        fsync(&folder).map_err(failed)
    }

    /// Makes a folder, and those above it, where they are not there.
    ///
    /// # Errors
    /// Why it is not there.
    pub(super) fn make_folder(&self, path: Inside<'_>) -> Result<(), Failed> {
        self.go_making(path.names()).map(drop).map_err(failed("making", path))
    }

    /// Removes a file, or a folder in which nothing is.
    ///
    /// # Errors
    /// Why it is still there.
    pub(super) fn remove(&self, path: Inside<'_>) -> Result<(), Failed> {
        let failed = failed("removing", path);
        let (folder, last) = match self.above(path, false) {
            Err(Errno::NOENT) if self.open(OFlags::PATH).is_ok() => return Ok(()),
            found => found.map_err(&failed)?,
        };
        let removed = match unlinkat(&folder, last, AtFlags::empty()) {
            Err(Errno::ISDIR) => unlinkat(&folder, last, AtFlags::REMOVEDIR),
            removed => removed,
        };
        match removed {
            Ok(()) => fsync(&folder).map_err(failed),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        // Links in the grant itself were a person's choice.
        open(&self.path, flags | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    }

    fn go<'a>(&self, names: impl Iterator<Item = &'a str>, last: OFlags) -> Result<OwnedFd, Errno> {
        let mut names = names.peekable();
        let flags = |is_last| if is_last { last } else { OFlags::PATH };
        let mut folder = self.open(flags(names.peek().is_none()))?;
        while let Some(name) = names.next() {
            folder = openat(&folder, name, FOLDER | flags(names.peek().is_none()), Mode::empty())?;
        }
        Ok(folder)
    }

    fn go_making<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<OwnedFd, Errno> {
        let mut folder = self.open(OFlags::RDONLY)?;
        for name in names {
            folder = match openat(&folder, name, FOLDER | OFlags::RDONLY, Mode::empty()) {
                Err(Errno::NOENT) => {
                    match mkdirat(&folder, name, Mode::from_raw_mode(0o777)) {
                        Ok(()) | Err(Errno::EXIST) => fsync(&folder)?,
                        Err(error) => return Err(error),
                    }
                    openat(&folder, name, FOLDER | OFlags::RDONLY, Mode::empty())?
                }
                found => found?,
            };
        }
        Ok(folder)
    }

    /// The folder that a path's last name is in, and that.
    fn above<'a>(&self, path: Inside<'a>, makes: bool) -> Result<(OwnedFd, &'a str), Errno> {
        let mut names = path.names();
        let last = names.next_back().ok_or(Errno::INVAL)?;
        let folder = if makes { self.go_making(names) } else { self.go(names, OFlags::RDONLY) };
        Ok((folder?, last))
    }

    fn open_file(&self, path: Inside<'_>) -> Result<(File, Stamp), Failed> {
        let failed = failed("opening", path);
        let mut names = path.names();
        let last = names.next_back().ok_or_else(|| no_file(path))?;
        let folder = self.go(names, OFlags::PATH).map_err(&failed)?;
        // Not opened unless it is a plain file: opening alone may do something to what is none.
        if !is_file(&statat(&folder, last, AtFlags::SYMLINK_NOFOLLOW).map_err(&failed)?) {
            return Err(no_file(path));
        }
        let file = openat(&folder, last, FILE | OFlags::RDONLY, Mode::empty()).map_err(&failed)?;
        let stat = fstat(&file).map_err(&failed)?;
        if is_file(&stat) { Ok((file.into(), Stamp::of(&stat))) } else { Err(no_file(path)) }
    }

    /// The id of all that a file holds, and of that some bytes.
    fn digest(
        &self,
        path: Inside<'_>,
        mut file: &File,
        stamp: Stamp,
        (from, most): (u64, usize),
        wanted: &Wanted,
    ) -> Result<(Id, Vec<u8>), Failed> {
        let failed = failed("reading", path);
        let changing = || {
            let why = format!("{:?} was changed while it was read", path.as_str());
            Failed { code: Code::FAILED, why }
        };
        let mut taken = Vec::with_capacity(within(from, most, stamp.size));
        let (mut hasher, mut chunk, mut at) = (blob_hasher(stamp.size), vec![0; CHUNK_BYTES], 0_u64);
        loop {
            still(wanted)?;
            let read = match file.read(&mut chunk) {
                Ok(read) => chunk.get(..read).unwrap_or_default(),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let why = format!("reading {:?} failed: {error}", path.as_str());
                    return Err(Failed { code: Code::FAILED, why });
                }
            };
            if read.is_empty() {
                break;
            }
            hasher.update(read);
            // What of it is from `from` on, as far as it is wanted.
            let skipped = usize::try_from(from.saturating_sub(at)).unwrap_or(usize::MAX);
            let rest = read.get(skipped..).unwrap_or_default();
            taken.extend_from_slice(rest.get(..(most - taken.len()).min(rest.len())).unwrap_or_default());
            at += read.len() as u64;
            if at > stamp.size {
                return Err(changing());
            }
        }
        if at != stamp.size || Stamp::of(&fstat(file).map_err(&failed)?) != stamp {
            return Err(changing());
        }
        let id = hasher.finish();
        if stamp.has_settled() {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(stamp, id);
        }
        Ok((id, taken))
    }

    fn known(&self, stamp: &Stamp) -> Option<Id> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(stamp).copied()
    }
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            written: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    fn has_settled(&self) -> bool {
        let last = nanos(self.changed).max(nanos(self.written));
        last.saturating_add(SETTLED_NANOS) < wall_clock().0
    }
}

fn nanos((seconds, nanos): (i64, u64)) -> u64 {
    u64::try_from(seconds).map_or(0, |seconds| seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

fn entry(name: String, stat: &Stat) -> Entry {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        _ => Kind::Other,
    };
    let Stamp { size, written, .. } = Stamp::of(stat);
    Entry { name, kind, size: if kind == Kind::File { size } else { 0 }, changed: nanos(written) }
}

fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_file()
}

/// How many bytes of a file of some size a read has.
fn within(from: u64, most: usize, size: u64) -> usize {
    usize::try_from(size.saturating_sub(from)).unwrap_or(usize::MAX).min(most)
}

fn still(wanted: &Wanted) -> Result<(), Failed> {
    if wanted.load(Ordering::Relaxed) {
        return Ok(());
    }
    Err(Failed { code: Code::CANCELLED, why: "it is no longer wanted".to_owned() })
}

fn no_file(path: Inside<'_>) -> Failed {
    Failed { code: Code::FAILED, why: format!("{:?} is there, and no plain file", path.as_str()) }
}

fn failed(doing: &'static str, path: Inside<'_>) -> impl Fn(Errno) -> Failed {
    move |error| {
        let path = path.as_str();
        let why = match error {
            Errno::LOOP | Errno::NOTDIR => {
                format!("{doing} {path:?} failed: not all above its end are folders (links are not followed)")
            }
            error => format!("{doing} {path:?} failed: {}", std::io::Error::from(error)),
        };
        Failed { code: Code::FAILED, why }
    }
}

/// Makes a file that has these bytes durably, under a name that only this port uses.
fn write_new(folder: &OwnedFd, name: &str, bytes: &[u8], mode: Option<Mode>) -> std::io::Result<()> {
    debug_assert!(name.starts_with(UNFINISHED));
    let make = || {
        let flags = FILE | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        openat(folder, name, flags, Mode::from_raw_mode(0o666))
    };
    let file = match make() {
        // Left by a process that was killed.
        Err(Errno::EXIST) => {
            unlinkat(folder, name, AtFlags::empty())?;
            make()
        }
        made => made,
    }?;
    if let Some(mode) = mode {
        fchmod(&file, mode & Mode::from_raw_mode(0o777))?;
    }
    let mut file = File::from(file);
    file.write_all(bytes)?;
    file.sync_all()
}
