//! Folders in the making. Each has a name that nobody else uses and a lock that its maker holds; it is removed when it is dropped, and if its maker
//! is killed, by the next one that is made beside it.
//!
//! ```text
//! .abide-new-NONCE/
//!     lock.new    its lock before it has a name: a maker that has not got further
//!     lock        held from before it had this name, so that one that is not locked has been abandoned; its name is durable before
//!                 anything else is there
//!     ...         what is being made
//! ```
//!
//! A folder without `lock` may be a maker's that is about to lock it. Only what such a folder can hold is removed from it, and the maker that is too
//! slow begins anew; a folder with an unlocked `lock` is removed with all it holds.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{LOCK_FILE, Lock};
use crate::sys;

const PREFIX: &str = ".abide-new-";
const UNNAMED_LOCK: &str = "lock.new";

/// How often a maker begins anew that was taken for an abandoned one.
const TRIES: u64 = 10;

/// A folder for what is in the making.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    lock: Option<Lock>,
}

impl Scratch {
    /// Makes one in `parent`, and removes those that others have left there. `nonce` is random.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin(parent: &Path, nonce: u64) -> io::Result<Scratch> {
        remove_abandoned(parent);
        let mut attempt = 0;
        loop {
            // The name does not contain that of what is made, which may be as long as names can be.
            let path = parent.join(format!("{PREFIX}{:016x}", nonce.wrapping_add(attempt)));
            DirBuilder::new().mode(0o700).create(&path)?;
            let mut scratch = Scratch { path, lock: None };
            attempt += 1;
            match acquire_new(&scratch.path) {
                Ok(lock) => {
                    scratch.lock = Some(lock);
                    return Ok(scratch);
                }
                Err(error) if attempt < TRIES && is_taken_for_abandoned(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the lock to whoever has moved the folder to another place.
    pub(super) fn moved(mut self) -> Option<Lock> {
        self.lock.take()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The lock is given back after this. What cannot be removed now is removed by the next maker here; what was moved is not here any more.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Makes the lock file so that it is never seen unlocked: locked first, named after.
fn acquire_new(folder: &Path) -> io::Result<Lock> {
    let unnamed = folder.join(UNNAMED_LOCK);
    let file = super::open_lock(&unnamed)?;
    if !sys::try_lock_file(&file)? {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let mut lock = Lock { file, folder: folder.to_owned() };
    lock.sign()?;
    std::fs::rename(unnamed, folder.join(LOCK_FILE))?;
    // btrfs keeps a file's name when the file is synced, and forgets the lock's, which is older: a power cut then left what nobody dared to remove.
    super::sync_folder(folder)?;
    Ok(lock)
}

fn is_taken_for_abandoned(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::WouldBlock)
}

fn remove_abandoned(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        // What cannot be removed is in nobody's way.
        let _ = match File::open(entry.path().join(LOCK_FILE)) {
            Ok(lock) if sys::is_file_locked(&lock).is_ok_and(|locked| !locked) => std::fs::remove_dir_all(entry.path()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => remove_barely_begun(&entry.path()),
            _ => Ok(()),
        };
    }
}

/// Removes a folder whose maker has not got as far as its lock, unless the maker turns out to be just doing that.
fn remove_barely_begun(folder: &Path) -> io::Result<()> {
    let unnamed = folder.join(UNNAMED_LOCK);
    let _held = match OpenOptions::new().read(true).write(true).open(&unnamed) {
        Ok(file) => {
            if !sys::try_lock_file(&file)? {
                return Ok(());
            }
            // Its maker cannot lock it any more, and so not name it.
            std::fs::remove_file(&unnamed)?;
            Some(file)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    // Fails if there is anything in it.
    std::fs::remove_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A maker that was killed before it had named its lock used to leave its folder for good: who came after could not tell it from one that was
    /// about to lock it. Killing a boot at every system call found it.
    #[test]
    fn whatever_a_killed_maker_leaves_is_removed_by_the_next() {
        let parent = tempfile::tempdir().unwrap();
        let left = |name: &str, files: &[&str]| {
            let folder = parent.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            files.iter().for_each(|file| std::fs::write(folder.join(file), b"pid 1\n").unwrap());
            folder
        };
        left(".abide-new-00000000000000f0", &[]);
        left(".abide-new-00000000000000f1", &["lock.new"]);
        left(".abide-new-00000000000000f2", &["lock", "abide", "data.mdb"]);
        left(".abide-new-00000000000000f3", &["not ours"]);
        left(".abide-other", &[]);
        let locking = left(".abide-new-00000000000000f4", &[]);
        let being_named = Lock { file: super::super::open_lock(&locking.join("lock.new")).unwrap(), folder: locking };
        assert!(sys::try_lock_file(&being_named.file).unwrap());
        let made = Scratch::begin(parent.path(), 1).unwrap();
        std::fs::create_dir(made.path().join("something")).unwrap();
        let another = Scratch::begin(parent.path(), 2).unwrap();
        let kept = [
            ".abide-new-0000000000000001",
            ".abide-new-0000000000000002",
            ".abide-new-00000000000000f3",
            ".abide-new-00000000000000f4",
            ".abide-other",
        ];
        assert_eq!(names(parent.path()), kept);
        drop((made, another));
        assert_eq!(names(parent.path()), kept[2..]);
    }

    #[test]
    fn makers_side_by_side_never_lose_what_they_make() {
        let parent = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for maker in 0..4_u64 {
                let parent = parent.path();
                scope.spawn(move || {
                    for number in 0..200 {
                        let made = Scratch::begin(parent, maker << 32 | number << 8).unwrap();
                        std::fs::write(made.path().join("data"), b"made").unwrap();
                        std::thread::yield_now();
                        assert_eq!(std::fs::read(made.path().join("data")).unwrap(), b"made");
                    }
                });
            }
        });
        assert!(names(parent.path()).is_empty());
    }
}
