//! Disks that remember: files in memory whose every write and flush is recorded, so that a disk can be had as a power cut at any moment would have
//! left it.
//!
//! A FUSE file system serves them; a loop device and a real file system are mounted on top. A [`Record`] is what reached a disk, in order; its
//! position counts writes and flushes. What was flushed before a cut is durable; of the writes since, a disk keeps what it likes, in any order
//! and torn at its sectors ([`Keep`]).
//!
//! A disk can be told to be slow, or to be unable to read some of its blocks ([`Unreadable`]).
//!
//! Needs root, `/dev/fuse` and a free loop device; says so where they are missing. Whatever is mounted is unmounted when its owner is dropped, and
//! the kernel gives a loop device back with its mount. What a killed process could not unmount, the next one does.

mod mood;
mod record;
mod server;

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use fuser::{BackgroundSession, Config, INodeNo, MountOption};
use rustix::mount::{UnmountFlags, unmount};
use tempfile::TempDir;

use mood::Mood;
pub use mood::Unreadable;
pub use record::{Blocks, Cut, Keep, Record};
use server::{Content, Contents, Server};

const PLACE_PREFIX: &str = "abide-blocklog-";

/// A place where disks are served, until this is dropped.
pub struct Disks {
    contents: Arc<Contents>,
    // Dropped in this order: the file system goes before the folder that it is mounted on.
    session: Option<BackgroundSession>,
    place: TempDir,
}

impl Disks {
    /// Serves no disk yet.
    ///
    /// # Errors
    /// What is missing here, in words.
    pub fn open() -> Result<Self, String> {
        unmount_leftovers();
        if !rustix::process::geteuid().is_root() {
            return Err("mounting needs root".to_owned());
        }
        if !Path::new("/dev/fuse").exists() {
            return Err("there is no /dev/fuse".to_owned());
        }
        let prefix = format!("{PLACE_PREFIX}{}-", std::process::id());
        let place = tempfile::Builder::new().prefix(&prefix).tempdir();
        let place = place.map_err(|error| format!("no temporary folder: {error}"))?;
        let served = place.path().join("disks");
        std::fs::create_dir(&served).map_err(|error| format!("no temporary folder: {error}"))?;
        let contents = Arc::new(Contents::default());
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("blocklog".to_owned())];
        let session = fuser::spawn_mount(Server(Arc::clone(&contents)), &served, &config);
        let session = session.map_err(|error| format!("a FUSE file system cannot be mounted: {error}"))?;
        Ok(Self { contents, session: Some(session), place })
    }

    /// A new disk.
    #[must_use]
    pub fn disk(&self, size: u64, blocks: Blocks) -> Disk<'_> {
        let mut contents = self.contents.lock();
        // Never a number again: the kernel may remember a file for longer than we do.
        static NEXT: AtomicU64 = AtomicU64::new(INodeNo::ROOT.0 + 1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        contents.insert(number, Content { size, record: Record::new(blocks.clone()), blocks, mood: Mood::default() });
        Disk { disks: self, number, size }
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}

/// Unmounts what processes that were killed have left mounted.
fn unmount_leftovers() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let is_left = |place: &str| {
        let owner = place.split_once(PLACE_PREFIX).and_then(|(_, rest)| rest.split_once('-'));
        owner.is_some_and(|(pid, _)| !Path::new("/proc").join(pid).exists())
    };
    // The newest first: file systems before the disks that they are on.
    for place in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).filter(|place| is_left(place)) {
        let _ = unmount(place, UnmountFlags::DETACH);
    }
}

/// One disk; gone when this is dropped.
pub struct Disk<'a> {
    disks: &'a Disks,
    number: u64,
    size: u64,
}

impl Disk<'_> {
    fn path(&self) -> PathBuf {
        self.disks.place.path().join("disks").join(self.number.to_string())
    }

    /// How large it is.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes or repairs a file system with this command, which is given the disk as its last argument.
    ///
    /// # Errors
    /// What is missing or went wrong, in words.
    pub fn treat(&self, command: &[&str]) -> Result<(), String> {
        said(Command::new(command[0]).args(&command[1..]).arg(self.path()))
    }

    /// Mounts its file system.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn mount(&self, kind: &str) -> Result<Mounted<'_>, String> {
        let place = self.disks.place.path().join(format!("mounted-{}", self.number));
        std::fs::create_dir_all(&place).map_err(|error| format!("no folder to mount on: {error}"))?;
        let mounted = Mounted { disk: self, place };
        let mut attempts = 0;
        loop {
            let done =
                said(Command::new("mount").args(["-t", kind, "-o", "loop"]).arg(self.path()).arg(&mounted.place));
            match done {
                // Somebody else may have been faster, or all devices are in use for the moment.
                Err(what) if what.contains("loop device") && attempts < 50 => {
                    attempts += 1;
                    thread::sleep(Duration::from_millis(100));
                }
                done => return done.map(|()| mounted),
            }
        }
    }

    /// What it holds.
    #[must_use]
    pub fn blocks(&self) -> Blocks {
        self.disks.contents.lock().get(&self.number).map(|content| content.blocks.clone()).unwrap_or_default()
    }

    /// From now on every read, write and flush takes so many milliseconds.
    pub fn be_slow(&self, milliseconds: RangeInclusive<u64>, seed: u64) {
        self.be(Mood::slow(milliseconds, seed));
    }

    /// From now on the blocks that hold these bytes (a block's worth each) cannot be read. How many such blocks there are.
    pub fn fail_to_read(&self, bytes: &[&[u8]], how: Unreadable) -> usize {
        let held = self.blocks();
        let places: Vec<u64> = bytes.iter().flat_map(|bytes| held.places_of(bytes)).collect();
        let count = places.len();
        self.be(Mood::unreadable(places, how));
        count
    }

    /// From now on it is a good disk. How many reads have failed.
    pub fn be_good(&self) -> u64 {
        self.be(Mood::default()).failed
    }

    fn be(&self, mood: Mood) -> Mood {
        let mut contents = self.disks.contents.lock();
        contents.get_mut(&self.number).map(|content| std::mem::replace(&mut content.mood, mood)).unwrap_or_default()
    }

    /// How much has reached it since the record was begun.
    #[must_use]
    pub fn position(&self) -> usize {
        self.disks.contents.lock().get(&self.number).map_or(0, |content| content.record.end())
    }

    /// Begins its record from here.
    pub fn begin_record(&self) {
        let _ = self.take_record();
    }

    /// What has reached it since the record was begun; another one begins.
    #[must_use]
    pub fn take_record(&self) -> Record {
        let mut contents = self.disks.contents.lock();
        let Some(content) = contents.get_mut(&self.number) else { return Record::default() };
        let next = Record::new(content.blocks.clone());
        std::mem::replace(&mut content.record, next)
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        self.disks.contents.lock().remove(&self.number);
    }
}

/// A file system on a disk; unmounted when this is dropped.
pub struct Mounted<'a> {
    disk: &'a Disk<'a>,
    place: PathBuf,
}

impl Mounted<'_> {
    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.place
    }

    /// Its disk.
    #[must_use]
    pub fn disk(&self) -> &Disk<'_> {
        self.disk
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // Whoever has just been killed may hold a file for a moment longer.
        for _ in 0..100 {
            match unmount(&self.place, UnmountFlags::empty()) {
                Err(rustix::io::Errno::BUSY) => thread::sleep(Duration::from_millis(10)),
                _ => break,
            }
        }
        // Nothing is mounted here any more, or should stay.
        let _ = unmount(&self.place, UnmountFlags::DETACH);
        let _ = std::fs::remove_dir(&self.place);
    }
}

/// Runs a command; what it complained of if it failed.
fn said(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!("there is no {name}")),
        Err(error) => Err(format!("{name}: {error}")),
    }
}
