//! A machine's folder: what lies in it, how it comes into being, who holds it, and how a copied one is told from the original.
//!
//! ```text
//! MACHINE/        mode 0700, every file 0600
//!     abide       one line, "abide machine 2\n": this is a machine, and the newest format version that anything in it may have
//!     data.mdb    the store                      (crate::store::lmdb)
//!     lock.mdb    LMDB's table of readers; worthless while nobody has the store open
//!     head        what was last acknowledged     (crate::head)
//!     lock        locked by the one writer; three lines, "host NAME\nboot ID\npid NUMBER\n", believed only while locked
//! ```
//!
//! * A folder appears complete or not at all: it is made under a temporary name beside its place, synced, and renamed. The maker
//!   holds its lock from before anything is in it until after the rename, so that leftovers of a killed maker are recognised (they
//!   are unlocked) and removed by the next one ([`Scratch`]).
//! * The lock belongs to an open file description: it is gone when its holder is, however it died, and no child inherits it.
//! * A folder of an older version is raised to the present one before anything of that is written into it, by replacing its `abide` file whole: versions of
//!   abide that know nothing of it refuse the folder, and never take what they find for damage.
//! * Nothing here reads or writes `lock.mdb`: closing a descriptor of it would drop LMDB's own locks.

mod replace;
mod scratch;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::sys;

pub use replace::{free_name, settle_leftovers};
pub use scratch::Scratch;

/// The file that says what the folder is.
pub const FORMAT_FILE: &str = "abide";
/// The file that the one writer holds locked.
pub const LOCK_FILE: &str = "lock";

const FORMAT_WORDS: &str = "abide machine ";
const FORMAT_VERSION: u32 = 2;
/// Where a new [`FORMAT_FILE`] is written before it takes the place of the old one.
const NEW_FORMAT_FILE: &str = "abide.new";

/// What was attempted with a machine folder and failed.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is something at the place of a new machine.
    #[error("{} exists already", path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// A path that cannot name a new folder, such as `/` or `..`.
    #[error("{} cannot be the name of a new machine", path.display())]
    Name {
        /// The path.
        path: PathBuf,
    },
    /// There is no such folder.
    #[error("there is no machine {}", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// A file or folder that is something else.
    #[error("{} is not a machine", path.display())]
    NotAMachine {
        /// The path.
        path: PathBuf,
    },
    /// The format file says nothing that can be understood.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The format file.
        path: PathBuf,
    },
    /// Made by a newer version of abide.
    #[error("machine {} has format version {found}, this version reads up to {FORMAT_VERSION}", path.display())]
    TooNew {
        /// The folder.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Making a new folder failed.
    #[error("cannot create machine {}", path.display())]
    Create {
        /// Its place.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A folder of an older version could not be made one of the present version.
    #[error("cannot raise machine {} to format version {FORMAT_VERSION}", path.display())]
    Raise {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A new folder could not take a machine's place.
    #[error("cannot put the new machine in the place of {}", path.display())]
    Replace {
        /// The place.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Opening a folder failed.
    #[error("cannot open machine {}", path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Taking the lock failed.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl FolderError {
    /// Whether what is on disk is not what was written.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, FolderError::Damaged { .. })
    }
}

/// The machine folder at `path`, found to be one; nothing is locked yet.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    version: u32,
    identity: Identity,
}

impl Folder {
    /// Looks at the folder at `path`.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(path: &Path) -> Result<Folder, FolderError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => FolderError::Missing { path: path.to_owned() },
            io::ErrorKind::NotADirectory => FolderError::NotAMachine { path: path.to_owned() },
            _ => FolderError::Open { path: path.to_owned(), source },
        };
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if !metadata.is_dir() {
            return Err(FolderError::NotAMachine { path: path.to_owned() });
        }
        let format_path = path.join(FORMAT_FILE);
        let format = read_short(&format_path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => FolderError::NotAMachine { path: path.to_owned() },
            _ => failed(error),
        })?;
        let version = std::str::from_utf8(&format)
            .ok()
            .and_then(|text| text.strip_prefix(FORMAT_WORDS)?.strip_suffix('\n'))
            .filter(|number| !number.starts_with(['+', '0']))
            .and_then(|number| number.parse().ok());
        match version {
            Some(version @ ..=FORMAT_VERSION) => {
                let identity = Identity { host: host_id(), device: metadata.dev(), inode: metadata.ino() };
                Ok(Folder { path: path.to_owned(), version, identity })
            }
            Some(found) => Err(FolderError::TooNew { path: path.to_owned(), found }),
            None => Err(FolderError::Damaged { path: format_path }),
        }
    }

    /// The folder's path, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where this folder is, to be compared with where the machine last ran.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Takes the folder's lock; until the result is dropped no other process can.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn lock(self) -> Result<LockedFolder, LockError> {
        let lock = Lock::acquire(&self.path)?;
        Ok(LockedFolder { folder: self, lock })
    }
}

/// A machine folder of which this process is the one writer.
#[derive(Debug)]
pub struct LockedFolder {
    folder: Folder,
    lock: Lock,
}

impl LockedFolder {
    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder.path
    }

    /// Raises the folder to the present version, durably; where it has that version already nothing is done.
    ///
    /// # Errors
    /// [`FolderError::Raise`]; the folder has the old version or the present one then, and both are right.
    pub fn raise_version(&mut self) -> Result<(), FolderError> {
        if self.folder.version == FORMAT_VERSION {
            return Ok(());
        }
        replace_format_file(&self.folder.path)
            .map_err(|source| FolderError::Raise { path: self.folder.path.clone(), source })?;
        self.folder.version = FORMAT_VERSION;
        Ok(())
    }

    /// Gives the lock back.
    #[must_use]
    pub fn unlock(self) -> Folder {
        drop(self.lock);
        self.folder
    }
}

/// A machine folder in the making. Dropped before [`NewFolder::publish`], it leaves nothing behind.
#[derive(Debug)]
pub struct NewFolder {
    place: PathBuf,
    parent: PathBuf,
    scratch: Scratch,
}

impl NewFolder {
    /// Begins a new machine that will appear at `place`. `nonce` is random.
    ///
    /// # Errors
    /// [`FolderError::Exists`] when there is anything at `place`, even an empty folder.
    pub fn begin(place: &Path, nonce: u64) -> Result<NewFolder, FolderError> {
        let failed = |source| FolderError::Create { path: place.to_owned(), source };
        if place.file_name().is_none() {
            return Err(FolderError::Name { path: place.to_owned() });
        }
        match place.symlink_metadata() {
            Ok(_) => return Err(FolderError::Exists { path: place.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let parent = match place.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let scratch = Scratch::begin(&parent, nonce).map_err(failed)?;
        write_new(&scratch.path().join(FORMAT_FILE), format_words().as_bytes()).map_err(failed)?;
        Ok(NewFolder { place: place.to_owned(), parent, scratch })
    }

    /// Where to put the store and the head meanwhile. Close what was opened here before publishing: paths change.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Makes the folder durable and moves it to its place. The lock is still held.
    ///
    /// # Errors
    /// [`FolderError::Exists`] when somebody else was faster; otherwise [`FolderError::Create`]. Nothing is left behind.
    pub fn publish(self) -> Result<LockedFolder, FolderError> {
        self.sync_and_move().map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => {
                FolderError::Exists { path: self.place.clone() }
            }
            _ => FolderError::Create { path: self.place.clone(), source },
        })?;
        let Self { place, parent, scratch } = self;
        let lock = scratch.moved();
        // From here on the folder is at its place: a failure to sync the parent leaves a machine, and is reported.
        sync_folder(&parent).map_err(|source| FolderError::Create { path: place.clone(), source })?;
        let folder = Folder::open(&place)?;
        match lock {
            Some(mut lock) => {
                lock.folder = place;
                Ok(LockedFolder { folder, lock })
            }
            None => Ok(folder.lock()?),
        }
    }

    fn sync_and_move(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(self.path())? {
            let entry = entry?;
            if entry.file_type()?.is_file() && entry.file_name() != "lock.mdb" {
                File::open(entry.path())?.sync_all()?;
            }
        }
        sync_folder(self.path())?;
        let (from, to) = (self.path(), self.place.as_path());
        move_to(from, to)
    }
}

fn format_words() -> String {
    format!("{FORMAT_WORDS}{FORMAT_VERSION}\n")
}

/// The old file or the new one is there, whole, at every moment.
fn replace_format_file(folder: &Path) -> io::Result<()> {
    let new = folder.join(NEW_FORMAT_FILE);
    // What a killed process has left is nobody's: the caller has the lock.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => write_new(&new, format_words().as_bytes())?,
    }
    File::open(&new)?.sync_all()?;
    std::fs::rename(&new, folder.join(FORMAT_FILE))?;
    sync_folder(folder)
}

/// Gives a folder another name, which nothing has.
fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, rustix::fs::RenameFlags::NOREPLACE) {
        // Some file systems cannot promise not to replace; without the flag only an empty folder can be replaced.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => std::fs::rename(from, to),
        other => Ok(other?),
    }
}

/// Makes durable which names a folder holds.
///
/// # Errors
/// What the system says.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

/// The start of a small file: more than that is not believed anyway.
fn read_short(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(4096).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What was attempted with a lock and failed.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("machine {} is in use by {holder}", path.display())]
    Held {
        /// The machine folder.
        path: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// The system refused.
    #[error("cannot lock machine {}", path.display())]
    Io {
        /// The machine folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What the holder of a lock says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// Its host's name.
    pub host: Option<String>,
    /// Its host's boot id: the pid means nothing under another one.
    pub boot: Option<String>,
    /// Its process id.
    pub pid: Option<u32>,
}

impl Holder {
    fn this_process() -> Holder {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned());
        Holder { host: Some(host_name()), boot, pid: Some(std::process::id()) }
    }

    /// Whether the holder runs (or ran) on this boot of this host, so that its pid means something here.
    #[must_use]
    pub fn is_here(&self) -> bool {
        let here = Holder::this_process();
        here.boot.is_some() && here.boot == self.boot
    }

    fn encode(&self) -> String {
        let host = self.host.as_deref().unwrap_or("");
        let boot = self.boot.as_deref().unwrap_or("");
        format!("host {host}\nboot {boot}\npid {}\n", self.pid.unwrap_or(0))
    }

    /// Understands as much as there is; the file may be anything.
    fn decode(bytes: &[u8]) -> Holder {
        let text = String::from_utf8_lossy(bytes);
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
            let value: String = value.chars().filter(|c| !c.is_control()).take(255).collect();
            (!value.is_empty()).then_some(value)
        };
        let pid = field("pid").and_then(|pid| pid.parse().ok()).filter(|pid| *pid != 0);
        Holder { host: field("host"), boot: field("boot"), pid }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.pid, &self.host) {
            (Some(pid), Some(host)) => write!(f, "process {pid} on host {host}"),
            (Some(pid), None) => write!(f, "process {pid}"),
            (None, _) => f.write_str("another process"),
        }
    }
}

/// The lock of a machine folder, held until dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    folder: PathBuf,
}

impl Lock {
    /// Takes the lock of the machine folder at `path`.
    ///
    /// # Errors
    /// [`LockError::Held`] at once when another process has it, or another part of this one.
    pub fn acquire(path: &Path) -> Result<Lock, LockError> {
        let failed = |source| LockError::Io { path: path.to_owned(), source };
        loop {
            let file = open_lock(&path.join(LOCK_FILE)).map_err(failed)?;
            if !sys::try_lock_file(&file).map_err(failed)? {
                return Err(LockError::Held { path: path.to_owned(), holder: read_holder(path).map_err(failed)? });
            }
            // A lock on a file that has been replaced meanwhile locks nothing.
            let held = file.metadata().map_err(failed)?;
            match std::fs::metadata(path.join(LOCK_FILE)) {
                Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => {
                    let mut lock = Lock { file, folder: path.to_owned() };
                    lock.sign().map_err(failed)?;
                    return Ok(lock);
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Who holds the lock of the machine folder at `path`, if anybody. Asking never takes the lock.
    ///
    /// # Errors
    /// [`LockError::Io`].
    pub fn holder(path: &Path) -> Result<Option<Holder>, LockError> {
        let failed = |source| LockError::Io { path: path.to_owned(), source };
        let file = match File::open(path.join(LOCK_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        match sys::is_file_locked(&file).map_err(failed)? {
            true => Ok(Some(read_holder(path).map_err(failed)?)),
            false => Ok(None),
        }
    }

    /// The folder this is the lock of.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn sign(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all(Holder::this_process().encode().as_bytes())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // So that the next holder is not taken for this one in the moment before it has signed.
        let _ = self.file.set_len(0);
        // Closing is not enough: a child that another thread is just starting still has the descriptor until it execs.
        let _ = sys::unlock_file(&self.file);
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    // Not truncated: the content belongs to the holder, which may be somebody else. Close-on-exec is the default.
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn read_holder(folder: &Path) -> io::Result<Holder> {
    Ok(Holder::decode(&read_short(&folder.join(LOCK_FILE))?))
}

/// Where a machine folder is. A folder that was copied, or moved to another file system or host, has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which host: a hash of its machine id, or of its name where it has none.
    pub host: [u8; 16],
    /// Which file system.
    pub device: u64,
    /// Which folder there.
    pub inode: u64,
}

fn host_id() -> [u8; 16] {
    let machine_id = std::fs::read("/etc/machine-id").unwrap_or_default();
    let machine_id = machine_id.trim_ascii();
    let (kind, value) = match machine_id {
        b"" | b"uninitialized" => ("abide host name v1", host_name().into_bytes()),
        id => ("abide machine-id v1", id.to_vec()),
    };
    let mut id = [0; 16];
    // Derived, because a machine id is not to be shown to others.
    id.copy_from_slice(&blake3::derive_key(kind, &value)[..16]);
    id
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn make(place: &Path) -> Result<LockedFolder, FolderError> {
        let new = NewFolder::begin(place, 1)?;
        write_new(&new.path().join("head"), b"as a head").unwrap();
        new.publish()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_folder_is_complete_locked_and_private() {
        let parent = tempfile::tempdir().unwrap();
        let place = parent.path().join("m");
        let locked = make(&place).unwrap();
        assert_eq!(names(parent.path()), ["m"]);
        assert_eq!(names(&place), ["abide", "head", "lock"]);
        assert_eq!(std::fs::read(place.join("abide")).unwrap(), b"abide machine 2\n");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&place), 0o700);
        for name in names(&place) {
            assert_eq!(mode(&place.join(name)), 0o600);
        }
        let holder = Lock::holder(&place).unwrap().unwrap();
        assert_eq!(holder.pid, Some(std::process::id()));
        assert!(holder.is_here());
        assert!(matches!(Folder::open(&place).unwrap().lock(), Err(LockError::Held { .. })));
        let folder = locked.unlock();
        assert_eq!(Lock::holder(&place).unwrap(), None);
        assert_eq!(folder.lock().unwrap().path(), place);
    }

    #[test]
    fn a_folder_given_up_leaves_nothing_and_one_left_by_a_kill_is_removed_by_the_next() {
        let parent = tempfile::tempdir().unwrap();
        let place = parent.path().join("m");
        let given_up = NewFolder::begin(&place, 7).unwrap();
        std::fs::write(given_up.path().join("data.mdb"), b"half").unwrap();
        drop(given_up);
        assert!(names(parent.path()).is_empty());

        let killed = parent.path().join(".abide-new-00000000000000ff");
        std::fs::create_dir(&killed).unwrap();
        std::fs::write(killed.join("lock"), b"host h\nboot b\npid 1\n").unwrap();
        let in_the_making = NewFolder::begin(&parent.path().join("other"), 8).unwrap();
        let locked = make(&place).unwrap();
        assert_eq!(names(parent.path()), [".abide-new-0000000000000008", "m"]);
        drop((in_the_making, locked));
    }

    #[test]
    fn nothing_is_replaced() {
        let parent = tempfile::tempdir().unwrap();
        let place = parent.path().join("m");
        let slow = NewFolder::begin(&place, 1).unwrap();
        let fast = NewFolder::begin(&place, 2).unwrap();
        let first = fast.publish().unwrap();
        assert!(matches!(slow.publish(), Err(FolderError::Exists { .. })));
        assert!(matches!(make(&place), Err(FolderError::Exists { .. })));
        drop(first);
        let empty = parent.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        assert!(matches!(make(&empty), Err(FolderError::Exists { .. })));
        let dangling = parent.path().join("dangling");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        assert!(matches!(make(&dangling), Err(FolderError::Exists { .. })));
        assert_eq!(names(parent.path()), ["dangling", "empty", "m"]);
    }

    #[test]
    fn names_of_every_kind() {
        let parent = tempfile::tempdir().unwrap();
        let deep = parent.path().join(["d"; 100].join("/"));
        std::fs::create_dir_all(&deep).unwrap();
        for place in [
            parent.path().join(OsStr::from_bytes(b"not \xff\xfe utf-8")),
            parent.path().join("n".repeat(255)),
            deep.join("x".repeat(200)),
            parent.path().join("with a slash/"),
            parent.path().join("line\nfeed"),
        ] {
            drop(make(&place).unwrap());
            assert_eq!(Folder::open(&place).unwrap().path(), place);
        }
        for place in ["/", "..", "a/.."] {
            assert!(matches!(make(Path::new(place)), Err(FolderError::Name { .. })), "{place}");
        }
        assert!(matches!(make(&parent.path().join("no/parent")), Err(FolderError::Create { .. })));
    }

    #[test]
    fn what_is_no_machine_is_told_apart() {
        let parent = tempfile::tempdir().unwrap();
        let place = parent.path().join("m");
        drop(make(&place).unwrap());
        let open = |format: &[u8]| {
            std::fs::write(place.join("abide"), format).unwrap();
            Folder::open(&place).map(drop).map_err(|error| error.to_string().replace(place.to_str().unwrap(), "M"))
        };
        assert_eq!(open(b"abide machine 1\n"), Ok(()));
        assert_eq!(open(b"abide machine 2\n"), Ok(()));
        let newer = "machine M has format version 3, this version reads up to 2";
        assert_eq!(open(b"abide machine 3\n"), Err(newer.to_owned()));
        for damaged in [
            &b""[..],
            b"abide machine 1",
            b"abide machine 0\n",
            b"abide machine 01\n",
            b"abide machine +1\n",
            b"\xff",
            &[0; 9000],
        ] {
            assert_eq!(open(damaged), Err("M/abide is damaged".to_owned()));
        }
        std::fs::remove_file(place.join("abide")).unwrap();
        let text =
            |path: &Path| Folder::open(path).unwrap_err().to_string().replace(parent.path().to_str().unwrap(), "P");
        assert_eq!(text(&place), "P/m is not a machine");
        assert_eq!(text(&place.join("lock")), "P/m/lock is not a machine");
        assert_eq!(text(&place.join("lock/below")), "P/m/lock/below is not a machine");
        assert_eq!(text(&parent.path().join("none")), "there is no machine P/none");
    }

    #[test]
    fn a_folder_of_an_older_version_is_raised_once_whatever_a_killed_process_has_left() {
        let parent = tempfile::tempdir().unwrap();
        let place = parent.path().join("m");
        drop(make(&place).unwrap());
        let raise = || Folder::open(&place).unwrap().lock().unwrap().raise_version();
        let format = || std::fs::read(place.join("abide")).unwrap();
        for left in [None, Some(&b""[..]), Some(b"abide mach"), Some(b"abide machine 2\n")] {
            std::fs::write(place.join("abide"), b"abide machine 1\n").unwrap();
            left.iter().for_each(|left| std::fs::write(place.join("abide.new"), left).unwrap());
            assert_eq!(Folder::open(&place).unwrap().path(), place);
            raise().unwrap();
            assert_eq!(format(), b"abide machine 2\n");
            assert_eq!(names(&place), ["abide", "head", "lock"]);
            assert_eq!(std::fs::metadata(place.join("abide")).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::create_dir(place.join("abide.new")).unwrap();
        raise().unwrap();
        std::fs::write(place.join("abide"), b"abide machine 1\n").unwrap();
        let error = raise().unwrap_err();
        assert!(matches!(&error, FolderError::Raise { .. }) && !error.is_damage());
        assert_eq!(format(), b"abide machine 1\n");
    }

    #[test]
    fn a_copied_folder_is_another_place_and_a_renamed_one_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let place = parent.path().join("m");
        let original = make(&place).unwrap().unlock().identity();
        let copy = parent.path().join("copy");
        std::fs::create_dir(&copy).unwrap();
        std::fs::copy(place.join("abide"), copy.join("abide")).unwrap();
        let copied = Folder::open(&copy).unwrap().identity();
        assert_eq!(copied.host, original.host);
        assert_ne!(copied, original);
        let moved = parent.path().join("moved");
        std::fs::rename(&place, &moved).unwrap();
        assert_eq!(Folder::open(&moved).unwrap().identity(), original);
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&moved, &link).unwrap();
        assert_eq!(Folder::open(&link).unwrap().identity(), original);
    }

    #[test]
    fn a_holder_is_understood_as_far_as_it_goes_and_never_harms_a_terminal() {
        let holder = Holder { host: Some("h".to_owned()), boot: Some("b".to_owned()), pid: Some(12) };
        assert_eq!(holder.encode(), "host h\nboot b\npid 12\n");
        assert_eq!(Holder::decode(holder.encode().as_bytes()), holder);
        for (bytes, shown) in [
            (&b"host h\nboot b\npid 12\n"[..], "process 12 on host h"),
            (b"pid 12", "process 12"),
            (b"host h\n", "another process"),
            (b"pid 0\n", "another process"),
            (b"pid -3\nhost \n", "another process"),
            (b"", "another process"),
            (b"\xff\xfe\0", "another process"),
            (b"host a\x1b[31mb\npid 5\n", "process 5 on host a[31mb"),
        ] {
            assert_eq!(Holder::decode(bytes).to_string(), shown);
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("lock"), holder.encode()).unwrap();
        assert_eq!(Lock::holder(folder.path()).unwrap(), None, "only believed while locked");
        let lock = Lock::acquire(folder.path()).unwrap();
        assert!(matches!(Lock::acquire(folder.path()), Err(LockError::Held { holder, .. }) if holder.is_here()));
        drop(lock);
        assert_eq!(std::fs::read(folder.path().join("lock")).unwrap(), b"");
    }
}
